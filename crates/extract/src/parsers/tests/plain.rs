//! Plain text: its character sets and control characters.

use super::*;

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

#[test]
fn escaped_characters_of_json_are_read() {
    let escaped: String =
        "گزارش سالانه کتابخانه ملی ایران".encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let json = format!("{{\"title\": \"{escaped}\\r\\n\\u0000end\"}}\n");
    for media_type in ["application/json", "application/jsonl", "application/geo+json"] {
        let read = parse(json.as_bytes(), media_type).unwrap();
        let text = "{\"title\": \"گزارش سالانه کتابخانه ملی ایران\nend\"}";
        assert_eq!((read.text.as_deref(), read.language()), (Some(text), Some("fa")), "{media_type}");
    }
    assert_eq!(text_of(json.as_bytes(), "text/plain"), json.trim_end());
}

#[test]
fn text_in_whatever_language_is_read() {
    for media_type in [
        "application/x-tex",
        "application/sql",
        "application/toml",
        "application/yaml",
        "application/x-subrip",
        "application/geo+json",
        "text/x-python",
    ] {
        assert_eq!(text_of("title = \"گزارش سالانه\"\n".as_bytes(), media_type), "title = \"گزارش سالانه\"");
    }
    for name in ["a.tex", "a.sql", "a.toml", "a.yaml", "a.ini", "a.log", "a.md", "a.srt", "a.py"] {
        let detected = mime::detect("title = گزارش\n".as_bytes(), Some(name));
        assert!(extractor(detected.media_type).is_some() && !detected.mismatch, "{name}: {detected:?}");
    }
    let detected = mime::detect("{\"name\": \"گزارش\"}".as_bytes(), Some("a.geojson"));
    assert!(matches!(extractor(detected.media_type), Some(Extractor::Json)), "{detected:?}");
}
