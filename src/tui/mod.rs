//! The live dashboard: model (state), update (pure), views (one file per panel), feed (polls the ports).
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

use crate::ops::notice::NoticeReader;
use crate::ops::vitals::VitalsMonitor;
use feed::Feed;
use mfctl_core::stop::{Stop, StopReason};
use model::Model;
use terminal::Screen;
use update::{TuiEffect, TuiMessage, update};

/// Runs the dashboard until the operator quits; returns the reason if the process is asked to stop before.
///
/// # Errors
/// When the terminal cannot be used. Errors of the ports are shown, and the refresh is retried.
pub async fn run(
    title: String,
    monitor: VitalsMonitor,
    notices: NoticeReader,
    interval: Duration,
    colored: bool,
    stop: &Stop,
) -> std::io::Result<Option<StopReason>> {
    let mut screen = Screen::open()?;
    let mut model = Model::new(title, interval, colored);
    let mut feed = Feed::start(monitor, notices, interval);
    let mut keys = EventStream::new();
    loop {
        screen.draw(|frame| view::draw(frame, &model))?;
        let message = tokio::select! {
            reason = stop.wait() => return Ok(Some(reason)),
            refreshed = feed.next() => refreshed,
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) => TuiMessage::Key(key),
                Some(Ok(_)) => TuiMessage::Redraw,
                Some(Err(error)) => return Err(error),
                // The terminal went away.
                None => return Ok(Some(StopReason::HungUp)),
            },
        };
        match update(&mut model, message) {
            Some(TuiEffect::Quit) => return Ok(None),
            Some(TuiEffect::RefreshNow) => feed.refresh_now(),
            Some(TuiEffect::SetInterval(interval)) => feed.set_interval(interval),
            Some(TuiEffect::Suspend) => screen.suspend()?,
            None => {}
        }
    }
}
