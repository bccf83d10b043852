//! Consumer groups: members, lag, rate, time to drain.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::widgets::{Cell, Row, Table};

use super::super::model::Model;
use super::style::{Theme, panel};
use crate::ops::vitals::{GroupVitals, Vitals};
use mfctl_core::humane;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, vitals: &Vitals, theme: Theme) {
    let rows = vitals.groups.iter().enumerate().map(|(index, group)| row(group, index == model.selected, theme));
    let widths = [
        Constraint::Min(16),
        Constraint::Length(7),
        Constraint::Length(12),
        Constraint::Length(10),
        Constraint::Length(10),
    ];
    let header = Row::new(["group", "members", "lag", "rate", "drained in"]).style(theme.dim());
    frame.render_widget(Table::new(rows, widths).header(header).block(panel("groups")), area);
}

fn row(group: &GroupVitals, selected: bool, theme: Theme) -> Row<'_> {
    let members = group.lag.members.len();
    let lag = Cell::from(group.lag.lag_text()).style(if group.lag.lag == 0 {
        theme.good()
    } else if members == 0 {
        theme.alarm()
    } else {
        theme.warning()
    });
    let members = if members == 0 && group.lag.lag > 0 { "none!".to_owned() } else { members.to_string() };
    let row = Row::new([
        Cell::from(group.lag.group.as_str()),
        Cell::from(members),
        lag,
        Cell::from(group.rate_per_second.map_or_else(|| "-".to_owned(), humane::rate)),
        Cell::from(match group.drained_in_seconds {
            _ if group.lag.lag == 0 => "drained".to_owned(),
            Some(seconds) => humane::duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
            None => "-".to_owned(),
        }),
    ]);
    if selected { row.style(theme.selected()) } else { row }
}
