//! Hostile files: each fails with a reason, the worker survives, nothing hangs.

use std::ffi::OsStr;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Running, Site, eventually, png_checksum};

const GHAZAL: &[u8] = include_bytes!("../../examples/media/fa/ghazal-1.pdf");
const PHOTO: &[u8] = include_bytes!("../../examples/media/photos/tea-break.jpg");

/// Writes files that the walk and the parsers must survive.
fn write_hostile(dir: &Path) {
    fs::create_dir(dir).unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).unwrap();
    put("empty.pdf", b"");
    put("truncated.pdf", &GHAZAL[..GHAZAL.len() / 3]);
    put("truncated.jpg", &PHOTO[..PHOTO.len() / 3]);
    put("huge.png", &declared_png(60_000, 60_000));
    put("loop.pdf", LOOPING_PDF.as_bytes());
    put("nested.html", "<div>".repeat(1_000_000).as_bytes());
    put("good.txt", "این یکی سالم است".as_bytes());
    let mut sparse = fs::File::create(dir.join("sparse.txt")).unwrap();
    sparse.write_all(b"text that is mostly nothing\n").unwrap();
    sparse.seek(SeekFrom::Start(1 << 30)).unwrap();
    sparse.write_all(b"end").unwrap();
    put("new\nline.txt", b"a name with a newline");
    fs::write(dir.join(OsStr::from_bytes(b"latin-\xe9.txt")), b"a name that is not UTF-8").unwrap();
    put("unreadable.txt", b"secret");
    fs::set_permissions(dir.join("unreadable.txt"), fs::Permissions::from_mode(0o000)).unwrap();
    symlink("nowhere", dir.join("dangling.txt")).unwrap();
    symlink("circle-b.txt", dir.join("circle-a.txt")).unwrap();
    symlink("circle-a.txt", dir.join("circle-b.txt")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.join("pipe.txt"), rustix::fs::Mode::RUSR).unwrap();
}

/// A PNG whose head declares a size its body does not have.
fn declared_png(width: u32, height: u32) -> Vec<u8> {
    let mut head = b"IHDR".to_vec();
    head.extend_from_slice(&width.to_be_bytes());
    head.extend_from_slice(&height.to_be_bytes());
    head.extend_from_slice(&[8, 6, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend_from_slice(&head);
    png.extend_from_slice(&png_checksum(&head).to_be_bytes());
    for (kind, body) in [(b"IDAT", &[0x78, 0x9c, 0x03, 0, 0, 0, 0, 1][..]), (b"IEND", &[])] {
        let chunk = [&kind[..], body].concat();
        png.extend_from_slice(&(body.len() as u32).to_be_bytes());
        png.extend_from_slice(&chunk);
        png.extend_from_slice(&png_checksum(&chunk).to_be_bytes());
    }
    png
}

/// The page tree's only child is the tree itself.
const LOOPING_PDF: &str = "%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Kids[2 0 R]/Count 1/Parent 2 0 R>> endobj
xref
0 3
0000000000 65535 f 
0000000009 00000 n 
0000000054 00000 n 
trailer <</Size 3/Root 1 0 R>>
startxref
119
%%EOF
";

#[test]
fn hostile_files_fail_with_a_reason_and_the_worker_survives() {
    let site = Site::new();
    let dir = site.path("in");
    write_hostile(&dir);
    let worker = Running::captured(site.command(["worker", "all", "--quiet", "--log-format", "json"]));
    let report = site.json(["ingest", "in"], &[3]);
    let reason_of = |name: &str| {
        let failures = report["failures"].as_array().unwrap();
        let failure = failures.iter().find(|failure| failure["path"].as_str().unwrap().contains(name));
        let failure = failure.unwrap_or_else(|| panic!("{name} is not among the failures: {report:#}"));
        assert!(!failure["reason"].as_str().unwrap().is_empty(), "{failure:#}");
        failure["kind"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason_of("empty.pdf"), "empty");
    assert_eq!(reason_of("pipe.txt"), "not_a_regular_file");
    assert_eq!(reason_of("dangling.txt"), "broken_link");
    assert_eq!(reason_of("circle-a.txt"), "broken_link");
    // Root may read everything.
    if !rustix::process::geteuid().is_root() {
        assert_eq!(reason_of("unreadable.txt"), "unreadable");
    }

    // The worker that was started first processes everything without being restarted.
    let mut worker = worker;
    eventually("nothing is in flight", || {
        assert!(worker.is_alive(), "the worker ended");
        let report = site.json(["audit", "--sizes-only"], &[0, 10]);
        report["in_flight"] == 0 && report["violations"] == Value::Array(vec![])
    });
    worker.signal(Signal::TERM);
    let ended = worker.finish();
    assert_eq!(ended.code, 143, "{ended}");

    let listed = site.run(["dlq", "list", "-o", "json"]);
    assert_eq!(listed.code, 0, "{listed}");
    for name in ["truncated.pdf", "truncated.jpg", "huge.png", "loop.pdf"] {
        let state = state_of(&site, &dir.join(name));
        assert_eq!(state, "dead_lettered", "{name}: {listed}");
    }
    assert!(listed.stdout.contains("--max-pixels"), "the declared size is not what was refused: {listed}");
    assert_eq!(state_of(&site, &dir.join("good.txt")), "enriched");
    site.audit();
}

/// The state of a file's asset, found through `media trace`.
fn state_of(site: &Site, path: &Path) -> String {
    let trace = site.json([OsStr::new("media"), OsStr::new("trace"), path.as_os_str()], &[0]);
    let asset = trace["asset_id"].as_str().unwrap().to_owned();
    let shown = site.json(["media", "show", &asset], &[0]);
    let shown = if shown["asset"].is_object() { &shown["asset"] } else { &shown };
    if shown["dead_lettered"].is_null() {
        shown["state"].as_str().unwrap().to_owned()
    } else {
        "dead_lettered".to_owned()
    }
}

/// The file fails with `changed_while_read` and is ingested once it no longer grows.
#[test]
fn growing_file_fails_and_is_ingested_on_retry() {
    let site = Site::new();
    fs::create_dir(site.path("in")).unwrap();
    let path = site.path("in/growing.txt");
    fs::write(&path, vec![b'a'; 64 << 20]).unwrap();
    let done = AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            while !done.load(Ordering::Relaxed) {
                file.write_all(b"more ").unwrap();
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        let ran = site.run(["ingest", "in", "-o", "json"]);
        done.store(true, Ordering::Relaxed);
        ran
    });
    assert_eq!(report.code, 3, "{report}");
    let json = report.json();
    assert_eq!(json["failures"][0]["kind"], "changed_while_read", "{json:#}");

    let job = json["job_id"].as_str().unwrap().to_owned();
    let again = site.json(["ingest", "--retry-failed", &job], &[0]);
    assert_eq!(again["failed"], 0, "{again:#}");
    site.json(["worker", "all", "--until-drained"], &[0]);
    assert_eq!(site.audit()["enriched"], 1);
}
