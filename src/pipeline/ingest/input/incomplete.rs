//! Whether a job has all of its list and manifest.

use std::fmt;

use crate::pipeline::ingest::spec::JobSpec;
use mfctl_core::domain::job::{InputKind, JobInput};
use mfctl_core::humane;

/// Why a job does not have all of its list or manifest. The text is a clause without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incomplete {
    /// The input ended for a reason other than its end: the command was stopped or killed, or could not read on.
    NotEnded {
        /// The input.
        kind: InputKind,
        /// Entries of it that were read.
        entries: u64,
    },
    /// Nothing of the input was kept: a version of mfctl that did not keep inputs began the job.
    NotKept(InputKind),
    /// Its end was read, but `--expect` said another number of entries.
    Count {
        /// The number that `--expect` said.
        expected: u64,
        /// The number that was read.
        read: u64,
    },
}

impl Incomplete {
    /// Whether only all of the input completes the job, and not the rest of it.
    #[must_use]
    pub fn needs_all(&self) -> bool {
        matches!(self, Self::Count { .. })
    }

    /// The option that gives the missing input to the job.
    #[must_use]
    pub fn option(&self, spec: &JobSpec) -> &'static str {
        match self {
            Self::NotEnded { kind, .. } | Self::NotKept(kind) => option(*kind),
            Self::Count { .. } => option(if spec.list.is_some() { InputKind::List } else { InputKind::Manifest }),
        }
    }
}

const fn option(kind: InputKind) -> &'static str {
    match kind {
        InputKind::List => "--files-from",
        InputKind::Manifest => "--manifest",
    }
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEnded { kind, entries } => {
                let entries = humane::counted(*entries, "entry", "entries");
                write!(f, "the end of its {kind} was not read; it has at least {entries}")
            }
            Self::NotKept(kind) => write!(f, "its {kind} was not kept, so it is not known what it named"),
            Self::Count { expected, read } => {
                let read = humane::counted(*read, "entry was", "entries were");
                write!(f, "{read} read, but --expect said {}", humane::count(*expected))
            }
        }
    }
}

/// Why the job does not have all of its list and manifest; `None` if it has.
///
/// `--expect` is compared with the last part of each input alone: the entries of parts that overlap cannot be counted
/// together.
#[must_use]
pub fn incomplete(spec: &JobSpec, inputs: &[JobInput]) -> Option<Incomplete> {
    let mut read = 0;
    for kind in InputKind::ALL.iter().copied().filter(|kind| spec.has_input(*kind)) {
        let parts = || inputs.iter().filter(|input| input.kind == kind);
        let Some(last) = parts().max_by_key(|input| input.part) else { return Some(Incomplete::NotKept(kind)) };
        if !last.ended {
            return Some(Incomplete::NotEnded { kind, entries: parts().map(|input| input.entries).sum() });
        }
        read += last.entries;
    }
    spec.expect.filter(|expected| *expected != read).map(|expected| Incomplete::Count { expected, read })
}

#[cfg(test)]
mod tests {
    use super::super::super::spec::ListSpec;
    use super::*;
    use mfctl_core::domain::SourcePath;

    #[test]
    fn last_part_of_each_input_must_have_ended_with_the_expected_entries() {
        let list = ListSpec { path: None, nul: false, base: SourcePath::from_text("/"), sha256: None };
        let spec = JobSpec { list: Some(list), expect: Some(5), ..JobSpec::default() };
        let part = |part, entries, ended| JobInput { kind: InputKind::List, part, bytes: 9, entries, ended };
        assert_eq!(incomplete(&spec, &[]), Some(Incomplete::NotKept(InputKind::List)));
        let cut = Incomplete::NotEnded { kind: InputKind::List, entries: 3 };
        assert_eq!(incomplete(&spec, &[part(1, 3, false)]), Some(cut));
        let rest = [part(1, 3, false), part(2, 2, true)];
        assert_eq!(incomplete(&spec, &rest), Some(Incomplete::Count { expected: 5, read: 2 }));
        assert_eq!(incomplete(&spec, &[part(1, 3, false), part(2, 5, true)]), None);
        assert_eq!(incomplete(&JobSpec { expect: None, ..spec }, &rest), None);
        assert_eq!(incomplete(&JobSpec::default(), &[]), None);
    }
}
