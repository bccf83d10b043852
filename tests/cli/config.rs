//! `config` and `init`, and what holds for every verb's settings and output. Which profile is chosen is in `profiles`.

use std::process::Stdio;

use crate::support::{Ran, Site};

fn user_file(site: &Site, text: &str) {
    let dir = site.home().join(".config/mfctl");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("mfctl.toml"), text).unwrap();
}

fn bare(site: &Site, words: &[&str]) -> Ran {
    Ran::of(site.bare(words))
}

#[test]
fn a_protected_profile_wants_its_environment_named() {
    let site = Site::new();
    assert_eq!(site.run(["init", "prod-eu", "--environment", "prod"]).code, 0);
    let trust = |flags: &[&str]| site.run(["config", "trust"].iter().chain(flags)).code;
    assert_eq!(trust(&["--yes"]), 8);
    assert_eq!(trust(&["--yes", "--confirm", "dev"]), 8);
    assert_eq!(trust(&["--yes", "--confirm", "prod"]), 0);
}

#[test]
fn the_answers_come_from_flags_alone() {
    let site = Site::new().with("MFCTL_YES", "true").with("MFCTL_CONFIRM", "dev");
    assert_eq!(site.run(["init"]).code, 0);
    assert_eq!(site.run(["config", "trust"]).code, 8);
}

#[test]
fn a_folder_of_one_environment_is_not_written_by_another() {
    let site = Site::new();
    assert_eq!(site.run(["init"]).code, 0);
    let file = site.home().join(".config/mfctl/mfctl.toml");
    std::fs::write(&file, "default_profile = \"b\"\n[profile.b]\nenvironment = \"staging\"\n").unwrap();
    let refused = site.run(["init", "c", "--environment", "staging", "--config", "c.toml"]);
    assert_eq!(refused.code, 8, "{refused}");
    assert!(refused.stderr.contains("belongs to environment dev"), "{refused}");
    assert!(!site.path("c.toml").exists());
    let looked = site.run(["lag"]);
    assert!(looked.code == 0 && looked.stderr.contains("warning:"), "{looked}");
    assert_eq!(site.run(["config", "trust", "--yes"]).code, 0);
    let trusted = site.run(["lag"]);
    assert!(trusted.code == 0 && !trusted.stderr.contains("warning:"), "{trusted}");
}

#[test]
fn init_writes_a_file_once_and_keeps_what_it_is_told_to_write_over() {
    let site = Site::new();
    let first = site.json(["init"], &[0]);
    assert_eq!(first["profile"], "dev");
    let again = site.run(["init", "-o", "json"]);
    assert_eq!((again.code, again.stdout.as_str()), (8, ""));
    let last: serde_json::Value = serde_json::from_str(again.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((last["error"]["kind"].as_str(), last["error"]["exit_code"].as_u64()), (Some("refused"), Some(8)));
    let forced = site.json(["init", "--force"], &[0]);
    assert!(std::fs::read_to_string(forced["backup"].as_str().unwrap()).unwrap().contains("[profile.dev]"));
}

#[test]
fn a_projects_file_adds_a_profile_that_must_be_named() {
    let site = Site::new();
    let ran = bare(&site, &["init", "site", "--project", "--data-dir", "./media"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stdout.contains("mfctl --profile site ingest"), "{ran}");
    assert_eq!(bare(&site, &["lag"]).code, 2);
    let named = bare(&site, &["lag", "--profile", "site"]);
    assert_eq!(named.code, 0, "{named}");
    assert!(named.stderr.contains(&format!("data={}", site.path("media").display())), "{named}");
}

#[test]
fn a_cluster_profile_says_what_it_lacks_and_nothing_is_connected() {
    let site = Site::new();
    let head = "[profile.c]\nkind = \"cluster\"\nenvironment = \"dev\"\n[profile.c.kafka]\nbrokers = ";
    user_file(&site, &format!("{head}\"127.0.0.1:1\"\n"));
    let ran = site.run(["lag", "--profile", "c"]);
    assert_eq!(ran.code, 6, "{ran}");
    assert!(ran.stderr.starts_with("target: profile=c env=dev kafka=127.0.0.1:1"), "{ran}");
    assert!(ran.stderr.contains("profile c does not set s3.endpoint"), "{ran}");
    user_file(&site, &format!("{head}\"u:p@127.0.0.1:1\"\n"));
    let ran = site.run(["lag", "--profile", "c"]);
    assert_eq!(ran.code, 6, "{ran}");
    assert!(!ran.stderr.contains("u:p"), "{ran}");
}

#[test]
fn a_secret_that_cannot_be_read_is_named_by_its_key() {
    let site = Site::new();
    user_file(
        &site,
        "[profile.c]\nkind = \"cluster\"\nenvironment = \"dev\"\n[profile.c.kafka]\nbrokers = \"127.0.0.1:1\"\n\
         security = \"sasl_ssl\"\nusername = \"mfctl\"\npassword = \"env:NOT_THERE\"\n",
    );
    let ran = site.run(["lag", "--profile", "c"]);
    assert_eq!(ran.code, 6, "{ran}");
    assert!(ran.stderr.contains("profile.c.kafka.password cannot be read"), "{ran}");
}

#[test]
fn a_slip_in_a_file_is_named_with_its_line() {
    let site = Site::new();
    user_file(&site, "\n[worker]\nconcurency = 3\n");
    let ran = site.run(["lag"]);
    assert_eq!(ran.code, 6, "{ran}");
    assert!(ran.stderr.contains(".config/mfctl/mfctl.toml:3: unknown key `worker.concurency`"), "{ran}");
    assert!(ran.stderr.contains("hint: did you mean `concurrency`?"), "{ran}");
    assert_eq!(site.run(["config", "path"]).code, 0);
}

#[test]
fn show_and_explain_say_which_layer_won_and_what_it_hid() {
    let site = Site::new().with("MFCTL_SLO_LATENCY_SECONDS", "90");
    user_file(&site, "[slo]\nlatency_seconds = 30\n");
    let shown = site.json(["config", "show"], &[0]);
    let found = shown["settings"].as_array().unwrap().iter().find(|setting| setting["key"] == "slo.latency_seconds");
    assert_eq!(found.unwrap()["value"], "90");
    assert_eq!(found.unwrap()["hides"][0]["origin"]["line"], 2);
    let explained = site.run(["config", "explain", "slo.latency_seconds"]);
    assert!(explained.stdout.contains("in effect: 90  (MFCTL_SLO_LATENCY_SECONDS)"), "{explained}");
    let names = site.run(["config", "path", "-o", "name"]).stdout;
    assert!(names.ends_with(".config/mfctl/mfctl.toml\n"), "{names}");
}

#[test]
fn a_closed_pipe_ends_quietly_and_a_full_disk_does_not() {
    let site = Site::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = site.command(["config", "show"]);
    let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
    if let Ok(full) = std::fs::File::options().write(true).open("/dev/full") {
        let output = site.command(["config", "show"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: cannot write the results"));
    }
}

#[test]
fn each_format_says_the_same() {
    let site = Site::new();
    let json = site.json(["config", "show", "--changed"], &[0]);
    let line = site.run(["config", "show", "--changed", "-o", "jsonl"]).stdout;
    assert_eq!(line.lines().count(), 1);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), json);
    let yaml = site.run(["config", "show", "--changed", "-o", "yaml"]).stdout;
    assert!(yaml.starts_with("schema_version: 1\n"), "{yaml}");
    assert_eq!(site.run(["config", "show", "--changed", "-o", "name"]).stdout, "profile.data_dir\n");
}
