//! The views: each draws one panel of the model and has no other effect.

mod dead_letters;
mod groups;
mod latency;
mod partitions;
mod storage;
mod style;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Borders, Clear, Paragraph, Wrap};

use super::model::Model;
use mfctl_core::humane;
use style::{Theme, panel};

/// Draws the whole screen; what does not fit is cut off.
pub fn draw(frame: &mut Frame<'_>, model: &Model) {
    let [header, body, footer] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    draw_header(frame, header, model);
    draw_footer(frame, footer, model);
    if frame.area().height < 10 || frame.area().width < 40 {
        frame.render_widget(Paragraph::new("The terminal is too small: it needs at least 40×10."), body);
    } else {
        draw_body(frame, body, model);
    }
    if model.help {
        draw_help(frame, body);
    }
}

fn draw_header(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let theme = Theme::new(model.colored);
    let state = match (&model.error, &model.vitals, model.paused) {
        (Some(_), ..) => Span::styled(" NOT CURRENT ", theme.alarm()),
        (None, _, true) => Span::styled(" PAUSED ", theme.warning()),
        (None, None, _) => Span::raw(" loading… "),
        (None, Some(vitals), false) => Span::raw(format!(" {} ", humane::time(vitals.at))),
    };
    let width = u16::try_from(state.width()).unwrap_or(0);
    let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(width)]).areas(area);
    frame.render_widget(Line::styled(format!("mfctl top  {}", model.title), theme.strong()), left);
    frame.render_widget(Line::from(state), right);
}

fn draw_footer(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let keys = format!(
        "q quit  ? help  p pause  r refresh  ↑↓ choose  ⏎ partitions  +/- every {}",
        humane::duration(model.interval)
    );
    frame.render_widget(Line::styled(keys, Theme::new(model.colored).dim()), area);
}

fn draw_body(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let mut area = area;
    if let Some(error) = &model.error {
        let [top, rest] = Layout::vertical([Constraint::Length(2), Constraint::Min(0)]).areas(area);
        let text = format!("error: {error} — retrying");
        let style = Theme::new(model.colored).alarm();
        frame.render_widget(Paragraph::new(text).style(style).wrap(Wrap { trim: true }), top);
        area = rest;
    }
    if let Some(notice) = &model.notice {
        let [top, rest] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
        frame.render_widget(Line::styled(notice.as_str(), Theme::new(model.colored).warning()), top);
        area = rest;
    }
    let Some(vitals) = &model.vitals else { return };
    let theme = Theme::new(model.colored);
    let group_lines = u16::try_from(vitals.groups.len()).unwrap_or(u16::MAX).saturating_add(3);
    let lower = 6.min(area.height / 2);
    let [top, bottom] = Layout::vertical([Constraint::Min(4), Constraint::Length(lower)]).areas(area);
    let [groups, latency] = if model.open {
        Layout::vertical([Constraint::Fill(1), Constraint::Length(0)]).areas(top)
    } else {
        Layout::vertical([Constraint::Length(group_lines.min(top.height / 2 + 1)), Constraint::Min(0)]).areas(top)
    };
    if model.open {
        partitions::draw(frame, groups, model, vitals, theme);
    } else {
        groups::draw(frame, groups, model, vitals, theme);
        latency::draw(frame, latency, &vitals.latency, theme);
    }
    let [left, right] = Layout::horizontal([Constraint::Percentage(42), Constraint::Percentage(58)]).areas(bottom);
    dead_letters::draw(frame, left, &vitals.dead_letters, theme);
    storage::draw(frame, right, vitals, theme);
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    const HELP: &str = "\
q, Esc, Ctrl-C   quit (Esc first closes what is open)
↑ ↓ or k j       choose a group, or scroll its partitions
Enter            show or hide the chosen group's partitions
p, space         pause the display; refreshing goes on
r                refresh now
+ -              double or halve the refresh interval
Ctrl-Z           suspend; fg comes back

lag              records between the group's commit and the end
rate             records processed a second since the last refresh
drained in       lag over rate, while it shrinks
latency          from staged to enriched, over the window";
    let width = area.width.min(68);
    let height = area.height.min(15);
    let over = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, over);
    frame.render_widget(Paragraph::new(HELP).block(panel("keys and words").borders(Borders::ALL)), over);
}
