//! The dashboard's state. Holds no port and does nothing.

use std::time::Duration;

use crate::ops::vitals::Vitals;

/// Everything the views show.
#[derive(Debug, Clone)]
pub struct Model {
    /// Profile, environment and endpoints, always in sight.
    pub title: String,
    /// The last look; `None` before the first.
    pub vitals: Option<Box<Vitals>>,
    /// Why the latest look failed; what is shown then is of the look before.
    pub error: Option<String>,
    /// How often to look.
    pub interval: Duration,
    /// Whether new looks are shown.
    pub paused: bool,
    /// Whether the keys are explained.
    pub help: bool,
    /// The group whose line is marked.
    pub selected: usize,
    /// Whether the marked group's partitions are shown.
    pub open: bool,
    /// The first of those partitions in sight.
    pub scroll: usize,
    /// Whether colours are used.
    pub colored: bool,
}

impl Model {
    /// The state before the first look.
    #[must_use]
    pub fn new(title: String, interval: Duration, colored: bool) -> Self {
        Self {
            title,
            vitals: None,
            error: None,
            interval,
            paused: false,
            help: false,
            selected: 0,
            open: false,
            scroll: 0,
            colored,
        }
    }

    /// How many groups there are.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.vitals.as_ref().map_or(0, |vitals| vitals.groups.len())
    }
}
