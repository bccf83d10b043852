//! Edits of a configuration file's text. Everything else in it stays byte for byte: comments, order, blank lines, line ends,
//! a byte order mark.
//!
//! Values are found by their place in the text, and only these bytes are replaced, added or removed.

use toml_edit::{Document, Item, Table, TableLike, Value};

use super::super::error::Error;
use super::inline::{added_entry, inline_table, without_entry};
use super::lines::{end_of_line, item_at, line_end_at, line_start, removed_lines, replaced, split_mark, value_text};

/// The text with the value at `path` (its tables and its name, such as `["slo", "success"]`) set.
///
/// # Errors
/// `Invalid` when the text is no TOML, or a table of the path is a value.
pub fn set(text: &str, path: &[&str], value: &Value) -> Result<String, Error> {
    let (mark, text) = split_mark(text);
    let document = parse(text)?;
    let edited = match item_at(document.as_table(), path) {
        None => add(document.as_table(), text, path, value)?,
        Some(Item::Value(old)) if !old.is_inline_table() => {
            old.span().map(|range| replaced(text, range, &value_text(value)))
        }
        Some(_) => return Err(Error::invalid(format!("{} is a table in the file", path.join(".")))),
    };
    let edited = edited.filter(|edited| has_value(edited, path, value)).ok_or_else(|| not_editable(path))?;
    Ok(format!("{mark}{edited}"))
}

/// The text without the value at `path`, and without the tables that this empties. A table outside the profiles with comments
/// in it stays, because they belong to it.
///
/// # Errors
/// `Invalid` when the text is no TOML.
pub fn unset(text: &str, path: &[&str]) -> Result<String, Error> {
    let (mark, bare) = split_mark(text);
    if !matches!(item_at(parse(bare)?.as_table(), path), Some(Item::Value(value)) if !value.is_inline_table()) {
        return Ok(text.to_owned());
    }
    let mut edited = without_value(bare, path)?;
    for depth in (1..path.len()).rev() {
        match without_empty_table(&edited, &path[..depth])? {
            Some(shorter) => edited = shorter,
            None => break,
        }
    }
    Ok(format!("{mark}{edited}"))
}

/// The value at `path`; `None` if it is not set.
///
/// # Errors
/// `Invalid` when the text is no TOML.
pub fn get(text: &str, path: &[&str]) -> Result<Option<Value>, Error> {
    let document = parse(text)?;
    Ok(item_at(document.as_table(), path).and_then(Item::as_value).cloned())
}

/// The line of the value at `path`, counted from 1; `None` if it is not set.
#[must_use]
pub fn line_of(text: &str, path: &[&str]) -> Option<usize> {
    let document = parse(text).ok()?;
    let start = item_at(document.as_table(), path)?.span()?.start;
    Some(text.get(..start)?.matches('\n').count() + 1)
}

/// The text with a table added at its end: a blank line, the header, a line for each value.
#[must_use]
pub fn append_table(text: &str, path: &[&str], values: &[(&str, Value)]) -> String {
    let mut edited = text.to_owned();
    let end = line_end_at(text, text.len());
    let is_empty = split_mark(text).1.is_empty();
    if !is_empty && !edited.ends_with('\n') {
        edited.push_str(end);
    }
    if !is_empty {
        edited.push_str(end);
    }
    edited.push_str(&format!("[{}]{end}", path.join(".")));
    for (name, value) in values {
        edited.push_str(&format!("{name} = {}{end}", value_text(value)));
    }
    edited
}

fn parse(text: &str) -> Result<Document<&str>, Error> {
    Document::parse(text)
        .map_err(|error| Error::invalid(format!("the file is not TOML: {}", error.message().replace('\n', ", "))))
}

fn not_editable(path: &[&str]) -> Error {
    Error::invalid(format!("{} is written in a form that cannot be edited here", path.join(".")))
        .hint("change the file in an editor")
}

fn has_value(text: &str, path: &[&str], value: &Value) -> bool {
    get(text, path).is_ok_and(|found| found.is_some_and(|found| value_text(&found) == value_text(value)))
}

/// The text with a value that it does not have; `None` where the text has a form in which that is not possible.
fn add(root: &Table, text: &str, path: &[&str], value: &Value) -> Result<Option<String>, Error> {
    let Some((name, tables)) = path.split_last() else { return Ok(None) };
    let known = (1..=tables.len()).take_while(|depth| item_at(root, &path[..*depth]).is_some()).count();
    if let Some((depth, table)) = inline_table(root, &path[..=known]) {
        return Ok(added_entry(text, table, &path[depth..], value));
    }
    let Some(part) = known.checked_sub(1).map(|last| path[last]) else {
        let values = [(*name, value.clone())];
        let is_top_level = tables.is_empty();
        return Ok(Some(if is_top_level {
            add_top_level(root, text, name, value)
        } else {
            append_table(text, tables, &values)
        }));
    };
    let Some(Item::Table(table)) = item_at(root, &path[..known]) else {
        return Err(Error::invalid(format!("{part} is a value in the file, not a table")));
    };
    if table.is_dotted() {
        let is_dotted =
            |depth: &usize| item_at(root, &path[..*depth]).and_then(Item::as_table).is_some_and(Table::is_dotted);
        let header = (1..known).rev().find(|depth| !is_dotted(depth)).unwrap_or(0);
        return Ok(end_of_values(table, text).map(|at| added_line(text, at, &path[header..], value)));
    }
    if known < tables.len() || table.is_implicit() {
        return Ok(Some(append_table(text, tables, &[(name, value.clone())])));
    }
    let header_end = table.span().map(|span| end_of_line(text, span.end.saturating_sub(1)));
    Ok(header_end.map(|header_end| {
        let at = end_of_values(table, text).unwrap_or(header_end).max(header_end);
        added_line(text, at, &[name], value)
    }))
}

/// The text with a line for a value at `at`, the start of a line or the end of the text.
fn added_line(text: &str, at: usize, path: &[&str], value: &Value) -> String {
    let end = line_end_at(text, at);
    let before = if at == 0 || text.get(..at).is_some_and(|before| before.ends_with('\n')) { "" } else { end };
    replaced(text, at..at, &format!("{before}{} = {}{end}", path.join("."), value_text(value)))
}

/// The text with a value outside of all tables.
fn add_top_level(root: &Table, text: &str, name: &str, value: &Value) -> String {
    if let Some(at) = end_of_values(root, text) {
        return added_line(text, at, &[name], value);
    }
    let at = before_first_table(text);
    let needs_gap = text.get(at..).is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['\r', '\n']));
    let gap = if needs_gap { line_end_at(text, at) } else { "" };
    let with_gap = replaced(text, at..at, gap);
    added_line(&with_gap, at, &[name], value)
}

/// The text without a value that it has.
fn without_value(text: &str, path: &[&str]) -> Result<String, Error> {
    let document = parse(text)?;
    let root = document.as_table();
    let edited = item_at(root, path).and_then(Item::span).and_then(|range| match inline_table(root, path) {
        Some((_, table)) => without_entry(text, table, range),
        None => Some(removed_lines(text, range)),
    });
    let is_without = |edited: &String| parse(edited).is_ok_and(|left| item_at(left.as_table(), path).is_none());
    edited.filter(is_without).ok_or_else(|| not_editable(path))
}

/// The end of the line of a table's last value; `None` if it has no values of its own.
fn end_of_values(table: &Table, text: &str) -> Option<usize> {
    let mut last = None;
    for (_, item) in table {
        let end = match item {
            Item::Value(value) => value.span().map(|span| span.end),
            Item::Table(dotted) if dotted.is_dotted() => end_of_values(dotted, text).map(|end| end.saturating_sub(1)),
            _ => None,
        };
        last = last.max(end.map(|end| end_of_line(text, end)));
    }
    last
}

/// The place above the first table and the comments directly above it; the end of a text without tables.
fn before_first_table(text: &str) -> usize {
    let mut at = 0;
    let mut comments = None;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            return comments.unwrap_or(at);
        }
        comments = if trimmed.starts_with('#') { comments.or(Some(at)) } else { None };
        at += line.len();
    }
    at
}

/// The text without the header of the table, if the table is empty; `None` if it is not, or has no header.
fn without_empty_table(text: &str, path: &[&str]) -> Result<Option<String>, Error> {
    let document = parse(text)?;
    let Some(item) = item_at(document.as_table(), path) else { return Ok(Some(text.to_owned())) };
    let is_empty = item.as_table_like().is_some_and(TableLike::is_empty);
    match item {
        Item::Table(table) if is_empty && !table.is_implicit() && !table.is_dotted() => {
            let Some(span) = table.span() else { return Ok(None) };
            let body = end_of_line(text, span.end.saturating_sub(1));
            let is_general = path.first() != Some(&"profile");
            if is_general && has_comments(text.get(body..).unwrap_or_default()) {
                return Ok(None);
            }
            // The header may be indented; whole lines are removed.
            let start = line_start(text, span.start);
            let without = removed_lines(text, start..span.end.saturating_sub(1).max(start));
            Ok(Some(without_double_blank(&without, start)))
        }
        Item::Value(Value::InlineTable(table)) if table.is_empty() => without_value(text, path).map(Some),
        _ => Ok(None),
    }
}

/// Whether the body of a table, which begins here, has a comment before the next header.
fn has_comments(body: &str) -> bool {
    body.lines().map(str::trim).take_while(|line| !line.starts_with('[')).any(|line| line.starts_with('#'))
}

/// Removes one of two blank lines that a removed header leaves behind at `at`.
fn without_double_blank(text: &str, at: usize) -> String {
    let (before, after) = text.split_at(at.min(text.len()));
    let blank_above = before.is_empty() || before.ends_with("\n\n") || before.ends_with("\n\r\n");
    let below = after.strip_prefix("\r\n").or_else(|| after.strip_prefix('\n'));
    match below {
        Some(rest) if blank_above => format!("{before}{rest}"),
        // A blank line at the end of the file.
        _ if after.is_empty() && blank_above => {
            let kept = before.strip_suffix("\r\n").or_else(|| before.strip_suffix('\n')).unwrap_or(before);
            kept.to_owned()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
