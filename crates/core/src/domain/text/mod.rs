//! Persian and English text made comparable: one form for the index and for what a person types, and the way back
//! from a hit to the words of the original.
//!
//! # The form
//! [`normalise`] yields words separated by one space. In order:
//! - compatibility forms are undone (NFKC: Arabic presentation forms, ligatures, full-width letters) and case is folded;
//! - bidi marks, joiners, soft hyphens, tatweel, harakat and the diacritics of Latin, Greek, Cyrillic and Hebrew go;
//! - Arabic letters become the Persian ones (`ي ى ئ` → `ی`, `ك` → `ک`, `ة ۀ` → `ه`, `أ إ آ ٱ` → `ا`, `ؤ` → `و`, `ء` goes);
//! - Persian and Arabic-Indic digits become ASCII;
//! - what is neither letter, digit nor a mark that belongs to a letter separates words.
//!
//! # The half-space
//! A ZWNJ joins: `می‌روم` is the one word `میروم`. So does a plain space beside the affixes that are commonly set apart
//! (`می نمی` before a word; `ها های هایی … تر تری ترین` after one; `ام ات اش ای ایم اید اند` after a word that ends in
//! `ه`), and the ezafe of `خانه‌ی`, `خانه ی`, `خانهٔ` goes, so that each of these spellings has the same form.
//! What is not an affix is met by the query instead ([`query_terms`]): `پیش‌بینی` asks for `پیشبینی` or the phrase
//! `پیش بینی`, `پیش بینی` asks for both words or `پیشبینی`, and `کتاب` asks for `کتابها` too. A joined query does not
//! find a compound that a document writes apart (`کتابخانه`, `کتاب خانه`): nothing tells where to split it.
//! Beside an affix, punctuation keeps words apart; the form then has a line break there, so that normalising twice
//! changes nothing.
//!
//! Pure: no index, no language model, and no allocation beyond the words themselves.

mod fold;
mod query;
mod snippet;
mod token;

pub use query::{MAX_TERMS, QueryTerm, matches, query_terms};
pub use snippet::{Snippet, excerpt, snippet};
pub use token::{Token, Tokens, tokens};

use std::ops::Range;

/// The comparable form of a text: see the module.
#[must_use]
pub fn normalise(original: &str) -> String {
    let mut text = String::with_capacity(original.len());
    let mut last = 0;
    for token in tokens(original) {
        last = push(&mut text, last, &token);
    }
    text
}

/// The comparable form with the way back to the original.
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

/// Appends a word to those before it, the last of which begins at `last`; returns where this one begins.
fn push(text: &mut String, last: usize, token: &Token) -> usize {
    if !text.is_empty() {
        let kept_apart = token::is_affixed(&text[last..], &token.text);
        text.push(if kept_apart { '\n' } else { ' ' });
    }
    text.push_str(&token.text);
    text.len() - token.text.len()
}

/// A normalised text and where each of its words stands in the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normalised {
    /// What [`normalise`] yields.
    pub text: String,
    /// One span a word, in order.
    pub map: Vec<Span>,
}

/// One word, in bytes of both texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Where the word stands in the normalised text.
    pub normalised: Range<usize>,
    /// Where it stands in the original; on character boundaries.
    pub original: Range<usize>,
}

impl Normalised {
    /// The part of the original whose words overlap a byte range of the normalised text.
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
