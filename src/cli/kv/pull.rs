//! `mfctl kv pull`: writes the environment's settings to the next version of a file.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use crate::bootstrap::settings_file::{self, PulledFile};
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::output::{Render, TextPage, Tone, humane};
use crate::kv;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::domain::{ConfigKey, SourcePath};

/// Arguments of `mfctl kv pull`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Writes manifests of kind ConsulKeys, which can be pushed, or put into a bootstrap folder as they are. No file is ever
overwritten: the next one is <base>.v2.yaml and so on. If nothing has changed since the last file, none is written.

Examples:
  mfctl kv pull                                   every service: dev.v1.yaml in environment dev
  mfctl kv pull media-api                         media-api.v1.yaml
  mfctl kv pull media-api --dir settings --base api

Exit codes: 0 written, or the same as the last file, 2 wrong usage, 3 a value is not text and was left out, 5 Consul not
reachable, 6 nothing to pull, or the file cannot be written")]
pub struct Args {
    /// Only settings of this service
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    service: Option<String>,
    /// The file's name before .vN.yaml [default: the service, else the environment]
    #[arg(long, value_name = "NAME", value_parser = parse_base)]
    base: Option<String>,
    /// The folder to write the file to
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

fn parse_base(text: &str) -> std::result::Result<String, String> {
    match text.is_empty() || text.contains(['/', '\0']) || text.starts_with('.') {
        true => Err("give a file name without a folder; --dir names the folder".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// The output of `mfctl kv pull`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KvPullReport {
    /// The file that holds the settings.
    pub file: SourcePath,
    /// Whether the file was written now; false if it is the last file, and nothing has changed since.
    pub written: bool,
    /// Number of settings in the file.
    pub settings: u64,
    /// Settings that are not in the file, because their value is not text.
    pub left_out: Vec<ConfigKey>,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connection = cx.connect_config().await?;
    let env = connection.env();
    let service = connection.parse_service(args.service.as_deref())?;
    let settings = kv::read_settings(connection.store.as_ref(), env, service).await?;
    let (text, left_out) = settings_file::manifest_text(&settings);
    let count = (settings.entries.len() - left_out.len()) as u64;
    if count == 0 {
        return Err(Failure::not_found("there is no setting to pull"));
    }
    let base = args.base.as_deref().or(service).unwrap_or(env.as_str());
    let text = format!("# environment {env}\n{text}");
    let pulled = settings_file::write_next_version(&args.dir, base, &text)
        .map_err(|error| Failure::invalid(format!("cannot write {base} to {}", args.dir.shown())).because(&error))?;
    let (file, written) = match &pulled {
        PulledFile::Written(path) => (path, true),
        PulledFile::Unchanged(path) => (path, false),
    };
    let left_out_count = left_out.len() as u64;
    let file = SourcePath::from_path(file.as_path());
    cx.out().print(&KvPullReport { file, written, settings: count, left_out })?;
    match left_out_count {
        0 => Ok(()),
        count => {
            let message = humane::counted(count, "setting was", "settings were");
            Err(Failure::new(FailureKind::Partial, format!("{message} left out, because the value is not text")))
        }
    }
}

impl Render for KvPullReport {
    fn page(&self, page: &mut TextPage) {
        for key in &self.left_out {
            page.toned(format!("left out, because the value is not text: {key}"), Tone::Warn);
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
