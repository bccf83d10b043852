//! The partitions of the selected group: owner, offsets, lag.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::widgets::{Cell, Row, Table};

use super::super::model::Model;
use super::style::{Theme, panel};
use crate::ops::lag::PartitionLag;
use crate::ops::vitals::Vitals;
use mfctl_core::humane;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, vitals: &Vitals, theme: Theme) {
    let Some(group) = vitals.groups.get(model.selected) else { return };
    let rows = group.lag.partitions.iter().skip(model.scroll).map(|partition| row(partition, theme));
    let widths = [
        Constraint::Min(16),
        Constraint::Length(9),
        Constraint::Length(11),
        Constraint::Length(11),
        Constraint::Length(11),
        Constraint::Length(18),
    ];
    let header = Row::new(["topic", "partition", "committed", "end", "lag", "owner"]).style(theme.dim());
    let title = format!("{} — Enter or Esc goes back", group.lag.group);
    frame.render_widget(Table::new(rows, widths).header(header).block(panel(&title)), area);
}

fn row(partition: &PartitionLag, theme: Theme) -> Row<'_> {
    let lag = if partition.lost_to_retention > 0 {
        Cell::from(format!("{} LOST", humane::count(partition.lost_to_retention))).style(theme.alarm())
    } else if partition.lag > 0 {
        Cell::from(humane::count(partition.lag)).style(theme.warning())
    } else {
        Cell::from("0").style(theme.good())
    };
    Row::new([
        Cell::from(partition.topic.as_str()),
        Cell::from(partition.partition.to_string()),
        Cell::from(partition.committed_offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string())),
        Cell::from(partition.end_offset.to_string()),
        lag,
        Cell::from(partition.owner.as_deref().unwrap_or("none")),
    ])
}
