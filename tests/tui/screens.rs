//! Screens at fixed sizes.

use mfctl::tui::model::Model;
use mfctl::tui::update::{TuiMessage, update};
use mfctl::tui::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use crate::tui::scenes::{busy, model_of};

fn screen(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, model)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn busy_platform_at_80x24() {
    insta::assert_snapshot!(screen(&model_of(busy()), 80, 24));
}

#[test]
fn busy_platform_at_120x40() {
    insta::assert_snapshot!(screen(&model_of(busy()), 120, 40));
}

#[test]
fn partitions_of_a_group() {
    let mut model = model_of(busy());
    model.open = true;
    insta::assert_snapshot!(screen(&model, 100, 24));
}

#[test]
fn failed_refresh_shows_the_error_and_keeps_the_last_data() {
    let mut model = model_of(busy());
    model.error = Some("read the event log: disk I/O error".to_owned());
    insta::assert_snapshot!(screen(&model, 80, 24));
}

#[test]
fn notice_of_pauses_and_setting_changes_is_one_line_above_the_panels() {
    let mut model = model_of(busy());
    let without = screen(&model, 80, 24);
    let notice = "enrich paused since 12:43 on h1/0: parser: no process can be started";
    update(&mut model, TuiMessage::Noticed(Some(notice.to_owned())));
    let with = screen(&model, 80, 24);
    assert!(with.lines().nth(1).unwrap().contains(notice), "{with}");
    update(&mut model, TuiMessage::Noticed(None));
    assert_eq!(screen(&model, 80, 24), without);
}

#[test]
fn help_panel() {
    let mut model = model_of(busy());
    model.help = true;
    insta::assert_snapshot!(screen(&model, 80, 24));
}

#[test]
fn loading_and_tiny_terminals_show_a_message() {
    let mut model = model_of(busy());
    assert!(screen(&model, 30, 8).contains("too small"));
    model.vitals = None;
    assert!(screen(&model, 80, 24).contains("loading"));
}

#[test]
fn every_terminal_size_can_be_drawn() {
    let mut model = model_of(busy());
    for open in [false, true] {
        model.open = open;
        for width in (1..150).step_by(7) {
            for height in 1..50 {
                let _ = screen(&model, width, height);
            }
        }
    }
}
