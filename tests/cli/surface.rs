//! Snapshots of each verb's table and JSON output on a small platform that is set up once. Values that vary, such as ids,
//! times and disk sizes, are replaced by placeholders.

use std::sync::{LazyLock, Mutex};

use serde_json::{Value, json};

use crate::support::{CommandOutput, Site};

const POSTER: &[u8] = include_bytes!("../../examples/media/posters/girih-12000x9000.png");
const GHAZAL: &[u8] = include_bytes!("../../examples/media/fa/ghazal-1.txt");
const SIDECAR: &[u8] = include_bytes!("../../examples/media/fa/ghazal-1.txt.json");

/// A platform with an enriched text, a dead letter and a rejected file, and the output of the commands that made it.
struct Platform {
    site: Site,
    ingest: CommandOutput,
    again: CommandOutput,
    worker: CommandOutput,
    job: String,
    dead_letter: String,
    asset: String,
}

static PLATFORM: LazyLock<Platform> = LazyLock::new(|| {
    let site = Site::new();
    let put = |name: &str, bytes: &[u8]| {
        let path = site.path("in").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    put("ghazal-1.txt", GHAZAL);
    put("ghazal-1.txt.json", SIDECAR);
    put("poster.png", POSTER);
    put("empty.pdf", b"");
    let ingest = site.run(["ingest", "in"]);
    let worker = site.run(["worker", "all", "--until-drained"]);
    let again = site.run(["ingest", "in", "-o", "json"]);
    let first = |words: &[&str]| site.run(words).stdout.lines().next().unwrap_or_default().to_owned();
    let job = first(&["jobs", "list", "-o", "name"]);
    let dead_letter = first(&["dlq", "list", "-o", "name"]);
    let asset = first(&["media", "list", "--state", "enriched", "-o", "name"]);
    Platform { site, ingest, again, worker, job, dead_letter, asset }
});

/// Held while commands run: a worker of one test would be a member in the `status` of another.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(super) fn assert_snapshot(name: &str, site: &Site, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let home = site.path("");
    let home = home.to_string_lossy().trim_end_matches('/').to_owned();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    settings.add_filter(&home, "[site]");
    if !host.is_empty() {
        settings.add_filter(&format!(r"\b{}\b", host.replace('.', r"\.")), "[host]");
        // The id of the data folder in the names of its workers.
        settings.add_filter(r"\[host\]-[0-9a-f]{8}/", "[host]/");
    }
    for (pattern, name) in [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "[id]"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[time]"),
        (r"\((\d+[smhd]|in \d+[smhd])( ago)?\)", "([age])"),
        (r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", "[traceparent]"),
        (r"\b01[0-9a-f]{10}7[0-9a-f]{19}\b", "[change]"),
        (r#"("[a-z0-9_]*(_seconds|_ms|_per_second)"): [0-9.]+"#, "$1: [number]"),
        (r#"("(offset|committed_offset|end_offset|low_offset|modified_ns|device|inode|pid)"): -?\d+"#, "$1: [number]"),
        // They depend on how long before an ingest its files were written.
        (r#"("(changed_ns|by_time_stamps)"): (null|-?\d+)"#, "$1: [number]"),
        (r#"("(free_bytes|total_bytes|used_percent|files_per_second|score|attempt)"): [0-9.e-]+"#, "$1: [number]"),
        (r"pid \d+", "pid [pid]"),
        (r"\+?\d+(\.\d+)?(ms|s)\b", "[took]"),
        (r"\d+(\.\d+)? ?/s", "[rate]"),
        (r"\d+ % full, [0-9.]+ [A-Z]iB free", "[room]"),
        (r"(ingest\.raw|media\.[a-z_]+):(\d):\d+", "$1:$2:[offset]"),
        (r#""((latest_)?format)": \d+"#, "\"$1\": [number]"),
        (r"\d+, the latest is \d+", "[format], the latest is [format]"),
        (r"\d+\.\d +nothing is left", "[seconds] nothing is left"),
        // The size varies with the number of digits of its timestamps.
        (r"\(json, \d+ B\)", "(json, [size])"),
        (r#""size_bytes": \d+,(\s+"encoding")"#, r#""size_bytes": [size],$1"#),
        (r"(?m)^ +\d+\.\d+(,?)$", "  [number]$1"),
        (r" {2,}", "  "),
        (r"[─-]{3,}", "---"),
        (r"(?m) +$", ""),
    ] {
        settings.add_filter(pattern, name);
    }
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// A command's stdout, its exit code, and its last line on stderr.
fn output_of(ran: &CommandOutput) -> String {
    let last = ran.stderr.lines().last().unwrap_or_default();
    format!("{}\n--- exit {}; stderr ends: {last}\n", ran.stdout.trim_end(), ran.code)
}

/// Compares a verb's table and its JSON with their snapshots.
fn snapshot_both(name: &str, words: &[&str]) {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let platform = &*PLATFORM;
    let words = words.iter().map(|word| match *word {
        "JOB" => platform.job.as_str(),
        "DEAD" => platform.dead_letter.as_str(),
        "ASSET" => platform.asset.as_str(),
        word => word,
    });
    let words: Vec<&str> = words.collect();
    assert_snapshot(&format!("{name}-table"), &platform.site, &output_of(&platform.site.run(&words)));
    let json: Vec<&str> = words.iter().copied().chain(["-o", "json"]).collect();
    assert_snapshot(&format!("{name}-json"), &platform.site, &output_of(&platform.site.run(json)));
}

#[test]
fn ingest_and_worker_output() {
    let platform = &*PLATFORM;
    assert_snapshot("ingest-table", &platform.site, &output_of(&platform.ingest));
    assert_snapshot("ingest-again-json", &platform.site, &output_of(&platform.again));
    assert_snapshot("worker-table", &platform.site, &output_of(&platform.worker));
    // Named paths are sorted; files of a folder are shown in the order in which the file system lists them.
    let dry_run = ["ingest", "in/empty.pdf", "in/ghazal-1.txt", "in/poster.png", "--dry-run"];
    snapshot_both("ingest-dry-run", &dry_run);
    let of_folder = platform.site.json(["ingest", "in", "--dry-run"], &[3]);
    let of_files = platform.site.json(dry_run, &[3]);
    assert_eq!(of_folder["actions"], of_files["actions"], "the sidecar is not a file to ingest");
    assert_eq!((&of_folder["discovered"], &of_folder["bytes"]), (&of_files["discovered"], &of_files["bytes"]));
    snapshot_both("worker-drained", &["worker", "all", "--until-drained"]);
}

#[test]
fn db_output() {
    snapshot_both("db-status", &["db", "status"]);
}

#[test]
fn jobs_output() {
    snapshot_both("jobs-list", &["jobs", "list"]);
    snapshot_both("jobs-show", &["jobs", "show", "JOB"]);
    snapshot_both("jobs-failed", &["jobs", "failed", "JOB"]);
    snapshot_both("jobs-verify", &["jobs", "verify", "JOB"]);
}

#[test]
fn media_output() {
    snapshot_both("media-list", &["media", "list"]);
    snapshot_both("media-show", &["media", "show", "ASSET"]);
    snapshot_both("media-search", &["media", "search", "حافظ"]);
    snapshot_both("media-trace", &["media", "trace", "ASSET"]);
    snapshot_both("media-get", &["media", "get", "ASSET", "--derivative", "text", "-O", "-"]);
    snapshot_both("media-get-nothing", &["media", "get", "00000000-0000-5000-8000-000000000000"]);
}

#[test]
fn kv_and_bootstrap_output() {
    let site = Site::new();
    assert_eq!(site.run(["worker", "all", "--until-drained"]).code, 0);
    let snapshot_both = |name: &str, words: &[&str]| {
        assert_snapshot(&format!("{name}-table"), &site, &output_of(&site.run(words)));
        let json: Vec<&str> = words.iter().copied().chain(["-o", "json"]).collect();
        assert_snapshot(&format!("{name}-json"), &site, &output_of(&site.run(json)));
    };
    let succeed = |words: &[&str]| {
        let ran = site.run(words);
        assert_eq!(ran.code, 0, "{ran}");
    };
    assert_snapshot("bootstrap-init-table", &site, &output_of(&site.run(["bootstrap", "init", "platform"])));
    let only = ["--only", "ConsulKeys", "--only", "KafkaTopic"];
    let with = |words: &[&'static str]| -> Vec<&str> { words.iter().copied().chain(only).collect() };
    snapshot_both("bootstrap-plan", &with(&["bootstrap", "plan", "platform"]));
    snapshot_both("bootstrap-apply-dry-run", &with(&["bootstrap", "apply", "platform", "--dry-run"]));
    snapshot_both("bootstrap-apply-unconfirmed", &with(&["bootstrap", "apply", "platform"]));
    assert_snapshot(
        "bootstrap-apply-table",
        &site,
        &output_of(&site.run(with(&["bootstrap", "apply", "platform", "--yes"]))),
    );
    snapshot_both("bootstrap-apply-again", &with(&["bootstrap", "apply", "platform", "--yes"]));
    snapshot_both("bootstrap-show", &["bootstrap", "show", "platform", "--only", "ConsulKeys"]);

    assert_snapshot(
        "kv-put-table",
        &site,
        &output_of(&site.run(["kv", "put", "player/colour", "blue", "--reason", "a look"])),
    );
    succeed(&["kv", "put", "player/colour", "red", "--reason", "another"]);
    snapshot_both("kv-put-dry-run", &["kv", "put", "player/colour", "green", "--reason", "x", "--dry-run"]);
    snapshot_both("kv-declare-dry-run", &["kv", "declare", "player/colour", "--dry-run"]);
    snapshot_both("kv-put-declared", &["kv", "put", "media-api/max_page_size", "50", "--reason", "x"]);
    snapshot_both("kv-put-secret", &["kv", "put", "player/api_token", "c2VjcmV0c2VjcmV0c2VjcmV0", "--reason", "x"]);
    snapshot_both("kv-put-no-reason", &["kv", "put", "player/colour", "green"]);
    snapshot_both("kv-get", &["kv", "get", "player/colour"]);
    snapshot_both("kv-get-nothing", &["kv", "get", "player/nothing"]);
    snapshot_both("kv-list", &["kv", "list"]);
    snapshot_both("kv-explain", &["kv", "explain", "player/colour"]);
    snapshot_both("kv-explain-declared", &["kv", "explain", "media-api/max_page_size"]);
    snapshot_both("kv-history", &["kv", "history", "player/colour"]);
    snapshot_both("kv-import", &["kv", "import", "x.yaml"]);
    snapshot_both("kv-delete-unconfirmed", &["kv", "delete", "player/colour", "--reason", "x"]);
    assert_snapshot("kv-pull-table", &site, &output_of(&site.run(["kv", "pull", "player"])));
    snapshot_both("kv-pull-again", &["kv", "pull", "player"]);
    snapshot_both("kv-diff-same", &["kv", "diff", "player.v1.yaml"]);
    let pulled = std::fs::read_to_string(site.path("player.v1.yaml")).unwrap();
    std::fs::write(site.path("player.v1.yaml"), pulled.replace("red", "white")).unwrap();
    snapshot_both("kv-diff", &["kv", "diff", "player.v1.yaml"]);
    snapshot_both("kv-push-unconfirmed", &["kv", "push", "player.v1.yaml", "--reason", "x"]);
    snapshot_both("kv-rollback-unconfirmed", &["kv", "rollback", "player/colour", "--reason", "x"]);

    succeed(&["kv", "put", "media-api/max_page_size", "50", "--break-glass", "the database melts", "--for", "4h"]);
    snapshot_both("bootstrap-drift-glass", &with(&["bootstrap", "drift", "platform"]));
    std::fs::remove_file(site.path("platform/base/consul-keys.yaml")).unwrap();
    snapshot_both("bootstrap-plan-orphans", &["bootstrap", "plan", "platform"]);
    assert_snapshot(
        "bootstrap-import-table",
        &site,
        &output_of(&site.run(["bootstrap", "import", "found", "--only", "ConsulKeys"])),
    );
}

#[test]
fn dlq_output() {
    snapshot_both("dlq-list", &["dlq", "list"]);
    snapshot_both("dlq-show", &["dlq", "show", "DEAD"]);
    snapshot_both("dlq-redrive-dry-run", &["dlq", "redrive", "--all", "--dry-run"]);
    snapshot_both("dlq-redrive-nothing-chosen", &["dlq", "redrive"]);
    snapshot_both("dlq-redrive-unconfirmed", &["dlq", "redrive", "--all"]);
    snapshot_both("dlq-discard-unconfirmed", &["dlq", "discard", "DEAD", "--reason", "a test"]);
}

/// Files for the schema verbs: a compatible schema, a breaking one, and three events of which two are invalid.
fn schema_files(site: &Site) {
    const SCHEMA: &str = include_str!("../../schemas/media.enriched.json");
    const EVENT: &str = include_str!("../../schemas/fixtures/media.enriched/v1/minimal.json");
    let mut schema: Value = serde_json::from_str(SCHEMA).unwrap();
    schema["properties"]["mood"] = json!({ "type": "string" });
    std::fs::write(site.path("media.enriched.json"), schema.to_string()).unwrap();
    schema["properties"]["media_type"] = json!({ "type": "integer" });
    schema["required"].as_array_mut().unwrap().push("mood".into());
    std::fs::write(site.path("breaking.json"), schema.to_string()).unwrap();
    let mut event: Value = serde_json::from_str(EVENT).unwrap();
    let good = event.to_string();
    event["mood"] = "bright".into();
    event["revision"] = 0.into();
    std::fs::write(site.path("events.jsonl"), format!("{good}\n{event}\n{{\n")).unwrap();
    std::fs::write(site.path("event.json"), EVENT).unwrap();
}

#[test]
fn schema_output() {
    schema_files(&PLATFORM.site);
    snapshot_both("schema-list", &["schema", "list"]);
    snapshot_both("schema-show", &["schema", "show", "media.asset_revoked-value@1"]);
    snapshot_both("schema-show-nothing", &["schema", "show", "nothing-value"]);
    snapshot_both("schema-diff-same", &["schema", "diff", "media.enriched-value"]);
    snapshot_both("schema-diff", &["schema", "diff", "media.enriched-value@1", "breaking.json"]);
    snapshot_both("schema-check", &["schema", "check"]);
    snapshot_both("schema-check-follows", &["schema", "check", "media.enriched.json"]);
    snapshot_both("schema-check-breaks", &["schema", "check", "breaking.json", "--subject", "media.enriched-value"]);
    let offline = ["schema", "check", "breaking.json", "--subject", "media.enriched-value", "--offline"];
    snapshot_both("schema-check-offline", &offline);
    snapshot_both("schema-register-nothing", &["schema", "register"]);
    snapshot_both("schema-register-dry-run", &["schema", "register", "media.enriched.json", "--dry-run"]);
    snapshot_both("schema-register-unconfirmed", &["schema", "register", "media.enriched.json"]);
    snapshot_both(
        "schema-register-breaks",
        &["schema", "register", "breaking.json", "--subject", "media.enriched-value"],
    );
    snapshot_both("schema-validate", &["schema", "validate", "event.json", "--topic", "media.enriched"]);
    snapshot_both(
        "schema-validate-some",
        &["schema", "validate", "events.jsonl", "--subject", "media.enriched-value@1"],
    );
    snapshot_both("schema-validate-against-nothing", &["schema", "validate", "events.jsonl"]);
}

#[test]
fn custom_schema_is_registered_and_checked_for_compatibility() {
    let site = Site::new();
    assert_eq!(site.run(["init"]).code, 0);
    let put = |schema: Value| std::fs::write(site.path("order.json"), schema.to_string()).unwrap();
    let register = ["schema", "register", "order.json", "--subject", "orders-value", "--yes"];
    put(json!({ "type": "object", "additionalProperties": false, "properties": { "n": { "type": "integer" } } }));
    let first = site.json(register, &[0]);
    assert_eq!((&first["schemas"][0]["version"], &first["schemas"][0]["registered"]), (&json!(1), &json!(true)));
    assert_eq!(site.json(register, &[0])["schemas"][0]["registered"], false);
    put(json!({ "type": "object", "additionalProperties": false, "properties": { "n": { "type": "string" } } }));
    let refused = site.json(register, &[10]);
    assert_eq!(refused["checks"][0]["violations"][0]["pointer"], "/properties/n/type", "{refused:#}");
    let list = site.json(["schema", "list"], &[0]);
    let own = list["subjects"].as_array().unwrap().iter().find(|row| row["subject"] == "orders-value").unwrap();
    assert_eq!((&own["state"], &own["latest_version"]), (&json!("other"), &json!(1)));
    let stdin = site.command(["schema", "validate", "-", "--schema", "order.json"]);
    assert_eq!(CommandOutput::run(stdin).code, 6, "no events are no success");
}

#[test]
fn lag_audit_status_and_top_output() {
    snapshot_both("lag", &["lag"]);
    snapshot_both("audit", &["audit"]);
    snapshot_both("status", &["status"]);
    snapshot_both("top-once", &["top", "--once"]);
}

#[test]
fn config_and_init_output() {
    snapshot_both("config-explain", &["config", "explain", "worker.drain_timeout"]);
    snapshot_both("config-show", &["config", "show"]);
    snapshot_both("config-path", &["config", "path"]);
    snapshot_both("config-trust", &["config", "trust"]);
    // On sites of their own: a new profile changes the target of every later command.
    for (name, words) in [("init-table", vec!["init"]), ("init-json", vec!["init", "-o", "json"])] {
        let site = Site::new();
        assert_snapshot(name, &site, &output_of(&site.run(words)));
    }
}

#[test]
fn settings_file_output() {
    let site = Site::new();
    let run = |words: &[&str]| CommandOutput::run(site.command_without_data_dir(words));
    let snapshot_both = |name: &str, words: &[&str]| {
        assert_snapshot(&format!("{name}-table"), &site, &output_of(&run(words)));
        let json: Vec<&str> = words.iter().copied().chain(["-o", "json"]).collect();
        assert_snapshot(&format!("{name}-json"), &site, &output_of(&run(&json)));
    };
    snapshot_both("config-set-dry-run", &["config", "set", "slo.latency_seconds", "30", "--dry-run"]);
    assert_snapshot("config-set-table", &site, &output_of(&run(&["config", "set", "slo.latency_seconds", "30"])));
    snapshot_both("config-set-again", &["config", "set", "slo.latency_seconds", "30"]);
    snapshot_both("config-set-unknown", &["config", "set", "concurrency", "30"]);
    snapshot_both("config-set-invalid", &["config", "set", "slo.latency_seconds", "0"]);
    snapshot_both("config-set-secret", &["config", "set", "kafka.password", "hunter2"]);
    snapshot_both("profile-list-built-in", &["profile", "list"]);
    let cluster =
        ["--set", "kind=cluster", "--set", "kafka.brokers=k1:9092", "--set", "kafka.password=env:KAFKA_PASSWORD"];
    let add: Vec<&str> = ["profile", "add", "prod-eu", "--environment", "prod"].into_iter().chain(cluster).collect();
    snapshot_both("profile-add-dry-run", &[&add[..], &["--dry-run"]].concat());
    assert_snapshot("profile-add-table", &site, &output_of(&run(&add)));
    snapshot_both("profile-add-again", &add);
    assert_snapshot("profile-use-table", &site, &output_of(&run(&["profile", "use", "prod-eu"])));
    snapshot_both("profile-use-again", &["profile", "use", "prod-eu"]);
    snapshot_both("profile-list", &["profile", "list"]);
    snapshot_both("config-set-unprotect", &["config", "set", "protected", "false"]);
    assert_snapshot("config-unset-table", &site, &output_of(&run(&["config", "unset", "slo.latency_seconds"])));
    snapshot_both("config-unset-again", &["config", "unset", "slo.latency_seconds"]);
}

#[test]
fn usage_error_and_not_found_output() {
    snapshot_both("no-such-verb", &["ingset"]);
    snapshot_both("no-such-job", &["jobs", "show", "00000000-0000-7000-8000-000000000000"]);
    snapshot_both("no-such-group", &["lag", "nobody"]);
}

/// Each step of the demo exits with its expected code; one file fails on purpose and is redriven.
#[test]
fn demo_completes_every_step() {
    let site = Site::new();
    let report = site.json(["demo"], &[0]);
    let codes: Vec<_> = report["steps"].as_array().unwrap().iter().map(|step| step["exit_code"].as_i64()).collect();
    assert_eq!(codes, [0, 3, 0, 0, 0, 0, 0, 0].map(Some), "{report:#}");
    let audit = &report["steps"][6]["result"];
    assert_eq!((&audit["files"], &audit["enriched"]), (&13.into(), &13.into()), "{audit:#}");
}

#[test]
fn completions_and_man_pages_are_generated() {
    let site = Site::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = site.run(["completions", shell]);
        assert!(ran.code == 0 && ran.stdout.contains("mfctl"), "{shell}: {ran}");
    }
    assert_eq!(site.run(["completions", "tcsh"]).code, 2);
    assert_eq!(site.run(["man", "--dir", "man"]).code, 0);
    assert!(site.path("man/mfctl-dlq-redrive.1").exists());
    assert_eq!(site.run(["man", "no", "such"]).code, 2);
}
