use proptest::prelude::*;

use super::*;

fn of(bytes: &[u8], name: &str) -> (&'static str, bool) {
    let detected = detect(bytes, Some(name));
    (detected.media_type, detected.mismatch)
}

#[test]
fn content_determines_the_type() {
    for (bytes, media_type) in [
        (&b"\xFF\xD8\xFF\xE0\0\x10JFIF"[..], "image/jpeg"),
        (b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR", "image/png"),
        (b"GIF89a\x01\0\x01\0", "image/gif"),
        (b"RIFF\x24\0\0\0WEBPVP8L", "image/webp"),
        (b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "image/bmp"),
        (b"II*\0\x08\0\0\0", "image/tiff"),
        (b"%PDF-1.5\n%\xD0\xD4", "application/pdf"),
        (b"\n%PDF-1.5\n%\xD0\xD4", "application/pdf"),
        (b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x1E\x01vorbis", "audio/ogg"),
        (b"ID3\x04\0\0\0\0\0\x23", "audio/mpeg"),
        (b"\xFF\xFB\x90\x64\0", "audio/mpeg"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0", "video/mp4"),
        (b"\0\0\0\x20ftypM4A \0\0\x02\0", "audio/mp4"),
        (b"<!DOCTYPE html><html>", "text/html"),
        ("\u{FEFF}\n <!-- سلام --> <HTML lang=fa>".as_bytes(), "text/html"),
        (b"<div>\n", "text/html"),
        (b"<?xml version=\"1.0\"?><html xmlns=\"x\">", "application/xhtml+xml"),
        (b"<?xml version=\"1.0\"?>\n<!-- c --><svg width=\"1\">", "image/svg+xml"),
        (b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>", "image/svg+xml"),
        (b"<?xml version=\"1.0\"?><a/>", "application/xml"),
        (b"{\"a\": [1, 2, ", "application/json"),
        (b"{\"a\":1}\n{\"a\":2}\n", "application/jsonl"),
        (b"{ not json at all }", "text/plain"),
        (b"name,year,city\na,1,b\nc,2,d\n", "text/csv"),
        ("سلام دنیا".as_bytes(), "text/plain"),
        (b"\xFF\xFEs\0a\0l\0", "text/plain"),
        (b"\xD3\xE1\xC7\xE3 \xCF\xE4\xED\xC7", "text/plain"),
        (b"one \x1B[31mtwo\x1B[0m and \x07 three", "text/plain"),
        (b"text of a record\0\0\0\0\0\0\0\0", "text/plain"),
        (b"s\0a\0l\0a\0m\0", "text/plain"),
        (b"\0s\0a\0l\0a\0m", "text/plain"),
        (b"s\0\0\0a\0\0\0l\0\0\0a\0\0\0", "text/plain"),
        (b"\xFF\xFE\0\0s\0\0\0a\0\0\0", "text/plain"),
        (b"<\0h\0t\0m\0l\0>\0<\0p\0>\0", "text/html"),
        (b"<!--><html>", "text/html"),
        (b"<!---><html>", "text/html"),
        (b"BMW is a car; MZ and BZh are letters", "text/plain"),
        (b"PK\x03\x04\x14\0\0\0", "application/zip"),
        (b"\0\0\0\0\0\0\0\0", UNKNOWN),
        (b"\xFF\xFE\x01\0\x02\0\x03\0\x04\0", UNKNOWN),
        (b"\x7FELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3E\0", "application/x-elf"),
        (b"SQLite format 3\0\x10\0\x01\x01\0\x40\x20\x20", "application/vnd.sqlite3"),
        (b"\x1F\x8B\x08\0\0\0\0\0\0\x03", "application/gzip"),
        (b"", UNKNOWN),
    ] {
        assert_eq!(detect(bytes, None).media_type, media_type, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn office_documents_are_distinguished_from_zip() {
    let entry = |name: &str| {
        [&b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x13\0\0\0"[..], name.as_bytes()].concat()
    };
    let docx = [entry("[Content_Types].xml"), entry("_rels/.rels"), entry("word/document.xml")].concat();
    assert!(detect(&docx, None).media_type.ends_with("wordprocessingml.document"));
    let odt = entry("mimetypeapplication/vnd.oasis.opendocument.text");
    assert_eq!(detect(&odt, None).media_type, "application/vnd.oasis.opendocument.text");
    assert!(!of(&entry("a.txt"), "book.xlsx").1, "the name may say more of a zip than its first bytes");
}

#[test]
fn pdf_behind_other_bytes_is_a_pdf() {
    let pdf = b"%PDF-1.7\n%\xE2\xE3\xCF\xD3\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n";
    let long = format!("{}\r\n", "@PJL COMMENT a printer's setting\r\n".repeat(60));
    for before in [
        &b""[..],
        b"\r\n\r\n",
        b"\x1B%-12345X@PJL JOB\r\n@PJL ENTER LANGUAGE = PDF\r\n",
        b"\x1B%-12345X@PJL JOB\r\n@PJL SET \x01\x02\r\n",
        b"--boundary\r\nContent-Type: application/pdf\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\n\r\n",
        b"\0\x01\x02binary\0",
        b"some words\n",
        long.as_bytes(),
    ] {
        let file = [before, pdf].concat();
        assert_eq!(detect(&file, Some("a.pdf")).media_type, "application/pdf", "{}", String::from_utf8_lossy(before));
    }
}

/// A whole file of text objects, without binary data.
const PLAIN_PDF: &str = "%PDF-1.7\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n2 0 obj\n<</Type/Pages/Kids[]/Count 0>>\n\
    endobj\nxref\n0 3\n0000000000 65535 f \n0000000009 00000 n \n0000000054 00000 n \ntrailer\n<</Size 3/Root 1 0 R>>\n\
    startxref\n105\n%%EOF\n";

#[test]
fn pdf_behind_the_start_of_another_format_is_a_pdf() {
    let long = PLAIN_PDF.replace("2 0 obj\n", &format!("2 0 obj\n{}\n", "% ".repeat(SAMPLE_BYTES)));
    let long_stream = format!("%PDF-1.7\n1 0 obj\n<</Length 9000>>\nstream\n{}", "0 0 m ".repeat(SAMPLE_BYTES));
    let update = format!("{PLAIN_PDF}2 0 obj\n<</Type/Pages/Kids[]/Count 0>>\nendobj\n");
    for before in [
        "Sent by the scanner:\n",
        "گزارش سالانه\n",
        "<br />\n<b>Notice</b>: Undefined index<br />\n",
        "<!DOCTYPE html>\n",
        "{\"ok\":true}\n",
        "<?xml version=\"1.0\"?>\n",
        "%!PS-Adobe-3.0 PDF-1.4\n",
        "-12345X@PJL JOB\n",
        "\u{1B}E\u{1B}&l0O",
        "report.pdf ",
        &"2024-01-01 INFO started\n".repeat(20),
    ] {
        for pdf in [PLAIN_PDF, &long, &long_stream, &update] {
            let file = format!("{before}{pdf}");
            assert_eq!(detect(file.as_bytes(), None).media_type, "application/pdf", "{before}");
        }
    }
    let far = format!("{}\n{PLAIN_PDF}", "x".repeat(1024));
    assert_eq!(detect(far.as_bytes(), None).media_type, "text/plain", "a header within the first KiB");
}

#[test]
fn text_that_quotes_a_pdf_is_not_pdf() {
    let object = PLAIN_PDF.split_inclusive("endobj\n").next().unwrap();
    for text in [
        format!("A small PDF:\n{PLAIN_PDF}Its end is the marker %%EOF.\n"),
        format!("A small PDF:\n```\n{PLAIN_PDF}```\n"),
        format!("The first object:\n{object}\nand so on, up to startxref and %%EOF.\n"),
        format!("The first object:\n{object}\n{}", "It is the catalogue. ".repeat(SAMPLE_BYTES)),
        format!("The first object:\n{object}"),
        "A stream:\n%PDF-1.7\n1 0 obj\n<<>>\nstream\nwords\n".to_owned(),
    ] {
        assert_eq!(detect(text.as_bytes(), None).media_type, "text/plain", "{text:.200}");
    }
    let page = format!("<!doctype html><pre>\n{PLAIN_PDF}</pre>\n");
    assert_eq!(detect(page.as_bytes(), None).media_type, "text/html");
    let program = format!("PDF = b\"\"\"\\\n{PLAIN_PDF}\"\"\"\n\ndef read(): ...\n");
    assert_eq!(detect(program.as_bytes(), Some("read.py")).media_type, "text/plain");
}

#[test]
fn text_about_pdf_and_archives_of_pdf_are_not_pdf() {
    for text in [
        "A PDF starts with %PDF-1.7\n1 0 obj",
        "A PDF starts with a line like\n%PDF-1.7\nand has objects such as 1 0 obj.",
        "This is the start of a file:\n%PDF-1.7\n%âãÏÓ\n1 0 obj\n<</Type/Catalog>>",
        "<!doctype html><pre>\n%PDF-1.7\n1 0 obj\n",
        "{\"a\": \n%PDF-1.7\n1 0 obj\n",
    ] {
        assert_ne!(detect(text.as_bytes(), None).media_type, "application/pdf", "{text}");
    }
    let pdf = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n";
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    assert_eq!(detect(&[&tar, &pdf[..]].concat(), None).media_type, "application/x-tar");
    let mut old_tar = vec![0; 512];
    old_tar[..6].copy_from_slice(b"r.pdf\0");
    old_tar[148..156].copy_from_slice(b"        ");
    let sum: u32 = old_tar.iter().map(|byte| u32::from(*byte)).sum();
    old_tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(detect(&[&old_tar, &pdf[..]].concat(), None).media_type, "application/x-tar");
    let zip = [&b"PK\x03\x04\x14\0"[..], &[0; 20], b"\x05\0\0\0a.pdf", pdf].concat();
    assert_eq!(detect(&zip, None).media_type, "application/zip");
}

#[test]
fn archives_of_texts_are_no_text() {
    let mut header = [0_u8; 512];
    header[..8].copy_from_slice(b"note.txt");
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(b"00000000144\0");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let archive = [&header[..], "words of a text, ".repeat(400).as_bytes()].concat();
    assert_eq!(detect(&archive, None).media_type, "application/x-tar");
}

#[test]
fn contradicting_name_is_a_mismatch_and_refining_name_is_not() {
    assert_eq!(of(b"%PDF-1.4", "holiday.jpg"), ("application/pdf", true));
    assert_eq!(of(b"\x89PNG\r\n\x1A\n", "x.jpeg"), ("image/png", true));
    assert_eq!(of(b"just words", "report.pdf"), ("text/plain", true));
    assert_eq!(of(b"just words", "page.xhtml"), ("text/plain", true));
    assert_eq!(of(b"just words", "notes.md"), ("text/markdown", false));
    assert_eq!(of(b"1\n00:00:01,000 --> 00:00:02,000\nhi", "film.srt"), ("application/x-subrip", false));
    assert_eq!(of(b"<html><p>", "page.HTM"), ("text/html", false));
    assert_eq!(of(b"\0\0\0\x20ftypisom", "song.m4a"), ("audio/mp4", false));
    assert_eq!(of(b"words", "no-extension"), ("text/plain", false));
    assert_eq!(of(b"words", ".pdf"), ("text/plain", false));
    assert_eq!(of(&[0; 64], "zeros.txt"), (UNKNOWN, true));
}

#[test]
fn text_that_is_named_html_is_html() {
    for start in
        ["<h2>a</h2>", "<center>a", "<img src=a>", "<form>", "<nav>", "Dear reader,<br>", "R&amp;D", "just words"]
    {
        for name in ["page.html", "PAGE.HTM"] {
            assert_eq!(of(start.as_bytes(), name), ("text/html", false), "{start}");
        }
        assert_eq!(of(start.as_bytes(), "notes.txt"), ("text/plain", false), "{start}");
    }
    let commas = "<h2>a, b, c</h2>\n".repeat(4);
    assert_eq!(of(commas.as_bytes(), "page.html"), ("text/html", false));
    assert_eq!(of(commas.as_bytes(), "notes.md"), ("text/markdown", false));
    assert_eq!(of(commas.as_bytes(), "list.txt"), ("text/csv", false));
    assert_eq!(of(b"{\"a\": 1}", "page.html"), ("application/json", false));
    assert_eq!(of(b"%PDF-1.4", "page.html"), ("application/pdf", true));
}

proptest! {
    #[test]
    fn detect_accepts_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600), name in "\\PC{0,12}(\\.[a-zA-Z0-9]{1,4})?") {
        let _ = detect(&bytes, Some(&name));
    }
}
