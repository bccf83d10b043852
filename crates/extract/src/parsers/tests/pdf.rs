//! The text of PDFs.

use super::*;

#[test]
fn persian_pdf_is_in_reading_order() {
    let extraction = parse(&sample("fa/nowruz.pdf"), "application/pdf").unwrap();
    let text = extraction.text.clone().unwrap();
    assert!(text.contains("نوروز نخستین روز سال خورشیدی و آغاز بهار است"), "{text}");
    assert!(text.contains("در سال ۱۴۰۳ شمار"), "{text}");
    assert!(text.contains("«جشنها»"), "{text}");
    assert_eq!(extraction.title.as_deref(), Some("نوروز در بایگانی"));
    assert_eq!((extraction.language(), extraction.pages), (Some("fa"), Some(1)));
    let text = text_of(&sample("fa/ghazal-1.pdf"), "application/pdf");
    assert!(text.contains("الا یا ایها الساقی ادر کأسا و ناولها"), "{text}");
}

#[test]
fn persian_pdfs_of_several_programs_are_in_reading_order() {
    let exports = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/parsers/pdf/exports");
    let read = |name: &str| {
        let text = text_of(&std::fs::read(exports.join(name)).unwrap(), "application/pdf");
        text.replace(['\u{200C}', '\n'], " ")
    };
    for name in ["xetex.pdf", "libreoffice.pdf", "chromium.pdf"] {
        let text = read(name);
        assert!(text.contains("بزرگترین کتابخانه های ایران در تهران است و مراجع بسیاری دارد."), "{name}: {text}");
        assert!(
            text.contains("در سال ۱۳۹۵ بیش از ۲۰۰ هزار کتاب، از جمله «شاهنامه»، به آن افزوده شد."),
            "{name}: {text}"
        );
    }
    // With the errors of the recognition.
    let text = read("tesseract.pdf");
    assert!(text.contains("کتابخانه های ایران در نهران است و مراجع بسیاری دارد."), "{text}");
    assert!(text.contains("در سال ۱۳۹۵ بیش از ۲۰۰ هزار کتاب"), "{text}");
}

/// A PDF of these objects, numbered from 1; the first is the catalogue.
pub(super) fn pdf(objects: &[String]) -> Vec<u8> {
    pdf_shifted(objects, 0)
}

/// One whose offsets count from so many bytes before its start.
pub(super) fn pdf_shifted(objects: &[String], shift: usize) -> Vec<u8> {
    let mut bytes = b"%PDF-1.5\n".to_vec();
    let mut offsets = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        offsets.push(bytes.len());
        bytes.extend(format!("{} 0 obj\n{object}\nendobj\n", index + 1).into_bytes());
    }
    let table = bytes.len();
    bytes.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).into_bytes());
    for offset in offsets {
        bytes.extend(format!("{:010} 00000 n \n", offset + shift).into_bytes());
    }
    let table = table + shift;
    bytes
        .extend(format!("trailer <</Size {} /Root 1 0 R>>\nstartxref\n{table}\n%%EOF", objects.len() + 1).into_bytes());
    bytes
}

pub(super) fn stream(dictionary: &str, content: &str) -> String {
    format!("<<{dictionary} /Length {}>>\nstream\n{content}\nendstream", content.len())
}

/// A PDF of one page with this content, and these entries of the page.
pub(super) fn page(entries: &str, content: &str) -> Vec<u8> {
    pdf(&page_objects(entries, &stream("", content)))
}

pub(super) fn page_objects(entries: &str, content: &str) -> Vec<String> {
    let resources = "/Resources <</Font <</T 4 0 R>>>>";
    vec![
        "<</Type /Catalog /Pages 2 0 R>>".to_owned(),
        "<</Type /Pages /Kids [3 0 R] /Count 1>>".to_owned(),
        format!("<</Type /Page /Parent 2 0 R /Contents 5 0 R {resources} {entries}>>"),
        "<</Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding>>".to_owned(),
        content.to_owned(),
    ]
}

#[test]
fn form_fields_and_notes_of_a_pdf_are_read() {
    let annotations = "/Annots [<</Subtype /Widget /FT /Tx /V <FEFF0633064406270645>>> \
        <</Subtype /FreeText /Contents (typed)>> <</Subtype /Stamp /AP <</N 6 0 R>>>>]";
    let mut objects = page_objects(annotations, &stream("", "BT /T 12 Tf (printed) Tj ET"));
    objects.push(stream("/Type /XObject /Subtype /Form", "BT /T 12 Tf (stamped) Tj ET"));
    assert_eq!(text_of(&pdf(&objects), "application/pdf"), "printed\nسلام\ntyped\nstamped");
}

#[test]
fn pdf_text_is_read_in_every_direction() {
    for content in [
        "BT /T 12 Tf 1 0 0 1 50 700 Tm (one two) Tj ET",
        "BT /T -12 Tf -1 0 0 -1 50 700 Tm (one two) Tj ET",
        "1 0 0 -1 0 800 cm BT /T 12 Tf 1 0 0 -1 50 100 Tm (one two) Tj ET",
        "BT /T 12 Tf 0 1 -1 0 50 100 Tm (one two) Tj ET",
        "BT /T 12 Tf -1 0 0 -1 50 100 Tm (one two) Tj ET",
        "BT /T 12 Tf -100 Tz -1 0 0 1 50 100 Tm (one two) Tj ET",
        "BT /T 12 Tf 1 0 0 -1 50 100 Tm (one two) Tj ET",
        "BT /T 12 Tf -1 0 0 1 500 100 Tm (1395) Tj ET",
    ] {
        let expected = if content.contains("1395") { "1395" } else { "one two" };
        assert_eq!(text_of(&page("", content), "application/pdf"), expected, "{content}");
    }
}

#[test]
fn pdf_page_without_a_trustworthy_text_layer_is_named() {
    let mut objects = page_objects("", "");
    objects[3] = "<</Type /Font /Subtype /Type0 /Encoding /Identity-H /DescendantFonts []>>".to_owned();
    objects[4] = stream("", "BT /T 12 Tf <000100020003000400050006> Tj ET");
    let extraction = parse(&pdf(&objects), "application/pdf").unwrap();
    assert!(
        extraction.notes.iter().any(|note| note.starts_with("the text layer of page 1 cannot be trusted")),
        "{extraction:?}"
    );
}

/// Characters without text and tokens that are not valid count wherever on the page they are drawn.
#[test]
fn appearances_of_annotations_count_for_the_trust_in_a_page() {
    for annotation in ["/Subtype /Stamp", "/Subtype /FreeText", "/Subtype /Widget /FT /Tx", "/Subtype /Widget /FT /Sig"]
    {
        let annotations = format!("/Annots [<<{annotation} /AP <</N 6 0 R>>>>]");
        let mut objects = page_objects(&annotations, &stream("", "BT /T 12 Tf (printed) Tj ET"));
        objects.push(stream(
            "/Type /XObject /Subtype /Form /Resources <</Font <</U 7 0 R>>>>",
            "BT /U 12 Tf <000100020003000400050006> Tj ET } {",
        ));
        objects.push("<</Type /Font /Subtype /Type0 /Encoding /Identity-H /DescendantFonts []>>".to_owned());
        let extraction = parse(&pdf(&objects), "application/pdf").unwrap();
        assert_eq!(extraction.text.as_deref(), Some("printed"), "{annotation}");
        assert_eq!(
            extraction.notes,
            [
                "6 of 13 characters have no text in their font",
                "the text layer of page 1 cannot be trusted: over 10 % of its characters have no text in their font, so it \
                 needs OCR",
                "page 1: parts that are not valid were skipped or guessed",
            ],
            "{annotation}"
        );
    }
}

#[test]
fn what_a_pdf_page_refers_to_in_vain_is_noted() {
    for content in ["/T2 12 Tf (x) Tj", "/F Do", "BT (no font) Tj ET"] {
        let content = format!("BT /T 12 Tf (found) Tj ET q {content} Q");
        let content = content.replace("q BT", "q /T2 1 Tf BT");
        let extraction = parse(&page("", &content), "application/pdf").unwrap();
        assert_eq!(extraction.text.as_deref(), Some("found"), "{content}");
        assert_eq!(extraction.notes, ["page 1: parts that are not valid were skipped or guessed"], "{content}");
    }
}

#[test]
fn pdf_page_with_too_many_characters_is_cut_and_noted() {
    let string = format!("({}) Tj ", "x".repeat(1000));
    let content = format!("BT /T 12 Tf {} ET", string.repeat(501));
    let extraction = parse(&page("", &content), "application/pdf").unwrap();
    assert!(extraction.truncated);
    assert_eq!(extraction.notes, ["page 1: only the first 500000 characters were read"]);
}
