//! Key bindings.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use mfctl::tui::model::Model;
use mfctl::tui::update::{TuiEffect, TuiMessage, update};

use crate::tui::scenes::{busy, model_of};

fn press(model: &mut Model, code: KeyCode) -> Option<TuiEffect> {
    update(model, TuiMessage::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

#[test]
fn escape_closes_open_views_before_quitting() {
    let mut model = model_of(busy());
    press(&mut model, KeyCode::Enter);
    press(&mut model, KeyCode::Char('?'));
    assert!(model.open && model.help);
    assert_eq!(press(&mut model, KeyCode::Esc), None);
    assert_eq!(press(&mut model, KeyCode::Esc), None);
    assert!(!model.open && !model.help);
    assert_eq!(press(&mut model, KeyCode::Esc), Some(TuiEffect::Quit));
}

#[test]
fn ctrl_c_quits_and_ctrl_z_suspends() {
    let mut model = model_of(busy());
    let control = |c| TuiMessage::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL));
    assert_eq!(update(&mut model, control('c')), Some(TuiEffect::Quit));
    assert_eq!(update(&mut model, control('z')), Some(TuiEffect::Suspend));
}

#[test]
fn selection_stays_within_a_shrinking_list_of_groups() {
    let mut model = model_of(busy());
    for _ in 0..5 {
        press(&mut model, KeyCode::Down);
    }
    assert_eq!(model.selected, 1);
    let mut fewer = busy();
    fewer.groups.truncate(1);
    update(&mut model, TuiMessage::Refreshed(Box::new(fewer)));
    assert_eq!(model.selected, 0);
}

#[test]
fn paused_view_keeps_its_data_and_errors_clear_on_the_next_refresh() {
    let mut model = model_of(busy());
    press(&mut model, KeyCode::Char('p'));
    let mut later = busy();
    later.groups.clear();
    update(&mut model, TuiMessage::RefreshFailed("refused".to_owned()));
    update(&mut model, TuiMessage::Refreshed(Box::new(later)));
    assert_eq!((model.groups(), model.error.clone()), (2, None));
}

#[test]
fn interval_doubles_and_halves_within_bounds() {
    let mut model = model_of(busy());
    assert_eq!(press(&mut model, KeyCode::Char('+')), Some(TuiEffect::SetInterval(Duration::from_secs(4))));
    for _ in 0..20 {
        press(&mut model, KeyCode::Char('-'));
    }
    assert_eq!(model.interval, Duration::from_millis(250));
}
