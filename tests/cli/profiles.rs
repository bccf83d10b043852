//! Commands use the chosen profile and never another one.

use crate::support::{CommandOutput, Site};

/// Verbs that need a target, each with otherwise valid arguments.
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

fn site_with_prod_profile() -> Site {
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
fn files_below(site: &Site) -> Vec<String> {
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
fn commands_without_a_chosen_profile_exit_2_and_create_no_files() {
    let site = site_with_prod_profile();
    let before = files_below(&site);
    for words in TARGETED {
        let ran = CommandOutput::run(site.command_without_data_dir(words));
        assert_eq!(ran.code, 2, "{words:?}: {ran}");
        assert!(ran.stdout.is_empty(), "{words:?}: {ran}");
        assert!(ran.stderr.contains("prod"), "the list of profiles is missing: {words:?}: {ran}");
    }
    assert_eq!(files_below(&site), before);
}

#[test]
fn read_commands_on_a_missing_data_folder_exit_6_and_create_no_files() {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    let before = files_below(&site);
    let may_create = ["ingest", "worker"];
    for words in TARGETED.iter().filter(|words| !may_create.contains(&words[0])) {
        let ran = CommandOutput::run(site.command(*words));
        assert_eq!(ran.code, 6, "{words:?}: {ran}");
        assert!(ran.stdout.is_empty(), "{words:?}: {ran}");
    }
    assert_eq!(files_below(&site), before);
}

#[test]
fn env_flag_must_match_the_profile_environment() {
    let site = site_with_prod_profile();
    let ran = CommandOutput::run(site.command_without_data_dir(["ingest", "in", "--profile", "prod", "--env", "dev"]));
    assert_eq!(ran.code, 8, "{ran}");
    assert!(!site.path("prod-data").exists());
    let ran = CommandOutput::run(site.command_without_data_dir(["ingest", "in", "--profile", "prod", "--env", "prod"]));
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stderr.starts_with("target: profile=prod env=prod"), "{ran}");
}

/// Standard input holds a `y`, which a prompt must not read without a terminal.
#[test]
fn prompts_without_a_terminal_exit_8_and_leave_stdin_unread() {
    use std::io::{Read, Seek, Write};
    let site = site_with_prod_profile();
    assert_eq!(CommandOutput::run(site.command_without_data_dir(["ingest", "in", "--profile", "prod"])).code, 0);
    std::fs::write(site.path("in/poster.png"), include_bytes!("../../examples/media/posters/girih-12000x9000.png"))
        .unwrap();
    assert_eq!(CommandOutput::run(site.command_without_data_dir(["ingest", "in", "--profile", "prod"])).code, 0);
    assert_eq!(
        CommandOutput::run(site.command_without_data_dir(["worker", "all", "--until-drained", "--profile", "prod"]))
            .code,
        3
    );
    let prompting: [&[&str]; 3] = [
        &["dlq", "redrive", "--all", "--profile", "prod"],
        &["dlq", "discard", "--all", "--reason", "x", "--profile", "prod"],
        // A protected profile also requires its environment's name.
        &["dlq", "discard", "--all", "--reason", "x", "--profile", "prod", "--yes"],
    ];
    for words in prompting {
        let mut answer = tempfile::tempfile().unwrap();
        answer.write_all(b"y\nprod\n").unwrap();
        answer.rewind().unwrap();
        let mut command = site.command_without_data_dir(words);
        command.stdin(answer.try_clone().unwrap());
        let ran = CommandOutput::run(command);
        assert_eq!(ran.code, 8, "{words:?}: {ran}");
        let mut unread = String::new();
        answer.read_to_string(&mut unread).unwrap();
        assert_eq!(unread, "y\nprod\n", "{words:?} read its standard input");
    }
    let words = ["dlq", "discard", "--all", "--reason", "x", "--profile", "prod", "--yes", "--confirm", "prod"];
    assert_eq!(CommandOutput::run(site.command_without_data_dir(words)).code, 0);
}
