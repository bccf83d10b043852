//! The parser process: its parent learns in bounded time how it ended.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mfctl::settings::{ByteSize, general_key};
use mfctl_extract::parsers::{ExtractErrorKind, Extraction, Limits};
use mfctl_extract::sandbox::{ExtractRequest, Parser, ParserFailure, ParserFailureClass, ParserFailureKind};

use crate::support::eventually;

const PHOTO: &[u8] = include_bytes!("../../examples/media/photos/tea-break.jpg");

/// A folder with a file to parse and the path of its thumbnail.
struct ParserFixture {
    folder: tempfile::TempDir,
}

impl ParserFixture {
    fn new(content: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), content).unwrap();
        Self { folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    fn thumbnail(&self) -> PathBuf {
        self.folder.path().join("thumb.webp")
    }

    fn parse(&self, parser: &Parser, media_type: &str, limits: &Limits) -> Result<Extraction, ParserFailure> {
        let file = self.file();
        let thumbnail = self.thumbnail();
        let request = ExtractRequest { path: &file, media_type, limits, thumbnail_to: Some(&thumbnail) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let started = Instant::now();
        let parsed = runtime.block_on(parser.extract(request));
        assert!(started.elapsed() < Duration::from_secs(30), "took {:?}: {parsed:?}", started.elapsed());
        parsed
    }

    /// A parser that runs this shell script.
    fn scripted_parser(&self, script: &str) -> Parser {
        let program = self.folder.path().join("parser.sh");
        // Written by another process: children of other tests would inherit the open file until their exec, and a file that
        // is open for writing cannot be executed.
        let write_script = r##"printf '%s\n' '#!/bin/sh' "$1" > "$0""##;
        let status = std::process::Command::new("sh").args(["-c", write_script]).arg(&program).arg(script).status();
        assert!(status.unwrap().success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Parser::of_program(program)
    }
}

fn real_parser() -> Parser {
    Parser::forked_by(Path::new(env!("CARGO_BIN_EXE_mfctl")))
}

#[test]
fn file_is_parsed_under_guards() {
    let site = ParserFixture::new(PHOTO);
    let extraction = site.parse(&real_parser(), "image/jpeg", &Limits::default()).unwrap();
    assert!(extraction.guards.iter().any(|guard| guard == "rlimits"), "{extraction:?}");
    let thumbnail = fs::read(site.thumbnail()).unwrap();
    assert_eq!(thumbnail.len() as u64, extraction.thumbnail.unwrap().bytes);
    assert!(thumbnail.starts_with(b"RIFF"));
}

#[test]
fn malformed_file_is_refused_with_a_reason() {
    let site = ParserFixture::new(b"%PDF-1.4 and nothing else");
    let failure = site.parse(&real_parser(), "application/pdf", &Limits::default()).unwrap_err();
    assert_eq!(
        (failure.class, failure.kind),
        (ParserFailureClass::Record, ParserFailureKind::Extract(ExtractErrorKind::Malformed))
    );
    assert!(failure.reason.contains("truncated or damaged"), "{failure}");
}

#[test]
fn exceeding_the_memory_limit_is_reported() {
    // 90 million pixels are within the limit on pixels, not within this memory.
    let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bmp.extend(10_000_u32.to_le_bytes());
    bmp.extend(9_000_u32.to_le_bytes());
    bmp.extend(b"\x01\0\x18\0");
    bmp.extend([0; 24]);
    let site = ParserFixture::new(&bmp);
    let mut file = fs::File::options().append(true).open(site.file()).unwrap();
    file.flush().unwrap();
    file.set_len(54 + 270_000_000).unwrap();
    let limits = Limits { memory_bytes: 192 << 20, ..Limits::default() };
    let failure = site.parse(&real_parser(), "image/bmp", &limits).unwrap_err();
    let is_memory_failure =
        matches!(failure.kind, ParserFailureKind::OutOfMemory | ParserFailureKind::Extract(ExtractErrorKind::Limit));
    assert!(is_memory_failure && failure.reason.contains("--memory 192 MiB"), "{failure:?}");
}

#[test]
fn parser_failures_are_classified_by_how_the_process_ended() {
    let site = ParserFixture::new(b"text");
    for (script, kind, reason) in [
        ("kill -SEGV $$", ParserFailureKind::Crashed, "SIGSEGV"),
        ("kill -XCPU $$", ParserFailureKind::CpuTime, "--cpu 30 s"),
        (
            "echo 'memory allocation of 9 bytes failed' >&2; kill -ABRT $$",
            ParserFailureKind::OutOfMemory,
            "--memory 512 MiB",
        ),
        (
            "echo 'thread main has overflowed its stack' >&2; kill -ABRT $$",
            ParserFailureKind::Crashed,
            "nests too deep",
        ),
        (
            "echo 'index out of bounds' >&2; exit 101",
            ParserFailureKind::Crashed,
            "panicked on the file: index out of bounds",
        ),
        ("exit 3", ParserFailureKind::Crashed, "status 3"),
    ] {
        let failure = site.parse(&site.scripted_parser(script), "text/plain", &Limits::default()).unwrap_err();
        assert_eq!((failure.class, failure.kind), (ParserFailureClass::Record, kind), "{script}: {failure}");
        assert!(failure.reason.contains(reason), "{script}: {failure}");
    }
}

#[test]
fn ends_of_the_parser_that_another_file_would_meet_too_are_the_machines() {
    let site = ParserFixture::new(b"text");
    for (script, kind, reason) in [
        ("kill -KILL $$", ParserFailureKind::Killed, "want of memory"),
        ("kill -TERM $$", ParserFailureKind::Killed, "SIGTERM"),
        ("exit 0", ParserFailureKind::Crashed, "without an answer"),
        ("echo nonsense", ParserFailureKind::Crashed, "without an answer"),
        (
            "echo 'starting its thread: no room' >&2; exit 102",
            ParserFailureKind::Spawn,
            "(--memory 512 MiB): starting its thread: no room",
        ),
    ] {
        let failure = site.parse(&site.scripted_parser(script), "text/plain", &Limits::default()).unwrap_err();
        assert_eq!((failure.class, failure.kind), (ParserFailureClass::Environment, kind), "{script}: {failure}");
        assert!(failure.reason.contains(reason), "{script}: {failure}");
    }
}

#[test]
fn parser_without_room_for_its_own_thread_cannot_start() {
    let site = ParserFixture::new(PHOTO);
    let limits = Limits::default().with_memory(24 << 20);
    let failure = site.parse(&real_parser(), "image/jpeg", &limits).unwrap_err();
    assert_eq!((failure.class, failure.kind), (ParserFailureClass::Environment, ParserFailureKind::Spawn), "{failure}");
    assert!(failure.reason.contains("--memory 24 MiB") && failure.reason.contains("its thread"), "{failure}");
}

#[test]
fn trial_parse_tells_limits_that_no_file_passes_from_those_that_a_small_file_passes() {
    let check = |parser: &Parser, limits: &Limits| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(parser.check(limits))
    };
    check(&real_parser(), &Limits::default()).unwrap();
    for memory in [1 << 10, 24 << 20] {
        let failure = check(&real_parser(), &Limits::default().with_memory(memory)).unwrap_err();
        assert!(failure.reason.contains("the built-in text/plain sample: "), "{memory}: {failure}");
    }
    let one_pixel = Limits { max_pixels: 1, ..Limits::default() };
    let failure = check(&real_parser(), &one_pixel).unwrap_err();
    assert!(failure.reason.contains("image/png sample") && failure.reason.contains("--max-pixels 1"), "{failure}");
    let site = ParserFixture::new(b"");
    let failure = check(&site.scripted_parser("kill -KILL $$"), &Limits::default()).unwrap_err();
    assert_eq!(failure.class, ParserFailureClass::Environment, "{failure}");
}

#[test]
fn hanging_or_flooding_parser_is_killed() {
    let site = ParserFixture::new(b"text");
    let limits = Limits { timeout_seconds: 1, ..Limits::default() };
    let failure = site.parse(&site.scripted_parser("while :; do :; done"), "text/plain", &limits).unwrap_err();
    assert_eq!((failure.class, failure.kind), (ParserFailureClass::Environment, ParserFailureKind::TimedOut));
    assert!(failure.reason.contains("--wall 1 s"), "{failure}");
    let limits = Limits { output_bytes: 1 << 20, max_text_bytes: 1000, ..Limits::default() };
    let flood = site.scripted_parser(
        "while :; do echo 0123456789012345678901234567890123456789012345678901234567890123456789; done",
    );
    let failure = site.parse(&flood, "text/plain", &limits).unwrap_err();
    assert_eq!(failure.kind, ParserFailureKind::OutputTooLarge, "{failure}");
}

#[test]
fn parser_that_cannot_start_is_an_environment_failure() {
    let site = ParserFixture::new(b"text");
    for parser in
        [Parser::of_program("/nowhere/mfctl"), Parser::forked_by("/nowhere/mfctl"), Parser::forked_by("/bin/true")]
    {
        let failure = site.parse(&parser, "text/plain", &Limits::default()).unwrap_err();
        assert_eq!(failure.class, ParserFailureClass::Environment, "{failure:?}");
    }
    fs::remove_file(site.file()).unwrap();
    let failure = site.parse(&real_parser(), "text/plain", &Limits::default()).unwrap_err();
    assert_eq!(failure.class, ParserFailureClass::Environment, "{failure}");
}

#[test]
fn server_that_forks_parsers_is_used_again_replaced_if_killed_and_ends_with_its_parser() {
    let site = ParserFixture::new(b"text");
    // A program of its own, so that its processes are told from those of other tests. Copied by another process, as in
    // `scripted_parser`.
    let program = site.folder.path().join("mfctl");
    let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_mfctl")).arg(&program).status();
    assert!(copied.unwrap().success());
    let processes = || {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let of_program =
            entries.filter(|entry| fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program));
        of_program.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).collect::<Vec<_>>()
    };
    let limits = Limits::default();
    let file = site.file();
    let request = ExtractRequest { path: &file, media_type: "text/plain", limits: &limits, thumbnail_to: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let parser = Parser::forked_by(&program);
        assert_eq!(parser.extract(request).await.unwrap().text.as_deref(), Some("text"));
        let servers = processes();
        assert_eq!(servers.len(), 1, "{servers:?}");
        parser.extract(request).await.unwrap();
        assert_eq!(processes(), servers, "the same server, and no process of a file is left");
        let server = rustix::process::Pid::from_raw(servers[0]).unwrap();
        rustix::process::kill_process(server, rustix::process::Signal::KILL).unwrap();
        // A zombie has closed its socket.
        let stat = PathBuf::from(format!("/proc/{}/stat", servers[0]));
        let is_zombie = |stat: String| stat.rsplit(") ").next().is_some_and(|state| state.starts_with('Z'));
        eventually("the server has ended", || fs::read_to_string(&stat).map_or(true, is_zombie));
        parser.extract(request).await.unwrap();
        assert_ne!(processes(), servers);
        let (one, other) = tokio::join!(parser.extract(request), parser.extract(request));
        assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
        let last = processes();
        assert_eq!(last.len(), 2, "one for each file that is parsed at once: {last:?}");
        for server in last {
            let server = rustix::process::Pid::from_raw(server).unwrap();
            rustix::process::kill_process(server, rustix::process::Signal::STOP).unwrap();
        }
        let limits = Limits { timeout_seconds: 1, ..limits };
        let failure = parser.extract(ExtractRequest { limits: &limits, ..request }).await.unwrap_err();
        assert_eq!(failure.kind, ParserFailureKind::TimedOut, "{failure}");
    });
    drop(runtime);
    eventually("the servers end", || processes().is_empty());
}

/// The photos of a phone: 4608 by 3472 pixels, as JPEG and, with transparency, as PNG.
fn photos() -> [(&'static str, Vec<u8>); 2] {
    let shade = |x: u32, y: u32| [(x / 19) as u8, (y / 14) as u8, (x.wrapping_mul(y) >> 16) as u8];
    let opaque = image::RgbImage::from_fn(4608, 3472, |x, y| image::Rgb(shade(x, y)));
    let mut jpeg = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 90);
    opaque.write_with_encoder(encoder).unwrap();
    let transparent = image::DynamicImage::from(opaque).into_rgba8();
    let mut png = Vec::new();
    let fast = image::codecs::png::CompressionType::Fast;
    let encoder =
        image::codecs::png::PngEncoder::new_with_quality(&mut png, fast, image::codecs::png::FilterType::NoFilter);
    transparent.write_with_encoder(encoder).unwrap();
    [("image/jpeg", jpeg), ("image/png", png)]
}

/// With the smallest memory and the fewest pixels that the settings accept, ordinary photos are decoded.
#[test]
fn smallest_limits_that_the_settings_accept_decode_photos_of_sixteen_megapixels() {
    let bound = |name: &str| general_key(name).unwrap().bounds.unwrap().min;
    let memory: ByteSize = bound("enrich.memory").parse().unwrap();
    let max_pixels: u64 = bound("enrich.max_pixels").parse().unwrap();
    let limits = Limits { max_pixels, ..Limits::default().with_memory(memory.0) };
    for (media_type, photo) in photos() {
        let site = ParserFixture::new(&photo);
        let parsed = site.parse(&real_parser(), media_type, &limits).unwrap();
        assert_eq!(parsed.image.unwrap().width, 4608, "{media_type}");
        assert!(parsed.thumbnail.is_some(), "{media_type}");
    }
}
