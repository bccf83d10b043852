//! `mfctl dlq` as an operator runs it: what is refused, what is asked, what is left when it is interrupted.

use std::io::Write;
use std::process::Stdio;

use mfctl_core::domain::RecordAddress;
use mfctl_core::domain::names::topics::MEDIA_INGESTED;
use mfctl_core::events::ledger::Ledger;
use mfctl_core::events::pager::Pager;
use mfctl_core::ports::Ports;
use rustix::process::Signal;
use serde_json::Value;

use crate::pipeline::dead::{event, give_up, stored};
use crate::support::{ON_STACK, Ran, Running, Site, eventually};

/// So many that a slow redrive of them is at work for as long as a busy machine takes to look at it.
const MANY: usize = 400;

/// A site whose dead-letter topic holds this many.
struct Seeded {
    site: Site,
    ids: Vec<RecordAddress>,
}

impl Seeded {
    fn with(count: usize) -> Self {
        let site = Site::new();
        if !ON_STACK {
            let made = site.run(["init", "--quiet"]);
            assert_eq!(made.code, 0, "{made}");
        }
        let ids = on(&site, async |ports| {
            let events: Vec<_> = (0..count).map(|number| event(number, site.env_name())).collect();
            let placed = ports.log.publish(events.clone()).await.unwrap();
            let dead = events.into_iter().zip(placed).map(|(event, at)| give_up(&stored(event, at))).collect();
            ports.log.publish(dead).await.unwrap()
        });
        Self { site, ids }
    }

    fn run(&self, words: &[&str]) -> Ran {
        self.site.run(words)
    }

    fn resolved(&self) -> usize {
        on(&self.site, async |ports| Ledger::load(ports.log.as_ref()).await.unwrap().len())
    }
}

/// Works on a site's ports from this process.
fn on<T>(site: &Site, work: impl AsyncFnOnce(Ports) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { work(site.ports().await).await })
}

fn count(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("{name}: {report:#}"))
}

#[test]
fn nothing_is_sent_without_a_choice_and_a_yes() {
    let seeded = Seeded::with(3);
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
fn ids_go_from_list_to_redrive_through_a_pipe_and_the_change_is_recorded() {
    let seeded = Seeded::with(7);
    let names = seeded.run(&["dlq", "list", "-o", "name"]);
    assert_eq!(names.stdout.lines().count(), 7, "{names}");
    let mut command = seeded.site.command(["dlq", "redrive", "-", "--yes", "-o", "json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = names.stdout;
    input.push_str("media.ingested.dlq:0:99999\n");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 3, "one was not there: {ran}");
    let report = ran.json();
    assert_eq!((count(&report, "redriven"), count(&report, "selected")), (7, 8), "{report:#}");
    assert_eq!(report["skipped"][0]["reason"], "not_found", "{report:#}");
    let again = seeded.site.json(["dlq", "redrive", "--all", "--yes"], &[0]);
    assert_eq!((count(&again, "redriven"), count(&again, "skipped_resolved")), (0, 7), "{again:#}");
    let list = seeded.site.json(["dlq", "list"], &[0]);
    assert_eq!((count(&list, "unresolved"), count(&list, "resolved")), (0, 7), "{list:#}");
    let records = on(&seeded.site, async |ports| ports.operators.latest(10).await.unwrap());
    let record = records.iter().find(|record| record.verb == "dlq redrive").unwrap();
    assert_eq!(record.result, "7 redriven, 1 skipped");
}

#[test]
fn a_dead_letter_is_shown_with_its_bytes_as_they_are() {
    let seeded = Seeded::with(1);
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
fn an_interrupted_redrive_says_what_is_left_and_goes_on() {
    let seeded = Seeded::with(MANY);
    let slow = Running::kept(seeded.site.command(["dlq", "redrive", "--all", "--rate", "5/s", "--yes", "-o", "json"]));
    eventually("the first chunk is sent", || seeded.resolved() > 0);
    slow.signal(Signal::INT);
    let ran = slow.finish();
    assert_eq!(ran.code, 130, "{ran}");
    let report = ran.json();
    let (done, left) = (count(&report, "redriven"), count(&report, "remaining"));
    assert!(done > 0 && left > 0 && done + left == MANY as u64, "{report:#}");
    let rest = seeded.site.json(["dlq", "redrive", "--all", "--yes"], &[0]);
    assert_eq!((count(&rest, "redriven"), count(&rest, "skipped_resolved")), (left, done), "{rest:#}");
}

#[test]
fn a_killed_redrive_is_gone_on_with_and_of_two_at_once_one_exits_7() {
    let seeded = Seeded::with(MANY);
    let words = ["dlq", "redrive", "--all", "--rate", "5/s", "--yes", "-o", "json"];
    let killed = Running::start(seeded.site.command(words));
    eventually("the first chunk is sent", || seeded.resolved() > 0);
    killed.kill();
    let before = seeded.resolved() as u64;
    let slow = Running::kept(seeded.site.command(words));
    eventually("the second run is at work", || seeded.resolved() as u64 > before);
    let other = seeded.site.json(["dlq", "redrive", "--all", "--yes"], &[0]);
    let fenced = slow.finish();
    assert_eq!(fenced.code, 7, "{fenced}");
    let done = count(&fenced.json(), "redriven");
    assert_eq!(before + done + count(&other, "redriven"), MANY as u64, "{other:#}\n{fenced}");
    let sent = on(&seeded.site, async |ports| {
        let mut sent = 0;
        for partition in ports.log.offsets(&[MEDIA_INGESTED]).await.unwrap() {
            let mut pager = Pager::whole(&partition);
            while let Some(records) = pager.next_page(ports.log.as_ref()).await.unwrap() {
                sent += records.len();
            }
        }
        sent
    });
    assert_eq!(sent, MANY * 2, "each event, and each of them once more");
}
