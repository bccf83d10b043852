//! Values of form fields (ISO 32000-1, 12.7).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;

use lopdf::{Dictionary, Document, Object};

use super::note::NoteText;
use super::text_string::TextReader;

/// The depth of fields within fields, at most.
pub(super) const MAX_DEPTH: usize = 32;
/// Options of one choice field, at most.
const MAX_OPTIONS: usize = 1000;

// Bits of `Ff` (ISO 32000-1, tables 226 and 228).
pub(super) const PASSWORD: i64 = 1 << 13;
pub(super) const PUSH_BUTTON: i64 = 1 << 16;

/// The kinds of fields, as far as they are read differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldKind {
    /// A text or a choice.
    Value,
    /// What is typed into it is not shown.
    Password,
    Signature,
    PushButton,
    /// A check box or a radio button.
    Button,
}

/// Reads the values of a document's fields, each once.
pub(super) struct FieldReader<'a> {
    document: &'a Document,
    texts: TextReader<'a>,
    /// The values that were read, by the dictionary that has them.
    values: HashMap<*const Dictionary, Rc<str>>,
}

impl<'a> FieldReader<'a> {
    pub(super) fn new(document: &'a Document, texts: TextReader<'a>) -> Self {
        Self { document, texts, values: HashMap::new() }
    }

    /// The kind of a field; `None` if it is none.
    pub(super) fn kind(&self, field: &'a Dictionary) -> Option<FieldKind> {
        let has_flag = |flag| self.flags(field) & flag != 0;
        Some(match self.inherited(field, b"FT")?.1.as_name().ok()? {
            b"Sig" => FieldKind::Signature,
            b"Btn" if has_flag(PUSH_BUTTON) => FieldKind::PushButton,
            b"Btn" => FieldKind::Button,
            b"Tx" if has_flag(PASSWORD) => FieldKind::Password,
            _ => FieldKind::Value,
        })
    }

    /// What a field says: its value, the caption of a push button, or the name of the choice that is on.
    pub(super) fn text(&mut self, field: &'a Dictionary) -> Option<NoteText> {
        match self.kind(field)? {
            FieldKind::Signature | FieldKind::Password => None,
            FieldKind::PushButton => {
                let look = field.get_deref(b"MK", self.document).and_then(Object::as_dict).ok()?;
                let caption = self.texts.text(look, b"CA")?;
                Some(self.once(field, caption, NoteText::New))
            }
            FieldKind::Button => self.choice(field),
            FieldKind::Value => {
                let (holder, value) = self.inherited(field, b"V").or_else(|| self.inherited(field, b"RV"))?;
                if let Some(text) = self.values.get(&std::ptr::from_ref(holder)) {
                    return Some(NoteText::Known(Rc::clone(text)));
                }
                let text = self.value(field, holder, value)?;
                Some(self.once(holder, text, NoteText::New))
            }
        }
    }

    /// The text, which is known if it was read before.
    fn once(&mut self, holder: &'a Dictionary, text: String, new: fn(Rc<str>) -> NoteText) -> NoteText {
        match self.values.entry(std::ptr::from_ref(holder)) {
            Entry::Occupied(known) => NoteText::Known(Rc::clone(known.get())),
            Entry::Vacant(entry) => new(Rc::clone(entry.insert(text.into()))),
        }
    }

    fn value(&self, field: &'a Dictionary, holder: &'a Dictionary, value: &'a Object) -> Option<String> {
        let values = match value {
            Object::Array(values) => values.as_slice(),
            _ if !holder.has(b"V") => return self.texts.rich_text(holder, b"RV"),
            one => std::slice::from_ref(one),
        };
        let texts: Vec<String> = values
            .iter()
            .take(MAX_OPTIONS)
            .filter_map(|value| self.document.dereference(value).ok().and_then(|(_, value)| self.texts.string(value)))
            .map(|value| self.option(field, &value).unwrap_or(value))
            .collect();
        let text = Some(texts.join("\n")).filter(|text| !text.is_empty());
        text.or_else(|| self.texts.rich_text(holder, b"RV"))
    }

    /// The choice that is on, of a check box or a radio button.
    fn choice(&mut self, field: &'a Dictionary) -> Option<NoteText> {
        let (holder, value) = self.inherited(field, b"V")?;
        let state = field.get_deref(b"AS", self.document).unwrap_or(value).as_name().ok()?;
        if matches!(state, b"" | b"Off") || value.as_name().is_ok_and(|value| value != state) {
            return None;
        }
        let name = String::from_utf8_lossy(state).into_owned();
        let index = name.parse::<usize>().ok();
        let option =
            index.and_then(|index| self.options(field)?.get(index)).and_then(|option| self.option_text(option));
        if let Some(option) = option {
            return Some(self.once(holder, option, NoteText::New));
        }
        // These names only say that the button is on.
        let is_meaningless =
            index.is_some() || matches!(state, b"Yes" | b"On" | b"yes" | b"on" | b"true" | b"True" | b"X");
        (!is_meaningless).then(|| self.once(holder, name, NoteText::Internal))
    }

    fn options(&self, field: &'a Dictionary) -> Option<&'a [Object]> {
        self.inherited(field, b"Opt")?.1.as_array().map(Vec::as_slice).ok()
    }

    /// What the option that a choice field exports as `value` shows.
    fn option(&self, field: &'a Dictionary, value: &str) -> Option<String> {
        self.options(field)?.iter().take(MAX_OPTIONS).find_map(|option| {
            match self.document.dereference(option).ok()?.1.as_array().ok()?.as_slice() {
                [exported, ..] if self.texts.string(exported)? == value => self.option_text(option),
                _ => None,
            }
        })
    }

    fn option_text(&self, option: &Object) -> Option<String> {
        match self.document.dereference(option).ok()?.1 {
            Object::Array(pair) => self.texts.string(pair.get(1)?),
            text => self.texts.string(text),
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
}
