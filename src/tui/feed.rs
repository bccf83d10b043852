//! Polls the platform at an interval, on a task of its own, so that a slow port never delays a key.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::update::TuiMessage;
use crate::ops::notice::NoticeReader;
use crate::ops::vitals::VitalsMonitor;

/// How often the notice is read.
const NOTICE_EVERY: Duration = Duration::from_secs(10);

/// Handle of the polling task; the task ends when this is dropped.
pub(super) struct Feed {
    messages: mpsc::Receiver<TuiMessage>,
    interval: watch::Sender<Duration>,
}

impl Feed {
    pub(super) fn start(monitor: VitalsMonitor, notices: NoticeReader, interval: Duration) -> Self {
        let (sender, messages) = mpsc::channel(1);
        let (interval, changed) = watch::channel(interval);
        tokio::spawn(poll(monitor, notices, sender, changed));
        Self { messages, interval }
    }

    /// The result of the next refresh.
    pub(super) async fn next(&mut self) -> TuiMessage {
        match self.messages.recv().await {
            Some(message) => message,
            None => std::future::pending().await,
        }
    }

    /// Refreshes without waiting for the end of the interval.
    pub(super) fn refresh_now(&self) {
        self.interval.send_modify(|_| {});
    }

    pub(super) fn set_interval(&self, interval: Duration) {
        self.interval.send_replace(interval);
    }
}

async fn poll(
    mut monitor: VitalsMonitor,
    notices: NoticeReader,
    messages: mpsc::Sender<TuiMessage>,
    mut interval: watch::Receiver<Duration>,
) {
    let mut noticed: Option<Instant> = None;
    loop {
        let message = match monitor.refresh().await {
            Ok(vitals) => TuiMessage::Refreshed(Box::new(vitals)),
            Err(error) => TuiMessage::RefreshFailed(error.full()),
        };
        if messages.send(message).await.is_err() {
            return;
        }
        if noticed.is_none_or(|at| at.elapsed() >= NOTICE_EVERY) {
            noticed = Some(Instant::now());
            if messages.send(TuiMessage::Noticed(notices.read().await)).await.is_err() {
                return;
            }
        }
        let pause = *interval.borrow_and_update();
        tokio::select! {
            () = mfctl_core::wait::pause(pause) => {}
            changed = interval.changed() => if changed.is_err() { return },
        }
    }
}
