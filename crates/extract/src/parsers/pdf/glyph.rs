//! A character on a page.

use std::rc::Rc;

/// A character on a page. Positions are in points, along and across the direction of its own line.
#[derive(Debug, Clone)]
pub(super) struct Glyph {
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
}
