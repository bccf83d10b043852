//! `mfctl kv`: the settings of services, read and changed by hand; every change with its reason and the way back.

mod change;
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

pub use change::KvChangeReport;
pub use explain::KvExplainReport;
pub use get::KvValue;
pub use pull::KvPullReport;
pub use watch::KvEvent;

/// Arguments of `mfctl kv`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A setting is called <service>/<key> within the profile's environment; the whole name, <env>/<service>/<key>, is taken too. A
key that a manifest declares is changed there (`mfctl bootstrap`), unless somebody breaks the glass. No secret belongs here:
Vault is for those.

Examples:
  mfctl kv list media-api                                    a service's settings
  mfctl kv put media-api/max_page_size 200 --reason 'load test'
  mfctl kv history media-api/max_page_size                   who changed it, when, why
  mfctl kv rollback media-api/max_page_size --reason 'worse' the value before
  mfctl kv pull media-api && $EDITOR media-api.v1.yaml && mfctl kv push media-api.v1.yaml --reason 'tuning'
  mfctl kv watch media-api                                   changes as they come")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print a setting's value
    Get(get::Args),
    /// Give a setting a value
    Put(put::Args),
    /// Remove a setting
    Delete(delete::Args),
    /// List settings
    List(list::Args),
    /// Change a setting's value in $EDITOR
    Edit(edit::Args),
    /// Compare a file with the environment
    Diff(diff::Args),
    /// Write the environment's settings into the next version of a file
    Pull(pull::Args),
    /// Give the environment the settings of a file
    Push(push::Args),
    /// Say where a setting comes from, who changed it, and whether a manifest declares it
    Explain(explain::Args),
    /// Give a setting an earlier value again
    Rollback(rollback::Args),
    /// List what was changed, the latest first
    History(history::Args),
    /// Show changes as they come
    Watch(watch::Args),
    #[command(hide = true)]
    Import(Unclear),
    #[command(hide = true)]
    Export(Unclear),
}

/// Whatever was typed behind a word that may mean two things.
#[derive(Debug, ClapArgs)]
struct Unclear {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<String>,
}

/// Runs the verb.
///
/// # Errors
/// As each verb's help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    match args.verb {
        Verb::Get(args) => get::run(&args, cx).await,
        Verb::Put(args) => put::run(args, cx).await,
        Verb::Delete(args) => delete::run(args, cx).await,
        Verb::List(args) => list::run(&args, cx).await,
        Verb::Edit(args) => edit::run(args, cx).await,
        Verb::Diff(args) => diff::run(&args, cx).await,
        Verb::Pull(args) => pull::run(&args, cx).await,
        Verb::Push(args) => push::run(args, cx).await,
        Verb::Explain(args) => explain::run(&args, cx).await,
        Verb::Rollback(args) => rollback::run(args, cx).await,
        Verb::History(args) => history::run(&args, cx).await,
        Verb::Watch(args) => watch::run(&args, cx).await,
        Verb::Import(_) => Err(unclear("import", "a file's settings into the environment: `mfctl kv push FILE`")),
        Verb::Export(_) => Err(unclear("export", "the environment's settings into a file: `mfctl kv pull [SERVICE]`")),
    }
}

fn unclear(word: &str, one: &str) -> Failure {
    Failure::usage(format!("there is no `kv {word}`, for it can mean two things"))
        .hint(format!("{one}; manifests of everything there is: `mfctl bootstrap import DIR`"))
}

/// That everything which was listed could be read.
fn readable(unreadable: &[String]) -> Result<()> {
    let count = humane::counted(unreadable.len() as u64, "record", "records");
    let failure = Failure::new(FailureKind::Partial, format!("{count} of the history cannot be read"));
    match unreadable {
        [] => Ok(()),
        some => Err(failure.hint(some.join("; "))),
    }
}

impl ConfigConnection {
    fn env(&self) -> &EnvName {
        &self.target.environment
    }

    /// The key that somebody typed, with or without its environment.
    fn key(&self, text: &str) -> Result<ConfigKey> {
        let invalid = |error| Failure::usage("not a setting's name").because(&error);
        match text.matches('/').count() {
            2 => {
                let (env, rest) = text.split_once('/').unwrap_or(("", text));
                let key = ConfigKey::parse(rest).map_err(invalid)?;
                if env == self.env().as_str() {
                    return Ok(key);
                }
                let what =
                    format!("the key is of environment {env}, and profile {} of {}", self.target.profile, self.env());
                Err(Failure::refused(what).hint("choose the profile of that environment"))
            }
            _ => ConfigKey::parse(text).map_err(invalid),
        }
    }

    /// The service that somebody typed, if any.
    fn service<'a>(&self, text: Option<&'a str>) -> Result<Option<&'a str>> {
        match text {
            Some(service) if !config_key::is_service_name(service) => {
                Err(Failure::usage(format!("{service:?} is no service: it is made of a-z 0-9 -")))
            }
            service => Ok(service),
        }
    }
}
