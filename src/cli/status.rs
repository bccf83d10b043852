//! `mfctl status`: whether each part works, in one screen; with `--paths`, where everything is and how large.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;

use super::context::Context;
use super::failure::{Failure, FailureKind, Result};
use super::output::{Cell, Column, Page, Render, Tone, humane};
use super::top;
use crate::ops::status::{self, PartHealth, StatusPart};
use crate::ops::target::DataDirMode;
use crate::settings::discover;
use mfctl_core::domain::SourcePath;

/// Files counted below one path before its size is called partial.
const MOST_FILES: u64 = 1_000_000;

/// Arguments of `mfctl status`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl status                    each part, and what to do where something is to be done
  mfctl status --paths            every path mfctl uses, with its size
  mfctl status -o json | jq '.parts[] | select(.health != \"ok\")'

Exit codes: 0 every part answers (warnings included), 5 a part does not, 6 no data folder")]
pub struct Args {
    /// Also list every path mfctl uses, with its size
    #[arg(long)]
    paths: bool,
}

/// What `mfctl status` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatusReport {
    /// The worst of the parts.
    pub health: PartHealth,
    /// The parts.
    pub parts: Vec<StatusPart>,
    /// Paths, with `--paths`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathUse>,
}

/// A path mfctl uses.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PathUse {
    /// What it is for.
    pub what: String,
    /// Where it is.
    pub path: SourcePath,
    /// Bytes in it; `None` when it is not there.
    pub bytes: Option<u64>,
    /// Files in it.
    pub files: u64,
    /// Whether counting stopped early.
    pub partial: bool,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let mut watch = top::watch(&connected, status::WINDOW);
    let parts = status::check_parts(&connected.ports, &mut watch).await;
    let paths = if args.paths { paths(cx, &connected.target.data_dir) } else { Vec::new() };
    let report = StatusReport { health: status::worst(&parts), parts, paths };
    cx.out().print(&report)?;
    let bad: Vec<_> = report.parts.iter().filter(|p| p.health == PartHealth::Bad).map(|p| p.part.as_str()).collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(Failure::new(FailureKind::Unreachable, format!("not working: {}", bad.join(", "))))
}

/// The configuration's files, then what is in the data folder.
fn paths(cx: &Context, data_dir: &Path) -> Vec<PathUse> {
    let mut paths: Vec<_> = discover(cx.sources())
        .into_iter()
        .map(|file| measure(&format!("configuration ({})", file.layer.as_str()), &file.path))
        .collect();
    paths.push(measure("data folder", data_dir));
    let mut parts: Vec<PathBuf> =
        std::fs::read_dir(data_dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    parts.sort();
    paths.extend(parts.iter().map(|path| measure("  in it", path)));
    paths
}

fn measure(what: &str, path: &Path) -> PathUse {
    let mut used = PathUse {
        what: what.to_owned(),
        path: SourcePath::from_path(path),
        bytes: path.symlink_metadata().is_ok().then_some(0),
        files: 0,
        partial: false,
    };
    let mut folders = vec![path.to_path_buf()];
    while let Some(at) = folders.pop() {
        let Ok(found) = at.symlink_metadata() else { continue };
        if found.is_dir() {
            folders.extend(std::fs::read_dir(&at).into_iter().flatten().flatten().map(|entry| entry.path()));
            continue;
        }
        used.files += 1;
        used.bytes = used.bytes.map(|bytes| bytes + found.len());
        if used.files >= MOST_FILES {
            used.partial = true;
            break;
        }
    }
    used
}

impl Render for StatusReport {
    fn page(&self, page: &mut Page) {
        let rows = self.parts.iter().map(|part| {
            let (word, tone) = match part.health {
                PartHealth::Ok => ("ok", Tone::Good),
                PartHealth::Warn => ("look", Tone::Warn),
                PartHealth::Bad => ("BAD", Tone::Bad),
            };
            vec![Cell::new(part.part.as_str()), Cell::new(word).tone(tone), Cell::new(part.detail.as_str())]
        });
        page.table(&[Column::left("PART"), Column::left("STATE"), Column::left("SEEN")], rows.collect());
        for part in self.parts.iter().filter(|part| part.hint.is_some()) {
            page.line(format!("{}: {}", part.part, part.hint.as_deref().unwrap_or_default()));
        }
        if self.paths.is_empty() {
            return;
        }
        page.heading("Paths");
        let rows = self.paths.iter().map(|used| {
            let size = used.bytes.map_or_else(|| "not there".to_owned(), humane::bytes);
            let more = if used.partial { "+" } else { "" };
            vec![
                Cell::new(used.what.as_str()),
                Cell::new(format!("{size}{more}")),
                Cell::new(humane::count(used.files)),
                Cell::new(used.path.as_str()),
            ]
        });
        let columns = [Column::left("WHAT"), Column::right("SIZE"), Column::right("FILES"), Column::left("PATH")];
        page.table(&columns, rows.collect());
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.parts.iter().map(|part| part.part.clone()).collect())
    }
}
