//! The words of a text in their comparable form, each with its place in the original.

use std::iter::Peekable;
use std::ops::Range;
use std::str::CharIndices;

use unicode_normalization::UnicodeNormalization;

use super::fold::{Piece, fold, is_arabic};

/// Verb prefixes that are written joined, with a half-space or with a space.
const PREFIXES: &[&str] = &["می", "نمی"];
/// Suffixes of plural and comparison, likewise.
const SUFFIXES: &[&str] =
    &["ها", "های", "هایی", "هایم", "هایت", "هایش", "هایمان", "هایتان", "هایشان", "تر", "تری", "ترین"];
/// Suffixes that stand apart only after a final `ه`; elsewhere these are words (`ای ایران`).
const AFTER_HEH: &[&str] = &["ام", "ات", "اش", "ای", "ایم", "اید", "اند", EZAFE];
const EZAFE: &str = "ی";
const HEH: char = 'ه';

/// A word in its comparable form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The form, never empty.
    pub text: String,
    /// Where the word stands in the original, in bytes, on character boundaries. A word whose affix stands apart spans
    /// both.
    pub range: Range<usize>,
    /// Whether only spaces stand between it and the word before it.
    pub(super) spaced: bool,
    /// Where the form had a half-space, as byte offsets into `text`.
    pub(super) half_spaces: Vec<usize>,
}

impl Token {
    /// Whether it is written in the Arabic script.
    pub(super) fn is_arabic(&self) -> bool {
        self.text.chars().all(is_arabic)
    }
}

/// The words of a text, from left to right, made as they are asked for.
#[must_use]
pub fn tokens(original: &str) -> Tokens<'_> {
    Tokens { words: Words::new(original).peekable() }
}

/// See [`tokens`].
#[derive(Debug, Clone)]
pub struct Tokens<'a> {
    words: Peekable<Words<'a>>,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
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

/// Whether two words side by side are one word and its affix.
pub(super) fn is_affixed(word: &str, next: &str) -> bool {
    let Some(last) = word.chars().next_back().filter(|c| is_arabic(*c)) else { return false };
    if word.chars().nth(1).is_none() || !next.starts_with(is_arabic) {
        return false;
    }
    (PREFIXES.contains(&word) && next.chars().nth(1).is_some())
        || SUFFIXES.contains(&next)
        || (last == HEH && AFTER_HEH.contains(&next))
}

/// The words as separators part them, before affixes are joined.
#[derive(Debug, Clone)]
struct Words<'a> {
    chars: CharIndices<'a>,
    /// Words that one character held (a ligature of a phrase), beyond the one handed out.
    held: std::collections::VecDeque<Token>,
    /// The gap before the word to come is spaces alone.
    spaced: bool,
}

impl<'a> Words<'a> {
    fn new(original: &'a str) -> Self {
        Self { chars: original.char_indices(), held: std::collections::VecDeque::new(), spaced: false }
    }
}

impl Iterator for Words<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        if let Some(token) = self.held.pop_front() {
            return Some(token);
        }
        let mut building = Building::default();
        for (at, c) in self.chars.by_ref() {
            let range = at..at + c.len_utf8();
            fold(c, |piece| match piece {
                Piece::Word(c) => building.push(c, &range, &mut self.spaced),
                Piece::HalfSpace => building.half_space(),
                Piece::Mark => building.extend(range.end),
                Piece::Nothing => {}
                Piece::Space => self.held.extend(building.take()),
                Piece::Break => {
                    self.held.extend(building.take());
                    self.spaced = false;
                }
            });
            if let Some(token) = self.held.pop_front() {
                // The character that ended this word may have begun another one: only a ligature does.
                self.held.extend(building.take());
                return Some(token);
            }
        }
        building.take()
    }
}

/// A word under construction.
#[derive(Debug, Default)]
struct Building {
    text: String,
    range: Range<usize>,
    half_spaces: Vec<usize>,
    spaced: bool,
    /// Some letter may compose with a mark after it (kana, Hangul, Indic scripts).
    composes: bool,
}

impl Building {
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

    fn take(&mut self) -> Option<Token> {
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
        Some(Token { text, range, spaced, half_spaces })
    }
}
