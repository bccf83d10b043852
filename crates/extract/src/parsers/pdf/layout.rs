//! From positioned characters to lines of text.
//!
//! Characters are joined into runs in the order they are drawn, and adjacent runs on one baseline into lines. Lines keep
//! the order of their first runs, so columns are not mixed. Within a line, characters are ordered by position.

use super::glyph::Glyph;
use super::order;
use crate::parsers::sink::{TextSink, readable};

// Lengths in units of the font size.
/// Baselines of one line differ by less than this.
const MAX_BASELINE_SHIFT: f64 = 0.35;
/// Gaps within a run are smaller than this.
const MAX_RUN_GAP: f64 = 1.2;
/// Gaps within a line are smaller than this.
const MAX_LINE_GAP: f64 = 2.5;
/// A larger gap is a space.
const MIN_SPACE: f64 = 0.15;
/// A larger gap between Arabic letters is a space: they are not kerned, and a tight line has narrow spaces.
const MIN_ARABIC_SPACE: f64 = 0.07;
/// How many of the last lines a run may continue.
const OPEN_LINES: usize = 40;
/// On a page with a larger share of right-to-left letters, each line that has any is right-to-left.
const RIGHT_TO_LEFT_SHARE: f64 = 0.5;

/// Characters on one baseline.
struct TextLine {
    glyphs: Vec<Glyph>,
    start: f64,
    end: f64,
}

/// Writes a page's characters as lines.
pub(super) fn write(glyphs: Vec<Glyph>, sink: &mut TextSink) {
    let right_to_left = order::right_to_left_share(glyphs.iter().map(|glyph| &*glyph.text)) > RIGHT_TO_LEFT_SHARE;
    for line in lines(runs(glyphs)) {
        let text = line_text(line.glyphs, right_to_left);
        sink.push(text.trim());
        sink.line();
        if sink.is_full() {
            return;
        }
    }
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
                let gap = (next.start - last.end).max(last.start - next.end);
                same_baseline(last, next) && gap < max_gap
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
    for run in runs {
        let from = lines.len().saturating_sub(OPEN_LINES);
        let continued = lines[from..].iter_mut().rev().find(|line| match (line.glyphs.first(), run.glyphs.first()) {
            (Some(one), Some(other)) => {
                same_baseline(one, other) && line.gap(&run) < MAX_LINE_GAP * one.size.max(other.size)
            }
            _ => false,
        });
        match continued {
            Some(line) => line.extend(run),
            None => lines.push(run),
        }
    }
    lines
}

/// A line's text in reading order.
fn line_text(mut glyphs: Vec<Glyph>, right_to_left: bool) -> String {
    glyphs.sort_by(|one, other| one.start.total_cmp(&other.start));
    // Simulated bold draws each character twice.
    glyphs.dedup_by(|next, kept| {
        next.text == kept.text && !next.text.trim().is_empty() && (next.start - kept.start).abs() < 0.1 * kept.size
    });
    let clusters = order::clusters(glyphs, |before, after| {
        let both_arabic = order::is_right_to_left_text(&before.text) && order::is_right_to_left_text(&after.text);
        let min_gap = if both_arabic { MIN_ARABIC_SPACE } else { MIN_SPACE };
        after.start - before.end > min_gap * before.size.min(after.size)
    });
    readable(&order::logical(clusters, right_to_left))
}
