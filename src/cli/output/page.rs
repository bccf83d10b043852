//! What a verb shows a person: lines, fields and tables, laid out for a terminal's width or, piped, never cut.

use comfy_table::{Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width};
use unicode_width::UnicodeWidthStr;

use super::escape::escape;

/// A column's heading and the side its cells stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    heading: &'static str,
    right: bool,
}

impl Column {
    /// Text.
    #[must_use]
    pub const fn left(heading: &'static str) -> Self {
        Self { heading, right: false }
    }

    /// Numbers.
    #[must_use]
    pub const fn right(heading: &'static str) -> Self {
        Self { heading, right: true }
    }
}

/// What a cell or line says beside its text; shown as colour where there is colour, so never the only carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Look at it.
    Warn,
    /// Act on it.
    Bad,
    /// Of less interest.
    Dim,
    /// A heading.
    Strong,
}

impl Tone {
    /// The terminal style of this tone.
    #[must_use]
    pub const fn style(self) -> anstyle::Style {
        use anstyle::{AnsiColor, Style};
        match self {
            Self::Plain => Style::new(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Warn => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Dim => Style::new().dimmed(),
            Self::Strong => Style::new().bold(),
        }
    }
}

/// One cell. Made from any text; escaped when it is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }

    /// A value that may be missing; a missing one is `-`.
    pub fn maybe(value: Option<impl ToString>) -> Self {
        Self::new(value.map_or_else(|| "-".to_owned(), |value| value.to_string()))
    }

    /// The same cell with a tone.
    #[must_use]
    pub const fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

/// How a page is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Columns of the terminal; none when piped: then lines are as long as they need to be.
    pub width: Option<u16>,
    /// Whether to write colour.
    pub color: bool,
}

/// What a verb shows a person, top to bottom.
#[derive(Debug, Clone, Default)]
pub struct Page {
    blocks: Vec<Block>,
}

#[derive(Debug, Clone)]
enum Block {
    Line(String, Tone),
    Spans(Vec<(String, Tone)>),
    Fields(Vec<(String, Cell)>),
    Table(Vec<Column>, Vec<Vec<Cell>>),
}

impl Page {
    /// A heading, with a blank line above it when something stands there.
    pub fn heading(&mut self, text: impl Into<String>) -> &mut Self {
        if !self.blocks.is_empty() {
            self.blocks.push(Block::Line(String::new(), Tone::Plain));
        }
        self.blocks.push(Block::Line(text.into(), Tone::Strong));
        self
    }

    /// A line of text.
    pub fn line(&mut self, text: impl Into<String>) -> &mut Self {
        self.toned(text, Tone::Plain)
    }

    /// A line of text with a tone.
    pub fn toned(&mut self, text: impl Into<String>, tone: Tone) -> &mut Self {
        self.blocks.push(Block::Line(text.into(), tone));
        self
    }

    /// A line whose parts have tones of their own.
    pub fn spans(&mut self, parts: Vec<(String, Tone)>) -> &mut Self {
        self.blocks.push(Block::Spans(parts));
        self
    }

    /// A blank line.
    pub fn blank(&mut self) -> &mut Self {
        self.line("")
    }

    /// `name: value` pairs, the values aligned. Pairs that follow each other make one block.
    pub fn field(&mut self, name: impl Into<String>, value: impl Into<Cell>) -> &mut Self {
        let pair = (name.into(), value.into());
        match self.blocks.last_mut() {
            Some(Block::Fields(pairs)) => pairs.push(pair),
            _ => self.blocks.push(Block::Fields(vec![pair])),
        }
        self
    }

    /// A table. One without rows shows its headings alone.
    pub fn table(&mut self, columns: &[Column], rows: Vec<Vec<Cell>>) -> &mut Self {
        self.blocks.push(Block::Table(columns.to_vec(), rows));
        self
    }

    /// The page as text, each line ended by a newline.
    #[must_use]
    pub fn render(&self, layout: Layout) -> String {
        let mut out = String::new();
        for block in &self.blocks {
            match block {
                Block::Line(text, tone) => push_line(&mut out, &paint(&escape(text), *tone, layout.color)),
                Block::Spans(parts) => {
                    let painted = parts.iter().map(|(text, tone)| paint(&escape(text), *tone, layout.color));
                    push_line(&mut out, &painted.collect::<String>());
                }
                Block::Fields(pairs) => push_fields(&mut out, pairs, layout),
                Block::Table(columns, rows) => {
                    let mut grid = Grid::new(columns);
                    out.push_str(&grid.render(rows, true, layout));
                }
            }
        }
        out
    }
}

/// Text in its tone's style, if there is colour.
#[must_use]
pub(super) fn paint(text: &str, tone: Tone, color: bool) -> String {
    if !color || tone == Tone::Plain || text.is_empty() {
        return text.to_owned();
    }
    let style = tone.style();
    format!("{style}{text}{style:#}")
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

fn push_fields(out: &mut String, pairs: &[(String, Cell)], layout: Layout) {
    let widest = pairs.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    for (name, value) in pairs {
        let gap = " ".repeat(widest - name.width() + 1);
        let text = paint(&escape(&value.text), value.tone, layout.color);
        push_line(out, format!("{}:{gap}{text}", escape(name)).trim_end());
    }
}

/// A table that may come in several parts: a later part keeps the widths of the earlier ones.
#[derive(Debug)]
pub(super) struct Grid {
    columns: Vec<Column>,
    widths: Vec<u16>,
}

impl Grid {
    pub(super) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), widths: vec![0; columns.len()] }
    }

    /// Lays out these rows, with the headings above them or not.
    pub(super) fn render(&mut self, rows: &[Vec<Cell>], headings: bool, layout: Layout) -> String {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        match layout.width {
            Some(width) => table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        if layout.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        if headings {
            table.set_header(self.columns.iter().map(|column| heading(*column, layout.color)).collect::<Vec<_>>());
        }
        for row in rows {
            table.add_row(
                row.iter().zip(&self.columns).map(|(cell, column)| laid_out(cell, *column)).collect::<Vec<_>>(),
            );
        }
        table.discover_columns();
        let last = self.columns.len().saturating_sub(1);
        let needed = table.column_max_content_widths();
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if index == last { 0 } else { 2 }));
            let widest = self.widths[index].max(needed.get(index).copied().unwrap_or(0));
            self.widths[index] = widest;
            if layout.width.is_none() {
                let padding = column.padding_width();
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(widest.saturating_add(padding))));
            }
        }
        let mut out = String::new();
        for line in table.lines() {
            push_line(&mut out, line.trim_end());
        }
        out
    }
}

fn heading(column: Column, color: bool) -> comfy_table::Cell {
    let cell = comfy_table::Cell::new(column.heading).set_alignment(alignment(column));
    if color { cell.add_attribute(Attribute::Bold) } else { cell }
}

const fn alignment(column: Column) -> CellAlignment {
    if column.right { CellAlignment::Right } else { CellAlignment::Left }
}

fn laid_out(cell: &Cell, column: Column) -> comfy_table::Cell {
    let text = if cell.text.is_empty() { "-" } else { cell.text.as_str() };
    let laid = comfy_table::Cell::new(escape(text)).set_alignment(alignment(column));
    match cell.tone {
        Tone::Plain => laid,
        Tone::Good => laid.fg(Color::DarkGreen),
        Tone::Warn => laid.fg(Color::DarkYellow),
        Tone::Bad => laid.fg(Color::DarkRed).add_attribute(Attribute::Bold),
        Tone::Dim => laid.add_attribute(Attribute::Dim),
        Tone::Strong => laid.add_attribute(Attribute::Bold),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 2] = [Column::left("PATH"), Column::right("SIZE")];
    const PIPED: Layout = Layout { width: None, color: false };

    fn page() -> Page {
        let mut page = Page::default();
        page.table(&COLUMNS, vec![vec![Cell::new("a\nb"), Cell::new("7 B")], vec![Cell::new("کتاب"), Cell::new("")]]);
        page
    }

    #[test]
    fn a_piped_table_is_aligned_plain_and_never_cut() {
        assert_eq!(page().render(PIPED), "PATH  SIZE\na\\nb   7 B\nکتاب     -\n");
        let long = "x".repeat(500);
        let mut page = Page::default();
        page.table(&COLUMNS, vec![vec![Cell::new(long.clone()), Cell::new("1")]]);
        assert!(page.render(PIPED).contains(&long));
    }

    #[test]
    fn on_a_terminal_a_table_fits_its_width() {
        let mut page = Page::default();
        page.table(&COLUMNS, vec![vec![Cell::new("word ".repeat(40)), Cell::new("1 B")]]);
        let text = page.render(Layout { width: Some(40), color: false });
        assert!(text.lines().all(|line| line.width() <= 40), "{text}");
    }

    #[test]
    fn colour_only_where_it_is_wanted() {
        let mut page = Page::default();
        page.toned("ready", Tone::Good).field("state", Cell::new("down").tone(Tone::Bad));
        page.table(&COLUMNS, vec![vec![Cell::new("a").tone(Tone::Warn), "1".into()]]);
        assert!(!page.render(PIPED).contains('\u{1b}'));
        crossterm::style::force_color_output(true);
        let colored = page.render(Layout { width: None, color: true });
        assert!(["ready", "down", "PATH", "a"].iter().all(|text| colored.contains(&format!("m{text}"))), "{colored:?}");
    }

    #[test]
    fn fields_are_aligned() {
        let mut page = Page::default();
        page.field("job", "42").field("discovered", "7");
        assert_eq!(page.render(PIPED), "job:        42\ndiscovered: 7\n");
    }
}
