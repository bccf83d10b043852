//! `mfctl config path`: every configuration file, whether it is read, and why not.

use clap::Args as ClapArgs;
use serde::Serialize;

use crate::cli::failure::Result;
use crate::cli::output::{Cell, Column, Output, Render, TextPage, Tone};
use crate::settings::{CandidateFile, FileStatus, Layer, Sources, discover};
use mfctl_core::domain::SourcePath;

/// Arguments of `mfctl config path`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Works even when a file is invalid: it does not parse the files.

Examples:
  mfctl config path
  mfctl config path -o name        only the files that are read, lowest layer first

Exit codes: 0 shown")]
pub struct Args {}

/// Output of `mfctl config path`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct PathsReport {
    /// Files, lowest layer first.
    pub files: Vec<FileReport>,
}

/// A file that may configure mfctl.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct FileReport {
    /// Layer of the file.
    pub layer: Layer,
    /// Path of the file.
    pub path: SourcePath,
    /// `read`, `absent`, `skipped` or `refused`.
    pub status: &'static str,
    /// Reason why it is skipped or refused.
    pub reason: Option<String>,
    /// What to do about a refusal.
    pub hint: Option<String>,
}

/// Prints the files.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(_: &Args, sources: &Sources, output: &Output) -> Result<()> {
    output.print(&PathsReport { files: discover(sources).iter().map(report).collect() })
}

fn report(file: &CandidateFile) -> FileReport {
    let (status, reason, hint) = match &file.status {
        FileStatus::Read(_) => ("read", None, None),
        FileStatus::Absent => ("absent", None, None),
        FileStatus::Skipped(reason) => ("skipped", Some((*reason).to_owned()), None),
        FileStatus::Refused(error) => ("refused", Some(error.to_string()), error.hint_text().map(str::to_owned)),
    };
    FileReport { layer: file.layer, path: SourcePath::from_path(&file.path), status, reason, hint }
}

impl Render for PathsReport {
    fn page(&self, page: &mut TextPage) {
        const COLUMNS: [Column; 4] =
            [Column::whole("LAYER"), Column::whole("STATUS"), Column::path("PATH"), Column::text("WHY")];
        let rows = self.files.iter().map(|file| {
            let tone = match file.status {
                "read" => Tone::Good,
                "refused" => Tone::Bad,
                _ => Tone::Dim,
            };
            vec![
                Cell::new(file.layer.as_str()),
                Cell::new(file.status).tone(tone),
                Cell::new(file.path.as_str()),
                Cell::maybe(file.reason.as_deref()),
            ]
        });
        page.table(&COLUMNS, rows.collect());
        for hint in self.files.iter().filter_map(|file| file.hint.as_deref()) {
            page.line(format!("hint: {hint}"));
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        let read = self.files.iter().filter(|file| file.status == "read");
        Some(read.map(|file| file.path.to_string()).collect())
    }
}
