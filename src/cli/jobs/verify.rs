//! `mfctl jobs verify JOB`: may I delete the source?

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::ids;
use crate::cli::output::{Cell, Column, Item, Position, Tone, humane};
use crate::cli::signals;
use crate::ops::target::DataDirMode;
use crate::ops::verify::{VerifyOptions, VerifyProblem, VerifyReport, verify};
use mfctl_core::domain::JobId;

/// Arguments of `mfctl jobs verify`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Reads every object back and compares its SHA-256, looks for each file's row and event, and compares the source's size
and time of change with what was read (its bytes too, where the time differs or with --deep). Then it goes through the
folders that the job was given and names what the job did not take: what its options or a .mfctlignore file left out,
links to folders that it did not enter, what came later. Sidecars that were read and .mfctlignore files are not named.
Of a job of a manifest or list, only the files it names are said to be safe, not the folders they are in.

Examples:
  mfctl jobs verify 019ab0c4-0000-7000-8000-000000000000 && rm -r ~/media
  mfctl jobs verify 019ab0c4-0000-7000-8000-000000000000 --deep
  mfctl jobs verify 019ab0c4-0000-7000-8000-000000000000 -o json | jq '.problems[]'

Exit codes: 0 every file is safe, 2 wrong usage, 5 a dependency is not reachable, 6 no such job or no data folder,
10 some files are not safe or were not taken, each listed")]
pub struct Args {
    /// The job; - reads it from stdin
    #[arg(value_name = "JOB|-", add = ArgValueCandidates::new(complete::jobs))]
    job: String,
    /// Hash every source again
    #[arg(long)]
    deep: bool,
}

#[derive(Debug, Serialize)]
struct Trailer {
    job_id: JobId,
    files: u64,
    verified: u64,
    unverifiable: u64,
    /// Those of the problems that are no files of the job.
    not_in_job: u64,
    problem_count: u64,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let id: JobId = ids::one(&args.job)?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let job = super::job(&connected, id).await?;
    let stop = cx.stop()?;
    let bar = cx.out().progress("verify", "files");
    let mut list = cx.out().list::<VerifyProblem>("problems");
    let mut broken = None;
    let found = |problem: VerifyProblem| {
        if broken.is_none() {
            broken = list.push(&problem).err();
        }
    };
    let told = |done| bar.set(&Position { done, ..Position::default() });
    let (depth, data_dir) = (VerifyOptions { deep: args.deep }, connected.target.data_dir.clone());
    let total: VerifyReport = tokio::select! {
        total = verify(&connected.ports, &connected.buckets, &job, data_dir, depth, found, told) => total?,
        reason = stop.wait() => return Err(signals::stopped(reason, "the check was stopped; it changes nothing")),
    };
    bar.finish();
    if let Some(failure) = broken {
        return Err(failure);
    }
    let problem_count = total.problems + total.not_in_job;
    if problem_count == 0 && cx.out().options().format == crate::cli::output::Format::Table {
        drop(list);
    } else {
        list.finish_with(&Trailer {
            job_id: id,
            files: total.files,
            verified: total.verified,
            unverifiable: total.unverifiable,
            not_in_job: total.not_in_job,
            problem_count,
        })?;
    }
    if total.unverifiable > 0 {
        cx.out().note(format!(
            "{} below the log's start: their events are gone by retention, all else of them is verified",
            humane::counted(total.unverifiable, "file is", "files are")
        ));
    }
    if total.list_lost {
        cx.out().note("the job's list cannot be read again: folders that it named were not gone through");
    }
    if !job.walk_complete {
        return Err(Failure::check_failed(format!("job {id} has not seen all its files"))
            .hint(format!("finish it first: `mfctl ingest --resume {id}`")));
    }
    if let Some(words) = unsafe_words(&total) {
        return Err(Failure::check_failed(words).hint("keep their sources; each is listed with the reason"));
    }
    let files = humane::counted(total.files, "file", "files");
    cx.out().note(if total.named {
        format!("all of {files} are stored and unchanged: these may be deleted, but nothing beside them")
    } else {
        format!("all of {files} are stored and unchanged: the source may be deleted")
    });
    Ok(())
}

/// What keeps the source from being deleted, if anything.
fn unsafe_words(total: &VerifyReport) -> Option<String> {
    let files = humane::counted(total.files, "file", "files");
    let problems = format!("{} of {files} are not safe", humane::count(total.problems));
    let others = |one, many| humane::counted(total.not_in_job, one, many);
    match (total.problems, total.not_in_job) {
        (0, 0) => None,
        (_, 0) => Some(problems),
        (0, _) => {
            Some(format!("{} not taken by the job", others("file at the source was", "files at the source were")))
        }
        _ => Some(format!("{problems}, and {} not taken by the job", others("more was", "more were"))),
    }
}

impl Item for VerifyProblem {
    const COLUMNS: &'static [Column] = &[Column::left("KIND"), Column::left("PATH"), Column::left("REASON")];

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::new(self.kind).tone(Tone::Bad), Cell::new(self.path.as_str()), Cell::new(self.reason.as_str())]
    }

    fn name(&self) -> String {
        self.path.to_string()
    }
}
