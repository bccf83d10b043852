//! `mfctl bootstrap show`: shows the live state of the declared resources.

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;

use super::folder::{self, ManifestSelection};
use crate::bootstrap::fields::{FieldChange, ResourceFields};
use crate::bootstrap::manifest::ResourceKind;
use crate::bootstrap::resources::{self, LiveState, ReadScope};
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::output::{Render, TextPage, Tone};
use crate::ops::target::DataDirMode;

/// Arguments of `mfctl bootstrap show`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl bootstrap show                                 the resources of the built-in manifests
  mfctl bootstrap show platform --only KafkaTopic/ingest.raw
  mfctl bootstrap show -o json | jq '.resources[] | select(.there | not)'

Exit codes: 0 shown, 5 a server is not reachable, 6 a manifest is invalid, or a server or permission that it needs is
missing")]
pub struct Args {
    #[command(flatten)]
    selection: ManifestSelection,
}

/// The output of `mfctl bootstrap show`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BootstrapShowReport {
    /// The declared resources, by kind.
    pub resources: Vec<ResourceState>,
    /// Resources that could not be read, with the reason.
    pub skipped: Vec<String>,
}

/// The live state of a declared resource.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ResourceState {
    /// The kind of the resource.
    pub kind: ResourceKind,
    /// The name by which the server knows the resource.
    pub name: String,
    /// Whether the resource exists.
    pub there: bool,
    /// Whether mfctl created the resource.
    pub made_by_mfctl: bool,
    /// The live fields; for a secret, only their names.
    pub fields: ResourceFields,
    /// Where it is declared, as `file:line`; null for a built-in one.
    pub source: Option<String>,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let scope = args.selection.scope();
    let mut declarations = args.selection.declarations(&connected)?;
    declarations.retain(|declaration| scope.covers(declaration.kind(), &declaration.name));
    let context = folder::resource_context(&connected, false).await?;
    let mut report = BootstrapShowReport { resources: Vec::new(), skipped: Vec::new() };
    for kind in ResourceKind::ALL.iter().copied() {
        let of_kind: Vec<_> = declarations.iter().filter(|declaration| declaration.kind() == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let resource = resources::for_kind(kind);
        let live = match resource.read_live(&context, &of_kind, ReadScope::Declared).await? {
            LiveState::Found(live) => live,
            LiveState::NotApplicable => continue,
            LiveState::Skipped(reason) => {
                report.skipped.push(reason);
                continue;
            }
        };
        report.resources.extend(of_kind.into_iter().map(|declaration| {
            let name = resource.id(declaration, &context);
            ResourceState {
                kind,
                there: live.contains_key(&name),
                made_by_mfctl: context.owner_marks.get(kind, &name).is_some(),
                fields: live.get(&name).cloned().unwrap_or_default(),
                source: declaration.location.as_ref().map(ToString::to_string),
                name,
            }
        }));
    }
    cx.out().print(&report)
}

impl Render for BootstrapShowReport {
    fn page(&self, page: &mut TextPage) {
        for resource in &self.resources {
            let created = if resource.made_by_mfctl { ", created by mfctl" } else { "" };
            match resource.there {
                true => page.heading(format!("{}/{}{created}", resource.kind, resource.name)),
                false => page.toned(format!("{}/{}: does not exist", resource.kind, resource.name), Tone::Warn),
            };
            for (field, value) in &resource.fields.0 {
                let change = FieldChange { field: field.clone(), from: None, to: Some(value.clone()) };
                page.line(format!("  {}", change.summary()));
            }
        }
        for reason in &self.skipped {
            page.toned(format!("not read: {reason}"), Tone::Warn);
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.resources.iter().map(|resource| format!("{}/{}", resource.kind, resource.name)).collect())
    }
}
