//! What every verb that changes settings does: refuse what must not be changed, ask, take the lock, change, and tell.

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
use crate::cli::output::{Page, Render, Tone};
use crate::cli::{lock, reason, signals};
use crate::kv::declared::KeyDeclarations;
use crate::kv::history::{HistoryEntry, SettingAction};
use crate::kv::push::{self, PushOutcome};
use crate::kv::write::{ChangeMetadata, EditRefusal, SettingEdit, refusals};
use crate::kv::{self, display_value};
use crate::ops::pin;
use crate::settings::stored;
use mfctl_core::domain::{ConfigKey, Timestamp};
use mfctl_core::ports::{ConfigLock, ConfigStore};
use mfctl_core::stop::Stop;

/// How a change may be made.
#[derive(Debug, Clone, ClapArgs)]
pub struct How {
    /// Why; kept with your name in the history
    #[arg(long, value_name = "TEXT", value_parser = reason::parse)]
    pub reason: Option<String>,
    /// Say what would be changed; change nothing
    #[arg(short = 'n', long, action = ArgAction::SetTrue)]
    pub dry_run: bool,
    /// Write a value that looks like a secret and is none; the reason is kept
    #[arg(long, value_name = "REASON", value_parser = reason::parse)]
    pub allow_secret_like: Option<String>,
    /// Change a key that a manifest declares, in an emergency; the reason is kept
    #[arg(long, value_name = "REASON", value_parser = reason::parse, requires = "for")]
    pub break_glass: Option<String>,
    /// How long it may be different from its manifest, e.g. 4h
    #[arg(long = "for", id = "for", value_name = "DURATION", value_parser = mfctl_core::humane::parse_duration, requires = "break_glass")]
    pub broken_for: Option<Duration>,
    /// Wait this long for another who is changing something
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = mfctl_core::humane::parse_duration)]
    pub lock_wait: Duration,
}

/// A wish to change something.
pub struct Wish {
    /// The verb.
    pub verb: &'static str,
    /// What is to be changed.
    pub edits: Vec<SettingEdit>,
    /// Keys that are as they should be.
    pub unchanged: u64,
    /// Whether somebody is asked: always, or only where the profile is protected.
    pub ask: Ask,
}

/// When somebody is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// In a protected profile.
    IfProtected,
    /// Always.
    Always,
    /// Always, and in a protected profile for the environment's name.
    Dangerous,
}

/// What a changing verb prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KvChangeReport {
    /// Whether nothing was changed because nothing was to be.
    pub dry_run: bool,
    /// What was changed together has this; null where nothing was.
    pub batch: Option<String>,
    /// What was changed; on a dry run, what would be.
    pub changes: Vec<KvChange>,
    /// Keys that are as they should be.
    pub unchanged: u64,
}

/// One key's change.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KvChange {
    /// The key.
    pub key: ConfigKey,
    /// What was done to it.
    pub action: SettingAction,
    /// The value before; `base64:…` for one that is no text.
    pub from: Option<String>,
    /// The value after.
    pub to: Option<String>,
    /// Its record in the history; null where nothing was changed yet.
    pub id: Option<String>,
}

/// Makes a change from beginning to end, and prints it.
pub async fn run(cx: &Context, site: &ConfigConnection, how: &How, wish: Wish) -> Result<()> {
    let declarations = KeyDeclarations::read(site.store.as_ref(), site.env()).await?;
    let why = why(site, how, wish.verb)?;
    own_settings(&wish.edits)?;
    refuse(&refusals(&wish.edits, &why, &declarations))?;
    let mut report = KvChangeReport::of(&wish, how.dry_run);
    if how.dry_run || report.changes.is_empty() {
        return cx.out().print(&report);
    }
    confirm(cx, site, &wish, &report)?;
    pin::ensure(&site.target, site.clock.now())?;
    let stop = cx.stop()?;
    let lock = lock::take(site.store.as_ref(), site.env(), &why.actor, how.lock_wait, cx.out()).await?;
    let made = locked(cx, site, &wish, &why, lock.as_ref(), &stop).await;
    // It frees itself soon in any case.
    let _ = lock.release().await;
    let made = made?;
    report.batch = Some(why.batch.clone());
    let left = made.remaining_parts;
    report.tell(&made);
    cx.out().print(&report)?;
    unfinished(left, &why.batch, &stop)
}

async fn locked(
    cx: &Context,
    site: &ConfigConnection,
    wish: &Wish,
    why: &ChangeMetadata,
    lock: &dyn ConfigLock,
    stop: &Stop,
) -> Result<PushOutcome> {
    let store: &Arc<dyn ConfigStore> = &site.store;
    // A manifest may have been applied while we waited for the lock.
    let declarations = KeyDeclarations::read(store.as_ref(), site.env()).await?;
    refuse(&refusals(&wish.edits, why, &declarations))?;
    push::delete_incomplete(store.as_ref(), site.env()).await?;
    let others = push::unfinished(store.as_ref(), site.env()).await?;
    if let Some((batch, other)) = others.iter().next() {
        let keys = format!(
            "{} keys of {}'s push are still to come ({})",
            other.remaining_keys, other.metadata.actor, other.metadata.reason
        );
        if wish.edits.len() > 1 {
            return Err(Failure::new(FailureKind::Conflict, keys)
                .hint(format!("`mfctl kv push --resume {batch}` goes on with it, `--abandon {batch}` gives it up")));
        }
        cx.out().warn(keys);
    }
    let tell = tell(cx, stop);
    Ok(push::push(store.as_ref(), site.env(), &wish.edits, why, &declarations, lock, &tell).await?)
}

/// Where somebody asked to stop between two parts.
pub fn unfinished(left: usize, batch: &str, stop: &Stop) -> Result<()> {
    match stop.requested() {
        Some(reason) if left > 0 => {
            let far =
                format!("{left} parts of the push are still to come: `mfctl kv push --resume {batch}` makes them");
            Err(signals::stopped(reason, far))
        }
        _ => Ok(()),
    }
}

fn why(site: &ConfigConnection, how: &How, verb: &str) -> Result<ChangeMetadata> {
    let at = site.clock.now();
    let broken_until = how.broken_for.map(|length| until(at, length)).transpose()?;
    let reason = how.reason.clone().or_else(|| how.break_glass.clone());
    Ok(ChangeMetadata {
        actor: site.settings.profile.actor.clone(),
        reason: reason.ok_or_else(|| Failure::usage("say why with --reason"))?,
        verb: verb.to_owned(),
        batch: HistoryEntry::new_id(),
        at,
        secret_like: how.allow_secret_like.clone(),
        broken_until,
    })
}

fn until(at: Timestamp, length: Duration) -> Result<Timestamp> {
    const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
    match length {
        Duration::ZERO => Err(Failure::usage("--for is no time at all")),
        length if length > LONGEST => {
            Err(Failure::usage("--for is longer than 7 days").hint("what is to stay goes into the manifest"))
        }
        length => at.checked_add(length).map_err(|error| Failure::usage("--for is too long").because(&error)),
    }
}

/// mfctl's own settings are read by every host: one that cannot be would keep them all from working.
fn own_settings(edits: &[SettingEdit]) -> Result<()> {
    for edit in edits.iter().filter(|edit| edit.key.service() == stored::SERVICE) {
        let Some(to) = &edit.to else { continue };
        stored::check(edit.key.name(), &String::from_utf8_lossy(to)).map_err(|said| {
            let hint = "`mfctl config show` lists mfctl's settings, with _ for . here";
            Failure::refused(format!("{}: {said}", edit.key)).hint(hint)
        })?;
    }
    Ok(())
}

fn refuse(refusals: &[EditRefusal]) -> Result<()> {
    let Some(first) = refusals.first() else { return Ok(()) };
    let hint = match first {
        EditRefusal::Declared { place, .. } => {
            let file = place.split(':').next().unwrap_or(place);
            format!("change {file} and `mfctl bootstrap apply`; in an emergency --break-glass REASON --for 4h")
        }
        EditRefusal::SecretLike { .. } => {
            "a secret belongs into Vault; if this is none, --allow-secret-like REASON writes it".to_owned()
        }
    };
    let what = match refusals {
        [one] => one.to_string(),
        many => format!("{} keys cannot be changed here; nothing was changed", many.len()),
    };
    let rest = if refusals.len() > 1 { refusals } else { &[] };
    Err(rest.iter().fold(Failure::refused(what), |failure, refused| failure.because(refused)).hint(hint))
}

fn confirm(cx: &Context, site: &ConfigConnection, wish: &Wish, report: &KvChangeReport) -> Result<()> {
    let (summary, dangerous) = (report.summary(), wish.ask == Ask::Dangerous);
    if wish.ask == Ask::IfProtected && !site.target.protected {
        return Ok(pin::verify(&site.target)?);
    }
    if report.changes.len() > 1 && !cx.globals().yes {
        report.changes.iter().for_each(|change| cx.out().note(format!("  {}", change.told())));
    }
    guard::confirm(&GuardedChange { verb: wish.verb, summary, dangerous }, cx.globals(), &site.target, cx.out())
}

/// What has to be changed for settings to be as wanted; those that are so already are counted.
pub fn edits(
    settings: &kv::EnvironmentSettings,
    wanted: impl IntoIterator<Item = (ConfigKey, Option<Vec<u8>>)>,
) -> (Vec<SettingEdit>, u64) {
    let all = wanted.into_iter().map(|(key, to)| SettingEdit { current: settings.entries.get(&key).cloned(), key, to });
    let (edits, same): (Vec<_>, Vec<_>) = all.partition(|edit| edit.action().is_some());
    (edits, same.len() as u64)
}

impl KvChangeReport {
    /// What a wish would change.
    pub fn of(wish: &Wish, dry_run: bool) -> Self {
        let changes = wish.edits.iter().filter_map(|edit| {
            let value = |value: Option<&Vec<u8>>| value.map(|value| display_value(value));
            Some(KvChange {
                key: edit.key.clone(),
                action: edit.action()?,
                from: value(edit.current.as_ref().map(|entry| &entry.value)),
                to: value(edit.to.as_ref()),
                id: None,
            })
        });
        Self { dry_run, batch: None, changes: changes.collect(), unchanged: wish.unchanged }
    }

    /// Adds what was made; what was not is taken out.
    pub fn tell(&mut self, made: &PushOutcome) {
        for change in &mut self.changes {
            change.id = made.history_ids.get(&change.key).cloned();
        }
        self.changes.retain(|change| change.id.is_some());
    }

    fn summary(&self) -> String {
        match self.changes.as_slice() {
            [one] => format!("{} {}", one.action.as_str(), one.told()),
            many => {
                let count = |action| many.iter().filter(|change| change.action == action).count();
                let counts = [SettingAction::Create, SettingAction::Update, SettingAction::Delete]
                    .map(|action| (count(action), action.as_str()));
                let told = counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{word} {count}"));
                format!("{} settings", told.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl KvChange {
    /// As the history has it; the value after is not known there.
    pub fn of(entry: HistoryEntry) -> Self {
        let HistoryEntry { id, head, before } = entry;
        Self { key: head.key, action: head.action, from: before.as_deref().map(display_value), to: None, id: Some(id) }
    }

    fn told(&self) -> String {
        told(&self.key, self.from.as_deref(), self.to.as_deref())
    }
}

/// A key and both its values on a line, for people.
pub fn told(key: &ConfigKey, from: Option<&str>, to: Option<&str>) -> String {
    FieldChange { field: key.to_string(), from: from.map(Value::from), to: to.map(Value::from) }.summary()
}

/// How an action is shown.
pub const fn sign(action: SettingAction) -> (&'static str, Tone) {
    match action {
        SettingAction::Create => ("+", Tone::Good),
        SettingAction::Update => ("~", Tone::Warn),
        SettingAction::Delete => ("-", Tone::Bad),
    }
}

/// Says how far a change of several parts has come; whether to go on.
pub fn tell<'a>(cx: &'a Context, stop: &'a Stop) -> impl Fn(usize, usize) -> bool + 'a {
    move |done, of| {
        cx.out().note(format!("[{done}/{of}] parts done"));
        stop.requested().is_none()
    }
}

impl Render for KvChangeReport {
    fn page(&self, page: &mut Page) {
        for change in &self.changes {
            let (sign, tone) = sign(change.action);
            page.toned(format!("{sign} {}", change.told()), tone);
        }
        if self.changes.is_empty() {
            page.line("nothing to do");
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.changes.iter().map(|change| change.key.to_string()).collect())
    }
}
