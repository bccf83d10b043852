//! Looks at the platform at an interval, on a task of its own, so that a slow port never holds up a key.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::update::Message;
use crate::ops::vitals::VitalsMonitor;

/// The looking task's handle; the task ends when this is dropped.
pub(super) struct Feed {
    looks: mpsc::Receiver<Message>,
    interval: watch::Sender<Duration>,
}

impl Feed {
    pub(super) fn start(watch: VitalsMonitor, interval: Duration) -> Self {
        let (sender, looks) = mpsc::channel(1);
        let (interval, changed) = watch::channel(interval);
        tokio::spawn(look_on(watch, sender, changed));
        Self { looks, interval }
    }

    /// The next look's outcome.
    pub(super) async fn next(&mut self) -> Message {
        match self.looks.recv().await {
            Some(message) => message,
            None => std::future::pending().await,
        }
    }

    /// Looks again without waiting for the interval's end.
    pub(super) fn look_now(&self) {
        self.interval.send_modify(|_| {});
    }

    pub(super) fn every(&self, interval: Duration) {
        self.interval.send_replace(interval);
    }
}

async fn look_on(mut watch: VitalsMonitor, looks: mpsc::Sender<Message>, mut changed: watch::Receiver<Duration>) {
    loop {
        let message = match watch.refresh().await {
            Ok(vitals) => Message::Looked(Box::new(vitals)),
            Err(error) => Message::Failed(error.full()),
        };
        if looks.send(message).await.is_err() {
            return;
        }
        let interval = *changed.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            done = changed.changed() => if done.is_err() { return },
        }
    }
}
