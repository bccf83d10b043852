use proptest::prelude::*;

use super::utf8::{MIN_LETTERS_IN_WORDS, letters_in_words};
use super::*;

const PERSIAN: &str = "کتابخانه‌ی ملی ایران در تهران است. این کتاب را برای خواندن به مدرسه می‌برم.\n";
const ENGLISH: &str = "The library is open every day, and everyone may read there.\n";
const CHINESE: &str = "图书馆每天开放,任何人都可以在那里阅读。这是一个测试文件。\n";

fn name(bytes: &[u8]) -> String {
    detect(bytes, None).name()
}

fn decoded(bytes: &[u8]) -> String {
    detect(bytes, None).decode(bytes)
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

fn utf32(text: &str, unit: fn(u32) -> [u8; 4]) -> Vec<u8> {
    text.chars().flat_map(|c| unit(u32::from(c))).collect()
}

type Encode = fn(&str) -> Vec<u8>;

/// Bytes without structure, the same each time.
fn random(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn one_bad_byte_anywhere_costs_one_character() {
    for text in [PERSIAN.repeat(3), CHINESE.repeat(3), format!("{ENGLISH}“quoted” and don’t\n")] {
        for at in 0..text.len() {
            for bad in [0xFF, 0xFE, 0x80, 0xC0, 0xE9] {
                let mut bytes = text.clone().into_bytes();
                bytes.insert(at, bad);
                assert_eq!(name(&bytes), "utf-8", "{bad:X} at {at}");
                let kept = decoded(&bytes).chars().filter(|c| *c != char::REPLACEMENT_CHARACTER).count();
                assert!(text.chars().count() - kept <= 1, "{bad:X} at {at}");
                assert!(is_text(&bytes));
            }
        }
    }
    let mut latin = b"caf\xC3\xA9 in a city, and one ".to_vec();
    latin.push(0xFF);
    latin.extend(b" bad byte in all of its long text");
    assert_eq!(name(&latin), "utf-8");
}

#[test]
fn last_byte_may_be_the_only_letter_beyond_ascii() {
    for (bytes, text) in [
        (&b"caf\xE9"[..], "café"),
        (b"voil\xE0", "voilà"),
        (b"na\xEFve caf\xE9", "naïve café"),
        (b"Tromp\xF6", "Trompö"),
        (b"caf\xC3\xA9 caf\xC3", "café caf\u{FFFD}"),
        (b"an ellipsis \xE2\x80", "an ellipsis \u{FFFD}"),
    ] {
        assert_eq!(decoded(bytes), text);
        assert!(is_text(bytes), "{text}");
    }
}

#[test]
fn words_in_utf8_are_read_among_many_bad_bytes() {
    let texts = [
        "فهرست کتاب‌های کتابخانه در سالن بزرگ است",
        "Годовой отчёт национальной библиотеки",
        "Ετήσια έκθεση της εθνικής βιβλιοθήκης",
        "国家图书馆年度报告任何人都可以在那里阅读",
    ];
    for text in texts {
        for step in [4, 5, 6, 7, 9] {
            let pieces = text.as_bytes().chunks(if text.starts_with('国') { step * 2 } else { step });
            let bytes: Vec<u8> = pieces.flat_map(|piece| [piece, b"\xFF"].concat()).collect();
            assert_eq!(name(&bytes), "utf-8", "{text}, a bad byte after {step}");
            assert!(is_text(&bytes));
        }
        let (other, _, _) = encoding_rs::WINDOWS_1256.encode("كتاب بزرگ گزارش ملي پچژگ منتشر شد در تهران");
        for (one, two) in [(text.as_bytes(), &*other), (&*other, text.as_bytes())] {
            let bytes = [one, b"\n", two].concat();
            assert_eq!(name(&bytes), "utf-8");
            assert!(decoded(&bytes).contains(text));
        }
    }
}

/// Thai, and other sets whose letters often make pairs in the form of UTF-8.
#[test]
fn other_character_sets_have_no_words_in_utf8() {
    let texts = [
        (
            encoding_rs::WINDOWS_874,
            "ห้องสมุดแห่งชาติเปิดทำการทุกวัน นานาชาติ การบินพลเรือน อาบน้ำ \
             ทำงานด้านการบริหารงานบุคคล สถาบันวิจัยและพัฒนา ราคาสินค้าเกษตร",
        ),
        (encoding_rs::GBK, "图书馆每天开放任何人都可以在那里阅读这是一个测试文件中华人民共和国位于亚洲东部太平洋西岸"),
        (encoding_rs::BIG5, "圖書館每天開放任何人都可以在那裡閱讀這是一個測試文件"),
        (
            encoding_rs::EUC_KR,
            "한국어로쓴글입니다도서관은매일열려있습니다대한민국은동아시아의한반도남부에위치한나라이다",
        ),
        (encoding_rs::EUC_JP, "図書館は毎日開いています。誰でもそこで読むことができます。コンピュータ・プログラム"),
        (encoding_rs::SHIFT_JIS, "図書館は毎日開いています。誰でもそこで読むことができます。コンピュータ・プログラム"),
        (encoding_rs::KOI8_R, "Библиотека открыта каждый день, и каждый может там читать. Ещё её"),
        (encoding_rs::WINDOWS_1256, "كتابخانه ملي ايران پژوهش گچ چگونه بزرگ گفتگوي ويژه پچپچ گروگان گپ"),
        (encoding_rs::WINDOWS_1252, "Le «CAFÉ» “RÉSUMÉ” de l’École… Ça va À «À côté» œuvre ÃŸ"),
    ];
    for (encoding, text) in texts {
        let (bytes, _, unmappable) = encoding.encode(text);
        assert!(!unmappable, "{text}");
        for start in 0..bytes.len() {
            assert!(letters_in_words(&bytes[start..]) < MIN_LETTERS_IN_WORDS, "{text} in {}", encoding.name());
        }
    }
}

#[test]
fn sequences_in_the_form_of_utf8_are_one_character_each() {
    for (sequence, text) in [
        (&b"\xED\xA0\xBD\xED\xB8\x80"[..], "\u{1F600}"),
        (b"\xED\xA0\xBD", "\u{FFFD}"),
        (b"\xED\xB8\x80\xED\xA0\xBD", "\u{FFFD}\u{FFFD}"),
        (b"\xED\xA0\xBD-\xED\xB8\x80", "\u{FFFD}-\u{FFFD}"),
        (b"\xC0\xAF", "\u{FFFD}"),
        (b"\xC0\x80", "\u{FFFD}"),
        (b"\xE0\x80\xAF", "\u{FFFD}"),
        (b"\xF0\x80\x80\xAF", "\u{FFFD}"),
        (b"\xF7\xBF\xBF\xBF", "\u{FFFD}"),
        (b"\xF0\x9F\x98", "\u{FFFD}"),
        (b"\x80\x81", "\u{FFFD}\u{FFFD}"),
    ] {
        let bytes = [b"one ", sequence, b" two"].concat();
        assert_eq!(decode_utf8(&bytes), format!("one {text} two"), "{sequence:X?}");
        let within = [PERSIAN.as_bytes(), sequence, PERSIAN.as_bytes()].concat();
        assert_eq!(decoded(&within), format!("{PERSIAN}{text}{PERSIAN}"), "{sequence:X?}");
        assert_eq!(decode_utf8(sequence), text, "{sequence:X?}");
    }
    assert_eq!(name(b"mail with \xED\xA0\xBD\xED\xB8\x80 in it"), "utf-8");
}

#[test]
fn a_cut_sample_of_utf8_is_utf8() {
    for length in 8..PERSIAN.len() {
        assert_eq!(name(&PERSIAN.as_bytes()[..length]), "utf-8");
        assert!(is_text(&PERSIAN.as_bytes()[..length]));
    }
}

#[test]
fn unicode_without_a_mark_is_recognised() {
    let sets: [(&str, Encode); 4] = [
        ("utf-16le", |text| utf16(text, u16::to_le_bytes)),
        ("utf-16be", |text| utf16(text, u16::to_be_bytes)),
        ("utf-32le", |text| utf32(text, u32::to_le_bytes)),
        ("utf-32be", |text| utf32(text, u32::to_be_bytes)),
    ];
    let texts = [
        PERSIAN,
        ENGLISH,
        CHINESE,
        "سلام دنیا",
        "word",
        "Ελληνικά και ρωσικά",
        "한국어로 쓴 글입니다.",
        "\u{1F600} ab\u{1F600} cd",
    ];
    for text in texts {
        for (set, encode) in sets {
            let bytes = encode(text);
            assert_eq!(name(&bytes), set, "{text}");
            assert_eq!(decoded(&bytes), text, "{set}");
            assert!(is_text(&bytes), "{text} in {set}");
            let odd = [&bytes[..], b"\n"].concat();
            assert_eq!((name(&odd), decoded(&odd)), (set.to_owned(), format!("{text}\u{FFFD}")), "an odd length");
            let cut = &encode(&text.repeat(4))[..bytes.len() * 2 + 1];
            assert_eq!(name(cut), set, "{text}, cut");
            let padded = [&bytes[..], &[0; 512]].concat();
            assert_eq!(name(&padded), set, "{text}, padded");
            let marked = encode(&format!("\u{FEFF}{text}"));
            assert_eq!((name(&marked), decoded(&marked)), (set.to_owned(), text.to_owned()), "{text}, marked");
            assert!(is_text(&marked), "{text} in {set}, marked");
        }
    }
    let one_bad = [&utf16(PERSIAN, u16::to_le_bytes)[..], &[0, 0xD8], &utf16(ENGLISH, u16::to_le_bytes)].concat();
    assert_eq!(decoded(&one_bad), format!("{PERSIAN}\u{FFFD}{ENGLISH}"));
}

#[test]
fn text_in_one_byte_for_a_character_is_not_utf16() {
    let texts = [
        (encoding_rs::GBK, "图书馆每天开放任何人都可以在那里阅读这是一个测试文件"),
        (encoding_rs::BIG5, "圖書館每天開放任何人都可以在那裡閱讀這是一個測試文件"),
        (encoding_rs::EUC_KR, "한국어로쓴글입니다도서관은매일열려있습니다"),
        (encoding_rs::SHIFT_JIS, "図書館は毎日開いています。誰でもそこで読むことができます。"),
        (encoding_rs::WINDOWS_1251, "Библиотека открыта каждый день, и каждый может там читать."),
        (encoding_rs::WINDOWS_1256, "كتابخانه ملي ايران در تهران است و اين کتاب براي خواندن پژوهش گچ"),
        (encoding_rs::WINDOWS_1252, "Le café est ouvert dès l’été, déjà à huit heures. Où êtes-vous ?"),
        (encoding_rs::ISO_8859_15, "Das Mädchen aß für fünf € Äpfel und Öl in der Straße."),
    ];
    for (encoding, text) in texts {
        let (bytes, _, unmappable) = encoding.encode(text);
        assert!(!unmappable, "{text}");
        assert!(unmarked_wide(&bytes).is_none(), "{text}");
        assert!(is_text(&bytes), "{text}");
        assert_ne!(name(&bytes), "utf-8", "{text}");
    }
    assert_eq!(name(b"Bush hid the facts"), "utf-8");
    assert_eq!(name("hello there".as_bytes()), "utf-8");
}

#[test]
fn control_characters_leave_a_text_a_text() {
    for control in ["\x1B[31m", "\x1B", "\x0C", "\x7F", "\x07", "\x08", "\x0B", "\x01", "\x1A", "\x1E", "\0"] {
        for text in [PERSIAN, ENGLISH] {
            for within in [format!("{text}{control}"), format!("{control}{text}"), format!("{text}{control}{text}")] {
                assert!(is_text(within.as_bytes()), "{within:?}");
                assert_eq!(name(within.as_bytes()), "utf-8", "{within:?}");
            }
        }
    }
    let (latin, _, _) = encoding_rs::WINDOWS_1252.encode("déjà vu \x1B[1mgras\x1B[0m été \x07");
    assert!(is_text(&latin));
    for padding in [1, 2, 3, 511, 4096] {
        let nuls = "\0".repeat(padding);
        for padded in [format!("{ENGLISH}{nuls}"), format!("{nuls}{ENGLISH}"), format!("{ENGLISH}{nuls}{ENGLISH}")] {
            assert!(is_text(padded.as_bytes()), "{padding}");
            assert_eq!(name(padded.as_bytes()), "utf-8", "{padding}");
        }
    }
}

#[test]
fn binary_data_is_no_text() {
    for seed in 0..200 {
        for length in [128, 1024, 8192] {
            let bytes = random(length, seed);
            assert!(!is_text(&bytes), "seed {seed}, {length} bytes");
            let marked = [b"\xFF\xFE", &bytes[..]].concat();
            assert!(length < 1024 || !is_text(&marked), "seed {seed}, {length} bytes, marked");
        }
    }
    let numbers: Vec<u8> = (0..2000_u32).flat_map(u32::to_le_bytes).collect();
    let samples: Vec<u8> = (0..2000_i32).flat_map(|i| ((i % 200 - 100) as i16 * 37).to_le_bytes()).collect();
    let record =
        [&b"\x08\x01\x12\x05hello\x1A\x04\x08\x02\x10\x03"[..], &[0; 40], b"\x01\x02name\0\0\0\x03\x04"].concat();
    for bytes in [&[0; 64][..], &[1, 2, 3, 4], &numbers, &samples, &record, &[0x80, 0, 0x80, 0, 1, 0, 2, 0]] {
        assert!(!is_text(bytes), "{:X?}", &bytes[..bytes.len().min(20)]);
    }
}

#[test]
fn a_declared_character_set_counts_where_the_bytes_do_not_decide() {
    let declared = Some(encoding_rs::WINDOWS_1256);
    let (bytes, _, _) = encoding_rs::WINDOWS_1256.encode("گزارش سالانه");
    assert_eq!(detect(&bytes, declared).name(), "windows-1256");
    assert_eq!(detect(PERSIAN.as_bytes(), declared).name(), "utf-8");
    assert_eq!(detect(&utf16(ENGLISH, u16::to_le_bytes), declared).name(), "utf-16le");
    let (bytes, _, _) = ISO_2022_JP.encode("図書館は毎日");
    assert_eq!(detect(&bytes, Some(ISO_2022_JP)).decode(&bytes), "図書館は毎日");
}

#[test]
fn iso_2022_jp_is_recognised_by_its_escape_sequences() {
    let text = "国立国会図書館は昭和二十三年に設立されました。\nNational Diet Library\n";
    let (bytes, _, _) = ISO_2022_JP.encode(text);
    assert_eq!((name(&bytes), decoded(&bytes)), ("iso-2022-jp".to_owned(), text.to_owned()));
    for cut in 4..bytes.len() {
        assert_eq!(name(&bytes[..cut]), "iso-2022-jp", "cut at {cut}");
    }
    assert!(is_text(&bytes));
    for (bytes, text) in [(&b"\x1B$@F|\x1B(B"[..], "日"), (b"100 \x1B(J\\\x1B(B", "100 ¥"), (b"\x1B(I1\x1B(B", "ｱ")]
    {
        assert_eq!((name(bytes), decoded(bytes)), ("iso-2022-jp".to_owned(), text.to_owned()));
    }
    for other in ["\x1B(Bone \x1B[31mtwo", "\x1B$Bone \u{E9}", "\x1B$B\x01\x02", "ESC $ B", "\x1B(J\x1B(0qqq"] {
        assert_eq!(name(other.as_bytes()), "utf-8", "{other:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let charset = detect(&bytes, None);
        let _ = (charset.decode(&bytes), is_text(&bytes));
    }

    #[test]
    fn any_text_is_utf8(text in "\\PC{1,200}") {
        prop_assert_eq!(decode_utf8(text.as_bytes()), text.strip_prefix('\u{FEFF}').unwrap_or(&text));
    }
}

#[test]
fn tables_of_numbers_are_no_text() {
    let words = |values: &mut dyn Iterator<Item = u32>| values.flat_map(u32::to_le_bytes).collect::<Vec<u8>>();
    let small = words(&mut [48, 100, 200, 300, 400, 500, 600, 700].into_iter());
    let offsets = words(&mut (20_000..21_000));
    let measured: Vec<u8> =
        (0..2000).flat_map(|at| ((600.0 + 400.0 * (f64::from(at) / 30.0).sin()) as u16).to_le_bytes()).collect();
    for table in [small, offsets, measured] {
        assert!(!is_text(&table), "{:?}", &table[..16]);
    }
}
