//! The lines of a file's text, and the values of its document.

use std::ops::Range;

use toml_edit::{Item, Table, TableLike, Value};

/// The byte order mark at the start of the text, and the rest.
pub(super) fn split_mark(text: &str) -> (&str, &str) {
    const MARK: char = '\u{FEFF}';
    text.split_at(if text.starts_with(MARK) { MARK.len_utf8() } else { 0 })
}

pub(super) fn item_at<'a>(root: &'a Table, path: &[&str]) -> Option<&'a Item> {
    let (last, tables) = path.split_last()?;
    let mut table: &dyn TableLike = root;
    for name in tables {
        table = table.get(name)?.as_table_like()?;
    }
    table.get(last)
}

pub(super) fn value_text(value: &Value) -> String {
    value.to_string().trim().to_owned()
}

pub(super) fn replaced(text: &str, range: Range<usize>, with: &str) -> String {
    let before = text.get(..range.start).unwrap_or_default();
    let after = text.get(range.end..).unwrap_or_default();
    format!("{before}{with}{after}")
}

/// The text without the lines that the range is on.
pub(super) fn removed_lines(text: &str, range: Range<usize>) -> String {
    replaced(text, line_start(text, range.start)..end_of_line(text, range.end), "")
}

pub(super) fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
}

/// The byte after the end of the line that `at` is on.
pub(super) fn end_of_line(text: &str, at: usize) -> usize {
    text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |length| at + length + 1)
}

/// The end of the line above `at`; without one, that of the line below.
pub(super) fn line_end_at(text: &str, at: usize) -> &'static str {
    let above = text.get(..at).unwrap_or_default().rfind('\n');
    let newline = above.or_else(|| text.find('\n')).unwrap_or_default();
    if text.get(..newline).is_some_and(|line| line.ends_with('\r')) { "\r\n" } else { "\n" }
}
