//! `mfctl lag`: the lag of each consumer group, partition by partition.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::complete;
use super::context::Context;
use super::failure::{Failure, Result};
use super::output::{Cell, Column, Render, TextPage, Tone, humane};
use crate::ops::lag::{self, GroupLag};
use crate::ops::target::{DataDirMode, TargetKind};
use mfctl_core::domain::GroupName;

/// Arguments of `mfctl lag`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl lag                               the pipeline's groups, partition by partition
  mfctl lag mfctl.dev.persist             one group
  mfctl lag --all                         also other groups on the same cluster
  mfctl lag -o json | jq '.groups[].lag'  for scripts
  mfctl lag --max 1000                    exit 10 when the lag of a group is above this

Exit codes: 0 shown, 5 log not reachable (with --all: or its groups not listed), 6 no such group or no data folder,
10 over --max")]
pub struct Args {
    /// Only this group
    #[arg(add = ArgValueCandidates::new(complete::groups))]
    group: Option<GroupName>,
    /// Also other groups on the same cluster
    #[arg(long, conflicts_with = "group")]
    all: bool,
    /// Exit 10 when the lag of a group is above this number of records
    #[arg(long, value_name = "RECORDS")]
    max: Option<u64>,
}

/// Output of `mfctl lag`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LagReport {
    /// Sum of the lag of all groups, in records.
    pub lag: u64,
    /// Groups with their partitions.
    pub groups: Vec<GroupLag>,
}

/// Prints the lag of the groups, then checks it against `--max`.
///
/// # Errors
/// `NotFound` for an unknown group; `CheckFailed` for a lag above `--max`; the error of the log, which comes after the
/// report if only other groups are missing from it.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let log = connected.ports.log.as_ref();
    let mut groups = lag::pipeline_groups(log, &connected.target.environment).await?;
    lag::count_records(log, &mut groups).await;
    let is_other = args.group.as_ref().is_some_and(|wanted| groups.iter().all(|group| group.group != *wanted));
    // All groups of an embedded log belong to the profile; a cluster is shared.
    let with_others = args.all || is_other || connected.target.kind == TargetKind::Embedded;
    // If a broker does not list its groups, the known groups are printed before the command fails.
    let list_error = match with_others {
        true => lag::other_groups(log, &groups).await.map(|others| groups.extend(others)).err(),
        false => None,
    };
    if let Some(wanted) = &args.group {
        let names: Vec<_> = groups.iter().map(|group| group.group.to_string()).collect();
        groups.retain(|group| group.group == *wanted);
        if groups.is_empty() {
            let hint = format!("the groups are: {}", names.join(", "));
            return Err(list_error
                .map_or_else(|| Failure::not_found(format!("there is no group {wanted}")).hint(hint), Failure::from));
        }
    }
    let report = LagReport { lag: groups.iter().map(|group| group.lag).sum(), groups };
    cx.out().print(&report)?;
    check_lag(&report, args.max)?;
    list_error.map_or(Ok(()), |error| Err(error.into()))
}

/// Fails if the lag of a group is above the maximum.
fn check_lag(report: &LagReport, max: Option<u64>) -> Result<()> {
    let over = report.groups.iter().filter(|group| max.is_some_and(|max| group.lag > max));
    let over: Vec<_> = over.map(|group| format!("{} ({})", group.group, group.lag_text())).collect();
    if over.is_empty() {
        return Ok(());
    }
    Err(Failure::check_failed(format!("lag above --max: {}", over.join(", ")))
        .hint("`mfctl status` shows whether a worker runs, `mfctl top` whether the lag shrinks"))
}

impl Render for LagReport {
    fn page(&self, page: &mut TextPage) {
        const COLUMNS: [Column; 7] = [
            Column::text("TOPIC"),
            Column::number("PARTITION"),
            Column::number("COMMITTED").rank(1),
            Column::number("LOW").rank(3),
            Column::number("END"),
            Column::number("LAG"),
            Column::text("OWNER").rank(2),
        ];
        for group in &self.groups {
            page.heading(format!(
                "{}  lag {}, {}",
                group.group,
                group.lag_text(),
                humane::counted(group.members.len() as u64, "member", "members")
            ));
            let rows = group.partitions.iter().map(|partition| {
                let tone = if partition.lag > 0 { Tone::Warn } else { Tone::Good };
                vec![
                    Cell::new(partition.topic.as_str()),
                    Cell::new(partition.partition.to_string()),
                    Cell::maybe(partition.committed_offset),
                    Cell::new(partition.low_offset.to_string()),
                    Cell::new(partition.end_offset.to_string()),
                    Cell::new(humane::count(partition.lag)).tone(tone),
                    Cell::maybe(partition.owner.as_deref()),
                ]
            });
            page.table(&COLUMNS, rows.collect());
            let hidden = group.behind_open_transactions();
            if hidden > 0 {
                let hidden = humane::counted(hidden, "record waits", "records wait");
                page.toned(format!("{hidden} behind an open transaction of another producer"), Tone::Warn);
            }
            let lost: u64 = group.partitions.iter().map(|partition| partition.lost_to_retention).sum();
            if lost > 0 {
                let lost = humane::counted(lost, "record was", "records were");
                page.toned(format!("{lost} removed by retention before this group read them"), Tone::Bad);
            }
            for partition in group.partitions.iter().filter(|partition| partition.committed_beyond_end) {
                let at = format!("{}/{}", partition.topic.as_str(), partition.partition);
                let line = format!(
                    "{at}: the committed offset is beyond the end: the log was truncated, restored or recreated; a worker \
                     starts at offset {}",
                    partition.low_offset
                );
                page.toned(line, Tone::Bad);
            }
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.groups.iter().map(|group| group.group.to_string()).collect())
    }
}
