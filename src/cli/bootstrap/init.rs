//! `mfctl bootstrap init`: writes a starter folder of manifests that can be applied as it is.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde::Serialize;

use super::folder;
use crate::bootstrap::manifest::{GeneratedFile, ResourceKind, builtin_declarations, scaffold};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::output::{Render, TextPage, humane};
use crate::ops::target::Target;
use mfctl_core::domain::SourcePath;
use mfctl_core::domain::path::ShownPath as _;

/// Arguments of `mfctl bootstrap init`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Writes manifests for the resources that the pipeline needs in every environment, with this profile's partitions and replicas,
an overlay for the profile's environment, and JSON Schemas for completion and validation in editors. Kinds whose server the
profile does not configure are left out. Connects to no server. A folder that is not empty is refused.

Examples:
  mfctl bootstrap init platform
  mfctl bootstrap init platform --env-dir dev --env-dir prod

Exit codes: 0 written, 2 wrong usage, 6 cannot write, 8 the folder is not empty")]
pub struct Args {
    /// The folder to write to; created if it does not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Also write an overlay for this environment; may be given several times
    #[arg(long, value_name = "ENV")]
    env_dir: Vec<mfctl_core::domain::EnvName>,
}

/// The output of `mfctl bootstrap init`.
#[derive(Debug, Serialize)]
struct BootstrapInitReport {
    dir: SourcePath,
    files: Vec<String>,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let settings = cx.settings()?;
    let target = Target::of(&settings);
    cx.out().set_target(&target);
    let mut declarations = builtin_declarations(&folder::builtin_defaults(&settings));
    let services = &settings.profile.services;
    if services.kafka.is_none() {
        declarations
            .retain(|declaration| matches!(declaration.kind(), ResourceKind::KafkaTopic | ResourceKind::Schema));
    }
    let mut extras = Vec::new();
    if services.vault.is_some() {
        extras.extend([ResourceKind::VaultMount, ResourceKind::VaultPolicy, ResourceKind::VaultAppRole]);
    }
    if services.consul.is_some() {
        extras.push(ResourceKind::ConsulPolicy);
    }
    if services.vault.is_some() && services.consul.is_some() {
        extras.push(ResourceKind::ConsulToken);
    }
    if services.consul.is_some() || services.kafka.is_none() {
        extras.push(ResourceKind::ConsulKeys);
    }
    let mut environments = vec![target.environment.to_string()];
    environments.extend(args.env_dir.iter().map(ToString::to_string));
    environments.dedup();
    let files = scaffold(&declarations, &extras, &environments)
        .map_err(|error| Failure::unexpected("write a manifest").because(&error))?;
    write(&args.dir, &files)?;
    let dir = args.dir.shown();
    cx.out().note(format!("next: `mfctl bootstrap plan {dir}`, then `mfctl bootstrap apply {dir}`"));
    let dir = SourcePath::from_path(args.dir.as_path());
    cx.out().print(&BootstrapInitReport { dir, files: files.into_iter().map(|(name, _)| name).collect() })
}

/// Writes files into a folder, which is created if it does not exist.
///
/// # Errors
/// Exit 8 if the folder is not empty; exit 6 if a file cannot be written.
pub fn write(dir: &Path, files: &[GeneratedFile]) -> Result<()> {
    let failed =
        |path: &Path, error: std::io::Error| Failure::invalid(format!("cannot write {}", path.shown())).because(&error);
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::new(FailureKind::Refused, format!("the folder {} is not empty", dir.shown()))
            .hint("name a new folder; existing files are never overwritten"));
    }
    for (name, text) in files {
        let path = dir.join(name);
        let folder = path.parent().unwrap_or(dir);
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        let mut file = std::fs::File::create_new(&path).map_err(|error| failed(&path, error))?;
        file.write_all(text.as_bytes()).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

impl Render for BootstrapInitReport {
    fn page(&self, page: &mut TextPage) {
        let files = humane::counted(self.files.len() as u64, "file", "files");
        page.line(format!("wrote {files} to {}", self.dir));
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.files.clone())
    }
}
