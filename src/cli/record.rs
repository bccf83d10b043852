//! Records every change of an operator in the operator journal, whether it succeeded or not.

use std::sync::Arc;

use super::failure::{Failure, Result};
use crate::settings::Settings;
use mfctl_core::domain::Timestamp;
use mfctl_core::domain::address::without_credentials;
use mfctl_core::ports::{Clock, OperatorJournal, OperatorRecord};

/// Arguments of a command that are recorded at most: an operator record is limited to the size of a record of the log.
const MAX_ARGUMENT_BYTES: usize = 256 * 1024;

/// Writes the operator records of one command.
#[derive(Clone)]
pub struct Recorder {
    journal: Arc<dyn OperatorJournal>,
    clock: Arc<dyn Clock>,
    actor: String,
    profile: String,
}

/// A change to record: the command, its arguments and how to undo it.
#[derive(Debug, Clone, Default)]
pub struct RecordedChange {
    /// The command as typed, e.g. `dlq redrive`.
    pub verb: &'static str,
    /// Its arguments, at most 256 KiB of them; the values of flags that carry a secret are replaced.
    pub arguments: Vec<String>,
    /// How to undo it; `None` when it cannot be undone.
    pub undo: Option<String>,
}

impl RecordedChange {
    /// A change by this process, with the arguments of its command line.
    #[must_use]
    pub fn of_process(verb: &'static str) -> Self {
        let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
        Self { verb, arguments: within_limit(without_secrets(arguments)), undo: None }
    }

    /// The same change with instructions to undo it.
    #[must_use]
    pub fn undo(mut self, undo: impl Into<String>) -> Self {
        self.undo = Some(undo.into());
        self
    }
}

impl Recorder {
    /// A recorder for the actor and the profile of these settings.
    #[must_use]
    pub fn new(journal: Arc<dyn OperatorJournal>, clock: Arc<dyn Clock>, settings: &Settings) -> Self {
        let profile = settings.profile.name.to_string();
        Self { journal, clock, actor: settings.profile.actor.clone(), profile }
    }

    /// Makes the change and records its result; `summary` describes a success in a few words.
    ///
    /// # Errors
    /// The change's own failure; or, when it succeeded, that its record could not be written.
    pub async fn run<T>(
        &self,
        change: RecordedChange,
        work: impl Future<Output = Result<T>>,
        summary: impl FnOnce(&T) -> String,
    ) -> Result<T> {
        let at = self.clock.now();
        let outcome = work.await;
        let result = match &outcome {
            Ok(value) => summary(value),
            Err(failure) => format!("{}: {failure}", failure.kind().name()),
        };
        let written = self.append(change, at, result).await;
        let value = outcome?;
        written.map_err(|failure| failure.while_doing("the change was made, but its record could not be written"))?;
        Ok(value)
    }

    /// Records a change that was made already.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub async fn append(&self, change: RecordedChange, at: Timestamp, result: String) -> Result<()> {
        let record = OperatorRecord {
            at,
            actor: self.actor.clone(),
            profile: self.profile.clone(),
            verb: change.verb.to_owned(),
            arguments: change.arguments,
            result,
            undo: change.undo,
        };
        self.journal.append(&record).await.map_err(Failure::from)
    }
}

/// The arguments with the values of flags that name a secret replaced by `…`, and addresses without their credentials.
#[must_use]
pub fn without_secrets(arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    const HIDDEN: &str = "…";
    let mut redacted = Vec::new();
    let mut hide_next = false;
    for argument in arguments {
        if std::mem::take(&mut hide_next) && !argument.starts_with("--") {
            redacted.push(HIDDEN.to_owned());
            continue;
        }
        match argument.split_once('=') {
            Some((flag, _)) if names_secret(flag) => redacted.push(format!("{flag}={HIDDEN}")),
            _ => {
                hide_next = names_secret(&argument);
                redacted.push(without_credentials(&argument));
            }
        }
    }
    redacted
}

/// The first arguments, up to [`MAX_ARGUMENT_BYTES`], and the number of the others.
fn within_limit(mut arguments: Vec<String>) -> Vec<String> {
    let mut bytes = 0;
    let is_within = |argument: &&String| {
        bytes += argument.len();
        bytes <= MAX_ARGUMENT_BYTES
    };
    let kept = arguments.iter().take_while(is_within).count();
    let left_out = arguments.len() - kept;
    if left_out > 0 {
        arguments.truncate(kept);
        arguments.push(format!("… and {left_out} more"));
    }
    arguments
}

fn names_secret(flag: &str) -> bool {
    flag.starts_with('-')
        && ["password", "secret", "token", "passphrase", "credential"].iter().any(|word| flag.contains(word))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use mfctl_core::ports::{self, ErrorKind, SystemClock};

    #[derive(Default)]
    struct MemoryJournal {
        records: Mutex<Vec<OperatorRecord>>,
        broken: bool,
    }

    #[async_trait::async_trait]
    impl OperatorJournal for MemoryJournal {
        async fn append(&self, record: &OperatorRecord) -> ports::Result<()> {
            if self.broken {
                return Err(ports::Error::new(ErrorKind::Full, "write the operators' journal"));
            }
            self.records.lock().unwrap().push(record.clone());
            Ok(())
        }

        async fn latest(&self, _: usize) -> ports::Result<Vec<OperatorRecord>> {
            Ok(self.records.lock().unwrap().clone())
        }
    }

    fn recorder(journal: &Arc<MemoryJournal>) -> Recorder {
        let clock = Arc::new(SystemClock { offset_seconds: 0 });
        let journal: Arc<dyn OperatorJournal> = Arc::clone(journal) as _;
        Recorder { journal, clock, actor: "ops@box".to_owned(), profile: "embedded".to_owned() }
    }

    #[tokio::test]
    async fn a_change_leaves_a_record_whether_it_succeeds_or_not() {
        let journal = Arc::new(MemoryJournal::default());
        let recorder = recorder(&journal);
        let change = RecordedChange { verb: "dlq discard", arguments: vec!["a:0:1".to_owned()], undo: None };
        recorder.run(change.clone(), async { Ok(3) }, |count| format!("{count} discarded")).await.unwrap();
        let failed =
            recorder.run(change, async { Err::<u32, _>(Failure::refused("not confirmed")) }, |_| String::new()).await;
        assert_eq!(failed.unwrap_err().exit_code(), 8);
        let results: Vec<String> = journal.latest(9).await.unwrap().into_iter().map(|record| record.result).collect();
        assert_eq!(results, ["3 discarded", "refused: not confirmed"]);
    }

    #[tokio::test]
    async fn a_change_whose_record_cannot_be_written_fails() {
        let journal = Arc::new(MemoryJournal { broken: true, ..MemoryJournal::default() });
        let failure =
            recorder(&journal).run(RecordedChange::default(), async { Ok(()) }, |()| String::new()).await.unwrap_err();
        assert!(failure.message().contains("the change was made"), "{failure}");
    }

    #[test]
    fn arguments_beyond_the_limit_are_counted() {
        let ids = vec!["x".repeat(36); 28_000];
        let kept = within_limit(ids.clone());
        assert_eq!(kept.len(), 7282);
        assert_eq!(kept[7281], "… and 20719 more");
        assert_eq!(within_limit(ids[..7281].to_vec()), ids[..7281]);
    }

    #[test]
    fn secrets_are_redacted_in_the_arguments() {
        let arguments = ["login", "--token", "t0k3n", "--client-secret=s", "--profile", "dev"].map(str::to_owned);
        assert_eq!(without_secrets(arguments), ["login", "--token", "…", "--client-secret=…", "--profile", "dev"]);
        let arguments = ["kv", "put", "a/url", "http://u:p@ss/w@h/x", "--reason=see http://u:p@h"].map(str::to_owned);
        assert_eq!(without_secrets(arguments), ["kv", "put", "a/url", "http://h/x", "--reason=see http://h"]);
    }
}
