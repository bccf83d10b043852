//! `mfctl kv declare`: puts settings under manifests, one by one, without adopting the rest of the platform.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args as ClapArgs};
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::get::setting_not_found;
use crate::bootstrap::settings_file;
use crate::cli::complete;
use crate::cli::context::{ConfigConnection, Context};
use crate::cli::failure::{Failure, FailureKind, OrFail, Result};
use crate::cli::guard::{self, GuardedChange};
use crate::cli::lock;
use crate::cli::output::{Render, TextPage};
use crate::kv::EnvironmentSettings;
use crate::kv::declared::KeyDeclarations;
use crate::ops::pin;
use mfctl_core::domain::{ConfigKey, SourcePath, secret_like};

/// Arguments of `mfctl kv declare`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Writes a manifest with the settings and their present values, DIR/base/<service>-keys.yaml, and records where they are
declared. From then on `mfctl kv` refuses to change them, `mfctl bootstrap drift DIR` shows when another tool has, and `mfctl
bootstrap apply DIR` restores them. Other settings and resources are left alone. No value changes, and no file is replaced.

Examples:
  mfctl kv declare media-api/max_page_size
  mfctl kv declare media-api/max_page_size media-api/banner --dir platform
  mfctl kv declare media-api/max_page_size --dry-run

Exit codes: 0 declared, 2 not the name of a setting, 5 Consul not reachable, 6 no such setting, its value is not text,
or the file cannot be written, 7 another change is in progress, 8 declared already, the value looks like a secret, the
file exists, or not confirmed")]
pub struct Args {
    /// <service>/<key>; several may be given
    #[arg(value_name = "KEY", required = true, add = ArgValueCandidates::new(complete::settings))]
    keys: Vec<String>,
    /// The folder of manifests; created if it does not exist
    #[arg(long, value_name = "DIR", default_value = "platform")]
    dir: PathBuf,
    /// Show what would be written, and write nothing
    #[arg(short = 'n', long, action = ArgAction::SetTrue)]
    dry_run: bool,
}

/// The output of `mfctl kv declare`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KvDeclareReport {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// The settings with the place of their declaration, as `base/media-api-keys.yaml:8`.
    pub declared: BTreeMap<ConfigKey, String>,
    /// The files with their text.
    pub files: Vec<DeclaredFile>,
    #[serde(skip)]
    dir: String,
}

/// A manifest.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeclaredFile {
    /// Path of the file.
    pub path: SourcePath,
    /// Its text.
    pub text: String,
    #[serde(skip)]
    place: PathBuf,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connection = cx.connect_config().await?;
    let settings = settings(args, &connection).await?;
    let declarations = KeyDeclarations::read(connection.store.as_ref(), connection.env()).await?;
    check(&settings, &declarations)?;
    let mut report = KvDeclareReport {
        dry_run: args.dry_run,
        declared: BTreeMap::new(),
        files: files(&settings, &args.dir)?,
        dir: args.dir.display().to_string(),
    };
    if args.dry_run {
        return cx.out().print(&report);
    }
    if connection.target.protected {
        let keys: Vec<String> = settings.entries.keys().map(ToString::to_string).collect();
        let summary = format!("declare {}", keys.join(", "));
        let change = GuardedChange { verb: "kv declare", summary, dangerous: false };
        guard::confirm(&change, cx.globals(), &connection.target, cx.out())?;
    }
    pin::ensure(&connection.target, connection.clock.now())?;
    let actor = &connection.settings.profile.actor;
    let lock = lock::take(connection.store.as_ref(), connection.env(), actor, Duration::ZERO, cx.out()).await?;
    let declared = declare(&connection, &report.files, &args.dir).await;
    // A lock that could not be released expires.
    let _ = lock.release().await;
    report.declared = declared?;
    cx.out().print(&report)
}

/// The named settings with their present values.
async fn settings(args: &Args, connection: &ConfigConnection) -> Result<EnvironmentSettings> {
    let mut settings = EnvironmentSettings::default();
    for text in &args.keys {
        let key = connection.parse_key(text)?;
        let entry = connection.store.get(&key.path(connection.env())).await?;
        settings.entries.insert(key.clone(), entry.ok_or_else(|| setting_not_found(&key))?);
    }
    Ok(settings)
}

/// Refuses settings that are declared, or that must not be in a manifest.
fn check(settings: &EnvironmentSettings, declarations: &KeyDeclarations) -> Result<()> {
    for (key, entry) in &settings.entries {
        if let Some(place) = declarations.location(key) {
            return Err(Failure::refused(format!("{key} is declared already, at {place}")));
        }
        let text = std::str::from_utf8(&entry.value)
            .map_err(|_| Failure::invalid(format!("the value of {key} is not text, so no manifest can declare it")))?;
        if let Some(reason) = secret_like::secret_reason(key.name(), text) {
            return Err(Failure::refused(format!("{key}: {reason}")).hint("secrets belong in Vault, not in a manifest"));
        }
    }
    Ok(())
}

/// One file for each service. A file that exists is refused: it may have comments, and other settings.
fn files(settings: &EnvironmentSettings, dir: &Path) -> Result<Vec<DeclaredFile>> {
    let mut services: BTreeMap<&str, EnvironmentSettings> = BTreeMap::new();
    for (key, entry) in &settings.entries {
        services.entry(key.service()).or_default().entries.insert(key.clone(), entry.clone());
    }
    let mut files = Vec::new();
    for (service, settings) in services {
        let place = dir.join(format!("base/{service}-keys.yaml"));
        if place.symlink_metadata().is_ok() {
            let dir = dir.display();
            return Err(Failure::refused(format!("{} exists already", place.display()))
                .hint(format!("add the setting to it by hand, then `mfctl bootstrap apply {dir}`")));
        }
        let (text, _) = settings_file::manifest_text(&settings);
        files.push(DeclaredFile { path: SourcePath::from_path(&place), text, place });
    }
    Ok(files)
}

/// Writes the files and publishes what they declare, beside what is declared already.
async fn declare(
    connection: &ConfigConnection,
    files: &[DeclaredFile],
    dir: &Path,
) -> Result<BTreeMap<ConfigKey, String>> {
    let published = KeyDeclarations::read(connection.store.as_ref(), connection.env()).await?;
    let mut desired = KeyDeclarations::default();
    let mut declared = BTreeMap::new();
    for file in files {
        write(&file.place, &file.text)?;
        for (key, place) in
            settings_file::locations(&file.place).map_err(|error| Failure::invalid(error.to_string()))?
        {
            let place = place.strip_prefix(&format!("{}/", dir.display())).map_or_else(|| place.clone(), str::to_owned);
            let known = || published.0.get(key.service()).cloned().unwrap_or_default();
            let service = desired.0.entry(key.service().to_owned()).or_insert_with(known);
            service.keys.insert(key.name().to_owned(), place.clone());
            declared.insert(key, place);
        }
    }
    let changes = published.changes_to(&desired, connection.env(), false)?;
    connection.store.apply(&changes).await?;
    Ok(declared)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).or_fail(FailureKind::Invalid, failed)?;
    }
    let mut file = std::fs::File::create_new(path).or_fail(FailureKind::Invalid, failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).or_fail(FailureKind::Full, failed)
}

impl Render for KvDeclareReport {
    fn page(&self, page: &mut TextPage) {
        for file in &self.files {
            page.line(format!("{} {}", if self.dry_run { "would write" } else { "wrote" }, file.path));
            if self.dry_run {
                for line in file.text.lines() {
                    page.line(format!("  {line}"));
                }
            }
        }
        for (key, place) in &self.declared {
            page.line(format!("{key} is declared at {place}"));
        }
        if !self.dry_run {
            page.line(format!("next: `mfctl bootstrap drift {}` shows when another tool has changed it", self.dir));
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.declared.keys().map(ToString::to_string).collect())
    }
}
