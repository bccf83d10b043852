//! Failures and their exit codes: the one map from what went wrong to what the process answers.
//!
//! A verb ends in `Result<(), Failure>`. Layers below have their own errors; they become a [`Failure`] here or where the
//! verb knows more. Nothing outside this file names an exit code, and nothing in it prints (`output` does).

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
    /// A bug, or something nobody foresaw: 1.
    Unexpected,
    /// The command line is wrong: 2.
    Usage,
    /// Done in part: items were rejected, failed or dead-lettered, each one listed: 3.
    Partial,
    /// Changes are pending or drift was found: 4.
    Pending,
    /// A dependency cannot be reached, is too slow or asks to be left alone: 5.
    Unreachable,
    /// A disk or a quota is full. Shares 5: the same command can succeed once there is room.
    Full,
    /// Input or configuration is invalid: 6.
    Invalid,
    /// Something that must exist does not: 6.
    NotFound,
    /// The system refused our rights: 6, for trying again with the same rights cannot help.
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
    /// The child of `run` ended with this code.
    Child(u8),
    /// The reader of our stdout went away: nobody is left to tell, so 0.
    ClosedPipe,
}

impl FailureKind {
    /// The process's exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::ClosedPipe => 0,
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Pending => 4,
            Self::Unreachable | Self::Full => 5,
            Self::Invalid | Self::NotFound | Self::Denied | Self::Corrupt => 6,
            Self::Conflict => 7,
            Self::Refused => 8,
            Self::CheckFailed => 10,
            Self::HungUp => 129,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::Child(code) => code,
        }
    }

    /// The kind's name in JSON.
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

/// What a command failed with: a sentence, what caused it, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    kind: FailureKind,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

/// Shorthand for what a verb returns.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A failure with its sentence: lower case, no full stop, names what it is about.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// A failure whose sentence is the error's own and whose causes are the error's sources.
    pub fn of(kind: FailureKind, error: &(dyn Error + 'static)) -> Self {
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

    /// Done in part: exit 3. The verb has printed its report, which lists every item.
    pub fn partial(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Partial, message)
    }

    /// A check found something: exit 10. The verb has printed what.
    pub fn check_failed(message: impl Into<String>) -> Self {
        Self::new(FailureKind::CheckFailed, message)
    }

    /// What nobody foresaw: exit 1.
    pub fn unexpected(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Unexpected, message)
    }

    /// The reader of stdout went away; ends the verb quietly.
    #[must_use]
    pub fn closed_pipe() -> Self {
        Self::new(FailureKind::ClosedPipe, "the reader of the output went away")
    }

    /// Adds an error, and all that caused it, below the sentence.
    #[must_use]
    pub fn because(mut self, error: &(dyn Error + 'static)) -> Self {
        self.causes.extend(error_texts(error));
        self
    }

    /// Puts a sentence above this failure: what was being done when it happened.
    #[must_use]
    pub fn while_doing(mut self, what: impl Into<String>) -> Self {
        self.causes.insert(0, std::mem::replace(&mut self.message, what.into()));
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What kind of failure this is.
    #[must_use]
    pub const fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Whether a dependency is at fault, which passes.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self.kind, FailureKind::Unreachable | FailureKind::Full)
    }

    /// The process's exit code.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        self.kind.exit_code()
    }

    /// The sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What caused it, nearest first.
    #[must_use]
    pub fn causes(&self) -> &[String] {
        &self.causes
    }

    /// What to do next, if there is anything to say.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The machine-readable form: stderr's last line with `-o json` and `-o jsonl`.
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
        Self { hint, ..Self::of(kind_of(error.kind()), &error) }
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
        Self { hint: error.hint_text().map(str::to_owned), ..Self::of(kind, &error) }
    }
}

impl From<PinError> for Failure {
    fn from(error: PinError) -> Self {
        let kind = match &error {
            PinError::Mismatch(_) | PinError::OtherTenant { .. } => FailureKind::Refused,
            PinError::TooLarge { .. } | PinError::Read { .. } | PinError::Parse { .. } | PinError::Create { .. } => {
                FailureKind::Invalid
            }
            PinError::Serialize { .. } => FailureKind::Unexpected,
            PinError::Write { .. } => FailureKind::Full,
        };
        Self { hint: error.hint_text().map(str::to_owned), ..Self::of(kind, &error) }
    }
}

impl From<DataDirError> for Failure {
    fn from(error: DataDirError) -> Self {
        let kind = match &error {
            DataDirError::Create { .. } | DataDirError::NotADirectory { .. } => FailureKind::Invalid,
            DataDirError::Missing { .. } => FailureKind::NotFound,
        };
        Self { hint: Some(error.hint_text().to_owned()), ..Self::of(kind, &error) }
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
            DaemonError::Listen { .. } | DaemonError::LockFolder { .. } => FailureKind::Invalid,
            DaemonError::ParserProgram(_) | DaemonError::StagePanicked(_) => FailureKind::Unexpected,
        };
        Self { hint: error.hint_text().map(str::to_owned), ..Self::of(kind, &error) }
    }
}

/// The exit-code kind of a port's error.
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

/// What to do next where the backend said nothing better.
const fn default_hint(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Unreachable | ErrorKind::Timeout => {
            Some("`mfctl status` says which part does not answer; try again once it does")
        }
        ErrorKind::Throttled => Some("the service asks for less; try again later"),
        ErrorKind::Full => Some("free some space, then run the same command again"),
        ErrorKind::Denied => Some("check who owns the data folder and what the profile's credentials may do"),
        ErrorKind::Locked => Some("another process holds the lock; wait for it, or stop it"),
        ErrorKind::Fenced => Some("another process took this one's place; see that only one of them runs"),
        ErrorKind::Conflict => Some("somebody else changed it first; look again, then decide"),
        ErrorKind::Corrupt => Some("`mfctl audit` lists what is damaged"),
        ErrorKind::TooNew => Some("it was written by a later mfctl; upgrade this one"),
        ErrorKind::Unprepared => Some("`mfctl bootstrap apply` makes it in a cluster, `mfctl init` in a data folder"),
        ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::Internal => None,
    }
}

impl fmt::Display for Failure {
    /// The sentence and its causes on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

/// `{"error":{…}}`.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct ErrorDocument {
    /// The failure.
    pub error: ErrorBody,
}

/// The fields of `{"error":{…}}`.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct ErrorBody {
    /// The kind's name.
    pub kind: &'static str,
    /// The sentence with all its causes, joined by `: `.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The process's exit code.
    pub exit_code: u8,
}

/// Gives an error of a layer below its kind and the sentence that says what was being done.
pub trait OrFail<T> {
    /// Turns an `Err` into a [`Failure`] of this kind with this sentence above the error.
    ///
    /// # Errors
    /// The failure, if this was an error.
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
    struct Outer(#[source] std::io::Error);

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
    fn a_ports_error_keeps_its_words_and_gets_a_hint() {
        let error = ports::Error::new(ErrorKind::Locked, "open the store").because(std::io::Error::other("busy"));
        let failure = Failure::from(error);
        assert_eq!((failure.exit_code(), failure.to_string().as_str()), (7, "open the store: busy"));
        assert!(failure.hint_text().is_some());
        let own = Failure::from(ports::Error::new(ErrorKind::Denied, "read a").hint("chown it"));
        assert_eq!((own.exit_code(), own.hint_text()), (6, Some("chown it")));
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
    fn the_whole_chain_is_kept_and_told_to_machines_in_one_message() {
        let error = Outer(std::io::Error::other("no space"));
        let failure = Failure::of(FailureKind::Full, &error).while_doing("cannot stage a.pdf").hint("free some space");
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
