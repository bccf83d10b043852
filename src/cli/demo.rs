//! `mfctl demo`: the whole pipeline on sample media, by running mfctl's own commands one after the other.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::process::Command;

use super::context::Context;
use super::failure::{Failure, Result};
use super::output::{Render, TextPage, humane};
use super::signals;
use mfctl_core::domain::SourcePath;
use mfctl_core::domain::path::ShownPath as _;

macro_rules! sample_media {
    ($($path:literal),* $(,)?) => {
        /// Files of `examples/media/`, embedded so that the demo needs nothing but the binary.
        const MEDIA: &[(&str, &[u8])] =
            &[$(($path, include_bytes!(concat!("../../examples/media/", $path)))),*];
    };
}

sample_media![
    ".mfctlignore",
    "LICENSES.md",
    "audio/khoshamad.ogg",
    "audio/welcome.mp3",
    "en/archive-handbook.pdf",
    "en/rubaiyat.txt",
    "en/spring-programme.html",
    "fa/bagh-irani.html",
    "fa/bani-adam.txt",
    "fa/ghazal-1.pdf",
    "fa/ghazal-1.txt",
    "fa/ghazal-1.txt.json",
    "fa/nowruz.pdf",
    "photos/chelsea.png",
    "photos/tea-break.jpg",
    "posters/girih-12000x9000.png",
];

/// Arguments of `mfctl demo`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Ingests sample media, Persian and English, runs the workers, searches, and shows how to redrive a dead letter once its
cause is fixed. Works in a new folder below the temporary one, or in --data-dir, and prints how to remove it.

Examples:
  mfctl demo
  mfctl demo --data-dir /tmp/try-mfctl
  mfctl demo -o json | jq '.steps[].exit_code'

Exit codes: 0 every step ended as expected, 1 one did not, 6 the folder cannot be created")]
pub struct Args {}

/// Output of `mfctl demo -o json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DemoReport {
    /// Steps in the order in which they ran.
    pub steps: Vec<DemoStep>,
    /// Data folder.
    pub data_dir: SourcePath,
    /// Folder of the sample media.
    pub media_dir: SourcePath,
    /// Quoted paths that remove both folders, as arguments of `rm -r`.
    pub remove: String,
    /// Duration of all steps.
    pub elapsed_seconds: f64,
}

/// A step of the demo that ran.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DemoStep {
    /// Purpose of the step.
    pub about: String,
    /// Command line, as an operator types it.
    pub command: String,
    /// Exit code.
    pub exit_code: i32,
    /// JSON document that it printed; null for table output.
    pub result: Value,
}

/// A step to run.
struct Step {
    about: &'static str,
    /// Arguments of `mfctl`.
    arguments: Vec<String>,
    expected_codes: &'static [i32],
}

fn step<const N: usize>(about: &'static str, arguments: [&str; N], expected_codes: &'static [i32]) -> Step {
    Step { about, arguments: arguments.map(str::to_owned).to_vec(), expected_codes }
}

/// Runs all steps and prints their report.
///
/// # Errors
/// `Unexpected` at the first step that ends with another code than expected; `Invalid` when a folder cannot be created.
pub async fn run(_args: Args, cx: &Context) -> Result<()> {
    let started = Instant::now();
    let (data_dir, media_dir) = folders(cx)?;
    write_media(&media_dir)?;
    let mut demo = Demo { cx, data_dir, steps: Vec::new() };
    let media = media_dir.to_string_lossy().into_owned();
    for step in steps(&media) {
        demo.run_step(step).await?;
    }
    // The temporary folder holds nothing else.
    let remove = match (media_dir.parent(), &cx.globals().data_dir) {
        (Some(folder), None) => format!("'{}'", folder.shown()),
        _ => format!("'{}' '{}'", demo.data_dir.shown(), media_dir.shown()),
    };
    let report = DemoReport {
        remove,
        steps: demo.steps,
        data_dir: SourcePath::from_path(&demo.data_dir),
        media_dir: SourcePath::from_path(&media_dir),
        elapsed_seconds: started.elapsed().as_secs_f64(),
    };
    cx.out().print(&report)
}

/// The steps. The poster has more pixels than a worker decodes by default, a cause that a flag fixes.
fn steps(media: &str) -> Vec<Step> {
    vec![
        step("Upload a folder", ["ingest", media], &[0]),
        step(
            "Run the workers until nothing is left to process; one file fails",
            ["worker", "all", "--until-drained"],
            &[3],
        ),
        step("Find a poem, in any spelling", ["media", "search", "حافظ"], &[0]),
        step("List the dead letters, with their causes", ["dlq", "list"], &[0]),
        step(
            "Fix the cause, a limit on image size. First redrive the dead letter",
            ["dlq", "redrive", "--all", "--yes"],
            &[0],
        ),
        step(
            "… and run the workers with the higher limit",
            ["worker", "all", "--until-drained", "--max-pixels", "120000000"],
            &[0],
        ),
        step("Check that files, assets, objects and events agree", ["audit"], &[0]),
        step("The dashboard, once", ["top", "--once"], &[0]),
    ]
}

/// The data folder, and beside it the folder for the sample media.
fn folders(cx: &Context) -> Result<(PathBuf, PathBuf)> {
    if let Some(data_dir) = &cx.globals().data_dir {
        let data_dir = std::path::absolute(data_dir)
            .map_err(|error| Failure::invalid("the data folder has no absolute path").because(&error))?;
        let mut media = data_dir.clone().into_os_string();
        media.push("-media");
        return Ok((data_dir, media.into()));
    }
    let folder = tempfile::Builder::new().prefix("mfctl-demo-").tempdir();
    let folder = folder.map_err(|error| Failure::invalid("cannot create a folder for the demo").because(&error))?;
    // The data must outlive this process: the operator goes on with it.
    let folder = folder.keep();
    Ok((folder.join("data"), folder.join("media")))
}

fn write_media(folder: &Path) -> Result<()> {
    for (path, bytes) in MEDIA {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, bytes)).map_err(|error| {
            Failure::invalid(format!("cannot write the sample media to {}", path.shown())).because(&error)
        })?;
    }
    Ok(())
}

struct Demo<'a> {
    cx: &'a Context,
    data_dir: PathBuf,
    steps: Vec<DemoStep>,
}

impl Demo<'_> {
    /// Runs one command with this binary and checks its exit code.
    async fn run_step(&mut self, step: Step) -> Result<()> {
        let out = self.cx.out();
        let text = out.options().format.is_table();
        let command = command_line(&step.arguments);
        if text {
            out.raw(format!("\n# {}\n$ {command}\n", step.about).as_bytes())?;
        }
        let (exit_code, result) = self.run_child(&step.arguments, text).await?;
        if !step.expected_codes.contains(&exit_code) {
            return Err(Failure::unexpected(format!("`{command}` ended with exit code {exit_code}")).hint(format!(
                "its data is in {}; `mfctl status --data-dir` with that folder shows the state of each part",
                self.data_dir.shown()
            )));
        }
        self.steps.push(DemoStep { about: step.about.to_owned(), command, exit_code, result });
        Ok(())
    }

    /// Runs mfctl with these arguments; returns its exit code and, unless `text`, its JSON document.
    async fn run_child(&self, arguments: &[String], text: bool) -> Result<(i32, Value)> {
        let failed = |error: std::io::Error| Failure::unexpected("cannot run mfctl itself").because(&error);
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(arguments).arg("--profile").arg("embedded").arg("--data-dir").arg(&self.data_dir).arg("--quiet");
        command.env_remove("MFCTL_ENV").env_remove("MFCTL_OUTPUT").stdin(Stdio::null()).kill_on_drop(true);
        if !text {
            command.args(["-o", "json"]).stdout(Stdio::piped()).stderr(Stdio::null());
        }
        let child = command.spawn().map_err(failed)?;
        let stop = self.cx.stop()?;
        let output = tokio::select! {
            output = child.wait_with_output() => output.map_err(failed)?,
            reason = stop.wait() => return Err(signals::stopped(reason, "the demo was stopped")),
        };
        let result = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        Ok((output.status.code().unwrap_or(-1), result))
    }
}

/// `mfctl` with these arguments, quoted for a shell.
fn command_line(arguments: &[String]) -> String {
    let quoted = arguments.iter().map(|argument| {
        let plain = argument.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=".contains(&b));
        if plain { argument.clone() } else { format!("'{argument}'") }
    });
    format!("mfctl {}", quoted.collect::<Vec<_>>().join(" "))
}

impl Render for DemoReport {
    fn page(&self, page: &mut TextPage) {
        let took = std::time::Duration::try_from_secs_f64(self.elapsed_seconds).unwrap_or_default();
        page.heading(format!("That was the whole pipeline, in {}.", humane::duration(took)));
        page.line(format!("The data is in {}. Try next:", self.data_dir));
        page.line(format!("  export MFCTL_DATA_DIR='{}'", self.data_dir));
        page.line("  mfctl media list");
        page.line("  mfctl media search نوروز");
        page.line("  mfctl top");
        page.line("Remove it with:");
        page.line(format!("  rm -r {}", self.remove));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_sample_file_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/media");
        let mut found = BTreeSet::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(path.strip_prefix(&root).unwrap().to_string_lossy().into_owned());
                }
            }
        }
        let embedded: BTreeSet<_> = MEDIA.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(embedded, found);
    }
}
