//! The whole workflow of an operator on the real servers.

use serde_json::Value;

use crate::external_clients::{emitted_once_counts, replicas};
use crate::support::stack::{Endpoints, Platform, env};
use crate::support::{CommandOutput, Site};

const MEDIA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/media");

#[test]
fn every_sample_file_is_accounted_for() {
    let site = Site::new();
    let first = site.json(["ingest", MEDIA], &[0]);
    let files = &first["discovered"];
    let staged = &first["staged"];
    assert_eq!(files, staged, "{first:#}");
    let worked = site.json(["worker", "all", "--until-drained"], &[3]);
    assert_eq!(worked["dead_lettered"], 1, "the poster has too many pixels: {worked:#}");
    let report = site.audit();
    assert_eq!(&report["files"], files, "{report:#}");
    assert_eq!(report["dead_lettered"], 1, "{report:#}");
    assert_eq!(report["in_flight"], 0, "{report:#}");
    let (ingested, enriched) = emitted_once_counts(&site);
    assert_eq!((ingested as u64, enriched as u64 + 1), (files.as_u64().unwrap(), files.as_u64().unwrap()));

    let job = first["job_id"].as_str().unwrap();
    let verified = site.json(["jobs", "verify", job], &[10]);
    let left: Vec<_> = verified["problems"].as_array().unwrap().iter().map(|problem| &problem["path"]).collect();
    let licences = left.len() == 1 && left[0].as_str().unwrap().ends_with("/LICENSES.md");
    assert!(licences, "all but the file that .mfctlignore names is safe: {verified:#}");
    assert_eq!((&verified["verified"], &verified["not_in_job"]), (files, &1.into()), "{verified:#}");
    let second = site.json(["ingest", MEDIA, "--new-job"], &[0]);
    assert_eq!((&second["staged"], &second["deduplicated"]), (&0.into(), files), "{second:#}");
    let found = site.json(["media", "search", "كتاب"], &[0]);
    assert!(found["total"].as_u64().unwrap() > 0, "{found:#}");

    let redriven = site.json(["dlq", "redrive", "--all", "--yes"], &[0]);
    assert_eq!(redriven["redriven"], 1, "{redriven:#}");
    site.json(["worker", "all", "--until-drained", "--max-pixels", "120000000"], &[0]);
    let report = site.audit();
    assert_eq!((&report["enriched"], &report["dead_lettered"]), (files, &0.into()), "{report:#}");
}

#[test]
fn topics_have_three_replicas_of_which_two_must_acknowledge() {
    let site = Site::new();
    let topics = replicas(site.platform());
    assert!(topics.len() > 10, "{topics:?}");
    for (topic, replicas) in &topics {
        assert_eq!(replicas.iter().copied().collect::<Vec<_>>(), [3], "{topic}");
    }
    let again = site.json(["bootstrap", "apply", "--yes"], &[0]);
    assert_eq!(again["changes"].as_array().map_or(0, Vec::len), 0, "nothing is left to do: {again:#}");
}

/// Read commands on an empty and on a filled platform.
#[test]
fn read_commands_work_on_empty_and_filled_platforms() {
    let site = Site::new();
    let read_commands: [&[&str]; 8] = [
        &["status"],
        &["lag"],
        &["top", "--once"],
        &["jobs", "list"],
        &["media", "list"],
        &["dlq", "list"],
        &["audit"],
        &["config", "show"],
    ];
    let run_all = || {
        for words in read_commands {
            let ran = site.run([words, &["-o", "json"]].concat());
            assert_eq!(ran.code, 0, "{words:?}: {ran}");
            let _: Value = ran.json();
            let table = site.run(words);
            assert_eq!(table.code, 0, "{words:?}: {table}");
            assert!(!table.stdout.trim().is_empty() || words[0] == "jobs", "{words:?}: {table}");
        }
    };
    run_all();
    std::fs::create_dir(site.path("in")).unwrap();
    std::fs::write(site.path("in/one.txt"), "one").unwrap();
    site.json(["ingest", "in"], &[0]);
    site.json(["worker", "all", "--until-drained"], &[0]);
    run_all();
    let status = site.run(["status", "-v"]);
    for address in [env("STACK_S3"), env("STACK_POSTGREST"), env("STACK_REGISTRY")] {
        assert!(status.to_string().contains(&address), "{address} is not named: {status}");
    }
}

/// A worker creates no resources; its error names the command that does.
#[test]
fn worker_without_a_platform_hints_at_bootstrap_apply() {
    let site = Site::new();
    let other = Platform::new();
    other.write(&site.home(), &Endpoints::direct());
    let mut command = site.command(["worker", "all", "--until-drained"]);
    command.env("MFCTL_DATA_DIR", site.path("elsewhere"));
    let ran = CommandOutput::run(command);
    assert_eq!(ran.code, 6, "{ran}");
    assert!(ran.stderr.contains("mfctl bootstrap apply"), "{ran}");
    assert!(replicas(&other).is_empty(), "no topic was created");
}
