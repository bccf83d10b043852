//! Text for people: lines, fields and tables, laid out for the width of a terminal or, when piped, never cut.

use comfy_table::{Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width};
use unicode_width::UnicodeWidthStr;

use super::escape::escape;

/// Heading of a column and alignment of its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    heading: &'static str,
    right: bool,
}

impl Column {
    /// A column of text.
    #[must_use]
    pub const fn left(heading: &'static str) -> Self {
        Self { heading, right: false }
    }

    /// A column of numbers.
    #[must_use]
    pub const fn right(heading: &'static str) -> Self {
        Self { heading, right: true }
    }
}

/// Emphasis of a cell or line. Shown as colour, which may be off, so the text must say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Ordinary text.
    #[default]
    Plain,
    /// A good state.
    Good,
    /// A state that needs attention.
    Warn,
    /// A state that needs action.
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

/// A cell of a table or the value of a field. Its text is escaped when it is laid out.
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

    /// A cell with a value that may be missing, which shows as `-`.
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

/// Width and colour of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Columns of the terminal; `None` when piped: lines are then as long as they need to be.
    pub width: Option<u16>,
    /// Whether to use colour.
    pub color: bool,
}

/// Text for people, top to bottom.
#[derive(Debug, Clone, Default)]
pub struct TextPage {
    blocks: Vec<Block>,
}

#[derive(Debug, Clone)]
enum Block {
    Line(String, Tone),
    Spans(Vec<(String, Tone)>),
    Fields(Vec<(String, Cell)>),
    Table(Vec<Column>, Vec<Vec<Cell>>),
}

impl TextPage {
    /// Adds a heading, with a blank line above it unless it is the first block.
    pub fn heading(&mut self, text: impl Into<String>) -> &mut Self {
        if !self.blocks.is_empty() {
            self.blocks.push(Block::Line(String::new(), Tone::Plain));
        }
        self.blocks.push(Block::Line(text.into(), Tone::Strong));
        self
    }

    /// Adds a line of text.
    pub fn line(&mut self, text: impl Into<String>) -> &mut Self {
        self.toned(text, Tone::Plain)
    }

    /// Adds a line of text with a tone.
    pub fn toned(&mut self, text: impl Into<String>, tone: Tone) -> &mut Self {
        self.blocks.push(Block::Line(text.into(), tone));
        self
    }

    /// Adds a line whose parts have tones of their own.
    pub fn spans(&mut self, parts: Vec<(String, Tone)>) -> &mut Self {
        self.blocks.push(Block::Spans(parts));
        self
    }

    /// Adds a blank line.
    pub fn blank(&mut self) -> &mut Self {
        self.line("")
    }

    /// Adds a `name: value` pair. The values of consecutive pairs are aligned.
    pub fn field(&mut self, name: impl Into<String>, value: impl Into<Cell>) -> &mut Self {
        let pair = (name.into(), value.into());
        match self.blocks.last_mut() {
            Some(Block::Fields(pairs)) => pairs.push(pair),
            _ => self.blocks.push(Block::Fields(vec![pair])),
        }
        self
    }

    /// Adds a table. Without rows, it shows only its headings.
    pub fn table(&mut self, columns: &[Column], rows: Vec<Vec<Cell>>) -> &mut Self {
        self.blocks.push(Block::Table(columns.to_vec(), rows));
        self
    }

    /// The page as text; each line ends with a newline.
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

/// The text in the style of its tone, if `color` is on.
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

/// A table that may be printed in several parts: a later part keeps the column widths of the earlier ones.
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
            table
                .add_row(row.iter().zip(&self.columns).map(|(cell, column)| styled(cell, *column)).collect::<Vec<_>>());
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

fn styled(cell: &Cell, column: Column) -> comfy_table::Cell {
    let text = if cell.text.is_empty() { "-" } else { cell.text.as_str() };
    let styled = comfy_table::Cell::new(escape(text)).set_alignment(alignment(column));
    match cell.tone {
        Tone::Plain => styled,
        Tone::Good => styled.fg(Color::DarkGreen),
        Tone::Warn => styled.fg(Color::DarkYellow),
        Tone::Bad => styled.fg(Color::DarkRed).add_attribute(Attribute::Bold),
        Tone::Dim => styled.add_attribute(Attribute::Dim),
        Tone::Strong => styled.add_attribute(Attribute::Bold),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 2] = [Column::left("PATH"), Column::right("SIZE")];
    const PIPED: Layout = Layout { width: None, color: false };

    fn page() -> TextPage {
        let mut page = TextPage::default();
        page.table(&COLUMNS, vec![vec![Cell::new("a\nb"), Cell::new("7 B")], vec![Cell::new("کتاب"), Cell::new("")]]);
        page
    }

    #[test]
    fn a_piped_table_is_aligned_and_never_cut() {
        assert_eq!(page().render(PIPED), "PATH  SIZE\na\\nb   7 B\nکتاب     -\n");
        let long = "x".repeat(500);
        let mut page = TextPage::default();
        page.table(&COLUMNS, vec![vec![Cell::new(long.clone()), Cell::new("1")]]);
        assert!(page.render(PIPED).contains(&long));
    }

    #[test]
    fn a_table_fits_the_width_of_the_terminal() {
        let mut page = TextPage::default();
        page.table(&COLUMNS, vec![vec![Cell::new("word ".repeat(40)), Cell::new("1 B")]]);
        let text = page.render(Layout { width: Some(40), color: false });
        assert!(text.lines().all(|line| line.width() <= 40), "{text}");
    }

    #[test]
    fn colour_only_where_it_is_enabled() {
        let mut page = TextPage::default();
        page.toned("ready", Tone::Good).field("state", Cell::new("down").tone(Tone::Bad));
        page.table(&COLUMNS, vec![vec![Cell::new("a").tone(Tone::Warn), "1".into()]]);
        assert!(!page.render(PIPED).contains('\u{1b}'));
        crossterm::style::force_color_output(true);
        let colored = page.render(Layout { width: None, color: true });
        assert!(["ready", "down", "PATH", "a"].iter().all(|text| colored.contains(&format!("m{text}"))), "{colored:?}");
    }

    #[test]
    fn fields_are_aligned() {
        let mut page = TextPage::default();
        page.field("job", "42").field("discovered", "7");
        assert_eq!(page.render(PIPED), "job:        42\ndiscovered: 7\n");
    }
}
