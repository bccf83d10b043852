//! Tables for people: columns that fit the terminal, where ids, times and numbers are never broken.

use comfy_table::{Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width};
use unicode_width::UnicodeWidthStr;

use super::escape::escape;
use super::page::{Cell, Layout, Tone, push_line};
use super::shorten::{LongestWords, end_of, start_of, wrap};

/// Spaces between two columns.
const GAP: usize = 2;
/// The narrowest that a column of text and one of names become before others are left out.
const MIN_TEXT_WIDTH: usize = 24;
const MIN_NAME_WIDTH: usize = 12;
/// The narrowest that either becomes when no other can be left out.
const LEAST_WIDTH: usize = 6;

/// What happens to the cells of a column that is wider than the terminal has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// Never broken nor shortened: ids, times, numbers, states.
    Whole,
    /// Continued on further lines. A digest is broken only where no other column can be left out, an id or a time never.
    Wrap,
    /// The beginning is left out: of paths, which differ at their end.
    KeepEnd,
    /// The end is left out: of titles.
    KeepStart,
}

/// What is given up, step by step, in a terminal that is too narrow although no other column can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Squeeze {
    Nothing,
    /// Digests in text are broken.
    Digests,
    /// Columns of text and names become narrower than they can well be read.
    Widths,
}

impl Squeeze {
    const ALL: [Self; 3] = [Self::Nothing, Self::Digests, Self::Widths];
}

/// Heading of a column, alignment of its cells, and how it fits into a narrow terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    heading: &'static str,
    right: bool,
    fit: Fit,
    /// In a terminal that is too narrow, columns are left out from the highest rank down; those of rank 0 never.
    rank: u8,
}

impl Column {
    const fn new(heading: &'static str, fit: Fit) -> Self {
        Self { heading, right: false, fit, rank: 0 }
    }

    /// A column of text, which wraps.
    #[must_use]
    pub const fn text(heading: &'static str) -> Self {
        Self::new(heading, Fit::Wrap)
    }

    /// A column of paths or other names that differ at their end.
    #[must_use]
    pub const fn path(heading: &'static str) -> Self {
        Self::new(heading, Fit::KeepEnd)
    }

    /// A column of titles or other names that differ at their beginning.
    #[must_use]
    pub const fn title(heading: &'static str) -> Self {
        Self::new(heading, Fit::KeepStart)
    }

    /// A column of ids, times or states: never broken.
    #[must_use]
    pub const fn whole(heading: &'static str) -> Self {
        Self::new(heading, Fit::Whole)
    }

    /// A column of numbers: never broken.
    #[must_use]
    pub const fn number(heading: &'static str) -> Self {
        Self { right: true, ..Self::new(heading, Fit::Whole) }
    }

    /// The same column, left out in a narrow terminal before all columns of a lower rank.
    #[must_use]
    pub const fn rank(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }
}

/// A table that may be printed in several parts: a later part keeps the column widths of the earlier ones, and leaves out the
/// same columns.
#[derive(Debug)]
pub(super) struct Grid {
    columns: Vec<Column>,
    /// The widest content of each column so far.
    needed: Vec<usize>,
    /// The longest ids, times and digests in each column so far.
    longest_words: Vec<LongestWords>,
    /// The columns that are shown; decided with the first part.
    shown: Option<Vec<usize>>,
}

impl Grid {
    pub(super) fn new(columns: &[Column]) -> Self {
        let needed = columns.iter().map(|column| column.heading.width()).collect();
        Self {
            columns: columns.to_vec(),
            needed,
            longest_words: vec![LongestWords::default(); columns.len()],
            shown: None,
        }
    }

    /// Lays out these rows, with the headings above them or not.
    pub(super) fn render(&mut self, rows: &[Vec<Cell>], headings: bool, layout: Layout) -> String {
        for row in rows {
            for ((needed, longest), cell) in self.needed.iter_mut().zip(&mut self.longest_words).zip(row) {
                let text = escape(shown_text(cell));
                *needed = (*needed).max(text.width());
                *longest = longest.max(LongestWords::of(&text));
            }
        }
        let room = layout.width.map(usize::from);
        let shown = match &self.shown {
            Some(shown) => shown.clone(),
            None => room.map_or_else(|| (0..self.columns.len()).collect(), |room| self.fitting(room)),
        };
        let widths = match room {
            Some(room) => self.widths(&shown, room),
            None => shown.iter().map(|&index| self.needed[index]).collect(),
        };
        let text = self.lay_out(rows, &shown, &widths, headings, layout);
        self.shown = Some(shown);
        text
    }

    /// The narrowest that a column becomes.
    fn minimum(&self, index: usize, squeeze: Squeeze) -> usize {
        let Column { fit, heading, .. } = self.columns[index];
        let LongestWords { id_or_time, digest } = self.longest_words[index];
        let least = match (fit, squeeze) {
            (Fit::Whole, _) => return self.needed[index],
            (Fit::Wrap, Squeeze::Nothing) => MIN_TEXT_WIDTH.max(id_or_time).max(digest),
            (Fit::Wrap, Squeeze::Digests) => MIN_TEXT_WIDTH.max(id_or_time),
            (Fit::Wrap, Squeeze::Widths) => LEAST_WIDTH.max(id_or_time),
            (Fit::KeepEnd | Fit::KeepStart, Squeeze::Nothing | Squeeze::Digests) => MIN_NAME_WIDTH,
            (_, Squeeze::Widths) => LEAST_WIDTH,
        };
        self.needed[index].min(least.max(heading.width()))
    }

    /// The width that these columns need at least, with the gaps between them.
    fn least_total(&self, shown: &[usize], squeeze: Squeeze) -> usize {
        let content: usize = shown.iter().map(|&index| self.minimum(index, squeeze)).sum();
        content + GAP * shown.len().saturating_sub(1)
    }

    /// The columns that fit into this many character cells, those of the highest ranks left out first.
    fn fitting(&self, room: usize) -> Vec<usize> {
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        while self.least_total(&shown, Squeeze::Nothing) > room {
            let last = shown.iter().copied().max_by_key(|&index| self.columns[index].rank);
            let Some(last) = last.filter(|&index| self.columns[index].rank > 0) else { break };
            shown.retain(|&index| index != last);
        }
        shown
    }

    /// The width of each shown column: what it needs, or an even part of what the others leave.
    fn widths(&self, shown: &[usize], room: usize) -> Vec<usize> {
        let fits = |squeeze: &Squeeze| self.least_total(shown, *squeeze) <= room;
        let squeeze = Squeeze::ALL.into_iter().find(fits).unwrap_or(Squeeze::Widths);
        let mut widths: Vec<usize> = shown.iter().map(|&index| self.minimum(index, squeeze)).collect();
        let mut spare = room.saturating_sub(self.least_total(shown, squeeze));
        while spare > 0 {
            let wanting = (0..shown.len()).filter(|&at| widths[at] < self.needed[shown[at]]);
            // The narrowest one first, so that all grow evenly.
            let Some(narrowest) = wanting.min_by_key(|&at| widths[at]) else { break };
            widths[narrowest] += 1;
            spare -= 1;
        }
        widths
    }

    fn lay_out(&self, rows: &[Vec<Cell>], shown: &[usize], widths: &[usize], headings: bool, layout: Layout) -> String {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        if layout.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        if headings {
            let heading = |&index: &usize| heading(self.columns[index], layout.color);
            table.set_header(shown.iter().map(heading).collect::<Vec<_>>());
        }
        for row in rows {
            let cells = shown.iter().zip(widths).filter_map(|(&index, width)| {
                row.get(index).map(|cell| styled(cell, self.columns[index], *width, layout.width.is_some()))
            });
            table.add_row(cells.collect::<Vec<_>>());
        }
        table.discover_columns();
        let last = shown.len().saturating_sub(1);
        for ((at, column), width) in table.column_iter_mut().enumerate().zip(widths) {
            let padding = if at == last { 0 } else { GAP };
            column.set_padding((0, padding as u16));
            let width = u16::try_from(width + padding).unwrap_or(u16::MAX);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
        }
        let mut out = String::new();
        for line in table.lines() {
            push_line(&mut out, line.trim_end());
        }
        out
    }
}

fn shown_text(cell: &Cell) -> &str {
    if cell.text.is_empty() { "-" } else { &cell.text }
}

fn heading(column: Column, color: bool) -> comfy_table::Cell {
    let cell = comfy_table::Cell::new(column.heading).set_alignment(alignment(column));
    if color { cell.add_attribute(Attribute::Bold) } else { cell }
}

const fn alignment(column: Column) -> CellAlignment {
    if column.right { CellAlignment::Right } else { CellAlignment::Left }
}

fn styled(cell: &Cell, column: Column, width: usize, fit: bool) -> comfy_table::Cell {
    let text = escape(shown_text(cell));
    let text = match column.fit {
        Fit::KeepEnd if fit => end_of(&text, width),
        Fit::KeepStart if fit => start_of(&text, width),
        Fit::Wrap if fit => wrap(&text, width),
        Fit::Whole | Fit::KeepEnd | Fit::KeepStart | Fit::Wrap => text.into_owned(),
    };
    let styled = comfy_table::Cell::new(text).set_alignment(alignment(column));
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

    const ID: &str = "0198c1d2-7b1e-7a53-9c04-3f6f2b8f5a10";
    const TIME: &str = "2026-05-04 03:02:01Z";
    const COLUMNS: [Column; 6] = [
        Column::whole("ASSET"),
        Column::whole("STATE"),
        Column::text("TYPE").rank(2),
        Column::number("SIZE").rank(1),
        Column::whole("STAGED").rank(3),
        Column::path("NAME"),
    ];

    fn table(width: Option<u16>, names: &[&str]) -> String {
        let row = |name: &&str| [ID, "enriched", "application/pdf", "1.5 MiB", TIME, name].map(Cell::new).to_vec();
        Grid::new(&COLUMNS).render(&names.iter().map(row).collect::<Vec<_>>(), true, Layout { width, color: false })
    }

    #[test]
    fn ids_and_times_are_whole_at_every_width() {
        let names =
            ["سفرنامه/تصویرهای تابستان/کتاب‌های خطی کتابخانه.pdf", "👩‍👩‍👧‍👦/🏔️/summer.pdf", "a/long/path/to/some/file.pdf"];
        for width in 1..200 {
            let text = table(Some(width), &names);
            assert_eq!(text.matches(ID).count(), 3, "{width}:\n{text}");
            assert!(!text.contains("STAGED") || text.matches(TIME).count() == 3, "{width}:\n{text}");
            let fits = text.lines().all(|line| line.width() <= usize::from(width));
            assert!(fits || width < 60, "{width}:\n{text}");
        }
    }

    #[test]
    fn columns_are_left_out_by_rank_and_paths_keep_their_end() {
        let names = ["archive/2024/summer/holiday/pictures/IMG_0001.jpeg"];
        assert_eq!(
            table(Some(80), &names),
            "ASSET                                 STATE     SIZE     NAME\n\
             0198c1d2-7b1e-7a53-9c04-3f6f2b8f5a10  enriched  1.5 MiB  …pictures/IMG_0001.jpeg\n"
                .replace("SIZE     NAME", "   SIZE  NAME")
        );
        assert_eq!(
            table(Some(60), &names),
            "ASSET                                 STATE     NAME\n\
             0198c1d2-7b1e-7a53-9c04-3f6f2b8f5a10  enriched  …G_0001.jpeg\n"
        );
        let wide = table(Some(140), &names);
        assert!(["TYPE", "SIZE", "STAGED", "IMG_0001.jpeg"].iter().all(|shown| wide.contains(shown)), "{wide}");
        assert!(table(None, &names).contains(names[0]));
    }

    #[test]
    fn text_wraps_between_words() {
        let columns = [Column::whole("ID"), Column::text("MESSAGE")];
        let rows = vec![vec![Cell::new("a1b2c3"), Cell::new("the parser ended before it answered")]];
        let text = Grid::new(&columns).render(&rows, true, Layout { width: Some(30), color: false });
        assert_eq!(text, "ID      MESSAGE\na1b2c3  the parser ended\n        before it answered\n");
    }

    #[test]
    fn text_with_ids_and_digests_fits_the_terminal() {
        let digest = "0123456789abcdef".repeat(4);
        let text = format!("object media/default/{ID} has SHA-256 {digest}, not {digest}");
        let columns =
            [Column::whole("KIND"), Column::whole("TIME").rank(1), Column::path("PATH"), Column::text("REASON")];
        let row = vec![["bytes", TIME, "archive/2024/summer/IMG_0001.jpeg", &text].map(Cell::new).to_vec()];
        let at = |width| Grid::new(&columns).render(&row, true, Layout { width: Some(width), color: false });
        for width in 40..160 {
            let text = at(width);
            // A terminal that has no room for the id has a longer line.
            let room = usize::from(width).max("bytes  ….jpeg  ".width() + ID.len());
            assert!(text.lines().all(|line| line.width() <= room), "{width}:\n{text}");
            assert!(text.contains(ID), "{width}:\n{text}");
        }
        // Whole where leaving out a column makes room, then the digests are broken first.
        assert!([100, 140].iter().all(|&width| at(width).matches(&digest).count() == 2), "{}", at(100));
        assert!(!at(100).contains(TIME) && at(140).contains(TIME), "{}", at(100));
        assert!([60, 80].iter().all(|&width| !at(width).contains(&digest)), "{}", at(80));
        assert!([60, 80].iter().all(|&width| at(width).contains(ID)), "{}", at(60));
    }

    #[test]
    fn later_parts_keep_the_columns_of_the_first() {
        let row = |name: &str| vec![[ID, "enriched", "text/plain", "1 B", TIME, name].map(Cell::new).to_vec()];
        let layout = Layout { width: Some(100), color: false };
        let mut grid = Grid::new(&COLUMNS);
        let first = grid.render(&row("a.txt"), true, layout);
        let second = grid.render(&row("b.txt"), false, layout);
        assert_eq!(first.lines().last().unwrap().replace("a.txt", "b.txt"), second.trim_end());
    }
}
