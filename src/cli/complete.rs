//! Live values for shell completion, read from the platform within a short timeout. An error yields no candidates.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use clap_complete::CompletionCandidate;

use crate::connect::{self, OpenMode};
use crate::settings::{Flags, Layers, Settings, Sources};
use mfctl_core::domain::EnvName;
use mfctl_core::ports::{AssetFilter, ConfigStore, Ports, Result, SystemClock};

/// Most candidates that one completion offers.
const MAX_CANDIDATES: usize = 200;

/// Names of dead-letter and parked topics.
#[must_use]
pub fn dead_letter_topics() -> Vec<CompletionCandidate> {
    with_ports(|ports| async move {
        let topics = ports.log.topics().await?.into_iter().map(|topic| topic.name);
        let topics = topics.filter(|name| name.is_dead_letters() || name.is_parked());
        Ok(topics.map(|name| CompletionCandidate::new(name.as_str())).collect())
    })
}

/// Names of consumer groups.
#[must_use]
pub fn groups() -> Vec<CompletionCandidate> {
    with_ports(|ports| async move {
        let groups = ports.log.groups().await?;
        Ok(groups.into_iter().map(|group| CompletionCandidate::new(group.group.as_str())).collect())
    })
}

/// Job ids, latest first, with their state.
#[must_use]
pub fn jobs() -> Vec<CompletionCandidate> {
    with_ports(|ports| async move {
        let jobs = ports.journal.jobs(None, MAX_CANDIDATES).await?.items;
        let candidate = |job: mfctl_core::domain::job::Job| {
            CompletionCandidate::new(job.job_id.to_string())
                .help(Some(format!("{} since {}", job.status, job.started_at).into()))
        };
        Ok(jobs.into_iter().map(candidate).collect())
    })
}

/// Asset ids, with their titles.
#[must_use]
pub fn assets() -> Vec<CompletionCandidate> {
    with_ports(|ports| async move {
        let assets = ports.catalog.list(&AssetFilter::default(), None, MAX_CANDIDATES).await?.items;
        let candidate = |asset: mfctl_core::domain::Asset| {
            let title = asset.metadata.title.or(asset.facts.title).unwrap_or(asset.media_type);
            let title = super::output::escape(&title).into_owned();
            CompletionCandidate::new(asset.asset_id.to_string()).help(Some(title.into()))
        };
        Ok(assets.into_iter().map(candidate).collect())
    })
}

/// Keys of services' settings, with their values.
#[must_use]
pub fn settings() -> Vec<CompletionCandidate> {
    with_config(|store, env| async move {
        let settings =
            crate::kv::read_settings(store.as_ref(), &env, None).await?.entries.into_iter().take(MAX_CANDIDATES);
        let candidate = |(key, entry): (mfctl_core::domain::ConfigKey, mfctl_core::ports::ConfigEntry)| {
            let value = crate::kv::display_value(&entry.value);
            CompletionCandidate::new(key.to_string()).help(Some(super::output::escape(&value).into_owned().into()))
        };
        Ok(settings.map(candidate).collect())
    })
}

/// Names of services that have settings.
#[must_use]
pub fn services() -> Vec<CompletionCandidate> {
    with_config(|store, env| async move {
        let settings = crate::kv::read_settings(store.as_ref(), &env, None).await?.entries;
        let services: std::collections::BTreeSet<&str> = settings.keys().map(|key| key.service()).collect();
        Ok(services.into_iter().take(MAX_CANDIDATES).map(CompletionCandidate::new).collect())
    })
}

/// Names of profiles that files define.
#[must_use]
pub fn profiles() -> Vec<CompletionCandidate> {
    let layers = sources().and_then(|sources| Layers::read(&sources).ok());
    let profiles = layers.map(|layers| layers.profiles()).unwrap_or_default();
    profiles.into_iter().map(|(name, _)| CompletionCandidate::new(name.as_str())).collect()
}

/// Time that a completion waits for servers.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// The settings' sources, from the environment and from the flags typed so far.
fn sources() -> Option<Sources> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let mut flags: BTreeMap<&str, OsString> = BTreeMap::new();
    for flag in ["--profile", "--config", "--data-dir"] {
        for (index, word) in words.iter().enumerate() {
            if let Some(value) = flag_value(flag, word, words.get(index + 1)) {
                flags.insert(flag, value);
            }
        }
    }
    Sources::of_process(Flags {
        // A name that is not UTF-8 is no profile's.
        profile: flags.remove("--profile").map(OsString::into_string).transpose().ok()?,
        config: flags.remove("--config").map(PathBuf::from),
        data_dir: flags.remove("--data-dir").map(PathBuf::from),
        env: None,
    })
    .ok()
}

/// The value of a flag, if the word is the flag: after `=`, else the next word.
fn flag_value(flag: &str, word: &OsStr, next: Option<&OsString>) -> Option<OsString> {
    match word.as_bytes().strip_prefix(flag.as_bytes())? {
        [] => next.cloned(),
        [b'=', value @ ..] => Some(OsStr::from_bytes(value).to_owned()),
        _ => None,
    }
}

/// Candidates from the ports of the chosen profile.
fn with_ports<F, Fut>(candidates: F) -> Vec<CompletionCandidate>
where
    F: FnOnce(Ports) -> Fut,
    Fut: Future<Output = Result<Vec<CompletionCandidate>>>,
{
    with_settings(|settings, sources| async move {
        let clock = Arc::new(SystemClock::default());
        let ports = connect::connect(&settings, &sources.env, OpenMode::MustExist, clock, &Arc::default()).await?;
        candidates(ports).await
    })
}

/// Candidates from the configuration store of the chosen profile.
fn with_config<F, Fut>(candidates: F) -> Vec<CompletionCandidate>
where
    F: FnOnce(Arc<dyn ConfigStore>, EnvName) -> Fut,
    Fut: Future<Output = Result<Vec<CompletionCandidate>>>,
{
    with_settings(|settings, sources| async move {
        let clock = Arc::new(SystemClock::default());
        match connect::config(&settings, &sources.env, clock, &Arc::default()).await? {
            Some(store) => candidates(store, settings.profile.environment).await,
            None => Ok(Vec::new()),
        }
    })
}

/// Runs `candidates` to completion or timeout; no candidates on any error.
fn with_settings<F, Fut>(candidates: F) -> Vec<CompletionCandidate>
where
    F: FnOnce(Settings, Sources) -> Fut,
    Fut: Future<Output = Result<Vec<CompletionCandidate>>>,
{
    let run = || {
        let sources = sources()?;
        let settings = Layers::read(&sources).ok()?.settings().ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let candidates = async { candidates(settings, sources).await.ok() };
        let result = runtime.block_on(async { tokio::time::timeout(TIMEOUT, candidates).await.ok().flatten() });
        // A client that is still retrying must not delay the shell.
        runtime.shutdown_background();
        result
    };
    run().unwrap_or_default()
}
