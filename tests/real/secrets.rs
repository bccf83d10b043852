//! Secrets appear in nothing that mfctl prints or writes, also when commands fail.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::external_clients::committed_records;
use crate::support::stack::{Endpoints, Platform, env};
use crate::support::{CommandOutput, Running, Site, write_texts};

/// Searches outputs and files for secrets, and counts the places searched.
struct SecretScanner {
    secrets: Vec<(String, Vec<Vec<u8>>)>,
    places: usize,
}

impl SecretScanner {
    fn new() -> Self {
        Self { secrets: Vec::new(), places: 0 }
    }

    /// Adds a secret, in plain text and in base64 at any alignment.
    fn add(&mut self, name: &str, secret: &str) {
        let mut forms = vec![secret.as_bytes().to_vec()];
        for shift in 0..3 {
            let coded = STANDARD.encode([&vec![b':'; shift][..], secret.as_bytes()].concat());
            forms.push(coded.as_bytes()[4.min(shift * 4)..coded.len() - 4].to_vec());
        }
        self.secrets.push((name.to_owned(), forms));
    }

    /// Adds and returns a random secret.
    fn plant(&mut self, name: &str) -> String {
        let secret = format!("planted{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        self.add(name, &secret);
        secret
    }

    fn scan(&mut self, place: &str, bytes: &[u8]) {
        self.places += 1;
        for (name, forms) in &self.secrets {
            for form in forms {
                let found = bytes.windows(form.len()).any(|window| window == form);
                assert!(!found, "{name} is in {place}:\n{}", String::from_utf8_lossy(bytes));
            }
        }
        // JWTs that mfctl signs.
        assert!(!bytes.windows(6).any(|window| window == b"eyJhbG"), "a token is in {place}");
    }

    fn scan_output(&mut self, place: &str, ran: &CommandOutput) {
        self.scan(place, ran.stdout.as_bytes());
        self.scan(place, ran.stderr.as_bytes());
        assert!(!ran.stderr.contains("panicked"), "{place}: {ran}");
    }

    /// Scans every file below a folder, except the test's own secrets and profile.
    fn scan_folder(&mut self, dir: &Path) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.ends_with("home/secrets") || path.ends_with("home/.config") {
                continue;
            }
            if path.is_dir() {
                self.scan_folder(&path);
            } else if path.is_file() {
                self.scan(&path.display().to_string(), &std::fs::read(&path).unwrap());
            }
        }
    }
}

/// Replaces text in the profile's file; returns its former content.
fn change_profile(site: &Site, from: &str, to: &str) -> String {
    let path = site.home().join(".config/mfctl/mfctl.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    assert!(before.contains(from), "{from} is not in {before}");
    std::fs::write(&path, before.replace(from, to)).unwrap();
    before
}

fn restore(site: &Site, before: &str) {
    std::fs::write(site.home().join(".config/mfctl/mfctl.toml"), before).unwrap();
}

/// A site whose brokers require a password.
fn site(scanner: &mut SecretScanner) -> Site {
    let password = env("STACK_KAFKA_SASL_PASSWORD");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &password).unwrap();
    let kafka_lines = format!(
        "security = \"sasl_ssl\"\nusername = \"{}\"\npassword = \"file:{}\"\nca = \"{}/ca.pem\"\n",
        env("STACK_KAFKA_SASL_USER"),
        file.path().display(),
        env("STACK_TLS_DIR"),
    );
    let at = Endpoints { kafka: env("STACK_KAFKA_SASL"), kafka_lines, ..Endpoints::direct() };
    let site = Site::on(Platform::new(), &at);
    let password_file = site.home().join("secrets/kafka");
    std::fs::copy(file.path(), &password_file).unwrap();
    change_profile(&site, &file.path().display().to_string(), &password_file.display().to_string());
    scanner.add("the brokers' password", &password);
    scanner.add("the store's secret key", &env("STACK_S3_SECRET_KEY"));
    let jwt = std::fs::read_to_string(env("STACK_POSTGREST_JWT_SECRET")).unwrap();
    scanner.add("the tokens' secret", jwt.trim());
    let database = env("STACK_POSTGRES");
    let password = database.split('@').next().unwrap().rsplit(':').next().unwrap();
    scanner.add("the database's password", password);
    let foreign = scanner.plant("AWS_SECRET_ACCESS_KEY");
    site.with("AWS_SECRET_ACCESS_KEY", foreign).with("AWS_ACCESS_KEY_ID", "somebody")
}

#[test]
fn secrets_never_appear_in_output_or_files() {
    let mut scanner = SecretScanner::new();
    let site = site(&mut scanner);
    write_texts(&site.path("in"), 20, &mut fastrand::Rng::with_seed(15));
    let working = |scanner: &mut SecretScanner| {
        let sessions: [(&[&str], i32); 17] = [
            (&["bootstrap", "apply", "--yes", "-vvv"], 0),
            (&["ingest", "in", "-vvv"], 0),
            (&["worker", "all", "--until-drained", "-vvv"], 0),
            (&["worker", "all", "--until-drained", "-vvv", "--log-format", "json"], 0),
            (&["audit", "-vvv"], 0),
            (&["status", "-vvv"], 0),
            (&["top", "--once", "-vvv"], 0),
            (&["lag", "-o", "json", "-vvv"], 0),
            (&["media", "list", "-vvv"], 0),
            (&["dlq", "list", "-vvv"], 0),
            (&["config", "show"], 0),
            (&["config", "show", "-o", "json"], 0),
            (&["config", "explain", "profile.s3.secret_key"], 0),
            (&["config", "explain", "profile.postgrest.jwt_secret", "-o", "json"], 0),
            (&["config", "explain", "profile.database.admin_url"], 0),
            (&["--help"], 0),
            (&["worker", "all", "--help"], 0),
        ];
        for (words, code) in sessions {
            let ran = site.run(words);
            scanner.scan_output(&words.join(" "), &ran);
            assert_eq!(ran.code, code, "{words:?}: {ran}");
        }
    };
    working(&mut scanner);
    crash(&site, &mut scanner);
    command_lines(&site, &mut scanner);
    manifests(&site, &mut scanner);
    wrong_credentials(&site, &mut scanner);
    unreachable(&site, &mut scanner);
    misplaced_secrets(&site, &mut scanner);
    scanner.scan_folder(&site.path(""));
    for topic in ["mfctl.audit", "ingest.raw", "media.ingested"] {
        for record in committed_records(&site.platform().topic(topic)) {
            scanner.scan(topic, &[record.key, record.value, format!("{:?}", record.headers).into_bytes()].concat());
        }
    }
    assert!(scanner.places > 80, "only {} places were scanned", scanner.places);
}

fn crash(site: &Site, scanner: &mut SecretScanner) {
    write_texts(&site.path("crash"), 5, &mut fastrand::Rng::with_seed(16));
    site.json(["ingest", "crash"], &[0]);
    let died =
        CommandOutput::run(site.command_with_failpoint("before_commit", ["worker", "all", "--until-drained", "-vvv"]));
    assert_eq!(died.code, -6, "{died}");
    scanner.scan_output("a crash", &died);
}

fn command_lines(site: &Site, scanner: &mut SecretScanner) {
    // Its output is large: it goes to a file, which is scanned with the others.
    let words = ["worker", "all", "-vvv", "--listen", "127.0.0.1:0"];
    let worker = Running::logged(site.command(words), &site.path("daemon.log"));
    write_texts(&site.path("more"), 5, &mut fastrand::Rng::with_seed(17));
    let uploaded = site.run(["ingest", "more", "--wait", "enriched", "-vvv"]);
    assert_eq!(uploaded.code, 0, "{uploaded}");
    scanner.scan_output("ingest beside a worker", &uploaded);
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        if line.windows(5).any(|window| window == b"mfctl") && !line.windows(5).any(|window| window == b"stack") {
            scanner.scan("a command line", &line);
        }
    }
    worker.signal(rustix::process::Signal::TERM);
    assert_eq!(worker.code(), 143);
}

/// Commands that connect to every server.
const CONNECTING: [&[&str]; 3] =
    [&["status", "-vvv"], &["worker", "all", "--until-drained", "--give-up-after", "5s", "-vvv"], &["audit", "-vvv"]];

/// Manifests, plans and settings: tokens in use, generated secrets, and secrets that an operator tries to write.
fn manifests(site: &Site, scanner: &mut SecretScanner) {
    scanner.add("Consul's token", &env("STACK_CONSUL_TOKEN"));
    scanner.add("Vault's token", &env("STACK_VAULT_TOKEN"));
    let own = site.env_name();
    let dir = crate::bootstrap::init_manifests(site);
    crate::bootstrap::add_manifest(
        &dir,
        "VaultSecret",
        &format!("{own}-kv/media/generated"),
        "{fields: {key: {random: {bytes: 32}}}}",
    );
    let session = |scanner: &mut SecretScanner, words: &[&str], code: i32| {
        let ran = site.run(words);
        scanner.scan_output(&words.join(" "), &ran);
        assert_eq!(ran.code, code, "{words:?}: {ran}");
    };
    session(scanner, &["bootstrap", "plan", "platform", "--out", "plan.json", "-vvv"], 0);
    session(scanner, &["bootstrap", "apply", "plan.json", "--yes", "-vvv"], 0);
    // The generated secrets are known from now on.
    let read = |path: &str, field: &str| {
        let mut command = std::process::Command::new(env("STACK_VAULT_BIN"));
        command.args(["kv", "get", &format!("-mount={own}-kv"), &format!("-field={field}"), path]);
        command.env("BAO_ADDR", env("STACK_VAULT")).env("BAO_TOKEN", env("STACK_VAULT_TOKEN"));
        let ran = CommandOutput::run(command);
        assert_eq!(ran.code, 0, "{ran}");
        ran.stdout.trim().to_owned()
    };
    scanner.add("a generated secret", &read("media/generated", "key"));
    scanner.add("a generated token of Consul's", &read("media/consul", "token"));
    session(scanner, &["bootstrap", "drift", "platform", "-vvv"], 0);
    session(scanner, &["bootstrap", "show", "platform", "-o", "json", "-vvv"], 0);
    let token = format!("ConsulToken/{own}-worker");
    let secret = format!("VaultSecret/{own}-kv/media/generated");
    session(scanner, &["bootstrap", "import", "found", "--only", &token, "--only", &secret, "-vvv"], 0);
    session(scanner, &["kv", "put", "svc/a", "1", "--reason", "x", "-vvv"], 0);
    session(scanner, &["kv", "list", "-o", "json", "-vvv"], 0);
    session(scanner, &["kv", "history", "-vvv"], 0);

    let planted = scanner.plant("a secret that an operator tries to write into Consul");
    session(scanner, &["kv", "put", "svc/db_password", &planted, "--reason", "x", "-vvv"], 8);
    let wrong = dir.join("base/wrong.yaml");
    let text = "apiVersion: mfctl/v1\nkind: ConsulKeys\nmetadata: {name: svc}\nspec: {keys: {db_password: SECRET}}\n";
    std::fs::write(&wrong, text.replace("SECRET", &planted)).unwrap();
    session(scanner, &["bootstrap", "plan", "platform", "-vvv"], 6);
    session(scanner, &["kv", "push", "platform/base/wrong.yaml", "--reason", "x", "--yes", "-vvv"], 6);
    std::fs::remove_file(wrong).unwrap();

    let token_file = site.home().join("secrets/vault");
    let before = std::fs::read(&token_file).unwrap();
    std::fs::write(&token_file, scanner.plant("a wrong token of Vault's")).unwrap();
    session(scanner, &["bootstrap", "plan", "platform", "-vvv"], 6);
    std::fs::write(&token_file, before).unwrap();
}

/// Sends each server a wrong password, key or token.
fn wrong_credentials(site: &Site, scanner: &mut SecretScanner) {
    for name in ["kafka", "s3", "database", "jwt", "consul"] {
        let wrong = scanner.plant(&format!("a wrong secret of {name}"));
        let secret = site.home().join("secrets").join(name);
        let before = std::fs::read(&secret).unwrap_or_default();
        let text = match name {
            "database" => env("STACK_POSTGRES").replace("mfctl_admin:", &format!("mfctl_admin:{wrong}")),
            _ => wrong,
        };
        std::fs::write(&secret, text).unwrap();
        let profile = match name {
            "jwt" => change_profile(site, &env("STACK_POSTGREST_JWT_SECRET"), &secret.display().to_string()),
            _ => change_profile(site, "kind", "kind"),
        };
        let commands = CONNECTING.into_iter().chain([&["bootstrap", "apply", "--yes", "-vvv"][..]]);
        for words in commands {
            let ran = site.run(words);
            scanner.scan_output(&format!("{} refused by {name}", words.join(" ")), &ran);
            let uses_it = !matches!(name, "database" | "consul") || words[0] == "bootstrap";
            assert!(!uses_it || ran.code != 0, "{words:?} with a wrong secret of {name}: {ran}");
        }
        restore(site, &profile);
        std::fs::write(&secret, before).unwrap();
    }
}

/// Sets the address of each server to one where nothing listens.
fn unreachable(site: &Site, scanner: &mut SecretScanner) {
    for address in [env("STACK_KAFKA_SASL"), env("STACK_S3"), env("STACK_POSTGREST"), env("STACK_REGISTRY")] {
        let nowhere = if address.starts_with("http") { "http://127.0.0.1:1/x" } else { "127.0.0.1:1" };
        let before = change_profile(site, &address, nowhere);
        for words in CONNECTING {
            scanner.scan_output(&format!("{} without {address}", words.join(" ")), &site.run(words));
        }
        restore(site, &before);
    }
}

/// Writes secrets into the profile where they do not belong.
fn misplaced_secrets(site: &Site, scanner: &mut SecretScanner) {
    let inline = scanner.plant("a secret in the profile itself");
    let jwt = format!("jwt_secret = \"file:{}\"", env("STACK_POSTGREST_JWT_SECRET"));
    let brokers = env("STACK_KAFKA_SASL");
    let wrong = [
        (jwt.clone(), format!("jwt_secret = \"{inline}\"")),
        (jwt.clone(), format!("token = [\"{inline}\"]")),
        (jwt.clone(), format!("{jwt}\npassword = \"{inline}\"")),
        (jwt, format!("jwt_secret = \"{inline}")),
        (env("STACK_S3"), env("STACK_S3").replace("http://", &format!("http://me:{inline}@"))),
        (env("STACK_REGISTRY"), env("STACK_REGISTRY").replace("http://", &format!("http://me:{inline}@"))),
        (brokers.clone(), format!("me:{inline}@{brokers}")),
    ];
    for (from, to) in wrong {
        let before = change_profile(site, &from, &to);
        for words in
            [&["status", "-vvv"][..], &["config", "show"], &["config", "explain", "profile.postgrest.jwt_secret"]]
        {
            let ran = site.run(words);
            scanner.scan_output(&format!("{} with {}", words.join(" "), to.replace(&inline, "…")), &ran);
            assert!(ran.code != 0 || words[0] == "config", "{to}: {ran}");
        }
        restore(site, &before);
    }
}
