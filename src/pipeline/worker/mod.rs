//! The consume loop of a stage, generic over the step it runs.
//!
//! ```text
//! poll ─▶ intake (decode, claim) ─▶ tracker ─▶ steps ─▶ tracker ─▶ finish (sync, index, advance) ─▶ commit ─▶ cleanup
//! ```
//!
//! One task owns the group membership and the tracker and never waits for a dependency other than the log: what may wait runs
//! in a task of its own, whose result the loop picks up, so that it goes on polling. Offsets, outputs and dead letters are
//! committed in one transaction. Whatever is uncertain after a failure is consumed again from the committed offsets; because
//! steps are idempotent and inputs are claimed, it is processed again without being emitted twice.
//!
//! Files: `consume_loop` the loop; `phase`, `commit` (also when one is due), `intake_queue`, `assignment`,
//! `membership` and `tracker` its state; `tasks` what it starts: `intake` turns records into work, `step_runner` runs the step
//! for one record, `finisher` makes a batch ready to be committed, `cleanup` runs after the commit; `commit_request` builds the
//! transaction, `commit_report` counts it; `dead_letter_writer` writes the dead letters of a batch, `refused_records` notes
//! what the log refuses to take; `dead_letter_ratio` ends a worker whose records nearly all fail; `slots` bounds the steps that run; `dependencies` is what the breaker asks whether a dependency works.

mod assignment;
mod claim_doubts;
mod cleanup;
mod commit;
mod commit_report;
mod commit_request;
mod consume_loop;
mod context;
mod dead_letter_ratio;
mod dead_letter_writer;
mod dependencies;
mod epochs;
mod fences;
mod finisher;
mod health;
mod intake;
mod intake_queue;
mod membership;
mod memory_budget;
mod options;
mod outcome;
mod output_search;
mod phase;
mod record;
mod refused_records;
mod slots;
mod step;
mod step_runner;
mod tasks;
mod tracker;

use std::sync::Arc;
use std::time::Duration;

pub use health::{WorkerHealth, WorkerPause};
pub use memory_budget::MemoryBudget;
pub use options::{Tuning, Until, WorkerOptions, WorkerPorts};
pub use outcome::{FatalFailure, WorkerEnd, WorkerOutcome, WorkerSummary};
pub use step::{PipelineStep, RecordContext, StepError, StepOutput};

use consume_loop::ConsumeLoop;
use context::WorkerContext;
use mfctl_core::ports::{self, ErrorKind, Subscription};
use mfctl_core::retry::{dependency_failure, retry_until_deadline};
use mfctl_core::stop::Stop;

/// Runs a step over its topic until the worker is drained, stopped, or fails. An outage at the start is waited out like a
/// later one, for [`Tuning::give_up_after`] at most.
///
/// # Errors
/// When the group cannot be joined, or the schema of the input or output is not registered.
pub async fn run<S: PipelineStep>(
    step: Arc<S>,
    ports: WorkerPorts,
    options: WorkerOptions,
    health: WorkerHealth,
    stop: &Stop,
) -> ports::Result<WorkerOutcome> {
    let stage = step.stage();
    let group = stage
        .group(ports.codec.env())
        .map_err(|error| ports::Error::new(ErrorKind::Invalid, format!("name the group of {stage}")).because(error))?;
    ports.metrics.declare(stage);
    let subscription = Subscription {
        group: group.clone(),
        topics: vec![stage.input()],
        instance: options.instance.clone(),
        session_timeout: options.session_timeout,
        prefetch_bytes: options.memory.prefetch_bytes(),
    };
    let join = || async {
        ports.codec.prepare(&stage.input()).await?;
        ports.codec.prepare(&stage.output()).await?;
        ports.log.subscribe(subscription.clone()).await
    };
    let give_up_after = options.tuning.borrow().give_up_after;
    let consumer = tokio::select! {
        biased;
        // 1. A stop was requested. First, for it also ends the retries, with the error of the outage.
        reason = stop.wait() => {
            return Ok(WorkerOutcome { summary: WorkerSummary::default(), ended: WorkerEnd::Stopped(reason) });
        }
        // 2. The worker joined its group, or cannot.
        joined = retry_until_deadline(give_up_after, Duration::MAX, stop, dependency_failure, join) => joined?,
    };
    let context = WorkerContext::new(step, ports, options, group);
    Ok(ConsumeLoop::new(Arc::new(context), consumer, health).run(stop).await)
}
