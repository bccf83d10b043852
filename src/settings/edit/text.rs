//! Edits of a configuration file's text. Everything else in it stays byte for byte: comments, order, blank lines, line ends.
//!
//! Values are found by their place in the text, and only these bytes are replaced, added or removed. Where a table is
//! written inline or by dotted keys, which share a line with others, the document is edited as a tree instead.

use std::ops::Range;

use toml_edit::{Document, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::super::error::Error;

/// The text with the value at `path` (its tables and its name, such as `["slo", "success"]`) set.
///
/// # Errors
/// `Invalid` when the text is no TOML, or a table of the path is a value.
pub fn set(text: &str, path: &[&str], value: &Value) -> Result<String, Error> {
    let document = parse(text)?;
    let spliced = match locate(document.as_table(), path) {
        Place::Value(range) => Some(replaced(text, range, value.to_string().trim())),
        Place::Missing => add_line(&document, text, path, value),
        Place::Shared => None,
        Place::Table => return Err(Error::invalid(format!("{} is a table in the file", path.join(".")))),
    };
    match spliced.filter(|edited| has_value(edited, path, value)) {
        Some(edited) => Ok(edited),
        None => set_in_tree(text, path, value),
    }
}

/// The text without the value at `path`, and without the tables that this empties. A table outside the profiles with comments
/// in it stays, because they belong to it.
///
/// # Errors
/// `Invalid` when the text is no TOML.
pub fn unset(text: &str, path: &[&str]) -> Result<String, Error> {
    let document = parse(text)?;
    let without = match locate(document.as_table(), path) {
        Place::Missing | Place::Table => return Ok(text.to_owned()),
        Place::Value(range) => removed_lines(text, range),
        Place::Shared => remove_in_tree(text, path)?,
    };
    let mut edited = without;
    for depth in (1..path.len()).rev() {
        match without_empty_table(&edited, &path[..depth])? {
            Some(shorter) => edited = shorter,
            None => break,
        }
    }
    Ok(edited)
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
    let end = line_end_of(text);
    if !edited.is_empty() && !edited.ends_with('\n') {
        edited.push_str(end);
    }
    if !edited.is_empty() {
        edited.push_str(end);
    }
    edited.push_str(&format!("[{}]{end}", path.join(".")));
    for (name, value) in values {
        edited.push_str(&format!("{name} = {}{end}", value.to_string().trim()));
    }
    edited
}

/// Where a value is.
enum Place {
    /// On lines of its own: the bytes of the value.
    Value(Range<usize>),
    /// In an inline table, which shares its line with others.
    Shared,
    Table,
    Missing,
}

fn parse(text: &str) -> Result<Document<&str>, Error> {
    Document::parse(text)
        .map_err(|error| Error::invalid(format!("the file is not TOML: {}", error.message().replace('\n', ", "))))
}

fn item_at<'a>(root: &'a Table, path: &[&str]) -> Option<&'a Item> {
    let (last, tables) = path.split_last()?;
    let mut table: &dyn TableLike = root;
    for name in tables {
        table = table.get(name)?.as_table_like()?;
    }
    table.get(last)
}

fn locate(root: &Table, path: &[&str]) -> Place {
    let inline = (1..path.len()).any(|depth| item_at(root, &path[..depth]).is_some_and(Item::is_inline_table));
    match item_at(root, path) {
        None => Place::Missing,
        Some(_) if inline => Place::Shared,
        Some(Item::Value(value)) => value.span().map_or(Place::Shared, Place::Value),
        Some(_) => Place::Table,
    }
}

fn has_value(text: &str, path: &[&str], value: &Value) -> bool {
    let found = parse(text).ok().and_then(|document| {
        item_at(document.as_table(), path).and_then(Item::as_value).map(|found| found.to_string().trim().to_owned())
    });
    found.as_deref() == Some(value.to_string().trim())
}

fn replaced(text: &str, range: Range<usize>, with: &str) -> String {
    let before = text.get(..range.start).unwrap_or_default();
    let after = text.get(range.end..).unwrap_or_default();
    format!("{before}{with}{after}")
}

/// The text without the lines that the range is on.
fn removed_lines(text: &str, range: Range<usize>) -> String {
    let start = text.get(..range.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    replaced(text, start..end_of_line(text, range.end), "")
}

/// The byte after the end of the line that `at` is on.
fn end_of_line(text: &str, at: usize) -> usize {
    text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |length| at + length + 1)
}

fn line_end_of(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// Adds a line to the table of the path, or the table at the end of the text; `None` where the text has a form in which that is
/// not possible.
fn add_line(document: &Document<&str>, text: &str, path: &[&str], value: &Value) -> Option<String> {
    let (name, tables) = path.split_last()?;
    let end = line_end_of(text);
    let line = format!("{name} = {}{end}", value.to_string().trim());
    if tables.is_empty() {
        let at = end_of_values(document.as_table(), text).unwrap_or_else(|| before_first_table(text));
        let line = if at == 0 || text.get(..at).is_some_and(|before| before.ends_with('\n')) {
            line
        } else {
            format!("{end}{line}")
        };
        let is_before_table =
            text.get(at..).is_some_and(|rest| rest.trim_start_matches(['\r', '\n']).len() == rest.len());
        let gap = if is_before_table && at < text.len() && end_of_values(document.as_table(), text).is_none() {
            end
        } else {
            ""
        };
        return Some(replaced(text, at..at, &format!("{line}{gap}")));
    }
    match item_at(document.as_table(), tables) {
        Some(Item::Table(table)) if !table.is_implicit() && !table.is_dotted() => {
            let header_end = end_of_line(text, table.span()?.end.saturating_sub(1));
            let at = end_of_values(table, text).unwrap_or(header_end).max(header_end);
            let is_new_line = text.get(..at).is_some_and(|before| before.ends_with('\n'));
            Some(replaced(text, at..at, &if is_new_line { line } else { format!("{end}{line}") }))
        }
        Some(Item::Table(table)) if table.is_dotted() => None,
        Some(Item::Table(_)) | None => {
            let values = [(*name, value.clone())];
            Some(append_table(text, tables, &values))
        }
        Some(_) => None,
    }
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
            let start = text.get(..span.start).and_then(|above| above.rfind('\n')).map_or(0, |at| at + 1);
            let without = removed_lines(text, start..span.end.saturating_sub(1).max(start));
            Ok(Some(without_double_blank(&without, start)))
        }
        Item::Value(Value::InlineTable(table)) if table.is_empty() => remove_in_tree(text, path).map(Some),
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

fn set_in_tree(text: &str, path: &[&str], value: &Value) -> Result<String, Error> {
    let mut document = parse(text)?.into_mut();
    let Some((name, tables)) = path.split_last() else { return Ok(text.to_owned()) };
    let mut table: &mut dyn TableLike = document.as_table_mut();
    let mut is_inline = false;
    for part in tables {
        let new =
            if is_inline { Item::Value(Value::InlineTable(InlineTable::new())) } else { Item::Table(Table::new()) };
        let item = table.entry(part).or_insert(new);
        is_inline |= item.is_inline_table();
        let what = format!("{part} is a value in the file, not a table");
        table = item.as_table_like_mut().ok_or_else(|| Error::invalid(what))?;
    }
    let mut value = value.clone();
    if let Some(Item::Value(old)) = table.get(name) {
        *value.decor_mut() = old.decor().clone();
    } else if let (true, Some((_, Item::Value(last)))) = (is_inline, table.iter_mut().last()) {
        // The space before the closing brace.
        if let Some(suffix) = last.decor().suffix().cloned() {
            value.decor_mut().set_suffix(suffix);
        }
        last.decor_mut().set_suffix("");
    }
    table.insert(name, Item::Value(value));
    Ok(printed(&document, text))
}

fn remove_in_tree(text: &str, path: &[&str]) -> Result<String, Error> {
    let mut document = parse(text)?.into_mut();
    let Some((name, tables)) = path.split_last() else { return Ok(text.to_owned()) };
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for part in tables {
        match table.get_mut(part).and_then(Item::as_table_like_mut) {
            Some(below) => table = below,
            None => return Ok(text.to_owned()),
        }
    }
    table.remove(name);
    Ok(printed(&document, text))
}

/// The document with the line ends of the text it was read from.
fn printed(document: &DocumentMut, text: &str) -> String {
    let printed = document.to_string();
    if line_end_of(text) == "\r\n" { printed.replace("\r\n", "\n").replace('\n', "\r\n") } else { printed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_to(text: &str, path: &[&str], value: impl Into<Value>) -> String {
        set(text, path, &value.into()).unwrap()
    }

    #[test]
    fn the_last_value_of_an_indented_table_takes_its_header_with_it() {
        let text = "[profile.p]\nkind = \"embedded\"\n   [profile.p.slo]\n# é ارزش\nsuccess = 0.9\n";
        let edited = unset(text, &["profile", "p", "slo", "success"]).unwrap();
        assert!(!edited.contains("slo") && edited.starts_with("[profile.p]\nkind = \"embedded\"\n"), "{edited}");
    }

    #[test]
    fn a_value_is_replaced_and_nothing_else_changes() {
        let text = "# ours\n[slo]  # levels\nlatency_seconds=60 # since INC-5\n\n# next\nsuccess = 0.9\n";
        let expected = text.replace("=60", "=30");
        assert_eq!(set_to(text, &["slo", "latency_seconds"], 30), expected);
        let crlf = text.replace('\n', "\r\n");
        assert_eq!(set_to(&crlf, &["slo", "latency_seconds"], 30), expected.replace('\n', "\r\n"));
        assert_eq!(set_to("a.b = 1\n", &["a", "b"], 2), "a.b = 2\n");
        assert_eq!(set_to("a = { b = 1, c = 2 } # x\n", &["a", "b"], 3), "a = { b = 3, c = 2 } # x\n");
        assert_eq!(set_to("a.b = [\n 1, # x\n 2,\n]\nc = 1\n", &["a", "b"], 2), "a.b = 2\nc = 1\n");
    }

    #[test]
    fn a_new_value_is_a_line_of_its_table() {
        let text = "[a]\nx = 1 # one\n\n# of b\n[b]\n# y = 2\n\n[c]\n";
        assert_eq!(set_to(text, &["a", "z"], 5), text.replace("# one\n", "# one\nz = 5\n"));
        assert_eq!(set_to(text, &["b", "y"], 5), text.replace("[b]\n", "[b]\ny = 5\n"));
        assert_eq!(set_to("[a]", &["a", "x"], 5), "[a]\nx = 5\n");
        assert_eq!(set_to("[a]\nx = 1", &["a", "y"], 5), "[a]\nx = 1\ny = 5\n");
        assert_eq!(set_to("[a]\nx = 1\n", &["p", "q", "y"], 5), "[a]\nx = 1\n\n[p.q]\ny = 5\n");
        assert_eq!(set_to("", &["a", "x"], "v"), "[a]\nx = \"v\"\n");
        assert_eq!(set_to("[a.b]\nx = 1\n", &["a", "y"], 5), "[a.b]\nx = 1\n\n[a]\ny = 5\n");
        assert_eq!(set_to("[a]\nb.x = 1\n", &["a", "b", "y"], 5), "[a]\nb.x = 1\nb.y = 5\n");
        assert_eq!(set_to("a = { b = 1 }\n", &["a", "c"], 2), "a = { b = 1, c = 2 }\n");
    }

    #[test]
    fn a_value_outside_tables_precedes_the_first_table_and_its_comments() {
        assert_eq!(set_to("# head\n\n# of a\n[a]\n", &["d"], "x"), "# head\n\nd = \"x\"\n\n# of a\n[a]\n");
        assert_eq!(set_to("[a]\n", &["d"], "x"), "d = \"x\"\n\n[a]\n");
        assert_eq!(set_to("e = 1\n[a]\n", &["d"], "x"), "e = 1\nd = \"x\"\n[a]\n");
        assert_eq!(set_to("# only", &["d"], "x"), "# only\nd = \"x\"\n");
    }

    #[test]
    fn an_unset_value_takes_its_line_and_emptied_tables_along_but_no_comments() {
        let unset = |text: &str, path: &[&str]| unset(text, path).unwrap();
        assert_eq!(unset("[a]\n# x says\nx = 1 # one\ny = 2\n", &["a", "x"]), "[a]\n# x says\ny = 2\n");
        assert_eq!(unset("[a]\nx = 1\n\n[b]\ny = 1\n", &["a", "x"]), "[b]\ny = 1\n");
        assert_eq!(unset("[b]\ny = 1\n\n[a]\nx = 1\n", &["a", "x"]), "[b]\ny = 1\n");
        assert_eq!(unset("[b]\n\n[a]\nx = [\n 1,\n]\n\n[c]\n", &["a", "x"]), "[b]\n\n[c]\n");
        // Its comments belong to the table.
        assert_eq!(unset("[a]\n# x = 5\nx = 1\n[b]\n", &["a", "x"]), "[a]\n# x = 5\n[b]\n");
        // A server's table without keys would still mean that the profile has the server.
        let profile = "[profile.p]\nkind = \"cluster\"\n[profile.p.consul]\n# why\nurl = \"http://h\"\n";
        assert_eq!(unset(profile, &["profile", "p", "consul", "url"]), "[profile.p]\nkind = \"cluster\"\n# why\n");
        assert_eq!(unset("[p.q.r]\nx = 1\n", &["p", "q", "r", "x"]), "");
        assert_eq!(unset("a = { b = 1, c = 2 }\n", &["a", "b"]), "a = { c = 2 }\n");
        assert_eq!(unset("x = 1\na = { b = 1 }\n", &["a", "b"]), "x = 1\n");
        assert_eq!(unset("[a]\ny = 1\n", &["a", "x"]), "[a]\ny = 1\n");
    }

    #[test]
    fn random_edits_keep_every_other_value_and_comment() {
        let seed = 0x5e77_1295;
        let mut rng = fastrand::Rng::with_seed(seed);
        let names = ["a", "b", "c"];
        let mut text = "# head\n\n[a]\n# of a\nx = 1 # tail\n\n[b.c]\ny = 2\n".to_owned();
        let mut expected = std::collections::BTreeMap::from([("a.x".to_owned(), 1), ("b.c.y".to_owned(), 2)]);
        for step in 0..500 {
            // Tables have one letter or two, values the third: no value is ever a table.
            let table = [names[rng.usize(..3)], names[rng.usize(..3)]];
            let value = ["x", "y"][rng.usize(..2)];
            let path: Vec<&str> = table[..rng.usize(1..3)].iter().copied().chain([value]).collect();
            if rng.bool() {
                text = set(&text, &path, &Value::from(step)).unwrap();
                expected.insert(path.join("."), step);
            } else {
                text = unset(&text, &path).unwrap();
                expected.remove(&path.join("."));
            }
            let found: DocumentMut = text.parse().unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
            for (path, value) in &expected {
                let path: Vec<&str> = path.split('.').collect();
                let item = item_at(found.as_table(), &path).and_then(Item::as_integer);
                assert_eq!(item, Some(*value), "seed {seed}, step {step}: {path:?}\n{text}");
            }
            assert!(text.contains("# head") && text.contains("# of a"), "seed {seed}, step {step}\n{text}");
        }
    }
}
