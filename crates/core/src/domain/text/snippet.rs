//! Snippets: the passage of an original text around the matches of a query, with highlights.

use std::ops::{ControlFlow, Range};

use super::fold::{Piece, fold};
use super::query::{QueryTerm, find};

/// Maximum number of matches that are considered.
const MAX_MATCHES: usize = 2_000;
const ELLIPSIS: char = '…';

/// A printable passage of an original text with its highlights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// The passage, with `…` where the text continues.
    pub text: String,
    /// Byte ranges of the matches in `text`, in order, without overlap.
    pub highlights: Vec<Range<usize>>,
}

impl Snippet {
    /// The text with each match between `before` and `after`.
    #[must_use]
    pub fn marked(&self, before: &str, after: &str) -> String {
        let mut out = String::with_capacity(self.text.len() + self.highlights.len() * (before.len() + after.len()));
        let mut at = 0;
        for hit in &self.highlights {
            for part in [&self.text[at..hit.start], before, &self.text[hit.clone()], after] {
                out.push_str(part);
            }
            at = hit.end;
        }
        out.push_str(&self.text[at..]);
        out
    }
}

/// At most `max_chars` characters of the original around the passage with the most terms. White space is collapsed;
/// control and bidi characters are removed. `None` when no term matches.
#[must_use]
pub fn snippet(original: &str, terms: &[QueryTerm], max_chars: usize) -> Option<Snippet> {
    let hits = hits(original, terms);
    let window = best_window(original, &hits, terms.len(), max_chars)?;
    Some(render(original, &window, &hits, max_chars))
}

/// The beginning of a text, for a hit without matches to highlight: at most `max_chars` characters, cleaned as in
/// [`snippet`].
#[must_use]
pub fn excerpt(original: &str, max_chars: usize) -> String {
    render(original, &(0..0), &[], max_chars).text
}

struct TermMatch {
    term: usize,
    range: Range<usize>,
}

fn hits(original: &str, terms: &[QueryTerm]) -> Vec<TermMatch> {
    let mut hits: Vec<TermMatch> = Vec::new();
    find(original, terms, |term, range| {
        if !terms[term].excluded {
            hits.push(TermMatch { term, range });
        }
        if hits.len() < MAX_MATCHES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    hits.sort_by_key(|hit| (hit.range.start, std::cmp::Reverse(hit.range.end)));
    hits
}

/// The earliest run of matches with the most distinct terms that fits into `max_chars`.
fn best_window(original: &str, hits: &[TermMatch], terms: usize, max_chars: usize) -> Option<Range<usize>> {
    let mut best: Option<(usize, Range<usize>)> = None;
    let mut seen = vec![0_usize; terms];
    let mut distinct = 0;
    let mut first = 0;
    for hit in hits {
        if seen[hit.term] == 0 {
            distinct += 1;
        }
        seen[hit.term] += 1;
        while first < hits.len()
            && hits[first].range.start < hit.range.start
            && !fits(original, hits[first].range.start..hit.range.end, max_chars)
        {
            seen[hits[first].term] -= 1;
            if seen[hits[first].term] == 0 {
                distinct -= 1;
            }
            first += 1;
        }
        if best.as_ref().is_none_or(|(most, _)| distinct > *most) {
            best = Some((distinct, hits[first].range.start..hit.range.end));
        }
    }
    best.map(|(_, window)| window)
}

fn fits(original: &str, range: Range<usize>, max_chars: usize) -> bool {
    // A character has at most four bytes, so a short range need not be counted.
    range.len() <= max_chars || (range.len() <= max_chars * 4 && original[range].chars().count() <= max_chars)
}

fn render(original: &str, window: &Range<usize>, hits: &[TermMatch], max_chars: usize) -> Snippet {
    let used = original[window.clone()].chars().take(max_chars).count();
    let lead = (max_chars - used) / 3;
    let start = word_start(original, chars_before(original, window.start, lead), window.start);
    let end = match original[start..].char_indices().nth(max_chars.max(1)) {
        Some((len, _)) => word_end(original, start + len, window.end.clamp(start, start + len)),
        None => original.len(),
    };
    let mut text = String::with_capacity(end - start + 2 * ELLIPSIS.len_utf8());
    let mut highlights = Vec::new();
    if !original[..start].trim().is_empty() {
        text.push(ELLIPSIS);
    }
    let mut at = start;
    for hit in hits.iter().filter(|hit| hit.range.end <= end) {
        if hit.range.start < at {
            continue;
        }
        clean(&original[at..hit.range.start], &mut text);
        let from = text.len();
        clean(&original[hit.range.clone()], &mut text);
        highlights.push(from..text.len());
        at = hit.range.end;
    }
    clean(&original[at..end], &mut text);
    text.truncate(text.trim_end().len());
    if !original[end..].trim().is_empty() {
        text.push(ELLIPSIS);
    }
    Snippet { text, highlights }
}

fn chars_before(original: &str, end: usize, count: usize) -> usize {
    match count {
        0 => end,
        _ => original[..end].char_indices().rev().nth(count - 1).map_or(0, |(at, _)| at),
    }
}

/// The start of the first word that begins in `from..to`, so that no word is truncated.
fn word_start(original: &str, from: usize, to: usize) -> usize {
    if from == 0 {
        return 0;
    }
    let text = &original[from..to];
    text.find(char::is_whitespace).map_or(to, |space| {
        let rest = &text[space..];
        from + space + (rest.len() - rest.trim_start().len())
    })
}

/// The end of the last word that ends in `least..end`; `end` itself where a single word is longer than that.
fn word_end(original: &str, end: usize, least: usize) -> usize {
    if original[end..].starts_with(char::is_whitespace) {
        return end;
    }
    original[least..end].rfind(char::is_whitespace).map_or(end, |space| least + space)
}

/// Appends text with white space collapsed and invisible characters removed, except the half-space.
fn clean(text: &str, out: &mut String) {
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            if !out.ends_with(' ') && !out.is_empty() {
                out.push(' ');
            }
        } else if is_visible(c) {
            out.push(c);
        }
    }
}

fn is_visible(c: char) -> bool {
    let mut visible = c == '\u{0640}' || c == 'ء' || c == '\u{200D}';
    if !visible {
        fold(c, |piece| visible |= piece != Piece::Nothing);
    }
    visible
}
