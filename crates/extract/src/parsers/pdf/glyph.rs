//! A character on a page.

use std::rc::Rc;

/// A character on a page. Positions are in points, along and across the direction of its own line.
#[derive(Debug, Clone)]
pub(super) struct Glyph {
    /// Its text; empty if its font does not map it.
    pub(super) text: Rc<str>,
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
    /// The number of the string it was shown in.
    pub(super) string: u32,
}

#[cfg(test)]
impl Glyph {
    /// A visible character of size 1 on the baseline of a horizontal line.
    pub(super) fn horizontal(text: &str, start: f64, end: f64) -> Self {
        Self {
            text: text.into(),
            start,
            end,
            baseline: 0.0,
            size: 1.0,
            angle: 0,
            is_mirrored: false,
            is_invisible: false,
            string: 0,
        }
    }
}
