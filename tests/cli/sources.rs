//! Reads the workspace's sources as a graph of modules: which modules each file names, and which external crates.
//!
//! This is no compiler: it strips comments, strings and unit tests and follows paths that begin with `crate`, `super`, `self`
//! or a crate of the workspace, as this code base writes its imports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module's path. It begins with the crate's name, except in the root package: `["mfctl_embedded", "log"]`, `["cli", "dlq"]`.
pub type Module = Vec<String>;

/// The paths that one source file names.
pub struct Source {
    pub file: PathBuf,
    pub module: Module,
    /// Full paths within the workspace, in the form of [`Module`]: `["mfctl_core", "ports", "EventLog"]`.
    pub inside: BTreeSet<Vec<String>>,
    /// All other paths: `["std", "fs", "File"]`.
    pub outside: BTreeSet<Vec<String>>,
}

/// The crates below `crates/`, as paths name them.
const CRATES: [&str; 5] = ["mfctl_core", "mfctl_embedded", "mfctl_extract", "mfctl_kafka", "mfctl_remote"];

/// Every module of every crate.
pub fn read_all() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut modules = crate_modules(&root.join("src"), None);
    for name in CRATES {
        let folder = name.trim_start_matches("mfctl_");
        modules.extend(crate_modules(&root.join("crates").join(folder).join("src"), Some(name)));
    }
    let known: BTreeSet<Module> = modules.iter().map(|(module, _)| module.clone()).collect();
    modules.into_iter().map(|(module, file)| read_source(root, &file, module, &known)).collect()
}

fn crate_modules(src: &Path, name: Option<&str>) -> Vec<(Module, PathBuf)> {
    let mut files = Vec::new();
    collect_sources(src, &mut files);
    files.sort();
    let named = |module: Module| -> Module { name.map(str::to_owned).into_iter().chain(module).collect() };
    let modules = files.into_iter().filter_map(|file| Some((named(module_of(src, &file)?), file)));
    modules.filter(|(module, _)| !module.is_empty()).collect()
}

/// The modules that each module names, except itself.
pub fn edges(sources: &[Source]) -> BTreeMap<Module, BTreeSet<Module>> {
    let known: BTreeSet<&Module> = sources.iter().map(|source| &source.module).collect();
    let target =
        |path: &[String]| (1..=path.len()).rev().map(|n| path[..n].to_vec()).find(|module| known.contains(module));
    sources
        .iter()
        .map(|source| {
            let targets =
                source.inside.iter().filter_map(|path| target(path)).filter(|to| *to != source.module).collect();
            (source.module.clone(), targets)
        })
        .collect()
}

fn collect_sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The module's path below its crate, empty for `lib.rs`; `None` for files that hold only tests.
fn module_of(root: &Path, file: &Path) -> Option<Module> {
    let mut parts: Module = file
        .strip_prefix(root)
        .unwrap()
        .with_extension("")
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if parts.last().is_some_and(|last| last == "mod") || parts == ["lib"] {
        parts.pop();
    }
    let tests = parts.iter().any(|part| part == "tests" || part.ends_with("_tests") || part == "testing");
    (!tests).then_some(parts)
}

fn read_source(root: &Path, file: &Path, module: Module, known: &BTreeSet<Module>) -> Source {
    let text = std::fs::read_to_string(file).unwrap();
    let tokens = tokenize(&without_unit_tests(&text));
    let mut source = Source {
        file: file.strip_prefix(root).unwrap().to_owned(),
        module,
        inside: BTreeSet::new(),
        outside: BTreeSet::new(),
    };
    let mut at = 0;
    while at < tokens.len() {
        let in_use = at > 0 && tokens[at - 1] == "use";
        let starts_path = tokens.get(at + 1).is_some_and(|next| next == "::") && (at == 0 || tokens[at - 1] != "::");
        let is_visibility = at > 1 && tokens[at - 2..at] == ["(", "in"];
        if is_name(&tokens[at]) && (starts_path || in_use) && !is_visibility {
            let mut paths = Vec::new();
            at = path_tree(&tokens, at, &[], &mut paths);
            for path in paths {
                record_path(&mut source, path, in_use, known);
            }
        } else {
            at += 1;
        }
    }
    source
}

fn record_path(source: &mut Source, path: Vec<String>, in_use: bool, known: &BTreeSet<Module>) {
    let mut base = source.module.clone();
    match path[0].as_str() {
        "crate" => base.truncate(usize::from(CRATES.contains(&base[0].as_str()))),
        name if CRATES.contains(&name) => base = vec![name.to_owned()],
        "self" => {}
        "super" => {
            base.pop();
        }
        first => {
            let child: Module = base.iter().map(String::as_str).chain([first]).map(str::to_owned).collect();
            if in_use && known.contains(&child) {
                base.push(first.to_owned());
            } else {
                source.outside.insert(path);
                return;
            }
        }
    }
    let mut rest = &path[1..];
    while rest.first().is_some_and(|part| part == "super") {
        base.pop();
        rest = &rest[1..];
    }
    base.extend(rest.iter().filter(|part| *part != "self").cloned());
    source.inside.insert(base);
}

/// Reads `a::b::{c, d::e}` at position `at`, adds each full path, and returns the position after it.
fn path_tree(tokens: &[String], mut at: usize, before: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    let next = path_tree(tokens, at, &path, paths);
                    at = if next == at { at + 1 } else { next };
                }
                return at + 1;
            }
            Some(name) if is_name(name) => path.push(name.to_owned()),
            _ => break,
        }
        at += 1;
        if tokens.get(at).is_some_and(|token| token == "::") {
            at += 1;
        } else {
            break;
        }
    }
    if path.len() > before.len() {
        paths.push(path);
    }
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Strips unit tests, which stand last in a file: they may use what the code may not.
fn without_unit_tests(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.windows(2).position(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].contains("mod "));
    lines[..end.unwrap_or(lines.len())].join("\n")
}

/// Names, `::` and other single characters, without comments, strings and character literals.
fn tokenize(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        match rest {
            ['/', '/', ..] => at += rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => {
                at += rest.windows(2).position(|pair| pair == ['*', '/']).map_or(rest.len(), |end| end + 2)
            }
            ['r', '"' | '#', ..] if raw_string_length(rest).is_some() => at += raw_string_length(rest).unwrap(),
            ['"', ..] => at += string_length(rest),
            ['\'', '\\', ..] => at += 3 + rest[3..].iter().position(|c| *c == '\'').map_or(0, |end| end + 1),
            ['\'', _, '\'', ..] => at += 3,
            [':', ':', ..] => {
                tokens.push("::".to_owned());
                at += 2;
            }
            [c, ..] if c.is_alphanumeric() || *c == '_' => {
                let name: String = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
                at += name.chars().count();
                tokens.push(name);
            }
            [c, ..] => {
                if !c.is_whitespace() {
                    tokens.push(c.to_string());
                }
                at += 1;
            }
            [] => {}
        }
    }
    tokens
}

fn string_length(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string_length(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    (rest.get(1 + hashes) == Some(&'"')).then(|| {
        let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
        let body = 2 + hashes;
        rest[body..].windows(end.len()).position(|window| window == end).map_or(rest.len(), |at| body + at + end.len())
    })
}

#[test]
fn paths_are_read_from_use_trees_and_code_only() {
    let text = r##"
        use mfctl_core::ports::{Clock, log::{EventLog, Offset}}; // crate::cli
        use std::fs;
        fn f() -> crate::ops::Audit { let _ = ("crate::tui", r#"crate::tui "quoted""#, '"'); super::g() }
        #[cfg(test)]
        mod tests { use mfctl_embedded::Folder; }
    "##;
    let tokens = tokenize(&without_unit_tests(text));
    let mut source = Source {
        file: PathBuf::new(),
        module: vec!["dlq".into(), "redrive".into()],
        inside: BTreeSet::new(),
        outside: BTreeSet::new(),
    };
    let mut at = 0;
    while at < tokens.len() {
        if is_name(&tokens[at]) && tokens.get(at + 1).is_some_and(|next| next == "::") {
            let mut paths = Vec::new();
            at = path_tree(&tokens, at, &[], &mut paths);
            paths.into_iter().for_each(|path| record_path(&mut source, path, false, &BTreeSet::new()));
        } else {
            at += 1;
        }
    }
    let inside: Vec<String> = source.inside.iter().map(|path| path.join("::")).collect();
    assert_eq!(
        inside,
        [
            "dlq::g",
            "mfctl_core::ports::Clock",
            "mfctl_core::ports::log::EventLog",
            "mfctl_core::ports::log::Offset",
            "ops::Audit"
        ]
    );
    assert_eq!(source.outside.iter().map(|path| path.join("::")).collect::<Vec<_>>(), ["std::fs"]);
}
