//! `mfctl init`: writes a commented `mfctl.toml` and creates the data folder.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde::Serialize;

use super::context::{Connected, Context};
use super::failure::{Failure, FailureKind, OrFail, Result};
use super::output::{Render, TextPage};
use super::record::RecordedChange;
use crate::ops::target::DataDirMode;
use crate::settings::{Error as SettingsError, Layer, Layers, NewProfile, ProfileName, Sources, commented_file};
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::domain::{EnvName, SourcePath};

/// Arguments of `mfctl init`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Writes the user's own file, or that of the project with --project. An existing file is replaced with --force only;
`mfctl profile add NAME` adds a profile to it. A profile whose name or environment begins with prod or live is
protected: dangerous commands ask for its environment's name.

Examples:
  mfctl init                           a profile `dev`, the default one
  mfctl init prod-eu --environment prod
  mfctl init site --project --data-dir ./data

Exit codes: 0 written, 2 wrong usage, 6 cannot write, 8 the file exists already")]
pub struct Args {
    /// The profile's name [default: that of --profile, else dev]
    #[arg(value_name = "NAME", value_parser = profile_name)]
    name: Option<ProfileName>,
    /// The profile's environment [default: the profile's name]
    #[arg(long, value_name = "ENV")]
    environment: Option<EnvName>,
    /// Write ./mfctl.toml, which all users who work in this folder share
    #[arg(long)]
    project: bool,
    /// Replace an existing file, after a backup beside it as mfctl.toml.bak
    #[arg(long)]
    force: bool,
}

fn profile_name(text: &str) -> std::result::Result<ProfileName, SettingsError> {
    text.parse()
}

/// Output of `mfctl init`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct InitProfileReport {
    /// File that was written.
    pub file: SourcePath,
    /// Backup of the file that `--force` replaced.
    pub backup: Option<SourcePath>,
    /// Name of the profile.
    pub profile: String,
    /// Environment of the profile.
    pub environment: String,
    /// Whether the profile is protected.
    pub protected: bool,
    /// Data folder of the profile.
    pub data_dir: SourcePath,
    #[serde(skip)]
    is_default: bool,
}

/// Writes the file, opens the data folder and prints the report. A file that cannot be used is removed again.
///
/// # Errors
/// `Refused` when the file exists and `--force` is not given; `Usage` for contradicting flags; `Invalid` when the file or
/// the data folder cannot be written.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let sources = cx.sources();
    let profile = new_profile(args, sources)?;
    if args.project {
        check_is_new(&profile.name, sources)?;
    }
    let path = destination(args, sources)?;
    let backup = write(&path, &commented_file(&profile), args.force)?;
    let connected = match open(&profile.name, cx).await {
        Ok(connected) => connected,
        Err(failure) => return Err(restore(failure, &path, backup.as_deref())),
    };
    let change = RecordedChange::of_process("init").undo(format!("remove {}", path.shown()));
    let at = connected.ports.clock.now();
    connected.recorder().append(change, at, format!("wrote profile {}", profile.name)).await?;
    let target = &connected.target;
    cx.out().print(&InitProfileReport {
        file: SourcePath::from_path(&path),
        backup: backup.as_deref().map(SourcePath::from_path),
        profile: target.profile.clone(),
        environment: target.environment.to_string(),
        protected: target.protected,
        data_dir: SourcePath::from_path(&target.data_dir),
        is_default: profile.default,
    })
}

/// Reads the file as every command will, and opens the profile's data folder.
async fn open(profile: &ProfileName, cx: &Context) -> Result<Connected> {
    let settings = Layers::read(cx.sources())?.settings_of(profile)?;
    cx.connect_to(settings, DataDirMode::MayCreate).await
}

/// Restores the replaced file, or removes the new one; returns the failure, and adds to it if that fails too.
fn restore(failure: Failure, path: &Path, backup: Option<&Path>) -> Failure {
    let restored = match backup {
        Some(backup) => std::fs::rename(backup, path),
        None => std::fs::remove_file(path),
    };
    match restored {
        Ok(()) => failure,
        Err(error) => {
            failure.while_doing(format!("{} was written and could not be removed again ({error})", path.shown()))
        }
    }
}

fn new_profile(args: &Args, sources: &Sources) -> Result<NewProfile> {
    let name = name_of(args, sources)?;
    let environment = match (&args.environment, &sources.flags.env) {
        (Some(given), Some(asserted)) if given != asserted => {
            return Err(Failure::refused(format!("--environment is {given}, but --env asserts {asserted}")));
        }
        (Some(given), _) => given.clone(),
        (None, Some(asserted)) => asserted.clone(),
        (None, None) => EnvName::new(name.as_str().to_ascii_lowercase()).map_err(|error| {
            Failure::usage("the profile's name is not a valid environment name")
                .because(&error)
                .hint("give --environment ENV")
        })?,
    };
    Ok(NewProfile { name, environment, data_dir: data_dir(args, sources)?, default: !args.project })
}

/// The profile's name: NAME, else `--profile`, else `dev`.
fn name_of(args: &Args, sources: &Sources) -> Result<ProfileName> {
    let flag = sources.flags.profile.as_deref().map(str::parse::<ProfileName>).transpose()?;
    match (&args.name, flag) {
        (Some(name), Some(flag)) if *name != flag => {
            Err(Failure::usage(format!("NAME is {name}, but --profile is {flag}")))
        }
        (Some(name), _) => Ok(name.clone()),
        (None, Some(flag)) => Ok(flag),
        (None, None) => Ok(profile_name("dev")?),
    }
}

/// The data folder as the file names it: as typed in a project's file, which other users share; else absolute.
fn data_dir(args: &Args, sources: &Sources) -> Result<Option<PathBuf>> {
    let Some(given) = &sources.flags.data_dir else { return Ok(None) };
    let dir = if args.project { given.clone() } else { sources.absolute(given, &sources.cwd) };
    if dir.to_str().is_none() {
        return Err(Failure::usage("the path of the data folder is not UTF-8, so a file cannot name it"));
    }
    Ok(Some(dir))
}

/// Refuses a project's profile that another file defines already: a project's file may only add profiles.
fn check_is_new(name: &ProfileName, sources: &Sources) -> Result<()> {
    let layers = Layers::read(sources)?;
    let elsewhere =
        layers.profiles().into_iter().find(|(known, origin)| known == name && origin.layer != Layer::Project);
    match elsewhere {
        Some((_, origin)) => Err(Failure::usage(format!("profile `{name}` is defined already, at {origin}"))
            .hint("a project may only add profiles with new names")),
        None if name.as_str() == "embedded" => {
            Err(Failure::usage("a project may not redefine the built-in profile `embedded`").hint("give another NAME"))
        }
        None => Ok(()),
    }
}

fn destination(args: &Args, sources: &Sources) -> Result<PathBuf> {
    match (args.project, &sources.flags.config) {
        (true, Some(_)) => Err(Failure::usage("--config and --project name different files")),
        (true, None) => Ok(sources.cwd.join("mfctl.toml")),
        (false, _) => sources.explicit_file().or_else(|| sources.user_file()).ok_or_else(|| {
            Failure::invalid("there is no home folder in which to write mfctl.toml")
                .hint("give --config FILE or --project")
        }),
    }
}

/// Writes the file with mode 0644; returns the backup of the file that it replaced.
fn write(path: &Path, text: &str, force: bool) -> Result<Option<PathBuf>> {
    let failed = || format!("cannot write {}", path.shown());
    if let Some(dir) = path.parent() {
        let created = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir);
        created.or_fail(FailureKind::Invalid, || format!("cannot create {}", dir.shown()))?;
    }
    let backup = if path.symlink_metadata().is_ok() {
        if !force {
            return Err(Failure::refused(format!("{} exists already", path.shown())).hint(
                "`mfctl profile add NAME` adds a profile to it; --force replaces it, and keeps a backup as mfctl.toml.bak",
            ));
        }
        let backup = backup_name(path);
        std::fs::rename(path, &backup).or_fail(FailureKind::Invalid, failed)?;
        Some(backup)
    } else {
        None
    };
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)
        .or_fail(FailureKind::Invalid, failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).or_fail(FailureKind::Full, failed)?;
    // A project's file that its group can write is refused when it is read.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(path, mode).or_fail(FailureKind::Invalid, failed)?;
    Ok(backup)
}

/// An unused name for the backup: an earlier backup is never overwritten.
fn backup_name(path: &Path) -> PathBuf {
    let mut name = path.with_extension("toml.bak");
    let mut number = 1;
    while name.symlink_metadata().is_ok() {
        number += 1;
        name = path.with_extension(format!("toml.bak{number}"));
    }
    name
}

impl Render for InitProfileReport {
    fn page(&self, page: &mut TextPage) {
        page.field("wrote", self.file.as_str());
        if let Some(backup) = &self.backup {
            page.field("backup", backup.as_str());
        }
        let protected = if self.protected { ", protected" } else { "" };
        page.field("profile", format!("{} (environment {}{protected})", self.profile, self.environment));
        page.field("data", self.data_dir.as_str());
        page.blank();
        let flag = if self.is_default { String::new() } else { format!(" --profile {}", self.profile) };
        page.line(format!("next: mfctl{flag} ingest DIR, then mfctl{flag} worker all --until-drained"));
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.profile.clone()])
    }
}
