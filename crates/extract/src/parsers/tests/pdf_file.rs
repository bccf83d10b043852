//! The structure of PDFs: damaged, padded and hostile files.

use super::pdf::{page, page_objects, pdf, pdf_shifted, stream};
use super::*;

fn is_truncated(extraction: &Extraction) -> bool {
    extraction.notes.iter().any(|note| note.contains("truncated"))
}

#[test]
fn truncated_pdf_is_malformed_or_partial() {
    let whole = sample("en/archive-handbook.pdf");
    for part in [10, 40, 100, whole.len() / 4, whole.len() / 2, whole.len() * 9 / 10] {
        if let Err(error) = parse(&whole[..part], "application/pdf") {
            assert_eq!(error.kind, ExtractErrorKind::Malformed, "{part}: {error}");
            assert!(error.message.contains("truncated or damaged"), "{error}");
        }
    }
}

#[test]
fn pdf_is_read_behind_other_bytes() {
    let file = page("", "BT /T 12 Tf (found) Tj ET");
    let text = String::from_utf8(file.clone()).unwrap();
    for before in [
        "\r\n".to_owned(),
        "\x1B%-12345X@PJL JOB\r\n@PJL ENTER LANGUAGE = PDF\r\n".to_owned(),
        "--boundary\r\nContent-Type: application/pdf\r\n\r\n".to_owned(),
        "X-Note: %PDF-1.4 follows\r\n\r\n".to_owned(),
        "@PJL COMMENT setting\r\n".repeat(100),
    ] {
        // Offsets that count from the header, and such that count from the start of the file.
        let shifted = pdf_shifted(&page_objects("", &stream("", "BT /T 12 Tf (found) Tj ET")), before.len());
        for file in [[before.as_bytes(), &file].concat(), [before.as_bytes(), &shifted].concat()] {
            let extraction = parse(&file, "application/pdf").unwrap();
            assert_eq!(extraction.text.as_deref(), Some("found"), "{before:?} {text}");
            assert!(!is_truncated(&extraction), "{extraction:?}");
        }
    }
}

#[test]
fn padding_behind_the_end_of_a_pdf_is_no_damage() {
    let file = page("", "BT /T 12 Tf (found) Tj ET");
    let scan = page("", "");
    for padding in [vec![0; 100], vec![0; 8192], vec![b'\n'; 3000], b"\x9A\x13garbage and words ".repeat(300)] {
        let extraction = parse(&[&file, &padding[..]].concat(), "application/pdf").unwrap();
        assert_eq!(extraction.text.as_deref(), Some("found"));
        assert!(!is_truncated(&extraction), "{extraction:?}");
        let extraction = parse(&[&scan, &padding[..]].concat(), "application/pdf").unwrap();
        assert_eq!(extraction.notes, ["no text layer"]);
    }
    let cut_update = [&file, &b"\n4 0 obj\n<</Type /Font"[..]].concat();
    assert!(is_truncated(&parse(&cut_update, "application/pdf").unwrap()), "an update was begun");
}

#[test]
fn pdf_stream_ends_where_its_length_does_not_say() {
    let content = "BT /T 12 Tf (found) Tj ET";
    for (dictionary, end) in [
        ("", "\nendstream"),
        ("", "endstream"),
        ("", "\r\n endstream"),
        ("", "\n"),
        ("/Length 99 0 R", "\nendstream"),
        ("/Length null", "\nendstream"),
        ("/Length -1", "\nendstream"),
        ("/Length 3", "\nendstream"),
        ("/Length 3", "endstream"),
        ("/Length 5000", "\nendstream"),
        ("/Length (25)", "\nendstream"),
        ("/Length 0", "\nendstream"),
        ("/Length 25.", "\nendstream"),
    ] {
        let object = format!("<<{dictionary}>>\nstream\n{content}{end}");
        let extraction = parse(&pdf(&page_objects("", &object)), "application/pdf").unwrap();
        assert_eq!(extraction.text.as_deref(), Some("found"), "{object:?}");
    }
}

/// A content stream that is compressed, then written in hexadecimal.
fn compressed(deflated: &[u8]) -> String {
    let hex: String = deflated.iter().map(|byte| format!("{byte:02X}")).collect();
    stream("/Filter [/ASCIIHexDecode /FlateDecode]", &(hex + ">"))
}

fn deflated(content: &str) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn damaged_content_of_a_page_is_noted() {
    let lines: Vec<String> =
        (0..50).map(|n| format!("BT /T 12 Tf 0 {} Td (line {}) Tj ET", 12 * n, n * 7919)).collect();
    let content = deflated(&lines.join("\n"));
    let read = |data: &[u8]| parse(&pdf(&page_objects("", &compressed(data))), "application/pdf").unwrap();
    let cut_note = "page 1: the content is cut, because a stream could not be decoded to its end";
    let whole = read(&content);
    assert_eq!(whole.notes, [""; 0]);
    assert_eq!(read(&[b"\n", &content[..]].concat()), whole, "white space precedes the data");
    let cut = read(&content[..content.len() / 2]);
    assert!(whole.text.unwrap().starts_with(&cut.text.unwrap()[..20]));
    assert!(cut.notes.iter().any(|note| note == cut_note), "{:?}", cut.notes);
    let lost = read(b"nothing that was deflated");
    assert_eq!((lost.text.as_deref(), &lost.notes[0][..]), (None, "no text could be read: the pages are damaged"));
    assert!(lost.notes.iter().any(|note| note == cut_note), "{:?}", lost.notes);
    let unknown = pdf(&page_objects("", &stream("/Filter /Unknown", "BT (lost) Tj ET")));
    assert_eq!(parse(&unknown, "application/pdf").unwrap().notes[0], lost.notes[0]);
}

/// A file whose objects are in an object stream and that has a cross-reference stream, both without a length.
#[test]
fn object_and_cross_reference_streams_without_a_length_are_read() {
    let objects = ["<</Type /Catalog /Pages 2 0 R>>", "<</Type /Pages /Kids [3 0 R] /Count 1>>"];
    let packed = format!("1 0 2 {} {}", objects[0].len() + 1, objects.join(" "));
    for length in ["", "/Length 999 0 R"] {
        let mut bytes = b"%PDF-1.5\n".to_vec();
        let mut entries = vec![[0, 0, 0, 0], [2, 0, 6, 0], [2, 0, 6, 1]];
        for (number, object) in [
            (3, "<</Type /Page /Parent 2 0 R /Contents 5 0 R /Resources <</Font <</T 4 0 R>>>>>>".to_owned()),
            (4, "<</Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding>>".to_owned()),
            (5, format!("<<{length}>>\nstream\nBT /T 12 Tf (found) Tj ET\nendstream")),
            (6, format!("<</Type /ObjStm /N 2 /First 9 {length}>>\nstream\n{packed}\nendstream")),
        ] {
            entries.push([1, (bytes.len() >> 8) as u8, bytes.len() as u8, 0]);
            bytes.extend(format!("{number} 0 obj\n{object}\nendobj\n").into_bytes());
        }
        assert!(packed.starts_with("1 0 2 32 "), "{packed}");
        let table = bytes.len();
        entries.push([1, (table >> 8) as u8, table as u8, 0]);
        let dictionary = format!("<</Type /XRef /Size 8 /W [1 2 1] /Root 1 0 R {length}>>");
        bytes.extend(format!("7 0 obj\n{dictionary}\nstream\n").into_bytes());
        bytes.extend(entries.concat());
        bytes.extend(format!("\nendstream\nendobj\nstartxref\n{table}\n%%EOF").into_bytes());
        let extraction = parse(&bytes, "application/pdf").unwrap();
        assert_eq!(extraction.text.as_deref(), Some("found"), "{extraction:?}");
    }
}

#[test]
fn odd_token_of_a_page_is_noted_and_costs_no_more_than_itself() {
    for odd in [
        "--5 0 Td",
        "1 0 0 1 1.#IND 0 cm",
        "} {",
        ">>",
        ")",
        "nan 0 Td",
        "<6fZ> Tj",
        "/A <</B 1 BDC",
        "[(x) 1 Tj",
        "1.2.3 0 Td",
    ] {
        let content = format!("BT /T 12 Tf 0 700 Td (before) Tj ET {odd}\nBT /T 12 Tf 0 600 Td (after) Tj ET");
        let extraction = parse(&page("", &content), "application/pdf").unwrap();
        let text = extraction.text.unwrap();
        assert!(text.starts_with("before") && text.ends_with("after"), "{odd}: {text}");
        assert_eq!(extraction.notes, ["page 1: parts that are not valid were skipped or guessed"], "{odd}");
    }
}

/// Every byte of a small file is changed in turn: the result is always a text or a named error.
#[test]
fn pdf_with_flipped_bits_ends_in_a_named_outcome() {
    let annotations = "/Annots [<</Subtype /Widget /FT /Tx /V (filled)>>]";
    let whole = page(annotations, "BT /T 12 Tf 72 700 Td (found) Tj [(a) -3 (b)] TJ BI /W 1 ID x EI ET");
    for at in 0..whole.len() {
        for bit in [1, 4, 7] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            if let Err(error) = parse(&damaged, "application/pdf") {
                assert!(!error.message.is_empty() && error.kind != ExtractErrorKind::Io, "{at} {bit}: {error}");
            }
        }
        let _ = parse(&whole[..at], "application/pdf");
    }
}

#[test]
fn pages_that_are_no_objects_of_their_own_are_read() {
    let page = "<</Type /Page /Contents 5 0 R /Resources <</Font <</T 4 0 R>>>>>>";
    for (catalogue, pages, third) in [
        ("/Pages 2 0 R", format!("<</Type /Pages /Kids [{page}] /Count 1>>"), ""),
        ("/Pages 2 0 R", format!("<</Type /Pages /Kids [<</Type /Pages /Kids [{page}] /Count 1>>] /Count 1>>"), ""),
        ("/Pages 2 0 R", "<</Type /Pages /Kids 3 0 R /Count 1>>".to_owned(), &format!("[{page}]")[..]),
        ("/Pages <</Type /Pages /Kids [2 0 R] /Count 1>>", page.to_owned(), ""),
        ("/Pages 2 0 R", page.to_owned(), ""),
        ("/Pages 3 0 R", "<</Type /Pages /Kids [3 0 R] /Count 1>>".to_owned(), page),
    ] {
        let mut objects = page_objects("", &stream("", "BT /T 12 Tf (found) Tj ET"));
        objects[0] = format!("<</Type /Catalog {catalogue}>>");
        objects[1] = pages;
        objects[2] = if third.is_empty() { "null".to_owned() } else { third.to_owned() };
        let extraction = parse(&pdf(&objects), "application/pdf").unwrap();
        assert_eq!((extraction.text.as_deref(), extraction.pages), (Some("found"), Some(1)), "{:?}", &objects[..3]);
        assert_eq!(extraction.notes, [""; 0]);
    }
}

#[test]
fn pdf_with_cyclic_page_tree_is_malformed() {
    let looped = pdf(&[
        "<</Type /Catalog /Pages 2 0 R>>".into(),
        "<</Type /Pages /Kids [2 0 R 3 0 R] /Count 2 /Parent 3 0 R>>".into(),
        "<</Type /Pages /Kids [2 0 R 3 0 R] /Count 2 /Parent 2 0 R>>".into(),
    ]);
    let error = parse(&looped, "application/pdf").unwrap_err();
    assert_eq!(error.kind, ExtractErrorKind::Malformed, "{error}");
}

#[test]
fn recursive_and_exponential_pdf_forms_are_bounded() {
    let form = |name: &str, next: usize| {
        let resources =
            format!("/Type /XObject /Subtype /Form /Resources <</XObject <</F {next} 0 R>> /Font <</T 4 0 R>>>>");
        stream(&resources, &format!("/F Do {name} /F Do"))
    };
    let mut objects = vec![
        "<</Type /Catalog /Pages 2 0 R>>".to_owned(),
        "<</Type /Pages /Kids [3 0 R] /Count 1>>".to_owned(),
        "<</Type /Page /Parent 2 0 R /Contents 5 0 R /Resources <</XObject <</F 6 0 R>> /Font <</T 4 0 R>>>>>>"
            .to_owned(),
        "<</Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding>>".to_owned(),
        stream("", "BT /T 12 Tf (found) Tj ET /F Do"),
    ];
    let mut recursive = objects.clone();
    recursive.push(form("", 6));
    assert_eq!(text_of(&pdf(&recursive), "application/pdf"), "found");
    objects.extend((0..40).map(|level| form("", 7 + level)));
    objects.push(stream("/Type /XObject /Subtype /Form", ""));
    let parsed = parse(&pdf(&objects), "application/pdf");
    assert!(parsed.is_ok_and(|extraction| extraction.text.as_deref() == Some("found")));
}

#[test]
fn pdf_decompression_bomb_is_refused() {
    let zeros = vec![b' '; 200 << 20];
    let mut packed = lopdf::Stream::new(lopdf::Dictionary::new(), zeros);
    packed.compress().unwrap();
    let mut bytes = b"%PDF-1.5\n".to_vec();
    let mut offsets = Vec::new();
    let length = packed.content.len();
    for (number, object) in [
        (1, "<</Type /Catalog /Pages 2 0 R>>".to_owned().into_bytes()),
        (2, "<</Type /Pages /Kids [3 0 R] /Count 1>>".to_owned().into_bytes()),
        (3, "<</Type /Page /Parent 2 0 R /Contents 4 0 R>>".to_owned().into_bytes()),
        (
            4,
            [
                format!("<</Length {length} /Filter /FlateDecode>>\nstream\n").as_bytes(),
                &packed.content,
                b"\nendstream",
            ]
            .concat(),
        ),
    ] {
        offsets.push(bytes.len());
        bytes.extend(format!("{number} 0 obj\n").as_bytes());
        bytes.extend(object);
        bytes.extend(b"\nendobj\n");
    }
    let table = bytes.len();
    bytes.extend(b"xref\n0 5\n0000000000 65535 f \n");
    offsets.iter().for_each(|offset| bytes.extend(format!("{offset:010} 00000 n \n").as_bytes()));
    bytes.extend(format!("trailer <</Size 5 /Root 1 0 R>>\nstartxref\n{table}\n%%EOF").as_bytes());
    assert!(bytes.len() < 1 << 20);
    let error = parse(&bytes, "application/pdf").unwrap_err();
    assert_eq!(error.kind, ExtractErrorKind::Limit, "{error}");
    assert!(error.message.contains("--memory"), "{error}");
}
