//! Buckets, and the free space of the store.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row, Table};

use super::style::{Theme, panel};
use crate::ops::vitals::Vitals;
use mfctl_core::humane;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, vitals: &Vitals, theme: Theme) {
    let block = panel("storage");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [table, free_space] = Layout::vertical([Constraint::Length(4), Constraint::Min(0)]).areas(inner);
    let rows = vitals.storage.buckets.iter().map(|bucket| {
        let more = if bucket.usage.partial { "+" } else { "" };
        let oldest = bucket.usage.oldest_at.map(|at| age(vitals, at));
        Row::new([
            Cell::from(short_name(bucket.bucket.as_str()).to_owned()),
            Cell::from(format!("{}{more}", humane::count(bucket.usage.objects))),
            Cell::from(format!("{}{more}", humane::bytes(bucket.usage.bytes))),
            Cell::from(oldest.unwrap_or_else(|| "-".to_owned())),
        ])
    });
    let widths = [Constraint::Min(10), Constraint::Length(10), Constraint::Length(11), Constraint::Length(6)];
    let header = Row::new(["bucket", "objects", "bytes", "oldest"]).style(theme.dim());
    frame.render_widget(Table::new(rows, widths).header(header), table);
    frame.render_widget(free_space_line(vitals, theme), free_space);
}

fn free_space_line(vitals: &Vitals, theme: Theme) -> Line<'static> {
    let Some((capacity, used)) = vitals.storage.capacity.zip(vitals.storage.used_percent) else {
        return Line::raw("free space: not reported by the store");
    };
    let text = format!("{used:.0} % full, {} free", humane::bytes(capacity.free_bytes));
    if vitals.storage.warn { Line::styled(format!("{text} — MAKE ROOM"), theme.alarm()) } else { Line::raw(text) }
}

fn age(vitals: &Vitals, at: mfctl_core::domain::Timestamp) -> String {
    humane::age(vitals.at.duration_since(at).try_into().unwrap_or_default())
}

/// `staging` for `myfarsi-dev-media-staging`: the header already names the environment.
fn short_name(bucket: &str) -> &str {
    bucket.rsplit('-').next().unwrap_or(bucket)
}
