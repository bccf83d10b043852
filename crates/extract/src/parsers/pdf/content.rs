//! Interprets a page's content stream: text operations become positioned characters, everything else is ignored.

use std::collections::HashMap;
use std::rc::Rc;

use lopdf::{DecompressError, Dictionary, Document, Error, Object, ObjectId, Stream};

use super::drawing::{Drawing, Matrix, number};
use super::error::pdf_error;
use super::font::Font;
use super::glyph::Glyph;
use super::inflate;
use super::operations::Operations;
use super::text_string;
use crate::parsers::types::{ExtractError, Limits};

/// The depth of forms drawn within forms, at most.
const MAX_FORM_DEPTH: usize = 12;
/// Operations of one document, at most: it bounds forms that draw two forms, which draw two forms, and so on.
const MAX_OPERATIONS: u64 = 20_000_000;
/// Characters of one page, at most.
pub(super) const MAX_GLYPHS: usize = 500_000;
/// Content streams of one page, at most.
const MAX_CONTENTS: usize = 10_000;

/// Reads pages and caches their fonts.
pub(super) struct PageReader<'a> {
    document: &'a Document,
    limits: &'a Limits,
    /// By the address of their dictionary, which stays where it is as long as the document: a dictionary in the resources has no id.
    fonts: HashMap<usize, Rc<Font>>,
    /// The font of text whose own the resources do not have.
    substitute: Option<Rc<Font>>,
    operations: u64,
}

/// What is drawn on a page.
#[derive(Debug, Default)]
pub(super) struct PageContent {
    /// The characters in the order they are drawn.
    pub(super) glyphs: Vec<Glyph>,
    /// Tokens and operations that make no sense and were skipped.
    pub(super) odd: u64,
    /// Whether it has more characters than are read.
    pub(super) is_cut: bool,
    /// Whether a stream of it could not be decoded to its end.
    pub(super) is_damaged: bool,
}

impl<'a> PageReader<'a> {
    pub(super) fn new(document: &'a Document, limits: &'a Limits) -> Self {
        Self { document, limits, fonts: HashMap::new(), substitute: None, operations: 0 }
    }

    /// The characters of a page.
    pub(super) fn page(&mut self, page: ObjectId) -> Result<PageContent, ExtractError> {
        let document = self.document;
        let dictionary = document.get_dictionary(page).map_err(|error| pdf_error(&error, self.limits))?;
        let mut drawing = Drawing::default();
        let content = self.page_stream(dictionary, &mut drawing)?;
        let resources = self.page_resources(page)?;
        self.draw(&content, &resources, &mut drawing, &mut Vec::new())?;
        Ok(drawing.into_content())
    }

    /// The characters of a form that is not drawn by its page: the appearance of an annotation.
    pub(super) fn appearance(&mut self, page: ObjectId, form: ObjectId) -> Result<PageContent, ExtractError> {
        let mut drawing = Drawing::default();
        match self.document.get_object(form).and_then(Object::as_stream) {
            Ok(stream) => {
                let resources = self.page_resources(page)?;
                self.draw_form(form, stream, &resources, &mut drawing, &mut Vec::new())?;
            }
            Err(_) => drawing.odd += 1,
        }
        Ok(drawing.into_content())
    }

    fn page_resources(&self, page: ObjectId) -> Result<Vec<&'a Dictionary>, ExtractError> {
        let document = self.document;
        let (own, referenced) = document.get_page_resources(page).map_err(|error| pdf_error(&error, self.limits))?;
        let referenced = referenced.into_iter().filter_map(|id| document.get_dictionary(id).ok());
        Ok(own.into_iter().chain(referenced).collect())
    }

    /// The page's content streams, one after another, as far as they can be decoded.
    fn page_stream(&self, page: &Dictionary, drawing: &mut Drawing) -> Result<Vec<u8>, ExtractError> {
        let mut content = Vec::new();
        let Ok(contents) = page.get_deref(b"Contents", self.document) else { return Ok(content) };
        let parts = match contents {
            Object::Array(parts) => parts.as_slice(),
            one => std::slice::from_ref(one),
        };
        drawing.odd += u64::from(parts.len() > MAX_CONTENTS);
        for part in parts.iter().take(MAX_CONTENTS) {
            let stream = self.document.dereference(part).and_then(|(_, part)| part.as_stream());
            let Ok(stream) = stream else {
                drawing.odd += 1;
                continue;
            };
            let max_bytes = self.limits.max_stream_bytes.saturating_sub(content.len());
            match self.stream_content(stream, max_bytes, drawing)? {
                part if content.is_empty() => content = part,
                part => content.extend(part),
            }
            // Tokens do not extend over streams.
            content.push(b'\n');
        }
        Ok(content)
    }

    /// What can be decoded of a stream.
    fn stream_content(
        &self,
        stream: &Stream,
        max_bytes: usize,
        drawing: &mut Drawing,
    ) -> Result<Vec<u8>, ExtractError> {
        match inflate::decode(stream, max_bytes) {
            Ok(decoded) => {
                drawing.is_damaged |= !decoded.is_whole;
                Ok(decoded.content)
            }
            Err(error @ Error::Decompress(DecompressError::MemoryLimitExceeded { .. })) => {
                Err(pdf_error(&error, self.limits))
            }
            Err(_) => {
                drawing.is_damaged = true;
                Ok(Vec::new())
            }
        }
    }

    fn draw(
        &mut self,
        content: &[u8],
        resources: &[&'a Dictionary],
        drawing: &mut Drawing,
        forms: &mut Vec<ObjectId>,
    ) -> Result<(), ExtractError> {
        let mut operations = Operations::new(content);
        let mut operands = Vec::new();
        while let Some(operator) = operations.next(&mut operands) {
            self.operations += 1;
            if self.operations > MAX_OPERATIONS {
                return Err(ExtractError::limit(format!("the PDF draws more than {MAX_OPERATIONS} operations")));
            }
            if drawing.glyphs.len() >= MAX_GLYPHS {
                drawing.is_cut = true;
                break;
            }
            match operator {
                b"Do" => self.form(&operands, resources, drawing, forms)?,
                b"Tf" => {
                    drawing.state.size = number(&operands, 1);
                    drawing.state.font = operands.first().and_then(|name| self.font(name.as_name().ok()?, resources));
                }
                b"BDC" => drawing.begin_mark(self.actual_text(&operands, resources)),
                b"Tj" | b"'" | b"\"" | b"TJ" => self.show(operator, &operands, drawing),
                _ => drawing.apply(operator, &operands),
            }
        }
        drawing.odd += operations.odd();
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
        let id = operands
            .first()
            .and_then(|name| resource(document, resources, b"XObject", name.as_name().ok()?)?.as_reference().ok());
        let form = id.and_then(|id| Some((id, document.get_object(id).and_then(Object::as_stream).ok()?)));
        let Some((id, form)) = form else {
            drawing.odd += 1;
            return Ok(());
        };
        let is_form =
            form.dict.get_deref(b"Subtype", document).and_then(Object::as_name).is_ok_and(|kind| kind == b"Form");
        if !is_form {
            return Ok(());
        }
        if forms.len() >= MAX_FORM_DEPTH || forms.contains(&id) {
            drawing.odd += 1;
            return Ok(());
        }
        self.draw_form(id, form, resources, drawing, forms)
    }

    fn draw_form(
        &mut self,
        id: ObjectId,
        form: &'a Stream,
        resources: &[&'a Dictionary],
        drawing: &mut Drawing,
        forms: &mut Vec<ObjectId>,
    ) -> Result<(), ExtractError> {
        let document = self.document;
        let content = self.stream_content(form, self.limits.max_stream_bytes, drawing)?;
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

    /// The font of that name; `None` if its object is damaged or missing, and its encoding with it.
    fn font(&mut self, name: &[u8], resources: &[&'a Dictionary]) -> Option<Rc<Font>> {
        let document = self.document;
        let Some(object) = resource(document, resources, b"Font", name) else {
            return Some(Rc::clone(self.substitute.get_or_insert_with(|| Rc::new(Font::substitute(document)))));
        };
        let dictionary = document.dereference(object).ok()?.1.as_dict().ok()?;
        let address = std::ptr::from_ref(dictionary).addr();
        let font = self
            .fonts
            .entry(address)
            .or_insert_with(|| Rc::new(Font::new(dictionary, document, self.limits.max_stream_bytes)));
        Some(Rc::clone(font))
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
        let text = text_string::decode(properties.get_deref(b"ActualText", self.document).ok()?)?;
        let text = text.trim_matches(['\u{FEFF}', '\0']);
        Some(text.replace(char::is_whitespace, " ").into())
    }

    fn show(&mut self, operator: &[u8], operands: &[Object], drawing: &mut Drawing) {
        match operator {
            b"'" => drawing.next_line(),
            b"\"" => {
                drawing.state.word_space = number(operands, 0);
                drawing.state.char_space = number(operands, 1);
                drawing.next_line();
            }
            _ => {}
        }
        drawing.begin_string();
        match operands.last() {
            Some(Object::String(bytes, _)) => self.string(bytes, drawing),
            Some(Object::Array(items)) => {
                for item in items {
                    match item {
                        Object::String(bytes, _) => self.string(bytes, drawing),
                        item => drawing.adjust(f64::from(item.as_float().unwrap_or(0.0))),
                    }
                }
            }
            _ => drawing.odd += 1,
        }
        drawing.end_string();
    }

    fn string(&mut self, bytes: &[u8], drawing: &mut Drawing) {
        let Some(font) = drawing.state.font.clone() else {
            drawing.odd += 1;
            return;
        };
        drawing.odd += u64::from(self.substitute.as_ref().is_some_and(|substitute| Rc::ptr_eq(substitute, &font)));
        font.show(bytes, self.document, self.limits.max_stream_bytes, |shown| {
            drawing.push(shown.text, shown.advance, &font);
            let state = &drawing.state;
            let spacing = state.char_space + if shown.is_space_code { state.word_space } else { 0.0 };
            drawing.advance(shown.advance, spacing, font.is_vertical);
        });
    }
}

/// The resource of that name in the innermost dictionary that has it.
fn resource<'a>(document: &'a Document, resources: &[&'a Dictionary], kind: &[u8], name: &[u8]) -> Option<&'a Object> {
    resources.iter().find_map(|resources| resources.get_deref(kind, document).ok()?.as_dict().ok()?.get(name).ok())
}
