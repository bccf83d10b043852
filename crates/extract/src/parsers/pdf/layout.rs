//! From positioned characters to lines of text.
//!
//! Characters are joined into runs in the order they are drawn, and adjacent runs on one baseline into lines. Lines keep
//! the order of their first runs, so columns are not mixed. Within a line, characters are ordered by position.

use super::glyph::Glyph;
use super::{order, text_layer};
use crate::parsers::sink::{TextSink, readable};

// Lengths in units of the font size.
/// Baselines of one line differ by less than this.
const MAX_BASELINE_SHIFT: f64 = 0.35;
/// Gaps within a run are smaller than this.
const MAX_RUN_GAP: f64 = 1.2;
/// Gaps within a line are smaller than this, where its parts are drawn one after the other.
const MAX_LINE_GAP: f64 = 2.5;
/// Gaps between parts of a line are smaller than this, where others are drawn between them: a larger one divides columns.
const MAX_WORD_GAP: f64 = 0.8;
/// A larger gap is a space.
const MIN_SPACE: f64 = 0.15;
/// A larger gap between Arabic letters is a space: they are not kerned, and a tight line has narrow spaces.
const MIN_ARABIC_SPACE: f64 = 0.07;
/// A gap of less than this share of the line's usual space is kerning.
const MIN_SHARE_OF_SPACE: f64 = 0.4;
/// A letter's part that has no place of its own, such as its dots, is narrower than this.
const MAX_PART_WIDTH: f64 = 0.02;
/// How many of the last lines a run may continue.
const OPEN_LINES: usize = 40;
/// On a page with a larger share of right-to-left letters, each line that has any is right-to-left.
const RIGHT_TO_LEFT_SHARE: f64 = 0.5;

/// May divide a word at the end of a line. Where it is drawn, a soft hyphen is a hyphen.
const HYPHENS: [char; 3] = ['-', '\u{2010}', SOFT_HYPHEN];
const SOFT_HYPHEN: char = '\u{AD}';

/// Characters on one baseline.
struct TextLine {
    glyphs: Vec<Glyph>,
    start: f64,
    end: f64,
}

/// Writes a page's characters as lines.
pub(super) fn write(mut glyphs: Vec<Glyph>, sink: &mut TextSink) {
    text_layer::mirror_logical_order(&mut glyphs);
    let right_to_left = order::right_to_left_share(glyphs.iter().map(|glyph| &*glyph.text)) > RIGHT_TO_LEFT_SHARE;
    let mut lines = lines(runs(glyphs)).into_iter().map(|line| line_text(line.glyphs, right_to_left));
    let mut next = lines.next();
    while let Some(line) = next {
        next = lines.next();
        if let Some(joined) = next.as_deref().and_then(|next| without_hyphen(&line, next)) {
            sink.push(joined);
        } else {
            sink.push(&line.replace(SOFT_HYPHEN, "-"));
            sink.line();
        }
        if sink.is_full() {
            return;
        }
    }
}

/// A line without the hyphen at its end that divides a word; `None` if the word ends there.
///
/// The hyphen of a compound word that is divided at it cannot be distinguished from another: it goes too, unless the word has more.
fn without_hyphen<'a>(line: &'a str, next: &str) -> Option<&'a str> {
    let before = line.strip_suffix(HYPHENS)?;
    let word = before.rsplit(char::is_whitespace).next().unwrap_or_default();
    let divides = word.chars().next_back().is_some_and(char::is_alphabetic)
        && !order::is_right_to_left_text(word)
        && next.chars().next().is_some_and(char::is_lowercase)
        && !joins_words(next.split_whitespace().next().unwrap_or_default());
    divides.then(|| if word.contains(HYPHENS) && !line.ends_with(SOFT_HYPHEN) { line } else { before })
}

/// Whether this word joins two others, the first of which keeps its hyphen: "pre- and post-war", "Vor- und Nachteile".
fn joins_words(word: &str) -> bool {
    matches!(
        word,
        "and"
            | "or"
            | "to"
            | "nor"
            | "und"
            | "oder"
            | "bis"
            | "sowie"
            | "bzw."
            | "et"
            | "ou"
            | "y"
            | "e"
            | "o"
            | "en"
            | "of"
            | "och"
            | "og"
    )
}

impl TextLine {
    fn of(glyph: Glyph) -> Self {
        Self { start: glyph.start, end: glyph.end, glyphs: vec![glyph] }
    }

    fn last(&self) -> Option<&Glyph> {
        self.glyphs.last()
    }

    fn extend(&mut self, other: Self) {
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.glyphs.extend(other.glyphs);
    }

    /// The gap between the two along the line; negative if they overlap.
    fn gap(&self, other: &Self) -> f64 {
        (other.start - self.end).max(self.start - other.end)
    }
}

fn same_baseline(one: &Glyph, other: &Glyph) -> bool {
    one.angle == other.angle && (one.baseline - other.baseline).abs() < MAX_BASELINE_SHIFT * one.size.max(other.size)
}

/// Joins characters that were drawn in sequence and are adjacent, in either direction.
fn runs(glyphs: Vec<Glyph>) -> Vec<TextLine> {
    let mut runs: Vec<TextLine> = Vec::new();
    for glyph in glyphs {
        let glyph = TextLine::of(glyph);
        let is_adjacent = runs.last().is_some_and(|run| match (run.last(), glyph.last()) {
            (Some(last), Some(next)) => {
                let max_gap = MAX_RUN_GAP * last.size.max(next.size);
                same_baseline(last, next) && last.gap_beside(next) < max_gap
            }
            _ => false,
        });
        match runs.last_mut() {
            Some(run) if is_adjacent => run.extend(glyph),
            _ => runs.push(glyph),
        }
    }
    runs
}

/// Joins runs on one baseline into lines.
fn lines(runs: Vec<TextLine>) -> Vec<TextLine> {
    let mut lines: Vec<TextLine> = Vec::new();
    let mut last_drawn = 0;
    for run in runs {
        let from = lines.len().saturating_sub(OPEN_LINES);
        let continued = (from..lines.len()).rev().find(|index| {
            let line = &lines[*index];
            let max_gap = if *index == last_drawn { MAX_LINE_GAP } else { MAX_WORD_GAP };
            match (line.glyphs.first(), run.glyphs.first()) {
                (Some(one), Some(other)) => {
                    same_baseline(one, other) && line.gap(&run) < max_gap * one.size.max(other.size)
                }
                _ => false,
            }
        });
        last_drawn = continued.unwrap_or(lines.len());
        match lines.get_mut(last_drawn) {
            Some(line) => line.extend(run),
            None => lines.push(run),
        }
    }
    lines
}

/// A line's text in reading order.
fn line_text(mut glyphs: Vec<Glyph>, right_to_left: bool) -> String {
    if glyphs.iter().all(|glyph| glyph.is_mirrored) {
        glyphs = mirrored_in_visual_order(glyphs);
    } else {
        // Of two characters at one place, a part of the other has no width of its own.
        glyphs.sort_by(|one, other| one.start.total_cmp(&other.start).then(one.end.total_cmp(&other.end)));
    }
    glyphs.dedup_by(|next, kept| next.text == kept.text && !next.text.trim().is_empty() && is_drawn_over(next, kept));
    let min_arabic_space = min_arabic_space(&glyphs);
    let clusters = order::clusters(glyphs, |before, after| {
        let min_gap = if both_arabic(before, after) { min_arabic_space } else { MIN_SPACE };
        gap(before, after) > min_gap
    });
    let text = readable(&order::logical(clusters, right_to_left));
    let text = text.trim();
    match text.strip_suffix(SOFT_HYPHEN) {
        Some(before) => before.replace(SOFT_HYPHEN, "-") + "\u{AD}",
        None => text.replace(SOFT_HYPHEN, "-"),
    }
}

/// Whether the next character is the same one again: simulated bold draws it twice, and a font whose letters are made of parts
/// may give each the letter's text.
fn is_drawn_over(next: &Glyph, kept: &Glyph) -> bool {
    let shift = (next.start - kept.start).abs();
    let [next_width, kept_width] = [next, kept].map(|glyph| glyph.end - glyph.start);
    let is_twice = shift < 0.1 * kept.size && shift < 0.5 * next_width.max(kept_width);
    let max_part_width = MAX_PART_WIDTH * kept.size;
    let has_part = next_width.min(kept_width) < max_part_width && next_width.max(kept_width) >= max_part_width;
    let is_part = has_part && next.overlaps(kept);
    is_twice || is_part
}

/// The gap between two characters in units of the smaller font size.
fn gap(before: &Glyph, after: &Glyph) -> f64 {
    before.gap_before(after) / before.size.min(after.size)
}

fn both_arabic(before: &Glyph, after: &Glyph) -> bool {
    order::is_right_to_left_text(&before.text) && order::is_right_to_left_text(&after.text)
}

/// A larger gap between Arabic letters of this line is a space. Where most spaces are wide, narrow gaps are kerning: fonts
/// such as Amiri move the letter behind a reh aside.
fn min_arabic_space(glyphs: &[Glyph]) -> f64 {
    let mut narrow = 0;
    let is_space = |glyph: &&Glyph| !glyph.text.is_empty() && glyph.text.trim().is_empty();
    let mut wide: Vec<f64> =
        glyphs.iter().filter(is_space).map(|space| (space.end - space.start) / space.size).collect();
    for pair in glyphs.windows(2) {
        if let [before, after] = pair
            && both_arabic(before, after)
        {
            match gap(before, after) {
                gap if gap > MIN_SPACE => wide.push(gap),
                gap if gap > MIN_ARABIC_SPACE => narrow += 1,
                _ => {}
            }
        }
    }
    if wide.len() <= narrow {
        return MIN_ARABIC_SPACE;
    }
    let middle = wide.len() / 2;
    let (_, median, _) = wide.select_nth_unstable_by(middle, f64::total_cmp);
    (*median * MIN_SHARE_OF_SPACE).clamp(MIN_ARABIC_SPACE, MIN_SPACE)
}

/// A mirrored line from left to right. Its characters keep the order in which they are drawn, because the words of a text
/// layer overlap; only what is drawn further to the right begins a new part.
fn mirrored_in_visual_order(glyphs: Vec<Glyph>) -> Vec<Glyph> {
    let mut parts: Vec<Vec<Glyph>> = Vec::new();
    for glyph in glyphs {
        match parts.last_mut() {
            Some(part) if part.last().is_some_and(|last| glyph.start < last.end + last.size) => part.push(glyph),
            _ => parts.push(vec![glyph]),
        }
    }
    let right = |part: &Vec<Glyph>| part.iter().map(|glyph| glyph.end).fold(f64::NEG_INFINITY, f64::max);
    parts.sort_by(|one, other| right(one).total_cmp(&right(other)));
    parts.into_iter().flat_map(|part| part.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Characters of size 1 and width 0.5, each followed by the gap.
    fn glyphs(chars: &[(&str, f64)], is_mirrored: bool) -> Vec<Glyph> {
        let mut at = 0.0;
        let mut glyphs = Vec::new();
        for (text, gap) in chars {
            let (start, end) = if is_mirrored { (-at - 0.5, -at) } else { (at, at + 0.5) };
            at += 0.5 + gap;
            glyphs.push(Glyph { is_mirrored, ..Glyph::horizontal(text, start, end) });
        }
        glyphs
    }

    #[test]
    fn kerning_is_no_space_where_spaces_are_wide() {
        let kerned = [("ب", 0.0), ("ر", 0.3), ("ن", 0.0), ("ی", 0.09), ("ر", 0.3), ("د", 0.0)];
        assert_eq!(line_text(glyphs(&kerned, false), true), "د رین رب");
        let narrower = [("ب", 0.0), ("ر", 0.2), ("ن", 0.0), ("ی", 0.12), ("ر", 0.2), ("د", 0.0)];
        assert_eq!(line_text(glyphs(&narrower, false), true), "د ر ین رب", "half as wide as the others is a space");
        let tight = [("ب", 0.0), ("ر", 0.1), ("ن", 0.0), ("ی", 0.09), ("ر", 0.1), ("د", 0.0)];
        assert_eq!(line_text(glyphs(&tight, false), true), "د ر ین رب");
    }

    #[test]
    fn overlapping_words_of_a_mirrored_line_keep_their_order() {
        let words = [("د", 0.0), ("ر", 0.0), (" ", -0.7), ("ا", 0.0), ("س", 0.0)];
        assert_eq!(line_text(glyphs(&words, true), true), "در اس");
        let mut second_first = glyphs(&[("ا", 0.0), ("ب", 0.0)], true);
        second_first.iter_mut().for_each(|glyph| {
            glyph.start -= 3.0;
            glyph.end -= 3.0;
        });
        second_first.extend(glyphs(&[("د", 0.0), ("ر", 0.0)], true));
        assert_eq!(line_text(second_first, true), "در اب");
    }

    #[test]
    fn columns_are_not_joined_where_one_is_drawn_after_the_other() {
        let run =
            |text: &str, start: f64, baseline: f64| Glyph { baseline, ..Glyph::horizontal(text, start, start + 5.0) };
        let texts = |glyphs: Vec<Glyph>| {
            let lines = lines(runs(glyphs)).into_iter().map(|line| line_text(line.glyphs, false));
            lines.collect::<Vec<_>>().join("|")
        };
        let [left, right] = [("a", "b"), ("c", "d")];
        let columns =
            vec![run(left.0, 0.0, 9.0), run(left.1, 0.0, 8.0), run(right.0, 7.0, 9.0), run(right.1, 7.0, 8.0)];
        assert_eq!(texts(columns), "a|b|c|d");
        let rows = vec![run(left.0, 0.0, 9.0), run(right.0, 7.0, 9.0), run(left.1, 0.0, 8.0), run(right.1, 7.0, 8.0)];
        assert_eq!(texts(rows), "a c|b d");
        let words_of_another_font = vec![run("a", 0.0, 9.0), run("b", 0.0, 8.0), run("c", 5.4, 9.0)];
        assert_eq!(texts(words_of_another_font), "a c|b");
    }

    #[test]
    fn letters_made_of_parts_are_read_once_and_whole() {
        let part = |start: f64, end: f64| Glyph { is_part: true, ..Glyph::horizontal("", start, end) };
        let glyph = Glyph::horizontal;
        // The body of each letter is followed by its dots, which have its text; the last word is further to the left.
        let bodies = vec![
            part(3.0, 4.0),
            glyph("ب", 3.4, 3.4),
            part(2.0, 3.0),
            glyph("ت", 2.4, 2.6),
            part(0.5, 1.5),
            glyph("ن", 0.9, 1.1),
        ];
        assert_eq!(line_text(bodies, true), "بت ن");
        let unmapped = vec![glyph("", 1.0, 2.0), glyph("ش", 1.3, 1.6), glyph("", 0.0, 1.0), glyph("ت", 0.4, 0.6)];
        assert_eq!(line_text(unmapped, true), "شت");
        let doubled = vec![glyph("ش", 1.0, 2.0), glyph("ش", 1.4, 1.4), glyph("م", 0.0, 1.0)];
        assert_eq!(line_text(doubled, true), "شم");
        let alef_in_lam = vec![glyph("س", 1.0, 2.0), glyph("ل", 0.0, 1.0), glyph("ا", 0.0, 0.0), glyph("م", -1.0, 0.0)];
        assert_eq!(line_text(alef_in_lam, true), "سلام");
    }

    #[test]
    fn hyphen_at_the_end_of_a_line_divides_a_word() {
        for (line, next, joined) in [
            ("an exam-", "ple of it", Some("an exam")),
            ("an exam\u{AD}", "ple", Some("an exam")),
            ("an exam\u{2010}", "ple", Some("an exam")),
            ("state-of-", "the-art", Some("state-of-")),
            ("pages 12-", "14", None),
            ("Jean-", "Paul", None),
            ("a dash -", "more", None),
            ("no hyphen", "here", None),
            ("کتاب-", "خانه", None),
        ] {
            assert_eq!(without_hyphen(line, next), joined, "{line} {next}");
        }
    }
}
