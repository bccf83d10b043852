//! Inline tables, whose values share a line with others.

use std::ops::Range;

use toml_edit::{InlineTable, Item, Table, Value};

use super::lines::{end_of_line, item_at, line_start, replaced, value_text};

/// The innermost inline table of the path that has braces, with its depth in the path.
pub(super) fn inline_table<'a>(root: &'a Table, path: &[&str]) -> Option<(usize, &'a InlineTable)> {
    let tables =
        (1..path.len()).rev().map(|depth| (depth, item_at(root, &path[..depth]).and_then(Item::as_inline_table)));
    tables.filter_map(|(depth, table)| Some((depth, table.filter(|table| !table.is_dotted())?))).next()
}

/// The text with a value in an inline table.
pub(super) fn added_entry(text: &str, table: &InlineTable, path: &[&str], value: &Value) -> Option<String> {
    let entry = format!("{} = {}", path.join("."), value_text(value));
    match entries(table).last() {
        Some(last) => Some(replaced(text, last.end..last.end, &format!(", {entry}"))),
        None => Some(replaced(text, table.span()?, &format!("{{ {entry} }}"))),
    }
}

/// The places of the values of an inline table, in their order.
fn entries(table: &InlineTable) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (_, value) in table {
        match value {
            Value::InlineTable(dotted) if dotted.is_dotted() => found.extend(entries(dotted)),
            value => found.extend(value.span()),
        }
    }
    found.sort_by_key(|range| range.start);
    found
}

/// The text without a value of an inline table.
pub(super) fn without_entry(text: &str, table: &InlineTable, value: Range<usize>) -> Option<String> {
    let table_range = table.span()?;
    let entries = entries(table);
    let index = entries.iter().position(|entry| *entry == value)?;
    let start = line_start(text, value.start);
    let end = end_of_line(text, value.end);
    let after = text.get(value.end..end)?.trim_start();
    let after = after.strip_prefix(',').unwrap_or(after).trim_start();
    let is_alone = start > table_range.start
        && end < table_range.end
        && !text.get(start..value.start)?.contains([',', '{'])
        && (after.is_empty() || after.starts_with('#'));
    if is_alone {
        return Some(replaced(text, start..end, ""));
    }
    if let Some(previous) = index.checked_sub(1) {
        return Some(replaced(text, entries[previous].end..value.end, ""));
    }
    if entries.len() == 1 {
        return Some(replaced(text, table_range, "{}"));
    }
    let skip_spaces = |at: usize| text.get(at..).map(|rest| at + rest.len() - rest.trim_start().len());
    let comma = value.end + text.get(value.end..)?.find(',')?;
    Some(replaced(text, skip_spaces(table_range.start + 1)?..skip_spaces(comma + 1)?, ""))
}
