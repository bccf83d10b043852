//! `mfctl jobs verify JOB`: verifies that the source of a job may be deleted.

use std::os::unix::ffi::OsStringExt as _;

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use crate::cli::complete;
use crate::cli::context::{Connected, Context};
use crate::cli::failure::{Failure, Result};
use crate::cli::ids;
use crate::cli::nul_names::NulNames;
use crate::cli::output::{Cell, Column, List, ListItem, ProgressPosition, Tone, humane};
use crate::cli::signals;
use crate::ops::jobs::{FoundJob, KnownJob};
use crate::ops::target::DataDirMode;
use crate::ops::verify::{StoredReport, VerifyOptions, VerifyProblem, VerifyReport, verify, verify_outcomes};
use mfctl_core::domain::job::JobStatus;
use mfctl_core::domain::job_lease::CatalogJob;
use mfctl_core::domain::{IdPrefix, JobId};
use mfctl_core::ports;

/// Arguments of `mfctl jobs verify`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Reads every object back and compares its SHA-256, looks up each file's catalog row and event, and compares the source's
size, time stamps and inode with those at ingest. Where these differ or are not known, and with --deep, it reads the
source's bytes too: time stamps do not show what a disk or a program that bypasses them changed. Then it searches the
job's folders and lists what the job did not ingest: files excluded by its options or a .mfctlignore file, links to folders
that it did not follow, and files that were added later. Sidecars that were read and .mfctlignore files are not listed.
For a job with a manifest or list, the result covers only the files that it names, not their folders. Of a job of
another host of a cluster, it verifies that the reported files are stored; their sources are not compared, so the exit
code is 10.

Examples:
  mfctl jobs verify 019ab0c4-0000-7000-8000-000000000000 --deep && rm -r ~/media
  mfctl jobs verify 019ab0c4-0000-7000-8000-000000000000      by time stamps where they suffice
  mfctl jobs verify 019ab0c4-0000-7000-8000-000000000000 -o json | jq '.problems[]'

Exit codes: 0 every file is safe to delete, 2 wrong usage, 5 a dependency is not reachable, 6 no such job or no data folder,
10 some files are not safe to delete or were not ingested, each listed; or the job found no file, or lacks a part of its list
or manifest")]
pub struct Args {
    /// The job's id or its beginning, at least 4 digits; - reads it from stdin
    #[arg(value_name = "JOB|-", add = ArgValueCandidates::new(complete::jobs))]
    job: String,
    /// Hash every source file again
    #[arg(long)]
    deep: bool,
    #[command(flatten)]
    nul_names: NulNames,
}

/// The fields after the list of problems in a document.
#[derive(Debug, Serialize)]
struct VerifyTrailer {
    job_id: JobId,
    files: u64,
    verified: u64,
    /// Sources that were compared by size, time stamps and inode alone.
    by_time_stamps: u64,
    unverifiable: u64,
    /// Problems with files that are not in the job.
    not_in_job: u64,
    problem_count: u64,
    /// Why the job does not have all of its list and manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<String>,
}

/// The fields after the list of problems in a document about a job of another host.
#[derive(Debug, Serialize)]
struct StoredTrailer {
    job_id: JobId,
    /// Host that ran it last, if it is known.
    host: Option<String>,
    /// Files that were reported.
    files: u64,
    /// Files whose row, object and event are there.
    stored: u64,
    unverifiable: u64,
    problem_count: u64,
    /// What was not verified.
    unknown: [&'static str; 2],
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    args.nul_names.apply(cx.out())?;
    let given: IdPrefix = ids::parse_one(&args.job)?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let id = ids::job(given, &connected).await?;
    let job = match super::find_job(&connected, id).await? {
        FoundJob { catalog_error: Some(error), .. } => {
            return Err(super::without_catalog(error, "it is not known whether another host continued the job"));
        }
        FoundJob { job: KnownJob::Own(job, _), .. } => *job,
        FoundJob { job: KnownJob::Elsewhere(job), .. } => return verify_elsewhere(cx, &connected, &job).await,
    };
    let options = VerifyOptions { deep: args.deep };
    let data_dir = connected.target.data_dir.clone();
    let (report, list): (VerifyReport, _) = list_problems(cx, async |found, progress| {
        verify(&connected.ports, &connected.buckets, &job, data_dir, options, found, progress).await
    })
    .await?;
    let problem_count = report.problems + report.not_in_job;
    if problem_count == 0 && cx.out().options().format.is_table() {
        drop(list);
    } else {
        list.finish_with(&VerifyTrailer {
            job_id: id,
            files: report.files,
            verified: report.verified,
            by_time_stamps: report.by_time_stamps,
            unverifiable: report.unverifiable,
            not_in_job: report.not_in_job,
            problem_count,
            incomplete: report.incomplete.clone(),
        })?;
    }
    if report.unverifiable > 0 {
        cx.out().note(format!(
            "the log's retention removed the events of {}, which passed all other checks",
            humane::counted(report.unverifiable, "file", "files")
        ));
    }
    if let Some(reason) = &report.incomplete {
        return Err(Failure::check_failed(format!("job {id} is incomplete: {reason}"))
            .hint("keep its sources: what was not read of its input is not known to be stored"));
    }
    if !job.walk_complete {
        return Err(Failure::check_failed(format!("job {id} has not discovered all its files"))
            .hint(format!("complete it first: `mfctl ingest --resume {id}`")));
    }
    if let Some(message) = problem_summary(&report) {
        return Err(Failure::check_failed(message).hint("keep their sources; each is listed with the reason"));
    }
    if report.list_lost {
        return Err(Failure::check_failed(format!(
            "the list or manifest of job {id} was not kept and cannot be read again"
        ))
        .hint("what it named beyond the files of the job was not looked at: ingest it again, then verify that job"));
    }
    if report.files == 0 {
        return Err(Failure::check_failed(format!("job {id} found no file: nothing was verified"))
            .hint("keep its sources: nothing of them is stored by this job"));
    }
    let files = humane::counted(report.files, "file is", "files are");
    let unchanged = unchanged_text(&report);
    cx.out().note(if report.named {
        format!("{files} stored and {unchanged}: the named files may be deleted, but nothing else in their folders")
    } else {
        format!("{files} stored and {unchanged}: the source may be deleted")
    });
    Ok(())
}

/// Runs a verification and lists each problem when it is found. Returns its report, and the list without its end.
async fn list_problems<'a, R>(
    cx: &'a Context,
    verification: impl AsyncFnOnce(&mut dyn FnMut(VerifyProblem), &dyn Fn(u64)) -> ports::Result<R>,
) -> Result<(R, List<'a, VerifyProblem>)> {
    let stop = cx.stop()?;
    let bar = cx.out().progress("verify", "files");
    let mut list = cx.out().list::<VerifyProblem>("problems");
    let mut print_failure = None;
    let mut found = |problem: VerifyProblem| {
        if print_failure.is_none() {
            print_failure = list.push(&problem).err();
        }
    };
    let progress = |done| bar.set(&ProgressPosition { done, ..ProgressPosition::default() });
    let report = tokio::select! {
        report = verification(&mut found, &progress) => report?,
        reason = stop.wait() => return Err(signals::stopped(reason, "the verification was stopped; it changes nothing")),
    };
    bar.finish();
    match print_failure {
        Some(failure) => Err(failure),
        None => Ok((report, list)),
    }
}

/// Verifies the reported files of a job of another host. Its sources are unknown here, so it never succeeds.
async fn verify_elsewhere(cx: &Context, connected: &Connected, job: &CatalogJob) -> Result<()> {
    let id = job.job_id;
    let (report, list): (StoredReport, _) = list_problems(cx, async |found, progress| {
        verify_outcomes(&connected.ports, &connected.buckets, id, found, progress).await
    })
    .await?;
    let host = job.record.as_ref().map(|record| record.lease.host.clone());
    if report.problems == 0 && cx.out().options().format.is_table() {
        drop(list);
    } else {
        list.finish_with(&StoredTrailer {
            job_id: id,
            host: host.clone(),
            files: report.files,
            stored: report.stored,
            unverifiable: report.unverifiable,
            problem_count: report.problems,
            unknown: ["sources", "not_in_job"],
        })?;
    }
    let is_finished = job.record.as_ref().is_some_and(|record| record.status == JobStatus::Finished);
    let others = if is_finished { "" } else { ", and files that it did not report are unknown" };
    let files = humane::counted(report.files, "reported file is", "reported files are");
    let stored = humane::count(report.stored + report.unverifiable);
    let hint = match host {
        Some(host) => format!("keep the sources until `mfctl jobs verify {id}` succeeds on {host}"),
        None => format!("keep the sources until `mfctl jobs verify {id}` succeeds on the host of the job"),
    };
    let message =
        format!("{stored} of {files} stored; the sources were not compared{others}: they are on another host");
    Err(Failure::check_failed(message).hint(hint))
}

/// That the sources are unchanged, and how that is known.
fn unchanged_text(report: &VerifyReport) -> String {
    let by_time_stamps = humane::count(report.by_time_stamps);
    match report.by_time_stamps {
        0 => "unchanged, byte for byte".to_owned(),
        all if all == report.files => "unchanged by time stamps (--deep reads their bytes)".to_owned(),
        _ => format!("unchanged, {by_time_stamps} of them by time stamps (--deep reads their bytes)"),
    }
}

/// Why the source must not be deleted; none if it may be.
fn problem_summary(report: &VerifyReport) -> Option<String> {
    let files = humane::counted(report.files, "file", "files");
    let problems = format!("{} of {files} are not safe to delete", humane::count(report.problems));
    let not_in_job = |one, many| humane::counted(report.not_in_job, one, many);
    match (report.problems, report.not_in_job) {
        (0, 0) => None,
        (_, 0) => Some(problems),
        (0, _) => Some(format!(
            "{} not ingested by the job",
            not_in_job("file at the source was", "files at the source were")
        )),
        _ => Some(format!("{problems}, and {} not ingested by the job", not_in_job("more was", "more were"))),
    }
}

impl ListItem for VerifyProblem {
    const COLUMNS: &'static [Column] = &[Column::whole("KIND"), Column::path("PATH"), Column::text("REASON")];

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::new(self.kind).tone(Tone::Bad), Cell::new(self.path.as_str()), Cell::new(self.reason.as_str())]
    }

    fn name(&self) -> String {
        self.path.to_string()
    }

    fn name_bytes(&self) -> Vec<u8> {
        self.path.to_path().into_os_string().into_vec()
    }
}
