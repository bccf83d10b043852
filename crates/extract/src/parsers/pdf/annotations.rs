//! What is filled into a page's form fields, typed on it and drawn for that: fields (ISO 32000-1, 12.7) and annotations
//! (12.5). It is not part of the page's content.

use lopdf::{Dictionary, Document, Object, ObjectId};

use super::fields::{FieldKind, FieldReader, MAX_DEPTH};
use super::note::{Note, NoteText};
use super::text_string::TextReader;

/// Annotations of one page, and fields of one document, at most; further ones are not read.
const MAX_ITEMS: usize = 10_000;

// Bits of `F` (ISO 32000-1, table 165).
const HIDDEN_OR_NOT_VIEWED: i64 = 1 << 1 | 1 << 5;

/// Reads the notes of a document's pages, each field once.
pub(super) struct NoteReader<'a> {
    document: &'a Document,
    texts: TextReader<'a>,
    fields: FieldReader<'a>,
    /// What further notes may have: many may refer to one long text.
    left_bytes: usize,
}

impl<'a> NoteReader<'a> {
    pub(super) fn new(document: &'a Document, max_text_bytes: usize, max_stream_bytes: usize) -> Self {
        let texts = TextReader { document, max_text_bytes, max_stream_bytes };
        Self { document, texts, fields: FieldReader::new(document, texts), left_bytes: max_text_bytes }
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
        if let Some(NoteText::New(text) | NoteText::Internal(text)) = &note.text {
            let left = self.left_bytes.checked_sub(text.len());
            self.left_bytes = left.unwrap_or(0);
            left?;
        }
        Some(note)
    }

    /// The values of fields that are on none of the pages.
    pub(super) fn remaining_fields(&mut self) -> Vec<String> {
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
                let note = Note { text: self.fields.text(field), ..Note::default() };
                notes.extend(self.within_limit(note).and_then(|note| note.read(None)));
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
        let kind = self.texts.name(annotation, b"Subtype");
        let field = (kind == b"Widget").then(|| self.fields.kind(annotation)).flatten();
        let text = match kind {
            b"Widget" if field == Some(FieldKind::Password) => return None,
            b"Widget" => self.fields.text(annotation),
            // It shows the text of its parent.
            b"Popup" => return None,
            // Their text describes them, and is not shown.
            b"Link" | b"Screen" | b"Movie" | b"3D" | b"PrinterMark" | b"TrapNet" => None,
            _ if annotation.has(b"StateModel") => None,
            _ => {
                let typed = self.texts.text(annotation, b"Contents");
                let typed = typed.or_else(|| self.texts.rich_text(annotation, b"RC"));
                typed.map(|typed| NoteText::New(typed.into()))
            }
        };
        let appearance = self.appearance(annotation);
        let is_note = text.is_some() || appearance.is_some();
        is_note.then_some(Note { text, appearance, is_button: field == Some(FieldKind::Button) })
    }

    /// The normal appearance, in the annotation's state if it has several (ISO 32000-1, 12.5.5).
    fn appearance(&self, annotation: &'a Dictionary) -> Option<ObjectId> {
        let document = self.document;
        let normal = annotation.get_deref(b"AP", document).and_then(Object::as_dict).ok()?.get(b"N").ok()?;
        let (id, object) = document.dereference(normal).ok()?;
        match object {
            Object::Dictionary(states) => {
                states.get(self.texts.name(annotation, b"AS")).and_then(Object::as_reference).ok()
            }
            Object::Stream(_) => id,
            _ => None,
        }
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
    use crate::parsers::pdf::fields::{PASSWORD, PUSH_BUTTON};

    /// The notes of a page with these annotations, and of the fields beside it.
    fn read(annotations: Vec<Object>, fields: Vec<Object>, mut document: Document) -> Vec<String> {
        let page = document.add_object(dictionary! { "Type" => "Page", "Annots" => annotations });
        let form = dictionary! { "Fields" => fields };
        let catalog = document.add_object(dictionary! { "Type" => "Catalog", "AcroForm" => form });
        document.trailer.set("Root", catalog);
        let mut reader = NoteReader::new(&document, 1 << 20, 1 << 20);
        let drawn = |note: &Note| note.appearance.map(|id| format!("drawn {}", id.0));
        let mut notes: Vec<String> = reader.page(page).iter().filter_map(|note| note.read(drawn(note))).collect();
        notes.extend(reader.remaining_fields());
        notes
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

    /// A value is read once, but what each widget of its field shows is read where it differs.
    #[test]
    fn widgets_of_one_field_are_drawn_in_their_own_ways() {
        let mut document = Document::new();
        let value = dictionary! { "FT" => "Tx", "V" => string("1234.5") };
        let parent = document.add_object(value);
        let form = |document: &mut Document| document.add_object(lopdf::Stream::new(Dictionary::new(), Vec::new()));
        let (plain, formatted) = (form(&mut document), form(&mut document));
        let widget = |form: ObjectId| {
            let drawn = dictionary! { "N" => form };
            Object::from(dictionary! { "Subtype" => "Widget", "Parent" => parent, "AP" => drawn })
        };
        let annotations = vec![widget(plain), widget(formatted), widget(plain)];
        let page = document.add_object(dictionary! { "Type" => "Page", "Annots" => annotations });
        let mut reader = NoteReader::new(&document, 1 << 20, 1 << 20);
        let drawn = |note: &Note| note.appearance.map(|id| if id == plain { "1234.5" } else { "1,234.50" }.to_owned());
        let texts: Vec<String> = reader.page(page).iter().filter_map(|note| note.read(drawn(note))).collect();
        assert_eq!(texts, ["1234.5", "1,234.50"]);
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
            dictionary! { "Subtype" => "Widget", "FT" => "Tx", "AP" => drawn.clone() }.into(),
            dictionary! { "Subtype" => "Stamp", "AS" => "a", "AP" => states }.into(),
            dictionary! { "Subtype" => "Ink", "AP" => drawn.clone() }.into(),
            dictionary! { "Subtype" => "Popup", "AP" => drawn }.into(),
            Object::Null,
        ];
        let appearance = format!("drawn {}", form.0);
        let typed = format!("{appearance}\ntyped");
        let expected = [&typed, "یادداشت", "rich", &appearance, &appearance, &appearance, &appearance];
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
