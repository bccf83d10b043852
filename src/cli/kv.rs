//! `mfctl kv`: reads and changes the settings of services. The history holds each change with its reason, for a rollback.

mod change;
mod declare;
mod delete;
mod diff;
mod edit;
mod editor;
mod explain;
mod get;
mod history;
mod list;
mod pull;
mod push;
mod put;
mod rollback;
mod watch;

use clap::{Args as ClapArgs, Subcommand};

use super::context::{ConfigConnection, Context};
use super::failure::{Failure, FailureKind, Result};
use super::output::humane;
use mfctl_core::domain::{ConfigKey, EnvName, config_key};

pub use change::{KvChangeReport, change_line};
pub use declare::KvDeclareReport;
pub use explain::KvExplainReport;
pub use get::KvValue;
pub use pull::KvPullReport;
pub use watch::KvEvent;

/// Arguments of `mfctl kv`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A setting is named <service>/<key> within the profile's environment; the full name, <env>/<service>/<key>, is accepted too.
A key that a manifest declares is changed there (`mfctl bootstrap`), except in an emergency (--break-glass); `mfctl kv
declare` writes a manifest for single keys. Do not store secrets here: they belong in Vault.

Examples:
  mfctl kv list media-api                                     a service's settings
  mfctl kv put media-api/max_page_size 200 --reason 'load test'
  mfctl kv history media-api/max_page_size                    who changed it, when and why
  mfctl kv rollback media-api/max_page_size --reason 'worse'  restore the previous value
  mfctl kv pull media-api && $EDITOR media-api.v1.yaml && mfctl kv push media-api.v1.yaml --reason 'tuning'
  mfctl kv watch media-api                                    follow changes")]
pub struct Args {
    #[command(subcommand)]
    command: KvCommand,
}

#[derive(Debug, Subcommand)]
enum KvCommand {
    /// Print the value of a setting
    Get(get::Args),
    /// Set the value of a setting
    Put(put::Args),
    /// Delete a setting
    Delete(delete::Args),
    /// List settings
    List(list::Args),
    /// Edit the value of a setting in $EDITOR
    Edit(edit::Args),
    /// Compare a file with the environment
    Diff(diff::Args),
    /// Write the environment's settings to the next version of a file
    Pull(pull::Args),
    /// Write the settings of a file to the environment
    Push(push::Args),
    /// Show where a setting comes from, who changed it, and whether a manifest declares it
    Explain(explain::Args),
    /// Restore an earlier value of a setting
    Rollback(rollback::Args),
    /// List changes, latest first
    History(history::Args),
    /// Follow changes as they happen
    Watch(watch::Args),
    /// Put settings under manifests, without adopting the rest of the platform
    Declare(declare::Args),
    #[command(hide = true)]
    Import(AmbiguousArgs),
    #[command(hide = true)]
    Export(AmbiguousArgs),
}

/// The arguments of a command that is refused, because its name could mean two things.
#[derive(Debug, ClapArgs)]
struct AmbiguousArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<String>,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    match args.command {
        KvCommand::Get(args) => get::run(&args, cx).await,
        KvCommand::Put(args) => put::run(args, cx).await,
        KvCommand::Delete(args) => delete::run(args, cx).await,
        KvCommand::List(args) => list::run(&args, cx).await,
        KvCommand::Edit(args) => edit::run(args, cx).await,
        KvCommand::Diff(args) => diff::run(&args, cx).await,
        KvCommand::Pull(args) => pull::run(&args, cx).await,
        KvCommand::Push(args) => push::run(args, cx).await,
        KvCommand::Explain(args) => explain::run(&args, cx).await,
        KvCommand::Rollback(args) => rollback::run(args, cx).await,
        KvCommand::History(args) => history::run(&args, cx).await,
        KvCommand::Watch(args) => watch::run(&args, cx).await,
        KvCommand::Declare(args) => declare::run(&args, cx).await,
        KvCommand::Import(_) => {
            Err(ambiguous("import", "to write a file's settings to the environment: `mfctl kv push FILE`"))
        }
        KvCommand::Export(_) => {
            Err(ambiguous("export", "to write the environment's settings to a file: `mfctl kv pull [SERVICE]`"))
        }
    }
}

fn ambiguous(command: &str, alternative: &str) -> Failure {
    Failure::usage(format!("there is no `kv {command}`, because it could mean two things"))
        .hint(format!("{alternative}; to write manifests of every existing resource: `mfctl bootstrap import DIR`"))
}

/// Fails with exit 3 if records of the history could not be read.
fn check_all_readable(unreadable: &[String]) -> Result<()> {
    let count = humane::counted(unreadable.len() as u64, "record", "records");
    let failure = Failure::new(FailureKind::Partial, format!("{count} of the history cannot be read"));
    match unreadable {
        [] => Ok(()),
        records => Err(failure.hint(records.join("; "))),
    }
}

impl ConfigConnection {
    fn env(&self) -> &EnvName {
        &self.target.environment
    }

    /// Parses a key argument, with or without its environment.
    fn parse_key(&self, text: &str) -> Result<ConfigKey> {
        let invalid = |error| Failure::usage("not the name of a setting").because(&error);
        match text.matches('/').count() {
            2 => {
                let (env, rest) = text.split_once('/').unwrap_or(("", text));
                let key = ConfigKey::parse(rest).map_err(invalid)?;
                if env == self.env().as_str() {
                    return Ok(key);
                }
                let profile = &self.target.profile;
                let message = format!("the key is in environment {env}, but profile {profile} is for {}", self.env());
                Err(Failure::refused(message).hint("choose the profile of that environment"))
            }
            _ => ConfigKey::parse(text).map_err(invalid),
        }
    }

    /// Checks a service argument, if there is one.
    fn parse_service<'a>(&self, text: Option<&'a str>) -> Result<Option<&'a str>> {
        match text {
            Some(service) if !config_key::is_service_name(service) => {
                Err(Failure::usage(format!("{service:?} is not a service name: use a-z 0-9 -")))
            }
            service => Ok(service),
        }
    }
}
