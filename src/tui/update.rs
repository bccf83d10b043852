//! How each message changes the model. Pure: work outside the model is returned as a [`TuiEffect`].

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::model::Model;
use crate::ops::vitals::Vitals;

const MIN_INTERVAL: Duration = Duration::from_millis(250);
const MAX_INTERVAL: Duration = Duration::from_secs(64);

/// An event that the dashboard reacts to.
#[derive(Debug)]
pub enum TuiMessage {
    /// A key was pressed.
    Key(KeyEvent),
    /// A refresh succeeded.
    Refreshed(Box<Vitals>),
    /// A refresh failed with this error.
    RefreshFailed(String),
    /// The notice was read; `None` when there is none.
    Noticed(Option<String>),
    /// The terminal was resized or reported another event: draw again.
    Redraw,
}

/// Work outside the model that a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TuiEffect {
    /// End the dashboard.
    Quit,
    /// Refresh without waiting for the end of the interval.
    RefreshNow,
    /// Refresh at this interval from now on.
    SetInterval(Duration),
    /// Restore the terminal and stop the process until it is continued.
    Suspend,
}

/// Applies a message to the model; returns the work to do outside it.
pub fn update(model: &mut Model, message: TuiMessage) -> Option<TuiEffect> {
    match message {
        TuiMessage::Key(key) if key.kind != KeyEventKind::Release => on_key(model, key),
        TuiMessage::Refreshed(vitals) => {
            if !model.paused {
                model.selected = model.selected.min(vitals.groups.len().saturating_sub(1));
                model.vitals = Some(vitals);
            }
            model.error = None;
            None
        }
        TuiMessage::Noticed(notice) => {
            if !model.paused {
                model.notice = notice;
            }
            None
        }
        TuiMessage::RefreshFailed(error) => {
            model.error = Some(error);
            None
        }
        TuiMessage::Key(_) | TuiMessage::Redraw => None,
    }
}

fn on_key(model: &mut Model, key: KeyEvent) -> Option<TuiEffect> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(TuiEffect::Quit),
            KeyCode::Char('z') => Some(TuiEffect::Suspend),
            _ => None,
        };
    }
    match key.code {
        KeyCode::Char('q') => return Some(TuiEffect::Quit),
        KeyCode::Esc if model.help => model.help = false,
        KeyCode::Esc if model.open => close(model),
        KeyCode::Esc => return Some(TuiEffect::Quit),
        KeyCode::Char('?' | 'h') => model.help = !model.help,
        KeyCode::Char('p' | ' ') => model.paused = !model.paused,
        KeyCode::Char('r') => return Some(TuiEffect::RefreshNow),
        KeyCode::Char('+') => return Some(set_interval(model, model.interval * 2)),
        KeyCode::Char('-') => return Some(set_interval(model, model.interval / 2)),
        KeyCode::Enter if model.open => close(model),
        KeyCode::Enter => model.open = model.groups() > 0,
        KeyCode::Up | KeyCode::Char('k') => step(model, -1),
        KeyCode::Down | KeyCode::Char('j') => step(model, 1),
        _ => {}
    }
    None
}

fn close(model: &mut Model) {
    model.open = false;
    model.scroll = 0;
}

fn set_interval(model: &mut Model, interval: Duration) -> TuiEffect {
    model.interval = interval.clamp(MIN_INTERVAL, MAX_INTERVAL);
    TuiEffect::SetInterval(model.interval)
}

fn step(model: &mut Model, by: isize) {
    let (index, last) = if model.open {
        let partitions = model.vitals.as_ref().and_then(|v| v.groups.get(model.selected));
        (&mut model.scroll, partitions.map_or(0, |group| group.lag.partitions.len().saturating_sub(1)))
    } else {
        let last = model.groups().saturating_sub(1);
        (&mut model.selected, last)
    };
    *index = index.saturating_add_signed(by).min(last);
}
