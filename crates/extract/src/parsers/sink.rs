//! Collects text up to a limit.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::decompose_compatible;

/// Collects text up to a limit in bytes, without control characters.
#[derive(Debug)]
pub(super) struct TextSink {
    text: String,
    limit: usize,
    full: bool,
}

impl TextSink {
    pub(super) fn new(limit: usize) -> Self {
        Self { text: String::new(), limit, full: false }
    }

    /// The length in bytes so far.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Drops what was appended after the text had this length.
    pub(super) fn truncate(&mut self, len: usize) {
        self.text.truncate(self.text.floor_char_boundary(len));
    }

    /// Whether text was cut at the limit: the parser may stop.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Appends text without its control characters.
    pub(super) fn push(&mut self, text: &str) {
        for c in text.chars() {
            self.push_char(c);
        }
    }

    pub(super) fn push_char(&mut self, c: char) {
        if self.full || (c.is_control() && !matches!(c, '\n' | '\t')) || c == '\u{FEFF}' {
            return;
        }
        if self.text.len() + c.len_utf8() > self.limit {
            self.full = true;
            return;
        }
        self.text.push(c);
    }

    /// Appends a space, unless the text ends in one or at the start of a line.
    pub(super) fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with([' ', '\n']) {
            self.push_char(' ');
        }
    }

    /// Ends the line, unless it is empty.
    pub(super) fn line(&mut self) {
        self.trim_line();
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.push_char('\n');
        }
    }

    /// Ends the paragraph: appends one empty line, unless there is one.
    pub(super) fn paragraph(&mut self) {
        self.line();
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.push_char('\n');
        }
    }

    fn trim_line(&mut self) {
        while self.text.ends_with([' ', '\t']) {
            self.text.pop();
        }
    }

    /// The text, `None` if empty, and whether it was cut.
    pub(super) fn finish(mut self) -> (Option<String>, bool) {
        self.text.truncate(self.text.trim_end().len());
        let text = if self.text.trim_start().len() == self.text.len() {
            self.text
        } else {
            self.text.trim_start_matches(['\n', ' ']).to_owned()
        };
        ((!text.is_empty()).then_some(text), self.full)
    }
}

/// Text that was made of glyphs in readable form: NFC, with letters in place of their ligatures and contextual forms, plain
/// spaces, and without bidirectional marks. Other compatibility characters keep their meaning: `10½` and `m²` are no `101⁄2` and
/// `m2`.
pub(super) fn readable(text: &str) -> String {
    let is_text = |c: &char| !matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let mut readable = String::with_capacity(text.len());
    for c in text.chars().filter(is_text) {
        match c {
            // Alphabetic Presentation Forms, Arabic Presentation Forms-A and -B.
            '\u{FB00}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}' => decompose_compatible(c, |c| readable.push(c)),
            '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => readable.push(' '),
            c => readable.push(c),
        }
    }
    readable.nfc().collect()
}
