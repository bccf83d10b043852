//! The layers of the architecture, held against the sources: who may import whom, and which crates stay in one room.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{self, Module, Source};

/// What any layer may import: types and rules, places to die in a test, words for people, names of metrics.
const COMMON: &[&str] = &["domain", "failpoint", "humane", "telemetry"];

/// What each folder of `src/` may import beside itself and, those apart, [`COMMON`].
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("failpoint", &[]),
    ("humane", &[]),
    ("telemetry", &["domain"]),
    ("ports", &[]),
    ("settings", &[]),
    ("backends", &["ports"]),
    ("events", &["ports"]),
    ("pipeline", &["dlq", "ops", "bootstrap", "events", "ports"]),
    ("dlq", &["pipeline", "ops", "bootstrap", "events", "ports"]),
    ("ops", &["pipeline", "dlq", "bootstrap", "events", "ports"]),
    ("bootstrap", &["pipeline", "dlq", "ops", "kv", "events", "ports"]),
    ("kv", &["ports"]),
    ("tui", &["pipeline", "dlq", "ops", "bootstrap", "events", "ports"]),
    ("cli", &["tui", "pipeline", "dlq", "ops", "bootstrap", "kv", "events", "backends", "settings", "ports"]),
    ("main", &["cli"]),
];

/// Crates (or paths) that only these folders name.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("rusqlite", &["backends"]),
    ("rdkafka", &["backends"]),
    ("rdkafka_sys", &["backends"]),
    ("aws_sdk_s3", &["backends"]),
    ("vaultrs", &["backends"]),
    ("consulrs", &["backends"]),
    ("reqwest", &["backends"]),
    ("tokio_postgres", &["backends"]),
    ("clap", &["cli", "main"]),
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

#[test]
fn imports_go_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let sources = sources::read_all();
    assert!(sources.len() > 10, "only {} sources were found", sources.len());
    let mut violations = BTreeSet::new();
    for source in &sources {
        let folder = source.module[0].as_str();
        let Some(may) = allowed.get(folder) else {
            violations.insert(format!("src/{folder} has no layer: name it in tests/cli/layers.rs"));
            continue;
        };
        for path in source.inside.iter().filter(|path| !path.is_empty()) {
            let to = path[0].as_str();
            let is_folder = allowed.contains_key(to);
            let is_common = COMMON.contains(&to) && !COMMON.contains(&folder);
            if is_folder && to != folder && !is_common && !may.contains(&to) && !connects(source, to) {
                violations.insert(format!("{} may not import crate::{}", source.file.display(), path.join("::")));
            }
            if to == "backends" && folder != "backends" && path.get(1).is_none_or(|module| module != "connect") {
                violations.insert(format!(
                    "{} may know backends::connect alone, not {}",
                    source.file.display(),
                    path.join("::")
                ));
            }
        }
    }
    assert!(violations.is_empty(), "imports against the layers:{}", list(&violations));
}

/// The one place where settings become backends; a new data folder gets its topics and schemas there.
fn connects(source: &Source, to: &str) -> bool {
    ["settings", "events"].contains(&to) && source.module.starts_with(&["backends".to_owned(), "connect".to_owned()])
}

#[test]
fn each_outside_crate_stays_in_its_room() {
    let mut violations = BTreeSet::new();
    for source in sources::read_all() {
        for path in &source.outside {
            for (name, folders) in ONLY_IN {
                if path[0] == *name && !folders.contains(&source.module[0].as_str()) {
                    violations.insert(format!("{} may not name {}", source.file.display(), path.join("::")));
                }
            }
            let written = path.join("::");
            if source.module[0] == "domain"
                && NOT_IN_DOMAIN.iter().any(|name| written == *name || written.starts_with(&format!("{name}::")))
            {
                violations.insert(format!("{} may not name {written}", source.file.display()));
            }
        }
    }
    assert!(violations.is_empty(), "crates out of their room:{}", list(&violations));
}

#[test]
fn no_circle_joins_two_folders() {
    let edges = sources::edges(&sources::read_all());
    let mut folders: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (from, targets) in &edges {
        let entry = folders.entry(vec![from[0].clone()]).or_default();
        entry.extend(targets.iter().filter(|to| to[0] != from[0]).map(|to| vec![to[0].clone()]));
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
