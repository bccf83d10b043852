//! Interprets a page's content stream: text operations become positioned characters, everything else is ignored.

use std::collections::HashMap;
use std::rc::Rc;

use lopdf::content::{Content, Operation};
use lopdf::{DecompressError, Dictionary, Document, Error, Object, ObjectId};

use super::drawing::{Drawing, Matrix, number};
use super::error::pdf_error;
use super::font::Font;
use super::glyph::Glyph;
use crate::parsers::types::{ExtractError, Limits};

/// The depth of forms drawn within forms, at most.
const MAX_FORM_DEPTH: usize = 12;
/// Operations of one document, at most: it bounds forms that draw two forms, which draw two forms, and so on.
const MAX_OPERATIONS: u64 = 20_000_000;
/// Characters of one page, at most.
const MAX_GLYPHS: usize = 500_000;

/// Reads pages and caches their fonts.
pub(super) struct PageReader<'a> {
    document: &'a Document,
    limits: &'a Limits,
    fonts: HashMap<ObjectId, Rc<Font>>,
    operations: u64,
    /// Characters shown so far.
    pub(super) chars: u64,
    /// Those of them whose font does not map them to text.
    pub(super) unmapped: u64,
}

impl<'a> PageReader<'a> {
    pub(super) fn new(document: &'a Document, limits: &'a Limits) -> Self {
        Self { document, limits, fonts: HashMap::new(), operations: 0, chars: 0, unmapped: 0 }
    }

    /// The characters of a page, in the order they are drawn.
    pub(super) fn page(&mut self, page: ObjectId) -> Result<Vec<Glyph>, ExtractError> {
        let document = self.document;
        let content = document
            .get_page_content_with_limit(page, self.limits.max_stream_bytes)
            .map_err(|error| pdf_error(&error, self.limits))?;
        let (own, referenced) = document.get_page_resources(page).map_err(|error| pdf_error(&error, self.limits))?;
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
                    drawing.state.size = number(&operands, 1);
                    drawing.state.font = operands.first().and_then(|name| self.font(name.as_name().ok()?, resources));
                }
                "BDC" => drawing.begin_mark(self.actual_text(&operands, resources)),
                "Tj" | "'" | "\"" | "TJ" => self.show(&operator, &operands, drawing),
                _ => drawing.apply(&operator, &operands),
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
                return Err(pdf_error(&error, self.limits));
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

    /// The `ActualText` of marked content, if it has one.
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
                drawing.state.word_space = number(operands, 0);
                drawing.state.char_space = number(operands, 1);
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
                            let adjustment = f64::from(item.as_float().unwrap_or(0.0)) / 1000.0;
                            drawing.advance(-adjustment * state.size * state.scale);
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
            self.chars += 1;
            if shown.text.is_none() {
                self.unmapped += 1;
            }
            drawing.push(shown.text, shown.advance, font.em);
            let state = &drawing.state;
            let spacing = state.char_space + if shown.is_space_code { state.word_space } else { 0.0 };
            drawing.advance((shown.advance * state.size + spacing) * state.scale);
        });
    }
}

/// The resource of that name in the innermost dictionary that has it.
fn resource<'a>(document: &'a Document, resources: &[&'a Dictionary], kind: &[u8], name: &[u8]) -> Option<&'a Object> {
    resources.iter().find_map(|resources| resources.get_deref(kind, document).ok()?.as_dict().ok()?.get(name).ok())
}
