//! Where log lines go and how they look: readable for people, JSON for machines.

use std::fmt;
use std::str::FromStr;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `2026-11-24T04:10:00.123Z  INFO settled stage=persist records=512`.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}

impl FromStr for LogFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is not a log format (human or json)")),
        }
    }
}

/// How to log.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// How a line looks.
    pub format: LogFormat,
    /// The least level of mfctl's own lines; of other crates only warnings and errors are shown.
    pub level: Level,
    /// Whether a human line may be coloured.
    pub color: bool,
}

/// RFC 3339 UTC with milliseconds, as every time mfctl writes.
#[derive(Debug, Clone, Copy)]
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{:.3}", jiff::Timestamp::now())
    }
}

/// Crates whose lines are never shown: their spans hold what they were called with, tokens and secret ids among it, and
/// what they fail with comes back as an error anyway.
const SILENT: [&str; 3] = ["vaultrs", "consulrs", "rustify"];

fn levels(level: Level) -> Targets {
    let levels = Targets::new().with_default(Level::WARN).with_target("mfctl", level);
    SILENT.iter().fold(levels, |levels, target| levels.with_target(*target, LevelFilter::OFF))
}

/// Sends the process's log lines to `writer`. Called once, by whoever owns stderr.
///
/// # Errors
/// When it was called before.
pub fn init<W>(options: LogOptions, writer: W) -> Result<(), TryInitError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let levels = levels(options.level);
    let layer = tracing_subscriber::fmt::layer().with_timer(Utc).with_writer(writer);
    let registry = tracing_subscriber::registry().with(levels);
    match options.format {
        LogFormat::Human => registry.with(layer.with_ansi(options.color).with_target(false)).try_init(),
        LogFormat::Json => registry.with(layer.with_ansi(false).json().flatten_event(true)).try_init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_that_would_log_secrets_are_silent_at_every_level() {
        for target in ["vaultrs::auth::approle", "consulrs::api::features", "rustify::client"] {
            assert!(!levels(Level::TRACE).would_enable(target, &Level::ERROR), "{target}");
        }
        assert!(levels(Level::TRACE).would_enable("mfctl::cli", &Level::TRACE));
        assert!(!levels(Level::TRACE).would_enable("hyper", &Level::INFO));
    }
}
