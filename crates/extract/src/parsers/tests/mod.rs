//! Valid files in their many forms, and hostile ones. Each parse ends quickly, with a result or an error that names its
//! reason.

mod html;
mod html_charset;
mod image;
mod pdf;
mod pdf_annotations;
mod pdf_file;
mod plain;

use std::io::{Seek, Write};
use std::time::{Duration, Instant};

use super::*;

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn parse(bytes: &[u8], media_type: &str) -> Result<Extraction, ExtractError> {
    let started = Instant::now();
    let parsed = extract(file(bytes), media_type, &Limits::default()).map(|(extraction, _)| extraction);
    assert!(started.elapsed() < Duration::from_secs(20), "took {:?}", started.elapsed());
    parsed
}

fn text_of(bytes: &[u8], media_type: &str) -> String {
    parse(bytes, media_type).unwrap().text.unwrap_or_default()
}

fn sample(path: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/media").join(path)).unwrap()
}

#[test]
fn sparse_gibibyte_is_not_read_whole() {
    let sparse = tempfile::tempfile().unwrap();
    sparse.set_len(1 << 30).unwrap();
    let started = Instant::now();
    let error = extract(sparse.try_clone().unwrap(), "text/plain", &Limits::default()).unwrap_err();
    assert_eq!(error.kind, ExtractErrorKind::Malformed, "{error}");
    let error = extract(sparse, "application/pdf", &Limits::default()).unwrap_err();
    assert_eq!(error.kind, ExtractErrorKind::Limit);
    assert!(error.message.contains("--memory"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn long_text_is_truncated() {
    let limits = Limits { max_text_bytes: 1000, ..Limits::default() };
    let text = "متن ".repeat(10_000);
    let (extraction, _) = extract(file(text.as_bytes()), "text/plain", &limits).unwrap();
    assert!(extraction.truncated && extraction.text.unwrap().len() <= 1000);
    let page = format!("<p>{text}");
    let (extraction, _) = extract(file(page.as_bytes()), "text/html", &limits).unwrap();
    assert!(extraction.truncated && extraction.text.unwrap().len() <= 1000);
}

#[test]
fn unsupported_media_type_is_not_an_error() {
    let extraction = parse(b"OggS", "audio/ogg").unwrap();
    assert_eq!(extraction.notes, ["no extractor for audio/ogg"]);
    let docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    assert_eq!(parse(b"PK\x03\x04", docx).unwrap().notes, ["no extractor for DOCX"]);
    assert_eq!(parse(b"<svg/>", "image/svg+xml").unwrap().notes, ["no extractor for SVG"]);
}

#[test]
fn the_first_note_says_why_nothing_was_read() {
    for (bytes, media_type) in [(&b" \n "[..], "text/plain"), (b"<p> </p>", "text/html")] {
        assert_eq!(parse(bytes, media_type).unwrap().notes, ["no text in it"], "{media_type}");
    }
    let noted =
        |notes: &[&str]| Extraction { notes: notes.iter().map(ToString::to_string).collect(), ..Extraction::default() };
    let truncated = with_reason_first(noted(&["the PDF is truncated", "no text layer"]));
    assert_eq!(truncated.notes, ["no text layer", "the PDF is truncated"]);
    assert_eq!(with_reason_first(noted(&["2 pages could not be read"])).notes[0], "no text in it");
    let read = Extraction { text: Some("a".to_owned()), ..noted(&["the PDF is truncated"]) };
    assert_eq!(with_reason_first(read.clone()), read);
}
