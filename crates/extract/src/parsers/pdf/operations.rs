//! The operations of a content stream (ISO 32000-1, 7.8.2).

use lopdf::Object;

use super::lexer::{Lexer, Token, is_operator, is_space};

/// Operands of one operation, at most; earlier ones are dropped.
const MAX_OPERANDS: usize = 64;
/// So many bytes behind an `EI` have to be text for it to end an inline image.
const BYTES_BEHIND_IMAGE: usize = 16;

/// Reads operations. One that makes no sense is skipped and counted.
#[derive(Debug)]
pub(super) struct Operations<'a> {
    lexer: Lexer<'a>,
    /// Open compatibility sections, in which unknown operators are allowed (ISO 32000-1, 7.8.2).
    compatibility: u32,
}

impl<'a> Operations<'a> {
    pub(super) fn new(content: &'a [u8]) -> Self {
        Self { lexer: Lexer::new(content), compatibility: 0 }
    }

    /// The tokens and operations so far that are not valid.
    pub(super) fn odd(&self) -> u64 {
        self.lexer.odd
    }

    /// The next operator, with its operands in `operands`; `None` at the end.
    pub(super) fn next(&mut self, operands: &mut Vec<Object>) -> Option<&'a [u8]> {
        operands.clear();
        loop {
            let word = match self.lexer.token()? {
                Token::Object(object) => {
                    if operands.len() >= MAX_OPERANDS {
                        operands.remove(0);
                        self.lexer.odd += 1;
                    }
                    operands.push(object);
                    continue;
                }
                Token::ArrayEnd | Token::DictionaryEnd => {
                    self.lexer.odd += 1;
                    continue;
                }
                Token::Word(word) => word,
            };
            match word {
                b"BI" => self.skip_image(),
                b"BX" => self.compatibility += 1,
                b"EX" => self.compatibility = self.compatibility.saturating_sub(1),
                _ if !is_operator(word) => self.lexer.odd += u64::from(self.compatibility == 0),
                _ if self.has_operands(word, operands) => return Some(word),
                _ => self.lexer.odd += 1,
            }
            operands.clear();
        }
    }

    /// Whether the operands suffice. Of too many, the last ones count, as in poppler and pdf.js.
    fn has_operands(&mut self, operator: &[u8], operands: &mut Vec<Object>) -> bool {
        let needed = match operator {
            b"cm" | b"Tm" => 6,
            b"\"" => 3,
            b"Td" | b"TD" | b"Tf" => 2,
            b"Tc" | b"Tw" | b"Tz" | b"TL" | b"Ts" | b"Tj" | b"TJ" | b"'" | b"Do" => 1,
            _ => return true,
        };
        if operands.len() > needed {
            operands.drain(..operands.len() - needed);
            self.lexer.odd += 1;
        }
        operands.len() == needed
    }

    /// Skips an inline image (ISO 32000-1, 8.9.7) after its `BI`.
    fn skip_image(&mut self) {
        let mut items = Vec::new();
        loop {
            let start = self.lexer.at;
            match self.lexer.token() {
                Some(Token::Object(object)) if items.len() < MAX_OPERANDS => items.push(object),
                Some(Token::Object(_) | Token::ArrayEnd | Token::DictionaryEnd) => self.lexer.odd += 1,
                Some(Token::Word(b"ID")) => break,
                Some(Token::Word(b"EI")) | None => {
                    self.lexer.odd += 1;
                    return;
                }
                Some(Token::Word(word)) => {
                    self.lexer.odd += 1;
                    if is_operator(word) {
                        self.lexer.at = start;
                        return;
                    }
                }
            }
        }
        let rest = self.lexer.rest();
        let space = match rest {
            [b'\r', b'\n', ..] => 2,
            [byte, ..] if is_space(*byte) => 1,
            _ => 0,
        };
        let data = &rest[space..];
        let end = image_bytes(&items).and_then(|length| end_after(data, length)).or_else(|| {
            let text_ends = text_data_end(&items).map_or(Some(0), |mark| find(data, mark).map(|at| at + mark.len()))?;
            image_end(&data[text_ends..]).map(|end| text_ends + end)
        });
        self.lexer.odd += u64::from(end.is_none());
        self.lexer.at += space + end.unwrap_or(data.len());
    }
}

/// The length of an image's data in bytes, if it is not compressed.
fn image_bytes(items: &[Object]) -> Option<usize> {
    let get = |short: &[u8], long: &[u8]| {
        items.as_chunks::<2>().0.iter().find_map(|[key, value]| match key {
            Object::Name(name) if name == short || name == long => Some(value),
            _ => None,
        })
    };
    let size = |short, long| get(short, long).and_then(|size| usize::try_from(size.as_i64().ok()?).ok());
    let is_mask = get(b"IM", b"ImageMask").and_then(|mask| mask.as_bool().ok()).unwrap_or(false);
    let components = match get(b"CS", b"ColorSpace") {
        _ if is_mask => 1,
        Some(Object::Array(_)) => 1,
        Some(Object::Name(name)) => match name.as_slice() {
            b"G" | b"DeviceGray" | b"CalGray" => 1,
            b"RGB" | b"DeviceRGB" | b"CalRGB" => 3,
            b"CMYK" | b"DeviceCMYK" => 4,
            _ => return None,
        },
        _ => return None,
    };
    if get(b"F", b"Filter").is_some() {
        return None;
    }
    let bits = if is_mask { 1 } else { size(b"BPC", b"BitsPerComponent")? };
    let row = size(b"W", b"Width")?.checked_mul(components)?.checked_mul(bits)?.div_ceil(8);
    row.checked_mul(size(b"H", b"Height")?)
}

/// The end of the `EI` that follows this many bytes of data; `None` if none does.
fn end_after(data: &[u8], length: usize) -> Option<usize> {
    let rest = data.get(length..)?;
    let space = rest.iter().take(4).take_while(|byte| is_space(**byte)).count();
    let after = rest[space..].strip_prefix(b"EI")?;
    after.first().is_none_or(|byte| is_space(*byte)).then_some(length + space + 2)
}

/// What ends the data of a filter that writes text, in which `EI` may be.
fn text_data_end(items: &[Object]) -> Option<&'static [u8]> {
    let filter = items.as_chunks::<2>().0.iter().find_map(|[key, value]| match key {
        Object::Name(name) if name == b"F" || name == b"Filter" => Some(value),
        _ => None,
    })?;
    let first = match filter {
        Object::Array(all) => all.first()?,
        one => one,
    };
    match first.as_name().ok()? {
        b"A85" | b"ASCII85Decode" => Some(b"~>"),
        b"AHx" | b"ASCIIHexDecode" => Some(b">"),
        _ => None,
    }
}

fn find(data: &[u8], mark: &[u8]) -> Option<usize> {
    data.windows(mark.len()).position(|bytes| bytes == mark)
}

/// The end of the first `EI` that can end the data: white space and text behind it.
fn image_end(data: &[u8]) -> Option<usize> {
    let is_text = |byte: &u8| is_space(*byte) && *byte != 0 || matches!(byte, 0x20..=0x7E);
    let ends = |at: usize| {
        let behind = &data[at + 2..data.len().min(at + 2 + BYTES_BEHIND_IMAGE)];
        behind.first().is_none_or(|byte| is_space(*byte)) && behind.iter().all(is_text)
    };
    let mut candidates = data.windows(2).enumerate().filter(|(_, pair)| pair == b"EI").map(|(at, _)| at);
    candidates.find(|at| ends(*at)).map(|at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The operations of a content stream, and how many tokens are odd.
    fn read(content: &[u8]) -> (Vec<String>, u64) {
        let mut operations = Operations::new(content);
        let mut read = Vec::new();
        let mut operands = Vec::new();
        while let Some(operator) = operations.next(&mut operands) {
            let operands: Vec<String> = operands.iter().map(|operand| format!("{operand:?} ")).collect();
            read.push(operands.concat() + &String::from_utf8_lossy(operator));
        }
        (read, operations.odd())
    }

    #[test]
    fn inline_images_are_skipped() {
        for content in [
            &b"BI /W 2/H 2/BPC 8/CS/G ID EI E EI Q"[..],
            b"BI /W 9/H 9/BPC 8/CS/G ID \x80 EI \x81 EI\nQ",
            b"BI /F/A85 ID abc~>EI Q",
            b"BI /F/A85 ID abcEI\nabc~>\nEI Q",
            b"BI /F[/AHx/Fl] ID 00 EI 11>EI Q",
            b"BI /W 4 /H 1 /IM true ID\r\n\xF0 EI Q",
            b"BI /W 1 /H 1 ID \x01\nEI\nQ",
            b"BI EI Q",
            b"BI /W 1 Q",
        ] {
            assert_eq!(read(content).0, ["Q"], "{}", String::from_utf8_lossy(content));
        }
        let two = b"BI /F/A85 ID !!~>EI Q (between) Tj BI /F/A85 ID !!~>\nEI Q";
        assert_eq!(read(two).0.len(), 3, "{:?}", read(two));
        assert_eq!(read(b"q BI /W 1 ID (lost) Tj").0, ["q"], "an image without an end hides what follows");
    }

    #[test]
    fn operands_are_counted_from_the_operator() {
        assert_eq!(read(b"9 1 0 0 1 5 6 Tm").0, ["1 0 0 1 5 6 Tm"]);
        assert_eq!(read(b"1.2.3 700 Td").0, ["0.3 700 Td"]);
        assert_eq!(read(b"700 Td Tj 1 0 cm Q").0, ["Q"]);
        assert_eq!(read(b"1 2 unknown 3 4 Td"), (vec!["3 4 Td".to_owned()], 1));
        assert_eq!(read(b"BX 1 2 unknown EX 3 4 Td"), (vec!["3 4 Td".to_owned()], 0));
    }
}
