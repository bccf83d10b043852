//! The views: each draws one panel of the model, and nothing else.

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
use style::{Look, panel};

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, model: &Model) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    draw_head(frame, head, model);
    draw_foot(frame, foot, model);
    if frame.area().height < 10 || frame.area().width < 40 {
        frame.render_widget(Paragraph::new("The terminal is too small: 40×10 at least."), body);
    } else {
        draw_body(frame, body, model);
    }
    if model.help {
        draw_help(frame, body);
    }
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let style = Look(model.colored);
    let state = match (&model.error, &model.vitals, model.paused) {
        (Some(_), ..) => Span::styled(" NOT CURRENT ", style.alarm()),
        (None, _, true) => Span::styled(" PAUSED ", style.warning()),
        (None, None, _) => Span::raw(" looking… "),
        (None, Some(vitals), false) => Span::raw(format!(" {} ", humane::time(vitals.at))),
    };
    let width = u16::try_from(state.width()).unwrap_or(0);
    let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(width)]).areas(area);
    frame.render_widget(Line::styled(format!("mfctl top  {}", model.title), style.strong()), left);
    frame.render_widget(Line::from(state), right);
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let keys = format!(
        "q quit  ? help  p pause  r refresh  ↑↓ choose  ⏎ partitions  +/- every {}",
        humane::duration(model.interval)
    );
    frame.render_widget(Line::styled(keys, Look(model.colored).dim()), area);
}

fn draw_body(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let mut area = area;
    if let Some(error) = &model.error {
        let [top, rest] = Layout::vertical([Constraint::Length(2), Constraint::Min(0)]).areas(area);
        let text = format!("error: {error} — trying again");
        let style = Look(model.colored).alarm();
        frame.render_widget(Paragraph::new(text).style(style).wrap(Wrap { trim: true }), top);
        area = rest;
    }
    let Some(vitals) = &model.vitals else { return };
    let style = Look(model.colored);
    let group_lines = u16::try_from(vitals.groups.len()).unwrap_or(u16::MAX).saturating_add(3);
    let lower = 6.min(area.height / 2);
    let [top, bottom] = Layout::vertical([Constraint::Min(4), Constraint::Length(lower)]).areas(area);
    let [groups, latency] = if model.open {
        Layout::vertical([Constraint::Fill(1), Constraint::Length(0)]).areas(top)
    } else {
        Layout::vertical([Constraint::Length(group_lines.min(top.height / 2 + 1)), Constraint::Min(0)]).areas(top)
    };
    if model.open {
        partitions::draw(frame, groups, model, vitals, style);
    } else {
        groups::draw(frame, groups, model, vitals, style);
        latency::draw(frame, latency, &vitals.latency, style);
    }
    let [left, right] = Layout::horizontal([Constraint::Percentage(42), Constraint::Percentage(58)]).areas(bottom);
    dead_letters::draw(frame, left, &vitals.dead_letters, style);
    storage::draw(frame, right, vitals, style);
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    const HELP: &str = "\
q, Esc, Ctrl-C   quit (Esc closes what is open first)
↑ ↓ or k j       choose a group, or scroll its partitions
Enter            the chosen group's partitions, and back
p, space         pause: looking goes on, the picture stays
r                look now
+ -              look half as often, twice as often
Ctrl-Z           suspend; fg comes back

lag              records between the group's commit and the end
rate             records worked off a second since the last look
drained in       lag over rate, while it shrinks
latency          from staged to enriched, over the window";
    let width = area.width.min(68);
    let height = area.height.min(15);
    let over = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, over);
    frame.render_widget(Paragraph::new(HELP).block(panel("keys and words").borders(Borders::ALL)), over);
}
