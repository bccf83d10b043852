//! The graphics state of a page, as far as text is concerned, and the characters drawn so far.

use std::rc::Rc;

use lopdf::Object;

use super::font::Font;
use super::glyph::Glyph;

/// Saved graphics states and open marks, at most.
const MAX_SAVED: usize = 256;

/// A numeric operand; 0 if it is missing or not a finite number.
pub(super) fn number(operands: &[Object], index: usize) -> f64 {
    let number = operands.get(index).and_then(|operand| operand.as_float().ok()).map_or(0.0, f64::from);
    if number.is_finite() { number } else { 0.0 }
}

/// A transformation matrix `[a b c d e f]` (ISO 32000-1, 8.3.4).
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix([f64; 6]);

impl Matrix {
    pub(super) const IDENTITY: Self = Self([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);

    pub(super) fn of(operands: &[Object]) -> Self {
        Self(std::array::from_fn(|index| number(operands, index)))
    }

    /// Applies this matrix first, then `then`.
    fn then(&self, then: &Self) -> Self {
        let [a, b, c, d, e, f] = self.0;
        let [g, h, i, j, k, l] = then.0;
        Self([a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k, e * h + f * j + l])
    }

    /// Applies a translation first, then this matrix.
    fn translated(&self, x: f64, y: f64) -> Self {
        Self([1.0, 0.0, 0.0, 1.0, x, y]).then(self)
    }
}

/// The part of the graphics state that text depends on; `q` saves it.
#[derive(Debug, Clone)]
pub(super) struct GraphicsState {
    ctm: Matrix,
    pub(super) font: Option<Rc<Font>>,
    pub(super) size: f64,
    pub(super) char_space: f64,
    pub(super) word_space: f64,
    pub(super) scale: f64,
    leading: f64,
    rise: f64,
}

/// The drawing of one page.
#[derive(Debug)]
pub(super) struct Drawing {
    pub(super) state: GraphicsState,
    saved: Vec<GraphicsState>,
    text: Matrix,
    line: Matrix,
    pub(super) glyphs: Vec<Glyph>,
    /// Open marked content: its `ActualText`, if any, with the index of the first character it covers.
    marks: Vec<Option<(Rc<str>, usize)>>,
}

impl Default for Drawing {
    fn default() -> Self {
        let state = GraphicsState {
            ctm: Matrix::IDENTITY,
            font: None,
            size: 0.0,
            char_space: 0.0,
            word_space: 0.0,
            scale: 1.0,
            leading: 0.0,
            rise: 0.0,
        };
        Self {
            state,
            saved: Vec::new(),
            text: Matrix::IDENTITY,
            line: Matrix::IDENTITY,
            glyphs: Vec::new(),
            marks: Vec::new(),
        }
    }
}

impl Drawing {
    /// Applies an operation that shows no text itself.
    pub(super) fn apply(&mut self, operator: &str, operands: &[Object]) {
        match operator {
            "q" if self.saved.len() < MAX_SAVED => self.saved.push(self.state.clone()),
            "Q" => self.state = self.saved.pop().unwrap_or_else(|| self.state.clone()),
            "cm" => self.state.ctm = Matrix::of(operands).then(&self.state.ctm),
            "BT" => self.set_line(Matrix::IDENTITY),
            "Tm" => self.set_line(Matrix::of(operands)),
            "Td" => self.move_line(number(operands, 0), number(operands, 1)),
            "TD" => {
                self.state.leading = -number(operands, 1);
                self.move_line(number(operands, 0), number(operands, 1));
            }
            "T*" => self.next_line(),
            "Tc" => self.state.char_space = number(operands, 0),
            "Tw" => self.state.word_space = number(operands, 0),
            "Tz" => self.state.scale = number(operands, 0) / 100.0,
            "TL" => self.state.leading = number(operands, 0),
            "Ts" => self.state.rise = number(operands, 0),
            "BMC" => self.begin_mark(None),
            "EMC" => self.end_mark(),
            _ => {}
        }
    }

    fn set_line(&mut self, matrix: Matrix) {
        self.line = matrix;
        self.text = matrix;
    }

    fn move_line(&mut self, x: f64, y: f64) {
        self.set_line(self.line.translated(x, y));
    }

    pub(super) fn next_line(&mut self) {
        self.move_line(0.0, -self.state.leading);
    }

    /// Moves along the line, in text space units.
    pub(super) fn advance(&mut self, by: f64) {
        if by.is_finite() {
            self.text = self.text.translated(by, 0.0);
        }
    }

    /// Starts a form; returns the outer state for [`Self::leave`].
    pub(super) fn enter(&mut self, matrix: Matrix) -> (GraphicsState, Matrix, Matrix) {
        let outer = (self.state.clone(), self.text, self.line);
        self.state.ctm = matrix.then(&self.state.ctm);
        outer
    }

    pub(super) fn leave(&mut self, (state, text, line): (GraphicsState, Matrix, Matrix)) {
        self.state = state;
        self.text = text;
        self.line = line;
    }

    /// Adds a character at the current text position.
    pub(super) fn push(&mut self, text: Option<Rc<str>>, advance: f64, em: f64) {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return };
        let width = advance * self.state.size * self.state.scale;
        let [a, b, c, d, x, y] = self.text.translated(0.0, self.state.rise).then(&self.state.ctm).0;
        let along = a.hypot(b);
        let size = (self.state.size * c.hypot(d) * em).abs();
        let (cos, sin) = if along > 0.0 { (a / along, b / along) } else { (1.0, 0.0) };
        let from = x * cos + y * sin;
        let baseline = y * cos - x * sin;
        let to = from + width * along;
        if !(from.is_finite() && to.is_finite() && baseline.is_finite() && size.is_finite()) || size <= 0.0 {
            return;
        }
        let angle = sin.atan2(cos).to_degrees().round() as i16;
        self.glyphs.push(Glyph { text, start: from.min(to), end: from.max(to), baseline, size, angle });
    }

    pub(super) fn begin_mark(&mut self, text: Option<Rc<str>>) {
        if self.marks.len() < MAX_SAVED {
            self.marks.push(text.map(|text| (text, self.glyphs.len())));
        }
    }

    /// Replaces the characters that the mark covers with its `ActualText`, if they are on one line.
    fn end_mark(&mut self) {
        let Some(Some((text, from))) = self.marks.pop() else { return };
        let covered = self.glyphs.get(from..).unwrap_or_default();
        let Some(first) = covered.first().cloned() else { return };
        let same_line = covered.iter().all(|glyph| (glyph.baseline - first.baseline).abs() < first.size / 2.0);
        if !same_line {
            return;
        }
        let start = covered.iter().map(|glyph| glyph.start).fold(f64::INFINITY, f64::min);
        let end = covered.iter().map(|glyph| glyph.end).fold(f64::NEG_INFINITY, f64::max);
        self.glyphs.truncate(from);
        self.glyphs.push(Glyph { text, start, end, ..first });
    }
}
