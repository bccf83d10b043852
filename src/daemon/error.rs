//! Why the daemon could not run.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::task::JoinError;

use super::instance::MAX_SLOTS;
use mfctl_core::domain::Stage;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports;

/// An error that ends the daemon. How a stage ended by itself is not an error but a [`super::StageOutcome`].
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The address of `--listen` is in use.
    #[error("cannot listen on {address}")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The address of `--listen` is not one of this host, or not permitted.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The instance name has characters that are not allowed.
    #[error("--instance takes 1 to 100 of the characters a-z A-Z 0-9 . _ -, not beginning with a dot")]
    InvalidInstance,
    /// Another process on this host holds the instance name.
    #[error("a {stage} worker named {name} is running already")]
    InstanceTaken {
        /// The stage.
        stage: Stage,
        /// The instance name.
        name: String,
    },
    /// Every slot of this data folder is held by another process.
    #[error("{} {stage} workers are running in this data folder already", MAX_SLOTS)]
    NoFreeSlot {
        /// The stage.
        stage: Stage,
    },
    /// The folder of lock files cannot be used.
    #[error("cannot use {}", .folder.shown())]
    LockFolder {
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// This program cannot be found, which the sandbox runs as the parser.
    #[error("cannot find this program to run it as a parser")]
    ParserProgram(#[source] io::Error),
    /// The parser fails a built-in sample because of a flag's value.
    #[error("{message}")]
    FlagNotUsable {
        /// The flag, its value and the failure.
        message: String,
        /// The setting that the flag gives.
        setting: &'static str,
    },
    /// A stage panicked.
    #[error("a stage of the worker panicked")]
    StagePanicked(#[source] JoinError),
    /// A port failed before the stage's consume loop had begun.
    #[error(transparent)]
    Port(#[from] ports::Error),
}

impl DaemonError {
    /// Hint on what to do next, if there is one.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        match self {
            Self::InstanceTaken { .. } => Some("give each worker of a stage its own --instance, or none"),
            Self::FlagNotUsable { .. } => Some("start the worker without the flag, or with another value"),
            Self::Port(error) => error.hint_text(),
            _ => None,
        }
    }
}
