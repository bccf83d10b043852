//! Live values for shell completion, read from the platform within a short timeout. An error yields no candidates.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clap_complete::CompletionCandidate;

use crate::connect::{self, OpenMode};
use crate::dlq::list::{DeadLetterFilter, ListedDeadLetter, for_each_dead_letter};
use crate::ops::jobs::{JobSources, KnownJob};
use crate::settings::{Flags, Layers, SettingKey, Settings, Sources, all_keys};
use mfctl_core::domain::asset::AssetPaths;
use mfctl_core::domain::{Asset, AssetState, EnvName, Tenant};
use mfctl_core::events::ledger::Ledger;
use mfctl_core::ports::{AssetFilter, ConfigStore, Ports, Result, SystemClock};

/// Most candidates that one completion offers.
const MAX_CANDIDATES: usize = 200;
/// Most records or assets that one completion reads.
const MAX_READ: usize = 20_000;
/// Assets per query of the catalog.
const PAGE_SIZE: usize = 500;

/// Names of dead-letter and parked topics.
#[must_use]
pub fn dead_letter_topics() -> Vec<CompletionCandidate> {
    with_ports(|ports, _| async move {
        let topics = ports.log.topics().await?.into_iter().map(|topic| topic.name);
        let topics = topics.filter(|name| name.is_dead_letters() || name.is_parked());
        Ok(topics.map(|name| CompletionCandidate::new(name.as_str())).collect())
    })
}

/// Names of consumer groups.
#[must_use]
pub fn groups() -> Vec<CompletionCandidate> {
    with_ports(|ports, _| async move {
        let groups = ports.log.groups().await?;
        Ok(groups.into_iter().map(|group| CompletionCandidate::new(group.group.as_str())).collect())
    })
}

/// Ids of the jobs of all hosts, latest first, with their state.
#[must_use]
pub fn jobs() -> Vec<CompletionCandidate> {
    with_ports(|ports, tenant| async move {
        let jobs = JobSources::of(&ports, &tenant).page(None, MAX_CANDIDATES).await?.jobs;
        let candidate =
            |job: &KnownJob| CompletionCandidate::new(job.job_id().to_string()).help(Some(job.status_text().into()));
        Ok(jobs.iter().map(candidate).collect())
    })
}

/// Asset ids, with the names of their files.
#[must_use]
pub fn assets() -> Vec<CompletionCandidate> {
    assets_in(None)
}

/// Ids of assets that were taken down, with the name of each.
#[must_use]
pub fn revoked_assets() -> Vec<CompletionCandidate> {
    assets_in(Some(AssetState::Revoked))
}

fn assets_in(state: Option<AssetState>) -> Vec<CompletionCandidate> {
    with_ports(|ports, tenant| async move {
        let filter = AssetFilter { state, without_revoked: state.is_none(), ..of_tenant(tenant) };
        let assets = ports.catalog.list(&filter, None, MAX_CANDIDATES).await?.items;
        let ids: Vec<_> = assets.iter().map(|asset| asset.asset_id).collect();
        let paths = ports.catalog.paths(&ids, 1).await?;
        let candidate = |(asset, paths): (Asset, AssetPaths)| {
            let name = paths.file_name().unwrap_or(&asset.media_type);
            let name = super::output::escape(name).into_owned();
            CompletionCandidate::new(asset.asset_id.to_string()).help(Some(name.into()))
        };
        Ok(assets.into_iter().zip(paths).map(candidate).collect())
    })
}

/// States of assets that `--state` accepts.
#[must_use]
pub fn asset_states() -> Vec<CompletionCandidate> {
    let states = [
        (AssetState::Staged, "the bytes wait for `worker persist`"),
        (AssetState::Ingested, "the bytes are stored and wait for `worker enrich`"),
        (AssetState::Enriched, "text, thumbnail and search document are made"),
        (AssetState::Revoked, "taken down"),
    ];
    states.map(|(state, means)| CompletionCandidate::new(state.as_str()).help(Some(means.into()))).into()
}

/// Ids of dead letters without a ledger entry, with their errors.
#[must_use]
pub fn dead_letters() -> Vec<CompletionCandidate> {
    with_dead_letters(|letter, found| {
        let message = super::output::escape(&letter.error.message).into_owned();
        let help = format!("{}: {message}", letter.error.kind);
        found.insert(letter.id.to_string(), help);
    })
}

/// Error kinds of dead letters without a ledger entry.
#[must_use]
pub fn error_kinds() -> Vec<CompletionCandidate> {
    with_dead_letters(|letter, found| {
        let message = super::output::escape(&letter.error.message).into_owned();
        found.entry(letter.error.kind).or_insert_with(|| format!("such as: {message}"));
    })
}

/// Collections of assets.
#[must_use]
pub fn collections() -> Vec<CompletionCandidate> {
    with_assets(|asset, found| found.extend(asset.metadata.collection))
}

/// Tags of assets: each name, and each name with a value as `NAME=VALUE`.
#[must_use]
pub fn tags() -> Vec<CompletionCandidate> {
    with_assets(|asset, found| {
        for (name, value) in asset.metadata.tags {
            if !value.is_empty() {
                found.insert(format!("{name}={value}"));
            }
            found.insert(name);
        }
    })
}

/// Candidates, with their help, from the first dead letters that are not resolved; those found in time.
fn with_dead_letters(collect: impl Fn(ListedDeadLetter, &mut BTreeMap<String, String>)) -> Vec<CompletionCandidate> {
    let shared = Mutex::new(BTreeMap::new());
    let (found, collect) = (&shared, &collect);
    with_ports(|ports, _| async move {
        let ledger = Ledger::load(ports.log.as_ref()).await?;
        let mut seen = 0;
        let filter = DeadLetterFilter::default();
        let all_or_full = for_each_dead_letter(ports.log.as_ref(), &ledger, &filter, |letter| {
            seen += 1;
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            if letter.resolution.is_none() {
                collect(letter, &mut found);
            }
            match found.len() >= MAX_CANDIDATES || seen >= MAX_READ {
                true => Err(ReadEnd::Full),
                false => Ok(()),
            }
        });
        match all_or_full.await {
            Err(ReadEnd::Failed(error)) => Err(error),
            Ok(()) | Err(ReadEnd::Full) => Ok(Vec::new()),
        }
    });
    let found = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.into_iter().map(|(value, help)| CompletionCandidate::new(value).help(Some(help.into()))).collect()
}

/// Why dead letters are read no further.
enum ReadEnd {
    /// There are enough candidates.
    Full,
    Failed(mfctl_core::ports::Error),
}

impl From<mfctl_core::ports::Error> for ReadEnd {
    fn from(error: mfctl_core::ports::Error) -> Self {
        Self::Failed(error)
    }
}

fn of_tenant(tenant: Tenant) -> AssetFilter {
    AssetFilter { tenant: Some(tenant), ..AssetFilter::default() }
}

/// Candidates from the first assets of the catalog; those found in time.
fn with_assets(collect: impl Fn(Asset, &mut BTreeSet<String>)) -> Vec<CompletionCandidate> {
    let shared = Mutex::new(BTreeSet::new());
    let (found, collect) = (&shared, &collect);
    with_ports(|ports, tenant| async move {
        let filter = of_tenant(tenant);
        let mut cursor: Option<String> = None;
        let mut seen = 0;
        loop {
            let page = ports.catalog.list(&filter, cursor.as_deref(), PAGE_SIZE).await?;
            seen += page.items.len();
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            page.items.into_iter().for_each(|asset| collect(asset, &mut found));
            cursor = page.next;
            if cursor.is_none() || found.len() >= MAX_CANDIDATES || seen >= MAX_READ {
                return Ok(Vec::new());
            }
        }
    });
    let found = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.into_iter().take(MAX_CANDIDATES).map(CompletionCandidate::new).collect()
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
        let services: BTreeSet<&str> = settings.keys().map(|key| key.service()).collect();
        Ok(services.into_iter().take(MAX_CANDIDATES).map(CompletionCandidate::new).collect())
    })
}

/// Names of mfctl's own settings, with what they mean.
#[must_use]
pub fn setting_keys() -> Vec<CompletionCandidate> {
    all_keys().map(|key| CompletionCandidate::new(short_name(key)).help(Some(key.doc.into()))).collect()
}

/// Names of mfctl's own settings for `KEY=VALUE`.
#[must_use]
pub fn assignments() -> Vec<CompletionCandidate> {
    let candidate =
        |key: &SettingKey| CompletionCandidate::new(format!("{}=", short_name(key))).help(Some(key.doc.into()));
    all_keys().map(candidate).collect()
}

/// The name of a key as operators write it: without `profile.`, which they need not.
fn short_name(key: &SettingKey) -> &'static str {
    key.name.strip_prefix("profile.").unwrap_or(key.name)
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

/// Candidates from the ports of the chosen profile, whose tenant is given too.
fn with_ports<F, Fut>(candidates: F) -> Vec<CompletionCandidate>
where
    F: FnOnce(Ports, Tenant) -> Fut,
    Fut: Future<Output = Result<Vec<CompletionCandidate>>>,
{
    with_settings(|settings, sources| async move {
        let clock = Arc::new(SystemClock::default());
        let ports = connect::connect(&settings, &sources.env, OpenMode::MustExist, clock, &Arc::default()).await?;
        candidates(ports, settings.profile.tenant).await
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
