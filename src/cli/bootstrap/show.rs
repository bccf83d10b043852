//! `mfctl bootstrap show`: what is declared, as it is on the platform.

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;

use super::folder::{self, Folder};
use crate::bootstrap::fields::{FieldChange, ResourceFields};
use crate::bootstrap::manifest::ResourceKind;
use crate::bootstrap::resources::{self, LiveState, ReadScope};
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::output::{Page, Render, Tone};
use crate::ops::target::DataDirMode;

/// Arguments of `mfctl bootstrap show`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl bootstrap show                                 the contract's resources, as they are
  mfctl bootstrap show platform --only KafkaTopic/ingest.raw
  mfctl bootstrap show -o json | jq '.resources[] | select(.there | not)'

Exit codes: 0 shown, 5 a server is not reachable, 6 a manifest is wrong, or a server or right that it needs is missing")]
pub struct Args {
    #[command(flatten)]
    folder: Folder,
}

/// What `mfctl bootstrap show` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ShowReport {
    /// Each resource that is declared.
    pub resources: Vec<Shown>,
    /// What could not be looked at, and why.
    pub skipped: Vec<String>,
}

/// A resource as it is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Shown {
    /// The kind.
    pub kind: ResourceKind,
    /// Its name, as the server knows it.
    pub name: String,
    /// Whether it is there.
    pub there: bool,
    /// Whether mfctl made it.
    pub made_by_mfctl: bool,
    /// Its fields; of a secret only their names.
    pub fields: ResourceFields,
    /// Where it is declared.
    pub source: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let scope = args.folder.scope();
    let mut items = args.folder.items(&connected)?;
    items.retain(|item| scope.covers(item.kind(), &item.name));
    let world = folder::world(&connected, false).await?;
    let mut report = ShowReport { resources: Vec::new(), skipped: Vec::new() };
    for kind in ResourceKind::ALL.iter().copied() {
        let of_kind: Vec<_> = items.iter().filter(|item| item.kind() == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let resource = resources::for_kind(kind);
        let live = match resource.read_live(&world, &of_kind, ReadScope::Declared).await? {
            LiveState::Found(live) => live,
            LiveState::NotApplicable => continue,
            LiveState::Skipped(why) => {
                report.skipped.push(why);
                continue;
            }
        };
        report.resources.extend(of_kind.into_iter().map(|item| {
            let name = resource.id(item, &world);
            Shown {
                kind,
                there: live.contains_key(&name),
                made_by_mfctl: world.owner_marks.get(kind, &name).is_some(),
                fields: live.get(&name).cloned().unwrap_or_default(),
                source: item.location.as_ref().map(ToString::to_string),
                name,
            }
        }));
    }
    cx.out().print(&report)
}

impl Render for ShowReport {
    fn page(&self, page: &mut Page) {
        for one in &self.resources {
            let made = if one.made_by_mfctl { ", made by mfctl" } else { "" };
            match one.there {
                true => page.heading(format!("{}/{}{made}", one.kind, one.name)),
                false => page.toned(format!("{}/{}: not there", one.kind, one.name), Tone::Warn),
            };
            for (field, value) in &one.fields.0 {
                let shown = FieldChange { field: field.clone(), from: None, to: Some(value.clone()) };
                page.line(format!("  {}", shown.summary()));
            }
        }
        for skipped in &self.skipped {
            page.toned(format!("not looked at: {skipped}"), Tone::Warn);
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.resources.iter().map(|one| format!("{}/{}", one.kind, one.name)).collect())
    }
}
