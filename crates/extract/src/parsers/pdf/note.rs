//! What is on a page beside its content: a text, what is drawn for it, or both, which mostly say the same.

use std::rc::Rc;

use lopdf::ObjectId;

/// In bytes: of a longer text, only the start is compared with what is drawn.
const MAX_COMPARED: usize = 64 << 10;
/// Of a text with more lines, single lines are not compared.
const MAX_COMPARED_LINES: usize = 100;
/// A button on which fewer letters and digits are drawn has a tick, which says nothing.
const MIN_LETTERS_OF_BUTTON: usize = 2;

/// What an annotation or a form field says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) text: Option<NoteText>,
    /// The form that is drawn for it.
    pub(super) appearance: Option<ObjectId>,
    /// Whether it is a check box or a radio button.
    pub(super) is_button: bool,
}

/// The text of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoteText {
    /// Typed or filled in.
    New(Rc<str>),
    /// The value of a field that was read already, with another of its widgets.
    Known(Rc<str>),
    /// A name that counts only where nothing is drawn.
    Internal(Rc<str>),
}

impl Note {
    /// What there is to read, given what is drawn: that, and those lines of the text that are not in it.
    pub(super) fn read(&self, drawn: Option<String>) -> Option<String> {
        let letters = |text: &String| text.chars().filter(|c| c.is_alphanumeric()).count();
        let drawn = drawn.filter(|drawn| !self.is_button || letters(drawn) >= MIN_LETTERS_OF_BUTTON);
        match (&self.text, drawn) {
            (None | Some(NoteText::Internal(_)), Some(drawn)) => Some(drawn),
            (None | Some(NoteText::Known(_)), None) => None,
            (Some(NoteText::New(text) | NoteText::Internal(text)), None) => Some(text.to_string()),
            (Some(NoteText::New(text)), Some(drawn)) => Some(merged(text, &drawn)),
            (Some(NoteText::Known(text)), Some(drawn)) => {
                let is_same = Words::of(text).has(&Words::of(&drawn));
                (!is_same).then_some(drawn)
            }
        }
    }
}

fn merged(text: &str, drawn: &str) -> String {
    let words = Words::of(text);
    let drawn_words = Words::of(drawn);
    // The text is exact; what is drawn may be cut, or its order be guessed wrongly.
    if words.has(&drawn_words) {
        return text.to_owned();
    }
    if drawn_words.has(&words) {
        return drawn.to_owned();
    }
    let mut merged = drawn.to_owned();
    let few = text.lines().nth(MAX_COMPARED_LINES).is_none();
    for line in text.lines().filter(|line| !few || !drawn_words.has(&Words::of(line))) {
        merged.push('\n');
        merged.push_str(line);
    }
    merged
}

/// The words of a text, without the spaces between them, because those that are drawn are found by gaps.
struct Words {
    joined: String,
    /// Where words start in it, and its end.
    starts: Vec<usize>,
}

impl Words {
    fn of(text: &str) -> Self {
        let mut words = Self { joined: String::new(), starts: Vec::new() };
        for word in text[..text.floor_char_boundary(MAX_COMPARED)].split_whitespace() {
            words.starts.push(words.joined.len());
            words.joined.extend(word.chars().filter_map(comparable));
        }
        words.starts.push(words.joined.len());
        words
    }

    /// Whether it has these words one after another, or the same letters in another order.
    fn has(&self, other: &Self) -> bool {
        let is_start = |at: usize| self.starts.binary_search(&at).is_ok();
        let mut found = self.joined.match_indices(&other.joined);
        other.joined.is_empty()
            || found.any(|(at, _)| is_start(at) && is_start(at + other.joined.len()))
            || self.joined.len() == other.joined.len() && self.letters() == other.letters()
    }

    fn letters(&self) -> Vec<char> {
        let mut letters: Vec<char> = self.joined.chars().collect();
        letters.sort_unstable();
        letters
    }
}

/// The character, as fonts of Persian and of Arabic have in common; `None` if it is not seen.
fn comparable(c: char) -> Option<char> {
    match c {
        'ي' | 'ى' => Some('ی'),
        'ك' => Some('ک'),
        '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' => None,
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: NoteText, drawn: &str) -> Option<String> {
        let note = Note { text: Some(text), ..Note::default() };
        note.read(Some(drawn.to_owned()).filter(|drawn| !drawn.is_empty()))
    }

    #[test]
    fn what_both_say_is_read_once() {
        for (text, drawn, expected) in [
            ("Approved", "Approved", "Approved"),
            ("a note", "APPROVED", "APPROVED\na note"),
            ("1234.5", "1,234.50 EUR", "1,234.50 EUR\n1234.5"),
            ("12", "12.00", "12.00\n12"),
            ("Ali", "Signed by Ali today", "Signed by Ali today"),
            ("a long value that is cut", "a long value", "a long value that is cut"),
            ("two words", "two\nwords", "two words"),
            ("two words", "twowords", "two words"),
            ("0912", "0 9 1 2", "0912"),
            ("one\nthree", "one\ntwo\nthree", "one\ntwo\nthree"),
            ("one\nfour", "one\ntwo", "one\ntwo\nfour"),
            ("كتاب‌هاي ملي", "کتاب های ملی", "كتاب‌هاي ملي"),
            ("کتاب ملی", "یلم باتک", "کتاب ملی"),
            ("typed", "", "typed"),
        ] {
            assert_eq!(read(NoteText::New(text.into()), drawn).as_deref(), Some(expected), "{text} {drawn}");
        }
    }

    #[test]
    fn value_that_was_read_is_not_read_again() {
        assert_eq!(read(NoteText::Known("value".into()), "value"), None);
        assert_eq!(read(NoteText::Known("value".into()), ""), None);
        assert_eq!(read(NoteText::Known("1234.5".into()), "1,234.50"), Some("1,234.50".to_owned()));
    }

    #[test]
    fn what_is_drawn_on_a_button_counts_more_than_its_name() {
        let button = Note { text: Some(NoteText::Internal("A".into())), is_button: true, ..Note::default() };
        assert_eq!(button.read(Some("Agreed".to_owned())).as_deref(), Some("Agreed"));
        assert_eq!(button.read(Some("4".to_owned())).as_deref(), Some("A"), "a tick of a font of symbols");
        let unnamed = Note { text: None, ..button };
        assert_eq!(unnamed.read(Some("4".to_owned())), None);
        assert_eq!(unnamed.read(Some("Refused".to_owned())).as_deref(), Some("Refused"));
    }
}
