//! A character on a page.

use std::rc::Rc;

/// A character on a page. Positions are in points, along and across the direction of its own line.
#[derive(Debug, Clone)]
pub(super) struct Glyph {
    /// Its text; empty if its font does not map it, or it is a part of another.
    pub(super) text: Rc<str>,
    /// Whether it is drawn as a part of another character, which has the text of both: the body of a letter beside its dots.
    pub(super) is_part: bool,
    /// Its extent along the line; `start <= end`.
    pub(super) start: f64,
    pub(super) end: f64,
    /// The position of its baseline across the line.
    pub(super) baseline: f64,
    /// The font size.
    pub(super) size: f64,
    /// The direction of the line in whole degrees.
    pub(super) angle: i16,
    /// Whether the line's characters are drawn against its direction, in the order in which they are read.
    pub(super) is_mirrored: bool,
    /// Whether it is drawn to be selected and found, but not seen.
    pub(super) is_invisible: bool,
    /// The number of the string it was shown in; strings that follow one another without a move have one number.
    pub(super) string: u32,
    /// The character spacing between it and the next of its string, along the line.
    pub(super) spacing: f64,
}

impl Glyph {
    /// The gap to a character further along the line, in points; negative if they overlap. Character spacing is between all
    /// letters of a string (ISO 32000-1, 9.3.2), so it is no part of the gap.
    pub(super) fn gap_before(&self, next: &Self) -> f64 {
        next.start - self.end - self.spacing_beside(next)
    }

    /// The gap between two characters, in whichever order they are on the line; negative if they overlap.
    pub(super) fn gap_beside(&self, other: &Self) -> f64 {
        (other.start - self.end).max(self.start - other.end) - self.spacing_beside(other)
    }

    /// Whether it covers at least half of the narrower of the two.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let narrower = (self.end - self.start).min(other.end - other.start);
        let common = self.end.min(other.end) - self.start.max(other.start);
        common >= 0.0 && common >= narrower / 2.0
    }

    fn spacing_beside(&self, other: &Self) -> f64 {
        if self.string == other.string { self.spacing.max(other.spacing) } else { 0.0 }
    }
}

#[cfg(test)]
impl Glyph {
    /// A visible character of size 1 on the baseline of a horizontal line.
    pub(super) fn horizontal(text: &str, start: f64, end: f64) -> Self {
        Self {
            text: text.into(),
            is_part: false,
            start,
            end,
            baseline: 0.0,
            size: 1.0,
            angle: 0,
            is_mirrored: false,
            is_invisible: false,
            string: 0,
            spacing: 0.0,
        }
    }
}
