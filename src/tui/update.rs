//! What each message does to the model. Pure: what is to be done outside comes back as an [`Effect`].

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::model::Model;
use crate::ops::vitals::Vitals;

const FASTEST: Duration = Duration::from_millis(250);
const SLOWEST: Duration = Duration::from_secs(64);

/// What can happen.
#[derive(Debug)]
pub enum Message {
    /// A key was pressed.
    Key(KeyEvent),
    /// A look came back.
    Looked(Box<Vitals>),
    /// A look failed.
    Failed(String),
    /// The terminal changed.
    Redraw,
}

/// What is to be done outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// End the dashboard.
    Quit,
    /// Look without waiting.
    LookNow,
    /// Look at this interval from now on.
    Every(Duration),
    /// Give the terminal back until continued.
    Suspend,
}

/// Applies a message.
pub fn update(model: &mut Model, message: Message) -> Option<Effect> {
    match message {
        Message::Key(key) if key.kind != KeyEventKind::Release => on_key(model, key),
        Message::Looked(vitals) => {
            if !model.paused {
                model.selected = model.selected.min(vitals.groups.len().saturating_sub(1));
                model.vitals = Some(vitals);
            }
            model.error = None;
            None
        }
        Message::Failed(error) => {
            model.error = Some(error);
            None
        }
        Message::Key(_) | Message::Redraw => None,
    }
}

fn on_key(model: &mut Model, key: KeyEvent) -> Option<Effect> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Effect::Quit),
            KeyCode::Char('z') => Some(Effect::Suspend),
            _ => None,
        };
    }
    match key.code {
        KeyCode::Char('q') => return Some(Effect::Quit),
        KeyCode::Esc if model.help => model.help = false,
        KeyCode::Esc if model.open => close(model),
        KeyCode::Esc => return Some(Effect::Quit),
        KeyCode::Char('?' | 'h') => model.help = !model.help,
        KeyCode::Char('p' | ' ') => model.paused = !model.paused,
        KeyCode::Char('r') => return Some(Effect::LookNow),
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

fn set_interval(model: &mut Model, interval: Duration) -> Effect {
    model.interval = interval.clamp(FASTEST, SLOWEST);
    Effect::Every(model.interval)
}

fn step(model: &mut Model, by: isize) {
    let (at, last) = if model.open {
        let partitions = model.vitals.as_ref().and_then(|v| v.groups.get(model.selected));
        (&mut model.scroll, partitions.map_or(0, |group| group.lag.partitions.len().saturating_sub(1)))
    } else {
        let last = model.groups().saturating_sub(1);
        (&mut model.selected, last)
    };
    *at = at.saturating_add_signed(by).min(last);
}
