//! The language of a text in Arabic script, by letters that others do not have and by common words.
//!
//! Persian, Arabic, Urdu, Pashto and Sorani Kurdish share most letters, and old files write Persian with Arabic ones. Each
//! word counts once, so that a name in the spelling of another language weighs no more than any other word; trigrams decide
//! only where there is no evidence.

use unicode_normalization::char::is_combining_mark;
use whatlang::{Detector, Lang};

use super::{MIN_CONFIDENCE, iso_code, round};

/// The share of a language's own letters among all that decides for it. (Of Urdu, Pashto and Sorani, about every seventh
/// letter is their own; of a Persian text that cites a name, hardly one in a hundred.)
const MIN_OWN_SHARE: f64 = 0.03;
/// The least evidence for Persian, and the least lead over Arabic as a share of both, in the unit of [`Evidence`].
const MIN_PERSIAN: (f64, f64) = (1.0, 0.25);
/// The same for Arabic: Persian titles and names have Arabic parts, so that less evidence says nothing.
const MIN_ARABIC: (f64, f64) = (3.0, 0.45);
/// Without other evidence of Persian, its four letters that Arabic does not have are in so large a share of the words, or
/// only in names.
const MIN_PERSIAN_LETTERS_SHARE: f64 = 0.3;

const TATWEEL: char = '\u{640}';
const ZWNJ: char = '\u{200C}';

/// A language whose texts are not only in letters that Persian and Arabic have.
struct OwnLetters {
    code: &'static str,
    letters: &'static str,
    /// Those of them that texts in Persian may have for its own letters.
    ambiguous: &'static str,
    /// Common words that Persian and Arabic do not have.
    words: &'static [&'static str],
}

const OWN_LETTERS: [OwnLetters; 5] = [
    OwnLetters {
        code: "ur",
        letters: "ٹڈڑےںہھۂۃۓ",
        ambiguous: "ہھۂۃ",
        words: &["کا", "کی", "کے", "کو", "اور", "سے", "نے", "تھا"],
    },
    OwnLetters {
        code: "ps",
        letters: "ټځڅډړږښګڼېۍ",
        ambiguous: "",
        words: &["د", "په", "او", "ته", "دی", "دا", "سره", "چه", "هم", "زه", "یم", "ستا"],
    },
    OwnLetters {
        code: "ckb",
        letters: "ڕڵۆێە",
        ambiguous: "",
        words: &["له", "ئه", "ده", "بوو", "دوو", "وه", "سه", "گه", "هه", "مه"],
    },
    OwnLetters { code: "ug", letters: "ۈۋڭۇېەۆ", ambiguous: "", words: &[] },
    OwnLetters { code: "sd", letters: "ٻڀٺٽڄڃڇڌڏڍڙڦڪڳڱڻ۽۾", ambiguous: "", words: &[] },
];

/// Common Persian words that none of the other languages has.
const PERSIAN_ONLY: &[&str] = &[
    "در", "از", "را", "این", "آن", "است", "برای", "شد", "شده", "شود", "بود", "نیست", "هست", "باید", "دارد", "کرد",
    "کند", "می", "های", "ها", "اند",
];

/// The language and the confidence of the detection; `None` if the text does not tell.
pub(super) fn detect(text: &str) -> Option<(String, f64)> {
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let words: Vec<String> = words(text).collect();
    match by_own_letters(&words, letters) {
        OwnLettersResult::Language(code, confidence) => return Some((code.to_owned(), round(confidence))),
        OwnLettersResult::Unknown => return None,
        OwnLettersResult::NoEvidence => {}
    }
    let evidence = Evidence::of(&words);
    let (persian, arabic) = (evidence.persian(words.len()), evidence.arabic);
    let (code, most, least, (min, min_lead)) =
        if persian >= arabic { ("fa", persian, arabic, MIN_PERSIAN) } else { ("ar", arabic, persian, MIN_ARABIC) };
    let lead = (most - least) / (most + least).max(1.0);
    if most >= min {
        return (lead >= min_lead).then(|| (code.to_owned(), round(lead.max(MIN_CONFIDENCE))));
    }
    if evidence.with_persian_letters > 0 || arabic >= 1.0 {
        return None;
    }
    let detected =
        Detector::with_allowlist(vec![Lang::Pes, Lang::Ara]).detect(text).filter(|found| found.is_reliable())?;
    Some((iso_code(detected.lang()), round(detected.confidence())))
}

/// How much speaks for the order of this text's letters: the evidence for a language by its words, whichever language it is.
pub(in crate::parsers) fn word_evidence(text: &str) -> f64 {
    let evidence = words(text).fold(Evidence::default(), |mut evidence, word| {
        evidence.add_spelling(&word);
        evidence
    });
    evidence.persian + evidence.arabic
}

/// The words of a text in Arabic letters, without vowel marks.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| c.is_whitespace() || c.is_ascii_punctuation() || "،؛؟«»٪…–—".contains(c))
        .map(|word| word.trim_matches(|c: char| !c.is_alphabetic()))
        .filter(|word| !word.is_empty())
        .map(|word| word.chars().filter(|c| !is_combining_mark(*c) && *c != TATWEEL).collect())
}

/// With Persian letters in place of those that other languages have for the same sound.
fn folded(word: &str) -> String {
    let fold = |c| match c {
        'ي' | 'ى' => 'ی',
        'ك' => 'ک',
        'ہ' | 'ھ' => 'ه',
        c => c,
    };
    word.chars().map(fold).collect()
}

/// What the letters that Persian and Arabic do not have say.
enum OwnLettersResult {
    Language(&'static str, f64),
    /// It is neither Persian nor Arabic.
    Unknown,
    NoEvidence,
}

/// The language with the most letters of its own, if they are enough, or enough of its words.
fn by_own_letters(words: &[String], letters: usize) -> OwnLettersResult {
    let others = words.iter().filter(|word| is_only_persian(word) || is_only_arabic(word)).count();
    let is_word_of = |word: &str, own: &OwnLetters| own.words.contains(&folded(word).trim_end_matches(ZWNJ));
    let mut best: Option<(&OwnLetters, usize)> = None;
    for own in &OWN_LETTERS {
        let is_own = |c: &char| own.letters.contains(*c);
        let found = words.iter().flat_map(|word| word.chars()).filter(is_own).count();
        let supporting = words.iter().filter(|word| word.chars().any(|c| is_own(&c))).count();
        if found > 0 && supporting > others && best.is_none_or(|(_, most)| found > most) {
            best = Some((own, found));
        }
    }
    if let Some((own, found)) = best {
        let share = found as f64 / letters.max(1) as f64;
        let is_unambiguous = |word: &String| {
            word.chars().any(|c| own.letters.contains(c) && !own.ambiguous.contains(c)) || is_word_of(word, own)
        };
        if share >= MIN_OWN_SHARE && words.iter().any(is_unambiguous) {
            return OwnLettersResult::Language(own.code, (share * 10.0).clamp(MIN_CONFIDENCE, 1.0));
        } else if share >= MIN_OWN_SHARE {
            return OwnLettersResult::Unknown;
        }
    }
    // Pashto's most common word is a single letter: "of".
    let has_of = words.iter().any(|word| word == "د");
    for own in &OWN_LETTERS {
        let found = words.iter().filter(|word| is_word_of(word, own)).count();
        let is_enough = if own.code == "ps" { has_of && found > 0 || found > 2 } else { found > 1 };
        if is_enough && found > others && found * 4 >= words.len() {
            // Other dialects of Kurdish have these words too.
            return match own.code {
                "ckb" => OwnLettersResult::Unknown,
                code => OwnLettersResult::Language(code, MIN_CONFIDENCE),
            };
        }
        if own.code == "ur" && found > others && found * 5 >= words.len() {
            return OwnLettersResult::Unknown;
        }
    }
    // Neither Persian nor Arabic has words with this letter at the start, or writes the name of the Kurds like that.
    let foreign = words.iter().filter(|word| word.starts_with('ئ') || folded(word).starts_with("کورد")).count();
    if foreign > others && foreign * 6 >= words.len() {
        OwnLettersResult::Unknown
    } else {
        OwnLettersResult::NoEvidence
    }
}

fn is_only_persian(word: &str) -> bool {
    let word = folded(word);
    PERSIAN_ONLY.contains(&word.as_str()) || word.starts_with("می\u{200C}") || word.contains("\u{200C}ها")
}

fn is_only_arabic(word: &str) -> bool {
    let mut evidence = Evidence::default();
    evidence.add_spelling(word);
    evidence.arabic >= 2.0
}

/// The evidence for Persian and for Arabic: 2 or 3 for a word or spelling that the other hardly has, 1 or less for one that
/// is more common in the one.
#[derive(Debug, Default)]
struct Evidence {
    persian: f64,
    arabic: f64,
    /// Words with letters of Persian that Arabic has only in names.
    with_persian_letters: usize,
}

impl Evidence {
    fn of(words: &[String]) -> Self {
        let mut evidence = Self::default();
        for word in words {
            let arabic = evidence.arabic;
            evidence.add_spelling(word);
            evidence.add_letters(word, evidence.arabic > arabic);
        }
        evidence
    }

    fn persian(&self, words: usize) -> f64 {
        let letters = self.with_persian_letters as f64;
        let is_enough = self.with_persian_letters > 1 && letters >= MIN_PERSIAN_LETTERS_SHARE * words as f64;
        if self.persian > 0.0 || is_enough && self.arabic < MIN_ARABIC.0 { self.persian + letters } else { 0.0 }
    }

    /// Letters, wherever in the word they are. Arabic words are sometimes written with Persian letters.
    fn add_letters(&mut self, word: &str, is_arabic: bool) {
        self.with_persian_letters += usize::from(word.contains(['پ', 'چ', 'ژ', 'گ']));
        if word.contains(['ک', 'ی', 'ۀ']) && !is_arabic {
            self.persian += 1.0;
        }
        if word.contains(ZWNJ) {
            self.persian += 1.0;
        }
        // Persian written with an Arabic keyboard, or in windows-1256, has them too.
        if word.contains(['ي', 'ك']) {
            self.arabic += 0.2;
        }
    }

    /// The word, its beginning and its end.
    fn add_spelling(&mut self, word: &str) {
        let letters = word.chars().count();
        if word.ends_with('ة') {
            self.arabic += 3.0;
        } else if word.ends_with('ى') {
            self.arabic += 0.5;
        }
        // Persian has these letters too, but not at the start of a word.
        let stem = word.strip_prefix("ال").or_else(|| word.strip_prefix(['و', 'ف', 'ب', 'ل', 'ك'])).unwrap_or(word);
        if word.starts_with(['أ', 'إ']) || stem.starts_with(['أ', 'إ']) {
            self.arabic += 3.0;
        }
        match folded(word).as_str() {
            "در" | "از" | "که" | "را" | "این" | "آن" | "است" | "با" | "بر" | "برای" | "شد" | "بود" | "شود" | "یک"
            | "خود" | "هر" | "تا" | "کرد" | "چه" | "نیست" | "هست" | "باید" | "اگر" | "پس" | "دارد" | "دارند"
            | "کند" | "کنید" | "شده" | "کردن" | "شدن" | "شما" | "ایم" | "اند" | "سال" => {
                self.persian += 2.0
            }
            "فی" | "الی" | "إلی" | "التی" | "الذی" | "الذین" | "هذا" | "هذه" | "ذلک" | "تلک" | "عن" | "لا" | "کان"
            | "کانت" | "قد" | "لم" | "لن" | "هو" | "هی" | "نحن" | "انا" | "انت" | "کیف" | "هل" | "ماذا" | "لماذا"
            | "یوم" | "عند" => self.arabic += 2.0,
            // "To", or "with him".
            "به" => self.persian += 0.8,
            // Arabic joins it to the next word.
            "و" => self.persian += 1.0,
            // "On", or a name.
            "علی" if word.ends_with('ى') => self.arabic += 1.0,
            "الله" | "والله" => {}
            folded => {
                let is_long = letters > 4;
                let has_article = is_long && (folded.starts_with("ال") || folded.starts_with("لل"))
                    || letters > 6 && ["وال", "بال", "فال", "کال"].iter().any(|prefix| folded.starts_with(prefix));
                let endings = ["های", "نامه", "خانه", "ترین", "ستان", "گاه"];
                if has_article {
                    // Persian has Arabic words with an article, in its own spelling.
                    let is_persian_spelling = word.contains(['ک', 'ی']) || word.ends_with('ه');
                    self.arabic += if is_persian_spelling { 1.0 } else { 2.0 };
                } else if is_long && (endings.iter().any(|ending| folded.ends_with(ending)) || folded.starts_with("می"))
                {
                    self.persian += 1.0;
                } else if is_long && folded.ends_with("ات") {
                    self.arabic += 0.3;
                }
            }
        }
    }
}
