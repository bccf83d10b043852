//! From placed characters to lines of text.
//!
//! Characters are joined into runs as they are drawn, runs on one baseline that touch into lines; lines keep the order in
//! which they were begun, so columns stay apart. Within a line, places decide.

use super::content::Glyph;
use super::order;
use crate::parsers::sink::{TextSink, readable};

/// Parts of a font's size: how far baselines of one line may differ, how wide a gap within a run and within a line may
/// be, and from where a gap is a space.
const SAME_BASELINE: f64 = 0.35;
const SAME_RUN: f64 = 1.2;
const SAME_LINE: f64 = 2.5;
const SPACE: f64 = 0.15;
/// Arabic letters are not kerned, and the spaces of a tight line are narrow.
const ARABIC_SPACE: f64 = 0.07;
/// A run looks this many lines back for the one it continues.
const LINES_BACK: usize = 40;
/// From this part of right-to-left letters on a page, a line with any of them reads from the right.
const RIGHT_TO_LEFT_PAGE: f64 = 0.5;

/// Characters on one baseline.
struct Line {
    glyphs: Vec<Glyph>,
    start: f64,
    end: f64,
}

/// Writes a page's characters as lines.
pub(super) fn write(glyphs: Vec<Glyph>, sink: &mut TextSink) {
    let right_to_left = order::right_to_left_share(glyphs.iter().map(|glyph| &*glyph.text)) > RIGHT_TO_LEFT_PAGE;
    for line in lines(runs(glyphs)) {
        let text = line_text(line.glyphs, right_to_left);
        sink.push(text.trim());
        sink.line();
        if sink.is_full() {
            return;
        }
    }
}

impl Line {
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

    /// How far apart they are along the line; negative where they overlap.
    fn gap(&self, other: &Self) -> f64 {
        (other.start - self.end).max(self.start - other.end)
    }
}

fn same_baseline(one: &Glyph, other: &Glyph) -> bool {
    one.angle == other.angle && (one.baseline - other.baseline).abs() < SAME_BASELINE * one.size.max(other.size)
}

/// Characters drawn one after the other that stand one beside the other, in either direction.
fn runs(glyphs: Vec<Glyph>) -> Vec<Line> {
    let mut runs: Vec<Line> = Vec::new();
    for glyph in glyphs {
        let glyph = Line::of(glyph);
        let near = runs.last().is_some_and(|run| match (run.last(), glyph.last()) {
            (Some(last), Some(next)) => {
                let reach = SAME_RUN * last.size.max(next.size);
                let gap = (next.start - last.end).max(last.start - next.end);
                same_baseline(last, next) && gap < reach
            }
            _ => false,
        });
        match runs.last_mut() {
            Some(run) if near => run.extend(glyph),
            _ => runs.push(glyph),
        }
    }
    runs
}

fn lines(runs: Vec<Line>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for run in runs {
        let from = lines.len().saturating_sub(LINES_BACK);
        let home = lines[from..].iter_mut().rev().find(|line| match (line.glyphs.first(), run.glyphs.first()) {
            (Some(one), Some(other)) => {
                same_baseline(one, other) && line.gap(&run) < SAME_LINE * one.size.max(other.size)
            }
            _ => false,
        });
        match home {
            Some(line) => line.extend(run),
            None => lines.push(run),
        }
    }
    lines
}

/// A line's text in reading order.
fn line_text(mut glyphs: Vec<Glyph>, right_to_left: bool) -> String {
    glyphs.sort_by(|one, other| one.start.total_cmp(&other.start));
    // Bold that is made by drawing twice.
    glyphs.dedup_by(|next, kept| {
        next.text == kept.text && !next.text.trim().is_empty() && (next.start - kept.start).abs() < 0.1 * kept.size
    });
    let clusters = order::clusters(glyphs, |before, after| {
        let both_arabic = order::is_right_to_left_text(&before.text) && order::is_right_to_left_text(&after.text);
        let least = if both_arabic { ARABIC_SPACE } else { SPACE };
        after.start - before.end > least * before.size.min(after.size)
    });
    readable(&order::logical(clusters, right_to_left))
}
