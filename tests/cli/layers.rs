//! The layers of the architecture, held against the sources: who may import whom, and which crates stay in one room.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::{self, Module};

/// What any room may import: types and rules, failpoints, the text forms of sizes and times, names of metrics.
const COMMON: &[&str] = &["domain", "failpoint", "humane", "telemetry"];

/// What each room may import beside itself and, those apart, [`COMMON`]. A room is a folder of `src/`, a folder or file of
/// `crates/core/src/`, or another crate. The compiler holds the arrows between crates as well.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("failpoint", &[]),
    ("humane", &[]),
    ("telemetry", &["domain"]),
    ("stop", &[]),
    ("tls_files", &[]),
    ("ports", &[]),
    ("wait", &[]),
    ("retry", &["ports", "stop", "wait"]),
    ("breaker", &["ports", "retry", "wait"]),
    ("events", &["breaker", "ports", "wait"]),
    ("mfctl_embedded", &["ports", "wait"]),
    ("mfctl_extract", &[]),
    ("mfctl_kafka", &["ports", "tls_files", "wait"]),
    ("mfctl_remote", &["ports", "tls_files", "wait"]),
    ("settings", &[]),
    ("pipeline", &["breaker", "events", "mfctl_extract", "ports", "retry", "stop", "wait"]),
    ("dlq", &["events", "ports", "stop"]),
    ("ops", &["events", "pipeline", "ports", "settings", "stop", "wait"]),
    ("daemon", &["events", "mfctl_extract", "ops", "pipeline", "ports", "settings", "stop"]),
    ("kv", &["ports"]),
    ("bootstrap", &["events", "kv", "ops", "ports"]),
    ("tui", &["bootstrap", "dlq", "events", "ops", "pipeline", "ports", "stop", "wait"]),
    ("connect", &["events", "mfctl_embedded", "mfctl_kafka", "mfctl_remote", "ports", "settings", "tls_files"]),
    (
        "cli",
        &[
            "bootstrap",
            "connect",
            "daemon",
            "dlq",
            "events",
            "kv",
            "mfctl_extract",
            "ops",
            "pipeline",
            "ports",
            "retry",
            "settings",
            "stop",
            "tui",
            "wait",
        ],
    ),
    ("main", &["cli"]),
];

/// Crates (or paths) that only these rooms name.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("rusqlite", &["mfctl_embedded"]),
    ("rdkafka", &["mfctl_kafka"]),
    ("rdkafka_sys", &["mfctl_kafka"]),
    ("aws_sdk_s3", &["mfctl_remote"]),
    ("vaultrs", &["mfctl_remote"]),
    ("consulrs", &["mfctl_remote"]),
    ("reqwest", &["mfctl_remote"]),
    ("tokio_postgres", &["mfctl_remote"]),
    ("clap", &["cli", "main"]),
    ("axum", &["daemon"]),
    ("comfy_table", &["cli"]),
    ("ratatui", &["tui", "cli"]),
];

/// What the domain has no use for: input and output, async, and a clock of its own.
const NOT_IN_DOMAIN: &[&str] = &[
    "tokio",
    "futures_util",
    "async_trait",
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::time::SystemTime",
];

fn list(violations: &BTreeSet<String>) -> String {
    violations.iter().map(|violation| format!("\n  {violation}")).collect()
}

/// The room of a module or of a path in it.
fn room(path: &[String]) -> &str {
    match path {
        [name, folder, ..] if name == "mfctl_core" => folder,
        [first, ..] => first,
        [] => "",
    }
}

#[test]
fn imports_go_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let sources = sources::read_all();
    assert!(sources.len() > 10, "only {} sources were found", sources.len());
    let mut violations = BTreeSet::new();
    for source in sources.iter().filter(|source| source.module != ["mfctl_core"]) {
        let from = room(&source.module);
        let Some(may) = allowed.get(from) else {
            violations.insert(format!("{} is in no room: name {from} in tests/cli/layers.rs", source.file.display()));
            continue;
        };
        for path in &source.inside {
            let to = room(path);
            let is_common = COMMON.contains(&to) && !COMMON.contains(&from);
            if allowed.contains_key(to) && to != from && !is_common && !may.contains(&to) {
                violations.insert(format!("{} may not import {}", source.file.display(), path.join("::")));
            }
        }
    }
    assert!(violations.is_empty(), "imports against the layers:{}", list(&violations));
}

#[test]
fn each_outside_crate_stays_in_its_room() {
    let mut violations = BTreeSet::new();
    for source in sources::read_all() {
        let room = room(&source.module);
        for path in &source.outside {
            for (name, rooms) in ONLY_IN {
                if path[0] == *name && !rooms.contains(&room) {
                    violations.insert(format!("{} may not name {}", source.file.display(), path.join("::")));
                }
            }
            let written = path.join("::");
            if room == "domain"
                && NOT_IN_DOMAIN.iter().any(|name| written == *name || written.starts_with(&format!("{name}::")))
            {
                violations.insert(format!("{} may not name {written}", source.file.display()));
            }
        }
    }
    assert!(violations.is_empty(), "crates out of their room:{}", list(&violations));
}

/// Of consulrs and its rustify only requests and responses are used, in one module; their HTTP clients, which lack our TLS,
/// proxy and limits, are never constructed (ADR 0011).
#[test]
fn consulrs_gives_requests_and_responses_to_one_module() {
    const MODULE: [&str; 3] = ["mfctl_remote", "consul", "requests"];
    const USED: [&str; 6] = [
        "consulrs::api::catalog::requests::",
        "consulrs::api::features::",
        "consulrs::api::kv::",
        "consulrs::api::session::",
        "consulrs::error::",
        "rustify_05::endpoint::Endpoint",
    ];
    let mut found = 0;
    let mut violations = BTreeSet::new();
    for source in sources::read_all() {
        let outside = source.outside.iter().filter(|path| ["consulrs", "rustify_05"].contains(&path[0].as_str()));
        for path in outside.map(|path| path.join("::")) {
            found += 1;
            if source.module != MODULE || !USED.iter().any(|used| path.starts_with(used)) {
                violations.insert(format!("{} may not name {path}", source.file.display()));
            }
        }
    }
    assert!(found > 5, "only {found} uses of consulrs were found");
    assert!(violations.is_empty(), "consulrs beyond its requests and responses:{}", list(&violations));
}

#[test]
fn no_circle_joins_two_folders() {
    let edges = sources::edges(&sources::read_all());
    let mut folders: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (from, targets) in &edges {
        let entry = folders.entry(vec![room(from).to_owned()]).or_default();
        entry.extend(targets.iter().filter(|to| room(to) != room(from)).map(|to| vec![room(to).to_owned()]));
    }
    let circles: Vec<_> = circles(&folders);
    assert!(circles.is_empty(), "folders that import each other: {circles:?}");
}

#[test]
fn a_circle_of_modules_is_a_parent_and_its_children_at_most() {
    let edges = sources::edges(&sources::read_all());
    let too_large: Vec<String> = circles(&edges)
        .into_iter()
        .filter(|circle| !is_one_family(circle))
        .map(|circle| circle.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(" <-> "))
        .collect();
    assert!(too_large.is_empty(), "circles of imports:\n  {}", too_large.join("\n  "));
}

/// One parent with children of its own, or children of one parent.
fn is_one_family(circle: &BTreeSet<Module>) -> bool {
    let shortest = circle.iter().map(Vec::len).min().unwrap_or(0);
    let heads: Vec<&Module> = circle.iter().filter(|module| module.len() == shortest).collect();
    let parent: &[String] = if heads.len() == 1 { heads[0] } else { &heads[0][..shortest - 1] };
    circle.iter().all(|module| module == parent || module.len() == parent.len() + 1 && module.starts_with(parent))
}

/// The groups of two or more nodes that all reach each other.
fn circles(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<BTreeSet<Module>> {
    let reach: BTreeMap<&Module, BTreeSet<&Module>> = edges.keys().map(|from| (from, reachable(from, edges))).collect();
    let mut found: Vec<BTreeSet<Module>> = Vec::new();
    for (from, seen) in &reach {
        let circle: BTreeSet<Module> = seen
            .iter()
            .filter(|to| reach.get(*to).is_some_and(|back| back.contains(from)))
            .map(|to| (*to).clone())
            .collect();
        if circle.len() > 1 && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

fn reachable<'a>(from: &'a Module, edges: &'a BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<&'a Module> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        for to in edges.get(module).into_iter().flatten() {
            if seen.insert(to) {
                open.push(to);
            }
        }
    }
    seen
}

#[test]
fn the_sources_in_the_examples_of_a_family_are_told_from_a_knot() {
    let set =
        |names: &[&str]| names.iter().map(|n| n.split("::").map(str::to_owned).collect()).collect::<BTreeSet<Module>>();
    assert!(is_one_family(&set(&["cli::dlq", "cli::dlq::redrive", "cli::dlq::list"])));
    assert!(is_one_family(&set(&["dlq::ledger", "dlq::redrive"])));
    assert!(!is_one_family(&set(&["cli", "cli::dlq", "cli::dlq::redrive"])));
    assert!(!is_one_family(&set(&["dlq::ledger", "ops::audit"])));
}
