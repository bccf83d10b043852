//! `mfctl schema check`: checks schemas for compatibility with their earlier versions.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::source;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::output::{Render, TextPage, Tone, humane};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::compat::{self, CompatViolation, Compatibility, EarlierVersion};
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::events::schemas;
use mfctl_core::events::validator::SchemaValidator;
use mfctl_core::ports::SchemaRegistry;

/// Arguments of `mfctl schema check`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Checks by this binary's own rules, which name each breaking change and its fix, and asks the registry too. The platform's
schemas must be BACKWARD_TRANSITIVE, others what their subject is configured to. --offline connects to nothing and compares
with the versions built into this binary.

Examples:
  mfctl schema check                                          this binary's schemas
  mfctl schema check schemas/media.enriched.json              a file, before it is committed
  mfctl schema check new.json --subject orders-value --compatibility FULL
  mfctl schema check schemas/*.json --offline                 in a build, without a registry

Exit codes: 0 compatible, 2 wrong usage, 5 registry not reachable, 6 no such file, not a schema, or no data folder,
10 a breaking change, each named")]
pub struct Args {
    /// Schemas to check; a file named after a topic needs no --subject
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Every schema this binary writes; the default when no file is given
    #[arg(long, conflicts_with = "files")]
    all: bool,
    /// The subject that the file is for
    #[arg(long, value_name = "SUBJECT", requires = "files")]
    subject: Option<String>,
    /// Compatibility level to check, in place of the configured one
    #[arg(long, value_name = "LEVEL")]
    compatibility: Option<Compatibility>,
    /// Do not connect to the registry
    #[arg(long)]
    offline: bool,
}

/// The result of checking one schema.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SchemaCheck {
    /// Its subject.
    pub subject: String,
    /// Its file; none for a schema of this binary.
    pub file: Option<String>,
    /// Whether it is compatible with the registered versions.
    pub compatible: bool,
    /// The compatibility level that was checked.
    pub compatibility: Compatibility,
    /// The registered version with the same schema, if there is one.
    pub version: Option<u32>,
    /// The registered versions.
    pub versions: Vec<u32>,
    /// Each breaking change, by this binary's rules.
    pub violations: Vec<CompatViolation>,
    /// Further objections of the registry, in its own words.
    pub registry_messages: Vec<String>,
}

/// Output of `mfctl schema check`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SchemaCheckReport {
    /// The schemas that were checked.
    pub checks: Vec<SchemaCheck>,
}

/// A schema that is checked, and perhaps registered.
#[derive(Debug, Clone)]
pub(super) struct SchemaCandidate {
    pub(super) subject: String,
    pub(super) file: Option<PathBuf>,
    pub(super) schema: Value,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    if args.subject.is_some() && args.files.len() > 1 {
        return Err(Failure::usage("--subject is for one file").hint("check the files one by one"));
    }
    let candidates = candidates(&args.files, args.subject.as_deref())?;
    let mut checks = Vec::new();
    if args.offline {
        for candidate in &candidates {
            checks.push(check_offline(candidate, args.compatibility)?);
        }
    } else {
        let connected = cx.connect(DataDirMode::MustExist).await?;
        for candidate in &candidates {
            checks.push(check_online(candidate, args.compatibility, connected.ports.registry.as_ref()).await?);
        }
    }
    let report = SchemaCheckReport { checks };
    cx.out().print(&report)?;
    report.fail_if_incompatible()
}

/// The schemas of these files, or this binary's own.
pub(super) fn candidates(files: &[PathBuf], subject: Option<&str>) -> Result<Vec<SchemaCandidate>> {
    if files.is_empty() {
        let own = schemas::written().into_iter();
        return Ok(own
            .map(|(topic, schema)| SchemaCandidate { subject: schemas::subject(&topic), file: None, schema })
            .collect());
    }
    let read = |path: &PathBuf| {
        let subject = source::subject_of(path, subject)?;
        let schema = source::read_file(path)?;
        let not_a_schema = |why| Failure::invalid(format!("{} is not a JSON Schema: {why}", path.shown()));
        SchemaValidator::compile(&schema).map_err(not_a_schema)?;
        Ok(SchemaCandidate { subject, file: Some(path.clone()), schema })
    };
    files.iter().map(read).collect()
}

/// Checks against the registered versions, by our rules and those of the registry.
pub(super) async fn check_online(
    candidate: &SchemaCandidate,
    level: Option<Compatibility>,
    registry: &dyn SchemaRegistry,
) -> Result<SchemaCheck> {
    let versions = registry.versions(&candidate.subject).await?;
    let level = match level {
        Some(level) => level,
        None if schemas::topic_of(&candidate.subject).is_some() => schemas::COMPATIBILITY,
        None => registry.compatibility(&candidate.subject).await?,
    };
    let earlier: Vec<_> = versions.iter().map(|old| (old.version, &old.schema)).collect();
    let mut check = SchemaCheck::new(candidate, level, &earlier);
    if check.version.is_none() {
        let mut messages = registry.check_compatibility(&candidate.subject, &candidate.schema).await?;
        check.compatible &= messages.is_empty();
        // The embedded registry applies the same rules and repeats our messages.
        messages.retain(|message| !check.violations.iter().any(|own| message.contains(&own.message)));
        check.registry_messages = messages;
    }
    Ok(check)
}

fn check_offline(candidate: &SchemaCandidate, level: Option<Compatibility>) -> Result<SchemaCheck> {
    let topic = schemas::topic_of(&candidate.subject).ok_or_else(|| {
        Failure::usage(format!("this binary has no versions of {}", candidate.subject))
            .hint("omit --offline to ask the registry")
    })?;
    let texts = schemas::history_of(&topic).iter();
    let history: Vec<Value> = texts.filter_map(|text| serde_json::from_str(text).ok()).collect();
    let earlier: Vec<_> = (1..).zip(&history).collect();
    Ok(SchemaCheck::new(candidate, level.unwrap_or(schemas::COMPATIBILITY), &earlier))
}

impl SchemaCheck {
    fn new(candidate: &SchemaCandidate, level: Compatibility, versions: &[(u32, &Value)]) -> Self {
        let same_schema = versions.iter().rev().find(|(_, schema)| **schema == candidate.schema);
        let version = same_schema.map(|(version, _)| *version);
        // A schema that is registered already is compared only with the versions before its own.
        let earlier: Vec<_> = versions
            .iter()
            .filter(|(number, _)| version.is_none_or(|own| *number < own))
            .map(|(version, schema)| EarlierVersion { version: *version, schema })
            .collect();
        let violations = compat::check(level, &candidate.schema, &earlier);
        Self {
            subject: candidate.subject.clone(),
            file: candidate.file.as_ref().map(|path| path.shown().to_string()),
            compatible: violations.is_empty(),
            compatibility: level,
            version,
            versions: versions.iter().map(|(version, _)| *version).collect(),
            violations,
            registry_messages: Vec::new(),
        }
    }
}

impl SchemaCheckReport {
    /// Fails with exit 10 if a schema is incompatible.
    pub(super) fn fail_if_incompatible(&self) -> Result<()> {
        let incompatible = self.checks.iter().filter(|check| !check.compatible).count() as u64;
        if incompatible == 0 {
            return Ok(());
        }
        let schemas = humane::counted(incompatible, "schema is", "schemas are");
        Err(Failure::check_failed(format!("{schemas} incompatible with earlier versions")).hint(
            "fix each change as listed; a change that must break compatibility needs a new subject: update the \
                 readers first",
        ))
    }
}

impl Render for SchemaCheckReport {
    fn page(&self, page: &mut TextPage) {
        for check in &self.checks {
            print_check(check, page);
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.checks.iter().filter(|check| !check.compatible).map(|check| check.subject.clone()).collect())
    }
}

fn print_check(check: &SchemaCheck, page: &mut TextPage) {
    let (word, tone) = match (check.compatible, check.version, check.versions.is_empty()) {
        (false, ..) => ("incompatible".to_owned(), Tone::Bad),
        (true, Some(version), _) => (format!("is version {version}"), Tone::Good),
        (true, None, true) => ("is the first version".to_owned(), Tone::Good),
        (true, None, false) => {
            (format!("is compatible with version {}", check.versions.last().unwrap_or(&0)), Tone::Good)
        }
    };
    let from = check.file.as_ref().map(|file| format!(" ({file})")).unwrap_or_default();
    page.spans(vec![
        (format!("{}{from}: ", check.subject), Tone::Strong),
        (word, tone),
        (format!(" under {}", check.compatibility), Tone::Dim),
    ]);
    for violation in &check.violations {
        let pointer = if violation.pointer.is_empty() { "/" } else { violation.pointer.as_str() };
        page.toned(format!("  {pointer}  {}", violation.rule.as_str()), Tone::Bad);
        page.line(format!("    against version {}: {}", violation.against_version, violation.message));
        page.toned(format!("    fix: {}", violation.remedy), Tone::Dim);
    }
    for message in &check.registry_messages {
        page.toned(format!("  the registry reports: {message}"), Tone::Bad);
    }
}
