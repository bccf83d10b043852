//! `mfctl schema show`: prints one schema.

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::source::SubjectSelector;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::output::{Render, TextPage};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::compat::Compatibility;
use mfctl_core::domain::event::SchemaId;

/// Arguments of `mfctl schema show`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl schema show media.enriched-value
  mfctl schema show media.enriched-value@1 -o json | jq .schema

Exit codes: 0 shown, 2 wrong usage, 5 registry not reachable, 6 no such subject or version, or no data folder")]
pub struct Args {
    /// The subject; the latest version by default
    #[arg(value_name = "SUBJECT[@VERSION]")]
    subject: SubjectSelector,
}

/// Output of `mfctl schema show`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SchemaShowReport {
    /// Its subject.
    pub subject: String,
    /// Its version in the subject.
    pub version: u32,
    /// Its id, unique over all subjects.
    pub schema_id: SchemaId,
    /// The subject's compatibility level.
    pub compatibility: Compatibility,
    /// The JSON Schema.
    pub schema: Value,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let registry = connected.ports.registry.as_ref();
    let found = args.subject.fetch(registry).await?;
    let compatibility = registry.compatibility(&found.subject).await?;
    cx.out().print(&SchemaShowReport {
        subject: found.subject,
        version: found.version,
        schema_id: found.id,
        compatibility,
        schema: found.schema,
    })
}

impl Render for SchemaShowReport {
    fn page(&self, page: &mut TextPage) {
        page.field("subject", self.subject.as_str());
        page.field("version", self.version.to_string());
        page.field("id", self.schema_id.0.to_string());
        page.field("compatibility", self.compatibility.as_str());
        page.blank();
        let text = serde_json::to_string_pretty(&self.schema).unwrap_or_else(|_| self.schema.to_string());
        for line in text.lines() {
            page.line(line);
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![format!("{}@{}", self.subject, self.version)])
    }
}
