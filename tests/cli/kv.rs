//! `kv`: changes are recorded and can be rolled back, and declared keys are protected. On the embedded profile, and with the
//! tests on real servers on Consul.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{CommandOutput, Running, Site, eventually};

fn site() -> Site {
    let site = Site::new();
    if site.on_stack.is_none() {
        // Creates the data folder.
        site.json(["worker", "all", "--until-drained"], &[0]);
    }
    site
}

fn put(site: &Site, key: &str, value: &str) -> Value {
    site.json(["kv", "put", key, value, "--reason", "a test"], &[0])
}

#[track_caller]
fn assert_value(site: &Site, key: &str, value: &str) {
    let ran = site.run(["kv", "get", key]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, format!("{value}\n").as_str()), "{ran}");
}

fn history(site: &Site, key: &str) -> Vec<Value> {
    site.json(["kv", "history", key, "--limit", "1000"], &[0])["changes"].as_array().unwrap().clone()
}

#[test]
fn put_delete_and_rollback_are_recorded_with_reasons() {
    let site = site();
    let made = put(&site, "media-api/page_size", "100");
    assert_eq!(
        (&made["changes"][0]["action"], &made["changes"][0]["from"]),
        (&"create".into(), &Value::Null),
        "{made:#}"
    );
    put(&site, "media-api/page_size", "200");
    assert_value(&site, "media-api/page_size", "200");
    assert_value(&site, &format!("{}/media-api/page_size", site.env_name()), "200");
    let same = put(&site, "media-api/page_size", "200");
    assert_eq!((&same["changes"], &same["unchanged"]), (&Value::Array(vec![]), &1.into()), "{same:#}");

    let changes = history(&site, "media-api/page_size");
    assert_eq!(changes.len(), 2, "{changes:#?}");
    assert_eq!((&changes[0]["before"], &changes[0]["reason"]), (&"100".into(), &"a test".into()), "{changes:#?}");
    assert!(changes[0]["actor"].as_str().unwrap().contains("operator"), "{changes:#?}");

    site.json(["kv", "rollback", "media-api/page_size", "--reason", "worse", "--yes"], &[0]);
    assert_value(&site, "media-api/page_size", "100");
    site.json(["kv", "delete", "media-api/page_size", "--reason", "over", "--yes"], &[0]);
    assert_eq!(site.run(["kv", "get", "media-api/page_size"]).code, 6);
    site.json(["kv", "rollback", "media-api/page_size", "--reason", "not over", "--yes"], &[0]);
    assert_value(&site, "media-api/page_size", "100");
    let to = changes[0]["id"].as_str().unwrap();
    site.json(["kv", "rollback", "media-api/page_size", "--to", to, "--reason", "x", "--yes"], &[0]);
    assert_value(&site, "media-api/page_size", "100");

    let explained = site.json(["kv", "explain", "media-api/page_size"], &[0]);
    assert_eq!((&explained["value"], &explained["changes"]), (&"100".into(), &5.into()), "{explained:#}");
    assert_eq!(explained["last_change"]["verb"], "kv rollback", "{explained:#}");
    let names = site.run(["kv", "list", "media-api", "-o", "name"]);
    assert_eq!(names.stdout, "media-api/page_size\n", "{names}");
}

#[test]
fn invalid_or_unsafe_writes_are_refused_with_a_reason() {
    let site = site();
    put(&site, "svc/a", "1");
    let code = |words: &[&str]| {
        let ran = site.run(words);
        (ran.code, ran)
    };
    for key in ["svc", "Svc/a", "svc/a-b", "mfctl-lock/apply", "svc/a/b/c", "/a"] {
        let (exit, ran) = code(&["kv", "put", key, "1", "--reason", "x"]);
        assert_eq!(exit, 2, "{key}: {ran}");
    }
    let (exit, ran) = code(&["kv", "put", "other/svc/a", "1", "--reason", "x"]);
    assert!(exit == 8 && ran.stderr.contains("environment other"), "{ran}");
    let (exit, ran) = code(&["kv", "put", "svc/a", "2"]);
    assert!(exit == 2 && ran.stderr.contains("--reason"), "{ran}");
    let (exit, ran) = code(&["kv", "put", "svc/a", "2", "--reason", "x", "--if-version", "999999999"]);
    assert_eq!(exit, 7, "{ran}");
    let (exit, ran) = code(&["kv", "put", "svc/a", "2", "--reason", "x", "--if-version", "0"]);
    assert_eq!(exit, 7, "{ran}");
    let (exit, ran) = code(&["kv", "delete", "svc/a", "--reason", "x"]);
    assert!(exit == 8 && ran.stderr.contains("--yes"), "{ran}");

    let (exit, ran) = code(&["kv", "put", "svc/db_password", "hunter2hunter2", "--reason", "x"]);
    assert!(exit == 8 && ran.stderr.contains("Vault") && !ran.stderr.contains("hunter2"), "{ran}");
    let allowed = ["kv", "put", "svc/db_password", "placeholder", "--reason", "x", "--allow-secret-like", "is none"];
    site.json(allowed, &[0]);
    assert_eq!(history(&site, "svc/db_password")[0]["secret_like"], "is none");

    for reason in ["password=hunter2", "from https://ops:hunter2@db/x", "uses hvs.hunter2hunter2hunter2hunter2"] {
        let (exit, ran) = code(&["kv", "put", "svc/a", "2", "--reason", reason]);
        assert!(exit == 2 && ran.stderr.contains("leave the secret out") && !ran.stderr.contains("hunter2"), "{ran}");
        let (exit, ran) = code(&["kv", "put", "svc/a", "2", "--reason", reason, "-o", "json"]);
        assert!(exit == 2 && !ran.stderr.contains("hunter2") && !ran.stdout.contains("hunter2"), "{ran}");
    }
    for (verb, meant) in [("import", "kv push"), ("export", "kv pull")] {
        let (exit, ran) = code(&["kv", verb, "x.yaml"]);
        assert!(exit == 2 && ran.stderr.contains(meant) && ran.stderr.contains("bootstrap import"), "{ran}");
    }
    let dry = site.json(["kv", "put", "svc/a", "9", "--reason", "x", "--dry-run"], &[0]);
    assert_eq!((&dry["dry_run"], &dry["changes"][0]["to"]), (&true.into(), &"9".into()), "{dry:#}");
    assert_value(&site, "svc/a", "1");
}

#[test]
fn a_dry_run_asks_for_no_reason_and_records_nothing() {
    let site = site();
    put(&site, "svc/a", "1");
    put(&site, "svc/a", "2");
    let pulled = site.json(["kv", "pull", "svc"], &[0]);
    let file = pulled["file"].as_str().unwrap().to_owned();
    std::fs::write(site.path(&file), std::fs::read_to_string(site.path(&file)).unwrap().replace('2', "3")).unwrap();
    for words in [
        &["kv", "put", "svc/a", "9"][..],
        &["kv", "put", "svc/new", "9"],
        &["kv", "delete", "svc/a"],
        &["kv", "rollback", "svc/a"],
        &["kv", "push", &file],
        &["kv", "declare", "svc/a"],
        &["dlq", "discard", "--all"],
        &["dlq", "redrive", "--all"],
    ] {
        let ran = site.run([words, &["--dry-run"]].concat());
        assert_eq!(ran.code, 0, "{words:?}: {ran}");
    }
    assert_value(&site, "svc/a", "2");
    assert_eq!(history(&site, "svc/a").len(), 2);
    assert!(!site.path("platform").exists());
    let asked = site.run(["dlq", "discard", "--all"]);
    assert!(asked.code == 2 && asked.stderr.contains("--reason"), "{asked}");
}

#[test]
fn deleting_an_own_setting_names_the_default_that_is_then_in_effect() {
    let site = site();
    put(&site, "mfctl/worker_drain_timeout", "10s");
    put(&site, "svc/a", "1");
    for verb in ["delete", "rollback"] {
        let dry = site.run(["kv", verb, "mfctl/worker_drain_timeout", "--dry-run"]);
        let line =
            "- mfctl/worker_drain_timeout: \"10s\" -> (gone; then 25s, the default, unless a host sets its own)\n";
        assert!(dry.code == 0 && dry.stdout == line, "{dry}");
        let dry = site.json(["kv", verb, "mfctl/worker_drain_timeout", "--dry-run"], &[0]);
        assert_eq!(dry["changes"][0]["default_after"], "25s", "{dry:#}");
    }
    let other = site.run(["kv", "delete", "svc/a", "--dry-run"]);
    assert_eq!(other.stdout, "- svc/a: \"1\" -> (gone)\n", "{other}");
    let explained = site.run(["kv", "explain", "mfctl/enrich_memory"]);
    assert!(
        explained.code == 0 && explained.stdout.contains("Bytes that the parser's process may allocate"),
        "{explained}"
    );
    assert!(explained.stdout.contains("from 192MiB to 64GiB; default 512MiB"), "{explained}");
}

#[test]
fn one_setting_is_declared_without_adopting_the_platform() {
    let site = site();
    put(&site, "svc/size", "100");
    put(&site, "svc/other", "x");
    put(&site, "svc2/name", "y");
    let declared = site.json(["kv", "declare", "svc/size"], &[0]);
    assert_eq!(declared["declared"]["svc/size"], "base/svc-keys.yaml:8", "{declared:#}");
    let refused = site.run(["kv", "put", "svc/size", "50", "--reason", "x"]);
    assert!(refused.code == 8 && refused.stderr.contains("base/svc-keys.yaml:8"), "{refused}");
    put(&site, "svc/other", "z");
    put(&site, "svc2/name", "z");
    site.json(["bootstrap", "drift", "platform"], &[0]);
    let again = site.json(["kv", "declare", "svc/size"], &[0]);
    assert_eq!(
        (&again["declared"], &again["files"][0]["written"]),
        (&declared["declared"], &false.into()),
        "{again:#}"
    );
    for (words, says) in [
        (&["kv", "declare", "svc/size", "--dir", "elsewhere"][..], "declared already"),
        (&["kv", "declare", "svc/other"][..], "exists already"),
    ] {
        let ran = site.run(words);
        assert!(ran.code == 8 && ran.stderr.contains(says), "{words:?}: {ran}");
    }
    assert_eq!(site.run(["kv", "declare", "svc/nothing"]).code, 6);
    // A change in Git is applied, and declares the same key.
    let manifest = site.path("platform/base/svc-keys.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("100", "200")).unwrap();
    site.json(["bootstrap", "apply", "platform", "--yes"], &[0]);
    assert_value(&site, "svc/size", "200");
    assert_eq!(site.json(["kv", "explain", "svc/size"], &[0])["declared_at"], "base/svc-keys.yaml:8");
    site.json(["kv", "declare", "svc2/name"], &[0]);
    assert_eq!(site.json(["kv", "explain", "svc/size"], &[0])["declared_at"], "base/svc-keys.yaml:8");
}

#[test]
fn an_interrupted_declaration_is_completed_by_the_same_command() {
    let words = ["kv", "declare", "svc/size", "svc2/name", "--dir", "platform/"];
    for failpoint in ["kv_declare_planned", "kv_declare_written", "kv_declare_written:2", "kv_declare_published"] {
        let site = site();
        put(&site, "svc/size", "100");
        put(&site, "svc2/name", "y");
        let died = CommandOutput::run(site.command_with_failpoint(failpoint, words));
        assert_eq!(died.code, -6, "{failpoint}: {died}");
        // The lock of a process that died expires.
        eventually("the command to complete", || site.run(words).code == 0);
        let declared = site.json(words, &[0]);
        let expected = serde_json::json!({"svc/size": "base/svc-keys.yaml:8", "svc2/name": "base/svc2-keys.yaml:8"});
        assert_eq!(declared["declared"], expected, "{failpoint}: {declared:#}");
        for key in ["svc/size", "svc2/name"] {
            assert_eq!(site.json(["kv", "explain", key], &[0])["declared_at"], expected[key], "{failpoint}");
        }
        let names = std::fs::read_dir(site.path("platform/base")).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.count(), 2, "{failpoint}: a temporary file was left behind");
        site.json(["bootstrap", "drift", "platform"], &[0]);
    }
}

#[test]
fn a_declaration_has_the_value_at_the_time_of_its_lock() {
    let site = site();
    put(&site, "svc/size", "100");
    put(&site, "svc2/name", "y");
    let declare = |key: &str| {
        let command = site.command_with_failpoint("stop@kv_declare_planned", ["kv", "declare", key]);
        let running = Running::captured(command);
        eventually("the command to stop", || running.is_stopped());
        running
    };
    let running = declare("svc/size");
    put(&site, "svc/size", "200");
    running.signal(Signal::CONT);
    let ran = running.finish();
    assert_eq!(ran.code, 0, "{ran}");
    let text = std::fs::read_to_string(site.path("platform/base/svc-keys.yaml")).unwrap();
    assert!(text.contains("200") && !text.contains("100"), "{text}");
    site.json(["bootstrap", "drift", "platform"], &[0]);
    // Another operator declares the key meanwhile.
    let running = declare("svc2/name");
    site.json(["kv", "declare", "svc2/name", "--dir", "other"], &[0]);
    running.signal(Signal::CONT);
    let ran = running.finish();
    assert!(ran.code == 8 && ran.stderr.contains("declared already"), "{ran}");
    assert!(!site.path("platform/base/svc2-keys.yaml").exists());
}

#[test]
fn a_topic_keeps_a_retention_that_is_no_whole_second() {
    let site = site();
    let name = format!("{}.retention.probe", site.env_name());
    std::fs::create_dir_all(site.path("platform/base")).unwrap();
    for (typed, normal) in [("0755", "755"), ("1500", "1500"), ("'0002000'", "2000"), ("-1", "-1")] {
        let text = format!(
            "apiVersion: mfctl/v1\nkind: KafkaTopic\nmetadata:\n  name: {name}\nspec:\n  partitions: 1\n  settings:\n    \
             retention.ms: {typed}\n"
        );
        std::fs::write(site.path("platform/base/topic.yaml"), text).unwrap();
        let planned = site.json(["bootstrap", "plan", "platform"], &[4]);
        assert!(planned.to_string().contains(normal), "{typed}: {planned:#}");
        site.json(["bootstrap", "apply", "platform", "--yes"], &[0]);
        site.json(["bootstrap", "plan", "platform"], &[0]);
        site.json(["bootstrap", "drift", "platform"], &[0]);
    }
}

#[test]
fn the_runbook_of_a_setting_that_comes_back_works() {
    let site = site();
    put(&site, "media-api/max_page_size", "80");
    put(&site, "media-api/max_page_size", "50");
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks/setting-comes-back.md");
    let text = std::fs::read_to_string(document).unwrap();
    let mut script = String::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => script.push_str(&format!("{line}\n")),
            _ => {}
        }
    }
    assert!(script.lines().count() > 4, "{script}");
    std::fs::create_dir(site.path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mfctl"), site.path("bin/mfctl")).unwrap();
    let template = site.command(["status"]);
    let mut shell = Command::new("sh");
    shell.args(["-eux", "-c", &script]).env_clear().current_dir(site.path(""));
    shell.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("PATH", format!("{}:/usr/bin:/bin", site.path("bin").display()));
    let ran = CommandOutput::run(shell);
    assert_eq!(ran.code, 0, "{ran}");
    assert_value(&site, "media-api/max_page_size", "50");
    let refused = site.run(["kv", "put", "media-api/max_page_size", "80", "--reason", "x"]);
    assert_eq!(refused.code, 8, "{refused}");
}

fn declare_size(site: &Site, value: &str) {
    let base = site.path("platform/base");
    std::fs::create_dir_all(&base).unwrap();
    let text =
        format!("apiVersion: mfctl/v1\nkind: ConsulKeys\nmetadata:\n  name: svc\nspec:\n  keys:\n    size: {value}\n");
    std::fs::write(base.join("keys.yaml"), text).unwrap();
}

#[test]
fn declared_key_changes_only_by_manifest_or_break_glass() {
    let site = site();
    declare_size(&site, "100");
    let drift = |site: &Site, code: i32| site.json(["bootstrap", "drift", "platform"], &[code]);
    site.json(["bootstrap", "apply", "platform", "--yes"], &[0]);
    put(&site, "svc/other", "x");
    let refused = site.run(["kv", "put", "svc/size", "50", "--reason", "x"]);
    assert!(refused.code == 8 && refused.stderr.contains("base/keys.yaml:7"), "{refused}");
    assert_eq!(site.json(["kv", "explain", "svc/size"], &[0])["declared_at"], "base/keys.yaml:7");
    drift(&site, 0);

    // For four hours it is a visible exception that apply leaves alone.
    let break_glass = ["kv", "put", "svc/size", "50", "--break-glass", "the database melts", "--for", "4h"];
    site.json(break_glass, &[0]);
    let seen = drift(&site, 0);
    assert_eq!(seen["broken_glass"][0]["key"], "svc/size", "{seen:#}");
    assert_eq!(seen["broken_glass"][0]["overdue"], false, "{seen:#}");
    let left = site.json(["bootstrap", "apply", "platform", "--yes"], &[0]);
    assert_eq!(left["changes"], Value::Array(vec![]), "{left:#}");
    assert_value(&site, "svc/size", "50");

    // After that it is drift, reported first, and apply reverts it.
    site.json(["kv", "put", "svc/size", "55", "--break-glass", "a moment more", "--for", "1s"], &[0]);
    eventually("the exception to expire", || site.run(["bootstrap", "drift", "platform"]).code == 4);
    let seen = drift(&site, 4);
    assert_eq!(seen["broken_glass"][0]["overdue"], true, "{seen:#}");
    let drift_table = site.run(["bootstrap", "drift", "platform"]).stdout;
    assert!(drift_table.starts_with("! svc/size changed by hand, expired "), "{drift_table}");
    site.json(["bootstrap", "apply", "platform", "--yes"], &[0]);
    assert_value(&site, "svc/size", "100");
    assert_eq!(drift(&site, 0)["broken_glass"], Value::Array(vec![]));

    // When the manifest adopts the value, the exception ends.
    let again = ["kv", "put", "svc/size", "60", "--break-glass", "again", "--for", "1h"];
    site.json(again, &[0]);
    declare_size(&site, "60");
    site.json(["bootstrap", "apply", "platform", "--yes"], &[0]);
    let settled = drift(&site, 0);
    assert_eq!(settled["broken_glass"], Value::Array(vec![]), "{settled:#}");
    let verbs: Vec<Value> = history(&site, "svc/size").into_iter().map(|change| change["verb"].clone()).collect();
    assert_eq!(verbs, ["kv put", "bootstrap apply", "kv put", "kv put", "bootstrap apply"]);
}

/// Writes a manifest of `count` settings with the same value.
fn write_manifest(site: &Site, name: &str, count: usize, value: &str) {
    let keys: String = (0..count).map(|n| format!("    k{n}: {value}\n")).collect();
    let text = format!("apiVersion: mfctl/v1\nkind: ConsulKeys\nmetadata:\n  name: many\nspec:\n  keys:\n{keys}");
    std::fs::write(site.path(name), text).unwrap();
}

#[test]
fn pull_and_push_round_trip_without_overwriting_files() {
    let site = site();
    for (key, value) in [("svc/a", "1"), ("svc/text", "two\n lines\n"), ("svc/odd", "- {x: y} # z"), ("svc/none", "")] {
        put(&site, key, value);
    }
    let pulled = site.json(["kv", "pull", "svc"], &[0]);
    assert_eq!((&pulled["file"], &pulled["settings"]), (&"./svc.v1.yaml".into(), &4.into()), "{pulled:#}");
    assert_eq!(site.json(["kv", "pull", "svc"], &[0])["written"], false);
    assert_eq!(site.run(["kv", "diff", "svc.v1.yaml"]).code, 0);

    put(&site, "svc/a", "2");
    put(&site, "svc/new", "3");
    let differs = site.json(["kv", "diff", "svc.v1.yaml"], &[4]);
    assert_eq!(differs["changes"].as_array().unwrap().len(), 1, "{differs:#}");
    let differs = site.json(["kv", "diff", "svc.v1.yaml", "--delete"], &[4]);
    assert_eq!(differs["changes"].as_array().unwrap().len(), 2, "{differs:#}");
    assert_eq!(site.json(["kv", "pull", "svc"], &[0])["file"], "./svc.v2.yaml");

    let asked = site.run(["kv", "push", "svc.v1.yaml", "--reason", "back"]);
    assert!(asked.code == 8 && asked.stderr.contains("update svc/a"), "{asked}");
    site.json(["kv", "push", "svc.v1.yaml", "--reason", "back", "--delete", "--yes"], &[0]);
    assert_value(&site, "svc/a", "1");
    assert_eq!(site.run(["kv", "get", "svc/new"]).code, 6);
    assert_eq!(site.run(["kv", "diff", "svc.v1.yaml", "--delete"]).code, 0);

    std::fs::write(site.path("wrong.yaml"), "apiVersion: mfctl/v1\nkind: ConsulKeys\nmetadata: {name: s}\nspec: 7\n")
        .unwrap();
    let wrong = site.run(["kv", "push", "wrong.yaml", "--reason", "x", "--yes"]);
    assert!(wrong.code == 6 && wrong.stderr.contains("wrong.yaml:4"), "{wrong}");
}

#[test]
fn killed_push_is_resumed_or_abandoned() {
    let site = site();
    write_manifest(&site, "one.yaml", 100, "one");
    let pushed = site.json(["kv", "push", "one.yaml", "--reason", "first", "--yes"], &[0]);
    assert_eq!(pushed["changes"].as_array().unwrap().len(), 100, "{pushed:#}");

    write_manifest(&site, "two.yaml", 100, "two");
    let killed = CommandOutput::run(
        site.command_with_failpoint("push_part:2", ["kv", "push", "two.yaml", "--reason", "second", "--yes"]),
    );
    assert!(killed.code < 0, "{killed}");
    let count_of_two = |site: &Site| {
        let settings = site.json(["kv", "list", "many"], &[0])["settings"].as_array().unwrap().clone();
        settings.iter().filter(|setting| setting["value"] == "two").count()
    };
    assert_eq!(count_of_two(&site), 62, "two transactions of 31 keys");
    // The lock of the killed process expires.
    write_manifest(&site, "three.yaml", 100, "three");
    let words = ["kv", "push", "three.yaml", "--reason", "third", "--yes", "--lock-wait", "60s"];
    let blocked = site.run(words);
    assert!(blocked.code == 7 && blocked.stderr.contains("38 keys"), "{blocked}");
    let batch = blocked.stderr.split("--resume ").nth(1).unwrap().split('`').next().unwrap();
    let resumed = site.json(["kv", "push", "--resume", batch, "--yes"], &[0]);
    assert_eq!(resumed["changes"].as_array().unwrap().len(), 38, "{resumed:#}");
    assert_eq!(count_of_two(&site), 100);
    let second: Vec<Value> = history(&site, "many").into_iter().filter(|change| change["reason"] == "second").collect();
    assert_eq!(second.len(), 100, "each key was changed once");
    assert!(second.iter().all(|change| change["batch"] == batch && change["before"] == "one"), "{second:#?}");

    // A batch is rolled back as a whole.
    site.json(["kv", "rollback", "--batch", batch, "--reason", "no", "--yes"], &[0]);
    assert_eq!(count_of_two(&site), 0);
    assert_eq!(site.run(["kv", "diff", "one.yaml"]).code, 0);

    // An abandoned push whose transactions were not committed changes nothing.
    let killed = CommandOutput::run(
        site.command_with_failpoint("push_written", ["kv", "push", "two.yaml", "--reason", "x", "--yes"]),
    );
    assert!(killed.code < 0, "{killed}");
    let blocked = site.run(["kv", "push", "three.yaml", "--reason", "third", "--yes", "--lock-wait", "60s"]);
    let batch = blocked.stderr.split("--abandon ").nth(1).unwrap().split('`').next().unwrap();
    site.json(["kv", "push", "--abandon", batch, "--yes"], &[0]);
    assert_eq!(count_of_two(&site), 0);
    site.json(["kv", "push", "three.yaml", "--reason", "third", "--yes"], &[0]);
    assert_eq!(site.run(["kv", "diff", "three.yaml"]).code, 0);
}

/// Sets an editor that runs this script on its file, `$1`.
fn set_editor(site: &mut Site, script: &str) {
    let path = site.path("editor");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    site.set("EDITOR", path.display());
}

#[test]
fn edit_uses_a_private_file_that_is_always_removed() {
    let mut site = site();
    put(&site, "svc/banner", "old");
    let run = site.path("runtime");
    std::fs::create_dir(&run).unwrap();
    site.set("XDG_RUNTIME_DIR", run.display());
    let left = |run: &Path| std::fs::read_dir(run.join("mfctl")).map_or(0, Iterator::count);

    set_editor(&mut site, "stat -c %a \"$1\" >\"$HOME/mode\"; cat \"$1\" >\"$HOME/seen\"; printf 'new\\n' >\"$1\"");
    site.json(["kv", "edit", "svc/banner", "--reason", "wording"], &[0]);
    assert_value(&site, "svc/banner", "new");
    assert_eq!(site.run(["kv", "get", "svc/banner", "--raw"]).stdout, "new", "the value had no final newline");
    assert_eq!(std::fs::read_to_string(site.home().join("mode")).unwrap().trim(), "600");
    assert_eq!(std::fs::read_to_string(site.home().join("seen")).unwrap(), "old");
    assert_eq!(left(&run), 0);

    set_editor(&mut site, "exit 3");
    let failed = site.run(["kv", "edit", "svc/banner", "--reason", "x"]);
    assert!(failed.code == 6 && failed.stderr.contains("editor"), "{failed}");
    assert_value(&site, "svc/banner", "new");

    // Another operator changes the key first.
    let faster = format!(
        "env -u EDITOR {} kv put svc/banner theirs --reason faster >/dev/null || exit 9; printf mine >\"$1\"",
        env!("CARGO_BIN_EXE_mfctl")
    );
    set_editor(&mut site, &faster);
    let slower = site.run(["kv", "edit", "svc/banner", "--reason", "x"]);
    assert!(slower.code == 7 && slower.stderr.contains("mine"), "{slower}");
    assert_value(&site, "svc/banner", "theirs");

    // The process is killed while the editor is open.
    set_editor(&mut site, "touch \"$HOME/open\"; while [ -e \"$1\" ]; do sleep 0.05; done");
    let mut editing = site.command(["kv", "edit", "svc/banner", "--reason", "x"]).spawn().unwrap();
    eventually("the editor to open", || site.home().join("open").exists());
    assert_eq!(left(&run), 1);
    editing.kill().unwrap();
    editing.wait().unwrap();
    eventually("the file to go", || left(&run) == 0);
    assert_value(&site, "svc/banner", "theirs");
}

#[test]
fn watch_reports_each_change_once() {
    let site = site();
    put(&site, "svc/a", "1");
    let mut command = site.command(["kv", "watch", "svc", "--initial", "--count", "4", "-o", "jsonl"]);
    let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let first = next();
    assert_eq!((&first["action"], &first["to"]), (&"create".into(), &"1".into()), "{first:#}");
    put(&site, "svc/a", "2");
    let second = next();
    assert_eq!((&second["action"], &second["from"], &second["to"]), (&"update".into(), &"1".into(), &"2".into()));
    put(&site, "other/a", "not of the service");
    put(&site, "svc/b", "3");
    assert_eq!(next()["key"], "svc/b");
    site.json(["kv", "delete", "svc/a", "--reason", "x", "--yes"], &[0]);
    let last = next();
    assert_eq!((&last["action"], &last["from"], &last["to"]), (&"delete".into(), &"2".into(), &Value::Null));
    assert!(watch.wait().unwrap().success());
}

fn effective_value_and_layer(site: &Site, key: &str) -> (Value, Value) {
    let explained = site.json(["config", "explain", key], &[0]);
    (explained["effective"]["value"].clone(), explained["effective"]["origin"]["layer"].clone())
}

/// A host's own settings override the shared value.
#[test]
fn mfctl_settings_in_the_store_are_used_and_validated() {
    let mut site = site();
    put(&site, "mfctl/worker_drain_timeout", "7s");
    assert_eq!(effective_value_and_layer(&site, "worker.drain_timeout"), ("7s".into(), "store".into()));
    let shown = site.run(["config", "show", "--changed"]);
    let place = format!("kv:{}/mfctl/worker_drain_timeout", site.env_name());
    assert!(shown.code == 0 && shown.stdout.contains(&place), "{shown}");
    site.set("MFCTL_WORKER_DRAIN_TIMEOUT", "9s");
    assert_eq!(effective_value_and_layer(&site, "worker.drain_timeout"), ("9s".into(), "environment".into()));

    for (key, value, message) in [
        ("worker_drain_timeout", "soon", "worker.drain_timeout expects"),
        ("worker_drain_timeuot", "7s", "did you mean worker_drain_timeout?"),
        ("profile_data_dir", "/tmp", "no setting of mfctl"),
    ] {
        let ran = site.run(["kv", "put", &format!("mfctl/{key}"), value, "--reason", "x"]);
        assert!(ran.code == 6 && ran.stderr.contains(message), "{ran}");
    }
}

#[test]
fn worker_reloads_settings_while_running() {
    let site = site();
    let log = site.path("worker.log");
    let command =
        site.command(["worker", "persist", "--log-format", "json", "--give-up-after", "1m", "--listen", "127.0.0.1:0"]);
    let worker = Running::logged(command, &log);
    let log_text = || std::fs::read_to_string(&log).unwrap_or_default();
    let logged = |word: &str, key: &str| log_text().lines().any(|line| line.contains(word) && line.contains(key));
    eventually("the worker to start", || log_text().contains("listening on"));
    put(&site, "mfctl/worker_drain_timeout", "7s");
    eventually("the change to be logged", || logged("setting changed", "worker.drain_timeout"));
    put(&site, "mfctl/worker_give_up_after", "3m");
    eventually("the flag to keep precedence", || logged("a flag of this worker overrides it", "worker.give_up_after"));
    put(&site, "mfctl/retention_media_days", "3");
    eventually("the deferred setting to be logged", || {
        logged("takes effect when this worker is restarted", "retention.media_days")
    });
    worker.signal(Signal::TERM);
    assert_eq!(worker.code(), 143);
}

/// Writes `platform/base/keys.yaml`, which declares these keys of the service `svc`.
fn declare(site: &Site, keys: &Value) {
    let base = site.path("platform/base");
    std::fs::create_dir_all(&base).unwrap();
    let document = serde_json::json!({
        "apiVersion": "mfctl/v1", "kind": "ConsulKeys", "metadata": {"name": "svc"}, "spec": {"keys": keys},
    });
    std::fs::write(base.join("keys.yaml"), document.to_string()).unwrap();
}

#[test]
fn value_that_is_not_text_is_drift_and_is_not_imported() {
    let site = site();
    put(&site, "svc/colour", "red");
    std::fs::write(site.path("bytes"), [0xff, 0xfe]).unwrap();
    let mut command = site.command(["kv", "put", "svc/blob", "-", "--reason", "a test"]);
    command.stdin(std::fs::File::open(site.path("bytes")).unwrap());
    let ran = CommandOutput::run(command);
    assert_eq!(ran.code, 0, "{ran}");

    declare(&site, &serde_json::json!({"colour": "red", "blob": "\u{FFFD}\u{FFFD}"}));
    let drift = site.json(["bootstrap", "drift", "platform"], &[4]);
    let field = &drift["changes"][0]["fields"][0];
    assert_eq!(
        (&field["field"], &field["from"]),
        (&"blob".into(), &serde_json::json!({"base64": "//4="})),
        "{drift:#}"
    );

    let imported = site.run(["bootstrap", "import", "found", "--only", "ConsulKeys/svc"]);
    let warning = "not declared: ConsulKeys/svc: key blob, because its value is not text";
    assert!(imported.code == 0 && imported.stdout.contains(warning), "{imported}");
    let text = std::fs::read_to_string(site.path("found/base/consul-keys.yaml")).unwrap();
    assert!(text.contains("colour: red") && !text.contains("blob"), "{text}");
}

#[test]
fn key_that_is_no_longer_declared_is_named_in_the_plan_until_it_is_pruned() {
    let site = site();
    declare(&site, &serde_json::json!({"a": "1", "b": "2"}));
    let applied = site.run(["bootstrap", "apply", "platform", "--yes"]);
    assert_eq!(applied.code, 0, "{applied}");
    declare(&site, &serde_json::json!({"a": "1"}));
    let plan = site.run(["bootstrap", "plan", "platform"]);
    let line =
        "? 1 key that mfctl wrote is not declared here and left alone (--prune deletes it):\n    ConsulKeys/svc: b\n";
    assert!(plan.code == 0 && plan.stdout.contains(line), "{plan}");
    let drift = site.json(["bootstrap", "drift", "platform"], &[0]);
    let expected = serde_json::json!([{"kind": "ConsulKeys", "name": "svc", "fields": ["b"]}]);
    assert_eq!(drift["orphaned_fields"], expected, "{drift:#}");
    let pruned = site.json(["bootstrap", "plan", "platform", "--prune"], &[0, 4]);
    assert_eq!(pruned["orphaned_fields"], serde_json::json!([]), "{pruned:#}");
    assert_eq!(pruned["changes"][0]["fields"][0]["field"], "b", "{pruned:#}");
}
