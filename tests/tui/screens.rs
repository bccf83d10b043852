//! Whole screens.

use mfctl::tui::model::Model;
use mfctl::tui::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use crate::tui::scenes::{busy, looking_at};

fn screen(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, model)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn a_busy_platform_at_the_usual_size() {
    insta::assert_snapshot!(screen(&looking_at(busy()), 80, 24));
}

#[test]
fn a_busy_platform_on_a_large_terminal() {
    insta::assert_snapshot!(screen(&looking_at(busy()), 120, 40));
}

#[test]
fn the_partitions_of_a_group() {
    let mut model = looking_at(busy());
    model.open = true;
    insta::assert_snapshot!(screen(&model, 100, 24));
}

#[test]
fn a_look_that_failed_says_so_and_keeps_what_was_seen() {
    let mut model = looking_at(busy());
    model.error = Some("read the event log: disk I/O error".to_owned());
    insta::assert_snapshot!(screen(&model, 80, 24));
}

#[test]
fn the_help_explains_keys_and_words() {
    let mut model = looking_at(busy());
    model.help = true;
    insta::assert_snapshot!(screen(&model, 80, 24));
}

#[test]
fn before_the_first_look_and_on_a_tiny_terminal_it_says_what_it_does() {
    let mut model = looking_at(busy());
    assert!(screen(&model, 30, 8).contains("too small"));
    model.vitals = None;
    assert!(screen(&model, 80, 24).contains("loading"));
}

/// No size makes it fail.
#[test]
fn every_size_can_be_drawn() {
    let mut model = looking_at(busy());
    for open in [false, true] {
        model.open = open;
        for width in (1..150).step_by(7) {
            for height in 1..50 {
                let _ = screen(&model, width, height);
            }
        }
    }
}
