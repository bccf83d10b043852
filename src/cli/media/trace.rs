//! `mfctl media trace`: one asset's whole story as a timeline.

use std::path::Path;
use std::time::Duration;

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{FailureKind, OrFail, Result};
use crate::cli::output::{Cell, Column, Page, Render, Tone, humane};
use crate::ops::target::DataDirMode;
use crate::ops::trace::{self, AssetTrace, TraceStepKind, TraceSubject};
use mfctl_core::domain::SourcePath;

/// Arguments of `mfctl media trace`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl media trace ed6de839-bf6e-5531-a0eb-2be63a35ce0a
  mfctl media trace ~/media/cover.jpg              by the file it came from
  mfctl media trace media.ingested.dlq:3:42        by one of its records
  mfctl media trace cover.jpg -o json | jq '.steps[] | select(.kind == \"dead_letter\")'

Exit codes: 0 told, 5 a dependency is not reachable, 6 no such asset, event or file, or no data folder")]
pub struct Args {
    /// An asset's id, an event's id, a record's address (<topic>:<partition>:<offset>) or a file's path
    #[arg(value_name = "ASSET|EVENT|RECORD|PATH", add = ArgValueCandidates::new(complete::assets))]
    subject: String,
}

/// What `mfctl media trace` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MediaTraceReport {
    /// How the asset was found, where that needs saying.
    pub remark: Option<String>,
    /// The story.
    #[serde(flatten)]
    pub story: AssetTrace,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let subject = subject(&args.subject)?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let (asset, remark) = trace::find_asset(&subject, &connected.target.tenant, &connected.ports).await?;
    let story = trace::trace_asset(asset, &connected.ports).await?;
    cx.out().print(&MediaTraceReport { remark, story })
}

fn subject(text: &str) -> Result<TraceSubject> {
    if let Ok(id) = text.parse() {
        return Ok(TraceSubject::Id(id));
    }
    if let Ok(address) = text.parse() {
        return Ok(TraceSubject::Address(address));
    }
    let absolute = std::path::absolute(Path::new(text))
        .or_fail(FailureKind::Invalid, || format!("{text:?} is no id, no record's address and no path"))?;
    Ok(TraceSubject::Path(SourcePath::from_path(&absolute)))
}

impl Render for MediaTraceReport {
    fn page(&self, page: &mut Page) {
        let story = &self.story;
        page.field("asset", Cell::new(story.asset_id.to_string()).tone(Tone::Strong));
        if let Some(state) = story.state {
            let flag = story.dead_lettered.map(|stage| format!(", dead-lettered in {stage}")).unwrap_or_default();
            page.field("state", format!("{state}{flag}"));
        }
        if let Some(took) = story.took_seconds {
            page.field("from first to last", humane::duration(Duration::from_secs_f64(took.max(0.0))));
        }
        if let Some(remark) = &self.remark {
            page.field("found by", remark.as_str());
        }
        page.blank();
        let columns = [
            Column::left("TIME"),
            Column::right("AFTER"),
            Column::left("WHAT"),
            Column::left("WHERE"),
            Column::left("STORY"),
        ];
        let rows = story.steps.iter().map(|step| {
            let (what, tone) = word(step.kind);
            vec![
                Cell::new(step.at.to_string()),
                Cell::new(after(step.after_seconds)),
                Cell::new(what).tone(tone),
                Cell::maybe(step.address.as_ref()),
                Cell::new(step.text.as_str()),
            ]
        });
        page.table(&columns, rows.collect());
        for gap in &story.gaps {
            page.toned(gap.as_str(), Tone::Warn);
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.story.asset_id.to_string()])
    }
}

fn after(seconds: Option<f64>) -> String {
    match seconds {
        Some(seconds) if seconds >= 0.0 => format!("+{}", humane::duration(Duration::from_secs_f64(seconds))),
        _ => String::new(),
    }
}

fn word(kind: TraceStepKind) -> (&'static str, Tone) {
    match kind {
        TraceStepKind::Seen => ("file", Tone::Plain),
        TraceStepKind::State => ("state", Tone::Good),
        TraceStepKind::Event => ("event", Tone::Plain),
        TraceStepKind::Redrive => ("redrive", Tone::Warn),
        TraceStepKind::Attempt => ("attempt", Tone::Warn),
        TraceStepKind::DeadLetter => ("dead letter", Tone::Bad),
        TraceStepKind::Parked => ("parked", Tone::Bad),
        TraceStepKind::Decision => ("decision", Tone::Plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_told_from_its_text() {
        assert!(matches!(subject("ed6de839-bf6e-5531-a0eb-2be63a35ce0a").unwrap(), TraceSubject::Id(_)));
        assert!(matches!(subject("media.ingested:3:42").unwrap(), TraceSubject::Address(_)));
        let TraceSubject::Path(path) = subject("a/b.jpg").unwrap() else { panic!("a path") };
        assert!(path.as_str().starts_with('/') && path.as_str().ends_with("/a/b.jpg"));
    }
}
