//! Text cut to a number of character cells, between characters as they are read (grapheme clusters).

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// The text, or `…` and as much of its end as fits into this many character cells.
pub(super) fn end_of(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let fitting = text.grapheme_indices(true).rev().map(|(at, _)| at).take_while(|&at| text[at..].width() < width);
    let from = fitting.last().unwrap_or(text.len());
    format!("…{}", &text[from..])
}

/// The text, or as much of its beginning as fits into this many character cells, and `…`.
pub(super) fn start_of(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let ends = text.grapheme_indices(true).map(|(at, grapheme)| at + grapheme.len());
    let until = ends.take_while(|&end| text[..end].width() < width).last().unwrap_or(0);
    format!("{}…", &text[..until])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_fits_is_unchanged_and_longer_text_says_that_it_was_cut() {
        assert_eq!((end_of("abcdef", 6), start_of("abcdef", 6)), ("abcdef".to_owned(), "abcdef".to_owned()));
        assert_eq!((end_of("abcdef", 4), start_of("abcdef", 4)), ("…def".to_owned(), "abc…".to_owned()));
        assert_eq!((end_of("abc", 1), start_of("abc", 1)), ("…".to_owned(), "…".to_owned()));
    }

    #[test]
    fn text_is_cut_between_characters_as_they_are_read() {
        assert_eq!(end_of("x👩‍👩‍👧‍👦y", 3), "…y");
        assert_eq!(start_of("y👩‍👩‍👧‍👦x", 3), "y…");
        assert_eq!(start_of("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…");
    }
}
