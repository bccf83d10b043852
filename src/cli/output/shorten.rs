//! Text cut or wrapped to a number of character cells, between characters as they are read (grapheme clusters).

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// The text, or `…` and as much of its end as fits into this many character cells.
pub(super) fn end_of(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let fitting = text.grapheme_indices(true).rev().take_while(|(_, grapheme)| {
        used += grapheme.width();
        used <= width
    });
    let from = fitting.last().map_or(text.len(), |(at, _)| at);
    format!("…{}", &text[from..])
}

/// The text, or as much of its beginning as fits into this many character cells, and `…`.
pub(super) fn start_of(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let fitting = text.grapheme_indices(true).take_while(|(_, grapheme)| {
        used += grapheme.width();
        used <= width
    });
    let until = fitting.last().map_or(0, |(at, grapheme)| at + grapheme.len());
    format!("{}…", &text[..until])
}

/// The text in lines of at most this many character cells, broken at spaces and behind slashes. A longer word is broken
/// anywhere, but an id or a time never: its line is then longer.
pub(super) fn wrap(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in words(text) {
        let needed = word.trim_end().width();
        if used > 0 && used + needed > width {
            lines.push(String::new());
            used = 0;
        }
        let is_whole = needed <= width || WordKind::of(word) == WordKind::IdOrTime;
        let parts: Vec<&str> = if is_whole { vec![word] } else { word.graphemes(true).collect() };
        for part in parts {
            if used > 0 && used + part.trim_end().width() > width {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push_str(part);
            }
            used += part.width();
        }
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// The parts between which [`wrap`] breaks lines.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive([' ', '/'])
}

/// The widths of the longest words of a text that should not be broken, in character cells; 0 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LongestWords {
    pub(super) id_or_time: usize,
    pub(super) digest: usize,
}

impl LongestWords {
    pub(super) fn of(text: &str) -> Self {
        words(text).fold(Self::default(), |longest, word| {
            let width = word.trim_end().width();
            match WordKind::of(word) {
                WordKind::IdOrTime => Self { id_or_time: longest.id_or_time.max(width), ..longest },
                WordKind::Digest => Self { digest: longest.digest.max(width), ..longest },
                WordKind::Other => longest,
            }
        })
    }

    /// The longer of each.
    pub(super) fn max(self, other: Self) -> Self {
        Self { id_or_time: self.id_or_time.max(other.id_or_time), digest: self.digest.max(other.digest) }
    }
}

/// The fewest hexadecimal digits of a digest: those of MD5.
const MIN_DIGEST: usize = 32;
/// The characters of the longest id, a UUID. No time is longer.
const MAX_ID: usize = 36;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WordKind {
    IdOrTime,
    /// A digest, or digits that are too long for an id, such as a `traceparent`.
    Digest,
    Other,
}

impl WordKind {
    /// What a word is, apart from punctuation around it.
    fn of(word: &str) -> Self {
        let word = word.trim_matches([' ', '/', '(', ')', ',', ';', ':', '.', '"', '\'', '`']);
        let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if word.len() < 8 || !word.chars().all(|c| c.is_ascii_hexdigit() || "-:.TZ".contains(c)) {
            Self::Other
        } else if word.len() > MAX_ID || is_hex && word.len() >= MIN_DIGEST {
            Self::Digest
        } else {
            Self::IdOrTime
        }
    }
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

    #[test]
    fn text_wraps_between_words_and_behind_slashes() {
        assert_eq!(wrap("the parser ended before it answered", 16), "the parser ended\nbefore it\nanswered");
        assert_eq!(wrap("in bucket/default/key", 12), "in bucket/\ndefault/key");
        assert_eq!(wrap("abcdefghij kl", 4), "abcd\nefgh\nij\nkl");
        assert_eq!(wrap("", 4), "");
        assert_eq!(wrap("دیوان حافظ", 6), "دیوان\nحافظ");
    }

    #[test]
    fn ids_and_times_are_never_broken() {
        let id = "0198c1d2-7b1e-7a53-9c04-3f6f2b8f5a10";
        assert_eq!(wrap(&format!("by job {id}, at"), 10), format!("by job\n{id},\nat"));
        assert_eq!(wrap(&format!("bucket/{id}/{id}"), 10), format!("bucket/\n{id}/\n{id}"));
        assert_eq!(wrap("at 2026-11-30T02:17:44.477Z", 10), "at\n2026-11-30T02:17:44.477Z");
    }

    #[test]
    fn the_longest_ids_and_digests_are_measured_with_the_punctuation_beside_them() {
        let digest = "0123456789abcdef".repeat(4);
        let longest = |text: &str| {
            let LongestWords { id_or_time, digest } = LongestWords::of(text);
            (id_or_time, digest)
        };
        assert_eq!(longest(&format!("has SHA-256 {digest}, not {digest}")), (0, 65));
        assert_eq!(longest("by job (0198c1d2-7b1e-7a53-9c04-3f6f2b8f5a10) at 2026-11-30T02:17:44.477Z"), (38, 0));
        assert_eq!(longest("00-77090c0002bb4b28b3230b2c43c9ddc7-99732e13d366bf73-01"), (0, 55));
        assert_eq!(longest("internationalization of a/b"), (0, 0));
    }
}
