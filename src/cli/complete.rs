//! Live values for completion: what is really there. Quick and silent: a completion never complains, it has nothing.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use clap_complete::CompletionCandidate;

use crate::connect::{self, OpenMode};
use crate::settings::{Flags, Layers, Settings, Sources};
use mfctl_core::domain::EnvName;
use mfctl_core::ports::{AssetFilter, ConfigStore, Ports, Result, SystemClock};

/// Candidates of a kind shown at most.
const MOST: usize = 200;

/// Dead-letter and parked topics.
#[must_use]
pub fn dead_letter_topics() -> Vec<CompletionCandidate> {
    with_ports(|ports| async move {
        let topics = ports.log.topics().await?.into_iter().map(|topic| topic.name);
        let dead = topics.filter(|name| name.is_dead_letters() || name.is_parked());
        Ok(dead.map(|name| CompletionCandidate::new(name.as_str())).collect())
    })
}

/// Consumer groups.
#[must_use]
pub fn groups() -> Vec<CompletionCandidate> {
    with_ports(|ports| async move {
        let groups = ports.log.groups().await?;
        Ok(groups.into_iter().map(|group| CompletionCandidate::new(group.group.as_str())).collect())
    })
}

/// Jobs, latest first.
#[must_use]
pub fn jobs() -> Vec<CompletionCandidate> {
    with_ports(|ports| async move {
        let jobs = ports.journal.jobs(None, MOST).await?.items;
        let candidate = |job: mfctl_core::domain::job::Job| {
            CompletionCandidate::new(job.job_id.to_string())
                .help(Some(format!("{} since {}", job.status, job.started_at).into()))
        };
        Ok(jobs.into_iter().map(candidate).collect())
    })
}

/// Assets, with their titles.
#[must_use]
pub fn assets() -> Vec<CompletionCandidate> {
    with_ports(|ports| async move {
        let assets = ports.catalog.list(&AssetFilter::default(), None, MOST).await?.items;
        let candidate = |asset: mfctl_core::domain::Asset| {
            let title = asset.metadata.title.or(asset.facts.title).unwrap_or(asset.media_type);
            let title = super::output::escape(&title).into_owned();
            CompletionCandidate::new(asset.asset_id.to_string()).help(Some(title.into()))
        };
        Ok(assets.into_iter().map(candidate).collect())
    })
}

/// Settings of services, with their values.
#[must_use]
pub fn settings() -> Vec<CompletionCandidate> {
    with_config(|store, env| async move {
        let settings = crate::kv::read_settings(store.as_ref(), &env, None).await?.entries.into_iter().take(MOST);
        let candidate = |(key, entry): (mfctl_core::domain::ConfigKey, mfctl_core::ports::ConfigEntry)| {
            let value = crate::kv::display_value(&entry.value);
            CompletionCandidate::new(key.to_string()).help(Some(super::output::escape(&value).into_owned().into()))
        };
        Ok(settings.map(candidate).collect())
    })
}

/// Services that have settings.
#[must_use]
pub fn services() -> Vec<CompletionCandidate> {
    with_config(|store, env| async move {
        let settings = crate::kv::read_settings(store.as_ref(), &env, None).await?.entries;
        let services: std::collections::BTreeSet<&str> = settings.keys().map(|key| key.service()).collect();
        Ok(services.into_iter().take(MOST).map(CompletionCandidate::new).collect())
    })
}

/// Profiles.
#[must_use]
pub fn profiles() -> Vec<CompletionCandidate> {
    let layers = sources().and_then(|sources| Layers::read(&sources).ok());
    let profiles = layers.map(|layers| layers.profiles()).unwrap_or_default();
    profiles.into_iter().map(|(name, _)| CompletionCandidate::new(name.as_str())).collect()
}

/// Whoever presses Tab waits no longer for servers.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// What the words typed so far and the environment say.
fn sources() -> Option<Sources> {
    let words: Vec<String> = std::env::args().collect();
    let mut given: BTreeMap<&str, String> = BTreeMap::new();
    for flag in ["--profile", "--config", "--data-dir"] {
        for (at, word) in words.iter().enumerate() {
            let value = match word.strip_prefix(flag) {
                Some("") => words.get(at + 1).cloned(),
                Some(rest) => rest.strip_prefix('=').map(str::to_owned),
                None => None,
            };
            if let Some(value) = value {
                given.insert(flag, value);
            }
        }
    }
    Sources::of_process(Flags {
        profile: given.remove("--profile"),
        config: given.remove("--config").map(PathBuf::from),
        data_dir: given.remove("--data-dir").map(PathBuf::from),
        env: None,
    })
    .ok()
}

fn with_ports<F, Fut>(ask: F) -> Vec<CompletionCandidate>
where
    F: FnOnce(Ports) -> Fut,
    Fut: Future<Output = Result<Vec<CompletionCandidate>>>,
{
    answered(|settings, sources| async move {
        let clock = Arc::new(SystemClock::default());
        ask(connect::connect(&settings, &sources.env, OpenMode::MustExist, clock, &Arc::default()).await?).await
    })
}

fn with_config<F, Fut>(ask: F) -> Vec<CompletionCandidate>
where
    F: FnOnce(Arc<dyn ConfigStore>, EnvName) -> Fut,
    Fut: Future<Output = Result<Vec<CompletionCandidate>>>,
{
    answered(|settings, sources| async move {
        let clock = Arc::new(SystemClock::default());
        match connect::config(&settings, &sources.env, clock, &Arc::default()).await? {
            Some(store) => ask(store, settings.profile.environment).await,
            None => Ok(Vec::new()),
        }
    })
}

fn answered<F, Fut>(ask: F) -> Vec<CompletionCandidate>
where
    F: FnOnce(Settings, Sources) -> Fut,
    Fut: Future<Output = Result<Vec<CompletionCandidate>>>,
{
    let answer = || {
        let sources = sources()?;
        let settings = Layers::read(&sources).ok()?.settings().ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let look = async { ask(settings, sources).await.ok() };
        let found = runtime.block_on(async { tokio::time::timeout(PATIENCE, look).await.ok().flatten() });
        // A server's client that is still trying must not hold up the shell.
        runtime.shutdown_background();
        found
    };
    answer().unwrap_or_default()
}
