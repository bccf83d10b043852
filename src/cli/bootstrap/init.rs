//! `mfctl bootstrap init`: a first folder of manifests, which works as it is.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde::Serialize;

use super::folder;
use crate::bootstrap::manifest::{GeneratedFile, ResourceKind, builtin_declarations, scaffold};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::output::{Page, Render, humane};
use crate::ops::target::Target;
use mfctl_core::domain::SourcePath;

/// Arguments of `mfctl bootstrap init`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Writes what the contract wants of every environment, with this profile's partitions and replicas, an overlay for the
profile's environment, and JSON Schemas by which editors complete and check. Kinds whose server the profile has no table
for are left out. Asks no server. A folder that has something in it is left alone.

Examples:
  mfctl bootstrap init platform
  mfctl bootstrap init platform --env-dir dev --env-dir prod

Exit codes: 0 written, 2 wrong usage, 6 cannot write, 8 the folder is not empty")]
pub struct Args {
    /// The folder, which is made
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Also an overlay for this environment; may be given several times
    #[arg(long, value_name = "ENV")]
    env_dir: Vec<mfctl_core::domain::EnvName>,
}

/// What `mfctl bootstrap init` prints.
#[derive(Debug, Serialize)]
struct InitReport {
    dir: SourcePath,
    files: Vec<String>,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let settings = cx.settings()?;
    let target = Target::of(&settings);
    cx.out().set_target(&target);
    let mut items = builtin_declarations(&folder::defaults(&settings));
    let services = &settings.profile.services;
    if services.kafka.is_none() {
        items.retain(|item| matches!(item.kind(), ResourceKind::KafkaTopic | ResourceKind::Schema));
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
    let files = scaffold(&items, &extras, &environments)
        .map_err(|error| Failure::unexpected("write a manifest").because(&error))?;
    write(&args.dir, &files)?;
    let next = args.dir.display();
    cx.out().note(format!("next: `mfctl bootstrap plan {next}`, then `mfctl bootstrap apply {next}`"));
    let dir = SourcePath::from_path(args.dir.as_path());
    cx.out().print(&InitReport { dir, files: files.into_iter().map(|(name, _)| name).collect() })
}

/// Writes files into a folder that has nothing in it.
///
/// # Errors
/// Exit 8 when it has; exit 6 when it cannot be written.
pub fn write(dir: &Path, files: &[GeneratedFile]) -> Result<()> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::invalid(format!("cannot write {}", path.display())).because(&error)
    };
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::new(FailureKind::Refused, format!("the folder {} is not empty", dir.display()))
            .hint("name a new one; what is there is never written over"));
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

impl Render for InitReport {
    fn page(&self, page: &mut Page) {
        let files = humane::counted(self.files.len() as u64, "file", "files");
        page.line(format!("wrote {files} to {}", self.dir));
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.files.clone())
    }
}
