//! Checks the sources against the architecture: which layer may import which, and which crates only some layers use.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::{self, Module};

/// Layers that every layer may import: types and rules, failpoints, text forms of sizes and times, names of metrics.
const COMMON: &[&str] = &["domain", "failpoint", "humane", "telemetry"];

/// The layers that each layer may import besides itself; all layers outside [`COMMON`] may import those in it, too. A layer
/// is a folder of `src/`, a folder or file of `crates/core/src/`, or another crate. The compiler also enforces the imports
/// between crates.
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
    ("ops", &["events", "kv", "pipeline", "ports", "settings", "stop", "wait"]),
    ("daemon", &["events", "mfctl_extract", "ops", "pipeline", "ports", "settings", "stop", "wait"]),
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

/// Crates (or paths) that only these layers may name.
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

/// What the domain must not use: I/O, async, and the system clock.
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

/// The layer of a module, or of a path in it.
fn layer(path: &[String]) -> &str {
    match path {
        [name, folder, ..] if name == "mfctl_core" => folder,
        [first, ..] => first,
        [] => "",
    }
}

#[test]
fn imports_follow_the_layers() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let sources = sources::read_all();
    assert!(sources.len() > 10, "only {} sources were found", sources.len());
    let mut violations = BTreeSet::new();
    for source in sources.iter().filter(|source| source.module != ["mfctl_core"]) {
        let from = layer(&source.module);
        let Some(may) = allowed.get(from) else {
            violations.insert(format!("{} is in no layer: add {from} to tests/cli/layers.rs", source.file.display()));
            continue;
        };
        for path in &source.inside {
            let to = layer(path);
            let is_common = COMMON.contains(&to) && !COMMON.contains(&from);
            if allowed.contains_key(to) && to != from && !is_common && !may.contains(&to) {
                violations.insert(format!("{} may not import {}", source.file.display(), path.join("::")));
            }
        }
    }
    assert!(violations.is_empty(), "imports against the layers:{}", list(&violations));
}

#[test]
fn external_crates_stay_in_their_layer() {
    let mut violations = BTreeSet::new();
    for source in sources::read_all() {
        let layer = layer(&source.module);
        for path in &source.outside {
            for (name, layers) in ONLY_IN {
                if path[0] == *name && !layers.contains(&layer) {
                    violations.insert(format!("{} may not name {}", source.file.display(), path.join("::")));
                }
            }
            let written = path.join("::");
            if layer == "domain"
                && NOT_IN_DOMAIN.iter().any(|name| written == *name || written.starts_with(&format!("{name}::")))
            {
                violations.insert(format!("{} may not name {written}", source.file.display()));
            }
        }
    }
    assert!(violations.is_empty(), "crates outside their layer:{}", list(&violations));
}

/// One module uses the requests and responses of consulrs and rustify; their HTTP clients, which lack our TLS, proxy and
/// limits, are never constructed (ADR 0011).
#[test]
fn consulrs_is_used_by_one_module_for_requests_and_responses() {
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
fn layers_have_no_import_cycles() {
    let edges = sources::edges(&sources::read_all());
    let mut layers: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (from, targets) in &edges {
        let entry = layers.entry(vec![layer(from).to_owned()]).or_default();
        entry.extend(targets.iter().filter(|to| layer(to) != layer(from)).map(|to| vec![layer(to).to_owned()]));
    }
    let cycles: Vec<_> = cycles(&layers);
    assert!(cycles.is_empty(), "layers that import each other: {cycles:?}");
}

#[test]
fn module_cycles_stay_within_one_family() {
    let edges = sources::edges(&sources::read_all());
    let too_large: Vec<String> = cycles(&edges)
        .into_iter()
        .filter(|cycle| !is_one_family(cycle))
        .map(|cycle| cycle.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(" <-> "))
        .collect();
    assert!(too_large.is_empty(), "import cycles:\n  {}", too_large.join("\n  "));
}

/// Whether these are one parent and its children, or children of one parent.
fn is_one_family(cycle: &BTreeSet<Module>) -> bool {
    let shortest = cycle.iter().map(Vec::len).min().unwrap_or(0);
    let heads: Vec<&Module> = cycle.iter().filter(|module| module.len() == shortest).collect();
    let parent: &[String] = if heads.len() == 1 { heads[0] } else { &heads[0][..shortest - 1] };
    cycle.iter().all(|module| module == parent || module.len() == parent.len() + 1 && module.starts_with(parent))
}

/// The strongly connected components of two or more modules.
fn cycles(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<BTreeSet<Module>> {
    let reach: BTreeMap<&Module, BTreeSet<&Module>> = edges.keys().map(|from| (from, reachable(from, edges))).collect();
    let mut found: Vec<BTreeSet<Module>> = Vec::new();
    for (from, seen) in &reach {
        let cycle: BTreeSet<Module> = seen
            .iter()
            .filter(|to| reach.get(*to).is_some_and(|back| back.contains(from)))
            .map(|to| (*to).clone())
            .collect();
        if cycle.len() > 1 && !found.contains(&cycle) {
            found.push(cycle);
        }
    }
    found
}

fn reachable<'a>(from: &'a Module, edges: &'a BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<&'a Module> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
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
fn family_is_a_parent_and_its_children_or_siblings() {
    let set =
        |names: &[&str]| names.iter().map(|n| n.split("::").map(str::to_owned).collect()).collect::<BTreeSet<Module>>();
    assert!(is_one_family(&set(&["cli::dlq", "cli::dlq::redrive", "cli::dlq::list"])));
    assert!(is_one_family(&set(&["dlq::ledger", "dlq::redrive"])));
    assert!(!is_one_family(&set(&["cli", "cli::dlq", "cli::dlq::redrive"])));
    assert!(!is_one_family(&set(&["dlq::ledger", "ops::audit"])));
}
