//! Whether the text of pages can be trusted, and what was lost, as notes on the extraction.

use super::content::{MAX_GLYPHS, PageContent};
use super::glyph::Glyph;
use crate::parsers::types::Extraction;

/// On a page with a larger share of characters without text, too many words are damaged for it to be searched.
const MAX_UNMAPPED_SHARE: f64 = 0.1;
/// A page with fewer characters without text is not judged by their share: they may be bullets.
const MIN_UNMAPPED: u64 = 5;
/// Pages that a note names, at most.
const MAX_NAMED_PAGES: usize = 10;

/// Counts what is drawn on a page and on its annotations.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct PageCount {
    chars: u64,
    /// Characters without text.
    unmapped: u64,
    /// See [`PageContent::odd`].
    odd: u64,
    is_cut: bool,
    is_damaged: bool,
}

impl PageCount {
    pub(super) fn of(content: &PageContent) -> Self {
        let parts = content.glyphs.iter().filter(|glyph| glyph.is_part).count();
        // A letter has few parts: where they are most of a page, its font maps them wrongly.
        let are_lost = parts > content.glyphs.len() / 2;
        let is_lost = |glyph: &&Glyph| if glyph.is_part { are_lost } else { is_unmapped(&glyph.text) };
        Self {
            chars: content.glyphs.len() as u64,
            unmapped: content.glyphs.iter().filter(is_lost).count() as u64,
            odd: content.odd,
            is_cut: content.is_cut,
            is_damaged: content.is_damaged,
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.chars += other.chars;
        self.unmapped += other.unmapped;
        self.odd += other.odd;
        self.is_cut |= other.is_cut;
        self.is_damaged |= other.is_damaged;
    }

    /// Whether enough of the characters have text.
    pub(super) fn is_trusted(&self) -> bool {
        self.unmapped as f64 <= MAX_UNMAPPED_SHARE * self.chars as f64
    }
}

/// Counts what could not be read of a document's pages.
#[derive(Debug, Default)]
pub(super) struct PageTally {
    chars: u64,
    unmapped: u64,
    untrusted: Vec<usize>,
    odd: Vec<usize>,
    cut: Vec<usize>,
    damaged: Vec<usize>,
    unreadable: Vec<usize>,
}

impl PageTally {
    /// Adds the count of a page, by its number from 1.
    pub(super) fn add(&mut self, page: usize, count: PageCount) {
        let PageCount { chars, unmapped, odd, is_cut, is_damaged } = count;
        self.chars += chars;
        self.unmapped += unmapped;
        if unmapped >= MIN_UNMAPPED && !count.is_trusted() {
            self.untrusted.push(page);
        }
        if odd > 0 {
            self.odd.push(page);
        }
        if is_cut {
            self.cut.push(page);
        }
        if is_damaged {
            self.damaged.push(page);
        }
    }

    /// Whether all pages were read, each of their streams to its end.
    pub(super) fn is_complete(&self) -> bool {
        self.damaged.is_empty() && self.unreadable.is_empty()
    }

    /// Counts a page that could not be read at all.
    pub(super) fn add_unreadable(&mut self, page: usize) {
        self.unreadable.push(page);
    }

    /// Adds what was counted to the extraction's notes.
    pub(super) fn note(&self, extraction: &mut Extraction) {
        if self.unmapped > 0 {
            extraction.note(format!("{} of {} characters have no text in their font", self.unmapped, self.chars));
        }
        if !self.untrusted.is_empty() {
            extraction.note(format!(
                "the text layer of {} cannot be trusted: over {:.0} % of its characters have no text in their font, so it \
                 needs OCR",
                named(&self.untrusted),
                MAX_UNMAPPED_SHARE * 100.0
            ));
        }
        if !self.odd.is_empty() {
            extraction.note(format!("{}: parts that are not valid were skipped or guessed", named(&self.odd)));
        }
        if !self.damaged.is_empty() {
            extraction.note(format!(
                "{}: the content is cut, because a stream could not be decoded to its end",
                named(&self.damaged)
            ));
        }
        if !self.cut.is_empty() {
            extraction.truncated = true;
            extraction.note(format!("{}: only the first {MAX_GLYPHS} characters were read", named(&self.cut)));
        }
        if !self.unreadable.is_empty() {
            extraction.note(format!("{} could not be read", named(&self.unreadable)));
        }
    }
}

/// Whether a character's font maps it to no text, or to a code that has a meaning only in that font.
fn is_unmapped(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '\u{E000}'..='\u{F8FF}' | char::REPLACEMENT_CHARACTER))
}

/// `page 3`, or `3 pages (1, 2, 5)`.
fn named(pages: &[usize]) -> String {
    if let [page] = pages {
        return format!("page {page}");
    }
    let first: Vec<String> = pages.iter().take(MAX_NAMED_PAGES).map(ToString::to_string).collect();
    let more = if pages.len() > MAX_NAMED_PAGES { ", …" } else { "" };
    format!("{} pages ({}{more})", pages.len(), first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str, odd: u64) -> PageCount {
        let text_of = |c: char| if c == '?' { String::new() } else { c.to_string() };
        let glyphs = text.chars().map(|c| Glyph::horizontal(&text_of(c), 0.0, 0.0)).collect();
        PageCount::of(&PageContent { glyphs, odd, ..PageContent::default() })
    }

    #[test]
    fn page_with_many_characters_without_text_is_named() {
        let mut tally = PageTally::default();
        tally.add(1, count(&"a".repeat(100), 0));
        tally.add(2, count("??", 0));
        tally.add(3, count(&"ab????????".repeat(3), 0));
        tally.add(4, count(&"\u{F041}".repeat(10), 2));
        let mut extraction = Extraction::default();
        tally.note(&mut extraction);
        assert_eq!(
            extraction.notes,
            [
                "36 of 142 characters have no text in their font",
                "the text layer of 2 pages (3, 4) cannot be trusted: over 10 % of its characters have no text in their \
                 font, so it needs OCR",
                "page 4: parts that are not valid were skipped or guessed",
            ]
        );
    }

    #[test]
    fn names_of_pages_are_bounded() {
        let pages: Vec<usize> = (1..=1000).collect();
        assert_eq!(named(&pages), "1000 pages (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …)");
    }
}
