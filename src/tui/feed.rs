//! Polls the platform at an interval, on a task of its own, so that a slow port never delays a key.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::update::TuiMessage;
use crate::ops::vitals::VitalsMonitor;

/// Handle of the polling task; the task ends when this is dropped.
pub(super) struct Feed {
    messages: mpsc::Receiver<TuiMessage>,
    interval: watch::Sender<Duration>,
}

impl Feed {
    pub(super) fn start(monitor: VitalsMonitor, interval: Duration) -> Self {
        let (sender, messages) = mpsc::channel(1);
        let (interval, changed) = watch::channel(interval);
        tokio::spawn(poll(monitor, sender, changed));
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

async fn poll(mut monitor: VitalsMonitor, messages: mpsc::Sender<TuiMessage>, mut interval: watch::Receiver<Duration>) {
    loop {
        let message = match monitor.refresh().await {
            Ok(vitals) => TuiMessage::Refreshed(Box::new(vitals)),
            Err(error) => TuiMessage::RefreshFailed(error.full()),
        };
        if messages.send(message).await.is_err() {
            return;
        }
        let pause = *interval.borrow_and_update();
        tokio::select! {
            () = mfctl_core::wait::pause(pause) => {}
            changed = interval.changed() => if changed.is_err() { return },
        }
    }
}
