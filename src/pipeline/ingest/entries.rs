//! Splits a list or manifest into entries, in bounded memory: lines, NUL-terminated names, or CSV records.

use std::io::{self, BufRead, ErrorKind};
use std::path::{Path, PathBuf};

/// UTF-8's byte order mark.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// A path in one spelling: without `.` and repeated slashes. A `..` stays, because what it leads to depends on links.
pub(super) fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

/// What ends an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Terminator {
    /// A newline.
    Newline,
    /// A NUL.
    Nul,
    /// A newline outside of quotes.
    CsvRecord,
}

/// Where a CSV reader is within a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Csv {
    FieldStart,
    Unquoted,
    Quoted,
    /// After a quote within a quoted field: the field's end, or the first of two quotes that mean one.
    QuoteInQuoted,
}

/// What was wrong with an entry, apart from its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is longer than the limit; only its beginning was kept.
    TooLong,
    /// The input ended within a quoted field.
    OpenQuote,
    /// Text follows the quote that ends a field.
    TextAfterQuote,
}

/// An entry, without its bytes, which are [`EntryReader::bytes`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// The number of the line that it begins on, or of the NUL-terminated entry; from 1.
    pub(super) line: u64,
    /// Whether its terminator was read; only the last entry may lack it.
    pub(super) terminated: bool,
    /// Whether it contains a NUL that does not terminate it.
    pub(super) has_nul: bool,
    /// What is wrong with it.
    pub(super) flaw: Option<Flaw>,
}

/// Reads entries of at most `limit` bytes.
pub(super) struct EntryReader<R> {
    pub(super) input: R,
    terminator: Terminator,
    limit: usize,
    next_line: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> EntryReader<R> {
    pub(super) fn new(input: R, terminator: Terminator, limit: usize) -> Self {
        Self { input, terminator, limit, next_line: 1, buffer: Vec::new() }
    }

    /// The bytes of the entry that was read last, without its terminator.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Refuses text in UTF-16. Looks at the first bytes and consumes none.
    ///
    /// # Errors
    /// `InvalidData` for such text; an error of the input.
    pub(super) fn refuse_utf16(&mut self) -> io::Result<()> {
        let head = loop {
            match self.input.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                head => break head?,
            }
        };
        let marked = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
        let is_utf16 = match self.terminator {
            Terminator::CsvRecord => marked,
            // A name may begin with these bytes, but it has no NUL.
            Terminator::Newline => marked && head.contains(&0),
            Terminator::Nul => is_utf16_with_nuls(head, marked),
        };
        if is_utf16 {
            let error = "it is in UTF-16: convert it to UTF-8 first, e.g. with iconv -f UTF-16 -t UTF-8";
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        Ok(())
    }

    /// Reads the next entry; `None` at the end of the input.
    pub(super) fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        self.buffer.clear();
        let mut entry = Entry { line: self.next_line, terminated: false, has_nul: false, flaw: None };
        let mut state = Csv::FieldStart;
        let mut any = false;
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                if state == Csv::Quoted {
                    entry.flaw = entry.flaw.or(Some(Flaw::OpenQuote));
                }
                return Ok(any.then_some(entry));
            }
            any = true;
            let end = match self.terminator {
                Terminator::Newline => available.iter().position(|byte| *byte == b'\n'),
                Terminator::Nul => available.iter().position(|byte| *byte == 0),
                Terminator::CsvRecord => record_end(available, &mut state, &mut entry.flaw),
            };
            let part = &available[..end.unwrap_or(available.len())];
            entry.has_nul |= part.contains(&0);
            let space = self.limit.saturating_sub(self.buffer.len());
            if part.len() > space {
                entry.flaw = Some(Flaw::TooLong);
            }
            self.buffer.extend_from_slice(&part[..part.len().min(space)]);
            if self.terminator == Terminator::CsvRecord {
                self.next_line += part.iter().filter(|byte| **byte == b'\n').count() as u64;
            }
            let used = end.map_or(available.len(), |end| end + 1);
            self.input.consume(used);
            if end.is_some() {
                self.next_line += 1;
                entry.terminated = true;
                return Ok(Some(entry));
            }
        }
    }
}

/// Whether NUL-terminated names are text in UTF-16: all names are single bytes, and they begin with a byte order mark, or one
/// is a newline, a slash or a dot, which would name a folder with all that is in it.
fn is_utf16_with_nuls(head: &[u8], marked: bool) -> bool {
    let units = if marked { &head[2..] } else { head };
    let (pairs, _) = units.as_chunks::<2>();
    let pairs = &pairs[..pairs.len().min(64)];
    let is_wide = |zero: usize| pairs.len() > 1 && pairs.iter().all(|pair| pair[zero] == 0 && pair[1 - zero] != 0);
    let names_folder = pairs.iter().flatten().any(|byte| matches!(byte, b'\n' | b'/' | b'.'));
    (is_wide(0) || is_wide(1)) && (marked || names_folder)
}

/// The place of the newline that ends a CSV record; notes text after a closing quote.
fn record_end(bytes: &[u8], state: &mut Csv, flaw: &mut Option<Flaw>) -> Option<usize> {
    for (at, byte) in bytes.iter().enumerate() {
        *state = match (*state, byte) {
            (Csv::Quoted, b'"') => Csv::QuoteInQuoted,
            (Csv::Quoted, _) | (Csv::QuoteInQuoted | Csv::FieldStart, b'"') => Csv::Quoted,
            (_, b'\n') => return Some(at),
            (_, b',') => Csv::FieldStart,
            (Csv::QuoteInQuoted, b'\r') => Csv::QuoteInQuoted,
            (Csv::QuoteInQuoted, _) => {
                *flaw = flaw.or(Some(Flaw::TextAfterQuote));
                Csv::Unquoted
            }
            (Csv::FieldStart | Csv::Unquoted, _) => Csv::Unquoted,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(terminator: Terminator, limit: usize, text: &[u8]) -> Vec<(u64, Vec<u8>, bool, Option<Flaw>)> {
        let mut whole = Vec::new();
        // However the bytes arrive, the entries are the same.
        for chunk in [text.len().max(1), 1, 3] {
            let mut all = Vec::new();
            let mut reader = EntryReader::new(io::BufReader::with_capacity(chunk, text), terminator, limit);
            while let Some(entry) = reader.next_entry().unwrap() {
                all.push((entry.line, reader.bytes().to_vec(), entry.terminated, entry.flaw));
            }
            assert!(whole.is_empty() || whole == all, "{chunk}: {whole:?} {all:?}");
            whole = all;
        }
        whole
    }

    #[test]
    fn lines_and_names_are_split_at_their_terminator() {
        let lines = entries(Terminator::Newline, 4, b"a\r\n\nlong line\nend");
        let expected = [
            (1, b"a\r".to_vec(), true, None),
            (2, Vec::new(), true, None),
            (3, b"long".to_vec(), true, Some(Flaw::TooLong)),
            (4, b"end".to_vec(), false, None),
        ];
        assert_eq!(lines, expected);
        let names = entries(Terminator::Nul, 9, b"a\nb\0\xff\0");
        assert_eq!(names, [(1, b"a\nb".to_vec(), true, None), (2, b"\xff".to_vec(), true, None)]);
        assert_eq!(entries(Terminator::Newline, 9, b""), []);
    }

    #[test]
    fn csv_records_end_at_newlines_outside_of_quotes() {
        let records = entries(Terminator::CsvRecord, 99, b"a,\"b\n\"\"c\"\r\nd,e\n\"x\"y,z\nf,\"g\nh\n");
        let expected = [
            (1, b"a,\"b\n\"\"c\"\r".to_vec(), true, None),
            (3, b"d,e".to_vec(), true, None),
            (4, b"\"x\"y,z".to_vec(), true, Some(Flaw::TextAfterQuote)),
            (5, b"f,\"g\nh\n".to_vec(), false, Some(Flaw::OpenQuote)),
        ];
        assert_eq!(records, expected);
    }

    #[test]
    fn utf16_is_refused_where_it_cannot_be_a_name() {
        let refused = |terminator, text: &[u8]| EntryReader::new(text, terminator, 99).refuse_utf16().is_err();
        assert!(refused(Terminator::Newline, b"\xff\xfea\0\n\0"));
        assert!(refused(Terminator::CsvRecord, b"\xfe\xff\x06\x27"));
        for text in [b"\xff\xfea\0.\0t\0\n\0".as_slice(), b"\xfe\xff\0a\0\n", b"a\0.\0t\0"] {
            assert!(refused(Terminator::Nul, text), "{text:?}");
        }
        for text in [b"a\0b\0".as_slice(), b".\0", b"./a\0", b"a\0.\0bc\0", b"\xff\xfe\0"] {
            assert!(!refused(Terminator::Nul, text), "{text:?}");
        }
        assert!(!refused(Terminator::Newline, b"\xff\xfea\n") && !refused(Terminator::Newline, b"a\n"));
    }
}
