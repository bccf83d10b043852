//! Normalisation of Persian and English text: one form for index and queries, and the mapping from a match back to the
//! words of the original.
//!
//! # The form
//! [`normalise`] yields words separated by one space. In order:
//! - compatibility forms are decomposed (NFKC: Arabic presentation forms, ligatures, full-width letters) and case is
//!   folded;
//! - bidi marks, joiners, soft hyphens, tatweel, harakat and the diacritics of Latin, Greek, Cyrillic and Hebrew are
//!   removed;
//! - Arabic letters become the Persian ones (`ي ى ئ` → `ی`, `ك` → `ک`, `ة ۀ` → `ه`, `أ إ آ ٱ` → `ا`, `ؤ` → `و`; `ء` is
//!   removed);
//! - Persian and Arabic-Indic digits become ASCII;
//! - every character other than a letter, a digit or a mark that belongs to a letter separates words.
//!
//! # The half-space
//! A ZWNJ joins: `می‌روم` is the one word `میروم`. So does a plain space next to an affix that is commonly written
//! separately (`می نمی` before a word; `ها های هایی … تر تری ترین` after one; `ام ات اش ای ایم اید اند` after a word that
//! ends in `ه`), and the ezafe of `خانه‌ی`, `خانه ی`, `خانهٔ` is removed, so that each of these spellings has the same form.
//! Compounds are handled by the query instead ([`query_terms`]): `پیش‌بینی` matches `پیشبینی` or the phrase `پیش بینی`,
//! `پیش بینی` matches both words or `پیشبینی`, and `کتاب` matches `کتابها` too. A joined query does not find a compound
//! that a document writes as two words (`کتابخانه`, `کتاب خانه`): there is no way to know where to split it.
//! Punctuation next to an affix keeps the words separate; the form then has a line break there, so that normalisation is
//! idempotent.
//!
//! No index and no language model; allocates only the words themselves.

mod fold;
mod query;
mod snippet;
mod token;

pub use query::{MAX_TERMS, QueryTerm, matches, query_terms};
pub use snippet::{Snippet, excerpt, snippet};
pub use token::{TextToken, TokenIter, tokens};

use std::ops::Range;

/// The normalised form of a text, as the module describes it.
#[must_use]
pub fn normalise(original: &str) -> String {
    let mut text = String::with_capacity(original.len());
    let mut last = 0;
    for token in tokens(original) {
        last = push(&mut text, last, &token);
    }
    text
}

/// The normalised form with the mapping to the original.
#[must_use]
pub fn normalise_mapped(original: &str) -> Normalised {
    let mut text = String::with_capacity(original.len());
    let mut map: Vec<Span> = Vec::new();
    for token in tokens(original) {
        let last = map.last().map_or(0, |span| span.normalised.start);
        let start = push(&mut text, last, &token);
        map.push(Span { normalised: start..text.len(), original: token.range });
    }
    Normalised { text, map }
}

/// Appends a word after the one that begins at `last`; returns the start of the new word.
fn push(text: &mut String, last: usize, token: &TextToken) -> usize {
    if !text.is_empty() {
        let separated = token::is_affixed(&text[last..], &token.text);
        text.push(if separated { '\n' } else { ' ' });
    }
    text.push_str(&token.text);
    text.len() - token.text.len()
}

/// A normalised text with the position of each word in the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normalised {
    /// The form of [`normalise`].
    pub text: String,
    /// One span per word, in order.
    pub map: Vec<Span>,
}

/// The position of one word in both texts, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Byte range in the normalised text.
    pub normalised: Range<usize>,
    /// Byte range in the original, on character boundaries.
    pub original: Range<usize>,
}

impl Normalised {
    /// The byte range of the original whose words overlap a byte range of the normalised text.
    #[must_use]
    pub fn original_range(&self, normalised: Range<usize>) -> Option<Range<usize>> {
        let first = self.map.partition_point(|span| span.normalised.end <= normalised.start);
        let last = self.map.partition_point(|span| span.normalised.start < normalised.end);
        let words = self.map.get(first..last)?;
        Some(words.first()?.original.start..words.last()?.original.end)
    }
}

#[cfg(test)]
mod tests;
