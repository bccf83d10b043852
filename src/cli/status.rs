//! `mfctl status`: whether each part works, on one screen; with `--paths`, every path in use and its size.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;

use super::context::Context;
use super::failure::{Failure, FailureKind, Result};
use super::kv::change_line;
use super::output::{Cell, Column, Render, TextPage, Tone, humane};
use super::top;
use crate::kv::history::SettingAction;
use crate::ops::owed::OwedWork;
use crate::ops::setting_report::UnusedSetting;
use crate::ops::status::{self, LastWords, PartHealth, PausedWorker, PlatformStatus, SettingChange, StatusPart};
use crate::ops::target::DataDirMode;
use crate::settings::discover;
use mfctl_core::domain::SourcePath;
use mfctl_core::ports::UnreadCount;

/// Most files that are counted below one path; beyond them its size is marked partial.
const MAX_FILES: u64 = 1_000_000;

/// Arguments of `mfctl status`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl status                    each part, with a hint where it needs one, and recent changes of settings
  mfctl status --paths            every path mfctl uses, with its size
  mfctl status --strict           also fail when work is left without a worker, e.g. before going home
  mfctl status -o json | jq '.parts[] | select(.health != \"ok\")'

A worker that pauses, because a dependency of it is down, is a part that does not work.

With --strict, the exit code is 10 when a worker pauses, when records wait in a stage whose group has no member, when dead
letters or parked records are not resolved, or when it cannot be read whether there are any. Records that a worker is
processing are no reason.

Exit codes: 0 every part works (warnings included), 5 a part does not or could not be read, 6 no data folder,
10 with --strict: a worker pauses, work is left without a worker, or dead letters without a decision")]
pub struct Args {
    /// Also list every path mfctl uses, with its size
    #[arg(long)]
    paths: bool,
    /// Exit 10 when a worker pauses or work is left: records wait in a stage without a worker, or dead letters
    #[arg(long)]
    strict: bool,
}

/// Output of `mfctl status`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatusReport {
    /// Health of the worst part.
    pub health: PartHealth,
    /// Parts of the platform.
    pub parts: Vec<StatusPart>,
    /// What the pipeline still has to do.
    pub owed: OwedWork,
    /// The last words of the workers of groups without members.
    pub last_words: Vec<LastWords>,
    /// Assets of which enrichment read nothing, by reason, most assets first.
    pub unread: Vec<UnreadCount>,
    /// Workers that pause because a dependency of them is down.
    pub paused_workers: Vec<PausedWorker>,
    /// Values of settings that are not used, with those that are.
    pub unused_settings: Vec<UnusedSetting>,
    /// Changes of settings in the last 24 hours, at most 20, latest first.
    pub setting_changes: Vec<SettingChange>,
    /// Paths in use; only with `--paths`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathUse>,
}

/// A path that mfctl uses, and its size.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PathUse {
    /// Purpose of the path.
    pub what: String,
    /// The path.
    pub path: SourcePath,
    /// Bytes below the path; null when it does not exist.
    pub bytes: Option<u64>,
    /// Files below the path.
    pub files: u64,
    /// Whether counting stopped at its limit or at a folder that cannot be read, so that bytes and files are lower bounds.
    pub partial: bool,
}

/// Checks every part and prints the report.
///
/// # Errors
/// `Unreachable` when a part does not work, and with `--strict` `CheckFailed` when work is left, both after the report; otherwise the errors of the ports.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let mut monitor = top::monitor(&connected, status::WINDOW);
    let PlatformStatus { parts, owed, last_words, unread, paused_workers, unused_settings, setting_changes } =
        status::check(&connected.ports, &connected.settings, &mut monitor).await;
    let paths = if args.paths { measure_paths(cx, &connected.target.data_dir) } else { Vec::new() };
    let health = status::worst(&parts);
    let report = StatusReport {
        health,
        parts,
        owed,
        last_words,
        unread,
        paused_workers,
        unused_settings,
        setting_changes,
        paths,
    };
    cx.out().print(&report)?;
    check_paused(&report.paused_workers, args.strict)?;
    let failed: Vec<_> = report.parts.iter().filter(|p| p.health == PartHealth::Bad).map(|p| p.part.as_str()).collect();
    if failed.is_empty() {
        return check_owed(&report.owed, args.strict);
    }
    Err(Failure::new(FailureKind::Unreachable, format!("not working: {}", failed.join(", "))))
}

/// With `--strict`, fails if a worker pauses.
fn check_paused(paused: &[PausedWorker], strict: bool) -> Result<()> {
    match paused.first() {
        Some(PausedWorker { stage, dependency, .. }) if strict => {
            Err(Failure::check_failed(format!("{stage} pauses: {dependency} is down")))
        }
        _ => Ok(()),
    }
}

/// With `--strict`, fails if work is left without a worker.
fn check_owed(owed: &OwedWork, strict: bool) -> Result<()> {
    if !strict || !owed.needs_attention() {
        return Ok(());
    }
    Err(Failure::check_failed(format!("the pipeline is not done: {}", owed.summary)))
}

/// Measures the configuration files, the data folder and each entry of it.
fn measure_paths(cx: &Context, data_dir: &Path) -> Vec<PathUse> {
    let mut paths: Vec<_> = discover(cx.sources())
        .into_iter()
        .map(|file| measure(&format!("configuration ({})", file.layer.as_str()), &file.path))
        .collect();
    paths.push(measure("data folder", data_dir));
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(data_dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    paths.extend(entries.iter().map(|path| measure("  in it", path)));
    paths
}

/// A change of a setting on one line.
fn setting_change_line(change: &SettingChange) -> String {
    let SettingChange { key, action, from, to, actor, at, verb, reason, outside } = change;
    if let Some(outside) = outside {
        let value = to.as_deref().map_or_else(|| "deleted".to_owned(), |to| format!("{to:?}"));
        return format!("{}  {key}: {value}, {outside}", humane::time(*at));
    }
    let is_replaced = to.is_none() && *action != SettingAction::Delete;
    let line = match is_replaced {
        true => format!("{} -> (replaced since)", change_line(key, None, from.as_deref())),
        false => change_line(key, from.as_deref(), to.as_deref()),
    };
    format!("{}  {line}  {actor}, {verb}: {reason}", humane::time(*at))
}

fn measure(purpose: &str, path: &Path) -> PathUse {
    let mut usage = PathUse {
        what: purpose.to_owned(),
        path: SourcePath::from_path(path),
        bytes: path.symlink_metadata().is_ok().then_some(0),
        files: 0,
        partial: false,
    };
    let mut pending = vec![path.to_path_buf()];
    while let Some(entry) = pending.pop() {
        let Ok(metadata) = entry.symlink_metadata() else { continue };
        if metadata.is_dir() {
            let entries = std::fs::read_dir(&entry);
            usage.partial |= entries.is_err();
            pending.extend(entries.into_iter().flatten().flatten().map(|entry| entry.path()));
            continue;
        }
        usage.files += 1;
        usage.bytes = usage.bytes.map(|bytes| bytes + metadata.len());
        if usage.files >= MAX_FILES {
            usage.partial = true;
            break;
        }
    }
    usage
}

impl Render for StatusReport {
    fn page(&self, page: &mut TextPage) {
        let rows = self.parts.iter().map(|part| {
            let (word, tone) = match part.health {
                PartHealth::Ok => ("ok", Tone::Good),
                PartHealth::Warn => ("warn", Tone::Warn),
                PartHealth::Bad => ("BAD", Tone::Bad),
            };
            vec![Cell::new(part.part.as_str()), Cell::new(word).tone(tone), Cell::new(part.detail.as_str())]
        });
        page.table(&[Column::text("PART"), Column::whole("STATE"), Column::text("DETAIL")], rows.collect());
        for part in self.parts.iter().filter(|part| part.hint.is_some()) {
            page.line(format!("{}: {}", part.part, part.hint.as_deref().unwrap_or_default()));
        }
        if !self.setting_changes.is_empty() {
            page.heading("Changes of settings in the last 24 hours");
        }
        for change in &self.setting_changes {
            page.line(setting_change_line(change));
        }
        if self.paths.is_empty() {
            return;
        }
        page.heading("Paths");
        let rows = self.paths.iter().map(|usage| {
            let size = usage.bytes.map_or_else(|| "missing".to_owned(), humane::bytes);
            let more = if usage.partial { "+" } else { "" };
            vec![
                Cell::new(usage.what.as_str()),
                Cell::new(format!("{size}{more}")),
                Cell::new(humane::count(usage.files)),
                Cell::new(usage.path.as_str()),
            ]
        });
        let columns = [Column::text("WHAT"), Column::number("SIZE"), Column::number("FILES"), Column::path("PATH")];
        page.table(&columns, rows.collect());
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.parts.iter().map(|part| part.part.clone()).collect())
    }
}
