//! `mfctl schema check`: can a schema follow the versions before it?

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
use mfctl_core::events::schemas;
use mfctl_core::events::validator::SchemaValidator;
use mfctl_core::ports::SchemaRegistry;

/// Arguments of `mfctl schema check`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Compares by this binary's own rules, which name each breaking change and what would mend it, and asks the registry too. The
platform's schemas are held to BACKWARD_TRANSITIVE, others to what their subject says. --offline connects to nothing and
compares with the versions this binary carries.

Examples:
  mfctl schema check                                          this binary's schemas
  mfctl schema check schemas/media.enriched.json              a file, before it is committed
  mfctl schema check new.json --subject orders-value --compatibility FULL
  mfctl schema check schemas/*.json --offline                 in a build, without a registry

Exit codes: 0 compatible, 2 wrong usage, 5 registry not reachable, 6 no such file, no schema, or no data folder,
10 a breaking change, each named")]
pub struct Args {
    /// Schemas to check; a file named after a topic needs no --subject
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Every schema this binary writes; so it is when no file is given
    #[arg(long, conflicts_with = "files")]
    all: bool,
    /// The subject that the file is for
    #[arg(long, value_name = "SUBJECT", requires = "files")]
    subject: Option<String>,
    /// What to hold it to, in place of what the subject says
    #[arg(long, value_name = "LEVEL")]
    compatibility: Option<Compatibility>,
    /// Ask no registry
    #[arg(long)]
    offline: bool,
}

/// What became of one schema.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SchemaCheck {
    /// The subject it was checked for.
    pub subject: String,
    /// The file it came from; none for this binary's own.
    pub file: Option<String>,
    /// Whether it can follow the versions that are there.
    pub compatible: bool,
    /// What it was held to.
    pub compatibility: Compatibility,
    /// The version that is this very schema, if one is.
    pub version: Option<u32>,
    /// The versions that are there.
    pub versions: Vec<u32>,
    /// Each breaking change, by this binary's rules.
    pub violations: Vec<CompatViolation>,
    /// What the registry has against it beside that, in its own words.
    pub registry_messages: Vec<String>,
}

/// What `mfctl schema check` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SchemaCheckReport {
    /// The schemas that were checked.
    pub checks: Vec<SchemaCheck>,
}

/// A schema to be checked.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
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
            checks.push(offline(candidate, args.compatibility)?);
        }
    } else {
        let connected = cx.connect(DataDirMode::MustExist).await?;
        for candidate in &candidates {
            checks.push(online(candidate, args.compatibility, connected.ports.registry.as_ref()).await?);
        }
    }
    let report = SchemaCheckReport { checks };
    cx.out().print(&report)?;
    report.verdict()
}

/// The schemas of these files, or this binary's own.
pub(super) fn candidates(files: &[PathBuf], subject: Option<&str>) -> Result<Vec<Candidate>> {
    if files.is_empty() {
        let own = schemas::written().into_iter();
        return Ok(own
            .map(|(topic, schema)| Candidate { subject: schemas::subject(&topic), file: None, schema })
            .collect());
    }
    let read = |path: &PathBuf| {
        let (subject, schema) = (source::subject_of(path, subject)?, source::of_file(path)?);
        let unusable = |why| Failure::invalid(format!("{} is no JSON Schema: {why}", path.display()));
        SchemaValidator::compile(&schema).map_err(unusable)?;
        Ok(Candidate { subject, file: Some(path.clone()), schema })
    };
    files.iter().map(read).collect()
}

/// Against what the registry has, by our rules and its own.
pub(super) async fn online(
    candidate: &Candidate,
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
    let mut check = SchemaCheck::of(candidate, level, &earlier);
    if check.version.is_none() {
        let mut messages = registry.check_compatibility(&candidate.subject, &candidate.schema).await?;
        check.compatible &= messages.is_empty();
        // The embedded registry has no rules but ours, and says the same again.
        messages.retain(|message| !check.violations.iter().any(|own| message.contains(&own.message)));
        check.registry_messages = messages;
    }
    Ok(check)
}

fn offline(candidate: &Candidate, level: Option<Compatibility>) -> Result<SchemaCheck> {
    let topic = schemas::topic_of(&candidate.subject).ok_or_else(|| {
        Failure::usage(format!("this binary carries no versions of {}", candidate.subject))
            .hint("leave --offline away, so that the registry is asked")
    })?;
    let texts = schemas::history_of(&topic).iter();
    let history: Vec<Value> = texts.filter_map(|text| serde_json::from_str(text).ok()).collect();
    let earlier: Vec<_> = (1..).zip(&history).collect();
    Ok(SchemaCheck::of(candidate, level.unwrap_or(schemas::COMPATIBILITY), &earlier))
}

impl SchemaCheck {
    fn of(candidate: &Candidate, level: Compatibility, versions: &[(u32, &Value)]) -> Self {
        let same = versions.iter().rev().find(|(_, schema)| **schema == candidate.schema);
        let version = same.map(|(version, _)| *version);
        // What is registered already is not registered again, whatever came after it.
        let earlier: Vec<_> = versions
            .iter()
            .filter(|(number, _)| version.is_none_or(|own| *number < own))
            .map(|(version, schema)| EarlierVersion { version: *version, schema })
            .collect();
        let violations = compat::check(level, &candidate.schema, &earlier);
        Self {
            subject: candidate.subject.clone(),
            file: candidate.file.as_ref().map(|path| path.display().to_string()),
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
    /// Exit 10 when something breaks.
    pub(super) fn verdict(&self) -> Result<()> {
        let broken = self.checks.iter().filter(|check| !check.compatible).count() as u64;
        if broken == 0 {
            return Ok(());
        }
        let schemas = humane::counted(broken, "schema cannot", "schemas cannot");
        Err(Failure::check_failed(format!("{schemas} follow the versions before"))
            .hint("mend each change as it says; a change that must break goes under a new subject, readers first"))
    }
}

impl Render for SchemaCheckReport {
    fn page(&self, page: &mut TextPage) {
        for check in &self.checks {
            self::page(check, page);
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.checks.iter().filter(|check| !check.compatible).map(|check| check.subject.clone()).collect())
    }
}

fn page(check: &SchemaCheck, page: &mut TextPage) {
    let (word, tone) = match (check.compatible, check.version, check.versions.is_empty()) {
        (false, ..) => ("incompatible".to_owned(), Tone::Bad),
        (true, Some(version), _) => (format!("is version {version}"), Tone::Good),
        (true, None, true) => ("is the first version".to_owned(), Tone::Good),
        (true, None, false) => (format!("can follow version {}", check.versions.last().unwrap_or(&0)), Tone::Good),
    };
    let from = check.file.as_ref().map(|file| format!(" ({file})")).unwrap_or_default();
    page.spans(vec![
        (format!("{}{from}: ", check.subject), Tone::Strong),
        (word, tone),
        (format!(" under {}", check.compatibility), Tone::Dim),
    ]);
    for violation in &check.violations {
        let place = if violation.pointer.is_empty() { "/" } else { violation.pointer.as_str() };
        page.toned(format!("  {place}  {}", violation.rule.as_str()), Tone::Bad);
        page.line(format!("    against version {}: {}", violation.against_version, violation.message));
        page.toned(format!("    mend: {}", violation.remedy), Tone::Dim);
    }
    for message in &check.registry_messages {
        page.toned(format!("  the registry says: {message}"), Tone::Bad);
    }
}
