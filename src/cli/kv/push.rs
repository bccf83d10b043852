//! `mfctl kv push`: writes the settings of a file to the environment.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args as ClapArgs};

use super::change::{self, ChangeOptions, ChangeRequest, Confirmation, KvChange, KvChangeReport};
use crate::bootstrap::settings_file;
use crate::cli::context::{ConfigConnection, Context};
use crate::cli::failure::{Failure, Result};
use crate::cli::guard::{self, GuardedChange};
use crate::cli::lock;
use crate::cli::output::humane;
use crate::kv;
use crate::kv::declared::KeyDeclarations;
use crate::kv::history::{self, HistoryEntry};
use crate::kv::push::{self, UnfinishedPush};
use crate::kv::write::{ChangeMetadata, SettingEdit};
use crate::ops::pin;
use mfctl_core::domain::ConfigKey;
use mfctl_core::domain::path::ShownPath as _;

/// Arguments of `mfctl kv push`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Shows the changes, asks for confirmation and makes them. Up to 32 settings are one transaction. A larger push is recorded in
the store first and made in several transactions: after an interruption --resume finishes it, or --abandon drops the rest.
Settings that are not in the file are left alone.

Examples:
  mfctl kv push media-api.v2.yaml --reason 'tuning'
  mfctl kv push media-api.v2.yaml --reason 'tuning' --dry-run
  mfctl kv push media-api.v2.yaml --reason 'a new start' --delete     also delete settings that are not in the file
  mfctl kv push --resume 0199f2…

Exit codes: 0 pushed, or nothing to change, 2 wrong usage, 5 Consul not reachable, 6 the file or a value is invalid, 7 another change is
in progress, or another push is unfinished, 8 not confirmed, a manifest declares a key, or a value looks like a secret,
129/130/143 stopped between two transactions")]
pub struct Args {
    /// A file with manifests of kind ConsulKeys
    #[arg(value_name = "FILE", required_unless_present_any = ["resume", "abandon"])]
    file: Option<PathBuf>,
    /// Delete settings of the file's services that are not in the file
    #[arg(long, action = ArgAction::SetTrue)]
    delete: bool,
    /// Finish an interrupted push
    #[arg(long, value_name = "BATCH", conflicts_with_all = ["file", "abandon", "delete"])]
    resume: Option<String>,
    /// Drop the remaining changes of an interrupted push
    #[arg(long, value_name = "BATCH", conflicts_with_all = ["file", "delete"])]
    abandon: Option<String>,
    #[command(flatten)]
    options: ChangeOptions,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let connection = cx.connect_config().await?;
    let options = args.options;
    match (&args.file, &args.resume, &args.abandon) {
        (_, Some(batch), _) => resume(cx, &connection, &options, batch).await,
        (_, _, Some(batch)) => abandon(cx, &connection, &options, batch).await,
        (Some(file), None, None) => {
            let (edits, unchanged) = edits_to_file(&connection, file, args.delete).await?;
            let request = ChangeRequest { verb: "kv push", edits, unchanged, confirmation: Confirmation::Always };
            change::run(cx, &connection, &options, request).await
        }
        (None, None, None) => Err(Failure::usage("name a file")),
    }
}

/// The edits that give the environment a file's settings, and the number of settings that have their value already.
/// `delete`: also delete the settings of the file's services that are not in the file.
pub async fn edits_to_file(
    connection: &ConfigConnection,
    file: &Path,
    delete: bool,
) -> Result<(Vec<SettingEdit>, u64)> {
    if !file.try_exists().unwrap_or(true) {
        return Err(Failure::not_found(format!("there is no file {}", file.shown()))
            .hint("`mfctl kv pull [SERVICE]` writes one from the environment"));
    }
    let desired = settings_file::read(file).map_err(|problems| {
        let count = humane::counted(problems.0.len() as u64, "problem", "problems");
        let failure = Failure::invalid(format!("{count} in {}", file.shown()));
        problems.0.iter().fold(failure, |failure, problem| failure.because(problem))
    })?;
    let settings = kv::read_settings(connection.store.as_ref(), connection.env(), None).await?;
    let services: std::collections::BTreeSet<&str> = desired.keys().map(|key| key.service()).collect();
    let is_deleted = |key: &&ConfigKey| delete && services.contains(key.service()) && !desired.contains_key(*key);
    let deleted = settings.entries.keys().filter(is_deleted).map(|key| (key.clone(), None));
    let written = desired.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
    Ok(change::edits_to(&settings, written.chain(deleted)))
}

async fn unfinished_push(connection: &ConfigConnection, batch: &str) -> Result<UnfinishedPush> {
    let mut unfinished = push::unfinished(connection.store.as_ref(), connection.env()).await?;
    unfinished.remove(batch).ok_or_else(|| {
        let failure = Failure::not_found(format!("there is no unfinished push {batch}"));
        match unfinished.keys().next() {
            Some(other) => failure.hint(format!("push {other} is unfinished")),
            None => failure,
        }
    })
}

async fn resume(cx: &Context, connection: &ConfigConnection, options: &ChangeOptions, batch: &str) -> Result<()> {
    let unfinished = unfinished_push(connection, batch).await?;
    // An older release, with other bounds, may have begun the push.
    let values = unfinished.remaining_values.iter();
    change::check_own_settings(values.map(|(key, value)| (key, value.as_slice())))?;
    if options.dry_run {
        return print_unfinished(cx, batch, "change", &unfinished);
    }
    confirm(cx, connection, "change", &unfinished)?;
    pin::ensure(&connection.target, connection.clock.now())?;
    let stop = cx.stop()?;
    let store = connection.store.as_ref();
    let env = connection.env();
    let declarations = KeyDeclarations::read(store, env).await?;
    let lock = lock::take(store, env, &connection.settings.profile.actor, options.lock_wait, cx.out()).await?;
    let on_progress = change::progress_callback(cx, &stop);
    let outcome = push::resume(store, env, batch, &declarations, lock.as_ref(), &on_progress).await;
    let _ = lock.release().await;
    let outcome = outcome?;
    let history = history::read(store, env).await?.entries.into_iter();
    let is_of_outcome = |entry: &HistoryEntry| outcome.history_ids.get(&entry.head.key) == Some(&entry.id);
    let mut changes: Vec<KvChange> = history.filter(is_of_outcome).map(KvChange::from_history).collect();
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    cx.out().print(&KvChangeReport { dry_run: false, batch: Some(batch.to_owned()), changes, unchanged: 0 })?;
    change::fail_if_stopped(outcome.remaining_parts, batch, &stop)
}

async fn abandon(cx: &Context, connection: &ConfigConnection, options: &ChangeOptions, batch: &str) -> Result<()> {
    let unfinished = unfinished_push(connection, batch).await?;
    if options.dry_run {
        return print_unfinished(cx, batch, "drop", &unfinished);
    }
    confirm(cx, connection, "drop", &unfinished)?;
    let store = connection.store.as_ref();
    let env = connection.env();
    let lock = lock::take(store, env, &connection.settings.profile.actor, options.lock_wait, cx.out()).await?;
    let abandoned = push::abandon(store, env, batch).await;
    let _ = lock.release().await;
    abandoned?;
    cx.out().note(format!("abandoned; `mfctl kv rollback --batch {batch}` undoes the changes that it made"));
    cx.out().print(&KvChangeReport { dry_run: false, batch: Some(batch.to_owned()), changes: Vec::new(), unchanged: 0 })
}

/// Says what would be done with the remaining parts of a push.
fn print_unfinished(cx: &Context, batch: &str, action: &str, unfinished: &UnfinishedPush) -> Result<()> {
    cx.out().note(format!("this would {}", summary(action, unfinished)));
    cx.out().print(&KvChangeReport { dry_run: true, batch: Some(batch.to_owned()), changes: Vec::new(), unchanged: 0 })
}

/// Confirms that the remaining parts of a push are changed or dropped.
fn confirm(cx: &Context, connection: &ConfigConnection, action: &str, unfinished: &UnfinishedPush) -> Result<()> {
    let action = GuardedChange { verb: "kv push", summary: summary(action, unfinished), dangerous: false };
    guard::confirm(&action, cx.globals(), &connection.target, cx.out())
}

/// What is done with the remaining parts of a push, in words.
fn summary(action: &str, unfinished: &UnfinishedPush) -> String {
    let ChangeMetadata { actor, reason, .. } = &unfinished.metadata;
    let keys = humane::counted(unfinished.remaining_keys as u64, "setting", "settings");
    let left = unfinished.remaining_parts;
    let total = unfinished.total_parts;
    format!("{action} {keys}, the last {left} of {total} parts of {actor}'s push ({reason})")
}
