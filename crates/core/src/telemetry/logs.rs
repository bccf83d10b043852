//! Setup of logging: text for people, JSON for machines.

use std::fmt;
use std::str::FromStr;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `2026-11-24T04:10:00.123Z  INFO settled stage=persist records=512`.
    #[default]
    Human,
    /// One JSON object per line.
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

/// Options of logging.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// Format of log lines.
    pub format: LogFormat,
    /// Minimum level of mfctl's own lines; other crates log at warning level and above.
    pub level: Level,
    /// Whether human lines are coloured.
    pub color: bool,
}

/// Timestamps in RFC 3339, UTC, with milliseconds.
#[derive(Debug, Clone, Copy)]
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{:.3}", jiff::Timestamp::now())
    }
}

/// Crates that never log: their spans contain their arguments, tokens and secret ids among them, and their failures are
/// returned as errors anyway.
const SILENT: [&str; 3] = ["vaultrs", "consulrs", "rustify"];

fn levels(level: Level) -> Targets {
    let levels = Targets::new().with_default(Level::WARN).with_target("mfctl", level);
    SILENT.iter().fold(levels, |levels, target| levels.with_target(*target, LevelFilter::OFF))
}

/// Installs the process's global logger, which writes to `writer`.
///
/// # Errors
/// When a global logger is installed already.
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
    fn crates_with_secrets_in_their_spans_never_log() {
        for target in ["vaultrs::auth::approle", "consulrs::api::features", "rustify::client"] {
            assert!(!levels(Level::TRACE).would_enable(target, &Level::ERROR), "{target}");
        }
        assert!(levels(Level::TRACE).would_enable("mfctl::cli", &Level::TRACE));
        assert!(!levels(Level::TRACE).would_enable("hyper", &Level::INFO));
    }
}
