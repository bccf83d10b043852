//! `mfctl init`: writes a commented `mfctl.toml` and makes the data folder.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde::Serialize;

use super::context::{Connected, Context};
use super::failure::{Failure, FailureKind, OrFail, Result};
use super::output::{Page, Render};
use super::record::Change;
use crate::ops::target::DataDirMode;
use crate::settings::{Error as SettingsError, Layer, Layers, NewProfile, ProfileName, Sources, commented_file};
use mfctl_core::domain::{EnvName, SourcePath};

/// Arguments of `mfctl init`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Writes the user's own file unless --project is given, and never over a file that is there unless --force is. A profile
whose name or environment begins with prod or live is protected: dangerous verbs ask for its environment's name.

Examples:
  mfctl init                           a profile `dev`, chosen by default
  mfctl init prod-eu --environment prod
  mfctl init site --project --data-dir ./data

Exit codes: 0 written, 2 wrong usage, 6 cannot write, 8 a file is there")]
pub struct Args {
    /// The profile's name [default: what --profile says, else dev]
    #[arg(value_name = "NAME", value_parser = profile_name)]
    name: Option<ProfileName>,
    /// The profile's environment [default: the profile's name]
    #[arg(long, value_name = "ENV")]
    environment: Option<EnvName>,
    /// Write ./mfctl.toml, which everyone who works in this folder shares
    #[arg(long)]
    project: bool,
    /// Write over a file that is there; what stood in it is kept beside it as mfctl.toml.bak
    #[arg(long)]
    force: bool,
}

fn profile_name(text: &str) -> std::result::Result<ProfileName, SettingsError> {
    text.parse()
}

/// What `mfctl init` prints.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct InitReport {
    /// The file written.
    pub file: SourcePath,
    /// What it hid, if `--force` wrote over a file.
    pub backup: Option<SourcePath>,
    /// The profile's name.
    pub profile: String,
    /// Its environment.
    pub environment: String,
    /// Whether it is protected.
    pub protected: bool,
    /// The data folder.
    pub data_dir: SourcePath,
    #[serde(skip)]
    chosen: bool,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let sources = cx.sources();
    let profile = new_profile(args, sources)?;
    if args.project {
        is_new(&profile.name, sources)?;
    }
    let path = destination(args, sources)?;
    let backup = write(&path, &commented_file(&profile), args.force)?;
    let connected = match open(&profile.name, cx).await {
        Ok(connected) => connected,
        Err(failure) => return Err(taken_back(failure, &path, backup.as_deref())),
    };
    let change = Change::of_process("init").undo(format!("remove {}", path.display()));
    let at = connected.ports.clock.now();
    connected.recorder().append(change, at, format!("wrote profile {}", profile.name)).await?;
    let target = &connected.target;
    cx.out().print(&InitReport {
        file: SourcePath::from_path(&path),
        backup: backup.as_deref().map(SourcePath::from_path),
        profile: target.profile.clone(),
        environment: target.environment.to_string(),
        protected: target.protected,
        data_dir: SourcePath::from_path(&target.data_dir),
        chosen: profile.default,
    })
}

/// Reads the file back the way every verb will read it, and opens what it names.
async fn open(profile: &ProfileName, cx: &Context) -> Result<Connected> {
    let settings = Layers::read(cx.sources())?.settings_of(profile)?;
    cx.connect_to(settings, DataDirMode::MayCreate).await
}

/// A file whose profile cannot be used is not left behind.
fn taken_back(failure: Failure, path: &Path, backup: Option<&Path>) -> Failure {
    let undone = match backup {
        Some(backup) => std::fs::rename(backup, path),
        None => std::fs::remove_file(path),
    };
    match undone {
        Ok(()) => failure,
        Err(error) => {
            failure.while_doing(format!("{} was written and could not be taken back ({error})", path.display()))
        }
    }
}

fn new_profile(args: &Args, sources: &Sources) -> Result<NewProfile> {
    let name = name_of(args, sources)?;
    let environment = match (&args.environment, &sources.flags.env) {
        (Some(given), Some(asserted)) if given != asserted => {
            return Err(Failure::refused(format!("--environment says {given} and --env asserts {asserted}")));
        }
        (Some(given), _) => given.clone(),
        (None, Some(asserted)) => asserted.clone(),
        (None, None) => EnvName::new(name.as_str().to_ascii_lowercase()).map_err(|error| {
            Failure::usage("the profile's name is no environment's name").because(&error).hint("give --environment ENV")
        })?,
    };
    Ok(NewProfile { name, environment, data_dir: data_dir(args, sources)?, default: !args.project })
}

/// NAME, which `--profile` may say instead.
fn name_of(args: &Args, sources: &Sources) -> Result<ProfileName> {
    let by_flag = sources.flags.profile.as_deref().map(str::parse::<ProfileName>).transpose()?;
    match (&args.name, by_flag) {
        (Some(name), Some(flag)) if *name != flag => {
            Err(Failure::usage(format!("NAME says {name} and --profile says {flag}")))
        }
        (Some(name), _) => Ok(name.clone()),
        (None, Some(flag)) => Ok(flag),
        (None, None) => Ok(profile_name("dev")?),
    }
}

/// The data folder as the file is to say it: in a project's file as typed, for others have it elsewhere.
fn data_dir(args: &Args, sources: &Sources) -> Result<Option<PathBuf>> {
    let Some(given) = &sources.flags.data_dir else { return Ok(None) };
    let dir = if args.project { given.clone() } else { sources.absolute(given, &sources.cwd) };
    if dir.to_str().is_none() {
        return Err(Failure::usage("a data folder that a file names must be UTF-8"));
    }
    Ok(Some(dir))
}

/// A project's file may add a profile only, so one that would redefine another is not even written.
fn is_new(name: &ProfileName, sources: &Sources) -> Result<()> {
    let layers = Layers::read(sources)?;
    let elsewhere =
        layers.profiles().into_iter().find(|(known, origin)| known == name && origin.layer != Layer::Project);
    match elsewhere {
        Some((_, origin)) => Err(Failure::usage(format!("profile `{name}` is defined already, at {origin}"))
            .hint("a project may add profiles under new names only")),
        None if name.as_str() == "embedded" => {
            Err(Failure::usage("a project may not redefine the built-in profile `embedded`").hint("give another NAME"))
        }
        None => Ok(()),
    }
}

fn destination(args: &Args, sources: &Sources) -> Result<PathBuf> {
    match (args.project, &sources.flags.config) {
        (true, Some(_)) => Err(Failure::usage("--config and --project name two files")),
        (true, None) => Ok(sources.cwd.join("mfctl.toml")),
        (false, _) => sources.explicit_file().or_else(|| sources.user_file()).ok_or_else(|| {
            Failure::invalid("there is no home folder to write mfctl.toml to").hint("give --config FILE or --project")
        }),
    }
}

/// Writes the file, for its owner alone to write; gives the backup of the one it replaces.
fn write(path: &Path, text: &str, force: bool) -> Result<Option<PathBuf>> {
    let failed = || format!("cannot write {}", path.display());
    if let Some(dir) = path.parent() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir);
        made.or_fail(FailureKind::Invalid, || format!("cannot make {}", dir.display()))?;
    }
    let backup = if path.symlink_metadata().is_ok() {
        if !force {
            return Err(Failure::refused(format!("{} is already there", path.display()))
                .hint("add the profile to it by hand, or --force to write over it (it is kept as mfctl.toml.bak)"));
        }
        let backup = free_name(path);
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
    // A project's file that its group can write would not be read back.
    let owner_alone = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(path, owner_alone).or_fail(FailureKind::Invalid, failed)?;
    Ok(backup)
}

/// A name beside the file that nothing has: an earlier backup is not written over either.
fn free_name(path: &Path) -> PathBuf {
    let mut name = path.with_extension("toml.bak");
    let mut number = 1;
    while name.symlink_metadata().is_ok() {
        number += 1;
        name = path.with_extension(format!("toml.bak{number}"));
    }
    name
}

impl Render for InitReport {
    fn page(&self, page: &mut Page) {
        page.field("wrote", self.file.as_str());
        if let Some(backup) = &self.backup {
            page.field("kept as", backup.as_str());
        }
        let protected = if self.protected { ", protected" } else { "" };
        page.field("profile", format!("{} (environment {}{protected})", self.profile, self.environment));
        page.field("data", self.data_dir.as_str());
        page.blank();
        let flag = if self.chosen { String::new() } else { format!(" --profile {}", self.profile) };
        page.line(format!("next: mfctl{flag} ingest DIR, then mfctl{flag} worker all --until-drained"));
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.profile.clone()])
    }
}
