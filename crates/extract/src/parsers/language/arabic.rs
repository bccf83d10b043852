//! The language of a text in Arabic script, by letters that others do not have and by common words.
//!
//! Persian, Arabic, Urdu, Pashto and Sorani Kurdish share most letters, and old files write Persian with Arabic ones. A letter
//! that one language alone has is the strongest evidence; trigrams decide only where there is no evidence.

use whatlang::{Detector, Lang};

use super::{MIN_CONFIDENCE, iso_code, round};
use mfctl_core::domain::text::tokens;

/// The share of a language's own letters among all that decides for it. (Of Urdu, Pashto and Sorani, about every seventh
/// letter is their own; of a Persian text that cites a name, hardly one in a hundred.)
const MIN_OWN_SHARE: f64 = 0.03;
/// The least evidence for Persian or Arabic, in the unit of [`Evidence`].
const MIN_EVIDENCE: f64 = 1.0;

/// A language whose texts are not only in letters that Persian and Arabic have.
struct OwnLetters {
    code: &'static str,
    letters: &'static str,
    /// Common words that Persian and Arabic do not have.
    words: &'static [&'static str],
}

const OWN_LETTERS: [OwnLetters; 5] = [
    OwnLetters {
        code: "ur", letters: "ٹڈڑےںہھۂۃۓ", words: &["کا", "کی", "کے", "کو", "اور", "سے", "نے", "تھا"]
    },
    OwnLetters {
        code: "ps",
        letters: "ټځڅډړږښګڼېۍ",
        words: &["د", "په", "او", "ته", "دی", "دا", "سره", "چه", "هم", "زه", "یم", "ستا"],
    },
    OwnLetters { code: "ckb", letters: "ڕڵۆێە", words: &[] },
    OwnLetters { code: "ug", letters: "ۈۋڭۇېەۆ", words: &[] },
    OwnLetters { code: "sd", letters: "ٻڀٺٽڄڃڇڌڏڍڙڦڪڳڱڻ۽۾", words: &[] },
];

/// The language and the confidence of the detection; `None` if the text does not tell.
pub(super) fn detect(words: &str) -> Option<(String, f64)> {
    let letters = words.chars().filter(|c| c.is_alphabetic()).count();
    if let Some(found) = by_own_letters(words, letters) {
        return Some(found);
    }
    let Evidence { persian, arabic } = Evidence::of(words);
    let (code, most, least) = if persian >= arabic { ("fa", persian, arabic) } else { ("ar", arabic, persian) };
    let confidence = (most - least) / (most + least).max(1.0);
    if most >= MIN_EVIDENCE && confidence >= MIN_CONFIDENCE / 2.0 {
        return Some((code.to_owned(), round(confidence.max(MIN_CONFIDENCE))));
    }
    if most >= MIN_EVIDENCE {
        return None;
    }
    let detected =
        Detector::with_allowlist(vec![Lang::Pes, Lang::Ara]).detect(words).filter(|found| found.is_reliable())?;
    Some((iso_code(detected.lang()), round(detected.confidence())))
}

/// The language with the most letters of its own, if they are enough.
fn by_own_letters(words: &str, letters: usize) -> Option<(String, f64)> {
    let count = |own: &OwnLetters| words.chars().filter(|c| own.letters.contains(*c)).count();
    let (own, found) = OWN_LETTERS.iter().map(|own| (own, count(own))).rev().max_by_key(|(_, found)| *found)?;
    let share = found as f64 / letters.max(1) as f64;
    if found > 0 && share >= MIN_OWN_SHARE {
        return Some((own.code.to_owned(), round((share * 10.0).clamp(MIN_CONFIDENCE, 1.0))));
    }
    let all = words.split_whitespace().count();
    let common = |own: &OwnLetters| words.split_whitespace().filter(|word| own.words.contains(word)).count();
    // Pashto's most common word is a single letter: "of".
    let has_of = words.split_whitespace().any(|word| word == "د");
    let is_of = |own: &&OwnLetters| {
        let found = common(own);
        let is_enough = if own.code == "ps" { has_of && found > 0 || found > 2 } else { found > 1 };
        is_enough && found * 4 >= all
    };
    OWN_LETTERS.iter().find(is_of).map(|own| (own.code.to_owned(), MIN_CONFIDENCE))
}

/// The evidence for Persian and for Arabic: 1 for a letter or ending that is more common in the one, 2 or 3 for a letter or
/// word that the other hardly has.
#[derive(Default)]
struct Evidence {
    persian: f64,
    arabic: f64,
}

impl Evidence {
    fn of(words: &str) -> Self {
        let mut evidence = Self::default();
        for c in words.chars() {
            match c {
                'پ' | 'چ' | 'ژ' | 'گ' => evidence.persian += 3.0,
                'ۀ' | '\u{200C}' => evidence.persian += 2.0,
                'ک' | 'ی' => evidence.persian += 1.0,
                'ة' => evidence.arabic += 3.0,
                'أ' | 'إ' => evidence.arabic += 2.0,
                'ى' => evidence.arabic += 1.0,
                // Persian written with an Arabic keyboard, or in windows-1256.
                'ي' | 'ك' => evidence.arabic += 0.3,
                _ => {}
            }
        }
        for token in tokens(words) {
            evidence.word(&token.text);
        }
        evidence
    }

    /// A word in normalised form, in which Arabic letters are Persian ones.
    fn word(&mut self, word: &str) {
        match word {
            "در" | "به" | "از" | "که" | "را" | "این" | "است" | "با" | "برای" | "شد" | "بود" | "شود" | "یک" | "خود"
            | "هر" | "تا" | "کرد" | "چه" | "ما" | "هم" | "نیست" | "هست" | "باید" | "اگر" | "یا" | "پس" | "دارد"
            | "دارند" | "کند" | "کنید" | "شده" | "کردن" | "شدن" | "ایران" | "شما" | "ایم" | "اند" | "سال" =>
            {
                self.persian += 2.0;
            }
            "فی" | "الی" | "التی" | "الذی" | "الذین" | "هذا" | "هذه" | "ذلک" | "تلک" | "ان" | "عن" | "لا" | "او"
            | "کان" | "کانت" | "قد" | "لم" | "لن" | "هو" | "هی" | "نحن" | "انا" | "انت" | "کیف" | "هل" | "ماذا"
            | "لماذا" | "یوم" | "عند" | "علی" => self.arabic += 2.0,
            word => {
                let letters = word.chars().count();
                let is_long = letters > 4;
                let has_article = is_long && (word.starts_with("ال") || word.starts_with("لل"))
                    || letters > 6 && ["وال", "بال", "فال", "کال"].iter().any(|prefix| word.starts_with(prefix));
                if has_article {
                    self.arabic += 2.0;
                } else if is_long && (word.ends_with("های") || word.ends_with("ها") || word.starts_with("می")) {
                    self.persian += 1.0;
                } else if is_long && word.ends_with("ات") {
                    self.arabic += 0.3;
                }
            }
        }
    }
}
