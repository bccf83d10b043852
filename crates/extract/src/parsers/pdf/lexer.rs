//! PDF syntax, read so that only an odd token itself is lost.
//!
//! `lopdf` ends a content stream at its first odd token. Here, as in the readers people use, the token is skipped or takes
//! its likely meaning, what follows is read, and [`Lexer::odd`] counts it.

use lopdf::{Dictionary, Object, StringFormat};

/// Arrays and dictionaries within others, at most; deeper ones are left out.
const MAX_DEPTH: usize = 64;
/// Items of one array or dictionary, at most; further ones are left out.
const MAX_ITEMS: usize = 100_000;
/// Unclosed strings of one source, at most, for which the rest of the source is searched for their end.
const MAX_UNCLOSED_STRINGS: u32 = 32;

/// The bytes of a word, at most; a longer one is divided.
const MAX_WORD_BYTES: usize = 256;
/// The bytes of an unclosed string, at most.
const MAX_UNCLOSED_BYTES: usize = 4096;

/// The operators of content streams (ISO 32000-1, annex A).
const OPERATORS: &[&[u8]] = &[
    b"b", b"B", b"b*", b"B*", b"BDC", b"BI", b"BMC", b"BT", b"BX", b"c", b"cm", b"CS", b"cs", b"d", b"d0", b"d1",
    b"Do", b"DP", b"EI", b"EMC", b"ET", b"EX", b"f", b"F", b"f*", b"G", b"g", b"gs", b"h", b"i", b"ID", b"j", b"J",
    b"K", b"k", b"l", b"m", b"M", b"MP", b"n", b"q", b"Q", b"re", b"RG", b"rg", b"ri", b"s", b"S", b"SC", b"sc",
    b"SCN", b"scn", b"sh", b"T*", b"Tc", b"Td", b"TD", b"Tf", b"Tj", b"TJ", b"TL", b"Tm", b"Tr", b"Ts", b"Tw", b"Tz",
    b"v", b"w", b"W", b"W*", b"y", b"'", b"\"",
];

/// Whether a word is an operator of content streams.
pub(super) fn is_operator(word: &[u8]) -> bool {
    word.len() <= 3 && OPERATORS.contains(&word)
}

/// White space (ISO 32000-1, table 1).
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, 0 | b'\t' | b'\n' | 0x0C | b'\r' | b' ')
}

/// Neither white space nor a delimiter (ISO 32000-1, 7.2.2).
const fn is_regular(byte: u8) -> bool {
    !is_space(byte) && !matches!(byte, b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%')
}

/// A token, or a whole string, array or dictionary.
#[derive(Debug)]
pub(super) enum Token<'a> {
    Object(Object),
    /// An operator or another word.
    Word(&'a [u8]),
    ArrayEnd,
    DictionaryEnd,
}

/// Reads tokens.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    source: &'a [u8],
    pub(super) at: usize,
    /// The tokens that are not valid.
    pub(super) odd: u64,
    unclosed: u32,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(source: &'a [u8]) -> Self {
        Self { source, at: 0, odd: 0, unclosed: 0 }
    }

    /// What is not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.source.get(self.at).copied()
    }

    fn count(&self, matches: impl Fn(u8) -> bool) -> usize {
        self.rest().iter().take_while(|byte| matches(**byte)).count()
    }

    /// The regular characters next, up to the length of a word.
    fn regular(&self) -> &'a [u8] {
        let rest = self.rest();
        &rest[..rest.iter().take(MAX_WORD_BYTES).take_while(|byte| is_regular(**byte)).count()]
    }

    /// Skips white space and comments.
    pub(super) fn skip_space(&mut self) {
        loop {
            self.at += self.count(is_space);
            if self.peek() != Some(b'%') {
                return;
            }
            self.at += self.count(|byte| !matches!(byte, b'\n' | b'\r'));
        }
    }

    /// The next token; `None` at the end.
    pub(super) fn token(&mut self) -> Option<Token<'a>> {
        self.token_at_depth(0)
    }

    fn token_at_depth(&mut self, depth: usize) -> Option<Token<'a>> {
        loop {
            self.skip_space();
            let first = self.peek()?;
            let token = match first {
                b'0'..=b'9' | b'+' | b'-' | b'.' => Token::Object(self.number()),
                b'/' => Token::Object(Object::Name(self.name())),
                b'(' => Token::Object(Object::String(self.literal(), StringFormat::Literal)),
                b'<' if self.rest().starts_with(b"<<") => {
                    self.at += 2;
                    Token::Object(Object::Dictionary(self.dictionary(depth)))
                }
                b'<' => Token::Object(Object::String(self.hex(), StringFormat::Hexadecimal)),
                b'[' => {
                    self.at += 1;
                    Token::Object(Object::Array(self.items(depth, b"]")))
                }
                b']' => {
                    self.at += 1;
                    Token::ArrayEnd
                }
                b'>' if self.rest().starts_with(b">>") => {
                    self.at += 2;
                    Token::DictionaryEnd
                }
                b')' | b'>' | b'{' | b'}' => {
                    self.at += 1;
                    self.odd += 1;
                    continue;
                }
                _ => match self.word() {
                    Some(token) => token,
                    None => continue,
                },
            };
            return Some(token);
        }
    }

    /// A word: an operator, a constant, or a number that is not one. `None` if it was skipped as without any meaning.
    fn word(&mut self) -> Option<Token<'a>> {
        let word = self.regular();
        let known = |word: &[u8]| is_operator(word) || matches!(word, b"true" | b"false" | b"null");
        // Where white space is missing, a word ends with the operator that it starts with.
        let length = if known(word) { word.len() } else { glued_operator(word).unwrap_or(word.len()) };
        let word = &word[..length];
        self.at += length;
        Some(match word {
            b"true" => Token::Object(Object::Boolean(true)),
            b"false" => Token::Object(Object::Boolean(false)),
            b"null" => Token::Object(Object::Null),
            _ if is_no_number(word) => {
                self.odd += 1;
                self.skip_no_number_kind();
                Token::Object(Object::Null)
            }
            _ if !word.iter().any(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'\'' | b'"')) => {
                self.odd += 1;
                return None;
            }
            _ => Token::Word(word),
        })
    }

    /// Skips the rest of `nan(ind)` and its like, as the C library of Windows writes it.
    fn skip_no_number_kind(&mut self) {
        for kind in [&b"(ind)"[..], b"(snan)"] {
            if self.rest().starts_with(kind) {
                self.at += kind.len();
            }
        }
    }

    /// A number. Odd ones read as in pdf.js and poppler: of several signs a minus counts, a second point ends the number, a
    /// minus within the digits is ignored; without digits it is 0. What C writes for "not a number" is null.
    fn number(&mut self) -> Object {
        let signs = self.count(|byte| matches!(byte, b'+' | b'-'));
        let negative = self.rest()[..signs].contains(&b'-');
        self.odd += u64::from(signs > 1);
        self.at += signs;
        if self.peek().is_some_and(|byte| byte.is_ascii_alphabetic()) && is_no_number(self.regular()) {
            self.odd += 1;
            self.at += self.regular().len();
            self.skip_no_number_kind();
            return Object::Null;
        }
        let start = self.at;
        let mut value = 0.0_f64;
        let mut unit = None;
        let mut digits = 0;
        while let Some(byte) = self.peek() {
            match byte {
                b'0'..=b'9' => {
                    digits += 1;
                    let digit = f64::from(byte - b'0');
                    match &mut unit {
                        None => value = value * 10.0 + digit,
                        Some(unit) => {
                            value += digit * *unit;
                            *unit *= 0.1;
                        }
                    }
                }
                b'.' if unit.is_none() => unit = Some(0.1),
                b',' if unit.is_none() && self.source.get(self.at + 1).is_some_and(u8::is_ascii_digit) => {
                    self.odd += 1;
                    unit = Some(0.1);
                }
                b'-' if digits > 0 => self.odd += 1,
                _ => break,
            }
            self.at += 1;
        }
        if self.peek() == Some(b'#') {
            self.odd += 1;
            self.at += self.regular().len();
            return Object::Null;
        }
        self.odd += u64::from(digits == 0 || self.peek() == Some(b'.'));
        if self.at == start && signs == 0 {
            self.at += 1;
        }
        if digits == 0 {
            return Object::Integer(0);
        }
        let power = self.exponent();
        value *= power.unwrap_or(1.0);
        let value = if negative { -value } else { value };
        if unit.is_none() && power.is_none() && value.abs() < 9e15 {
            Object::Integer(value as i64)
        } else {
            Object::Real(value as f32)
        }
    }

    /// The factor of an exponent, which PDF does not have but some programs write.
    fn exponent(&mut self) -> Option<f64> {
        let (exponent, length) = match self.rest() {
            [b'e' | b'E', b'+', rest @ ..] => (rest, 2),
            [b'e' | b'E', b'-', rest @ ..] => (rest, 2),
            [b'e' | b'E', rest @ ..] => (rest, 1),
            _ => return None,
        };
        let digits = exponent.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let power = exponent[..digits.min(3)].iter().fold(0, |power, digit| power * 10 + i32::from(digit - b'0'));
        let negative = self.rest().get(1) == Some(&b'-');
        self.odd += 1;
        self.at += length + digits;
        Some(10_f64.powi(if negative { -power } else { power }))
    }

    fn name(&mut self) -> Vec<u8> {
        self.at += 1;
        let length = self.count(is_regular);
        let raw = &self.rest()[..length];
        self.at += length;
        let mut name = Vec::with_capacity(length);
        let mut at = 0;
        while let Some(byte) = raw.get(at) {
            let escaped = match raw.get(at + 1..at + 3) {
                Some([high, low]) if *byte == b'#' => hex_digit(*high).zip(hex_digit(*low)),
                _ => None,
            };
            name.push(escaped.map_or(*byte, |(high, low)| high << 4 | low));
            at += if escaped.is_some() { 3 } else { 1 };
        }
        name
    }

    /// A string in parentheses. One that is not closed ends with its line, or before the operator that shows it.
    fn literal(&mut self) -> Vec<u8> {
        let start = self.at + 1;
        if self.unclosed < MAX_UNCLOSED_STRINGS {
            self.at = start;
            if let Some(string) = self.closed_literal() {
                return string;
            }
            self.unclosed += 1;
        }
        self.odd += 1;
        let rest = &self.source[start..self.source.len().min(start + MAX_UNCLOSED_BYTES)];
        let end = rest.iter().position(|byte| matches!(byte, b')' | b'\n' | b'\r')).unwrap_or(rest.len());
        let shown = rest[..end].windows(3).position(|window| matches!(window, b" Tj" | b" TJ"));
        let end = shown.unwrap_or(end);
        self.at = start + end + usize::from(rest.get(end) == Some(&b')'));
        rest[..end].to_vec()
    }

    /// A string up to its closing parenthesis; `None` if there is none.
    fn closed_literal(&mut self) -> Option<Vec<u8>> {
        let mut string = Vec::new();
        let mut depth = 0_usize;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'(' => depth += 1,
                b')' if depth == 0 => return Some(string),
                b')' => depth -= 1,
                b'\\' => {
                    string.extend(self.escape()?);
                    continue;
                }
                b'\r' => {
                    self.at += usize::from(self.peek() == Some(b'\n'));
                    string.push(b'\n');
                    continue;
                }
                _ => {}
            }
            string.push(byte);
        }
    }

    /// What a backslash stands for with what follows it (ISO 32000-1, table 3); the outer `None` is the end of the source.
    fn escape(&mut self) -> Option<Option<u8>> {
        let byte = self.peek()?;
        self.at += 1;
        Some(Some(match byte {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 8,
            b'f' => 0x0C,
            b'\n' => return Some(None),
            b'\r' => {
                self.at += usize::from(self.peek() == Some(b'\n'));
                return Some(None);
            }
            b'0'..=b'7' => {
                let more = self.rest().iter().take(2).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
                let digits = &self.source[self.at - 1..self.at + more];
                self.at += more;
                digits.iter().fold(0_u8, |code, digit| code.wrapping_mul(8).wrapping_add(digit - b'0'))
            }
            other => other,
        }))
    }

    /// A hexadecimal string. Other characters in it are skipped; one that is not closed has the digits at its start.
    fn hex(&mut self) -> Vec<u8> {
        self.at += 1;
        let length = self.count(|byte| !matches!(byte, b'>' | b'<' | b'(' | b'[' | b'/'));
        let is_closed = self.rest().get(length) == Some(&b'>');
        let length = if is_closed { length } else { self.count(|byte| byte.is_ascii_hexdigit()) };
        let source = &self.rest()[..length];
        self.at += length + usize::from(is_closed);
        let mut is_odd = !is_closed;
        let mut bytes = Vec::with_capacity(length.div_ceil(2));
        let mut high = None;
        for byte in source {
            match (hex_digit(*byte), high) {
                (Some(low), Some(first)) => {
                    bytes.push(first << 4 | low);
                    high = None;
                }
                (digit @ Some(_), None) => high = digit,
                (None, _) => is_odd |= !is_space(*byte),
            }
        }
        self.odd += u64::from(is_odd);
        bytes.extend(high.map(|high| high << 4));
        bytes
    }

    /// The items up to a closing token. An operator, or the end of the object, closes it too.
    fn items(&mut self, depth: usize, close: &[u8]) -> Vec<Object> {
        let mut items: Vec<Object> = Vec::new();
        if depth >= MAX_DEPTH {
            self.odd += 1;
            return items;
        }
        loop {
            let start = self.at;
            match self.token_at_depth(depth + 1) {
                Some(Token::Object(object)) if items.len() < MAX_ITEMS => items.push(object),
                Some(Token::Object(_)) => self.odd += 1,
                Some(Token::ArrayEnd) if close == b"]" => return items,
                Some(Token::DictionaryEnd) if close == b">>" => return items,
                Some(Token::ArrayEnd) => self.odd += 1,
                Some(Token::Word(b"R")) => match items.as_slice() {
                    [.., Object::Integer(id), Object::Integer(generation)] => {
                        let id = u32::try_from(*id).unwrap_or(0);
                        let generation = u16::try_from(*generation).unwrap_or(0);
                        items.truncate(items.len() - 2);
                        items.push(Object::Reference((id, generation)));
                    }
                    _ => self.odd += 1,
                },
                Some(Token::Word(word)) if !is_operator(word) && !matches!(word, b"endobj" | b"stream" | b"obj") => {
                    self.odd += 1;
                }
                Some(Token::DictionaryEnd | Token::Word(_)) => {
                    self.odd += 1;
                    self.at = start;
                    return items;
                }
                None => {
                    self.odd += 1;
                    return items;
                }
            }
        }
    }

    /// A dictionary after its `<<`.
    fn dictionary(&mut self, depth: usize) -> Dictionary {
        let mut dictionary = Dictionary::new();
        let mut items = self.items(depth, b">>").into_iter();
        while let Some(key) = items.next() {
            match key {
                Object::Name(key) => dictionary.set(key, items.next().unwrap_or(Object::Null)),
                _ => self.odd += 1,
            }
        }
        dictionary
    }
}

/// The length of the operator at the start of a word, if what follows it is another one or a number.
fn glued_operator(word: &[u8]) -> Option<usize> {
    (1..word.len().min(4)).rev().find(|length| {
        let (operator, rest) = word.split_at(*length);
        let follows = || match rest[0] {
            b'0'..=b'9' | b'.' | b'-' | b'+' => true,
            _ => rest.len() <= 12 && (is_operator(rest) || glued_operator(rest).is_some()),
        };
        is_operator(operator) && follows()
    })
}

/// Whether it is what C writes for an infinity, or for what is not a number.
fn is_no_number(word: &[u8]) -> bool {
    [&b"nan"[..], b"inf", b"infinity"].iter().any(|name| word.eq_ignore_ascii_case(name))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(source: &[u8]) -> (Vec<String>, u64) {
        let mut lexer = Lexer::new(source);
        let mut tokens = Vec::new();
        while let Some(token) = lexer.token() {
            tokens.push(match token {
                Token::Object(object) => format!("{object:?}"),
                Token::Word(word) => String::from_utf8_lossy(word).into_owned(),
                Token::ArrayEnd => "]".to_owned(),
                Token::DictionaryEnd => ">>".to_owned(),
            });
        }
        (tokens, lexer.odd)
    }

    #[test]
    fn valid_tokens_are_read() {
        let source =
            b"1 -2.5 +.5 4. /Na#20me (a\\(b\\)(c)\\101\\\n\r\n) <48 656> [1 0 R (x)] <</A 1/B[2]>> true null Tj%c\nT*";
        let (tokens, odd) = objects(source);
        assert_eq!(odd, 0, "{tokens:?}");
        assert_eq!(tokens.len(), 13, "{tokens:?}");
        assert_eq!(tokens[..5], ["1", "-2.5", "0.5", "4", "/Na me"], "{tokens:?}");
        let string = |source| match Lexer::new(source).token() {
            Some(Token::Object(Object::String(bytes, _))) => String::from_utf8(bytes).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(string(b"(a\\(b\\)(c)\\101\\\n\r\n\\7)"), "a(b)(c)A\n\u{7}");
        assert_eq!(string(b"<48 656>"), "He`");
    }

    #[test]
    fn odd_numbers_have_their_likely_value() {
        for (source, value) in [
            ("--5", "-5"),
            ("+-3", "-3"),
            ("-+3", "-3"),
            (".", "0"),
            ("-", "0"),
            ("-.", "0"),
            ("1.5e2", "150"),
            ("1e-2", "0.01"),
            ("12,5", "12.5"),
            ("0.00-35", "0.0035"),
            ("1.#IND", "Null"),
            ("-1.#QNAN0", "Null"),
            ("nan", "Null"),
            ("-inf", "Null"),
            ("-nan(ind)", "Null"),
        ] {
            let (tokens, odd) = objects(source.as_bytes());
            assert_eq!(tokens, [value], "{source}");
            assert!(odd > 0, "{source}");
        }
        assert_eq!(objects(b"1.2.3").0, ["1.2", "0.3"]);
    }

    #[test]
    fn glued_words_are_separated() {
        for (source, words) in [
            ("ETBT", "ET BT"),
            ("qQq", "q Q q"),
            ("Q1", "Q 1"),
            ("12Tf", "12 Tf"),
            ("T*5", "T* 5"),
            ("BT/F1", "BT /F1"),
            ("ETQ", "ET Q"),
            ("Wonderful", "Wonderful"),
            ("d0", "d0"),
        ] {
            assert_eq!(objects(source.as_bytes()).0.join(" "), words, "{source}");
        }
    }

    #[test]
    fn odd_tokens_cost_only_themselves() {
        for source in [
            &b") Tj"[..],
            b"} { Tj",
            b">> Tj",
            b"> Tj",
            b"] Tj",
            b"~@$ Tj",
            b"(abc Tj\nTj",
            b"(a (b) Tj\nTj",
            b"<0041 Tj",
            b"<\nTj",
            b"(\nTj",
            b"[\nTj",
            b"<<\nTj",
            b"<</A 1 Tj",
            b"[(a) 5 Tj",
            b"<</A [1 2 >> Tj",
        ] {
            let (tokens, _) = objects(source);
            let text = String::from_utf8_lossy(source);
            assert_eq!(tokens.last().map(String::as_str), Some("Tj"), "{text}: {tokens:?}");
        }
    }

    /// The processor's time is measured, which other programs on the machine do not lengthen.
    #[test]
    fn hostile_sources_are_read_in_linear_time() {
        let cpu_seconds = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec;
        for source in ["(", "[", "<<", "<", "((", "/#", "-", ".", "BI ", "[<<", "\\(", "1 0 R", "q", "q1", "1-"] {
            let source = source.repeat(1 << 20);
            let mut lexer = Lexer::new(source.as_bytes());
            let started = cpu_seconds();
            while lexer.token().is_some() {}
            let took = cpu_seconds() - started;
            assert!(took < 10, "{}: {took} s", &source[..3]);
        }
    }
}
