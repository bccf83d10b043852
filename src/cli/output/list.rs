//! Lists of any length, printed item by item in bounded memory.

use std::io::{Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use serde::Serialize;
use tempfile::SpooledTempFile;

use super::table::Grid;
use super::{Cell, Column, Format, Output, SCHEMA_VERSION, escape, format_failure, ignore_closed_pipe, yaml};
use crate::cli::failure::{Failure, Result};

/// An item of a list: a row of the table, an element of the document.
pub trait ListItem: Serialize {
    /// Columns of the table.
    const COLUMNS: &'static [Column];

    /// Cells of the row, one for each column.
    fn cells(&self) -> Vec<Cell>;

    /// The columns that `-o wide` adds.
    const WIDE_COLUMNS: &'static [Column] = &[];

    /// Cells of [`ListItem::WIDE_COLUMNS`].
    fn wide_cells(&self) -> Vec<Cell> {
        Vec::new()
    }

    /// The id that `-o name` prints.
    fn name(&self) -> String;

    /// The bytes of that id where stdout is no terminal, if they are not those of its text: a path's own.
    fn name_bytes(&self) -> Vec<u8> {
        self.name().into_bytes()
    }
}

/// Rows that are laid out together; the first group sets the column widths.
const TABLE_ROWS: usize = 1000;
/// A JSON or YAML document is printed whole or not at all, so it is collected first: in memory up to this size, then in
/// a file.
const SPOOL_BYTES: usize = 4 * 1024 * 1024;
/// Longest time that an item of a slow list is held back before the next one.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// A list being printed. Push items, then [`List::finish`].
#[must_use = "a list that is not finished prints nothing in some formats"]
pub struct List<'a, T: ListItem> {
    output: &'a Output,
    field: &'static str,
    grid: Grid,
    rows: Vec<Vec<Cell>>,
    lines: Vec<u8>,
    flushed_at: Instant,
    headings_printed: bool,
    count: u64,
    spool: SpooledTempFile,
    items: PhantomData<fn(&T)>,
}

impl<'a, T: ListItem> List<'a, T> {
    pub(super) fn new(output: &'a Output, field: &'static str) -> Self {
        let wide = output.options().format == Format::Wide;
        let columns: Vec<Column> = T::COLUMNS.iter().chain(if wide { T::WIDE_COLUMNS } else { &[] }).copied().collect();
        Self {
            output,
            field,
            grid: Grid::new(&columns),
            rows: Vec::new(),
            lines: Vec::new(),
            flushed_at: Instant::now(),
            headings_printed: false,
            count: 0,
            spool: SpooledTempFile::new(SPOOL_BYTES),
            items: PhantomData,
        }
    }

    /// Number of items pushed.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Prints one item, now or with the next ones.
    ///
    /// # Errors
    /// [`Failure::closed_pipe`], or `Unexpected` when stdout or the temporary file cannot be written.
    pub fn push(&mut self, item: &T) -> Result<()> {
        match self.output.options().format {
            Format::Table => self.rows.push(item.cells()),
            Format::Wide => self.rows.push(item.cells().into_iter().chain(item.wide_cells()).collect()),
            Format::Name => {
                let name = if self.output.options().stdout.terminal {
                    escape(&item.name()).into_owned().into_bytes()
                } else {
                    item.name_bytes()
                };
                self.lines.extend(name);
                self.lines.push(self.output.name_end());
            }
            Format::Jsonl => {
                self.lines.extend(serde_json::to_vec(item).map_err(format_failure)?);
                self.lines.push(b'\n');
            }
            Format::Json => self.spool_json(item)?,
            Format::Yaml => self.spool_yaml(item)?,
        }
        self.count += 1;
        if self.rows.len() >= TABLE_ROWS || self.lines.len() >= 64 * 1024 || self.flushed_at.elapsed() >= FLUSH_INTERVAL
        {
            self.flush()?;
        }
        Ok(())
    }

    /// Prints the items pushed so far, where the format allows it: for lists that wait for more.
    ///
    /// # Errors
    /// As [`List::push`].
    pub fn flush(&mut self) -> Result<()> {
        self.flushed_at = Instant::now();
        if !self.rows.is_empty() {
            let rows = std::mem::take(&mut self.rows);
            let text =
                self.grid.render(&rows, !std::mem::replace(&mut self.headings_printed, true), self.output.layout());
            self.output.raw(text.as_bytes())?;
        }
        if !self.lines.is_empty() {
            self.output.raw(&std::mem::take(&mut self.lines))?;
        }
        Ok(())
    }

    /// Ends the list. The fields of `trailer` (a cursor, totals) follow the list in a JSON or YAML document.
    ///
    /// # Errors
    /// `Unexpected` when stdout or the temporary file cannot be written. A closed pipe is no error.
    pub fn finish_with(mut self, trailer: &impl Serialize) -> Result<()> {
        match self.output.options().format {
            Format::Json => {
                let (head, tail) = self.json_document(trailer)?;
                ignore_closed_pipe(self.print_spool(&head, &tail))
            }
            Format::Yaml => {
                let (head, tail) = self.yaml_document(trailer)?;
                ignore_closed_pipe(self.print_spool(&head, &tail))
            }
            Format::Table | Format::Wide if self.count == 0 => {
                let headings = self.grid.render(&[], true, self.output.layout());
                ignore_closed_pipe(self.output.raw(headings.as_bytes()))
            }
            Format::Table | Format::Wide | Format::Jsonl | Format::Name => ignore_closed_pipe(self.flush()),
        }
    }

    /// Ends the list without a trailer.
    ///
    /// # Errors
    /// As [`List::finish_with`].
    pub fn finish(self) -> Result<()> {
        self.finish_with(&serde_json::Map::new())
    }

    fn spool_json(&mut self, item: &T) -> Result<()> {
        let separator = if self.count == 0 { "\n    " } else { ",\n    " };
        let json = serde_json::to_string(item).map_err(format_failure)?;
        self.spool.write_all(format!("{separator}{json}").as_bytes()).map_err(spool_failure)
    }

    fn spool_yaml(&mut self, item: &T) -> Result<()> {
        let text = yaml(&[item])?;
        self.spool.write_all(text.as_bytes()).map_err(spool_failure)
    }

    /// The text before and after the items of a JSON document.
    fn json_document(&self, trailer: &impl Serialize) -> Result<(String, String)> {
        let mut head = format!("{{\n  \"schema_version\": {SCHEMA_VERSION}");
        if let Some(target) = self.output.target() {
            head.push_str(&format!(",\n  \"target\": {}", serde_json::to_string(target).map_err(format_failure)?));
        }
        head.push_str(&format!(",\n  \"{}\": [", self.field));
        let mut tail = String::from(if self.count == 0 { "]" } else { "\n  ]" });
        for (name, value) in fields(trailer)? {
            tail.push_str(&format!(",\n  {}: {value}", serde_json::Value::String(name)));
        }
        tail.push_str("\n}\n");
        Ok((head, tail))
    }

    /// The text before and after the items of a YAML document.
    fn yaml_document(&self, trailer: &impl Serialize) -> Result<(String, String)> {
        let mut head = serde_json::Map::new();
        head.insert("schema_version".to_owned(), SCHEMA_VERSION.into());
        if let Some(target) = self.output.target() {
            head.insert("target".to_owned(), serde_json::to_value(target).map_err(format_failure)?);
        }
        let trailer = fields(trailer)?;
        let tail = if trailer.is_empty() { String::new() } else { yaml(&trailer)? };
        let list = if self.count == 0 { format!("{}: []\n", self.field) } else { format!("{}:\n", self.field) };
        Ok((yaml(&head)? + &list, tail))
    }

    /// Prints the collected items between `head` and `tail`.
    fn print_spool(&mut self, head: &str, tail: &str) -> Result<()> {
        self.output.raw(head.as_bytes())?;
        self.spool.seek(SeekFrom::Start(0)).map_err(spool_failure)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = self.spool.read(&mut buffer).map_err(spool_failure)?;
            if read == 0 {
                break;
            }
            self.output.raw(&buffer[..read])?;
        }
        self.output.raw(tail.as_bytes())
    }
}

fn fields(trailer: &impl Serialize) -> Result<serde_json::Map<String, serde_json::Value>> {
    match serde_json::to_value(trailer).map_err(format_failure)? {
        serde_json::Value::Object(fields) => Ok(fields),
        serde_json::Value::Null => Ok(serde_json::Map::new()),
        other => Err(Failure::unexpected(format!("the trailer of a list is not an object: {other}"))),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn spool_failure(error: std::io::Error) -> Failure {
    Failure::unexpected("cannot collect the results in a temporary file")
        .because(&error)
        .hint("use `-o jsonl`, which prints each result as it comes, or set TMPDIR to a folder with room")
}
