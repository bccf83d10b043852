//! Detects the languages of a text. Scripts are separated first, so that a document in two scripts has two languages.

use whatlang::{Detector, Lang};

use super::types::Language;
use mfctl_core::domain::text::tokens;

/// The size of the sample: bytes of the longest text that is used whole, and characters of a longer one.
const SAMPLE_CHARS: usize = 60_000;
/// A script with a smaller share of the letters is not reported.
const MIN_SHARE: f64 = 0.1;
/// Fewer letters of a script are too few to detect a language.
const MIN_LETTERS: usize = 12;

/// The languages of a text, largest share first.
pub(super) fn detect(text: &str) -> Vec<Language> {
    let sample = sample(text);
    let scripts =
        [ScriptGroup::Arabic, ScriptGroup::Latin, ScriptGroup::Other].map(|script| (script, words_in(&sample, script)));
    let letters = |words: &str| words.chars().filter(|c| c.is_alphabetic()).count();
    let all: usize = scripts.iter().map(|(_, words)| letters(words)).sum();
    let mut languages: Vec<Language> = Vec::new();
    for (script, words) in &scripts {
        let own = letters(words);
        let share = own as f64 / all.max(1) as f64;
        if own < MIN_LETTERS || share < MIN_SHARE {
            continue;
        }
        let detected = if *script == ScriptGroup::Arabic { arabic_script(words) } else { any_script(words) };
        languages.extend(detected.map(|(code, confidence)| Language { code, confidence, share: round(share) }));
    }
    languages.sort_by(|one, other| other.share.total_cmp(&one.share));
    languages
}

/// The text, or the beginning, the middle and the end of a long one.
fn sample(text: &str) -> String {
    let part = SAMPLE_CHARS / 3;
    if text.len() <= SAMPLE_CHARS {
        return text.to_owned();
    }
    [0, text.len() / 2, text.len().saturating_sub(part * 2)]
        .into_iter()
        .flat_map(|from| text[text.ceil_char_boundary(from)..].chars().take(part).chain([' ']))
        .collect()
}

/// Scripts whose languages are detected together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScriptGroup {
    Arabic,
    Latin,
    Other,
}

fn words_in(text: &str, script: ScriptGroup) -> String {
    let of_script = |word: &&str| {
        word.chars().find(|c| c.is_alphabetic()).is_some_and(|c| {
            script
                == match c {
                    '\u{0600}'..='\u{08FF}' | '\u{FB50}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}' => ScriptGroup::Arabic,
                    'A'..='Z' | 'a'..='z' | '\u{00AA}'..='\u{024F}' | '\u{1E00}'..='\u{1EFF}' => ScriptGroup::Latin,
                    _ => ScriptGroup::Other,
                }
        })
    };
    text.split_whitespace().filter(of_script).fold(String::new(), |mut words, word| {
        words.push_str(word);
        words.push(' ');
        words
    })
}

fn any_script(words: &str) -> Option<(String, f64)> {
    let detected = whatlang::detect(words)?;
    Some((iso_code(detected.lang()), round(detected.confidence())))
}

/// Persian, Arabic and Urdu share letters, and old files write Persian with Arabic ones. So their most common words decide,
/// and trigrams only where those do not.
fn arabic_script(words: &str) -> Option<(String, f64)> {
    let mut counts = [("fa", 0_u32), ("ar", 0), ("ur", 0)];
    for token in tokens(words) {
        match token.text.as_str() {
            "در" | "به" | "از" | "که" | "را" | "این" | "است" | "با" | "برای" | "شد" | "بود" | "شود" | "یک" | "خود"
            | "هر" | "تا" | "کرد" | "چه" | "ما" => counts[0].1 += 1,
            "فی" | "الی" | "علی" | "التی" | "الذی" | "هذا" | "هذه" | "ان" | "عن" | "ذلک" | "لا" | "او" | "کل" | "حق" =>
            {
                counts[1].1 += 1;
            }
            "کے" | "میں" | "ہے" | "اور" | "سے" | "کا" | "نے" | "ہیں" | "کو" | "پر" | "کی" | "کسی" | "ہر" | "می‌ں" =>
            {
                counts[2].1 += 1;
            }
            word if word.starts_with("ال") && word.chars().count() > 4 => counts[1].1 += 1,
            word if word.starts_with("می") && word.chars().count() > 3 => counts[0].1 += 1,
            _ => {}
        }
    }
    counts[2].1 += words.chars().filter(|c| matches!(c, 'ٹ' | 'ڈ' | 'ڑ' | 'ں' | 'ے')).count() as u32;
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let [(first, most), (_, second), _] = counts;
    if most >= 2 && most >= second * 2 {
        let confidence = f64::from(most - second) / f64::from(most + second);
        return Some((first.to_owned(), round(confidence.max(0.5))));
    }
    let detected = Detector::with_allowlist(vec![Lang::Pes, Lang::Ara, Lang::Urd]).detect(words)?;
    Some((iso_code(detected.lang()), round(detected.confidence())))
}

fn round(share: f64) -> f64 {
    (share * 1000.0).round() / 1000.0
}

/// The ISO 639-1 code if there is one, else that of ISO 639-3.
fn iso_code(language: Lang) -> String {
    let three = language.code();
    let two = match three {
        "afr" => "af",
        "aka" => "ak",
        "amh" => "am",
        "ara" => "ar",
        "aze" => "az",
        "bel" => "be",
        "ben" => "bn",
        "bul" => "bg",
        "cat" => "ca",
        "ces" => "cs",
        "cmn" => "zh",
        "cym" => "cy",
        "dan" => "da",
        "deu" => "de",
        "ell" => "el",
        "eng" => "en",
        "epo" => "eo",
        "est" => "et",
        "fin" => "fi",
        "fra" => "fr",
        "guj" => "gu",
        "heb" => "he",
        "hin" => "hi",
        "hrv" => "hr",
        "hun" => "hu",
        "hye" => "hy",
        "ind" => "id",
        "ita" => "it",
        "jav" => "jv",
        "jpn" => "ja",
        "kan" => "kn",
        "kat" => "ka",
        "khm" => "km",
        "kor" => "ko",
        "lat" => "la",
        "lav" => "lv",
        "lit" => "lt",
        "mal" => "ml",
        "mar" => "mr",
        "mkd" => "mk",
        "mya" => "my",
        "nep" => "ne",
        "nld" => "nl",
        "nob" => "nb",
        "ori" => "or",
        "pan" => "pa",
        "pes" => "fa",
        "pol" => "pl",
        "por" => "pt",
        "ron" => "ro",
        "rus" => "ru",
        "sin" => "si",
        "slk" => "sk",
        "slv" => "sl",
        "sna" => "sn",
        "spa" => "es",
        "srp" => "sr",
        "swe" => "sv",
        "tam" => "ta",
        "tel" => "te",
        "tgl" => "tl",
        "tha" => "th",
        "tuk" => "tk",
        "tur" => "tr",
        "ukr" => "uk",
        "urd" => "ur",
        "uzb" => "uz",
        "vie" => "vi",
        "yid" => "yi",
        "zul" => "zu",
        other => other,
    };
    two.to_owned()
}
