//! `mfctl kv pull`: the environment's settings as the next version of a file.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use crate::bootstrap::settings_file::{self, PulledFile};
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::output::{Page, Render, Tone, humane};
use crate::kv;
use mfctl_core::domain::{ConfigKey, SourcePath};

/// Arguments of `mfctl kv pull`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Writes manifests of kind ConsulKeys: what was pulled can be pushed, and can go into a bootstrap folder as it is. A file is
never written over: the next is <base>.v2.yaml and so on. Where nothing changed since the last one, none is written.

Examples:
  mfctl kv pull                                   every service: dev.v1.yaml in environment dev
  mfctl kv pull media-api                         media-api.v1.yaml
  mfctl kv pull media-api --dir settings --base api

Exit codes: 0 written, or the same as the last, 2 wrong usage, 3 a value is no text and is not in the file, 5 Consul not
reachable, 6 nothing to pull, or it cannot be written")]
pub struct Args {
    /// Only this service's
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    service: Option<String>,
    /// The file's name before .vN.yaml [default: the service, else the environment]
    #[arg(long, value_name = "NAME", value_parser = base)]
    base: Option<String>,
    /// The folder it is written to
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

fn base(text: &str) -> std::result::Result<String, String> {
    match text.is_empty() || text.contains(['/', '\0']) || text.starts_with('.') {
        true => Err("a file's name, without a folder; --dir names that".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// What `mfctl kv pull` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KvPullReport {
    /// The file.
    pub file: SourcePath,
    /// Whether it was written now; false where it is the last one, and still right.
    pub written: bool,
    /// How many settings it has.
    pub settings: u64,
    /// Settings that are not in it, because their value is no text.
    pub left_out: Vec<ConfigKey>,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let site = cx.connect_config().await?;
    let service = site.service(args.service.as_deref())?;
    let settings = kv::read_settings(site.store.as_ref(), site.env(), service).await?;
    let (text, left_out) = settings_file::manifest_text(&settings);
    let count = (settings.entries.len() - left_out.len()) as u64;
    if count == 0 {
        return Err(Failure::not_found("there is no setting to pull"));
    }
    let base = args.base.as_deref().or(service).unwrap_or(site.env().as_str());
    let text = format!("# environment {}\n{text}", site.env());
    let kept = settings_file::write_next_version(&args.dir, base, &text).map_err(|error| {
        Failure::invalid(format!("cannot write {base} into {}", args.dir.display())).because(&error)
    })?;
    let (file, written) = match &kept {
        PulledFile::Written(path) => (path, true),
        PulledFile::Unchanged(path) => (path, false),
    };
    let lacks = left_out.len() as u64;
    let file = SourcePath::from_path(file.as_path());
    cx.out().print(&KvPullReport { file, written, settings: count, left_out })?;
    match lacks {
        0 => Ok(()),
        lacks => {
            let told = humane::counted(lacks, "setting is no text and is", "settings are no text and are");
            Err(Failure::new(FailureKind::Partial, format!("{told} not in the file")))
        }
    }
}

impl Render for KvPullReport {
    fn page(&self, page: &mut Page) {
        for key in &self.left_out {
            page.toned(format!("not in the file, for its value is no text: {key}"), Tone::Warn);
        }
        let count = humane::counted(self.settings, "setting", "settings");
        page.line(match self.written {
            true => format!("{count} written to {}", self.file),
            false => format!("nothing has changed since {}", self.file),
        });
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.file.to_string()])
    }
}
