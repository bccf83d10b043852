//! What a walk left out, and by which rule.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Serialize;

use mfctl_core::domain::SourcePath;

/// Rules that are counted one by one; what further rules left out is counted together.
const MAX_RULES: usize = 1000;

/// Where a rule was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleSource {
    /// `--exclude`.
    Exclude,
    /// `--include`: none of the patterns matched.
    Include,
    /// `--no-hidden`.
    NoHidden,
    /// A line of a `.mfctlignore` file.
    IgnoreFile,
}

/// A rule that leaves files and folders out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct SkipRule {
    /// Where it was given.
    pub source: RuleSource,
    /// Its pattern as text, a byte that is not UTF-8 as `\xNN`; none for `include` and `no_hidden`.
    pub pattern: Option<String>,
    /// The ignore file that it is in.
    pub file: Option<SourcePath>,
    /// Its line in the ignore file, counted from 1.
    pub line: Option<u64>,
}

impl SkipRule {
    pub(super) fn of_option(source: RuleSource, pattern: Option<&[u8]>) -> Self {
        Self { source, pattern: pattern.map(shown), file: None, line: None }
    }
}

impl fmt::Display for SkipRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = self.pattern.as_deref().unwrap_or_default();
        match (self.source, &self.file) {
            (RuleSource::Exclude, _) => write!(f, "--exclude '{pattern}'"),
            (RuleSource::Include, _) => f.write_str("--include: no pattern matches"),
            (RuleSource::NoHidden, _) => f.write_str("--no-hidden"),
            (RuleSource::IgnoreFile, Some(file)) => {
                write!(f, "'{pattern}' ({file}, line {})", self.line.unwrap_or_default())
            }
            (RuleSource::IgnoreFile, None) => write!(f, "'{pattern}'"),
        }
    }
}

/// A pattern as text; a byte that is not UTF-8 is written `\xNN`.
pub(super) fn shown(pattern: &[u8]) -> String {
    let mut text = String::with_capacity(pattern.len());
    for chunk in pattern.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// How many files and folders a rule left out. What is in such a folder is not counted: it was not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RuleCount {
    /// The rule.
    #[serde(flatten)]
    pub rule: SkipRule,
    /// Files and folders that it left out.
    pub count: u64,
}

#[derive(Debug, Default)]
struct Counts {
    by_rule: HashMap<SkipRule, u64>,
    others: u64,
}

/// What a walk left out.
#[derive(Debug, Default)]
pub struct SkipCounters {
    /// Ignore files that were read.
    pub ignore_files: AtomicU64,
    /// Symbolic links to folders, without `--follow`.
    pub linked_folders: AtomicU64,
    /// Sidecars of files that the walk took.
    pub sidecars: AtomicU64,
    /// Sidecars of files that it left out.
    pub unread_sidecars: AtomicU64,
    /// The data folder, or folders and files in it, that the walk met.
    pub data_folders: AtomicU64,
    /// Patterns of `--include` and `--exclude` that matched nothing, known once the whole source was walked.
    pub unmatched: Mutex<Vec<SkipRule>>,
    counts: Mutex<Counts>,
}

impl SkipCounters {
    /// Counts a file or folder that a rule left out.
    pub(super) fn left_out(&self, rule: &SkipRule) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.by_rule.get_mut(rule) {
            *count += 1;
        } else if counts.by_rule.len() < MAX_RULES {
            counts.by_rule.insert(rule.clone(), 1);
        } else {
            counts.others += 1;
        }
    }

    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The rules that left something out, that with the largest count first. No more than 1,000: see
    /// [`SkipCounters::by_other_rules`].
    #[must_use]
    pub fn by_rule(&self) -> Vec<RuleCount> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> =
            counts.by_rule.iter().map(|(rule, count)| RuleCount { rule: rule.clone(), count: *count }).collect();
        all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.rule.cmp(&b.rule)));
        all
    }

    /// Files and folders that rules left out which are not counted one by one.
    #[must_use]
    pub fn by_other_rules(&self) -> u64 {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).others
    }

    /// Files and folders that any rule left out.
    #[must_use]
    pub fn by_rules(&self) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.by_rule.values().sum::<u64>() + counts.others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_beyond_the_limit_are_counted_together() {
        let counters = SkipCounters::default();
        for number in 0..MAX_RULES + 7 {
            let rule = SkipRule::of_option(RuleSource::Exclude, Some(format!("{number}").as_bytes()));
            counters.left_out(&rule);
        }
        let last = SkipRule::of_option(RuleSource::Exclude, Some(b"3"));
        counters.left_out(&last);
        let counts = counters.by_rule();
        assert_eq!((counts.len(), counters.by_other_rules()), (MAX_RULES, 7));
        assert_eq!(counts[0], RuleCount { rule: last, count: 2 });
        assert_eq!(counters.by_rules(), MAX_RULES as u64 + 8);
        assert_eq!(shown(b"a\\\xe9\xd8\xb3"), "a\\\\xe9\u{633}");
    }
}
