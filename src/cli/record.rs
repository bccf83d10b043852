//! Who did what: every change an operator makes leaves a record, whether it succeeded or not.

use std::sync::Arc;

use super::failure::{Failure, Result};
use crate::settings::Settings;
use mfctl_core::domain::Timestamp;
use mfctl_core::ports::{Clock, OperatorJournal, OperatorRecord};

/// Writes the records of one command.
#[derive(Clone)]
pub struct Recorder {
    journal: Arc<dyn OperatorJournal>,
    clock: Arc<dyn Clock>,
    actor: String,
    profile: String,
}

/// A change about to be made.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The verb as typed, e.g. `dlq redrive`.
    pub verb: &'static str,
    /// Its arguments; values of flags that carry a secret are taken out.
    pub arguments: Vec<String>,
    /// How to undo it; none when it cannot be undone.
    pub undo: Option<String>,
}

impl Change {
    /// A change by this process's own command line.
    #[must_use]
    pub fn of_process(verb: &'static str) -> Self {
        let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
        Self { verb, arguments: without_secrets(arguments), undo: None }
    }

    /// The same with how to undo it.
    #[must_use]
    pub fn undo(mut self, undo: impl Into<String>) -> Self {
        self.undo = Some(undo.into());
        self
    }
}

impl Recorder {
    /// Records in this journal, in the name of these settings' actor.
    #[must_use]
    pub fn new(journal: Arc<dyn OperatorJournal>, clock: Arc<dyn Clock>, settings: &Settings) -> Self {
        let profile = settings.profile.name.to_string();
        Self { journal, clock, actor: settings.profile.actor.clone(), profile }
    }

    /// Makes the change and records what came of it; `told` says a success in a few words.
    ///
    /// # Errors
    /// The change's own failure; or, when it succeeded, that its record could not be written.
    pub async fn run<T>(
        &self,
        change: Change,
        work: impl Future<Output = Result<T>>,
        told: impl FnOnce(&T) -> String,
    ) -> Result<T> {
        let at = self.clock.now();
        let done = work.await;
        let result = match &done {
            Ok(value) => told(value),
            Err(failure) => format!("{}: {failure}", failure.kind().name()),
        };
        let written = self.append(change, at, result).await;
        let value = done?;
        written.map_err(|failure| failure.while_doing("the change was made, but its record could not be written"))?;
        Ok(value)
    }

    /// Records a change that is already made.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub async fn append(&self, change: Change, at: Timestamp, result: String) -> Result<()> {
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

/// Arguments as they may be kept: what follows a flag that names a secret is replaced.
#[must_use]
pub fn without_secrets(arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    const HIDDEN: &str = "…";
    let mut kept = Vec::new();
    let mut hide_next = false;
    for argument in arguments {
        if std::mem::take(&mut hide_next) && !argument.starts_with("--") {
            kept.push(HIDDEN.to_owned());
            continue;
        }
        match argument.split_once('=') {
            Some((flag, _)) if names_secret(flag) => kept.push(format!("{flag}={HIDDEN}")),
            _ => {
                hide_next = names_secret(&argument);
                kept.push(argument);
            }
        }
    }
    kept
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
    struct Memory {
        records: Mutex<Vec<OperatorRecord>>,
        broken: bool,
    }

    #[async_trait::async_trait]
    impl OperatorJournal for Memory {
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

    fn recorder(journal: &Arc<Memory>) -> Recorder {
        let clock = Arc::new(SystemClock { offset_seconds: 0 });
        let journal: Arc<dyn OperatorJournal> = Arc::clone(journal) as _;
        Recorder { journal, clock, actor: "ops@box".to_owned(), profile: "embedded".to_owned() }
    }

    #[tokio::test]
    async fn a_change_leaves_a_record_whether_it_succeeds_or_not() {
        let journal = Arc::new(Memory::default());
        let recorder = recorder(&journal);
        let change = Change { verb: "dlq discard", arguments: vec!["a:0:1".to_owned()], undo: None };
        recorder.run(change.clone(), async { Ok(3) }, |count| format!("{count} discarded")).await.unwrap();
        let failed =
            recorder.run(change, async { Err::<u32, _>(Failure::refused("not confirmed")) }, |_| String::new()).await;
        assert_eq!(failed.unwrap_err().exit_code(), 8);
        let results: Vec<String> = journal.latest(9).await.unwrap().into_iter().map(|record| record.result).collect();
        assert_eq!(results, ["3 discarded", "refused: not confirmed"]);
    }

    #[tokio::test]
    async fn a_change_whose_record_cannot_be_written_is_no_success() {
        let journal = Arc::new(Memory { broken: true, ..Memory::default() });
        let failure =
            recorder(&journal).run(Change::default(), async { Ok(()) }, |()| String::new()).await.unwrap_err();
        assert!(failure.message().contains("the change was made"), "{failure}");
    }

    #[test]
    fn secrets_are_taken_out_of_the_arguments() {
        let arguments = ["login", "--token", "t0k3n", "--client-secret=s", "--profile", "dev"].map(str::to_owned);
        assert_eq!(without_secrets(arguments), ["login", "--token", "…", "--client-secret=…", "--profile", "dev"]);
    }
}
