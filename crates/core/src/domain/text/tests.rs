//! The promises of the comparable form: spellings meet, offsets lead back, and nothing breaks it.

use proptest::prelude::*;

use super::*;

/// Spellings of one thing: each must find every other.
const SPELLINGS: &[&[&str]] = &[
    &["می‌روم", "میروم", "می روم", "مي‌روم", "ﻣﯽ‌ﺭﻭﻡ"],
    &["نمی‌خواهم", "نمیخواهم", "نمی خواهم"],
    &["کتاب‌ها", "کتابها", "کتاب ها", "كتاب‌ها", "كتابها", "کتــاب‌ها"],
    &["کتاب‌های", "کتابهای", "کتاب های", "كتابهاي"],
    &["بزرگ‌ترین", "بزرگترین", "بزرگ ترین"],
    &["خانه‌ام", "خانهام", "خانه ام"],
    &["خانه‌ی", "خانه ی", "خانهٔ", "خانۀ", "خانه"],
    &["علی", "علي", "على", "عَلی", "ﻋﻠﯽ", "عَلِیّ"],
    &["مسئله", "مسئلة", "مسیله"],
    &["مؤمن", "مومن"],
    &["رأی", "رای", "رأي"],
    &["قرآن", "قران", "قُرآن"],
    &["شیء", "شی"],
    &["۱۴۰۳", "١٤٠٣", "1403", "１４０３"],
    &["فارسی", "فارسي", "ﻓﺎﺭﺳﯽ", "\u{202B}فارسی\u{202C}", "فارسى"],
    &["سلام", "سَلام", "سـلام", "ﺳﻼﻡ"],
    &["پیش‌بینی", "پیش بینی"],
    &["Café", "cafe", "CAFE", "cafe\u{301}", "ＣＡＦＥ"],
    &["Straße", "STRASSE", "strasse"],
    &["office", "oﬃce"],
];

#[test]
fn each_spelling_finds_the_other() {
    for group in SPELLINGS {
        for typed in *group {
            let terms = query_terms(typed);
            for written in *group {
                let text = format!("پیش از آن، {written} و پس از آن.");
                assert!(matches(&text, &terms), "{typed:?} must find {written:?}: {terms:?} in {:?}", normalise(&text));
                let cut = snippet(&text, &terms, 80).unwrap();
                assert!(!cut.highlights.is_empty(), "{typed:?} in {written:?}: {cut:?}");
            }
        }
    }
}

#[test]
fn spellings_of_one_word_have_one_form() {
    for (spelling, form) in [
        ("می‌روم", "میروم"),
        ("می روم", "میروم"),
        ("کتاب‌هایی", "کتابهایی"),
        ("خانه‌ی ما", "خانه ما"),
        ("خانه ی ما", "خانه ما"),
        ("ﷲ", "الله"),
        ("۱۲٫۵", "12 5"),
        ("Naïve ÉCOLE", "naive ecole"),
        ("한국", "한국"),
        ("ガギグ", "ガギグ"),
        ("ｶﾞ", "ガ"),
        ("हिन्दी", "हिन्दी"),
        ("", ""),
        ("\u{200F}\u{200C} ،؛ ", ""),
    ] {
        assert_eq!(normalise(spelling), form, "{spelling:?}");
    }
}

#[test]
fn words_that_only_look_like_affixes_stay_words() {
    assert_eq!(normalise("سلام ای ایران"), "سلام ای ایران");
    assert_eq!(normalise("data ها"), "data ها");
    assert_eq!(normalise("می"), "می");
    assert_eq!(normalise("کتاب، ها"), "کتاب\nها", "punctuation keeps them apart, also the second time");
    assert_eq!(normalise(&normalise("کتاب، ها")), "کتاب\nها");
}

#[test]
fn a_word_finds_its_plurals_and_is_found_by_them() {
    for (typed, written) in [("کتاب", "کتاب‌ها"), ("کتاب", "کتابهای"), ("کتاب‌ها", "کتاب"), ("کتابهایی", "کتاب‌های")]
    {
        assert!(matches(written, &query_terms(typed)), "{typed} finds {written}");
    }
    assert!(!matches("تن", &query_terms("تنها")), "a short word is not taken for a plural");
}

#[test]
fn quotes_ask_for_a_phrase_and_a_star_for_a_beginning() {
    assert!(matches("the quick brown fox", &query_terms("\"quick brown\"")));
    assert!(!matches("the brown quick fox", &query_terms("\"quick brown\"")));
    assert!(matches("the quick brown fox", &query_terms("brow* the")));
    assert!(!matches("the quick brown fox", &query_terms("brow")));
    assert!(matches("به خوانندگان", &query_terms("خوان*")));
    assert!(!matches("the quick brown fox", &query_terms("quick -fox")));
    assert!(!matches("the quick brown fox", &query_terms("quick -\"brown fox\"")));
    assert!(matches("the well-known fox", &query_terms("well-known -\"fox known\"")));
    assert!(query_terms("?! ...").is_empty());
    assert!(!matches("anything", &[]));
}

#[test]
fn a_query_of_a_million_words_is_cut() {
    assert_eq!(query_terms(&"word ".repeat(1_000_000)).len(), MAX_TERMS);
    assert_eq!(query_terms(&"\"a b\" c ".repeat(1_000)).len(), MAX_TERMS);
}

#[test]
fn a_snippet_is_cut_from_the_original() {
    let text = "ديباچه\n\nمي‌خواهم   كتابهاي\tفارسي را، با «نيم‌فاصله»، بخوانم.";
    let cut = snippet(text, &query_terms("کتاب‌های فارسی"), 80).unwrap();
    assert_eq!(cut.marked("<", ">"), "ديباچه مي‌خواهم <كتابهاي> <فارسي> را، با «نيم‌فاصله»، بخوانم.");
    assert_eq!(&cut.text[cut.highlights[1].clone()], "فارسي");
}

#[test]
fn a_snippet_shows_the_place_where_the_terms_stand_together() {
    let text = format!("alpha {}alpha beta {}", "filler ".repeat(100), "more ".repeat(100));
    let cut = snippet(&text, &query_terms("beta alpha"), 40).unwrap();
    assert!(cut.marked("[", "]").contains("[alpha] [beta]"), "{cut:?}");
    assert!(cut.text.starts_with('…') && cut.text.ends_with('…'), "{cut:?}");
    assert!(cut.text.chars().count() <= 42, "{cut:?}");
    assert_eq!(snippet(&text, &query_terms("gamma"), 40), None);
}

#[test]
fn a_snippet_cannot_carry_terminal_control_or_bidi_overrides() {
    let cut = snippet("a\u{1b}[31m \u{202E}word\u{2066} \u{7}end", &query_terms("word"), 80).unwrap();
    assert_eq!(cut.marked("<", ">"), "a [31m <word> end");
}

#[test]
fn an_excerpt_is_the_beginning() {
    assert_eq!(excerpt("  One two\nthree four", 13), "One two…");
    assert_eq!(excerpt("short", 100), "short");
    assert_eq!(excerpt("", 10), "");
}

#[test]
fn the_map_leads_from_the_form_to_the_original() {
    let original = "«مي‌روم» به كتاب ها";
    let normalised = normalise_mapped(original);
    assert_eq!(normalised.text, "میروم به کتابها");
    let at = normalised.text.find("کتابها").unwrap();
    let range = normalised.original_range(at..at + 2).unwrap();
    assert_eq!(&original[range], "كتاب ها");
    let all = normalised.original_range(0..normalised.text.len()).unwrap();
    assert_eq!(&original[all], "مي‌روم» به كتاب ها");
    assert_eq!(normalised.original_range(500..600), None);
}

/// Persian with everything that is done to it.
fn persian() -> impl Strategy<Value = String> {
    "(می|نمی|ها|های|تر|ه|ی|ام|کتاب|ك|ي|ى|ة|ۀ|أ|آ|ء|ئ|ؤ|ـ|َ|ّ|ٔ|\u{200C}|\u{200D}|\u{200F}|\u{202B}|\u{202C}|[ﭐ-ﻼ]|[۰-۹]|[٠-٩]| |\n|،|a|É|\u{301}){0,24}"
}

/// Text as it comes.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![persian(), ".{0,40}", "\\PC{0,40}"]
}

proptest! {
    #[test]
    fn normalising_twice_changes_nothing(text in any_text()) {
        let once = normalise(&text);
        prop_assert_eq!(normalise(&once), once);
    }

    #[test]
    fn the_map_covers_the_form_and_points_into_the_original(text in any_text()) {
        let normalised = normalise_mapped(&text);
        prop_assert_eq!(&normalised.text, &normalise(&text));
        let mut ends = (0, 0);
        for span in &normalised.map {
            prop_assert!(span.normalised.start >= ends.0 && span.normalised.end > span.normalised.start);
            prop_assert!(span.original.end > span.original.start && span.original.start >= ends.1.min(span.original.start));
            prop_assert!(text.get(span.original.clone()).is_some());
            prop_assert!(normalised.text.get(span.normalised.clone()).is_some());
            ends = (span.normalised.end, span.original.end);
        }
    }

    #[test]
    fn a_text_finds_itself_word_by_word(text in persian()) {
        for span in normalise_mapped(&text).map {
            let word = &text[span.original];
            let terms = query_terms(&word.replace(['"', '*'], " "));
            prop_assume!(!terms.is_empty());
            prop_assert!(matches(&text, &terms), "{word:?}: {terms:?} in {:?}", normalise(&text));
        }
    }

    #[test]
    fn a_snippet_stays_within_its_size(text in any_text(), query in any_text(), max in 0_usize..60) {
        if let Some(cut) = snippet(&text, &query_terms(&query), max) {
            prop_assert!(cut.text.chars().count() <= max.max(1) + 2, "{cut:?}");
            prop_assert!(cut.highlights.iter().all(|hit| cut.text.get(hit.clone()).is_some()), "{cut:?}");
        }
    }
}
