//! Progress of a long command: a bar on a terminal, elsewhere a plain line at an interval.

use std::borrow::Cow;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Output, escape, humane, lock};

/// Interval of the lines where stderr is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Most times a second that a bar is drawn.
const DRAWS_PER_SECOND: u8 = 10;

/// Position of a progress display.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgressPosition {
    /// Units done.
    pub done: u64,
    /// Units in all, if known.
    pub total: Option<u64>,
    /// Bytes done, if the work is measured in bytes.
    pub bytes: Option<u64>,
    /// Bytes in all, if known.
    pub bytes_total: Option<u64>,
    /// A note at the end of the line, e.g. `2 failed`.
    pub note: Cow<'static, str>,
}

/// A progress display. It disappears when it is finished or dropped.
#[derive(Debug)]
pub struct Progress {
    output: Output,
    name: &'static str,
    unit: &'static str,
    started: Instant,
    bar: Option<ProgressBar>,
    last_line: Mutex<Instant>,
}

impl Progress {
    pub(super) fn new(output: Output, name: &'static str, unit: &'static str) -> Self {
        let options = output.options();
        let shown = options.progress && options.stderr.terminal && !options.format.is_json();
        let bar = shown.then(|| {
            output.bars().set_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
            let bar = output.bars().add(ProgressBar::new_spinner());
            bar.set_style(spinner());
            bar.set_prefix(name);
            bar
        });
        let now = Instant::now();
        Self { output, name, unit, started: now, bar, last_line: Mutex::new(now) }
    }

    /// Updates the position. Cheap enough to call for every unit.
    pub fn set(&self, position: &ProgressPosition) {
        if let Some(bar) = &self.bar {
            if let Some(total) = position.total
                && bar.length() != Some(total)
            {
                bar.set_length(total);
                bar.set_style(bounded());
            }
            bar.set_position(position.done);
            bar.set_message(describe(position, self.unit, self.started.elapsed()));
            bar.tick();
            return;
        }
        if !self.output.options().progress {
            return;
        }
        let mut last = lock(&self.last_line);
        if last.elapsed() >= LINE_INTERVAL {
            *last = Instant::now();
            self.output.note(format!("{}: {}", self.name, describe(position, self.unit, self.started.elapsed())));
        }
    }

    /// Removes the display.
    pub fn finish(self) {
        drop(self);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            self.output.bars().remove(bar);
        }
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix}: {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn bounded() -> ProgressStyle {
    ProgressStyle::with_template("{prefix} [{bar:24}] {percent:>3}% {msg}")
        .map(|style| style.progress_chars("=> "))
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// `1,200 of 20,000 files, 18.8 MiB, 812/s, ETA 23s, 2 failed`.
fn describe(position: &ProgressPosition, unit: &str, elapsed: Duration) -> String {
    let mut text = match position.total {
        Some(total) => format!("{} of {} {unit}", humane::count(position.done), humane::count(total)),
        None => format!("{} {unit}", humane::count(position.done)),
    };
    match (position.bytes, position.bytes_total) {
        (Some(done), Some(total)) => text.push_str(&format!(", {} of {}", humane::bytes(done), humane::bytes(total))),
        (Some(done), None) => text.push_str(&format!(", {}", humane::bytes(done))),
        (None, _) => {}
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
    let per_second = position.done as f64 / elapsed.as_secs_f64().max(0.001);
    text.push_str(&format!(", {}", humane::rate(per_second)));
    if let Some(left) = remaining(position, elapsed) {
        text.push_str(&format!(
            ", ETA {}",
            humane::duration(Duration::from_secs(left.as_secs()).max(Duration::from_secs(1)))
        ));
    }
    if !position.note.is_empty() {
        text.push_str(&format!(", {}", escape(&position.note)));
    }
    text
}

/// Time left at the average speed so far: by bytes where they are known, because files differ in size.
fn remaining(position: &ProgressPosition, elapsed: Duration) -> Option<Duration> {
    let (done, total) = match (position.bytes, position.bytes_total) {
        (Some(done), Some(total)) if total > 0 => (done, total),
        _ => (position.done, position.total?),
    };
    if done == 0 || done >= total {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let seconds = elapsed.as_secs_f64() * (total - done) as f64 / done as f64;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_position_rate_and_remaining_time() {
        let position = ProgressPosition {
            done: 1200,
            total: Some(20_000),
            bytes: Some(1024 * 1024),
            bytes_total: Some(3 * 1024 * 1024),
            note: "2 failed".into(),
        };
        assert_eq!(
            describe(&position, "files", Duration::from_secs(10)),
            "1,200 of 20,000 files, 1.0 MiB of 3.0 MiB, 120/s, ETA 20.0s, 2 failed"
        );
        let open = ProgressPosition { done: 5, ..ProgressPosition::default() };
        assert_eq!(describe(&open, "events", Duration::from_secs(2)), "5 events, 2.5/s");
    }
}
