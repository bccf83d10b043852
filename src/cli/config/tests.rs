//! Output of the commands on files in a temporary folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::with_stored::WithStored;
use super::{explain, path, show};
use crate::cli::failure::Result;
use crate::cli::output::{Captured, Format, Output, OutputOptions};
use crate::ops::setting_report::SettingAuthors;
use crate::settings::{Flags, Layers, Sources};

#[derive(Parser)]
struct ArgsParser<A: clap::Args> {
    #[command(flatten)]
    args: A,
}

fn args<A: clap::Args>(words: &[&str]) -> A {
    ArgsParser::parse_from(std::iter::once("x").chain(words.iter().copied())).args
}

fn sources(root: &Path, user: &str) -> Sources {
    std::fs::create_dir_all(root.join(".config/mfctl")).unwrap();
    std::fs::write(root.join(".config/mfctl/mfctl.toml"), user).unwrap();
    Sources {
        flags: Flags::default(),
        env: BTreeMap::from([("MFCTL_SLO_LATENCY_SECONDS".to_owned(), "90".to_owned())]),
        env_bytes: BTreeMap::default(),
        cwd: root.to_path_buf(),
        home: Some(root.to_path_buf()),
        uid: rustix::process::geteuid().as_raw(),
        user: "ops".to_owned(),
        host: "box".to_owned(),
        system_file: PathBuf::from("/nonexistent/mfctl.toml"),
    }
}

fn stored(layers: Layers) -> WithStored {
    WithStored { layers, authors: SettingAuthors::default() }
}

const USER: &str = "[slo]\nlatency_seconds = 30\n[profile.prod]\nenvironment = \"prod\"\n";

fn printed(format: Format, user: &str, run: impl FnOnce(&Sources, &Output) -> Result<()>) -> String {
    let root = tempfile::tempdir().unwrap();
    let (output, captured): (Output, Captured) = Output::captured(OutputOptions { format, ..OutputOptions::default() });
    run(&sources(root.path(), user), &output).unwrap();
    captured.stdout().replace(&root.path().display().to_string(), "~")
}

#[test]
fn show_lists_changed_settings_with_their_origins() {
    let text = printed(Format::Table, USER, |sources, output| {
        show::run(&args(&["--changed"]), &stored(Layers::read(sources)?), output)
    });
    assert_eq!(
        text,
        "no profile is chosen: --profile NAME, MFCTL_PROFILE or default_profile\nprofiles defined: prod\n\n\
         KEY                  VALUE  DEFAULT  FROM                       SET BY\n\
         slo.latency_seconds  90     60       MFCTL_SLO_LATENCY_SECONDS  -\n"
    );
}

#[test]
fn show_has_the_same_in_json() {
    let chosen = format!("default_profile = \"prod\"\n{USER}");
    let text = printed(Format::Json, &chosen, |sources, output| {
        show::run(&args(&[]), &stored(Layers::read(sources)?), output)
    });
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((json["schema_version"].as_u64(), json["profile"].as_str()), (Some(1), Some("prod")));
    assert_eq!(json["chosen_by"]["line"], 1);
    let slo =
        json["settings"].as_array().unwrap().iter().find(|setting| setting["key"] == "slo.latency_seconds").unwrap();
    assert_eq!(
        *slo,
        serde_json::json!({
            "key": "slo.latency_seconds", "value": "90",
            "origin": {"layer": "environment", "place": "MFCTL_SLO_LATENCY_SECONDS", "line": null},
            "hides": [
                {"value": "30", "origin": {"layer": "user", "place": "~/.config/mfctl/mfctl.toml", "line": 3}},
                {"value": "60", "origin": {"layer": "default", "place": null, "line": null}},
            ],
            "default": "60",
            "set_by": null,
            "not_used": [],
        })
    );
}

#[test]
fn explain_shows_the_effective_and_the_overridden_values() {
    let text = printed(Format::Table, USER, |sources, output| {
        explain::run(&args(&["MFCTL_SLO_LATENCY_SECONDS"]), &stored(Layers::read(sources)?), output)
    });
    assert!(text.ends_with(
        "in effect: 90  (MFCTL_SLO_LATENCY_SECONDS)\nhidden:    30  (~/.config/mfctl/mfctl.toml:2)\nhidden:    60  (default)\n"
    ), "{text}");
}

#[test]
fn explain_finds_a_profile_key_by_each_of_its_names_and_suggests_a_similar_one() {
    let root = tempfile::tempdir().unwrap();
    let layers = stored(Layers::read(&sources(root.path(), USER)).unwrap());
    let (output, _) = Output::captured(OutputOptions::default());
    for name in ["data_dir", "profile.data_dir", "profile.prod.data_dir", "MFCTL_DATA_DIR"] {
        explain::run(&args(&[name]), &layers, &output).unwrap();
    }
    let failure = explain::run(&args(&["slo.latency_second"]), &layers, &output).unwrap_err();
    assert_eq!((failure.exit_code(), failure.hint_text()), (6, Some("did you mean `slo.latency_seconds`?")));
}

#[test]
fn path_lists_every_file_even_when_one_is_invalid() {
    let text = printed(Format::Table, "[broken", |sources, output| path::run(&args(&[]), sources, output));
    let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let expected = [
        ["LAYER", "STATUS", "PATH", "WHY"],
        ["system", "absent", "/nonexistent/mfctl.toml", "-"],
        ["user", "read", "~/.config/mfctl/mfctl.toml", "-"],
    ];
    assert_eq!(words, expected);
    let names = printed(Format::Name, "", |sources, output| path::run(&args(&[]), sources, output));
    assert_eq!(names, "~/.config/mfctl/mfctl.toml\n");
}
