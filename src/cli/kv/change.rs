//! The steps of every command that changes settings: refuse forbidden edits, confirm, take the lock, write, report.

use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args as ClapArgs};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::bootstrap::fields::FieldChange;
use crate::cli::context::{ConfigConnection, Context};
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::guard::{self, GuardedChange};
use crate::cli::output::{Render, TextPage, Tone};
use crate::cli::{lock, reason, signals};
use crate::kv::declared::KeyDeclarations;
use crate::kv::history::{HistoryEntry, SettingAction};
use crate::kv::push::{self, PushOutcome, UnfinishedPush};
use crate::kv::write::{ChangeMetadata, EditRefusal, SettingEdit, refusals};
use crate::kv::{self, display_value};
use crate::ops::pin;
use crate::settings::{general_key, stored};
use mfctl_core::domain::{ConfigKey, Timestamp};
use mfctl_core::ports::{ConfigLock, ConfigStore};
use mfctl_core::stop::Stop;

/// The options of every command that changes settings.
#[derive(Debug, Clone, ClapArgs)]
pub struct ChangeOptions {
    /// Reason for the change; recorded with your name in the history
    #[arg(long, value_name = "TEXT", value_parser = reason::parse)]
    pub reason: Option<String>,
    /// Show the changes without making them
    #[arg(short = 'n', long, action = ArgAction::SetTrue)]
    pub dry_run: bool,
    /// Write a value that looks like a secret but is not one; the reason is recorded
    #[arg(long, value_name = "REASON", value_parser = reason::parse)]
    pub allow_secret_like: Option<String>,
    /// Change a key that a manifest declares, in an emergency; the reason is recorded
    #[arg(long, value_name = "REASON", value_parser = reason::parse, requires = "for")]
    pub break_glass: Option<String>,
    /// How long the key may differ from its manifest, e.g. 4h; at most 7 days
    #[arg(long = "for", id = "for", value_name = "DURATION", value_parser = mfctl_core::humane::parse_duration, requires = "break_glass")]
    pub break_glass_for: Option<Duration>,
    /// Wait this long for another change to finish
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = mfctl_core::humane::parse_duration)]
    pub lock_wait: Duration,
}

/// The edits that a command asks for.
pub struct ChangeRequest {
    /// The command as typed, e.g. `kv put`.
    pub verb: &'static str,
    pub edits: Vec<SettingEdit>,
    /// Number of keys that have the requested value already.
    pub unchanged: u64,
    pub confirmation: Confirmation,
}

/// When the operator has to confirm a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// Only in a protected profile.
    IfProtected,
    /// Always.
    Always,
    /// Always, and in a protected profile by the environment's name.
    Dangerous,
}

/// The output of the commands that change settings.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KvChangeReport {
    /// Whether the changes were only shown.
    pub dry_run: bool,
    /// Id that the changes of one command share; null if nothing was changed.
    pub batch: Option<String>,
    /// Changes that were made; on a dry run, those that would be made.
    pub changes: Vec<KvChange>,
    /// Number of keys that had the requested value already.
    pub unchanged: u64,
}

/// The change of one key.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KvChange {
    /// The key that changed.
    pub key: ConfigKey,
    /// Whether it was created, updated or deleted.
    pub action: SettingAction,
    /// The value before; `base64:…` if it is not text.
    pub from: Option<String>,
    /// The value after; `base64:…` if it is not text.
    pub to: Option<String>,
    /// Id of the change in the history; null if the change was not made yet.
    pub id: Option<String>,
    /// The default that is in effect once one of mfctl's own settings is deleted, unless a host sets its own; null for any other
    /// change, and for the settings of other services.
    pub default_after: Option<&'static str>,
}

/// Checks, confirms and makes the requested edits, and prints the report.
pub async fn run(
    cx: &Context,
    connection: &ConfigConnection,
    options: &ChangeOptions,
    request: ChangeRequest,
) -> Result<()> {
    let declarations = KeyDeclarations::read(connection.store.as_ref(), connection.env()).await?;
    let metadata = change_metadata(connection, options, request.verb)?;
    check_own_settings(request.edits.iter().filter_map(|edit| Some((&edit.key, edit.to.as_deref()?))))?;
    fail_if_refused(&refusals(&request.edits, &metadata, &declarations))?;
    let mut report = KvChangeReport::planned(&request, options.dry_run);
    if options.dry_run || report.changes.is_empty() {
        return cx.out().print(&report);
    }
    confirm(cx, connection, &request, &report)?;
    pin::ensure(&connection.target, connection.clock.now())?;
    let stop = cx.stop()?;
    let store = connection.store.as_ref();
    let lock = lock::take(store, connection.env(), &metadata.actor, options.lock_wait, cx.out()).await?;
    let outcome = write_under_lock(cx, connection, &request, &metadata, lock.as_ref(), &stop).await;
    // A lock that could not be released expires.
    let _ = lock.release().await;
    let outcome = outcome?;
    report.batch = Some(metadata.batch.clone());
    report.retain_made(&outcome);
    cx.out().print(&report)?;
    fail_if_stopped(outcome.remaining_parts, &metadata.batch, &stop)
}

async fn write_under_lock(
    cx: &Context,
    connection: &ConfigConnection,
    request: &ChangeRequest,
    metadata: &ChangeMetadata,
    lock: &dyn ConfigLock,
    stop: &Stop,
) -> Result<PushOutcome> {
    let store: &Arc<dyn ConfigStore> = &connection.store;
    let env = connection.env();
    // Another operator may have applied a manifest before the lock was acquired.
    let declarations = KeyDeclarations::read(store.as_ref(), env).await?;
    fail_if_refused(&refusals(&request.edits, metadata, &declarations))?;
    push::delete_incomplete(store.as_ref(), env).await?;
    let unfinished = push::unfinished(store.as_ref(), env).await?;
    if let Some((batch, other)) = unfinished.iter().next() {
        let UnfinishedPush { metadata: ChangeMetadata { actor, reason, .. }, remaining_keys: keys, .. } = other;
        let message = format!("{actor}'s push is unfinished, with {keys} keys left to change ({reason})");
        if request.edits.len() > 1 {
            return Err(Failure::new(FailureKind::Conflict, message)
                .hint(format!("`mfctl kv push --resume {batch}` finishes it, `--abandon {batch}` drops the rest")));
        }
        cx.out().warn(message);
    }
    let on_progress = progress_callback(cx, stop);
    Ok(push::push(store.as_ref(), env, &request.edits, metadata, &declarations, lock, &on_progress).await?)
}

/// Fails if a stop was requested between two transactions of a push, of which `left` remain.
pub fn fail_if_stopped(left: usize, batch: &str, stop: &Stop) -> Result<()> {
    match stop.requested() {
        Some(reason) if left > 0 => {
            let message = format!("{left} parts of the push remain: `mfctl kv push --resume {batch}` finishes it");
            Err(signals::stopped(reason, message))
        }
        _ => Ok(()),
    }
}

fn change_metadata(connection: &ConfigConnection, options: &ChangeOptions, verb: &str) -> Result<ChangeMetadata> {
    let at = connection.clock.now();
    let broken_until = options.break_glass_for.map(|duration| break_glass_end(at, duration)).transpose()?;
    let reason = options.reason.clone().or_else(|| options.break_glass.clone());
    Ok(ChangeMetadata {
        actor: connection.settings.profile.actor.clone(),
        // A dry run records nothing.
        reason: match reason {
            None if options.dry_run => String::new(),
            reason => reason.ok_or_else(|| Failure::usage("give a reason with --reason"))?,
        },
        verb: verb.to_owned(),
        batch: HistoryEntry::new_id(),
        at,
        secret_like: options.allow_secret_like.clone(),
        broken_until,
    })
}

fn break_glass_end(at: Timestamp, duration: Duration) -> Result<Timestamp> {
    const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 3600);
    match duration {
        Duration::ZERO => Err(Failure::usage("--for must be longer than zero")),
        duration if duration > MAX_DURATION => {
            Err(Failure::usage("--for is longer than 7 days").hint("make a permanent change in the manifest"))
        }
        duration => at.checked_add(duration).map_err(|error| Failure::usage("--for is too long").because(&error)),
    }
}

/// Refuses an invalid value of mfctl's own settings, which every host reads.
///
/// # Errors
/// `Invalid` (exit 6) with the reason, the setting's bounds and its default.
pub fn check_own_settings<'a>(values: impl IntoIterator<Item = (&'a ConfigKey, &'a [u8])>) -> Result<()> {
    for (key, value) in values.into_iter().filter(|(key, _)| key.service() == stored::SERVICE) {
        stored::check(key.name(), value).map_err(|message| {
            Failure::invalid(format!("{key}: {message}")).hint(match stored::setting_name(key.name()) {
                Some(name) => format!("nothing was changed; `mfctl config explain {name}` says what the setting does"),
                None => "`mfctl config show` lists mfctl's settings; write _ for . here".to_owned(),
            })
        })?;
    }
    Ok(())
}

fn fail_if_refused(refusals: &[EditRefusal]) -> Result<()> {
    let Some(first) = refusals.first() else { return Ok(()) };
    let hint = match first {
        EditRefusal::Declared { place, .. } => {
            let file = place.split(':').next().unwrap_or(place);
            format!("change {file} and run `mfctl bootstrap apply`; in an emergency --break-glass REASON --for 4h")
        }
        EditRefusal::SecretLike { .. } => {
            "secrets belong in Vault; if this is not a secret, --allow-secret-like REASON writes it".to_owned()
        }
    };
    let message = match refusals {
        [refusal] => refusal.to_string(),
        refusals => format!("{} keys cannot be changed here; nothing was changed", refusals.len()),
    };
    let causes = if refusals.len() > 1 { refusals } else { &[] };
    Err(causes.iter().fold(Failure::refused(message), |failure, refusal| failure.because(refusal)).hint(hint))
}

fn confirm(
    cx: &Context,
    connection: &ConfigConnection,
    request: &ChangeRequest,
    report: &KvChangeReport,
) -> Result<()> {
    if request.confirmation == Confirmation::IfProtected && !connection.target.protected {
        return Ok(pin::verify(&connection.target)?);
    }
    if report.changes.len() > 1 && !cx.globals().yes {
        report.changes.iter().for_each(|change| cx.out().note(format!("  {}", change.to_line())));
    }
    let dangerous = request.confirmation == Confirmation::Dangerous;
    let action = GuardedChange { verb: request.verb, summary: report.summary(), dangerous };
    guard::confirm(&action, cx.globals(), &connection.target, cx.out())
}

/// The edits that give settings these values (`None` deletes), and the number of settings that have theirs already.
pub fn edits_to(
    settings: &kv::EnvironmentSettings,
    values: impl IntoIterator<Item = (ConfigKey, Option<Vec<u8>>)>,
) -> (Vec<SettingEdit>, u64) {
    let all = values.into_iter().map(|(key, to)| SettingEdit { current: settings.entries.get(&key).cloned(), key, to });
    let (edits, unchanged): (Vec<_>, Vec<_>) = all.partition(|edit| edit.action().is_some());
    (edits, unchanged.len() as u64)
}

impl KvChangeReport {
    /// The report of a request before any edit is made.
    pub fn planned(request: &ChangeRequest, dry_run: bool) -> Self {
        let changes = request.edits.iter().filter_map(|edit| {
            let value = |value: Option<&Vec<u8>>| value.map(|value| display_value(value));
            Some(KvChange {
                key: edit.key.clone(),
                action: edit.action()?,
                from: value(edit.current.as_ref().map(|entry| &entry.value)),
                to: value(edit.to.as_ref()),
                id: None,
                default_after: default_of(&edit.key).filter(|_| edit.to.is_none()),
            })
        });
        Self { dry_run, batch: None, changes: changes.collect(), unchanged: request.unchanged }
    }

    /// Adds the ids of the changes that were made, and removes the others.
    fn retain_made(&mut self, outcome: &PushOutcome) {
        for change in &mut self.changes {
            change.id = outcome.history_ids.get(&change.key).cloned();
        }
        self.changes.retain(|change| change.id.is_some());
    }

    fn summary(&self) -> String {
        match self.changes.as_slice() {
            [change] => format!("{} {}", change.action.as_str(), change.to_line()),
            changes => {
                let count = |action| changes.iter().filter(|change| change.action == action).count();
                let counts = [SettingAction::Create, SettingAction::Update, SettingAction::Delete]
                    .map(|action| (count(action), action.as_str()));
                let parts =
                    counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{word} {count}"));
                format!("{} settings", parts.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl KvChange {
    /// A change of the history, which does not hold the value after.
    pub fn from_history(entry: HistoryEntry) -> Self {
        let HistoryEntry { id, head, before, .. } = entry;
        let default_after = default_of(&head.key).filter(|_| head.action == SettingAction::Delete);
        let from = before.as_deref().map(display_value);
        Self { key: head.key, action: head.action, from, to: None, id: Some(id), default_after }
    }

    fn to_line(&self) -> String {
        if self.to.is_none() && self.action != SettingAction::Delete {
            // The history holds only the value before.
            let before =
                self.from.as_deref().map_or_else(|| "did not exist".to_owned(), |from| format!("was {from:?}"));
            return format!("{}: {before}", self.key);
        }
        change_line(&self.key, self.from.as_deref(), self.to.as_deref())
    }
}

/// A key with the values before and after, on one line for people.
pub fn change_line(key: &ConfigKey, from: Option<&str>, to: Option<&str>) -> String {
    let line = FieldChange { field: key.to_string(), from: from.map(Value::from), to: to.map(Value::from) }.summary();
    match default_of(key) {
        Some(default) if from.is_some() && to.is_none() => {
            let line = line.strip_suffix("(gone)").unwrap_or(&line);
            format!("{line}(gone; then {default}, the default, unless a host sets its own)")
        }
        _ => line,
    }
}

/// The default of a key that is one of mfctl's own settings; only its service knows that of another.
fn default_of(key: &ConfigKey) -> Option<&'static str> {
    let name = stored::setting_name(key.name()).filter(|_| key.service() == stored::SERVICE)?;
    general_key(name).map(|setting| setting.default)
}

/// Sign and tone of an action.
pub const fn action_style(action: SettingAction) -> (&'static str, Tone) {
    match action {
        SettingAction::Create => ("+", Tone::Good),
        SettingAction::Update => ("~", Tone::Warn),
        SettingAction::Delete => ("-", Tone::Bad),
    }
}

/// A callback that prints the progress of a push and returns whether it may continue: false once a stop was requested.
pub fn progress_callback<'a>(cx: &'a Context, stop: &'a Stop) -> impl Fn(usize, usize) -> bool + 'a {
    move |done, total| {
        cx.out().note(format!("[{done}/{total}] parts done"));
        stop.requested().is_none()
    }
}

impl Render for KvChangeReport {
    fn page(&self, page: &mut TextPage) {
        for change in &self.changes {
            let (sign, tone) = action_style(change.action);
            page.toned(format!("{sign} {}", change.to_line()), tone);
        }
        if self.changes.is_empty() {
            page.line("nothing to do");
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.changes.iter().map(|change| change.key.to_string()).collect())
    }
}
