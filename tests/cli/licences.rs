//! Checks the licences of linked crates against `deny.toml`, also where cargo-deny is not installed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The licence ids that `deny.toml` allows for every crate, and those it allows for single crates.
struct Allowed {
    everywhere: BTreeSet<String>,
    by_crate: BTreeMap<String, BTreeSet<String>>,
}

impl Allowed {
    fn read() -> Self {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let licences = &table["licenses"];
        let ids = |value: &toml::Value| -> BTreeSet<String> {
            value.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
        };
        let by_crate = licences["exceptions"].as_array().unwrap().iter();
        let by_crate = by_crate.map(|e| (e["crate"].as_str().unwrap().to_owned(), ids(&e["allow"]))).collect();
        Self { everywhere: ids(&licences["allow"]), by_crate }
    }

    fn allows(&self, name: &str, id: &str) -> bool {
        self.everywhere.contains(id) || self.by_crate.get(name).is_some_and(|ids| ids.contains(id))
    }
}

/// Whether allowed ids satisfy the expression. `AND` binds tighter than `OR` and its older form `/`.
fn is_satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let expression = expression.replace('/', " OR ");
    split_outside_parentheses(&expression, " OR ").iter().any(|choice| {
        split_outside_parentheses(choice, " AND ").iter().all(|term| {
            let term = term.trim();
            match term.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
                Some(inner) => is_satisfied(inner, allowed),
                None => allowed(term),
            }
        })
    })
}

fn split_outside_parentheses<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut depth = 0_usize;
    let mut start = 0;
    let mut at = 0;
    while at < text.len() {
        match text.as_bytes()[at] {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ if depth == 0 && text[at..].starts_with(separator) => {
                parts.push(&text[start..at]);
                start = at + separator.len();
            }
            _ => {}
        }
        at += 1;
    }
    parts.push(&text[start..]);
    parts
}

#[test]
fn every_linked_crate_has_an_allowed_licence() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "mfctl",
            "--locked",
            "--offline",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}|{l}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();

    let allowed = Allowed::read();
    let mut crates = 0;
    let mut refused = BTreeSet::new();
    for line in tree.lines() {
        let (package, licence) = line.trim_end_matches(" (*)").split_once('|').unwrap();
        let name = package.split(' ').next().unwrap();
        crates += 1;
        if !is_satisfied(licence, &|id| allowed.allows(name, id)) {
            refused.insert(format!("{package}: {licence:?}"));
        }
    }
    assert!(crates > 50, "cargo tree named only {crates} crates:\n{tree}");
    assert!(refused.is_empty(), "not allowed by deny.toml: {refused:#?}");
}

#[test]
fn licence_expressions_follow_operator_precedence() {
    let allowed = |id: &str| matches!(id, "MIT" | "Unicode-3.0" | "Apache-2.0 WITH LLVM-exception");
    for satisfied in
        ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "(MIT OR GPL-3.0) AND Unicode-3.0", "Apache-2.0 WITH LLVM-exception"]
    {
        assert!(is_satisfied(satisfied, &allowed), "{satisfied}");
    }
    for unsatisfied in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR GPL-3.0) AND LGPL-2.1", ""] {
        assert!(!is_satisfied(unsatisfied, &allowed), "{unsatisfied}");
    }
}
