//! `mfctl kv declare`: puts settings under manifests, one by one, without adopting the rest of the platform.

use std::collections::BTreeMap;
use std::io::ErrorKind;
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
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::domain::{ConfigKey, SourcePath, secret_like};
use mfctl_core::ports::{ConfigLock, MAX_CHANGES};

/// Arguments of `mfctl kv declare`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Writes a manifest with the settings and their present values, DIR/base/<service>-keys.yaml, and records where they are
declared. From then on `mfctl kv` refuses to change them, `mfctl bootstrap drift DIR` shows when another tool has, and `mfctl
bootstrap apply DIR` restores them. Other settings and resources are left alone. No value changes, and no file is replaced.
The same command again completes one that was interrupted.

Examples:
  mfctl kv declare media-api/max_page_size
  mfctl kv declare media-api/max_page_size media-api/banner --dir platform
  mfctl kv declare media-api/max_page_size --dry-run

Exit codes: 0 declared, now or by the same command before, 2 not the name of a setting, 5 Consul not reachable, 6 no
such setting, its value is not text, or the file cannot be written, 7 another change is in progress, 8 declared
elsewhere already, the value looks like a secret, the file exists with another text, or not confirmed")]
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
    /// Whether this run wrote it, or would; false if it had this text already.
    pub written: bool,
    #[serde(skip)]
    place: PathBuf,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connection = cx.connect_config().await?;
    let planned = Declaration::plan(args, &connection).await?;
    let mut report = KvDeclareReport {
        dry_run: args.dry_run,
        declared: BTreeMap::new(),
        files: planned.files,
        dir: args.dir.shown().to_string(),
    };
    if args.dry_run {
        return cx.out().print(&report);
    }
    if connection.target.protected {
        let summary = format!("declare {}", args.keys.join(", "));
        let change = GuardedChange { verb: "kv declare", summary, dangerous: false };
        guard::confirm(&change, cx.globals(), &connection.target, cx.out())?;
    }
    pin::ensure(&connection.target, connection.clock.now())?;
    mfctl_core::failpoint::hit("kv_declare_planned");
    let actor = &connection.settings.profile.actor;
    let lock = lock::take(connection.store.as_ref(), connection.env(), actor, Duration::ZERO, cx.out()).await?;
    let declared = declare_under_lock(args, &connection, lock.as_ref()).await;
    // A lock that could not be released expires.
    let _ = lock.release().await;
    (report.files, report.declared) = declared?;
    cx.out().print(&report)
}

/// Writes the files and publishes what they declare. Values and declarations are read again: another operator may have changed
/// them before the lock was acquired.
async fn declare_under_lock(
    args: &Args,
    connection: &ConfigConnection,
    lock: &dyn ConfigLock,
) -> Result<(Vec<DeclaredFile>, BTreeMap<ConfigKey, String>)> {
    let Declaration { files, published } = Declaration::plan(args, connection).await?;
    for file in files.iter().filter(|file| file.written) {
        write(file)?;
        mfctl_core::failpoint::hit("kv_declare_written");
    }
    let declared = locations(&files, &args.dir)?;
    let mut desired = KeyDeclarations::default();
    for (key, place) in &declared {
        let known = || published.0.get(key.service()).cloned().unwrap_or_default();
        let service = desired.0.entry(key.service().to_owned()).or_insert_with(known);
        service.keys.insert(key.name().to_owned(), place.clone());
    }
    let changes = published.changes_to(&desired, connection.env(), false)?;
    for transaction in changes.chunks(MAX_CHANGES) {
        lock.check().await?;
        connection.store.apply(transaction).await?;
        mfctl_core::failpoint::hit("kv_declare_published");
    }
    Ok((files, declared))
}

/// What a run writes and publishes.
struct Declaration {
    files: Vec<DeclaredFile>,
    /// The declarations that are published already.
    published: KeyDeclarations,
}

impl Declaration {
    /// Reads the settings and what is declared, and refuses what cannot be declared. What a run with the same settings wrote or
    /// published before it was interrupted is no reason to refuse.
    async fn plan(args: &Args, connection: &ConfigConnection) -> Result<Self> {
        let published = KeyDeclarations::read(connection.store.as_ref(), connection.env()).await?;
        let settings = settings(args, connection).await?;
        check_values(&settings)?;
        let files = files(&settings, &args.dir)?;
        let own_places = locations(files.iter().filter(|file| !file.written), &args.dir)?;
        for key in settings.entries.keys() {
            if let Some(place) =
                published.location(key).filter(|place| own_places.get(key).is_none_or(|own| own != place))
            {
                return Err(Failure::refused(format!("{key} is declared already, at {place}")));
            }
        }
        if let Some(file) = files.iter().find(|file| file.written && file.place.symlink_metadata().is_ok()) {
            let dir = args.dir.shown();
            return Err(Failure::refused(format!("{} exists already, with another text", file.place.shown()))
                .hint(format!(
                    "add the setting to it by hand, then `mfctl bootstrap apply {dir}`; or remove it, if an interrupted \
                     `mfctl kv declare` wrote it, and run the command again"
                )));
        }
        Ok(Self { files, published })
    }
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

/// Refuses settings that must not be in a manifest.
fn check_values(settings: &EnvironmentSettings) -> Result<()> {
    for (key, entry) in &settings.entries {
        let text = std::str::from_utf8(&entry.value)
            .map_err(|_| Failure::invalid(format!("the value of {key} is not text, so no manifest can declare it")))?;
        if let Some(reason) = secret_like::secret_reason(key.name(), text) {
            return Err(Failure::refused(format!("{key}: {reason}")).hint("secrets belong in Vault, not in a manifest"));
        }
    }
    Ok(())
}

/// One file for each service.
fn files(settings: &EnvironmentSettings, dir: &Path) -> Result<Vec<DeclaredFile>> {
    let mut services: BTreeMap<&str, EnvironmentSettings> = BTreeMap::new();
    for (key, entry) in &settings.entries {
        services.entry(key.service()).or_default().entries.insert(key.clone(), entry.clone());
    }
    let file = |(service, settings): (&str, EnvironmentSettings)| {
        let place = dir.join(format!("base/{service}-keys.yaml"));
        let (text, _) = settings_file::manifest_text(&settings);
        let has_text = match settings_file::has_text(&place, &text) {
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            result => result.or_fail(FailureKind::Invalid, || format!("cannot read {}", place.shown()))?,
        };
        Ok(DeclaredFile { path: SourcePath::from_path(&place), written: !has_text, text, place })
    };
    services.into_iter().map(file).collect()
}

/// The settings of files that were written, each with the place of its declaration below `dir`.
fn locations<'a>(files: impl IntoIterator<Item = &'a DeclaredFile>, dir: &Path) -> Result<BTreeMap<ConfigKey, String>> {
    let mut places = BTreeMap::new();
    for file in files {
        let found = settings_file::locations(&file.place).map_err(|error| Failure::invalid(error.to_string()))?;
        let below = file.place.strip_prefix(dir).unwrap_or(&file.place).shown().to_string();
        let full = file.place.shown().to_string();
        for (key, place) in found {
            let line = place.strip_prefix(&full).unwrap_or_default();
            places.insert(key, format!("{below}{line}"));
        }
    }
    Ok(places)
}

/// Writes a file. Another is not replaced: it may have comments, and other settings.
fn write(file: &DeclaredFile) -> Result<()> {
    let place = file.place.shown();
    let failed = || format!("cannot write {place}");
    if let Some(folder) = file.place.parent() {
        std::fs::create_dir_all(folder).or_fail(FailureKind::Invalid, failed)?;
    }
    match settings_file::write_new(&file.place, &file.text) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::refused(format!("{place} was written by another program meanwhile"))),
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            Err(error).or_fail(FailureKind::Full, failed)
        }
        Err(error) => Err(error).or_fail(FailureKind::Invalid, failed),
    }
}

impl Render for KvDeclareReport {
    fn page(&self, page: &mut TextPage) {
        for file in &self.files {
            let done = match (file.written, self.dry_run) {
                (false, _) => "unchanged",
                (true, true) => "would write",
                (true, false) => "wrote",
            };
            page.line(format!("{done} {}", file.path));
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
