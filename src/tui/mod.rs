//! The live dashboard: model (state), update (pure), views (one file per panel), feed (looks through the ports).
//!
//! Draws on the terminal only between [`terminal::Screen::open`] and its drop, which restores it whatever happens.

mod feed;
pub mod model;
mod terminal;
pub mod update;
pub mod view;

use std::time::Duration;

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;

use crate::ops::vitals::VitalsMonitor;
use feed::Feed;
use mfctl_core::stop::{Stop, StopReason};
use model::Model;
use terminal::Screen;
use update::{Effect, Message, update};

/// Runs the dashboard until the operator quits; answers the reason if it was asked to stop instead.
///
/// # Errors
/// When the terminal cannot be used. What the ports answer wrongly is shown, and tried again.
pub async fn run(
    title: String,
    watch: VitalsMonitor,
    interval: Duration,
    colored: bool,
    stop: &Stop,
) -> std::io::Result<Option<StopReason>> {
    let mut screen = Screen::open()?;
    let mut model = Model::new(title, interval, colored);
    let mut feed = Feed::start(watch, interval);
    let mut keys = EventStream::new();
    loop {
        screen.draw(|frame| view::draw(frame, &model))?;
        let message = tokio::select! {
            reason = stop.wait() => return Ok(Some(reason)),
            looked = feed.next() => looked,
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) => Message::Key(key),
                Some(Ok(_)) => Message::Redraw,
                Some(Err(error)) => return Err(error),
                // The terminal went away.
                None => return Ok(Some(StopReason::HungUp)),
            },
        };
        match update(&mut model, message) {
            Some(Effect::Quit) => return Ok(None),
            Some(Effect::LookNow) => feed.look_now(),
            Some(Effect::Every(interval)) => feed.every(interval),
            Some(Effect::Suspend) => screen.suspend()?,
            None => {}
        }
    }
}
