//! Failures and their exit codes: the one map from errors to the exit code of the process.
//!
//! A command returns `Result<(), Failure>`. Layers below have their own errors; they become a [`Failure`] here, or in
//! the command where it can add context. Nothing outside this file names an exit code, and nothing in it prints
//! (`output` does).

use std::error::Error;
use std::fmt;

use serde::Serialize;

use crate::daemon::DaemonError;
use crate::ops::pin::PinError;
use crate::ops::target::DataDirError;
use crate::settings;
use mfctl_core::domain::error_chain::error_texts;
use mfctl_core::ports::{self, ErrorKind};

/// Why a command did not end with exit code 0. One kind has one exit code; several kinds may share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A bug, or an error that has no kind of its own: 1.
    Unexpected,
    /// The command line is wrong: 2.
    Usage,
    /// Done in part: items were rejected, failed or dead-lettered, each one listed: 3.
    Partial,
    /// Changes are pending or drift was found: 4.
    Pending,
    /// A dependency cannot be reached, times out or throttles its clients: 5.
    Unreachable,
    /// A disk or a quota is full. Shares 5: the same command can succeed once there is room.
    Full,
    /// Input or configuration is invalid: 6.
    Invalid,
    /// Something that must exist does not: 6.
    NotFound,
    /// A command that takes files found none: 6, because nothing was done.
    NothingFound,
    /// Permission denied: 6, because a retry with the same rights cannot succeed.
    Denied,
    /// Stored data is damaged: 6.
    Corrupt,
    /// A conflict, or a lock held by another: 7.
    Conflict,
    /// Refused: needs `--yes`, `--confirm`, or crosses a guard: 8.
    Refused,
    /// A check failed: 10.
    CheckFailed,
    /// SIGHUP, after a clean stop: 129.
    HungUp,
    /// SIGINT, after a clean stop: 130.
    Interrupted,
    /// SIGTERM, after a clean stop: 143.
    Terminated,
    /// A child process exited with this code.
    Child(u8),
    /// The reader of stdout closed the pipe, which is no error: 0.
    ClosedPipe,
}

impl FailureKind {
    /// The exit code of the process.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::ClosedPipe => 0,
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Pending => 4,
            Self::Unreachable | Self::Full => 5,
            Self::Invalid | Self::NotFound | Self::NothingFound | Self::Denied | Self::Corrupt => 6,
            Self::Conflict => 7,
            Self::Refused => 8,
            Self::CheckFailed => 10,
            Self::HungUp => 129,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::Child(code) => code,
        }
    }

    /// Whether the command was stopped by a signal, after which it left everything whole.
    #[must_use]
    pub const fn is_stop(self) -> bool {
        matches!(self, Self::HungUp | Self::Interrupted | Self::Terminated)
    }

    /// The value of `error.kind` in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unexpected => "unexpected",
            Self::Usage => "usage",
            Self::Partial => "partial",
            Self::Pending => "pending",
            Self::Unreachable => "unreachable",
            Self::Full => "full",
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::NothingFound => "nothing_found",
            Self::Denied => "denied",
            Self::Corrupt => "corrupt",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::CheckFailed => "check_failed",
            Self::HungUp => "hung_up",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
            Self::Child(_) => "child",
            Self::ClosedPipe => "closed_pipe",
        }
    }
}

/// The failure of a command: a message, its causes, and a hint at what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    kind: FailureKind,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

/// Result of a command.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A failure with a message: lower case, no full stop, names the object that it is about.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// A failure with the error's own text as its message and the error's sources as its causes.
    pub fn from_error(kind: FailureKind, error: &(dyn Error + 'static)) -> Self {
        Self {
            kind,
            message: error.to_string(),
            causes: error.source().map(error_texts).unwrap_or_default(),
            hint: None,
        }
    }

    /// Wrong usage: exit 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    /// Invalid input or configuration: exit 6.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Invalid, message)
    }

    /// Something that must exist does not: exit 6.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(FailureKind::NotFound, message)
    }

    /// Refused: exit 8.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Refused, message)
    }

    /// Done in part: exit 3. The command has printed its report, which lists every item.
    pub fn partial(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Partial, message)
    }

    /// A check failed: exit 10. The command has printed its findings.
    pub fn check_failed(message: impl Into<String>) -> Self {
        Self::new(FailureKind::CheckFailed, message)
    }

    /// An error that has no kind of its own: exit 1.
    pub fn unexpected(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Unexpected, message)
    }

    /// The reader of stdout closed the pipe: ends the command without a message, exit 0.
    #[must_use]
    pub fn closed_pipe() -> Self {
        Self::new(FailureKind::ClosedPipe, "the reader of the output closed the pipe")
    }

    /// Appends an error and its sources to the causes.
    #[must_use]
    pub fn because(mut self, error: &(dyn Error + 'static)) -> Self {
        self.causes.extend(error_texts(error));
        self
    }

    /// Replaces the message by one with more context; the message so far becomes the first cause.
    #[must_use]
    pub fn while_doing(mut self, message: impl Into<String>) -> Self {
        self.causes.insert(0, std::mem::replace(&mut self.message, message.into()));
        self
    }

    /// Sets the hint: what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Kind of the failure; decides the exit code.
    #[must_use]
    pub const fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Whether the cause is an outage, so that the same command can succeed later.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self.kind, FailureKind::Unreachable | FailureKind::Full)
    }

    /// Exit code of the process.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        self.kind.exit_code()
    }

    /// Message without its causes.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Causes, nearest first.
    #[must_use]
    pub fn causes(&self) -> &[String] {
        &self.causes
    }

    /// Hint at what to do next, if there is one.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// JSON form: the last line of stderr with `-o json` and `-o jsonl`.
    #[must_use]
    pub fn document(&self) -> ErrorDocument {
        ErrorDocument {
            error: ErrorBody {
                kind: self.kind.name(),
                message: self.to_string(),
                hint: self.hint.clone(),
                exit_code: self.exit_code(),
            },
        }
    }
}

impl From<ports::Error> for Failure {
    fn from(error: ports::Error) -> Self {
        let hint = error.hint_text().map(str::to_owned).or_else(|| default_hint(error.kind()).map(str::to_owned));
        Self { hint, ..Self::from_error(kind_of(error.kind()), &error) }
    }
}

impl From<settings::Error> for Failure {
    fn from(error: settings::Error) -> Self {
        let kind = match error.kind() {
            settings::SettingsErrorKind::Usage => FailureKind::Usage,
            settings::SettingsErrorKind::Invalid => FailureKind::Invalid,
            settings::SettingsErrorKind::NotFound => FailureKind::NotFound,
            settings::SettingsErrorKind::Refused => FailureKind::Refused,
        };
        Self { hint: error.hint_text().map(str::to_owned), ..Self::from_error(kind, &error) }
    }
}

impl From<PinError> for Failure {
    fn from(error: PinError) -> Self {
        let kind = match &error {
            PinError::Mismatch(_) | PinError::OtherTenant { .. } => FailureKind::Refused,
            PinError::NotAPin { .. } | PinError::Read { .. } | PinError::Parse { .. } | PinError::Create { .. } => {
                FailureKind::Invalid
            }
            PinError::Serialize { .. } => FailureKind::Unexpected,
            PinError::Write { .. } => FailureKind::Full,
        };
        Self { hint: error.hint_text().map(str::to_owned), ..Self::from_error(kind, &error) }
    }
}

impl From<DataDirError> for Failure {
    fn from(error: DataDirError) -> Self {
        let kind = match &error {
            DataDirError::Create { .. } | DataDirError::NotADirectory { .. } => FailureKind::Invalid,
            DataDirError::Missing { .. } => FailureKind::NotFound,
        };
        Self { hint: Some(error.hint_text().to_owned()), ..Self::from_error(kind, &error) }
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        let kind = match error {
            DaemonError::Port(error) => return error.into(),
            DaemonError::InvalidInstance => FailureKind::Usage,
            DaemonError::AddressInUse { .. } | DaemonError::InstanceTaken { .. } | DaemonError::NoFreeSlot { .. } => {
                FailureKind::Conflict
            }
            DaemonError::Listen { .. } | DaemonError::LockFolder { .. } | DaemonError::FlagNotUsable { .. } => {
                FailureKind::Invalid
            }
            DaemonError::ParserProgram(_) | DaemonError::StagePanicked(_) => FailureKind::Unexpected,
        };
        Self { hint: error.hint_text().map(str::to_owned), ..Self::from_error(kind, &error) }
    }
}

/// The kind of failure that a port's error becomes.
const fn kind_of(kind: ErrorKind) -> FailureKind {
    match kind {
        ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Throttled => FailureKind::Unreachable,
        ErrorKind::Full => FailureKind::Full,
        ErrorKind::NotFound | ErrorKind::Unprepared => FailureKind::NotFound,
        ErrorKind::Invalid | ErrorKind::TooNew => FailureKind::Invalid,
        ErrorKind::Corrupt => FailureKind::Corrupt,
        ErrorKind::Denied => FailureKind::Denied,
        ErrorKind::Conflict | ErrorKind::Fenced | ErrorKind::Locked => FailureKind::Conflict,
        ErrorKind::Internal => FailureKind::Unexpected,
    }
}

/// Hint for an error of a port that has none of its own.
const fn default_hint(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Unreachable | ErrorKind::Timeout => {
            Some("`mfctl status` shows which part does not answer; try again once it does")
        }
        ErrorKind::Throttled => Some("the service throttles its clients; try again later"),
        ErrorKind::Full => Some("free some space, then run the same command again"),
        ErrorKind::Denied => Some("check who owns the data folder and what the profile's credentials may do"),
        ErrorKind::Locked => Some("another process holds the lock; wait for it, or stop it"),
        ErrorKind::Fenced => Some("another process took over from this one; make sure that only one of them runs"),
        ErrorKind::Conflict => Some("it was changed in the meantime; read it again, then decide"),
        ErrorKind::Corrupt => Some("`mfctl audit` lists what is damaged"),
        ErrorKind::TooNew => Some("a newer mfctl wrote it; upgrade this one"),
        ErrorKind::Unprepared => Some("`mfctl bootstrap apply` creates it in a cluster, `mfctl init` in a data folder"),
        ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::Internal => None,
    }
}

impl fmt::Display for Failure {
    /// The message and its causes on one line, joined by `: `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

/// Error document, `{"error":{…}}`.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct ErrorDocument {
    /// The failure that ended the command.
    pub error: ErrorBody,
}

/// Body of the error document.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct ErrorBody {
    /// Kind of the failure, e.g. `not_found`.
    pub kind: &'static str,
    /// Message with all its causes, joined by `: `.
    pub message: String,
    /// What to do next, if there is a hint.
    pub hint: Option<String>,
    /// Exit code of the process.
    pub exit_code: u8,
}

/// Turns an error of a layer below into a [`Failure`] with a kind and a message.
pub trait OrFail<T> {
    /// Turns an `Err` into a [`Failure`] of this kind and message, with the error as its cause.
    ///
    /// # Errors
    /// The failure, if the result is an `Err`.
    fn or_fail(self, kind: FailureKind, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Error + 'static> OrFail<T> for std::result::Result<T, E> {
    fn or_fail(self, kind: FailureKind, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure::new(kind, message()).because(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the store")]
    struct OpenError(#[source] std::io::Error);

    #[test]
    fn every_documented_exit_code_has_a_kind() {
        use FailureKind::*;
        let kinds = [
            ClosedPipe,
            Unexpected,
            Usage,
            Partial,
            Pending,
            Unreachable,
            Invalid,
            Conflict,
            Refused,
            CheckFailed,
            HungUp,
            Interrupted,
            Terminated,
        ];
        let codes: Vec<u8> = kinds.iter().map(|kind| kind.exit_code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 129, 130, 143]);
        assert_eq!(Child(42).exit_code(), 42);
    }

    #[test]
    fn a_port_error_keeps_its_message_and_gets_a_default_hint() {
        let error = ports::Error::new(ErrorKind::Locked, "open the store").because(std::io::Error::other("busy"));
        let failure = Failure::from(error);
        assert_eq!((failure.exit_code(), failure.to_string().as_str()), (7, "open the store: busy"));
        assert!(failure.hint_text().is_some());
        let with_own_hint = Failure::from(ports::Error::new(ErrorKind::Denied, "read a").hint("chown it"));
        assert_eq!((with_own_hint.exit_code(), with_own_hint.hint_text()), (6, Some("chown it")));
    }

    #[test]
    fn pin_and_data_folder_errors_keep_their_exit_codes() {
        let io = || std::io::Error::other("busy");
        let path = || std::path::PathBuf::from("/data");
        let refused = Failure::from(PinError::Mismatch("another platform".to_owned()));
        assert_eq!(
            (refused.exit_code(), refused.message(), refused.hint_text().is_some()),
            (8, "another platform", true)
        );
        let full = Failure::from(PinError::Write { path: path(), source: io() });
        assert_eq!((full.exit_code(), full.to_string().as_str()), (5, "cannot write /data: busy"));
        assert_eq!(Failure::from(PinError::Read { path: path(), source: io() }).exit_code(), 6);
        let damaged = serde_json::from_str::<u8>("{}").unwrap_err();
        assert_eq!(Failure::from(PinError::Parse { path: path(), source: damaged }).exit_code(), 6);
        let pinned: mfctl_core::domain::Tenant = "a".parse().unwrap();
        let wanted: mfctl_core::domain::Tenant = "b".parse().unwrap();
        assert_eq!(Failure::from(PinError::OtherTenant { pinned, wanted }).exit_code(), 8);
        let missing = Failure::from(DataDirError::Missing { path: path(), source: io() });
        assert_eq!((missing.exit_code(), missing.kind().name()), (6, "not_found"));
    }

    #[test]
    fn daemon_errors_keep_their_exit_codes() {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9464));
        let io = || std::io::Error::other("busy");
        let in_use = Failure::from(DaemonError::AddressInUse { address, source: io() });
        assert_eq!((in_use.exit_code(), in_use.to_string().as_str()), (7, "cannot listen on 127.0.0.1:9464: busy"));
        assert_eq!(in_use.hint_text(), None);
        assert_eq!(Failure::from(DaemonError::Listen { address, source: io() }).exit_code(), 6);
        assert_eq!(Failure::from(DaemonError::InvalidInstance).exit_code(), 2);
        let stage = mfctl_core::domain::Stage::Persist;
        assert_eq!(Failure::from(DaemonError::InstanceTaken { stage, name: "a".to_owned() }).exit_code(), 7);
        assert_eq!(Failure::from(DaemonError::NoFreeSlot { stage }).exit_code(), 7);
        assert_eq!(Failure::from(DaemonError::Port(ports::Error::new(ErrorKind::Locked, "x"))).exit_code(), 7);
    }

    #[test]
    fn json_joins_the_whole_chain_into_one_message() {
        let error = OpenError(std::io::Error::other("no space"));
        let failure =
            Failure::from_error(FailureKind::Full, &error).while_doing("cannot stage a.pdf").hint("free some space");
        assert_eq!(failure.message(), "cannot stage a.pdf");
        assert_eq!(failure.causes(), ["cannot open the store", "no space"]);
        let json = serde_json::to_value(failure.document()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"error": {
                "kind": "full", "message": "cannot stage a.pdf: cannot open the store: no space",
                "hint": "free some space", "exit_code": 5
            }})
        );
    }
}
