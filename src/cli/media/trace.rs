//! `mfctl media trace`: prints the history of one asset as a timeline.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::trace_paths;
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{FailureKind, OrFail, Result};
use crate::cli::ids;
use crate::cli::output::{Cell, Column, Render, TextPage, Tone, humane};
use crate::ops::target::DataDirMode;
use crate::ops::trace::{self, AssetTrace, TraceStepKind, TraceSubject};
use mfctl_core::domain::{IdPrefix, SourcePath};
use mfctl_core::ports::ErrorKind;

/// Arguments of `mfctl media trace`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl media trace ed6de839-bf6e-5531-a0eb-2be63a35ce0a
  mfctl media trace ~/media/cover.jpg              by the path of its source file, also through links
  mfctl media trace media.ingested.dlq:3:42        by the address of one of its records
  mfctl media trace cover.jpg -o json | jq '.steps[] | select(.kind == \"dead_letter\")'

Exit codes: 0 shown, 5 a dependency is not reachable, 6 no such asset, event or file, or no data folder")]
pub struct Args {
    /// An asset's id or its beginning, at least 4 digits; an event's id, a record's address (<topic>:<partition>:<offset>) or a
    /// file's path
    #[arg(value_name = "ASSET|EVENT|RECORD|PATH", add = ArgValueCandidates::new(complete::assets))]
    subject: OsString,
}

/// The output of `mfctl media trace`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MediaTraceReport {
    /// A remark on how the subject led to the asset.
    pub remark: Option<String>,
    /// The asset's trace.
    #[serde(flatten)]
    pub trace: AssetTrace,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let given = parse_subject(&args.subject)?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let (subject, prefix) = match given {
        GivenSubject::Known(subject) => (subject, None),
        GivenSubject::FileOrPrefix { file, prefix } => (file, Some(prefix)),
    };
    let found = trace::find_asset(&subject, &connected.target.tenant, &connected.ports).await;
    let (asset, remark) = match (found, prefix) {
        (Err(error), Some(prefix)) if error.kind() == ErrorKind::NotFound => {
            let asset = ids::asset(prefix, &connected).await;
            let asset = asset.map_err(|failure| match failure.kind() {
                FailureKind::NotFound => failure.hint(format!("{error} either")),
                _ => failure,
            })?;
            (asset, None)
        }
        (found, _) => found?,
    };
    let trace = trace::trace_asset(asset, &connected.ports).await?;
    cx.out().print(&MediaTraceReport { remark, trace })
}

/// What is to be traced, before the catalog is asked.
enum GivenSubject {
    Known(TraceSubject),
    /// A file of this name, or if no asset came from it, the beginning of an asset's id.
    FileOrPrefix {
        file: TraceSubject,
        prefix: IdPrefix,
    },
}

fn parse_subject(given: &OsStr) -> Result<GivenSubject> {
    if let Some(id) = given.to_str().and_then(|text| text.parse().ok()) {
        return Ok(GivenSubject::Known(TraceSubject::Id(id)));
    }
    if let Some(address) = given.to_str().and_then(|text| text.parse().ok()) {
        return Ok(GivenSubject::Known(TraceSubject::Address(address)));
    }
    let path = Path::new(given);
    let absolute = std::path::absolute(path)
        .or_fail(FailureKind::Invalid, || format!("{given:?} is not an id, a record's address or a path"))?;
    let file =
        TraceSubject::File { given: SourcePath::from_path(&absolute), paths: trace_paths::candidates(&absolute) };
    Ok(match given.to_str().and_then(|text| text.parse().ok()) {
        Some(prefix) => GivenSubject::FileOrPrefix { file, prefix },
        None => GivenSubject::Known(file),
    })
}

impl Render for MediaTraceReport {
    fn page(&self, page: &mut TextPage) {
        let trace = &self.trace;
        page.field("asset", Cell::new(trace.asset_id.to_string()).tone(Tone::Strong));
        if let Some(state) = trace.state {
            let flag = trace.dead_lettered.map(|stage| format!(", dead-lettered in {stage}")).unwrap_or_default();
            page.field("state", format!("{state}{flag}"));
        }
        if let Some(took) = trace.took_seconds {
            page.field("from first to last", humane::duration(Duration::from_secs_f64(took.max(0.0))));
        }
        if let Some(remark) = &self.remark {
            page.field("note", remark.as_str());
        }
        page.blank();
        let columns = [
            Column::whole("TIME"),
            Column::number("ELAPSED").rank(2),
            Column::whole("KIND").rank(1),
            Column::whole("RECORD").rank(3),
            Column::text("DESCRIPTION"),
        ];
        let rows = trace.steps.iter().map(|step| {
            let (kind, tone) = kind_label(step.kind);
            vec![
                Cell::new(step.at.to_string()),
                Cell::new(elapsed(step.after_seconds)),
                Cell::new(kind).tone(tone),
                Cell::maybe(step.address.as_ref()),
                Cell::new(step.text.as_str()),
            ]
        });
        page.table(&columns, rows.collect());
        for gap in &trace.gaps {
            page.toned(gap.as_str(), Tone::Warn);
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.trace.asset_id.to_string()])
    }
}

fn elapsed(seconds: Option<f64>) -> String {
    match seconds {
        Some(seconds) if seconds >= 0.0 => format!("+{}", humane::duration(Duration::from_secs_f64(seconds))),
        _ => String::new(),
    }
}

fn kind_label(kind: TraceStepKind) -> (&'static str, Tone) {
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
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn the_kind_of_a_subject_follows_from_its_syntax() {
        let parse = |text: &[u8]| parse_subject(OsStr::from_bytes(text)).unwrap();
        let known = |text: &[u8]| match parse(text) {
            GivenSubject::Known(subject) => subject,
            GivenSubject::FileOrPrefix { prefix, .. } => panic!("{prefix}"),
        };
        assert!(matches!(known(b"ed6de839-bf6e-5531-a0eb-2be63a35ce0a"), TraceSubject::Id(_)));
        assert!(matches!(known(b"media.ingested:3:42"), TraceSubject::Address(_)));
        let TraceSubject::File { given, paths } = known(b"a/b.jpg") else { panic!("a path") };
        assert!(given.as_str().starts_with('/') && given.as_str().ends_with("/a/b.jpg"));
        assert_eq!(paths[0], given);
        let TraceSubject::File { given, .. } = known(b"a/b\xff.jpg") else { panic!("a path that is not UTF-8") };
        assert!(given.as_str().ends_with("/a/b\\xff.jpg"), "{given}");
        assert!(matches!(parse(b"ed6de839"), GivenSubject::FileOrPrefix { file: TraceSubject::File { .. }, .. }));
        assert!(matches!(parse(b"./ed6de839"), GivenSubject::Known(TraceSubject::File { .. })));
    }
}
