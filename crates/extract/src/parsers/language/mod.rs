//! Detects the languages of a text. Scripts are separated first, so that a document in two scripts has two languages.

pub(super) mod arabic;
mod codes;

use whatlang::Lang;

use self::codes::iso_code;
use super::types::Language;
use mfctl_core::domain::text::tokens;

/// The size of the sample: bytes of the longest text that is used whole, and characters of a longer one.
const SAMPLE_CHARS: usize = 60_000;
/// A script with a smaller share of the letters is not reported.
const MIN_SHARE: f64 = 0.1;
/// Fewer letters of a script are too few to detect a language.
const MIN_LETTERS: usize = 12;

/// A language that is less certain is not stated, 0 to 1.
const MIN_CONFIDENCE: f64 = 0.5;

/// The languages of a text, largest share first; none that is uncertain.
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
        let detected = match script {
            ScriptGroup::Arabic => arabic::detect(words),
            ScriptGroup::Latin => latin_script(words),
            ScriptGroup::Other => any_script(words),
        };
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

/// The language of a text in no Arabic script.
fn any_script(words: &str) -> Option<(String, f64)> {
    let detected = whatlang::detect(words)?;
    let confidence = detected.confidence();
    (confidence >= MIN_CONFIDENCE).then(|| (iso_code(detected.lang()), round(confidence)))
}

/// The language of a text in Latin script. The trigrams of a short text mislead, so its English words are counted too.
fn latin_script(words: &str) -> Option<(String, f64)> {
    let detected = whatlang::detect(words);
    if let Some(detected) = detected.as_ref().filter(|detected| detected.is_reliable() && detected.lang() != Lang::Eng)
    {
        return Some((iso_code(detected.lang()), round(detected.confidence())));
    }
    let english = english_share(words);
    let by_trigrams = detected.filter(|detected| detected.lang() == Lang::Eng).map_or(0.0, |found| found.confidence());
    let confidence = english.max(by_trigrams).max(english + by_trigrams / 2.0).min(1.0);
    (confidence >= MIN_CONFIDENCE).then(|| ("en".to_owned(), round(confidence)))
}

/// How English the most common words make a text, 0 to 1: in English, every other word is one of these.
fn english_share(words: &str) -> f64 {
    let mut all = 0_u32;
    let mut weight = 0.0_f64;
    let mut is_certain = false;
    for token in tokens(words) {
        all += 1;
        match token.text.as_str() {
            "the" | "and" | "with" | "from" | "that" | "this" | "which" | "your" | "you" | "are" | "were" | "how"
            | "have" | "what" | "their" | "our" | "its" | "into" | "between" | "about" | "should" | "would"
            | "these" | "those" | "when" | "where" | "there" | "been" | "they" | "has" => {
                weight += 1.0;
                is_certain = true;
            }
            "of" | "for" | "to" | "in" | "by" | "is" | "at" | "on" | "an" | "a" | "it" | "be" | "as" | "not" | "or"
            | "all" | "new" | "we" | "my" | "was" | "will" => weight += 0.7,
            // Common words of other languages in Latin script.
            "der" | "die" | "das" | "und" | "ist" | "le" | "les" | "et" | "est" | "que" | "el" | "los" | "las"
            | "la" | "het" | "een" | "och" | "det" | "ett" | "og" | "il" | "di" | "che" | "da" | "do" | "os" | "mi"
            | "y" | "er" | "van" | "dit" => weight -= 1.0,
            _ => {}
        }
    }
    // Words that other languages have too do not decide alone.
    let limit = if is_certain { 1.0 } else { MIN_CONFIDENCE * 0.9 };
    (weight * 3.0 / f64::from(all.max(1))).clamp(0.0, limit)
}

fn round(share: f64) -> f64 {
    (share * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests;
