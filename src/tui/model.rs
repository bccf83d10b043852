//! The dashboard's state. Holds no port and has no effects.

use std::time::Duration;

use crate::ops::vitals::Vitals;

/// State that the views draw.
#[derive(Debug, Clone)]
pub struct Model {
    /// Profile, environment and endpoints; always shown.
    pub title: String,
    /// The latest vitals that are shown; `None` before the first refresh.
    pub vitals: Option<Box<Vitals>>,
    /// Error of the latest refresh, if it failed; the vitals are then those of an earlier one.
    pub error: Option<String>,
    /// Workers that pause, and the latest change of a setting, on one line.
    pub notice: Option<String>,
    /// Pause between two refreshes.
    pub interval: Duration,
    /// Whether the display is paused: new vitals are dropped.
    pub paused: bool,
    /// Whether the help is open.
    pub help: bool,
    /// Index of the selected group.
    pub selected: usize,
    /// Whether the partitions of the selected group are shown in place of the groups.
    pub open: bool,
    /// Index of the first partition shown.
    pub scroll: usize,
    /// Whether the views use colour.
    pub colored: bool,
}

impl Model {
    /// The state before the first refresh.
    #[must_use]
    pub fn new(title: String, interval: Duration, colored: bool) -> Self {
        Self {
            title,
            vitals: None,
            error: None,
            notice: None,
            interval,
            paused: false,
            help: false,
            selected: 0,
            open: false,
            scroll: 0,
            colored,
        }
    }

    /// Number of groups; 0 before the first refresh.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.vitals.as_ref().map_or(0, |vitals| vitals.groups.len())
    }
}
