//! The words of a text in normalised form, each with its position in the original.

use std::iter::Peekable;
use std::ops::Range;
use std::str::CharIndices;

use unicode_normalization::UnicodeNormalization;

use super::fold::{Piece, fold, is_arabic};

/// Verb prefixes that are written joined, with a half-space or with a space.
const PREFIXES: &[&str] = &["می", "نمی"];
/// Suffixes of plural and comparison, written in the same ways.
const SUFFIXES: &[&str] =
    &["ها", "های", "هایی", "هایم", "هایت", "هایش", "هایمان", "هایتان", "هایشان", "تر", "تری", "ترین"];
/// Suffixes that are written separately only after a final `ه`; elsewhere they are words (`ای ایران`).
const AFTER_HEH: &[&str] = &["ام", "ات", "اش", "ای", "ایم", "اید", "اند", EZAFE];
const EZAFE: &str = "ی";
const HEH: char = 'ه';

/// A word in normalised form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextToken {
    /// Normalised form, never empty.
    pub text: String,
    /// Byte range in the original, on character boundaries; with a separately written affix, it covers both.
    pub range: Range<usize>,
    /// Whether only spaces separate it from the word before it.
    pub(super) spaced: bool,
    /// Byte offsets in `text` of the half-spaces that were removed.
    pub(super) half_spaces: Vec<usize>,
}

impl TextToken {
    /// Whether it is written in the Arabic script.
    pub(super) fn is_arabic(&self) -> bool {
        self.text.chars().all(is_arabic)
    }
}

/// The words of a text, lazily, from left to right.
#[must_use]
pub fn tokens(original: &str) -> TokenIter<'_> {
    TokenIter { words: Words::new(original).peekable() }
}

/// Iterator of [`tokens`].
#[derive(Debug, Clone)]
pub struct TokenIter<'a> {
    words: Peekable<Words<'a>>,
}

impl Iterator for TokenIter<'_> {
    type Item = TextToken;

    fn next(&mut self) -> Option<TextToken> {
        let mut token = self.words.next()?;
        while let Some(next) = self.words.next_if(|next| next.spaced && is_affixed(&token.text, &next.text)) {
            token.range.end = next.range.end;
            if next.text != EZAFE {
                let join = token.text.len();
                token.text.push_str(&next.text);
                token.half_spaces.push(join);
                token.half_spaces.extend(next.half_spaces.iter().map(|at| at + join));
            }
        }
        Some(token)
    }
}

/// Whether two adjacent words are a word and its affix.
pub(super) fn is_affixed(word: &str, next: &str) -> bool {
    let Some(last) = word.chars().next_back().filter(|c| is_arabic(*c)) else { return false };
    if word.chars().nth(1).is_none() || !next.starts_with(is_arabic) {
        return false;
    }
    (PREFIXES.contains(&word) && next.chars().nth(1).is_some())
        || SUFFIXES.contains(&next)
        || (last == HEH && AFTER_HEH.contains(&next))
}

/// The words between separators, before affixes are joined.
#[derive(Debug, Clone)]
struct Words<'a> {
    chars: CharIndices<'a>,
    /// Further words of a character that contains several (a ligature of a phrase).
    pending: std::collections::VecDeque<TextToken>,
    /// Whether the gap before the next word consists of spaces.
    spaced: bool,
}

impl<'a> Words<'a> {
    fn new(original: &'a str) -> Self {
        Self { chars: original.char_indices(), pending: std::collections::VecDeque::new(), spaced: false }
    }
}

impl Iterator for Words<'_> {
    type Item = TextToken;

    fn next(&mut self) -> Option<TextToken> {
        if let Some(token) = self.pending.pop_front() {
            return Some(token);
        }
        let mut building = TokenBuilder::default();
        for (at, c) in self.chars.by_ref() {
            let range = at..at + c.len_utf8();
            fold(c, |piece| match piece {
                Piece::Word(c) => building.push(c, &range, &mut self.spaced),
                Piece::HalfSpace => building.half_space(),
                Piece::Mark => building.extend(range.end),
                Piece::Nothing => {}
                Piece::Space => self.pending.extend(building.take()),
                Piece::Break => {
                    self.pending.extend(building.take());
                    self.spaced = false;
                }
            });
            if let Some(token) = self.pending.pop_front() {
                // A ligature can end this word and begin another one.
                self.pending.extend(building.take());
                return Some(token);
            }
        }
        building.take()
    }
}

/// A word under construction.
#[derive(Debug, Default)]
struct TokenBuilder {
    text: String,
    range: Range<usize>,
    half_spaces: Vec<usize>,
    spaced: bool,
    /// Whether a letter may compose with a mark after it (kana, Hangul, Indic scripts).
    composes: bool,
}

impl TokenBuilder {
    fn push(&mut self, c: char, range: &Range<usize>, spaced: &mut bool) {
        if self.text.is_empty() {
            self.range.start = range.start;
            self.spaced = std::mem::replace(spaced, true);
        }
        self.composes |= !c.is_ascii() && !is_arabic(c);
        self.text.push(c);
        self.range.end = range.end;
    }

    fn extend(&mut self, end: usize) {
        if !self.text.is_empty() {
            self.range.end = end;
        }
    }

    fn half_space(&mut self) {
        if !self.text.is_empty() && self.half_spaces.last() != Some(&self.text.len()) {
            self.half_spaces.push(self.text.len());
        }
    }

    fn take(&mut self) -> Option<TextToken> {
        let Self { mut text, range, mut half_spaces, spaced, composes } = std::mem::take(self);
        if text.is_empty() {
            return None;
        }
        half_spaces.retain(|at| *at < text.len());
        if let Some(at) = half_spaces.last().copied()
            && &text[at..] == EZAFE
            && text[..at].ends_with(HEH)
        {
            text.truncate(at);
            half_spaces.pop();
        }
        if composes {
            text = text.nfc().collect();
            half_spaces.clear();
        }
        Some(TextToken { text, range, spaced, half_spaces })
    }
}
