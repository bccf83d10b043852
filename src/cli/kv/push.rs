//! `mfctl kv push`: gives the environment the settings of a file.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args as ClapArgs};

use super::change::{self, Ask, How, KvChange, KvChangeReport, Wish};
use crate::bootstrap::settings_file;
use crate::cli::context::{ConfigConnection, Context};
use crate::cli::failure::{Failure, Result};
use crate::cli::guard::{self, GuardedChange};
use crate::cli::lock;
use crate::cli::output::humane;
use crate::kv;
use crate::kv::declared::KeyDeclarations;
use crate::kv::history;
use crate::kv::push::{self, UnfinishedPush};
use crate::kv::write::SettingEdit;
use crate::ops::pin;

/// Arguments of `mfctl kv push`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Shows what would be changed, asks, and changes it. Up to 32 settings are one transaction. More are several, written down first:
a push that was cut short is gone on with by --resume, or given up by --abandon. Settings that the file does not name stay.

Examples:
  mfctl kv push media-api.v2.yaml --reason 'tuning'
  mfctl kv push media-api.v2.yaml --reason 'tuning' --dry-run
  mfctl kv push media-api.v2.yaml --reason 'a new start' --delete     also remove what the file does not name
  mfctl kv push --resume 0199f2…

Exit codes: 0 pushed, or it is so already, 2 wrong usage, 5 Consul not reachable, 6 the file is wrong, 7 somebody else is
changing something, or another push is unfinished, 8 not confirmed, a manifest declares a key, or a value looks like a secret,
129/130/143 stopped between two transactions")]
pub struct Args {
    /// The file: manifests of kind ConsulKeys
    #[arg(value_name = "FILE", required_unless_present_any = ["resume", "abandon"])]
    file: Option<PathBuf>,
    /// Remove what the file's services have and the file does not name
    #[arg(long, action = ArgAction::SetTrue)]
    delete: bool,
    /// Go on with a push that was cut short
    #[arg(long, value_name = "BATCH", conflicts_with_all = ["file", "abandon", "delete"])]
    resume: Option<String>,
    /// Give up what is still to come of a push that was cut short
    #[arg(long, value_name = "BATCH", conflicts_with_all = ["file", "delete"])]
    abandon: Option<String>,
    #[command(flatten)]
    how: How,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let site = cx.connect_config().await?;
    let how = args.how;
    match (&args.file, &args.resume, &args.abandon) {
        (_, Some(batch), _) => resume(cx, &site, &how, batch).await,
        (_, _, Some(batch)) => abandon(cx, &site, &how, batch).await,
        (Some(file), None, None) => {
            let (edits, unchanged) = compare(&site, file, args.delete).await?;
            change::run(cx, &site, &how, Wish { verb: "kv push", edits, unchanged, ask: Ask::Always }).await
        }
        (None, None, None) => Err(Failure::usage("name a file")),
    }
}

/// What has to be changed for the environment to have a file's settings, and how many it has already.
pub async fn compare(site: &ConfigConnection, file: &Path, delete: bool) -> Result<(Vec<SettingEdit>, u64)> {
    if !file.try_exists().unwrap_or(true) {
        return Err(Failure::not_found(format!("there is no file {}", file.display()))
            .hint("`mfctl kv pull [SERVICE]` writes one from the environment"));
    }
    let wanted = settings_file::read(file).map_err(|problems| {
        let count = humane::counted(problems.0.len() as u64, "thing is", "things are");
        let failure = Failure::invalid(format!("{count} wrong with {}", file.display()));
        problems.0.iter().fold(failure, |failure, problem| failure.because(problem))
    })?;
    let settings = kv::read_settings(site.store.as_ref(), site.env(), None).await?;
    let services: std::collections::BTreeSet<&str> = wanted.keys().map(|key| key.service()).collect();
    let gone =
        settings.entries.keys().filter(|key| delete && services.contains(key.service()) && !wanted.contains_key(*key));
    let all = wanted.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
    Ok(change::edits(&settings, all.chain(gone.map(|key| (key.clone(), None)))))
}

async fn unfinished(site: &ConfigConnection, batch: &str) -> Result<UnfinishedPush> {
    let mut all = push::unfinished(site.store.as_ref(), site.env()).await?;
    all.remove(batch).ok_or_else(|| {
        let failure = Failure::not_found(format!("there is no unfinished push {batch}"));
        match all.keys().next() {
            Some(other) => failure.hint(format!("there is {other}")),
            None => failure,
        }
    })
}

async fn resume(cx: &Context, site: &ConfigConnection, how: &How, batch: &str) -> Result<()> {
    let UnfinishedPush { metadata: why, total_parts: of, remaining_parts: left, remaining_keys: keys } =
        unfinished(site, batch).await?;
    let keys = humane::counted(keys as u64, "setting", "settings");
    let summary = format!("change {keys}, the last {left} of {of} parts of {}'s push ({})", why.actor, why.reason);
    guard::confirm(
        &GuardedChange { verb: "kv push", summary, dangerous: false },
        cx.globals(),
        &site.target,
        cx.out(),
    )?;
    pin::ensure(&site.target, site.clock.now())?;
    let stop = cx.stop()?;
    let (store, env) = (site.store.as_ref(), site.env());
    let declarations = KeyDeclarations::read(store, env).await?;
    let lock = lock::take(store, env, &site.settings.profile.actor, how.lock_wait, cx.out()).await?;
    let tell = change::tell(cx, &stop);
    let made = push::resume(store, env, batch, &declarations, lock.as_ref(), &tell).await;
    let _ = lock.release().await;
    let made = made?;
    let history = history::read(store, env).await?.entries.into_iter();
    let changes = history.filter(|entry| made.history_ids.get(&entry.head.key) == Some(&entry.id)).map(KvChange::of);
    let mut changes: Vec<KvChange> = changes.collect();
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    cx.out().print(&KvChangeReport { dry_run: false, batch: Some(batch.to_owned()), changes, unchanged: 0 })?;
    change::unfinished(made.remaining_parts, batch, &stop)
}

async fn abandon(cx: &Context, site: &ConfigConnection, how: &How, batch: &str) -> Result<()> {
    let UnfinishedPush { metadata: why, total_parts: of, remaining_parts: left, remaining_keys: keys } =
        unfinished(site, batch).await?;
    let keys = humane::counted(keys as u64, "setting", "settings");
    let summary = format!("give up {keys}, the last {left} of {of} parts of {}'s push ({})", why.actor, why.reason);
    guard::confirm(
        &GuardedChange { verb: "kv push", summary, dangerous: false },
        cx.globals(),
        &site.target,
        cx.out(),
    )?;
    let (store, env) = (site.store.as_ref(), site.env());
    let lock = lock::take(store, env, &site.settings.profile.actor, how.lock_wait, cx.out()).await?;
    let abandoned = push::abandon(store, env, batch).await;
    let _ = lock.release().await;
    abandoned?;
    cx.out().note(format!("given up; `mfctl kv rollback --batch {batch}` takes back what was made of it"));
    cx.out().print(&KvChangeReport { dry_run: false, batch: Some(batch.to_owned()), changes: Vec::new(), unchanged: 0 })
}
