//! `mfctl bootstrap import`: writes manifests for a platform that other tools created.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;

use super::{folder, init};
use crate::bootstrap::import;
use crate::bootstrap::manifest::{ResourceKind, json_schemas};
use crate::bootstrap::plan::{PlanScope, ResourceSelector};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::output::{Cell, Column, Render, TextPage, Tone};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::SourcePath;

/// Arguments of `mfctl bootstrap import`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Reads the platform and changes nothing there. A plan of the imported manifests is empty: from then on changes go through the
manifests. Imported resources are not marked as created by mfctl, so that --prune never deletes them. Secret values are not
read.

Examples:
  mfctl bootstrap import platform --profile prod
  mfctl bootstrap import topics --only KafkaTopic
  mfctl bootstrap import platform && mfctl bootstrap plan platform

Exit codes: 0 written, 5 a server is not reachable, 6 cannot write, or a permission is missing, 8 the folder is not empty")]
pub struct Args {
    /// The folder to write to; created if it does not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Only this kind, or this resource of that kind; may be given several times
    #[arg(long, value_name = "KIND[/NAME]")]
    only: Vec<ResourceSelector>,
}

/// The output of `mfctl bootstrap import`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BootstrapImportReport {
    /// The folder that the manifests were written to.
    pub dir: SourcePath,
    /// Number of resources of each kind that were declared.
    pub declared: BTreeMap<ResourceKind, u64>,
    /// Existing resources that were not declared, with the reason.
    pub skipped: Vec<String>,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let context = folder::resource_context(&connected, false).await?;
    let mut imported = import::import(&context, &PlanScope { only: args.only.clone() }).await?;
    if imported.declared.is_empty() {
        return Err(Failure::not_found("there is nothing to import"));
    }
    for (name, schema) in json_schemas() {
        imported.files.push((format!(".schemas/{name}.json"), format!("{schema:#}\n")));
    }
    init::write(&args.dir, &imported.files)?;
    let dir = SourcePath::from_path(args.dir.as_path());
    cx.out().print(&BootstrapImportReport { dir, declared: imported.declared, skipped: imported.skipped })
}

impl Render for BootstrapImportReport {
    fn page(&self, page: &mut TextPage) {
        const COLUMNS: [Column; 2] = [Column::whole("KIND"), Column::number("DECLARED")];
        let rows =
            self.declared.iter().map(|(kind, count)| vec![Cell::new(kind.as_str()), Cell::new(count.to_string())]);
        page.table(&COLUMNS, rows.collect());
        for skipped in &self.skipped {
            page.toned(format!("not declared: {skipped}"), Tone::Warn);
        }
        page.line(format!("written to {}", self.dir));
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.declared.keys().map(|kind| kind.as_str().to_owned()).collect())
    }
}
