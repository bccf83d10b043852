//! What is filled into a page's form fields and typed on it: values of fields (ISO 32000-1, 12.7) and texts of annotations
//! (12.5). It is not part of the page's content.

use std::collections::HashSet;

use lopdf::{Dictionary, Document, Object, ObjectId};

use super::text_string;
use crate::parsers::html;
use crate::parsers::sink::readable;

/// Annotations of one page, and fields of one document, at most; further ones are not read.
const MAX_ITEMS: usize = 10_000;
/// The depth of fields within fields, at most.
const MAX_DEPTH: usize = 32;
/// Options of one choice field, at most.
const MAX_OPTIONS: usize = 1000;

// Bits of `F` and `Ff` (ISO 32000-1, tables 165, 226 and 228).
const HIDDEN_OR_NOT_VIEWED: i64 = 1 << 1 | 1 << 5;
const PASSWORD: i64 = 1 << 13;
const PUSH_BUTTON: i64 = 1 << 16;

/// A text on a page beside its content.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Note {
    Text(String),
    /// A form to be drawn, because nothing else says what is on it.
    Appearance(ObjectId),
}

/// Reads the notes of a document's pages, each field once.
pub(super) struct NoteReader<'a> {
    document: &'a Document,
    max_text_bytes: usize,
    max_stream_bytes: usize,
    /// What further notes may have: many may refer to one long text.
    left_bytes: usize,
    /// The dictionaries whose value has been read.
    seen: HashSet<*const Dictionary>,
}

impl<'a> NoteReader<'a> {
    pub(super) fn new(document: &'a Document, max_text_bytes: usize, max_stream_bytes: usize) -> Self {
        Self { document, max_text_bytes, max_stream_bytes, left_bytes: max_text_bytes, seen: HashSet::new() }
    }

    /// The notes on a page, in the order of its annotations.
    pub(super) fn page(&mut self, page: ObjectId) -> Vec<Note> {
        let document = self.document;
        let annotations = document
            .get_dictionary(page)
            .and_then(|page| page.get_deref(b"Annots", document))
            .and_then(Object::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut notes = Vec::new();
        for annotation in annotations.iter().take(MAX_ITEMS) {
            if self.left_bytes == 0 {
                break;
            }
            let annotation = document.dereference(annotation).and_then(|(_, annotation)| annotation.as_dict());
            let note = annotation.ok().and_then(|annotation| self.note(annotation));
            notes.extend(note.and_then(|note| self.within_limit(note)));
        }
        notes
    }

    /// The note, unless the document has more than enough text in its notes.
    fn within_limit(&mut self, note: Note) -> Option<Note> {
        if let Note::Text(text) = &note {
            let left = self.left_bytes.checked_sub(text.len());
            self.left_bytes = left.unwrap_or(0);
            left?;
        }
        Some(note)
    }

    /// The values of fields that are on none of the pages.
    pub(super) fn remaining_fields(&mut self) -> Vec<Note> {
        let document = self.document;
        let form = document.catalog().and_then(|catalog| catalog.get_deref(b"AcroForm", document));
        let fields = form.and_then(Object::as_dict).and_then(|form| form.get_deref(b"Fields", document));
        let mut open: Vec<(&Object, usize)> = Vec::new();
        let push = |open: &mut Vec<(&'a Object, usize)>, fields: &'a [Object], depth| {
            let room = MAX_ITEMS.saturating_sub(open.len());
            open.extend(fields.iter().take(room).rev().map(|field| (field, depth)));
        };
        push(&mut open, fields.and_then(Object::as_array).map(Vec::as_slice).unwrap_or_default(), 0);
        let mut notes = Vec::new();
        let mut read = 0;
        while let Some((field, depth)) = open.pop() {
            read += 1;
            if read > MAX_ITEMS || self.left_bytes == 0 {
                break;
            }
            let Ok(field) = document.dereference(field).and_then(|(_, field)| field.as_dict()) else { continue };
            let kids = field.get_deref(b"Kids", document).and_then(Object::as_array).map(Vec::as_slice);
            if !is_hidden(field, document) {
                let note = self.value(field).map(Note::Text);
                notes.extend(note.and_then(|note| self.within_limit(note)));
            }
            if depth < MAX_DEPTH {
                push(&mut open, kids.unwrap_or_default(), depth + 1);
            }
        }
        notes
    }

    fn note(&mut self, annotation: &'a Dictionary) -> Option<Note> {
        if is_hidden(annotation, self.document) {
            return None;
        }
        let kind = self.name(annotation, b"Subtype");
        match kind {
            b"Widget" => self.widget(annotation),
            // A pop-up shows the text of its parent; a link's text is on the page.
            b"Popup" | b"Link" | b"Screen" | b"Movie" | b"3D" | b"PrinterMark" | b"TrapNet" => None,
            _ if annotation.has(b"StateModel") => None,
            _ => {
                let typed = self.text(annotation, b"Contents").or_else(|| self.rich_text(annotation, b"RC"));
                let is_drawn = matches!(kind, b"FreeText" | b"Stamp" | b"Watermark");
                typed.map(Note::Text).or_else(|| if is_drawn { self.appearance(annotation) } else { None })
            }
        }
    }

    fn widget(&mut self, widget: &'a Dictionary) -> Option<Note> {
        let kind = self.inherited(widget, b"FT").and_then(|(_, kind)| kind.as_name().ok()).unwrap_or_default();
        let has_value = self.inherited(widget, b"V").is_some_and(|(_, value)| !value.is_null());
        if let Some(text) = self.value(widget) {
            return Some(Note::Text(text));
        }
        let is_password = kind == b"Tx" && self.flags(widget) & PASSWORD != 0;
        // A value that was read already, and the tick of a button, say nothing more when they are drawn.
        let is_drawn = !is_password && kind != b"Btn" && (!has_value || kind == b"Sig");
        if is_drawn { self.appearance(widget) } else { None }
    }

    /// The value of a field, unless it was read before.
    fn value(&mut self, field: &'a Dictionary) -> Option<String> {
        let document = self.document;
        let kind = self.inherited(field, b"FT")?.1.as_name().ok()?;
        if kind == b"Btn" {
            return self.button(field);
        }
        if kind == b"Sig" || kind == b"Tx" && self.flags(field) & PASSWORD != 0 {
            return None;
        }
        let (holder, value) = self.inherited(field, b"V").or_else(|| self.inherited(field, b"RV"))?;
        if !self.seen.insert(std::ptr::from_ref(holder)) {
            return None;
        }
        let values = match value {
            Object::Array(values) => values.as_slice(),
            _ if !holder.has(b"V") => return self.rich_text(holder, b"RV"),
            one => std::slice::from_ref(one),
        };
        let texts: Vec<String> = values
            .iter()
            .take(MAX_OPTIONS)
            .filter_map(|value| document.dereference(value).ok().and_then(|(_, value)| self.string(value)))
            .map(|value| if kind == b"Ch" { self.option(field, &value).unwrap_or(value) } else { value })
            .collect();
        let text = Some(texts.join("\n")).filter(|text| !text.is_empty());
        text.or_else(|| self.rich_text(holder, b"RV"))
    }

    /// The caption of a push button, or the name of the choice that is on.
    fn button(&mut self, field: &'a Dictionary) -> Option<String> {
        if self.flags(field) & PUSH_BUTTON != 0 {
            let look = field.get_deref(b"MK", self.document).and_then(Object::as_dict).ok()?;
            return self.text(look, b"CA").filter(|_| self.seen.insert(std::ptr::from_ref(field)));
        }
        let (holder, value) = self.inherited(field, b"V")?;
        let state = field.get_deref(b"AS", self.document).unwrap_or(value).as_name().ok()?;
        if matches!(state, b"" | b"Off") || value.as_name().is_ok_and(|value| value != state) {
            return None;
        }
        let name = String::from_utf8_lossy(state).into_owned();
        let index = name.parse::<usize>().ok();
        let option =
            index.and_then(|index| self.options(field)?.get(index)).and_then(|option| self.option_text(option));
        // These names only say that the button is on.
        let is_meaningless =
            index.is_some() || matches!(state, b"Yes" | b"On" | b"yes" | b"on" | b"true" | b"True" | b"X");
        let text = option.or_else(|| Some(name).filter(|_| !is_meaningless))?;
        self.seen.insert(std::ptr::from_ref(holder)).then_some(text)
    }

    fn options(&self, field: &'a Dictionary) -> Option<&'a [Object]> {
        self.inherited(field, b"Opt")?.1.as_array().map(Vec::as_slice).ok()
    }

    /// What the option that a choice field exports as `value` shows.
    fn option(&self, field: &'a Dictionary, value: &str) -> Option<String> {
        self.options(field)?.iter().take(MAX_OPTIONS).find_map(|option| {
            match self.document.dereference(option).ok()?.1.as_array().ok()?.as_slice() {
                [exported, ..] if self.string(exported)? == value => self.option_text(option),
                _ => None,
            }
        })
    }

    fn option_text(&self, option: &Object) -> Option<String> {
        match self.document.dereference(option).ok()?.1 {
            Object::Array(pair) => self.string(pair.get(1)?),
            text => self.string(text),
        }
    }

    /// An attribute of a field, which it may have from a field that it belongs to, with the dictionary that has it.
    fn inherited(&self, field: &'a Dictionary, key: &[u8]) -> Option<(&'a Dictionary, &'a Object)> {
        let mut at = field;
        for _ in 0..MAX_DEPTH {
            if let Ok(value) = at.get_deref(key, self.document) {
                return Some((at, value));
            }
            at = at.get_deref(b"Parent", self.document).and_then(Object::as_dict).ok()?;
        }
        None
    }

    fn flags(&self, field: &'a Dictionary) -> i64 {
        self.inherited(field, b"Ff").and_then(|(_, flags)| flags.as_i64().ok()).unwrap_or(0)
    }

    fn name(&self, dictionary: &'a Dictionary, key: &[u8]) -> &'a [u8] {
        dictionary.get_deref(key, self.document).and_then(Object::as_name).unwrap_or_default()
    }

    fn text(&self, dictionary: &Dictionary, key: &[u8]) -> Option<String> {
        self.string(dictionary.get_deref(key, self.document).ok()?)
    }

    /// The text of a string, or of a stream that has one; `None` if it is empty.
    fn string(&self, value: &Object) -> Option<String> {
        let text = match value {
            Object::Stream(stream) => {
                let content = stream.get_plain_content_with_limit(self.max_stream_bytes).ok()?;
                text_string::decode(&Object::string_literal(content))?
            }
            value => text_string::decode(value)?,
        };
        let mut text = readable(&text.replace("\r\n", "\n").replace('\r', "\n"));
        text.truncate(text.floor_char_boundary(self.max_text_bytes));
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// The text of a string in XHTML (ISO 32000-1, 12.7.3.4).
    fn rich_text(&self, dictionary: &Dictionary, key: &[u8]) -> Option<String> {
        html::text(&self.text(dictionary, key)?, self.max_text_bytes)
    }

    /// The normal appearance, in the annotation's state if it has several (ISO 32000-1, 12.5.5).
    fn appearance(&self, annotation: &'a Dictionary) -> Option<Note> {
        let document = self.document;
        let normal = annotation.get_deref(b"AP", document).and_then(Object::as_dict).ok()?.get(b"N").ok()?;
        let (id, object) = document.dereference(normal).ok()?;
        let id = match object {
            Object::Dictionary(states) => states.get(self.name(annotation, b"AS")).and_then(Object::as_reference).ok(),
            Object::Stream(_) => id,
            _ => None,
        };
        id.map(Note::Appearance)
    }
}

fn is_hidden(annotation: &Dictionary, document: &Document) -> bool {
    let flags = annotation.get_deref(b"F", document).and_then(Object::as_i64).unwrap_or(0);
    flags & HIDDEN_OR_NOT_VIEWED != 0
}

#[cfg(test)]
mod tests {
    use lopdf::dictionary;

    use super::*;

    /// The notes of a page with these annotations, and of the fields beside it.
    fn read(annotations: Vec<Object>, fields: Vec<Object>, mut document: Document) -> Vec<String> {
        let page = document.add_object(dictionary! { "Type" => "Page", "Annots" => annotations });
        let form = dictionary! { "Fields" => fields };
        let catalog = document.add_object(dictionary! { "Type" => "Catalog", "AcroForm" => form });
        document.trailer.set("Root", catalog);
        let mut reader = NoteReader::new(&document, 1 << 20, 1 << 20);
        let mut notes = reader.page(page);
        notes.extend(reader.remaining_fields());
        let text = |note| match note {
            Note::Text(text) => text,
            Note::Appearance(id) => format!("appearance {}", id.0),
        };
        notes.into_iter().map(text).collect()
    }

    fn string(text: &str) -> Object {
        lopdf::text_string(text)
    }

    #[test]
    fn values_of_text_fields_are_read() {
        let mut document = Document::new();
        let parent = document.add_object(dictionary! { "FT" => "Tx", "V" => string("به ارث رسیده") });
        let widget = || dictionary! { "Subtype" => "Widget" };
        let field = |key: &str, value: Object| {
            let mut field = widget();
            field.set("FT", "Tx");
            field.set(key, value);
            field
        };
        let kid = |number: i64| {
            let mut kid = widget();
            kid.set("Parent", parent);
            kid.set("Rect", number);
            Object::from(kid)
        };
        let stream = document.add_object(lopdf::Stream::new(Dictionary::new(), b"in a stream".to_vec()));
        let mut password = field("V", string("secret"));
        password.set("Ff", PASSWORD);
        password.set("AP", dictionary! { "N" => stream });
        let mut hidden = field("V", string("hidden"));
        hidden.set("F", 2);
        let rich = string("<?xml version=\"1.0\"?><body><p>rich &amp; <b>bold</b></p></body>");
        let annotations = vec![
            field("V", string("one\rtwo")).into(),
            kid(1),
            kid(2),
            field("V", stream.into()).into(),
            field("RV", rich).into(),
            password.into(),
            hidden.into(),
        ];
        let only_in_form = document.add_object(dictionary! { "FT" => "Tx", "V" => string("beside the pages") });
        assert_eq!(
            read(annotations, vec![parent.into(), only_in_form.into()], document),
            ["one\ntwo", "به ارث رسیده", "in a stream", "rich & bold", "beside the pages"]
        );
    }

    #[test]
    fn choices_and_buttons_are_read() {
        let option = |export: &str, shown: &str| Object::Array(vec![string(export), string(shown)]);
        let choice = |value: Object| {
            let options = vec![option("ir", "ایران"), string("plain"), option("fr", "France")];
            Object::from(dictionary! { "Subtype" => "Widget", "FT" => "Ch", "V" => value, "Opt" => options })
        };
        let button = |value: &str, state: &str| {
            Object::from(dictionary! { "Subtype" => "Widget", "FT" => "Btn", "V" => value, "AS" => state })
        };
        let push = dictionary! {
            "Subtype" => "Widget", "FT" => "Btn", "Ff" => PUSH_BUTTON, "MK" => dictionary! { "CA" => string("Send") },
        };
        let annotations = vec![
            choice(string("ir")),
            choice(vec![string("fr"), string("plain")].into()),
            button("married", "married"),
            button("married", "Off"),
            button("Yes", "Yes"),
            button("Off", "Off"),
            push.into(),
        ];
        assert_eq!(read(annotations, Vec::new(), Document::new()), ["ایران", "France\nplain", "married", "Send"]);
    }

    #[test]
    fn texts_of_annotations_are_read() {
        let mut document = Document::new();
        let form = document.add_object(lopdf::Stream::new(Dictionary::new(), Vec::new()));
        let drawn = dictionary! { "N" => form };
        let states = dictionary! { "N" => dictionary! { "a" => form } };
        let annotations = vec![
            dictionary! { "Subtype" => "FreeText", "Contents" => string("typed"), "AP" => drawn.clone() }.into(),
            dictionary! { "Subtype" => "Text", "Contents" => string("یادداشت") }.into(),
            dictionary! { "Subtype" => "Highlight", "RC" => string("<p>rich</p>") }.into(),
            dictionary! { "Subtype" => "Popup", "Contents" => string("typed") }.into(),
            dictionary! { "Subtype" => "Link", "Contents" => string("a link") }.into(),
            dictionary! { "Subtype" => "Text", "Contents" => string("Accepted"), "StateModel" => "Review" }.into(),
            dictionary! { "Subtype" => "FreeText", "AP" => drawn.clone() }.into(),
            dictionary! { "Subtype" => "Widget", "FT" => "Tx", "AP" => drawn }.into(),
            dictionary! { "Subtype" => "Stamp", "AS" => "a", "AP" => states }.into(),
            Object::Null,
        ];
        let appearance = format!("appearance {}", form.0);
        let expected = ["typed", "یادداشت", "rich", &appearance, &appearance, &appearance];
        assert_eq!(read(annotations, Vec::new(), document), expected);
    }

    #[test]
    fn texts_of_many_annotations_are_bounded() {
        let mut document = Document::new();
        let text = document.add_object(string(&"long ".repeat(100_000)));
        let annotation = dictionary! { "Subtype" => "Text", "Contents" => text };
        let id = document.add_object(annotation);
        assert_eq!(read(vec![id.into(); 1000], Vec::new(), document).len(), 2, "as many as fit in a mebibyte");
    }

    #[test]
    fn field_that_belongs_to_itself_ends() {
        let mut document = Document::new();
        let id = document.new_object_id();
        document.set_object(id, dictionary! { "Subtype" => "Widget", "Parent" => id, "Kids" => vec![id.into()] });
        assert!(read(vec![id.into()], vec![id.into()], document).is_empty());
    }
}
