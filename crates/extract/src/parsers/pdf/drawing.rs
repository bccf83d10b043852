//! The graphics state of a page, as far as text is concerned, and the characters drawn so far.

use std::rc::Rc;

use lopdf::Object;

use super::content::PageContent;
use super::font::{CharText, Font};
use super::glyph::Glyph;

/// Saved graphics states and open marks, at most.
const MAX_SAVED: usize = 256;

/// A numeric operand; 0 if it is missing or not a finite number.
pub(super) fn number(operands: &[Object], index: usize) -> f64 {
    let number = operands.get(index).and_then(|operand| operand.as_float().ok()).map_or(0.0, f64::from);
    if number.is_finite() { number } else { 0.0 }
}

/// A transformation matrix `[a b c d e f]` (ISO 32000-1, 8.3.4).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Matrix([f64; 6]);

impl Matrix {
    pub(super) const IDENTITY: Self = Self([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);

    /// The matrix of six operands. One that is not a number is that of the identity.
    pub(super) fn of(operands: &[Object]) -> Self {
        Self(std::array::from_fn(|index| match operands.get(index).and_then(|operand| operand.as_float().ok()) {
            Some(number) if number.is_finite() => f64::from(number),
            _ => Self::IDENTITY.0[index],
        }))
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

/// The direction in which a line is read from left to right.
#[derive(Debug, Clone, Copy)]
struct Direction {
    /// In radians.
    angle: f64,
    /// Whether its characters are drawn against it, in the order in which right-to-left text is read.
    is_mirrored: bool,
}

impl Direction {
    /// The direction of characters that follow one another `along`, with `up` from the baseline to their top.
    ///
    /// Tesseract draws what is read from right to left with `-1 0 0 1`, or with this turned as its page is. Where a whole
    /// page is mirrored, characters are drawn in the order in which they are read as well.
    fn of(along: (f64, f64), up: (f64, f64)) -> Self {
        let is_mirrored = along.0 * up.1 - along.1 * up.0 < 0.0;
        let sign = if is_mirrored { -1.0 } else { 1.0 };
        // Adding zero makes a negative zero positive, which would else turn half a turn into its opposite.
        let angle = (sign * along.1 + 0.0).atan2(sign * along.0);
        Self { angle, is_mirrored }
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
    is_invisible: bool,
}

/// The drawing of one page.
#[derive(Debug)]
pub(super) struct Drawing {
    pub(super) state: GraphicsState,
    saved: Vec<GraphicsState>,
    text: Matrix,
    line: Matrix,
    pub(super) glyphs: Vec<Glyph>,
    /// Tokens and operations that make no sense.
    pub(super) odd: u64,
    /// See [`PageContent::is_cut`].
    pub(super) is_cut: bool,
    /// See [`PageContent::is_damaged`].
    pub(super) is_damaged: bool,
    /// Strings shown so far.
    strings: u32,
    /// The position at the end of the last string.
    string_end: Option<Matrix>,
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
            is_invisible: false,
        };
        Self {
            state,
            saved: Vec::new(),
            text: Matrix::IDENTITY,
            line: Matrix::IDENTITY,
            glyphs: Vec::new(),
            odd: 0,
            is_cut: false,
            is_damaged: false,
            strings: 0,
            string_end: None,
            marks: Vec::new(),
        }
    }
}

impl Drawing {
    pub(super) fn into_content(self) -> PageContent {
        PageContent { glyphs: self.glyphs, odd: self.odd, is_cut: self.is_cut, is_damaged: self.is_damaged }
    }

    /// Applies an operation that shows no text itself.
    pub(super) fn apply(&mut self, operator: &[u8], operands: &[Object]) {
        match operator {
            b"q" if self.saved.len() < MAX_SAVED => self.saved.push(self.state.clone()),
            b"Q" => self.state = self.saved.pop().unwrap_or_else(|| self.state.clone()),
            b"cm" => self.state.ctm = Matrix::of(operands).then(&self.state.ctm),
            b"BT" => self.set_line(Matrix::IDENTITY),
            b"Tm" => self.set_line(Matrix::of(operands)),
            b"Td" => self.move_line(number(operands, 0), number(operands, 1)),
            b"TD" => {
                self.state.leading = -number(operands, 1);
                self.move_line(number(operands, 0), number(operands, 1));
            }
            b"T*" => self.next_line(),
            b"Tc" => self.state.char_space = number(operands, 0),
            b"Tw" => self.state.word_space = number(operands, 0),
            b"Tz" => self.state.scale = number(operands, 0) / 100.0,
            b"TL" => self.state.leading = number(operands, 0),
            b"Ts" => self.state.rise = number(operands, 0),
            // Text rendering modes (ISO 32000-1, table 106).
            b"Tr" => self.state.is_invisible = matches!(number(operands, 0) as i64, 3 | 7),
            b"BMC" => self.begin_mark(None),
            b"EMC" => self.end_mark(),
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

    /// Moves past a character of this advance at size 1, and of this spacing.
    pub(super) fn advance(&mut self, advance: f64, spacing: f64, is_vertical: bool) {
        if is_vertical {
            self.translate(0.0, spacing - advance * self.state.size);
        } else {
            self.translate((advance * self.state.size + spacing) * self.state.scale, 0.0);
        }
    }

    /// Moves back along the line by thousandths of the font size.
    pub(super) fn adjust(&mut self, thousandths: f64) {
        let by = -thousandths / 1000.0 * self.state.size;
        if self.state.font.as_ref().is_some_and(|font| font.is_vertical) {
            self.translate(0.0, by);
        } else {
            self.translate(by * self.state.scale, 0.0);
        }
    }

    fn translate(&mut self, x: f64, y: f64) {
        if x.is_finite() && y.is_finite() {
            self.text = self.text.translated(x, y);
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

    /// Starts what one operation shows. It belongs to the string before it if it follows that without a move.
    pub(super) fn begin_string(&mut self) {
        if self.string_end != Some(self.position()) {
            self.strings = self.strings.wrapping_add(1);
        }
    }

    /// Ends what one operation shows.
    pub(super) fn end_string(&mut self) {
        self.string_end = Some(self.position());
    }

    /// The text position and direction on the page.
    fn position(&self) -> Matrix {
        self.text.then(&self.state.ctm)
    }

    /// Adds a character at the current text position. One without text keeps its place: it divides words.
    pub(super) fn push(&mut self, text: CharText, advance: f64, font: &Font) {
        let (text, is_part) = match text {
            CharText::Text(text) => (text, false),
            CharText::PartOfAnother => (Rc::default(), true),
            CharText::Unmapped => (Rc::default(), false),
        };
        let GraphicsState { size, scale, rise, .. } = self.state;
        // The effect of the size and its sign on the axes is part of the matrix (ISO 32000-1, 9.4.4).
        let [a, b, c, d, x, y] = self.text.translated(0.0, rise).then(&self.state.ctm).0;
        let by = self.state.char_space;
        let by = if font.is_vertical { (c * by, d * by) } else { (a * by * scale, b * by * scale) };
        let (a, b, c, d) = (a * size * scale, b * size * scale, c * size, d * size);
        let (along, up) = if font.is_vertical { ((-c, -d), (a, b)) } else { ((a, b), (c, d)) };
        let direction = Direction::of(along, up);
        let (sin, cos) = direction.angle.sin_cos();
        let from = x * cos + y * sin;
        let to = from + advance * (along.0 * cos + along.1 * sin);
        let baseline = y * cos - x * sin;
        let sign = if direction.is_mirrored { -1.0 } else { 1.0 };
        let spacing = (sign * (by.0 * cos + by.1 * sin)).max(0.0);
        let size = up.0.hypot(up.1) * font.em;
        let numbers = [from, to, baseline, size, spacing];
        if numbers.iter().any(|number| !number.is_finite()) || size <= 0.0 {
            return;
        }
        self.glyphs.push(Glyph {
            text,
            is_part,
            start: from.min(to),
            end: from.max(to),
            baseline,
            size,
            // Half a turn to either side is the same direction.
            angle: (direction.angle.to_degrees().round() as i16).rem_euclid(360),
            is_mirrored: direction.is_mirrored,
            is_invisible: self.state.is_invisible,
            string: self.strings,
            spacing,
        });
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
        if !text.is_empty() {
            self.glyphs.push(Glyph { text, is_part: false, start, end, ..first });
        }
    }
}
