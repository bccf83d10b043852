//! `ToUnicode` CMaps: the text of a font's character codes.

use std::collections::HashMap;
use std::rc::Rc;

/// Further entries are dropped: codes of supported fonts have at most two bytes.
const MAX_ENTRIES: usize = 70_000;

/// Text by character code.
#[derive(Debug, Default)]
pub(super) struct ToUnicode {
    texts: HashMap<u32, Rc<str>>,
    /// The length of a code in bytes, by the code space ranges.
    pub(super) code_bytes: Option<usize>,
}

impl ToUnicode {
    /// Reads a CMap; invalid parts are skipped.
    pub(super) fn parse(source: &[u8]) -> Self {
        let mut map = Self::default();
        let mut operands: Vec<CmapToken> = Vec::new();
        for token in (CmapTokens { source, at: 0 }) {
            let CmapToken::Word(word) = &token else {
                operands.push(token);
                continue;
            };
            match word.as_slice() {
                b"endbfchar" => map.chars(&operands),
                b"endbfrange" => map.ranges(&operands),
                b"endcodespacerange" => map.code_space(&operands),
                _ => {}
            }
            operands.clear();
        }
        map
    }

    pub(super) fn get(&self, code: u32) -> Option<&Rc<str>> {
        self.texts.get(&code)
    }

    fn code_space(&mut self, operands: &[CmapToken]) {
        let longest = operands.iter().filter_map(CmapToken::bytes).map(<[u8]>::len).max();
        self.code_bytes = longest.filter(|length| (1..=4).contains(length));
    }

    fn chars(&mut self, operands: &[CmapToken]) {
        for pair in operands.chunks_exact(2) {
            if let (Some(code), Some(text)) = (pair[0].code(), pair[1].text()) {
                self.put(code, &text);
            }
        }
    }

    fn ranges(&mut self, operands: &[CmapToken]) {
        let mut rest = operands;
        while let [first, last, target, after @ ..] = rest {
            rest = after;
            let (Some(first), Some(last)) = (first.code(), last.code()) else { continue };
            let last = last.min(first.saturating_add(0xFFFF));
            if let CmapToken::Array(texts) = target {
                for (code, text) in (first..=last).zip(texts) {
                    if let Some(text) = text.text() {
                        self.put(code, &text);
                    }
                }
            } else if let Some(text) = target.text() {
                self.put_range(first, last, &text);
            }
        }
    }

    /// The last character increases with the code.
    fn put_range(&mut self, first: u32, last: u32, text: &str) {
        let Some(final_char) = text.chars().next_back() else { return };
        let stem = &text[..text.len() - final_char.len_utf8()];
        for code in first..=last {
            if self.texts.len() >= MAX_ENTRIES {
                return;
            }
            if let Some(c) = char::from_u32(u32::from(final_char) + (code - first)) {
                self.put(code, &format!("{stem}{c}"));
            }
        }
    }

    fn put(&mut self, code: u32, text: &str) {
        if self.texts.len() < MAX_ENTRIES {
            self.texts.insert(code, Rc::from(text));
        }
    }
}

#[derive(Debug)]
enum CmapToken {
    Hex(Vec<u8>),
    Array(Vec<CmapToken>),
    Word(Vec<u8>),
    Other,
}

impl CmapToken {
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Hex(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn code(&self) -> Option<u32> {
        self.bytes()
            .filter(|bytes| bytes.len() <= 4)
            .map(|bytes| bytes.iter().fold(0, |code, b| code << 8 | u32::from(*b)))
    }

    /// The text in UTF-16BE; a single byte is its own code point.
    fn text(&self) -> Option<String> {
        let bytes = self.bytes()?;
        if let [byte] = bytes {
            return Some(char::from(*byte).to_string());
        }
        let units = bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair));
        Some(char::decode_utf16(units).filter_map(Result::ok).filter(|c| *c != '\0').collect())
    }
}

/// The tokens of a CMap.
struct CmapTokens<'a> {
    source: &'a [u8],
    at: usize,
}

impl CmapTokens<'_> {
    fn peek(&self) -> Option<u8> {
        self.source.get(self.at).copied()
    }

    fn hex(&mut self) -> CmapToken {
        let mut digits = Vec::new();
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'>' => break,
                b'<' => return CmapToken::Other,
                _ => digits.extend(char::from(byte).to_digit(16)),
            }
        }
        if digits.len() % 2 == 1 {
            digits.push(0);
        }
        CmapToken::Hex(digits.as_chunks::<2>().0.iter().map(|[high, low]| (high << 4 | low) as u8).collect())
    }

    fn word(&mut self) -> CmapToken {
        let start = self.at;
        while self.peek().is_some_and(|byte| !byte.is_ascii_whitespace() && !b"<>[]/%".contains(&byte)) {
            self.at += 1;
        }
        if self.at == start {
            self.at += 1;
            return CmapToken::Other;
        }
        let word = &self.source[start..self.at];
        if word[0].is_ascii_digit() { CmapToken::Other } else { CmapToken::Word(word.to_vec()) }
    }
}

impl Iterator for CmapTokens<'_> {
    type Item = CmapToken;

    fn next(&mut self) -> Option<CmapToken> {
        loop {
            match self.peek()? {
                byte if byte.is_ascii_whitespace() => self.at += 1,
                b'%' => {
                    while self.peek().is_some_and(|byte| !matches!(byte, b'\n' | b'\r')) {
                        self.at += 1;
                    }
                }
                b'<' => {
                    self.at += 1;
                    return Some(self.hex());
                }
                b'[' => {
                    self.at += 1;
                    let mut items = Vec::new();
                    while items.len() < MAX_ENTRIES {
                        match self.peek()? {
                            b']' => {
                                self.at += 1;
                                break;
                            }
                            b'<' => {
                                self.at += 1;
                                items.push(self.hex());
                            }
                            _ => self.at += 1,
                        }
                    }
                    return Some(CmapToken::Array(items));
                }
                b'/' => {
                    self.at += 1;
                    self.word();
                }
                _ => match self.word() {
                    CmapToken::Other => {}
                    token => return Some(token),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bfchar_and_bfrange_are_read() {
        let map = ToUnicode::parse(
            b"/CIDInit /ProcSet findresource begin\n1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n\
              2 beginbfchar <0003> <0020> <0004><0644 0627> endbfchar % lam-alef\n\
              3 beginbfrange <0010> <0012> <0041> <0020><0021>[<06A9> <06AF>] <0030><0030><D835DC00> endbfrange",
        );
        let text = |code| map.get(code).map(|text| &**text);
        assert_eq!(map.code_bytes, Some(2));
        assert_eq!(text(3), Some(" "));
        assert_eq!(text(4), Some("لا"));
        assert_eq!((text(0x10), text(0x12), text(0x13)), (Some("A"), Some("C"), None));
        assert_eq!((text(0x20), text(0x21)), (Some("ک"), Some("گ")));
        assert_eq!(text(0x30), Some("𝐀"));
    }

    #[test]
    fn hostile_cmap_is_bounded() {
        let map = ToUnicode::parse(&b"1 beginbfrange <00000000> <FFFFFFFF> <0041> endbfrange ".repeat(100));
        assert!(map.texts.len() <= MAX_ENTRIES);
        ToUnicode::parse(b"<<<<[[[<>>]<zz beginbfchar <1> endbfchar [<");
    }
}
