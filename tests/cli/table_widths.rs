//! Tables on terminals of several widths, with Persian, emoji and long names: a column is left out or shortened, but no id and
//! no time in a column of its own is broken.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use unicode_width::UnicodeWidthStr;

use super::surface::assert_snapshot;
use crate::support::Site;

const WIDTHS: [usize; 4] = [60, 80, 100, 140];
const POSTER: &[u8] = include_bytes!("../../examples/media/posters/girih-12000x9000.png");
/// A folder of Persian, emoji and long names; the last one is longer than any terminal.
const NAMES: [&str; 4] = [
    "کتابخانه/دیوان حافظ شیرازی، به تصحیح قزوینی و غنی.txt",
    "👩‍👩‍👧‍👦 family/🏔️ mountains/summer.txt",
    "ordinary.txt",
    "archive/a-very-long-folder-name-of-somebody-who-liked-to-write-down-everything-that-was-in-it/and-another-one/the-report-of-the-year-with-all-its-annexes.final.txt",
];

/// A platform with a job of several names, a dead letter and a refused file.
fn platform() -> Site {
    let site = Site::new();
    for (number, name) in NAMES.iter().enumerate() {
        let path = site.path("in").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("text {number}")).unwrap();
        std::fs::write(format!("{}.json", path.display()), format!(r#"{{"title":"{}"}}"#, &name[..name.len() - 4]))
            .unwrap();
    }
    std::fs::write(site.path("in/poster.png"), POSTER).unwrap();
    std::fs::write(site.path("in/کتابخانه/خالی 📄.pdf"), "").unwrap();
    assert_eq!(site.run(["ingest", "in"]).code, 3);
    assert_eq!(site.run(["worker", "all", "--until-drained"]).code, 3);
    for value in ["blue", "آبی"] {
        let put = [
            "kv",
            "put",
            "player/background_colour_of_every_page",
            value,
            "--reason",
            "the old one could not be read 🙈",
        ];
        assert_eq!(site.run(put).code, 0);
    }
    site
}

/// What a command prints on a terminal of this width.
fn on_terminal(site: &Site, words: &[&str], width: usize) -> String {
    let control = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&control).and_then(|()| unlockpt(&control)).unwrap();
    let name = ptsname(&control, Vec::new()).unwrap();
    let terminal = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let mut command = site.command(words);
    command.env("COLUMNS", width.to_string()).env("NO_COLOR", "1").stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.stdout(terminal).spawn().unwrap();
    // The terminal is closed here, so that its other end reports the end once the command has ended.
    drop(command);
    let mut printed = Vec::new();
    let mut control = File::from(control);
    let mut buffer = [0; 4096];
    loop {
        match control.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => printed.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // EIO: every process has closed the terminal.
            Err(_) => break,
        }
    }
    child.wait().unwrap();
    String::from_utf8(printed).unwrap().replace("\r\n", "\n")
}

/// Whether each id and each time that begins in the text is whole.
fn are_whole(text: &str) -> Result<(), String> {
    for (begin, whole) in [
        (r"\b[0-9a-f]{8}-[0-9a-f]{1,4}", r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"),
        (r"\b20\d\d-\d", r"^20\d\d-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(\.\d+)?Z?)?\b"),
    ] {
        let (begin, whole) = (regex::Regex::new(begin).unwrap(), regex::Regex::new(whole).unwrap());
        if let Some(broken) = begin.find_iter(text).find(|found| !whole.is_match(&text[found.start()..])) {
            return Err(format!("broken: {}", text[broken.start()..].lines().next().unwrap_or_default()));
        }
    }
    Ok(())
}

#[test]
fn text_with_ids_and_digests_fits_every_terminal() {
    let site = platform();
    let first = |words: &[&str]| site.run(words).stdout.lines().next().unwrap_or_default().to_owned();
    let job = first(&["jobs", "list", "-o", "name"]);
    let asset = first(&["media", "list", "--state", "enriched", "-o", "name"]);
    let shown = site.json(["media", "show", &asset], &[0]);
    let sha256 = shown["asset"]["sha256"].as_str().unwrap().to_owned();
    let mut folders = vec![site.data().join("objects/myfarsi-dev-media-originals")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().contains(&sha256) {
                std::fs::remove_file(&path).unwrap();
                std::fs::write(&path, "text x").unwrap();
            }
        }
    }
    let verbs: [&[&str]; 3] = [&["jobs", "verify", &job], &["media", "trace", &asset], &["dlq", "list", "--each"]];
    for words in verbs {
        for width in WIDTHS {
            let text = on_terminal(&site, words, width);
            let longest = text.lines().map(str::width).max().unwrap_or_default();
            // The narrowest terminal has no room for a time and an id beside each other, which stay whole.
            let has_room = !(words.starts_with(&["media", "trace"]) && width == WIDTHS[0]);
            assert!(longest <= width || !has_room, "{words:?} at {width} is {longest} wide:\n{text}");
            assert!(has_room || text.contains(&job), "{words:?} at {width} breaks an id:\n{text}");
            let has_digest = words.starts_with(&["jobs", "verify"]);
            assert!(!has_digest || text.contains("SHA-256"), "{words:?} at {width}:\n{text}");
        }
    }
}

#[test]
fn tables_fit_every_terminal_without_breaking_ids_or_times() {
    let site = platform();
    let first = |words: &[&str]| site.run(words).stdout.lines().next().unwrap_or_default().to_owned();
    let job = first(&["jobs", "list", "-o", "name"]);
    let dead = first(&["dlq", "list", "-o", "name"]);
    let asset = first(&["media", "list", "--state", "enriched", "-o", "name"]);
    let verbs: [&[&str]; 17] = [
        &["jobs", "list"],
        &["jobs", "show", &job],
        &["jobs", "failed", &job],
        &["media", "list"],
        &["media", "show", &asset],
        &["media", "trace", &asset],
        &["dlq", "list"],
        &["dlq", "list", "--each"],
        &["dlq", "show", &dead],
        &["lag"],
        &["status"],
        &["kv", "list"],
        &["kv", "history"],
        &["config", "show", "--changed"],
        &["config", "path"],
        &["schema", "list"],
        &["ingest", "in", "--dry-run"],
    ];
    for words in verbs {
        let mut all = String::new();
        for width in WIDTHS {
            let text = on_terminal(&site, words, width);
            assert!(!text.is_empty(), "{words:?} prints nothing");
            // At 60, the id of a job in the text has no room beside the time.
            if width > 60 || !words.starts_with(&["media", "trace"]) {
                are_whole(&text).unwrap_or_else(|broken| panic!("{words:?} at {width}: {broken}\n{text}"));
            }
            // The age beside a time takes room from the names, and it has more digits on a slow machine.
            if !text.contains(" ago)") {
                all.push_str(&format!("== {width}\n{text}"));
            }
        }
        // Where the layout depends neither on the folder of the test nor on the name of the host.
        if [
            &["jobs", "list"][..],
            &["media", "list"],
            &["dlq", "list", "--each"],
            &["lag"],
            &["kv", "list"],
            &["schema", "list"],
        ]
        .contains(&words)
        {
            assert_snapshot(&format!("width-{}", words.join("-")), &site, &all);
        }
    }
}
