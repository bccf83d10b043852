//! Consul and Vault through outages, data loss and initialisation, on servers of a single test: nothing is deleted, errors
//! name the state, and work continues by itself.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::dedicated_servers::{
    ConsulServer, VaultServer, edit, empty_servers, read_consul_token_from_vault, set_vault, settings,
};
use crate::external_clients::{curl, run_program};
use crate::support::stack::env;
use crate::support::{CommandOutput, Running, Site, eventually};

const APPLY: [&str; 3] = ["bootstrap", "apply", "platform"];
/// Vault resources, and the topic of the operator journal.
const VAULT_ONLY: [&str; 8] =
    ["--only", "VaultMount", "--only", "VaultPolicy", "--only", "VaultAppRole", "--only", "KafkaTopic/mfctl.audit"];

#[test]
fn consul_without_a_leader_is_an_outage_and_not_an_empty_store() {
    let site = Site::unprepared();
    let mut first = ConsulServer::new("first", 2, None);
    let mut second = ConsulServer::new("second", 2, Some(&first));
    first.join = Some(second.serf);
    first.start(&site);
    second.start(&site);
    eventually("a leader", || first.has_leader());
    edit(&settings(&site), &env("STACK_CONSUL"), &first.url());
    assert_eq!(site.run(["bootstrap", "init", "platform"]).code, 0);
    let only = ["--only", "ConsulKeys", "--only", "KafkaTopic/mfctl.audit", "--yes"];
    let made = site.run(APPLY.iter().chain(&only));
    assert_eq!(made.code, 0, "{made}");
    let mut watching = site.command(["kv", "watch", "--initial", "--count", "3", "-o", "jsonl"]);
    let mut watch = watching.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(watch.stderr.take().unwrap()).lines();
    let mut seen = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(seen.by_ref().take(2).count(), 2, "the existing keys");

    second.kill();
    eventually("the leader to be gone", || site.run(["kv", "get", "media-api/max_page_size"]).code == 5);
    for words in [
        &["bootstrap", "plan", "platform", "--only", "ConsulKeys", "--prune"][..],
        &["bootstrap", "apply", "platform", "--only", "ConsulKeys", "--prune", "--yes"],
        &["bootstrap", "drift", "platform", "--only", "ConsulKeys"],
        &["kv", "list"],
        &["kv", "put", "media-api/max_page_size", "1", "--break-glass", "x", "--for", "1h"],
    ] {
        let ran = site.run(words);
        assert!(ran.code == 5 && ran.stderr.contains("Consul has no leader"), "{words:?}: {ran}");
        assert!(!ran.stdout.contains("delete"), "{words:?}: {ran}");
    }
    let waits = log
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.contains("no changes are visible until Consul is reachable again"));
    assert!(waits.is_some(), "the watch logs that it waits");

    second.start(&site);
    eventually("a leader again", || site.run(["kv", "get", "media-api/max_page_size"]).code == 0);
    let drift = site.run(["bootstrap", "drift", "platform", "--only", "ConsulKeys"]);
    assert_eq!(drift.code, 0, "{drift}");
    site.json(["kv", "put", "svc/a", "1", "--reason", "x"], &[0]);
    let seen = seen.next().unwrap();
    assert!(watch.wait().unwrap().success() && seen.contains("svc/a"), "{seen}");
}

#[test]
fn emptied_consul_is_filled_again_and_nothing_else_removed() {
    let site = Site::unprepared();
    let mut consul = ConsulServer::new("only", 1, None);
    consul.start(&site);
    eventually("a leader", || consul.has_leader());
    edit(&settings(&site), &env("STACK_CONSUL"), &consul.url());
    assert_eq!(site.run(["bootstrap", "init", "platform"]).code, 0);
    let only = ["--only", "ConsulKeys", "--only", "KafkaTopic"];
    let made = site.run(APPLY.iter().chain(&only).chain(&["--yes"]));
    assert_eq!(made.code, 0, "{made}");
    let mut watching = site.command(["kv", "watch", "--initial", "--count", "6", "-o", "jsonl"]);
    let mut watch = watching.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut seen = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&seen.next().unwrap().unwrap()).unwrap()["action"].clone();
    assert_eq!([next(), next()], ["create", "create"], "the existing keys");

    consul.kill();
    std::fs::remove_dir_all(site.path("only")).unwrap();
    consul.start(&site);
    eventually("a leader", || consul.has_leader());
    // The watch survives that the index goes backwards.
    assert_eq!([next(), next()], ["delete", "delete"]);
    let plan = ["bootstrap", "plan", "platform", "--prune", "-o", "json"];
    let plan = site.run(plan.iter().chain(&only));
    let planned = plan.json();
    let actions: Vec<&Value> = planned["changes"].as_array().unwrap().iter().map(|change| &change["action"]).collect();
    assert_eq!(actions, ["create"], "only the keys are missing: {plan}");
    let again = site.run(APPLY.iter().chain(&only).chain(&["--yes", "--prune"]));
    assert_eq!(again.code, 0, "{again}");
    let drift = site.run(["bootstrap", "drift", "platform"].iter().chain(&only));
    assert_eq!(drift.code, 0, "{drift}");
    assert_eq!([next(), next()], ["create", "create"]);
    assert!(watch.wait().unwrap().success());
}

#[test]
fn sealed_vault_and_expired_token_are_reported_until_they_pass() {
    let site = Site::unprepared();
    let vault = VaultServer::start(&site);
    edit(&settings(&site), &env("STACK_VAULT"), &vault.url);
    let secret = site.home().join("secrets/vault");
    std::fs::write(&secret, &vault.token).unwrap();
    assert_eq!(site.run(["bootstrap", "init", "platform"]).code, 0);
    let only = VAULT_ONLY;
    let made = site.run(APPLY.iter().chain(&only).chain(&["--yes"]));
    assert_eq!(made.code, 0, "{made}");
    let plan = || site.run(["bootstrap", "plan", "platform", "--prune"].iter().chain(&only));
    assert_eq!(plan().code, 0);

    vault.ask("sys/seal", "");
    let sealed = plan();
    assert!(sealed.code == 5 && sealed.stderr.contains("sealed"), "{sealed}");
    let apply = site.run(APPLY.iter().chain(&only).chain(&["--yes", "--prune"]));
    assert!(apply.code == 5 && !apply.stdout.contains("deleted"), "{apply}");
    vault.unseal();
    assert_eq!(plan().code, 0, "it recovers by itself");

    // A token that can no longer be renewed.
    let short = vault.ask("auth/token/create", "{\"ttl\":\"2s\",\"explicit_max_ttl\":\"2s\",\"policies\":[\"root\"]}");
    std::fs::write(&secret, short["auth"]["client_token"].as_str().unwrap()).unwrap();
    eventually("the token to expire", || plan().code == 6);
    let ended = plan();
    assert!(ended.stderr.contains("profile.stack.vault"), "{ended}");
    std::fs::write(&secret, &vault.token).unwrap();
    assert_eq!(plan().code, 0);
}

#[test]
fn init_vault_hands_over_key_shares_and_a_role() {
    let site = Site::unprepared();
    let (url, _process) = VaultServer::uninitialised(&site);
    set_vault(&site, &url, "");
    let listed = site.run(["kv", "list"]);
    assert_eq!(listed.code, 0, "kv does not need Vault: {listed}");
    let unconfirmed = site.run(["bootstrap", "init-vault", "handover", "--plain-shares"]);
    assert!(unconfirmed.code == 8 && unconfirmed.stderr.contains("--yes"), "{unconfirmed}");
    let unclear = site.run(["bootstrap", "init-vault", "handover", "--yes"]);
    assert!(unclear.code == 2 && unclear.stderr.contains("--pgp-key"), "{unclear}");
    let plain = ["bootstrap", "init-vault", "handover", "--plain-shares", "--shares", "3", "--threshold", "2", "--yes"];
    let made = site.run(plain);
    assert!(made.code == 0 && made.stdout.contains("root token is revoked"), "{made}");
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(site.path("handover")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        let text = std::fs::read_to_string(entry.path()).unwrap();
        assert!(!made.stdout.contains(&text) && !made.stderr.contains(&text), "{entry:?} is printed");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["1.share", "2.share", "3.share", "role-id", "wrapped-secret-id"]);
    let again = site.run(["bootstrap", "init-vault", "other", "--plain-shares", "--yes"]);
    assert!(again.code == 7 && !site.path("other").exists(), "{again}");

    // The role can bootstrap the platform.
    let at = |name: &str| format!("\"file:{}\"", site.path("handover").join(name).display());
    let login = format!("role_id = {}\nwrapped_secret_id = {}\n", at("role-id"), at("wrapped-secret-id"));
    set_vault(&site, &url, &login);
    assert_eq!(site.run(["bootstrap", "init", "platform"]).code, 0);
    let made = site.run(APPLY.iter().chain(&VAULT_ONLY).chain(&["--yes"]));
    assert_eq!(made.code, 0, "{made}");
}

#[test]
fn init_vault_encrypts_shares_and_refuses_plain_ones_when_protected() {
    let site = Site::unprepared();
    let (url, _process) = VaultServer::uninitialised(&site);
    set_vault(&site, &url, "");
    edit(&settings(&site), "[profile.stack]\n", "[profile.stack]\nprotected = true\n");
    let env_name = site.env_name();
    let plain = site.run(["bootstrap", "init-vault", "handover", "--plain-shares", "--yes", "--confirm", env_name]);
    assert!(plain.code == 8 && plain.stderr.contains("protected"), "{plain}");

    std::fs::write(site.path("holder.asc"), include_str!("fixtures/holder.asc")).unwrap();
    let words = ["bootstrap", "init-vault", "handover", "--pgp-key", "holder.asc", "--threshold", "1", "--yes"];
    let mut command = site.command(words);
    command.args(["--confirm", env_name]);
    let running = Running::logged(command, &site.path("init.log"));
    let log_text = || std::fs::read_to_string(site.path("init.log")).unwrap_or_default();
    eventually("the command to wait for the key holders", || log_text().contains("waiting for the key holders"));
    let share = std::fs::read_to_string(site.path("handover/1.share.pgp.base64")).unwrap();
    // A PGP message begins with a session key for its reader (RFC 9580, 5.1): tag 1 in either form of a packet's header.
    let first = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, share.trim()).unwrap()[0];
    assert!(first & 0xfc == 0x84 || first == 0xc1, "{first:#x}");
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.code(), 130);
    assert!(log_text().contains("generate-root"), "{}", log_text());
}

#[test]
fn init_consul_acl_stores_the_first_token_in_vault_despite_a_crash() {
    let site = Site::unprepared();
    let (vault, _consul) = empty_servers(&site);
    let unsupported = site.run(["bootstrap", "init-consul-acl", "--yes"]);
    assert!(unsupported.code == 6 && unsupported.stderr.contains("vault:"), "{unsupported}");
    read_consul_token_from_vault(&site);

    let killed =
        CommandOutput::run(site.command_with_failpoint("consul_acl_kept", ["bootstrap", "init-consul-acl", "--yes"]));
    assert!(killed.code < 0, "{killed}");
    let begun = site.json(["bootstrap", "init-consul-acl", "--yes"], &[0]);
    assert_eq!(begun["begun"], true, "{begun:#}");
    let again = site.json(["bootstrap", "init-consul-acl", "--yes"], &[0]);
    assert_eq!(again["begun"], false, "{again:#}");
    site.json(["kv", "put", "svc/a", "1", "--reason", "with the token in Vault"], &[0]);

    // A token other than the one that Consul was bootstrapped with is refused.
    vault.ask("secret/data/consul/management", "{\"data\":{\"token\":\"00000000-0000-4000-8000-000000000001\"}}");
    let other = site.run(["bootstrap", "init-consul-acl", "--yes"]);
    assert!(other.code == 7 && !other.stderr.contains("00000000-0000-4000"), "{other}");
}

/// A JWT (RFC 7519) signed with an RSA key (RS256), such as a cluster's issuer gives to a service account.
fn signed_jwt(key: &std::path::Path, subject: &str) -> String {
    use base64::Engine as _;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let now = jiff::Timestamp::now().as_second();
    let claims = json!({"iss": "test", "aud": ["consul"], "sub": subject, "iat": now, "exp": now + 600});
    let text = format!("{}.{}", encode(br#"{"alg":"RS256","typ":"JWT"}"#), encode(claims.to_string().as_bytes()));
    let input = key.with_extension("input");
    std::fs::write(&input, &text).unwrap();
    let words = ["dgst", "-sha256", "-sign", key.to_str().unwrap(), input.to_str().unwrap()];
    format!("{text}.{}", encode(&run_program("openssl", &words)))
}

#[test]
fn consul_login_token_is_reused_and_replaced_when_revoked() {
    let site = Site::unprepared();
    let (_vault, consul) = empty_servers(&site);
    let ask = |method: &str, path: &str, token: &str, body: &Value| -> Value {
        let token = format!("X-Consul-Token: {token}");
        let body = body.to_string();
        let url = format!("{}/v1/{path}", consul.url());
        serde_json::from_slice(&curl(&["-X", method, "-H", &token, "--data", &body, &url])).unwrap_or_default()
    };
    let management = ask("PUT", "acl/bootstrap", "", &json!({}))["SecretID"].as_str().unwrap().to_owned();
    let key = site.path("issuer.pem");
    let at = key.to_str().unwrap();
    run_program("openssl", &["genrsa", "-out", at, "2048"]);
    let public = String::from_utf8(run_program("openssl", &["rsa", "-in", at, "-pubout"])).unwrap();
    let rules = "key_prefix \"\" { policy = \"write\" } session_prefix \"\" { policy = \"write\" } node_prefix \"\" { policy = \"read\" }";
    ask("PUT", "acl/policy", &management, &json!({"Name": "mfctl", "Rules": rules}));
    ask("PUT", "acl/role", &management, &json!({"Name": "mfctl", "Policies": [{"Name": "mfctl"}]}));
    let config = json!({"BoundAudiences": ["consul"], "BoundIssuer": "test", "JWTValidationPubKeys": [public]});
    let method = json!({"Name": "issuer", "Type": "jwt", "MaxTokenTTL": "1h", "Config": config});
    ask("PUT", "acl/auth-method", &management, &method);
    let rule = json!({"AuthMethod": "issuer", "BindType": "role", "BindName": "mfctl"});
    ask("PUT", "acl/binding-rule", &management, &rule);

    let bearer = site.path("service-account.jwt");
    std::fs::write(&bearer, signed_jwt(&key, "mfctl")).unwrap();
    let token = format!("token = \"file:{}\"", site.home().join("secrets/consul").display());
    let login = format!("auth_method = \"issuer\"\nbearer = \"file:{}\"", bearer.display());
    edit(&settings(&site), &token, &login);
    site.json(["kv", "put", "svc/a", "1", "--reason", "x"], &[0]);
    let files = std::fs::read_dir(site.data()).unwrap().map(|entry| entry.unwrap().path());
    let stored = files.into_iter().find(|path| path.ends_with("consul-token")).expect("the token is stored");
    assert_eq!(stored.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let tokens = || {
        let all = ask("GET", "acl/tokens?authmethod=issuer", &management, &Value::Null);
        let ids = all.as_array().unwrap().iter().map(|token| token["AccessorID"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    let first = tokens();
    assert_eq!(site.run(["kv", "get", "svc/a"]).stdout, "1\n");
    assert_eq!((first.len(), tokens()), (1, first.clone()), "the token is reused");

    ask("DELETE", &format!("acl/token/{}", first[0]), &management, &Value::Null);
    assert_eq!(site.run(["kv", "get", "svc/a"]).stdout, "1\n");
    let second = tokens();
    assert!(second.len() == 1 && second != first, "{second:?}");

    ask("DELETE", &format!("acl/token/{}", second[0]), &management, &Value::Null);
    let foreign_key = site.path("stranger.pem");
    run_program("openssl", &["genrsa", "-out", foreign_key.to_str().unwrap(), "2048"]);
    for wrong in ["no.such.token".to_owned(), signed_jwt(&foreign_key, "mfctl")] {
        std::fs::write(&bearer, &wrong).unwrap();
        let refused = site.run(["kv", "get", "svc/a"]);
        assert!(refused.code == 6 && refused.stderr.contains("profile.stack.consul.bearer"), "{refused}");
        assert!(!refused.stderr.contains(&wrong), "{refused}");
    }
}
