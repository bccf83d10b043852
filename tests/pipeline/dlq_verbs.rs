//! `mfctl dlq` on the command line: refusals, confirmations, interruption.

use std::io::Write;
use std::process::Stdio;

use mfctl_core::domain::RecordAddress;
use mfctl_core::domain::names::topics::MEDIA_INGESTED;
use mfctl_core::events::ledger::Ledger;
use mfctl_core::events::pager::Pager;
use mfctl_core::ports::Ports;
use rustix::process::Signal;
use serde_json::Value;

use crate::pipeline::dead_letter_records::{dead_letter_of, ingested_event, stored_record};
use crate::support::{CommandOutput, ON_STACK, Running, Site, eventually};

/// Enough that a slow redrive is still running when a busy machine checks it.
const MANY: usize = 400;

/// A site with dead letters.
struct DeadLetterSite {
    site: Site,
    ids: Vec<RecordAddress>,
}

impl DeadLetterSite {
    fn with(count: usize) -> Self {
        let site = Site::new();
        if !ON_STACK {
            let made = site.run(["init", "--quiet"]);
            assert_eq!(made.code, 0, "{made}");
        }
        let ids = with_ports(&site, async |ports| {
            let events: Vec<_> = (0..count).map(|number| ingested_event(number, site.env_name())).collect();
            let addresses = ports.log.publish(events.clone()).await.unwrap();
            let dead = events
                .into_iter()
                .zip(addresses)
                .map(|(event, at)| dead_letter_of(&stored_record(event, at)))
                .collect();
            ports.log.publish(dead).await.unwrap()
        });
        Self { site, ids }
    }

    fn run(&self, words: &[&str]) -> CommandOutput {
        self.site.run(words)
    }

    fn resolved(&self) -> usize {
        with_ports(&self.site, async |ports| Ledger::load(ports.log.as_ref()).await.unwrap().len())
    }
}

/// Runs `work` on the site's ports in this process.
fn with_ports<T>(site: &Site, work: impl AsyncFnOnce(Ports) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { work(site.ports().await).await })
}

fn count(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("{name}: {report:#}"))
}

#[test]
fn redrive_and_discard_require_a_selection_and_confirmation() {
    let seeded = DeadLetterSite::with(3);
    let id = seeded.ids[0].to_string();
    for (words, code) in [
        (vec!["dlq", "redrive"], 2),
        (vec!["dlq", "redrive", "--all", "--topic", "media.ingested.dlq"], 2),
        (vec!["dlq", "redrive", "nonsense"], 2),
        (vec!["dlq", "redrive", "--all", "--rate", "0/s"], 2),
        (vec!["dlq", "discard", &id], 2),
        (vec!["dlq", "discard", &id, "--reason", " "], 2),
        (vec!["dlq", "list", "--since", "02:10"], 2),
        (vec!["dlq", "redrive", "--topic", "media.ingested"], 6),
        (vec!["dlq", "redrive", "--topic", "orders.dlq"], 6),
        (vec!["dlq", "list", "--topic", "orders.dlq"], 6),
        (vec!["dlq", "show", "media.ingested.dlq:0:99999"], 6),
        (vec!["dlq", "redrive", "--all"], 8),
        (vec!["dlq", "discard", "--all", "--reason", "no"], 8),
        (vec!["dlq", "redrive", "--all", "--dry-run"], 0),
    ] {
        let ran = seeded.run(&words);
        assert_eq!(ran.code, code, "{words:?}: {ran}");
        assert!(!ran.stderr.contains("panicked"), "{ran}");
    }
    assert_eq!(seeded.resolved(), 0);
}

#[test]
fn redrive_reads_ids_from_stdin_and_is_recorded() {
    let seeded = DeadLetterSite::with(7);
    let names = seeded.run(&["dlq", "list", "-o", "name"]);
    assert_eq!(names.stdout.lines().count(), 7, "{names}");
    let mut command = seeded.site.command(["dlq", "redrive", "-", "--yes", "-o", "json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = names.stdout;
    input.push_str("media.ingested.dlq:0:99999\n");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ran = CommandOutput::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 3, "one id is unknown: {ran}");
    let report = ran.json();
    assert_eq!((count(&report, "redriven"), count(&report, "selected")), (7, 8), "{report:#}");
    assert_eq!(report["skipped"][0]["reason"], "not_found", "{report:#}");
    let again = seeded.site.json(["dlq", "redrive", "--all", "--yes"], &[0]);
    assert_eq!((count(&again, "redriven"), count(&again, "skipped_resolved")), (0, 7), "{again:#}");
    let list = seeded.site.json(["dlq", "list"], &[0]);
    assert_eq!((count(&list, "unresolved"), count(&list, "resolved")), (0, 7), "{list:#}");
    let records = with_ports(&seeded.site, async |ports| ports.operators.latest(10).await.unwrap());
    let record = records.iter().find(|record| record.verb == "dlq redrive").unwrap();
    assert_eq!(record.result, "7 redriven, 1 skipped");
}

#[test]
fn show_prints_a_dead_letter_and_its_raw_value() {
    let seeded = DeadLetterSite::with(1);
    let id = seeded.ids[0].to_string();
    let shown = seeded.site.json(["dlq", "show", &id], &[0]);
    assert_eq!(shown["error"]["kind"], "parser_limit", "{shown:#}");
    assert_eq!(shown["redrive"]["action"], "redrive", "{shown:#}");
    assert!(shown["validity"].as_str().unwrap().starts_with("not_wire_format"), "{shown:#}");
    assert_eq!(seeded.run(&["dlq", "show", &id, "--raw"]).stdout, "value 0");
    let discarded = seeded.site.json(["dlq", "discard", &id, "--reason", "a test", "--yes"], &[0]);
    assert_eq!(count(&discarded, "discarded"), 1);
    let shown = seeded.site.json(["dlq", "show", &id], &[0]);
    assert_eq!(shown["resolution"]["reason"], "a test", "{shown:#}");
    assert_eq!(shown["redrive"]["action"], "nothing", "{shown:#}");
}

#[test]
fn interrupted_redrive_reports_the_remaining_count_and_resumes() {
    let seeded = DeadLetterSite::with(MANY);
    let slow =
        Running::captured(seeded.site.command(["dlq", "redrive", "--all", "--rate", "5/s", "--yes", "-o", "json"]));
    eventually("the first chunk is sent", || seeded.resolved() > 0);
    slow.signal(Signal::INT);
    let ran = slow.finish();
    assert_eq!(ran.code, 130, "{ran}");
    let report = ran.json();
    let done = count(&report, "redriven");
    let left = count(&report, "remaining");
    assert!(done > 0 && left > 0 && done + left == MANY as u64, "{report:#}");
    let rest = seeded.site.json(["dlq", "redrive", "--all", "--yes"], &[0]);
    assert_eq!((count(&rest, "redriven"), count(&rest, "skipped_resolved")), (left, done), "{rest:#}");
}

#[test]
fn killed_redrive_is_resumed_and_fenced_redrive_exits_7() {
    let seeded = DeadLetterSite::with(MANY);
    let words = ["dlq", "redrive", "--all", "--rate", "5/s", "--yes", "-o", "json"];
    let killed = Running::start(seeded.site.command(words));
    eventually("the first chunk is sent", || seeded.resolved() > 0);
    killed.kill();
    let before = seeded.resolved() as u64;
    let slow = Running::captured(seeded.site.command(words));
    eventually("the second run has begun", || seeded.resolved() as u64 > before);
    let other = seeded.site.json(["dlq", "redrive", "--all", "--yes"], &[0]);
    let fenced = slow.finish();
    assert_eq!(fenced.code, 7, "{fenced}");
    let done = count(&fenced.json(), "redriven");
    assert_eq!(before + done + count(&other, "redriven"), MANY as u64, "{other:#}\n{fenced}");
    let sent = with_ports(&seeded.site, async |ports| {
        let mut sent = 0;
        for partition in ports.log.offsets(&[MEDIA_INGESTED]).await.unwrap() {
            let mut pager = Pager::whole(&partition);
            while let Some(records) = pager.next_page(ports.log.as_ref()).await.unwrap() {
                sent += records.len();
            }
        }
        sent
    });
    assert_eq!(sent, MANY * 2, "each event, and each again by a redrive");
}
