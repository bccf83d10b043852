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
fn character_spacing_does_not_divide_words() {
    for content in [
        "3 Tc (two words) Tj",
        "9 Tc (two words) Tj",
        "60 Tc (two words) Tj",
        "3 Tc 4 Tw (two words) Tj",
        "3 Tc 50 Tz (two words) Tj",
        "3 Tc 200 Tz (two words) Tj",
        "3 Tc [(t) 20 (wo) -300 (wor) -40 (ds)] TJ",
        "3 Tc (t) Tj (wo ) Tj (words) Tj",
        "1 3 (two words) \"",
        "3 Tc 0 1 -1 0 50 100 Tm (two words) Tj",
        "3 Tc -1 0 0 1 500 100 Tm (two words) Tj",
        "3 Tc 12 0 0 12 50 100 Tm /T 1 Tf 0.25 Tc (two words) Tj",
        "3 Tc (two) Tj 36 0 Td (words) Tj",
    ] {
        let content = format!("BT /T 12 Tf {content} ET");
        assert_eq!(text_of(&page("", &content), "application/pdf"), "two words", "{content}");
    }
    let codes: String = "کتابخانه ملی ایران".encode_utf16().map(|unit| format!("{unit:04X}")).collect();
    let visual: String = reversed("کتابخانه ملی ایران").encode_utf16().map(|unit| format!("{unit:04X}")).collect();
    for content in [
        format!("1 Tc -1 0 0 1 500 700 Tm <{codes}> Tj"),
        format!("5 Tc 2 Tw -1 0 0 1 500 700 Tm <{codes}> Tj"),
        format!("1 Tc 1 0 0 1 100 700 Tm <{visual}> Tj"),
        format!("3 Tc 3 Tr 1 0 0 1 100 700 Tm <{codes}> Tj"),
    ] {
        assert_eq!(layer_text(&format!("BT /T 12 Tf {content} ET")), "کتابخانه ملی ایران", "{content}");
    }
}

#[test]
fn mirrored_text_is_in_reading_order_however_its_page_is_turned() {
    let hex = |text: &str| text.encode_utf16().map(|unit| format!("{unit:04X}")).collect::<String>();
    for (upright, mirrored) in [
        ("1 0 0 1", "-1 0 0 1"),
        ("0 1 -1 0", "0 -1 -1 0"),
        ("-1 0 0 -1", "1 0 0 -1"),
        ("0 -1 1 0", "0 1 1 0"),
        ("0.9848 0.1736 -0.1736 0.9848", "-0.9848 -0.1736 -0.1736 0.9848"),
    ] {
        let line = hex("کتابخانه ملی ایران");
        let content = format!("BT /T 12 Tf {mirrored} 300 400 Tm <{line}> Tj ET");
        assert_eq!(layer_text(&content), "کتابخانه ملی ایران", "{mirrored}");
        // A number is drawn as it is read, on the same line.
        let [a, b] = [0, 1].map(|at| upright.split(' ').nth(at).unwrap().parse::<f64>().unwrap());
        let place = |back: f64| format!("{} {}", 300.0 - a * back, 400.0 - b * back);
        let content = format!(
            "BT /T 12 Tf {mirrored} {} Tm <{}> Tj {upright} {} Tm <{}> Tj {mirrored} {} Tm <{}> Tj ET",
            place(0.0),
            hex("در سال"),
            place(66.0),
            hex("1395"),
            place(72.0),
            hex("بود"),
        );
        assert_eq!(layer_text(&content), "در سال 1395 بود", "{mirrored}");
    }
}

#[test]
fn title_of_a_pdf_is_that_of_its_information_else_that_of_its_metadata() {
    let xmp = "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\" xmlns:dc=\"http://purl.org/dc/elements/1.1/\"><dc:title><rdf:Alt>\
        <rdf:li xml:lang=\"x-default\">گزارش سالانه</rdf:li></rdf:Alt></dc:title></x:xmpmeta>";
    let utf16 = |unit: fn(u16) -> [u8; 2]| format!("\u{FEFF}{xmp}").encode_utf16().flat_map(unit).collect::<Vec<u8>>();
    for (info, metadata, title) in [
        ("/Title (Annual\\treport)", xmp.as_bytes().to_vec(), "Annual report"),
        ("/Title (Annual\nreport)", Vec::new(), "Annual report"),
        ("/Title ( )", xmp.as_bytes().to_vec(), "گزارش سالانه"),
        ("", xmp.as_bytes().to_vec(), "گزارش سالانه"),
        ("", utf16(u16::to_be_bytes), "گزارش سالانه"),
        ("", utf16(u16::to_le_bytes), "گزارش سالانه"),
        ("", utf16(u16::to_le_bytes)[2..].to_vec(), "گزارش سالانه"),
    ] {
        let hex: String = metadata.iter().map(|byte| format!("{byte:02X}")).collect();
        let mut objects = page_objects("", &stream("", "BT /T 12 Tf (printed) Tj ET"));
        objects[0] = "<</Type /Catalog /Pages 2 0 R /Metadata 6 0 R>>".to_owned();
        objects.push(stream("/Type /Metadata /Subtype /XML /Filter /ASCIIHexDecode", &(hex + ">")));
        objects.push(format!("<<{info}>>"));
        let bytes = String::from_utf8(pdf(&objects)).unwrap().replace("/Root 1 0 R", "/Root 1 0 R /Info 7 0 R");
        assert_eq!(parse(bytes.as_bytes(), "application/pdf").unwrap().title.as_deref(), Some(title), "{info}");
    }
}

#[test]
fn standard_fonts_without_widths_are_laid_out_with_their_own() {
    let letters = [("72", 'W'), ("83.3", 'A'), ("91.3", 'R'), ("100", 'M'), ("110", 'I'), ("113.3", 'N'), ("122", 'G')];
    let apart: String =
        letters.iter().map(|(x, letter)| format!("1 0 0 1 {x} 650 Tm ({letter}) Tj ")).collect::<Vec<_>>().concat();
    let after = "72 700 Td (Illinois utility bill, initial filing) Tj 174 0 Td (12.50) Tj";
    for (content, text) in [(&apart[..], "WARMING"), (after, "Illinois utility bill, initial filing 12.50")] {
        let content = format!("BT /T 12 Tf {content} ET");
        assert_eq!(text_of(&page("", &content), "application/pdf"), text);
    }
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

#[test]
fn what_a_pdf_page_refers_to_in_vain_is_noted() {
    for (content, text) in [
        ("BT /T 12 Tf 0 700 Td (found) Tj /T2 12 Tf 0 -14 Td (guessed) Tj ET", "found\nguessed"),
        ("BT /T 12 Tf 0 700 Td (found) Tj /Lost 12 Tf 0 -14 Td (unknown) Tj ET", "found"),
        ("BT /T 12 Tf (found) Tj ET /F Do", "found"),
        ("BT (no font) Tj /T 12 Tf (found) Tj ET", "found"),
    ] {
        let mut objects = page_objects("", &stream("", content));
        objects[2] = objects[2].replace("/T 4 0 R", "/T 4 0 R /Lost 99 0 R");
        let extraction = parse(&pdf(&objects), "application/pdf").unwrap();
        assert_eq!(extraction.text.as_deref(), Some(text), "{content}");
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

fn is_right_to_left_word(word: &str) -> bool {
    word.contains(|c| matches!(c, '\u{600}'..='\u{65F}' | '\u{66E}'..='\u{6EF}'))
}

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

/// The line in visual order.
fn visual(line: &str) -> String {
    let words = line.split(' ').rev();
    let words = words.map(|word| if is_right_to_left_word(word) { reversed(word) } else { word.to_owned() });
    words.collect::<Vec<_>>().join(" ")
}

/// The pages' content streams that draw the line in each of the ways in which text layers do.
fn text_layers(line: &str) -> Vec<(&'static str, String)> {
    let width = |text: &str| text.chars().count() as f64 * 5.0;
    let draw = |each: &dyn Fn(&mut String)| {
        let mut content = "BT /T 10 Tf 3 Tr\n".to_owned();
        each(&mut content);
        content + "ET"
    };
    let show = |content: &mut String, x: f64, scale: i32, text: &str| {
        let codes: String = text.encode_utf16().map(|unit| format!("{unit:04X}")).collect();
        content.push_str(&format!("{scale} 0 0 1 {x} 700 Tm <{codes}> Tj\n"));
    };
    // Calls with each word in reading order and its right end.
    let words = |each: &mut dyn FnMut(&str, f64)| {
        let mut right = 500.0;
        for word in line.split(' ') {
            each(word, right);
            right -= width(word) + 5.0;
        }
    };
    let by_words = |order: fn(&str) -> String| {
        draw(&|content| words(&mut |word, right| show(content, right - width(word), 1, &order(word))))
    };
    let visual_word = |word: &str| if is_right_to_left_word(word) { reversed(word) } else { word.to_owned() };
    vec![
        (
            "logical, leftwards",
            draw(&|content| {
                words(&mut |word, mut right| {
                    for c in visual_word(word).chars().rev() {
                        right -= 5.0;
                        show(content, right, 1, &c.to_string());
                    }
                });
            }),
        ),
        (
            "logical, leftwards, numbers and Latin words rightwards",
            draw(&|content| {
                words(&mut |word, right| {
                    if is_right_to_left_word(word) {
                        for (index, c) in word.chars().enumerate() {
                            show(content, right - 5.0 * (index + 1) as f64, 1, &c.to_string());
                        }
                    } else {
                        show(content, right - width(word), 1, word);
                    }
                });
            }),
        ),
        ("logical, mirrored words", draw(&|content| words(&mut |word, right| show(content, right, -1, word)))),
        ("logical, mirrored line", draw(&|content| show(content, 500.0, -1, line))),
        ("logical, words rightwards", by_words(str::to_owned)),
        ("logical, line rightwards", draw(&|content| show(content, 50.0, 1, line))),
        ("visual, words in reading order", by_words(visual_word)),
        ("visual, line", draw(&|content| show(content, 50.0, 1, &visual(line)))),
        (
            "visual, characters",
            draw(&|content| {
                for (index, c) in visual(line).chars().enumerate() {
                    show(content, 50.0 + 5.0 * index as f64, 1, &c.to_string());
                }
            }),
        ),
    ]
}

fn layer_text(content: &str) -> String {
    let mut objects = page_objects("", &stream("", content));
    objects[3] = "<</Type /Font /Subtype /Type0 /Encoding /Identity-H /ToUnicode /Identity-H \
        /DescendantFonts [<</DW 500>>]>>"
        .to_owned();
    text_of(&pdf(&objects), "application/pdf")
}

#[test]
fn invisible_text_is_in_reading_order_however_it_is_drawn() {
    for line in [
        "کتابخانه ملی ایران در تهران است و مراجع بسیاری دارد.",
        "در سال ۱۳۹۵ بیش از ۲۰۰ هزار کتاب به آن افزوده شد.",
        "این کتاب با BibTeX در سال 1395 در تهران چاپ شد",
        "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.",
        "أعلنت شركة Google في سنة 2019 عن خدمة جديدة للبحث.",
        "و در این روز ۱۲ نفر از آن جا رفتند",
    ] {
        for (way, content) in text_layers(line) {
            assert_eq!(layer_text(&content), line, "{way}");
        }
    }
}

/// A short line is drawn like the others of its page.
#[test]
fn invisible_line_without_evidence_is_read_like_its_page() {
    let sure = text_layers("این کتاب در تهران چاپ شد");
    let short = text_layers("شمس قمر");
    for ((way, sure), (_, short)) in sure.iter().zip(&short) {
        let content = format!("{sure} {}", short.replace(" 700 Tm", " 600 Tm"));
        assert_eq!(layer_text(&content), "این کتاب در تهران چاپ شد\nشمس قمر", "{way}");
    }
}
