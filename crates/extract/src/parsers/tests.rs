//! Valid files in their many forms, and hostile ones. Each parse ends quickly, with a result or an error that names its
//! reason.

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

/// A PDF of these objects, numbered from 1; the first is the catalogue.
fn pdf(objects: &[String]) -> Vec<u8> {
    pdf_shifted(objects, 0)
}

/// One whose offsets count from so many bytes before its start.
fn pdf_shifted(objects: &[String], shift: usize) -> Vec<u8> {
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

fn stream(dictionary: &str, content: &str) -> String {
    format!("<<{dictionary} /Length {}>>\nstream\n{content}\nendstream", content.len())
}

/// A PDF of one page with this content, and these entries of the page.
fn page(entries: &str, content: &str) -> Vec<u8> {
    pdf(&page_objects(entries, &stream("", content)))
}

fn page_objects(entries: &str, content: &str) -> Vec<String> {
    let resources = "/Resources <</Font <</T 4 0 R>>>>";
    vec![
        "<</Type /Catalog /Pages 2 0 R>>".to_owned(),
        "<</Type /Pages /Kids [3 0 R] /Count 1>>".to_owned(),
        format!("<</Type /Page /Parent 2 0 R /Contents 5 0 R {resources} {entries}>>"),
        "<</Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding>>".to_owned(),
        content.to_owned(),
    ]
}

fn is_truncated(extraction: &Extraction) -> bool {
    extraction.notes.iter().any(|note| note.contains("truncated"))
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

#[test]
fn gigapixel_image_is_refused() {
    let mut png = b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR".to_vec();
    png.extend(60_000_u32.to_be_bytes());
    png.extend(60_000_u32.to_be_bytes());
    png.extend([8, 2, 0, 0, 0]);
    png.extend(crc(&png[12..]).to_be_bytes());
    png.extend(b"\0\0\0\0IDAT");
    png.extend(crc(b"IDAT").to_be_bytes());
    let error = parse(&png, "image/png").unwrap_err();
    assert_eq!(error.kind, ExtractErrorKind::Limit, "{error}");
    assert_eq!(error.message, "image declares 60000x60000 pixels (3.6 gigapixels), more than --max-pixels 100000000");
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

#[test]
fn truncated_or_mistyped_image_is_malformed() {
    let jpeg = sample("photos/tea-break.jpg");
    for part in [3, 20, 200, jpeg.len() / 3, jpeg.len() - 10] {
        let error = parse(&jpeg[..part], "image/jpeg").unwrap_err();
        assert_eq!(error.kind, ExtractErrorKind::Malformed, "{part}: {error}");
    }
    for media_type in ["image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/tiff"] {
        assert!(parse(b"this is not an image at all", media_type).is_err(), "{media_type}");
        assert!(parse(b"", media_type).is_err(), "{media_type}");
    }
}

#[test]
fn photo_is_oriented_and_its_thumbnail_has_no_metadata() {
    let (extraction, thumbnail) =
        extract(file(&sample("photos/tea-break.jpg")), "image/jpeg", &Limits::default()).unwrap();
    let facts = extraction.image.unwrap();
    assert_eq!((facts.width, facts.height, facts.orientation), (600, 400, 6));
    assert_eq!(facts.taken_at.as_deref(), Some("2024-03-20T06:36:26+03:30"));
    assert!(facts.has_gps && facts.camera.is_some());
    let thumbnail = thumbnail.unwrap();
    let decoded = ::image::load_from_memory(&thumbnail).unwrap();
    assert_eq!((decoded.width(), decoded.height()), (320, 213));
    assert!(!thumbnail.windows(4).any(|chunk| chunk == b"EXIF"));
}

#[test]
fn deeply_nested_and_hostile_html_is_read() {
    let deep = format!("<title>deep</title>{}سلام دنیا{}", "<div>".repeat(1_000_000), "</div>".repeat(1_000_000));
    let extraction = parse(deep.as_bytes(), "text/html").unwrap();
    assert_eq!((extraction.title.as_deref(), extraction.text.as_deref()), (Some("deep"), Some("سلام دنیا")));
    for hostile in ["<", "<a href=\"", "<script>", "<!--", "</", "&#", "<a b='", "<script></script", "<é>"] {
        parse(hostile.repeat(100_000).as_bytes(), "text/html").unwrap();
    }
}

#[test]
fn html_text_is_what_a_reader_sees() {
    let page = "<!doctype html><html lang='fa-IR'><head><title> برگهٔ\n یکم </title><style>p{color:red}</style>\
        <script>if (a<b) document.write('<p>no')</script></head><body><!-- no --><h1>سر&zwnj;خط</h1><p>a&amp;b &lt;c&gt;\
        <b>bold</b>er<br>next<ul><li>one<li>two</ul><table><tr><td>1<td>2</table><img alt='picture'> 3 < 4</body></html>";
    let extraction = parse(page.as_bytes(), "text/html").unwrap();
    assert_eq!(extraction.title.as_deref(), Some("برگهٔ یکم"));
    let text = extraction.text.unwrap();
    assert_eq!(text, "سر\u{200C}خط\n\na&b <c>bolder\nnext\n\none\ntwo\n\n1 2\n\npicture 3 < 4");
}

/// WHATWG HTML, 13.2.5.43 to 13.2.5.51.
#[test]
fn html_comments_end_where_whatwg_says() {
    for (page, text) in [
        ("one<!-->two", "onetwo"),
        ("one<!--->two", "onetwo"),
        ("one<!----!>two", "onetwo"),
        ("one<!-- two --!>three", "onethree"),
        ("one<!-- two -->three", "onethree"),
        ("one<!-- > -- two -->three", "onethree"),
        ("one<!-- two", "one"),
    ] {
        assert_eq!(text_of(page.as_bytes(), "text/html"), text, "{page}");
    }
}

#[test]
fn malformed_html_loses_no_text() {
    for (page, text) in [
        ("<p title=\"x>one</p><p>two", "one\n\ntwo"),
        ("<p title='x>one<p id=\"y>two", "one\n\ntwo"),
        ("one</p title='x>two", "one\n\ntwo"),
        ("<p title='a>b'>one", "one"),
        ("one<img alt='two", "one two"),
        ("one<br", "one"),
        ("one < two </> three <? four > five <! six > seven", "one < two three five seven"),
        ("<script src=\"x>one</script>two", "two"),
        ("<script>one</script class='x>two", "two"),
        ("<script>'<!-- <script>'</script>one", "one"),
        ("<svg/>one<svg><p>two</p></svg>three<object data=x/>four", "onethreefour"),
        ("<svg>one", ""),
        ("<title>one</title><title>two</title>three", "twothree"),
    ] {
        assert_eq!(text_of(page.as_bytes(), "text/html"), text, "{page}");
    }
}

#[test]
fn character_sets_are_detected() {
    let persian = "این یک متن فارسی است که برای آزمودن نویسه‌ها نوشته شده است و پژوهش گچ";
    let (arabic_set, _, _) =
        encoding_rs::WINDOWS_1256.encode("این متن فارسی است که در رمز قدیمی نوشته شده است و پژوهش گچ");
    let read = parse(&arabic_set, "text/plain").unwrap();
    assert_eq!(read.charset.as_deref(), Some("windows-1256"));
    assert!(read.text.as_deref().unwrap().contains("پژوهش"), "{read:?}");
    let utf16: Vec<u8> = [0xFEFF_u16].into_iter().chain(persian.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    assert_eq!(text_of(&utf16, "text/plain"), persian);
    assert_eq!(text_of(&utf16[2..], "text/plain"), persian, "without a byte order mark");
    let read = parse(persian.as_bytes(), "text/plain").unwrap();
    assert_eq!((read.charset.as_deref(), read.language()), (Some("utf-8"), Some("fa")));
    assert_eq!(text_of(b"caf\xE9 au lait, d\xE9j\xE0 vu", "text/plain"), "café au lait, déjà vu");
}

#[test]
fn one_bad_byte_of_a_text_costs_one_character() {
    let persian = "کتابخانه‌ی ملی ایران در تهران است. این کتاب را به مدرسه می‌برم.";
    let (one, two) = persian.split_at(persian.find("تهران").unwrap());
    let bytes = [one.as_bytes(), b"\xE3", two.as_bytes()].concat();
    for (media_type, before) in [("text/plain", ""), ("text/html", "<meta charset=windows-1252><p>")] {
        let read = parse(&[before.as_bytes(), &bytes].concat(), media_type).unwrap();
        assert_eq!(read.text.as_deref(), Some(format!("{one}\u{FFFD}{two}").as_str()), "{media_type}");
        assert_eq!(read.charset.as_deref(), Some("utf-8"), "{media_type}");
    }
}

#[test]
fn control_characters_of_a_text_leave_its_words() {
    for (text, expected) in [
        ("one\x1B[1;31mtwo\x1B[0m three", "onetwo three"),
        ("one \x1B]8;;http://a.example\x1B\\two\x1B]8;;\x1B\\ three", "one two three"),
        ("\x1B]0;title\x07one", "one"),
        ("\x1B(Bone \x1Btwo \x1B]three", "one two ]three"),
        ("one\x0Ctwo\x0Bthree\u{85}four", "one\ntwo\nthree\nfour"),
        ("one\x07 \x7Ftwo", "one two"),
        ("some words in one\0\0\0\0two, and more\0\0", "some words in one\ntwo, and more"),
        ("some words in one\x1Ftwo\x1Ethree, and more\x1A", "some words in one two\nthree, and more"),
        ("one\r\ntwo\rthree\r\n\r\nfour", "one\ntwo\nthree\n\nfour"),
        ("one\x1B[", "one["),
    ] {
        assert_eq!(text_of(text.as_bytes(), "text/plain"), expected, "{text:?}");
    }
    let log = "\x1B[31mE\x1B[0m \x1B[32mI\x1B[0m\n".repeat(100);
    assert!(text_of(log.as_bytes(), "text/plain").starts_with("E I\nE I\n"));
    let hostile = "\x1B]".repeat(1_000_000);
    assert!(parse(hostile.as_bytes(), "text/plain").is_ok());
    let binary: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    assert_eq!(parse(&binary, "text/plain").unwrap_err().kind, ExtractErrorKind::Malformed);
}

/// The page in windows-1256; the rest is markup in ASCII.
fn arabic_page(head: &str) -> Vec<u8> {
    let (bytes, _, _) = encoding_rs::WINDOWS_1256.encode("گزارش سالانه ABC");
    [b"<!DOCTYPE html><html><head>", head.as_bytes(), b"<title>t</title></head><body><p>", &bytes, b"</p>"].concat()
}

#[test]
fn only_the_page_itself_declares_its_character_set() {
    const OWN: &str = r#"<meta http-equiv="Content-Type" content="text/html; charset=windows-1256">"#;
    for other in [
        "<!-- charset=gbk <meta charset=gbk> -->",
        "<!--><meta name=a content='charset=gbk'>",
        "<!-- > <meta charset=gbk> --!>",
        "<?php <meta charset=gbk ?>",
        "</ meta charset=gbk>",
        "<!meta charset=gbk>",
        "<![CDATA[<meta charset=gbk ]]>",
        "<meta name=description content='charset=gbk and others'>",
        "<meta name=description content='<meta charset=gbk>'>",
        "<meta property=og:x content='text/html; charset=gbk'>",
        "<meta http-equiv=refresh content='0; charset=gbk'>",
        "<meta charset=no-such-set>",
        "<meta http-equiv=content-type content='text/html; charset=no-such-set'>",
        "<meta content='text/html; charset=gbk'>",
        "<link rel=stylesheet href=a.css charset=gbk>",
        "<script src=a.js charset=gbk></script>",
        "<script>document.write('<meta charset=gbk>')</script>",
        "<script><!-- <script> </script> <meta charset=gbk> --></script>",
        "<style>/* <meta charset=gbk> */</style>",
        "<title><meta charset=gbk></title>",
        "<noscript><meta charset=gbk></noscript>",
        "<template><meta charset=gbk></template>",
        "<base data-x=\"<meta charset='gbk'>\">",
    ] {
        let page = arabic_page(&format!("{other}{OWN}"));
        assert!(text_of(&page, "text/html").contains("گزارش سالانه"), "{other}");
    }
}

#[test]
fn a_page_declares_its_character_set_in_many_forms() {
    let far = |bytes: usize| format!("<!-- {} -->", "x".repeat(bytes));
    for declared in [
        "<meta charset=windows-1256>",
        "<META CHARSET = 'Windows-1256' />",
        "<meta charset=\" cp1256 \">",
        "<meta charset=windows-1256 charset=gbk>",
        "<meta http-equiv=CONTENT-TYPE content=text/html;charset=windows-1256>",
        "<meta content='text/html; charset = \"windows-1256\"' http-equiv='Content-Type'>",
        "<meta http-equiv=content-type content='charset charset=windows-1256; x'>",
        "<!--><meta charset=windows-1256><!-- <meta charset=gbk> -->",
        "<!---><meta charset=windows-1256>",
        "<!-- --!><meta charset=windows-1256>",
        "<meta\ncharset=windows-1256\n>",
        &format!("{}<meta charset=windows-1256>", far(900)),
        &format!("{}<meta charset=windows-1256>", far(5000)),
    ] {
        let read = parse(&arabic_page(declared), "text/html").unwrap();
        assert_eq!(read.charset.as_deref(), Some("windows-1256"), "{declared}");
        assert!(read.text.unwrap().contains("گزارش سالانه"), "{declared}");
    }
    let late =
        [arabic_page("<meta charset=windows-1256>"), far(2000).into_bytes(), b"<meta charset=gbk>".to_vec()].concat();
    assert!(text_of(&late, "text/html").contains("گزارش سالانه"));
    let undeclared = [&arabic_page("")[..], far(2000).as_bytes(), b"<meta charset=gbk>"].concat();
    assert_ne!(
        parse(&undeclared, "text/html").unwrap().charset.as_deref(),
        Some("gbk"),
        "beyond the first KiB of the body"
    );
}

#[test]
fn the_byte_order_mark_and_the_xml_declaration_count() {
    let page = "<meta charset=windows-1256><p>سلام دنیا";
    for (mark, bytes) in [
        (&b"\xEF\xBB\xBF"[..], page.as_bytes().to_vec()),
        (b"\xFF\xFE", page.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        (b"\xFE\xFF", page.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        (b"", page.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        (b"", page.encode_utf16().flat_map(u16::to_be_bytes).collect()),
    ] {
        assert_eq!(text_of(&[mark, &bytes].concat(), "text/html"), "سلام دنیا", "{mark:X?}");
    }
    let declaration = b"<?xml version='1.0' encoding=\"windows-1256\"?>";
    let xhtml = [&declaration[..], &arabic_page("")].concat();
    assert!(text_of(&xhtml, "application/xhtml+xml").contains("گزارش سالانه"));
    let strict = [&declaration[..], b"<html xmlns='http://www.w3.org/1999/xhtml'>", &arabic_page("<meta charset=gbk>")];
    assert!(text_of(&strict.concat(), "application/xhtml+xml").contains("گزارش سالانه"));
    let utf16 = arabic_page("<meta charset=utf-16>");
    assert_eq!(parse(&utf16, "text/html").unwrap().charset.as_deref(), Some("utf-8"));
}

/// WHATWG HTML, 13.2.5 and 13.2.6.4: how the content of elements is tokenized.
#[test]
fn content_that_is_no_markup_is_read_as_whatwg_says() {
    for (page, title, text) in [
        ("<title>a <b> &amp; <!-- c --></title>d", Some("a <b> & <!-- c -->"), "d"),
        ("<svg><title>no</title></svg><title>yes</title>a", Some("yes"), "a"),
        ("<svg><svg></svg>no</svg>yes", None, "yes"),
        ("<svg><!-- </svg> -->no</svg>yes", None, "yes"),
        ("<svg><![CDATA[ > </svg> ]]>no</svg>yes", None, "yes"),
        ("<svg><style> </style><text>no</text></svg>yes", None, "yes"),
        ("<svg><script>a</svg>yes", None, "yes"),
        ("<template><template></template>no</template>yes", None, "yes"),
        ("<template><script>'</template>'</script>no</template>yes", None, "yes"),
        ("<textarea><b>a</b> &lt;</textarea>c", None, "<b>a</b> <c"),
        ("<script><!-- <script> </script> no --></script>yes", None, "yes"),
        ("<script><!-- </script>yes", None, "yes"),
        ("<script>var a = '<\\/script>';</script>yes", None, "yes"),
        ("<style><!-- </style>yes", None, "yes"),
        ("<style>a</style >yes", None, "yes"),
        ("<noscript><!-- </noscript>yes", None, "yes"),
        ("<xmp><b>a</b></xmp>c", None, "<b>a</b>c"),
        ("a<plaintext><b>c</b>", None, "a<b>c</b>"),
        ("<title>one<p>two", None, "one\n\ntwo"),
        ("<textarea>one<p>two", None, "one\n\ntwo"),
        ("<title/>one", None, "one"),
        ("<p>a<![CDATA[b]]>c", None, "ac"),
        ("a<?php echo 1 > 2 ?>b", None, "a 2 ?>b"),
    ] {
        let read = parse(page.as_bytes(), "text/html").unwrap();
        assert_eq!((read.title.as_deref(), read.text.as_deref()), (title, Some(text)), "{page}");
    }
    for hostile in
        ["<script><!--<script>", "<title>", "<textarea>", "<svg><![CDATA[", "<svg>", "<template>", "<svg><![CDATA[]]>"]
    {
        parse(hostile.repeat(100_000).as_bytes(), "text/html").unwrap();
        parse(format!("{}</script>", hostile.repeat(100_000)).as_bytes(), "text/html").unwrap();
    }
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
fn languages_of_a_mixed_document_are_detected() {
    let persian = "این کتاب دربارهٔ تاریخ و فرهنگ ایران است و برای کسانی نوشته شده که می‌خواهند با آن آشنا شوند. ";
    let arabic = "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق وقد وهبوا عقلا وضميرا وعليهم أن يعامل بعضهم بعضا. ";
    let english =
        "This book is about the history and the culture of a country, and was written for those who want to know. ";
    let codes = |text: &str| language::detect(text).into_iter().map(|language| language.code).collect::<Vec<_>>();
    assert_eq!(codes(persian), ["fa"]);
    assert_eq!(codes(&persian.replace('ی', "ي").replace('ک', "ك")), ["fa"], "written with Arabic letters");
    assert_eq!(codes(arabic), ["ar"]);
    assert_eq!(codes(english), ["en"]);
    assert_eq!(codes(&format!("{}{english}", persian.repeat(3))), ["fa", "en"]);
    assert!(codes("12 34").is_empty());
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
