//! `mfctl schema list`: the registry's subjects, and which version of each this binary writes.

use std::collections::BTreeSet;

use clap::Args as ClapArgs;
use futures_util::{StreamExt, TryStreamExt, stream};
use schemars::JsonSchema;
use serde::Serialize;

use super::source;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::output::{Cell, Column, Render, TextPage, Tone};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::compat::Compatibility;
use mfctl_core::domain::event::SchemaId;
use mfctl_core::events::schemas;
use mfctl_core::ports::{ErrorKind, SchemaRegistry};

/// Subjects that are read concurrently.
const CONCURRENCY: usize = 8;

/// Arguments of `mfctl schema list`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A subject is `current` when this binary writes its latest version, `behind` when a later one is registered, `missing` when
the schema this binary writes is not registered, and `other` when it does not belong to the platform.

Examples:
  mfctl schema list
  mfctl schema list -o name
  mfctl schema list -o json | jq '.subjects[] | select(.state == \"missing\")'

Exit codes: 0 listed, 5 registry not reachable, 6 no data folder, or access to the registry denied")]
pub struct Args {}

/// The version this binary writes, compared with those registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubjectState {
    /// This binary writes its latest version.
    Current,
    /// This binary writes an earlier version.
    Behind,
    /// The schema this binary writes is not registered.
    Missing,
    /// Does not belong to the platform.
    Other,
}

/// A subject of the registry.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SubjectRow {
    /// Its name.
    pub subject: String,
    /// Its latest version; none if nothing is registered, or it is not a JSON Schema.
    pub latest_version: Option<u32>,
    /// The latest version's id.
    pub schema_id: Option<SchemaId>,
    /// The version this binary writes.
    pub written_version: Option<u32>,
    /// Its compatibility level.
    pub compatibility: Option<Compatibility>,
    /// The version this binary writes, compared with those registered.
    pub state: SubjectState,
}

/// Output of `mfctl schema list`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SchemaListReport {
    /// The subjects, by name.
    pub subjects: Vec<SubjectRow>,
}

pub async fn run(_: Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let registry = connected.ports.registry.as_ref();
    let mut names: BTreeSet<String> = registry.subjects().await?.into_iter().collect();
    names.extend(schemas::written().iter().map(|(topic, _)| schemas::subject(topic)));
    // A shared registry may have thousands.
    let rows = stream::iter(names).map(|subject| row(registry, subject)).buffered(CONCURRENCY);
    let subjects = rows.try_collect().await?;
    cx.out().print(&SchemaListReport { subjects })
}

async fn row(registry: &dyn SchemaRegistry, subject: String) -> Result<SubjectRow> {
    let own = source::own_schema(&subject);
    let latest = match registry.latest(&subject).await {
        // A subject of another application that is not a JSON Schema: it is listed without details.
        Err(error) if own.is_none() && error.kind() == ErrorKind::Invalid => None,
        found => found?,
    };
    let written_version = match (&own, &latest) {
        (Some(own), Some(latest)) if latest.schema == *own => Some(latest.version),
        (Some(own), Some(_)) => {
            let versions = registry.versions(&subject).await?;
            versions.iter().rev().find(|version| version.schema == *own).map(|version| version.version)
        }
        _ => None,
    };
    let compatibility = match &latest {
        Some(_) => Some(registry.compatibility(&subject).await?),
        None => None,
    };
    let latest_version = latest.as_ref().map(|latest| latest.version);
    let state = match (&own, written_version) {
        (None, _) => SubjectState::Other,
        (Some(_), None) => SubjectState::Missing,
        (Some(_), written) if written == latest_version => SubjectState::Current,
        (Some(_), Some(_)) => SubjectState::Behind,
    };
    let schema_id = latest.map(|latest| latest.id);
    Ok(SubjectRow { subject, latest_version, schema_id, written_version, compatibility, state })
}

impl Render for SchemaListReport {
    fn page(&self, page: &mut TextPage) {
        let columns = [
            Column::text("SUBJECT"),
            Column::number("LATEST"),
            Column::number("ID").rank(2),
            Column::number("WRITTEN").rank(3),
            Column::whole("COMPATIBILITY").rank(1),
            Column::whole("STATE"),
        ];
        let rows = self.subjects.iter().map(|row| {
            let (word, tone) = match row.state {
                SubjectState::Current => ("current", Tone::Good),
                SubjectState::Behind => ("behind", Tone::Warn),
                SubjectState::Missing => ("missing", Tone::Bad),
                SubjectState::Other => ("other", Tone::Dim),
            };
            vec![
                Cell::new(row.subject.as_str()),
                Cell::maybe(row.latest_version),
                Cell::maybe(row.schema_id.map(|id| id.0)),
                Cell::maybe(row.written_version),
                Cell::maybe(row.compatibility),
                Cell::new(word).tone(tone),
            ]
        });
        page.table(&columns, rows.collect());
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.subjects.iter().map(|row| row.subject.clone()).collect())
    }
}
