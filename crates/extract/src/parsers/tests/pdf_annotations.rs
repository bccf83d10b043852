//! Form fields and annotations of PDFs.

use super::pdf::{page_objects, pdf, stream};
use super::*;

#[test]
fn form_fields_and_notes_of_a_pdf_are_read() {
    let annotations = "/Annots [<</Subtype /Widget /FT /Tx /V <FEFF0633064406270645>>> \
        <</Subtype /FreeText /Contents (typed)>> <</Subtype /Stamp /AP <</N 6 0 R>>>>]";
    let mut objects = page_objects(annotations, &stream("", "BT /T 12 Tf (printed) Tj ET"));
    objects.push(stream("/Type /XObject /Subtype /Form", "BT /T 12 Tf (stamped) Tj ET"));
    assert_eq!(text_of(&pdf(&objects), "application/pdf"), "printed\nسلام\ntyped\nstamped");
}

#[test]
fn what_annotations_draw_is_read_beside_what_they_say() {
    for (annotation, drawn, expected) in [
        ("/Subtype /Stamp /Contents (a remark)", "APPROVED", "APPROVED\na remark"),
        ("/Subtype /FreeText /Contents (typed)", "typed", "typed"),
        ("/Subtype /Ink", "drawn", "drawn"),
        ("/Subtype /Line /Contents (12 cm)", "12 cm", "12 cm"),
        ("/Subtype /Square", "drawn", "drawn"),
        ("/Subtype /Caret", "drawn", "drawn"),
        ("/Subtype /Redact", "REDACTED", "REDACTED"),
        ("/Subtype /Popup", "drawn", ""),
        ("/Subtype /Stamp /F 2", "hidden", ""),
        ("/Subtype /Widget /FT /Tx /V (1234.5)", "1,234.50 EUR", "1,234.50 EUR\n1234.5"),
        ("/Subtype /Widget /FT /Tx /V (the same)", "the same", "the same"),
        ("/Subtype /Widget /FT /Tx /Ff 8192 /V (secret)", "secret", ""),
        ("/Subtype /Widget /FT /Btn /Ff 65536", "Send now", "Send now"),
        ("/Subtype /Widget /FT /Btn /Ff 65536 /MK <</CA (Send now)>>", "Send now", "Send now"),
        ("/Subtype /Widget /FT /Btn /V /A /AS /A", "I agree", "I agree"),
        ("/Subtype /Widget /FT /Btn /V /married /AS /married", "4", "married"),
        ("/Subtype /Widget /FT /Sig /V <</Name (Ali)>>", "Signed by Ali", "Signed by Ali"),
    ] {
        let annotations = format!("/Annots [<<{annotation} /AP <</N 6 0 R>>>>]");
        let mut objects = page_objects(&annotations, &stream("", "BT /T 12 Tf (printed) Tj ET"));
        objects.push(stream("/Type /XObject /Subtype /Form", &format!("BT /T 12 Tf ({drawn}) Tj ET")));
        let expected = format!("printed\n{expected}");
        assert_eq!(text_of(&pdf(&objects), "application/pdf"), expected.trim(), "{annotation}");
    }
}

#[test]
fn check_box_is_read_as_it_is_drawn_in_its_state() {
    for (state, expected) in [("A", "printed\nselected"), ("Off", "printed\nnot selected")] {
        let annotations = format!(
            "/Annots [<</Subtype /Widget /FT /Btn /V /{state} /AS /{state} /AP <</N <</A 6 0 R /Off 7 0 R>>>>>>]"
        );
        let mut objects = page_objects(&annotations, &stream("", "BT /T 12 Tf (printed) Tj ET"));
        for drawn in ["selected", "not selected"] {
            objects.push(stream("/Type /XObject /Subtype /Form", &format!("BT /T 12 Tf ({drawn}) Tj ET")));
        }
        assert_eq!(text_of(&pdf(&objects), "application/pdf"), expected, "{state}");
    }
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
