//! The right profile, and never the wrong one.

use crate::support::{Ran, Site};

/// Verbs that need a target, each with words that would otherwise be right.
const TARGETED: [&[&str]; 14] = [
    &["status"],
    &["top", "--once"],
    &["lag"],
    &["audit"],
    &["ingest", "in"],
    &["jobs", "list"],
    &["jobs", "verify", "00000000-0000-7000-8000-000000000000"],
    &["worker", "all", "--until-drained"],
    &["media", "list"],
    &["media", "search", "x"],
    &["media", "show", "00000000-0000-5000-8000-000000000000"],
    &["dlq", "list"],
    &["dlq", "redrive", "--all", "--yes"],
    &["dlq", "discard", "ingest.raw.dlq:0:0", "--reason", "x", "--yes"],
];

fn with_prod() -> Site {
    let site = Site::new();
    let config = site.home().join(".config/mfctl");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::create_dir(site.path("in")).unwrap();
    std::fs::write(site.path("in/a.txt"), "text").unwrap();
    let data = site.path("prod-data");
    let text =
        format!("[profile.prod]\nkind = \"embedded\"\nenvironment = \"prod\"\nprotected = true\ndata_dir = {data:?}\n");
    std::fs::write(config.join("mfctl.toml"), text).unwrap();
    site
}

/// Every file below the site.
fn files(site: &Site) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![site.path("")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.to_string_lossy().into_owned());
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn with_profiles_defined_and_none_chosen_every_verb_that_needs_a_target_exits_2_and_makes_no_file() {
    let site = with_prod();
    let before = files(&site);
    for words in TARGETED {
        let ran = Ran::of(site.bare(words));
        assert_eq!(ran.code, 2, "{words:?}: {ran}");
        assert!(ran.stdout.is_empty(), "{words:?}: {ran}");
        assert!(ran.stderr.contains("prod"), "the list of profiles is missing: {words:?}: {ran}");
    }
    assert_eq!(files(&site), before);
}

#[test]
fn a_reading_verb_on_a_missing_folder_exits_6_and_makes_no_file() {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    let before = files(&site);
    let may_create = ["ingest", "worker"];
    for words in TARGETED.iter().filter(|words| !may_create.contains(&words[0])) {
        let ran = Ran::of(site.command(*words));
        assert_eq!(ran.code, 6, "{words:?}: {ran}");
        assert!(ran.stdout.is_empty(), "{words:?}: {ran}");
    }
    assert_eq!(files(&site), before);
}

#[test]
fn the_environment_is_only_asserted() {
    let site = with_prod();
    let ran = Ran::of(site.bare(["ingest", "in", "--profile", "prod", "--env", "dev"]));
    assert_eq!(ran.code, 8, "{ran}");
    assert!(!site.path("prod-data").exists());
    let ran = Ran::of(site.bare(["ingest", "in", "--profile", "prod", "--env", "prod"]));
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stderr.starts_with("target: profile=prod env=prod"), "{ran}");
}

/// Standard input holds a `y`; a prompt that nobody sees must not take it.
#[test]
fn a_prompt_without_a_terminal_exits_8_and_reads_nothing() {
    use std::io::{Read, Seek, Write};
    let site = with_prod();
    assert_eq!(Ran::of(site.bare(["ingest", "in", "--profile", "prod"])).code, 0);
    std::fs::write(site.path("in/poster.png"), include_bytes!("../../examples/media/posters/girih-12000x9000.png"))
        .unwrap();
    assert_eq!(Ran::of(site.bare(["ingest", "in", "--profile", "prod"])).code, 0);
    assert_eq!(Ran::of(site.bare(["worker", "all", "--until-drained", "--profile", "prod"])).code, 3);
    let asks: [&[&str]; 3] = [
        &["dlq", "redrive", "--all", "--profile", "prod"],
        &["dlq", "discard", "--all", "--reason", "x", "--profile", "prod"],
        // A protected profile wants its environment's name as well.
        &["dlq", "discard", "--all", "--reason", "x", "--profile", "prod", "--yes"],
    ];
    for words in asks {
        let mut answer = tempfile::tempfile().unwrap();
        answer.write_all(b"y\nprod\n").unwrap();
        answer.rewind().unwrap();
        let mut command = site.bare(words);
        command.stdin(answer.try_clone().unwrap());
        let ran = Ran::of(command);
        assert_eq!(ran.code, 8, "{words:?}: {ran}");
        let mut left = String::new();
        answer.read_to_string(&mut left).unwrap();
        assert_eq!(left, "y\nprod\n", "{words:?} read its standard input");
    }
    let words = ["dlq", "discard", "--all", "--reason", "x", "--profile", "prod", "--yes", "--confirm", "prod"];
    assert_eq!(Ran::of(site.bare(words)).code, 0);
}
