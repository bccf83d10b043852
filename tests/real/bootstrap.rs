//! A platform from a folder of manifests: created, changed, drifted, imported, interrupted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::contract::harness::random;
use crate::external_clients::{curl, s3};
use crate::postgrest::server::{Database, ROLES, Server};
use crate::support::stack::env;
use crate::support::{CommandOutput, Running, Site, eventually};

const MEDIA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/media");

/// Writes a folder with `bootstrap init`, and gives its Vault and Consul resources unique names.
pub fn init_manifests(site: &Site) -> PathBuf {
    let made = site.run(["bootstrap", "init", "platform"]);
    assert_eq!(made.code, 0, "{made}");
    let dir = site.path("platform");
    let own = site.env_name().to_owned();
    for file in ["vault-policies", "vault-app-roles", "consul-policies", "consul-tokens"] {
        edit(&dir.join(format!("base/{file}.yaml")), "media-worker", &format!("{own}-worker"));
    }
    edit(&dir.join("base/vault-mounts.yaml"), "name: secret", &format!("name: {own}-kv"));
    edit(&dir.join("base/vault-mounts.yaml"), "name: auth/approle", &format!("name: auth/{own}-approle"));
    edit(&dir.join("base/vault-policies.yaml"), "secret/data", &format!("{own}-kv/data"));
    edit(&dir.join("base/vault-app-roles.yaml"), "name: approle/", &format!("name: {own}-approle/"));
    edit(&dir.join("base/consul-tokens.yaml"), "mount: secret", &format!("mount: {own}-kv"));
    dir
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} in {}:\n{text}", path.display());
    std::fs::write(path, text.replace(from, to)).unwrap();
}

pub fn add_manifest(dir: &Path, kind: &str, name: &str, spec: &str) {
    let text = format!("apiVersion: mfctl/v1\nkind: {kind}\nmetadata:\n  name: {name}\nspec: {spec}\n");
    std::fs::write(dir.join(format!("base/{}-{}.yaml", kind, name.replace('/', "-"))), text).unwrap();
}

fn apply(site: &Site) -> Value {
    site.json(["bootstrap", "apply", "platform", "--yes"], &[0])
}

#[track_caller]
fn assert_settled(site: &Site) {
    let plan = site.run(["bootstrap", "plan", "platform", "-o", "json"]);
    assert_eq!((plan.code, &plan.json()["settled"]), (0, &true.into()), "{plan}");
    let drift = site.run(["bootstrap", "drift", "platform"]);
    assert_eq!(drift.code, 0, "{drift}");
}

/// Fails unless `bootstrap drift` reports exactly this change; returns the change.
#[track_caller]
fn assert_one_drift(site: &Site, kind: &str, name: &str, action: &str) -> Value {
    let drift = site.run(["bootstrap", "drift", "platform", "-o", "json"]);
    assert_eq!(drift.code, 4, "{drift}");
    let changes = drift.json()["changes"].as_array().unwrap().clone();
    assert_eq!(changes.len(), 1, "{drift}");
    let change = &changes[0];
    assert_eq!((&change["kind"], &change["name"], &change["action"]), (&kind.into(), &name.into(), &action.into()));
    change.clone()
}

fn run_tool(program: &str, words: &[&str]) -> CommandOutput {
    let mut command = Command::new(program);
    command.args(words);
    command.env("CONSUL_HTTP_ADDR", env("STACK_CONSUL")).env("CONSUL_HTTP_TOKEN", env("STACK_CONSUL_TOKEN"));
    command.env("VAULT_ADDR", env("STACK_VAULT")).env("VAULT_TOKEN", env("STACK_VAULT_TOKEN"));
    command.env("BAO_ADDR", env("STACK_VAULT")).env("BAO_TOKEN", env("STACK_VAULT_TOKEN"));
    let ran = CommandOutput::run(command);
    assert_eq!(ran.code, 0, "{program} {words:?}: {ran}");
    ran
}

fn consul(words: &[&str]) -> CommandOutput {
    run_tool(&env("STACK_CONSUL_BIN"), words)
}

fn bao(words: &[&str]) -> CommandOutput {
    run_tool(&env("STACK_VAULT_BIN"), words)
}

#[test]
fn apply_creates_a_platform_usable_with_approle_credentials() {
    let site = Site::unprepared();
    init_manifests(&site);
    let plan = site.run(["bootstrap", "plan", "platform"]);
    assert_eq!(plan.code, 4, "{plan}");
    assert!(plan.stdout.contains("+ create VaultMount/") && plan.stdout.contains("topics.yaml:"), "{plan}");
    let made = apply(&site);
    assert!(made["changes"].as_array().unwrap().len() > 25 && made["remaining"] == Value::Array(vec![]), "{made:#}");
    assert_settled(&site);
    let again = apply(&site);
    assert_eq!(again["changes"], Value::Array(vec![]), "{again:#}");

    // The credentials of a program: the S3 key in Vault, a role id and a wrapped secret id on this host.
    let own = site.env_name();
    let kv = format!("-mount={own}-kv");
    let role = format!("auth/{own}-approle/role/{own}-worker");
    let key = format!("secret_key={}", env("STACK_S3_SECRET_KEY"));
    bao(&["kv", "put", &kv, "media/s3", &key]);
    let role_id = bao(&["read", "-field=role_id", &format!("{role}/role-id")]).stdout;
    let wrapped = bao(&["write", "-wrap-ttl=5m", "-field=wrapping_token", "-f", &format!("{role}/secret-id")]).stdout;
    std::fs::write(site.path("role-id"), role_id.trim()).unwrap();
    std::fs::write(site.path("wrapped"), wrapped.trim()).unwrap();
    let config = site.home().join(".config/mfctl/mfctl.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let at = |name: &str| format!("\"file:{}\"", site.path(name).display());
    let home = site.home();
    let text = text
        .replace(
            &format!("secret_key = \"file:{}/secrets/s3\"", home.display()),
            "secret_key = \"vault:media/s3#secret_key\"",
        )
        .replace(
            &format!("token = \"file:{}/secrets/vault\"", home.display()),
            &format!(
                "role_id = {}\nwrapped_secret_id = {}\nauth_mount = \"{own}-approle\"\nmount = \"{own}-kv\"",
                at("role-id"),
                at("wrapped")
            ),
        );
    assert!(text.contains("vault:media") && text.contains("wrapped_secret_id"), "{text}");
    std::fs::write(&config, text).unwrap();

    let ingested = site.json(["ingest", MEDIA], &[0]);
    site.json(["worker", "all", "--until-drained"], &[3]);
    let report = site.audit();
    assert_eq!((&report["files"], &report["in_flight"]), (&ingested["discovered"], &0.into()), "{report:#}");
    let explained = site.run(["config", "explain", "-vvv"]);
    for secret in [env("STACK_S3_SECRET_KEY"), role_id.trim().to_owned(), wrapped.trim().to_owned()] {
        assert!(!explained.to_string().contains(&secret), "{explained}");
    }
}

#[test]
fn drift_in_consul_and_vault_is_detected_and_corrected() {
    let site = Site::unprepared();
    let dir = init_manifests(&site);
    let own = site.env_name().to_owned();
    add_manifest(&dir, "VaultSecret", &format!("{own}-kv/media/generated"), "{fields: {key: {random: {bytes: 32}}}}");
    apply(&site);
    assert_settled(&site);

    let key = format!("{own}/media-api/max_page_size");
    consul(&["kv", "put", &key, "7"]);
    let change = assert_one_drift(&site, "ConsulKeys", "media-api", "update");
    assert_eq!((&change["fields"][0]["from"], &change["fields"][0]["to"]), (&"7".into(), &"100".into()), "{change:#}");
    apply(&site);
    assert_eq!(consul(&["kv", "get", &key]).stdout.trim(), "100");

    let worker = format!("{own}-worker");
    consul(&[
        "acl",
        "policy",
        "update",
        "-name",
        &worker,
        "-rules",
        "key_prefix \"x\" { policy = \"deny\" }",
        "-no-merge",
    ]);
    assert_one_drift(&site, "ConsulPolicy", &worker, "update");
    apply(&site);

    std::fs::write(site.path("other.hcl"), "path \"x\" { capabilities = [\"deny\"] }").unwrap();
    bao(&["policy", "write", &worker, site.path("other.hcl").to_str().unwrap()]);
    assert_one_drift(&site, "VaultPolicy", &worker, "update");
    apply(&site);

    let role = format!("auth/{own}-approle/role/{worker}");
    bao(&["write", &role, "token_ttl=99s"]);
    let change = assert_one_drift(&site, "VaultAppRole", &format!("{own}-approle/{worker}"), "update");
    assert_eq!((&change["fields"][0]["from"], &change["fields"][0]["to"]), (&99.into(), &1200.into()), "{change:#}");
    apply(&site);

    bao(&["secrets", "tune", "-description=changed", &format!("{own}-kv/")]);
    assert_one_drift(&site, "VaultMount", &format!("{own}-kv"), "update");
    apply(&site);

    // A secret is generated once and kept.
    let field = ["kv", "get", &format!("-mount={own}-kv"), "-field=key", "media/generated"].map(str::to_owned);
    let field: Vec<&str> = field.iter().map(String::as_str).collect();
    let generated = bao(&field).stdout;
    assert_eq!(generated.trim().len(), 64, "32 bytes in hexadecimal digits");
    apply(&site);
    assert_eq!(bao(&field).stdout, generated);
    bao(&["kv", "metadata", "delete", &format!("-mount={own}-kv"), "media/generated"]);
    let change = assert_one_drift(&site, "VaultSecret", &format!("{own}-kv/media/generated"), "create");
    assert_eq!(change["fields"][0]["to"], "(sensitive)", "{change:#}");
    apply(&site);
    assert_ne!(bao(&field).stdout, generated);

    // A token whose secret is lost is replaced.
    bao(&["kv", "metadata", "delete", &format!("-mount={own}-kv"), "media/consul"]);
    assert_one_drift(&site, "ConsulToken", &worker, "replace");
    apply(&site);
    let token = bao(&["kv", "get", &format!("-mount={own}-kv"), "-field=token", "media/consul"]).stdout;
    let mut read = Command::new(env("STACK_CONSUL_BIN"));
    read.args(["kv", "get", &key]).env("CONSUL_HTTP_ADDR", env("STACK_CONSUL")).env("CONSUL_HTTP_TOKEN", token.trim());
    assert_eq!(CommandOutput::run(read).stdout.trim(), "100", "the new token works");
    assert_settled(&site);
}

/// Runs one of Kafka's own tools, by its class.
fn kafka(class: &str, words: &[&str]) -> CommandOutput {
    let mut command = Command::new("java");
    command.args(["-cp", &format!("{}/*", env("STACK_KAFKA_LIBS")), class, "--bootstrap-server", &env("STACK_KAFKA")]);
    let ran = CommandOutput::run({
        command.args(words);
        command
    });
    assert_eq!(ran.code, 0, "{class} {words:?}: {ran}");
    ran
}

#[test]
fn drift_in_topics_buckets_and_schemas_is_detected_and_corrected() {
    let site = Site::unprepared();
    let dir = init_manifests(&site);
    apply(&site);
    assert_settled(&site);

    let topic = site.platform().topic("ingest.raw");
    let of_topic = ["--entity-type", "topics", "--entity-name", &topic];
    kafka("kafka.admin.ConfigCommand", &[&["--alter", "--add-config", "retention.ms=60000"], &of_topic[..]].concat());
    let change = assert_one_drift(&site, "KafkaTopic", "ingest.raw", "update");
    assert_eq!(
        (&change["fields"][0]["field"], &change["fields"][0]["from"]),
        (&"settings.retention.ms".into(), &"60000".into())
    );
    apply(&site);
    let described = kafka("kafka.admin.ConfigCommand", &[&["--describe"], &of_topic[..]].concat()).stdout;
    assert!(described.contains("retention.ms=2592000000"), "{described}");

    // Added partitions cannot be removed: the change is refused until the manifest adopts it.
    kafka("org.apache.kafka.tools.TopicCommand", &["--alter", "--topic", &topic, "--partitions", "5"]);
    let drift = site.run(["bootstrap", "drift", "platform", "-o", "json"]);
    let refused = &drift.json()["refused"];
    assert!(drift.code == 4 && refused[0]["name"] == "ingest.raw", "{drift}");
    let topics = dir.join("base/topics.yaml");
    let text = std::fs::read_to_string(&topics).unwrap();
    let at = text.find("name: ingest.raw\n").unwrap();
    std::fs::write(&topics, format!("{}{}", &text[..at], text[at..].replacen("partitions: 3", "partitions: 5", 1)))
        .unwrap();
    assert_settled(&site);
    kafka("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", &site.platform().topic("mfctl.audit")]);
    eventually("the topic to be gone", || site.run(["bootstrap", "drift", "platform"]).code == 4);
    assert_one_drift(&site, "KafkaTopic", "mfctl.audit", "create");
    apply(&site);

    s3("DELETE", &site.platform().bucket("staging"), "?lifecycle=", &[]);
    let change = assert_one_drift(&site, "Bucket", &site.platform().bucket("staging"), "update");
    assert!(
        change["fields"].as_array().unwrap().iter().any(|field| field["field"] == "expire_after_days"),
        "{change:#}"
    );
    apply(&site);
    let off = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Suspended</Status></VersioningConfiguration>";
    s3("PUT", &site.platform().bucket("originals"), "?versioning=", &["--data-binary", off]);
    assert_one_drift(&site, "Bucket", &site.platform().bucket("originals"), "update");
    apply(&site);

    let subject = site.platform().topic("media.ingested-value");
    let config = format!("{}/config/{subject}", env("STACK_REGISTRY"));
    let none = "{\"compatibility\": \"NONE\"}";
    curl(&["-X", "PUT", "-H", "Content-Type: application/vnd.schemaregistry.v1+json", "--data", none, &config]);
    let change = assert_one_drift(&site, "Schema", "media.ingested-value", "update");
    assert_eq!(
        (&change["fields"][0]["field"], &change["fields"][0]["from"]),
        (&"compatibility".into(), &"NONE".into())
    );
    apply(&site);
    assert_settled(&site);
}

#[tokio::test(flavor = "multi_thread")]
async fn database_drift_is_corrected_and_a_dirty_migration_refused() {
    let site = Site::unprepared();
    let server = Server::for_database(Database::fresh().await).await;
    let database = &server.database;
    let config = site.home().join(".config/mfctl/mfctl.toml");
    edit(&config, &format!("\"{}\"", env("STACK_POSTGREST")), &format!("\"{}\"", server.url));
    std::fs::write(site.home().join("secrets/database"), database.url()).unwrap();
    assert_eq!(site.run(["bootstrap", "init", "platform"]).code, 0);
    let only = ["--only", "Database", "--only", "KafkaTopic/mfctl.audit"];
    let on = |words: &[&str]| site.run(words.iter().chain(&only));
    let _roles_guard = ROLES.lock().await;

    let made = on(&["bootstrap", "apply", "platform", "--yes"]);
    assert!(made.code == 0 && made.stdout.contains("Database/media"), "{made}");
    assert_eq!(on(&["bootstrap", "plan", "platform"]).code, 0);
    let again = on(&["bootstrap", "apply", "platform", "--yes"]);
    assert!(again.code == 0 && !again.stdout.contains("Database/media"), "{again}");

    database.undo_last_migration().await;
    let drift = on(&["bootstrap", "drift", "platform"]);
    assert!(drift.code == 4 && drift.stdout.contains("0013_job_leases"), "{drift}");
    let corrected = on(&["bootstrap", "apply", "platform", "--yes"]);
    assert_eq!(corrected.code, 0, "{corrected}");
    assert_eq!(on(&["bootstrap", "drift", "platform"]).code, 0);

    // A dirty migration needs an operator's decision and is left alone.
    database.execute("UPDATE media.schema_migrations SET dirty = true WHERE version = 3").await;
    for words in [&["bootstrap", "plan", "platform"][..], &["bootstrap", "apply", "platform", "--yes"]] {
        let refused = on(words);
        assert!(refused.code == 6 && refused.stderr.contains("0003_rules"), "{refused}");
    }
}

#[test]
fn unsafe_changes_are_refused_with_a_reason() {
    let site = Site::unprepared();
    let dir = init_manifests(&site);
    apply(&site);
    let topics = dir.join("base/topics.yaml");
    let before = std::fs::read_to_string(&topics).unwrap();
    for (from, to, why) in
        [("partitions: 3", "partitions: 2", "cannot take any away"), ("replication: 3", "replication: 1", "less safe")]
    {
        std::fs::write(&topics, before.replacen(from, to, 1)).unwrap();
        let plan = site.run(["bootstrap", "plan", "platform"]);
        assert!(plan.code == 4 && plan.stdout.contains(why), "{plan}");
        let refused = site.run(["bootstrap", "apply", "platform", "--yes"]);
        assert!(refused.code == 8 && refused.stdout.contains(why), "{refused}");
    }
    std::fs::write(&topics, &before).unwrap();
    let buckets = dir.join("base/buckets.yaml");
    edit(&buckets, "versioned: true", "versioned: false");
    let refused = site.run(["bootstrap", "apply", "platform", "--yes"]);
    assert!(refused.code == 8 && refused.stdout.contains("older versions"), "{refused}");
    edit(
        &buckets,
        "expire_noncurrent_after_days: 180\n  versioned: false",
        "expire_noncurrent_after_days: 180\n  versioned: true",
    );
    let breaking = "{\"$schema\": \"http://json-schema.org/draft-07/schema#\", \"type\": \"object\", \"required\": [\"x\"], \
                    \"properties\": {\"x\": {\"type\": \"string\"}}, \"additionalProperties\": false}";
    std::fs::write(dir.join("base/breaking.json"), breaking).unwrap();
    edit(
        &dir.join("base/schemas.yaml"),
        "name: ingest.raw-value\nspec:\n",
        "name: ingest.raw-value\nspec:\n  file: breaking.json\n",
    );
    let refused = site.run(["bootstrap", "apply", "platform", "--yes"]);
    assert!(refused.code == 8 && refused.stdout.contains("would break"), "{refused}");
}

#[test]
fn imported_platform_needs_no_changes() {
    let site = Site::unprepared();
    init_manifests(&site);
    apply(&site);
    let own = site.env_name();
    consul(&["kv", "put", &format!("{own}/player/colour"), "blue"]);
    let imported = site.json(["bootstrap", "import", "adopted"], &[0]);
    for kind in ["KafkaTopic", "Bucket", "Schema", "ConsulKeys", "ConsulPolicy", "VaultMount", "VaultPolicy"] {
        assert!(imported["declared"][kind].as_u64().unwrap_or(0) > 0, "{kind}: {imported:#}");
    }
    // Other tests create, change and delete buckets, policies and mounts meanwhile: only this test's are compared.
    let buckets = ["Bucket/media-staging", "Bucket/media-originals", "Bucket/media-derived"];
    let only = ["KafkaTopic", "Schema", "ConsulKeys", "Database"].into_iter().chain(buckets);
    let only = only.map(|selector| format!("--only={selector}"));
    let mut words = vec!["bootstrap".to_owned(), "plan".to_owned(), "adopted".to_owned()];
    words.extend(only);
    words.extend([format!("--only=VaultPolicy/{own}-worker"), format!("--only=ConsulPolicy/{own}-worker")]);
    words.extend([format!("--only=VaultMount/{own}-kv"), format!("--only=VaultAppRole/{own}-approle/{own}-worker")]);
    let plan = site.run(&words);
    assert!(plan.code == 0 && plan.stdout.contains("nothing to do"), "{plan}");
    let text = std::fs::read_to_string(site.path("adopted/base/consul-keys.yaml")).unwrap();
    assert!(text.contains("colour: blue"), "{text}");
}

#[test]
fn prune_deletes_only_undeclared_resources_that_mfctl_created() {
    let site = Site::unprepared();
    let dir = init_manifests(&site);
    let own = site.env_name().to_owned();
    add_manifest(&dir, "KafkaTopic", "extra", "{partitions: 1, replication: 3}");
    add_manifest(&dir, "ConsulKeys", "extra", "{keys: {a: 1, b: 2}}");
    add_manifest(&dir, "Bucket", "extra", "{versioned: false}");
    consul(&["kv", "put", &format!("{own}/extra/others"), "x"]);
    apply(&site);
    assert_settled(&site);
    std::fs::remove_file(dir.join("base/KafkaTopic-extra.yaml")).unwrap();
    std::fs::remove_file(dir.join("base/ConsulKeys-extra.yaml")).unwrap();
    std::fs::remove_file(dir.join("base/Bucket-extra.yaml")).unwrap();
    // A plan of mfctl's defaults does not know the folder and deletes nothing that it declared.
    let defaults = site.json(["bootstrap", "plan", "--prune"], &[0, 4]);
    let deletions = defaults["changes"].as_array().unwrap().iter().filter(|change| change["action"] == "delete");
    assert_eq!((deletions.count(), &defaults["orphans"]), (0, &serde_json::json!([])), "{defaults:#}");
    let plan = site.run(["bootstrap", "plan", "platform", "-o", "json"]);
    let plan_json = plan.json();
    let orphans = plan_json["orphans"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap());
    let orphans: BTreeSet<&str> = orphans.collect();
    assert_eq!((plan.code, orphans), (0, ["Bucket", "ConsulKeys", "KafkaTopic"].into()), "{plan}");
    let refused = site.run(["bootstrap", "apply", "platform", "--yes", "--prune", "--max-deletes", "1"]);
    assert_eq!(refused.code, 8, "{refused}");
    let pruned = site.json(["bootstrap", "apply", "platform", "--yes", "--prune"], &[0]);
    assert_eq!(pruned["changes"].as_array().unwrap().len(), 3, "{pruned:#}");
    assert_eq!(consul(&["kv", "get", "-keys", &format!("{own}/extra/")]).stdout.trim(), format!("{own}/extra/others"));
    assert_settled(&site);
}

#[test]
fn saved_plan_is_applied_as_reviewed_or_refused() {
    let site = Site::unprepared();
    let dir = init_manifests(&site);
    // All tests share the database: a migration by another test would differ from the reviewed plan.
    std::fs::remove_file(dir.join("base/database.yaml")).unwrap();
    let saved = site.run(["bootstrap", "plan", "platform", "--out", "plan.json"]);
    assert_eq!(saved.code, 0, "{saved}");
    std::fs::remove_dir_all(&dir).unwrap();
    let own = site.env_name();
    consul(&["kv", "put", &format!("{own}/media-api/max_page_size"), "7"]);
    let moved = site.run(["bootstrap", "apply", "plan.json", "--yes"]);
    assert!(moved.code == 7 && moved.stderr.contains("plan again"), "{moved}");
    consul(&["kv", "delete", &format!("{own}/media-api/max_page_size")]);
    let done = site.json(["bootstrap", "apply", "plan.json", "--yes"], &[0]);
    assert!(done["changes"].as_array().unwrap().len() > 25, "{done:#}");
    let text = std::fs::read_to_string(site.path("plan.json")).unwrap();
    for secret in [env("STACK_S3_SECRET_KEY"), env("STACK_VAULT_TOKEN"), env("STACK_CONSUL_TOKEN")] {
        assert!(!text.contains(&secret), "a plan holds no secret");
    }
}

/// After thirty kills at random moments, the lock expires, the next apply completes the work, and nothing is created twice.
#[test]
fn killed_apply_is_completed_by_the_next_one() {
    let mut random = random();
    let site = Site::unprepared();
    init_manifests(&site);
    let mut kills = 0;
    let began = Instant::now();
    while kills < 30 {
        assert!(began.elapsed() < Duration::from_secs(400), "{kills} kills");
        let words = ["bootstrap", "apply", "platform", "--yes", "--lock-wait", "60s", "--quiet"];
        let log = site.path("apply.log");
        let mut running = Running::logged(site.command(words), &log);
        let at = Instant::now() + Duration::from_millis(random.u64(0..2500));
        eventually("the time of the kill, or the end of apply", || !running.is_alive() || Instant::now() >= at);
        match running.exit_code() {
            None => {
                running.kill();
                kills += 1;
            }
            // It ended before it could be killed; leave work for the next one.
            Some(0) => {
                let own = site.env_name();
                consul(&["kv", "delete", &format!("{own}/media-api/default_locale")]);
                kills += 1;
            }
            Some(code) => panic!("exit code {code}"),
        }
    }
    let last = site.run(["bootstrap", "apply", "platform", "--yes", "--lock-wait", "60s"]);
    assert_eq!(last.code, 0, "{last}");
    assert_settled(&site);
    let own = site.env_name();
    let tokens = consul(&["acl", "token", "list", "-format=json"]).json();
    let ours = tokens.as_array().unwrap().iter().filter(|token| token["Description"] == format!("{own}-worker"));
    assert_eq!(ours.count(), 1, "a token is created once");
}

#[test]
fn concurrent_apply_waits_for_the_lock_or_names_its_holder() {
    let site = Site::unprepared();
    init_manifests(&site);
    let mut first = site.command(["bootstrap", "apply", "platform", "--yes"]);
    first.env("MFCTL_FAILPOINT", "stop@bootstrap_before");
    let first = Running::captured(first);
    eventually("the first holds the lock and is stopped", || first.is_stopped());
    let second = site.run(["bootstrap", "apply", "platform", "--yes"]);
    assert!(second.code == 7 && second.stderr.contains("has the lock"), "{second}");
    let waiting = Running::captured(site.command(["bootstrap", "apply", "platform", "--yes", "--lock-wait", "60s"]));
    first.signal(rustix::process::Signal::CONT);
    let first = first.finish();
    let waiting = waiting.finish();
    assert_eq!(waiting.code, 0, "{waiting}");
    // 0 or 7, depending on whether its lock outlived the stop.
    assert!(matches!(first.code, 0 | 7), "{first}");
    assert_settled(&site);
}

#[test]
fn break_glass_change_during_a_waiting_apply_is_left_alone() {
    let site = Site::unprepared();
    init_manifests(&site);
    apply(&site);
    let own = site.env_name().to_owned();
    let break_glass_prefix = format!("{own}/mfctl-glass/");
    let key = format!("{own}/media-api/max_page_size");
    let break_glass =
        ["kv", "put", "media-api/max_page_size", "7", "--break-glass", "it melts", "--for", "1h", "--yes"];
    assert_eq!(site.run(break_glass).code, 0);
    // The record is removed, so that an apply sees plain drift, and restored while that apply waits.
    std::fs::write(site.path("glass.json"), consul(&["kv", "export", &break_glass_prefix]).stdout).unwrap();
    consul(&["kv", "delete", "-recurse", &break_glass_prefix]);
    let mut first = site.command(["bootstrap", "apply", "platform", "--yes"]);
    first.env("MFCTL_FAILPOINT", "stop@bootstrap_before");
    let first = Running::captured(first);
    eventually("the first holds the lock and is stopped", || first.is_stopped());
    let log = site.path("waiting.log");
    let words = ["bootstrap", "apply", "platform", "--yes", "--lock-wait", "60s"];
    let mut waiting = Running::logged(site.command(words), &log);
    let logged = |text: &str| std::fs::read_to_string(&log).unwrap_or_default().contains(text);
    eventually("the second logs that it waits, and for whom", || logged("waiting up to") && logged("has the lock"));
    consul(&["kv", "import", &format!("@{}", site.path("glass.json").display())]);
    first.kill();
    eventually("the lock expires and the second ends", || waiting.exit_code().is_some());
    assert_eq!(waiting.exit_code(), Some(0), "{}", std::fs::read_to_string(&log).unwrap());
    assert_eq!(consul(&["kv", "get", &key]).stdout.trim(), "7");
}

/// Text that formats may misread. None begins with a character that `consul kv put` takes for a file or stdin.
fn awkward_text(random: &mut fastrand::Rng) -> String {
    const AWKWARD: [&str; 16] = [
        "",
        "null",
        "~",
        "yes",
        "No",
        "1e3",
        "0x1F",
        "012",
        "1_000",
        "a: b",
        "# no comment",
        "{x: [1, 2]}",
        "سلام",
        "  spaces  ",
        "\ttab\r\n",
        "line\n\n  and line\n",
    ];
    match random.u8(0..4) {
        0 => (0..random.usize(1..40)).map(|_| random.char(' '..='~')).collect::<String>().replace(['@', '-'], "."),
        1 => random.u64(..).to_string(),
        _ => AWKWARD[random.usize(..AWKWARD.len())].to_owned(),
    }
}

#[test]
fn imported_random_resources_need_no_changes() {
    let mut random = random();
    for round in 0..2 {
        let site = Site::unprepared();
        let own = site.env_name().to_owned();
        let mut only: Vec<String> = ["ConsulKeys", "KafkaTopic", "Schema"].map(|kind| format!("--only={kind}")).into();
        for _ in 0..random.usize(1..12) {
            let key = format!("{own}/svc-{}/k_{}", random.u8(0..3), random.u16(..));
            consul(&["kv", "put", &key, &awkward_text(&mut random)]);
        }
        for n in 0..random.usize(1..3) {
            let name = format!("{own}-p{n}");
            let rules = format!("# {}\nkey_prefix \"{own}/\" {{ policy = \"read\" }}\n", random.u32(..));
            consul(&[
                "acl",
                "policy",
                "create",
                "-name",
                &name,
                "-description",
                &format!("of {own}: #{n}"),
                "-rules",
                &rules,
            ]);
            only.push(format!("--only=ConsulPolicy/{name}"));
            let rules =
                format!("path \"{own}/{n}/*\"   {{\n\tcapabilities=[\"read\",\"list\"] # {}\n}}", random.u32(..));
            std::fs::write(site.path("rules.hcl"), rules).unwrap();
            bao(&["policy", "write", &name, site.path("rules.hcl").to_str().unwrap()]);
            only.push(format!("--only=VaultPolicy/{name}"));
        }
        let mount = format!("{own}-kv");
        let auth = format!("{own}-approle");
        let lease = format!("-max-lease-ttl={}s", random.u32(60..90_000));
        bao(&[
            "secrets",
            "enable",
            &format!("-path={mount}"),
            "-version=2",
            "-description=of others: #1",
            &lease,
            "kv",
        ]);
        bao(&["auth", "enable", &format!("-path={auth}"), "approle"]);
        let ttl = random.u32(60..3600);
        bao(&[
            "write",
            &format!("auth/{auth}/role/worker"),
            &format!("token_ttl={ttl}s"),
            &format!("token_max_ttl={}s", ttl * 2),
            &format!("token_policies={own}-p0"),
            &format!("secret_id_num_uses={}", random.u8(0..9)),
        ]);
        bao(&["kv", "put", &format!("-mount={mount}"), "some/where", &format!("a={}", random.u64(..)), "b=x"]);
        only.extend([format!("--only=VaultMount/{mount}"), format!("--only=VaultMount/auth/{auth}")]);
        only.extend([format!("--only=VaultAppRole/{auth}/worker"), format!("--only=VaultSecret/{mount}/some/where")]);
        let topic = site.platform().topic(&format!("others.{}", random.u16(..)));
        let settings = [
            format!("retention.ms={}", random.u32(60_000..)),
            format!("cleanup.policy={}", ["delete", "compact", "compact,delete"][random.usize(..3)]),
            format!("max.message.bytes={}", random.u32(10_000..2_000_000)),
        ];
        let partitions = random.u8(1..9).to_string();
        let mut words = vec!["--create", "--topic", &topic, "--partitions", &partitions, "--replication-factor", "3"];
        settings.iter().take(random.usize(0..4)).for_each(|setting| words.extend(["--config", setting]));
        kafka("org.apache.kafka.tools.TopicCommand", &words);
        let name = format!("others-{}", random.u16(..));
        let bucket = format!("myfarsi-{own}-{name}");
        s3("PUT", &bucket, "", &[]);
        only.push(format!("--only=Bucket/{name}"));
        if random.bool() {
            let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
            s3("PUT", &bucket, "?versioning=", &["--data-binary", on]);
        }
        let schema = format!(
            "{{\"$schema\": \"http://json-schema.org/draft-07/schema#\", \"type\": \"object\", \"title\": \"{}\"}}",
            random.u32(..)
        );
        let body = serde_json::json!({"schemaType": "JSON", "schema": schema}).to_string();
        let subjects = format!("{}/subjects/{}", env("STACK_REGISTRY"), site.platform().topic("others-value"));
        let kind = "Content-Type: application/vnd.schemaregistry.v1+json";
        curl(&["-X", "POST", "-H", kind, "--data", &body, &format!("{subjects}/versions")]);

        let imported = site.run(["bootstrap", "import", "found"].iter().map(ToString::to_string).chain(only.clone()));
        assert_eq!(imported.code, 0, "round {round}: {imported}");
        let plan = site.run(["bootstrap", "plan", "found"].iter().map(ToString::to_string).chain(only));
        assert!(plan.code == 0 && plan.stdout.contains("nothing to do"), "round {round}: {plan}");
        let kinds = std::fs::read_dir(site.path("found/base")).unwrap().flatten();
        let kinds = kinds.filter(|entry| entry.path().extension().is_some_and(|end| end == "yaml")).count();
        assert_eq!(kinds, 9, "each kind but the database and tokens");
        bao(&["secrets", "disable", &mount]);
        bao(&["auth", "disable", &auth]);
    }
}
