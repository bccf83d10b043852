//! `mfctl schema diff`: the differences between two schemas.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::source::{self, SubjectSelector, excerpt};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::output::{Cell, Column, Render, TextPage, Tone, humane};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::difference::{self, Difference};
use mfctl_core::ports::SchemaRegistry;

/// Arguments of `mfctl schema diff`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Without a second schema, compares with the one this binary writes under that subject. The order of names in a list such as
`required` has no meaning, and is not a difference.

Examples:
  mfctl schema diff media.enriched-value                             compare with the schema this binary writes
  mfctl schema diff media.enriched-value@1 media.enriched-value@2
  mfctl schema diff media.enriched-value schemas/media.enriched.json

Exit codes: 0 identical, 2 wrong usage, 4 they differ, 5 registry not reachable, 6 no such subject, version or file, or no
data folder")]
pub struct Args {
    /// The schema before
    #[arg(value_name = "SUBJECT[@VERSION]")]
    before: SubjectSelector,
    /// The schema after: a file, or a subject and version
    #[arg(value_name = "FILE|SUBJECT@VERSION")]
    after: Option<String>,
}

/// Output of `mfctl schema diff`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SchemaDiffReport {
    /// Name of the schema before: its subject and version.
    pub before: String,
    /// Name of the schema after: its subject and version, or its file.
    pub after: String,
    /// Each difference, by JSON pointer.
    pub differences: Vec<Difference>,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let registry = connected.ports.registry.as_ref();
    let before = args.before.fetch(registry).await?;
    let (after, schema) = schema_after(&args, registry).await?;
    let differences = difference::json_differences(&before.schema, &schema);
    let count = differences.len() as u64;
    let before = format!("{}@{}", before.subject, before.version);
    cx.out().print(&SchemaDiffReport { before, after, differences })?;
    if count == 0 {
        return Ok(());
    }
    let places = humane::counted(count, "place", "places");
    Err(Failure::new(FailureKind::Pending, format!("the schemas differ in {places}"))
        .hint("`mfctl schema check` checks whether they are compatible"))
}

/// The second schema, and its name in the report.
async fn schema_after(args: &Args, registry: &dyn SchemaRegistry) -> Result<(String, Value)> {
    let Some(after) = &args.after else {
        let subject = &args.before.subject;
        let missing = || {
            Failure::usage(format!("this binary has no schema for {subject}"))
                .hint("name the schema to compare with: a file, or SUBJECT@VERSION")
        };
        return Ok(("this binary's".to_owned(), source::own_schema(subject).ok_or_else(missing)?));
    };
    let path = PathBuf::from(after);
    if Path::exists(&path) || after.ends_with(".json") {
        return Ok((after.clone(), source::read_file(&path)?));
    }
    let at: SubjectSelector = after.parse().map_err(Failure::usage)?;
    let found = at.fetch(registry).await?;
    Ok((format!("{}@{}", found.subject, found.version), found.schema))
}

impl Render for SchemaDiffReport {
    fn page(&self, page: &mut TextPage) {
        if self.differences.is_empty() {
            page.toned(format!("{} and {} are identical", self.before, self.after), Tone::Good);
            return;
        }
        page.toned(format!("--- {}", self.before), Tone::Dim).toned(format!("+++ {}", self.after), Tone::Dim);
        let rows = self.differences.iter().map(|difference| {
            let (sign, tone) = match (&difference.before, &difference.after) {
                (None, _) => ("+", Tone::Good),
                (_, None) => ("-", Tone::Bad),
                _ => ("~", Tone::Warn),
            };
            let side = |value: &Option<Value>| Cell::maybe(value.as_ref().map(excerpt));
            let pointer = if difference.pointer.is_empty() { "/" } else { difference.pointer.as_str() };
            vec![Cell::new(sign).tone(tone), Cell::new(pointer), side(&difference.before), side(&difference.after)]
        });
        let columns = [Column::text(""), Column::text("PATH"), Column::text("BEFORE"), Column::text("AFTER")];
        page.table(&columns, rows.collect());
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.differences.iter().map(|difference| difference.pointer.clone()).collect())
    }
}
