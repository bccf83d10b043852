//! Text for people: lines, fields and tables, laid out for the width of a terminal or, when piped, never cut.

use unicode_width::UnicodeWidthStr;

use super::escape::escape;
use super::table::{Column, Grid};

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
    pub(super) text: String,
    pub(super) tone: Tone,
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

pub(super) fn push_line(out: &mut String, line: &str) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 2] = [Column::text("PATH"), Column::number("SIZE")];
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
