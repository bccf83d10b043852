//! `config` and `init`, and how settings and output behave in every verb. The choice of the profile is tested in `profiles`.

use std::process::Stdio;

use crate::support::{CommandOutput, Site};

fn write_user_config(site: &Site, text: &str) {
    let dir = site.home().join(".config/mfctl");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("mfctl.toml"), text).unwrap();
}

fn run_without_data_dir(site: &Site, words: &[&str]) -> CommandOutput {
    CommandOutput::run(site.command_without_data_dir(words))
}

#[test]
fn protected_profile_requires_confirming_its_environment() {
    let site = Site::new();
    assert_eq!(site.run(["init", "prod-eu", "--environment", "prod"]).code, 0);
    let trust = |flags: &[&str]| site.run(["config", "trust"].iter().chain(flags)).code;
    assert_eq!(trust(&["--yes"]), 8);
    assert_eq!(trust(&["--yes", "--confirm", "dev"]), 8);
    assert_eq!(trust(&["--yes", "--confirm", "prod"]), 0);
}

#[test]
fn confirmations_are_not_read_from_environment_variables() {
    let site = Site::new().with("MFCTL_YES", "true").with("MFCTL_CONFIRM", "dev");
    assert_eq!(site.run(["init"]).code, 0);
    assert_eq!(site.run(["config", "trust"]).code, 8);
}

#[test]
fn data_folder_is_not_written_from_another_environment() {
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
fn init_refuses_to_overwrite_and_force_keeps_a_backup() {
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
fn project_profile_must_be_selected_explicitly() {
    let site = Site::new();
    let ran = run_without_data_dir(&site, &["init", "site", "--project", "--data-dir", "./media"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stdout.contains("mfctl --profile site ingest"), "{ran}");
    assert_eq!(run_without_data_dir(&site, &["lag"]).code, 2);
    let named = run_without_data_dir(&site, &["lag", "--profile", "site"]);
    assert_eq!(named.code, 0, "{named}");
    assert!(named.stderr.contains(&format!("data={}", site.path("media").display())), "{named}");
}

#[test]
fn incomplete_cluster_profile_is_refused_before_connecting() {
    let site = Site::new();
    let head = "[profile.c]\nkind = \"cluster\"\nenvironment = \"dev\"\n[profile.c.kafka]\nbrokers = ";
    write_user_config(&site, &format!("{head}\"127.0.0.1:1\"\n"));
    let ran = site.run(["lag", "--profile", "c"]);
    assert_eq!(ran.code, 6, "{ran}");
    assert!(ran.stderr.starts_with("target: profile=c env=dev kafka=127.0.0.1:1"), "{ran}");
    assert!(ran.stderr.contains("profile c does not set s3.endpoint"), "{ran}");
    write_user_config(&site, &format!("{head}\"u:p@127.0.0.1:1\"\n"));
    let ran = site.run(["lag", "--profile", "c"]);
    assert_eq!(ran.code, 6, "{ran}");
    assert!(!ran.stderr.contains("u:p"), "{ran}");
}

#[test]
fn unreadable_secret_is_reported_by_its_key() {
    let site = Site::new();
    write_user_config(
        &site,
        "[profile.c]\nkind = \"cluster\"\nenvironment = \"dev\"\n[profile.c.kafka]\nbrokers = \"127.0.0.1:1\"\n\
         security = \"sasl_ssl\"\nusername = \"mfctl\"\npassword = \"env:NOT_THERE\"\n",
    );
    let ran = site.run(["lag", "--profile", "c"]);
    assert_eq!(ran.code, 6, "{ran}");
    assert!(ran.stderr.contains("profile.c.kafka.password cannot be read"), "{ran}");
}

#[test]
fn unknown_key_is_reported_with_its_line_and_a_suggestion() {
    let site = Site::new();
    write_user_config(&site, "\n[worker]\nconcurency = 3\n");
    let ran = site.run(["lag"]);
    assert_eq!(ran.code, 6, "{ran}");
    assert!(ran.stderr.contains(".config/mfctl/mfctl.toml:3: unknown key `worker.concurency`"), "{ran}");
    assert!(ran.stderr.contains("hint: did you mean `concurrency`?"), "{ran}");
    assert_eq!(site.run(["config", "path"]).code, 0);
}

#[test]
fn show_and_explain_report_the_effective_layer_and_hidden_values() {
    let site = Site::new().with("MFCTL_SLO_LATENCY_SECONDS", "90");
    write_user_config(&site, "[slo]\nlatency_seconds = 30\n");
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
fn closed_pipe_exits_0_and_full_disk_exits_1() {
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
fn all_output_formats_agree() {
    let site = Site::new();
    let json = site.json(["config", "show", "--changed"], &[0]);
    let line = site.run(["config", "show", "--changed", "-o", "jsonl"]).stdout;
    assert_eq!(line.lines().count(), 1);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), json);
    let yaml = site.run(["config", "show", "--changed", "-o", "yaml"]).stdout;
    assert!(yaml.starts_with("schema_version: 1\n"), "{yaml}");
    assert_eq!(site.run(["config", "show", "--changed", "-o", "name"]).stdout, "profile.data_dir\n");
}
