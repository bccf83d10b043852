//! Dead letters by source topic: unresolved, and all that ever were.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::widgets::{Cell, Row, Table};

use super::style::{Theme, panel};
use crate::ops::vitals::DeadLetterVitals;
use mfctl_core::humane;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, topics: &[DeadLetterVitals], theme: Theme) {
    let rows = topics.iter().map(|topic| {
        let style = if topic.unresolved > 0 { theme.alarm() } else { theme.good() };
        Row::new([
            Cell::from(topic.topic.source().as_str().to_owned()),
            Cell::from(humane::count(topic.unresolved)).style(style),
            Cell::from(humane::count(topic.total)),
        ])
    });
    let widths = [Constraint::Min(12), Constraint::Length(10), Constraint::Length(6)];
    let header = Row::new(["dead letters of", "unresolved", "ever"]).style(theme.dim());
    frame.render_widget(Table::new(rows, widths).header(header).block(panel("dead letters")), area);
}
