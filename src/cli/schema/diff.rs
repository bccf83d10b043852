//! `mfctl schema diff`: what differs between two schemas.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::source::{self, SubjectAt, brief};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::output::{Cell, Column, Render, TextPage, Tone, humane};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::difference::{self, Difference};
use mfctl_core::ports::SchemaRegistry;

/// Arguments of `mfctl schema diff`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Without a second schema, the one this binary writes under that subject. The order of names in a list such as `required` says
nothing, and is no difference.

Examples:
  mfctl schema diff media.enriched-value                             against what this binary writes
  mfctl schema diff media.enriched-value@1 media.enriched-value@2
  mfctl schema diff media.enriched-value schemas/media.enriched.json

Exit codes: 0 the same, 2 wrong usage, 4 they differ, 5 registry not reachable, 6 no such subject, version or file, or no
data folder")]
pub struct Args {
    /// The schema before
    #[arg(value_name = "SUBJECT[@VERSION]")]
    before: SubjectAt,
    /// The schema after: a file, or a subject and version
    #[arg(value_name = "FILE|SUBJECT@VERSION")]
    after: Option<String>,
}

/// What `mfctl schema diff` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SchemaDiffReport {
    /// What the schema before is.
    pub before: String,
    /// What the schema after is.
    pub after: String,
    /// Each place where they differ.
    pub differences: Vec<Difference>,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let registry = connected.ports.registry.as_ref();
    let before = args.before.fetch(registry).await?;
    let (after, schema) = other(&args, registry).await?;
    let differences = difference::json_differences(&before.schema, &schema);
    let count = differences.len() as u64;
    let before = format!("{}@{}", before.subject, before.version);
    cx.out().print(&SchemaDiffReport { before, after, differences })?;
    if count == 0 {
        return Ok(());
    }
    let places = humane::counted(count, "place", "places");
    Err(Failure::new(FailureKind::Pending, format!("the schemas differ in {places}"))
        .hint("`mfctl schema check` says whether the one can follow the other"))
}

async fn other(args: &Args, registry: &dyn SchemaRegistry) -> Result<(String, Value)> {
    let Some(after) = &args.after else {
        let subject = &args.before.subject;
        let missing = || {
            Failure::usage(format!("this binary writes nothing under {subject}"))
                .hint("name the schema to compare with: a file, or SUBJECT@VERSION")
        };
        return Ok(("this binary's".to_owned(), source::own(subject).ok_or_else(missing)?));
    };
    let path = PathBuf::from(after);
    if Path::exists(&path) || after.ends_with(".json") {
        return Ok((after.clone(), source::of_file(&path)?));
    }
    let at: SubjectAt = after.parse().map_err(Failure::usage)?;
    let found = at.fetch(registry).await?;
    Ok((format!("{}@{}", found.subject, found.version), found.schema))
}

impl Render for SchemaDiffReport {
    fn page(&self, page: &mut TextPage) {
        if self.differences.is_empty() {
            page.toned(format!("{} and {} are the same", self.before, self.after), Tone::Good);
            return;
        }
        page.toned(format!("--- {}", self.before), Tone::Dim).toned(format!("+++ {}", self.after), Tone::Dim);
        let rows = self.differences.iter().map(|one| {
            let (sign, tone) = match (&one.before, &one.after) {
                (None, _) => ("+", Tone::Good),
                (_, None) => ("-", Tone::Bad),
                _ => ("~", Tone::Warn),
            };
            let side = |value: &Option<Value>| Cell::maybe(value.as_ref().map(brief));
            let pointer = if one.pointer.is_empty() { "/" } else { one.pointer.as_str() };
            vec![Cell::new(sign).tone(tone), Cell::new(pointer), side(&one.before), side(&one.after)]
        });
        let columns = [Column::left(""), Column::left("PATH"), Column::left("BEFORE"), Column::left("AFTER")];
        page.table(&columns, rows.collect());
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.differences.iter().map(|one| one.pointer.clone()).collect())
    }
}
