//! Buckets and room left.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row, Table};

use super::style::{Look, panel};
use crate::ops::vitals::Vitals;
use mfctl_core::humane;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, vitals: &Vitals, look: Look) {
    let block = panel("storage");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [table, room] = Layout::vertical([Constraint::Length(4), Constraint::Min(0)]).areas(inner);
    let rows = vitals.storage.buckets.iter().map(|bucket| {
        let more = if bucket.usage.partial { "+" } else { "" };
        let oldest = bucket.usage.oldest_at.map(|at| age(vitals, at));
        Row::new([
            Cell::from(short(bucket.bucket.as_str()).to_owned()),
            Cell::from(format!("{}{more}", humane::count(bucket.usage.objects))),
            Cell::from(format!("{}{more}", humane::bytes(bucket.usage.bytes))),
            Cell::from(oldest.unwrap_or_else(|| "-".to_owned())),
        ])
    });
    let widths = [Constraint::Min(10), Constraint::Length(10), Constraint::Length(11), Constraint::Length(6)];
    let header = Row::new(["bucket", "objects", "bytes", "oldest"]).style(look.dim());
    frame.render_widget(Table::new(rows, widths).header(header), table);
    frame.render_widget(free(vitals, look), room);
}

fn free(vitals: &Vitals, look: Look) -> Line<'static> {
    let Some((capacity, used)) = vitals.storage.capacity.zip(vitals.storage.used_percent) else {
        return Line::raw("room left: the store cannot tell");
    };
    let text = format!("{used:.0} % full, {} free", humane::bytes(capacity.free_bytes));
    if vitals.storage.warn { Line::styled(format!("{text} — MAKE ROOM"), look.alarm()) } else { Line::raw(text) }
}

fn age(vitals: &Vitals, at: mfctl_core::domain::Timestamp) -> String {
    humane::age(vitals.at.duration_since(at).try_into().unwrap_or_default())
}

/// `staging` of `myfarsi-dev-media-staging`: the title names the environment already.
fn short(bucket: &str) -> &str {
    bucket.rsplit('-').next().unwrap_or(bucket)
}
