//! From a page's drawing operations to characters with their places. Nothing else on a page is looked at.

use std::collections::HashMap;
use std::rc::Rc;

use lopdf::content::{Content, Operation};
use lopdf::{DecompressError, Dictionary, Document, Error, Object, ObjectId};

use super::font::Font;
use super::told;
use crate::parsers::{ExtractError, Limits};

/// Forms drawn within forms, at most.
const MAX_FORM_DEPTH: usize = 12;
/// Operations of one document, at most: a form that draws two forms that draw two forms … ends here.
const MAX_OPERATIONS: u64 = 20_000_000;
/// Characters of one page, at most.
const MAX_GLYPHS: usize = 500_000;
/// Saved graphics states, at most.
const MAX_SAVED: usize = 256;

/// A character on a page. Lengths are in points along and across its own line of writing.
#[derive(Debug, Clone)]
pub(super) struct Glyph {
    pub(super) text: Rc<str>,
    /// Where it begins and ends along the line; `start <= end`.
    pub(super) start: f64,
    pub(super) end: f64,
    /// How high its baseline stands.
    pub(super) baseline: f64,
    pub(super) size: f64,
    /// Direction of the line, in whole degrees.
    pub(super) angle: i16,
}

/// Reads pages; keeps the fonts from one to the next.
pub(super) struct Reader<'a> {
    document: &'a Document,
    limits: &'a Limits,
    fonts: HashMap<ObjectId, Rc<Font>>,
    operations: u64,
    /// Characters shown so far, and those of them whose font did not tell their text.
    pub(super) shown: u64,
    pub(super) unmapped: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(document: &'a Document, limits: &'a Limits) -> Self {
        Self { document, limits, fonts: HashMap::new(), operations: 0, shown: 0, unmapped: 0 }
    }

    /// The characters of a page, in the order they are drawn.
    pub(super) fn page(&mut self, page: ObjectId) -> Result<Vec<Glyph>, ExtractError> {
        let document = self.document;
        let content = document
            .get_page_content_with_limit(page, self.limits.max_stream_bytes)
            .map_err(|error| told(&error, self.limits))?;
        let (own, referenced) = document.get_page_resources(page).map_err(|error| told(&error, self.limits))?;
        let referenced = referenced.into_iter().filter_map(|id| document.get_dictionary(id).ok());
        let resources: Vec<&Dictionary> = own.into_iter().chain(referenced).collect();
        let mut drawing = Drawing::default();
        self.draw(&content, &resources, &mut drawing, &mut Vec::new())?;
        Ok(drawing.glyphs)
    }

    fn draw(
        &mut self,
        content: &[u8],
        resources: &[&'a Dictionary],
        drawing: &mut Drawing,
        forms: &mut Vec<ObjectId>,
    ) -> Result<(), ExtractError> {
        for operation in Content::decode_iter(content) {
            let Ok(Operation { operator, operands }) = operation else { return Ok(()) };
            self.operations += 1;
            if self.operations > MAX_OPERATIONS {
                return Err(ExtractError::limit(format!("the PDF draws more than {MAX_OPERATIONS} operations")));
            }
            if drawing.glyphs.len() >= MAX_GLYPHS {
                return Ok(());
            }
            match operator.as_str() {
                "Do" => self.form(&operands, resources, drawing, forms)?,
                "Tf" => {
                    drawing.state.size = float(&operands, 1);
                    drawing.state.font = operands.first().and_then(|name| self.font(name.as_name().ok()?, resources));
                }
                "BDC" => drawing.mark(self.actual_text(&operands, resources)),
                "Tj" | "'" | "\"" | "TJ" => self.show(&operator, &operands, drawing),
                _ => drawing.operate(&operator, &operands),
            }
        }
        Ok(())
    }

    fn form(
        &mut self,
        operands: &[Object],
        resources: &[&'a Dictionary],
        drawing: &mut Drawing,
        forms: &mut Vec<ObjectId>,
    ) -> Result<(), ExtractError> {
        let document = self.document;
        let Some(name) = operands.first().and_then(|name| name.as_name().ok()) else { return Ok(()) };
        let Some(id) = resource(document, resources, b"XObject", name).and_then(|form| form.as_reference().ok()) else {
            return Ok(());
        };
        let Ok(form) = document.get_object(id).and_then(Object::as_stream) else { return Ok(()) };
        let is_form = form.dict.get(b"Subtype").and_then(Object::as_name).is_ok_and(|subtype| subtype == b"Form");
        if !is_form || forms.len() >= MAX_FORM_DEPTH || forms.contains(&id) {
            return Ok(());
        }
        let content = match form.get_plain_content_with_limit(self.limits.max_stream_bytes) {
            Ok(content) => content,
            Err(error @ Error::Decompress(DecompressError::MemoryLimitExceeded { .. })) => {
                return Err(told(&error, self.limits));
            }
            Err(_) => return Ok(()),
        };
        let own = form.dict.get_deref(b"Resources", document).and_then(Object::as_dict).ok();
        let nested: Vec<&Dictionary> = own.into_iter().chain(resources.iter().copied().take(8)).collect();
        let matrix = form.dict.get_deref(b"Matrix", document).and_then(Object::as_array).map(|m| Matrix::of(m));
        let outer = drawing.enter(matrix.unwrap_or(Matrix::IDENTITY));
        forms.push(id);
        let result = self.draw(&content, &nested, drawing, forms);
        forms.pop();
        drawing.leave(outer);
        result
    }

    fn font(&mut self, name: &[u8], resources: &[&'a Dictionary]) -> Option<Rc<Font>> {
        let document = self.document;
        let object = resource(document, resources, b"Font", name)?;
        let id = object.as_reference().ok();
        if let Some(font) = id.and_then(|id| self.fonts.get(&id)) {
            return Some(Rc::clone(font));
        }
        let dictionary = document.dereference(object).ok()?.1.as_dict().ok()?;
        let font = Rc::new(Font::new(dictionary, document, self.limits.max_stream_bytes));
        if let Some(id) = id {
            self.fonts.insert(id, Rc::clone(&font));
        }
        Some(font)
    }

    /// The text that a marked piece of content stands for, where it says so.
    fn actual_text(&self, operands: &[Object], resources: &[&Dictionary]) -> Option<Rc<str>> {
        let properties = match operands.get(1)? {
            Object::Dictionary(properties) => properties,
            Object::Name(name) => {
                let object = resource(self.document, resources, b"Properties", name)?;
                self.document.dereference(object).ok()?.1.as_dict().ok()?
            }
            _ => return None,
        };
        let text = lopdf::decode_text_string(properties.get_deref(b"ActualText", self.document).ok()?).ok()?;
        Some(Rc::from(text.trim_matches(['\u{FEFF}', '\0'])))
    }

    fn show(&mut self, operator: &str, operands: &[Object], drawing: &mut Drawing) {
        match operator {
            "'" => drawing.next_line(),
            "\"" => {
                drawing.state.word_space = float(operands, 0);
                drawing.state.char_space = float(operands, 1);
                drawing.next_line();
            }
            _ => {}
        }
        match operands.last() {
            Some(Object::String(bytes, _)) => self.string(bytes, drawing),
            Some(Object::Array(items)) => {
                for item in items {
                    match item {
                        Object::String(bytes, _) => self.string(bytes, drawing),
                        item => {
                            let state = &drawing.state;
                            let back = f64::from(item.as_float().unwrap_or(0.0)) / 1000.0;
                            drawing.advance(-back * state.size * state.scale);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn string(&mut self, bytes: &[u8], drawing: &mut Drawing) {
        let Some(font) = drawing.state.font.clone() else { return };
        font.show(bytes, |shown| {
            self.shown += 1;
            if shown.text.is_none() {
                self.unmapped += 1;
            }
            drawing.put(shown.text, shown.advance, font.em);
            let state = &drawing.state;
            let spacing = state.char_space + if shown.is_space_code { state.word_space } else { 0.0 };
            drawing.advance((shown.advance * state.size + spacing) * state.scale);
        });
    }
}

/// The resource of that name in the nearest dictionary that has it.
fn resource<'a>(document: &'a Document, resources: &[&'a Dictionary], kind: &[u8], name: &[u8]) -> Option<&'a Object> {
    resources.iter().find_map(|resources| resources.get_deref(kind, document).ok()?.as_dict().ok()?.get(name).ok())
}

fn float(operands: &[Object], index: usize) -> f64 {
    let number = operands.get(index).and_then(|operand| operand.as_float().ok()).map_or(0.0, f64::from);
    if number.is_finite() { number } else { 0.0 }
}

#[derive(Debug, Clone, Copy)]
struct Matrix([f64; 6]);

impl Matrix {
    const IDENTITY: Self = Self([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);

    fn of(operands: &[Object]) -> Self {
        Self(std::array::from_fn(|index| float(operands, index)))
    }

    /// This one first, then `then`.
    fn then(&self, then: &Self) -> Self {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (self.0, then.0);
        Self([a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k, e * h + f * j + l])
    }

    fn moved(&self, x: f64, y: f64) -> Self {
        Self([1.0, 0.0, 0.0, 1.0, x, y]).then(self)
    }
}

/// What `q` saves, as far as text is concerned.
#[derive(Debug, Clone)]
struct State {
    ctm: Matrix,
    font: Option<Rc<Font>>,
    size: f64,
    char_space: f64,
    word_space: f64,
    scale: f64,
    leading: f64,
    rise: f64,
}

#[derive(Debug)]
struct Drawing {
    state: State,
    saved: Vec<State>,
    text: Matrix,
    line: Matrix,
    glyphs: Vec<Glyph>,
    /// Open marks; the text of those that have one, and where its first character came.
    marks: Vec<Option<(Rc<str>, usize)>>,
}

impl Default for Drawing {
    fn default() -> Self {
        let state = State {
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
    fn operate(&mut self, operator: &str, operands: &[Object]) {
        match operator {
            "q" if self.saved.len() < MAX_SAVED => self.saved.push(self.state.clone()),
            "Q" => self.state = self.saved.pop().unwrap_or_else(|| self.state.clone()),
            "cm" => self.state.ctm = Matrix::of(operands).then(&self.state.ctm),
            "BT" => self.set_line(Matrix::IDENTITY),
            "Tm" => self.set_line(Matrix::of(operands)),
            "Td" => self.move_line(float(operands, 0), float(operands, 1)),
            "TD" => {
                self.state.leading = -float(operands, 1);
                self.move_line(float(operands, 0), float(operands, 1));
            }
            "T*" => self.next_line(),
            "Tc" => self.state.char_space = float(operands, 0),
            "Tw" => self.state.word_space = float(operands, 0),
            "Tz" => self.state.scale = float(operands, 0) / 100.0,
            "TL" => self.state.leading = float(operands, 0),
            "Ts" => self.state.rise = float(operands, 0),
            "BMC" => self.mark(None),
            "EMC" => self.end_mark(),
            _ => {}
        }
    }

    fn set_line(&mut self, matrix: Matrix) {
        self.line = matrix;
        self.text = matrix;
    }

    fn move_line(&mut self, x: f64, y: f64) {
        self.set_line(self.line.moved(x, y));
    }

    fn next_line(&mut self) {
        self.move_line(0.0, -self.state.leading);
    }

    fn advance(&mut self, by: f64) {
        if by.is_finite() {
            self.text = self.text.moved(by, 0.0);
        }
    }

    fn enter(&mut self, matrix: Matrix) -> (State, Matrix, Matrix) {
        let outer = (self.state.clone(), self.text, self.line);
        self.state.ctm = matrix.then(&self.state.ctm);
        outer
    }

    fn leave(&mut self, (state, text, line): (State, Matrix, Matrix)) {
        self.state = state;
        self.text = text;
        self.line = line;
    }

    /// Puts a character where the text now stands.
    fn put(&mut self, text: Option<Rc<str>>, advance: f64, em: f64) {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return };
        let width = advance * self.state.size * self.state.scale;
        let [a, b, c, d, x, y] = self.text.moved(0.0, self.state.rise).then(&self.state.ctm).0;
        let along = a.hypot(b);
        let size = (self.state.size * c.hypot(d) * em).abs();
        let (cos, sin) = if along > 0.0 { (a / along, b / along) } else { (1.0, 0.0) };
        let (from, baseline) = (x * cos + y * sin, y * cos - x * sin);
        let to = from + width * along;
        if !(from.is_finite() && to.is_finite() && baseline.is_finite() && size.is_finite()) || size <= 0.0 {
            return;
        }
        let angle = sin.atan2(cos).to_degrees().round() as i16;
        self.glyphs.push(Glyph { text, start: from.min(to), end: from.max(to), baseline, size, angle });
    }

    fn mark(&mut self, text: Option<Rc<str>>) {
        if self.marks.len() < MAX_SAVED {
            self.marks.push(text.map(|text| (text, self.glyphs.len())));
        }
    }

    /// Puts the text that the mark stands for in the place of the characters it covers.
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
