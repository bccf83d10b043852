//! Secrets are in nothing that mfctl says or writes, whatever goes wrong.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::independent::committed;
use crate::support::stack::{Endpoints, Platform, env};
use crate::support::{Ran, Running, Site, write_texts};

/// What must be nowhere, and where it was looked for.
struct Watch {
    secrets: Vec<(String, Vec<Vec<u8>>)>,
    places: usize,
}

impl Watch {
    fn new() -> Self {
        Self { secrets: Vec::new(), places: 0 }
    }

    /// Something that nobody may see, as it is and in base64 at any alignment.
    fn over(&mut self, name: &str, secret: &str) {
        let mut forms = vec![secret.as_bytes().to_vec()];
        for shift in 0..3 {
            let coded = STANDARD.encode([&vec![b':'; shift][..], secret.as_bytes()].concat());
            forms.push(coded.as_bytes()[4.min(shift * 4)..coded.len() - 4].to_vec());
        }
        self.secrets.push((name.to_owned(), forms));
    }

    /// A fresh one.
    fn plant(&mut self, name: &str) -> String {
        let secret = format!("planted{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        self.over(name, &secret);
        secret
    }

    fn look(&mut self, place: &str, bytes: &[u8]) {
        self.places += 1;
        for (name, forms) in &self.secrets {
            for form in forms {
                let found = bytes.windows(form.len()).any(|window| window == form);
                assert!(!found, "{name} is in {place}:\n{}", String::from_utf8_lossy(bytes));
            }
        }
        // Tokens that mfctl signs by itself, in logs or files.
        assert!(!bytes.windows(6).any(|window| window == b"eyJhbG"), "a token is in {place}");
    }

    fn hear(&mut self, place: &str, ran: &Ran) {
        self.look(place, ran.stdout.as_bytes());
        self.look(place, ran.stderr.as_bytes());
        assert!(!ran.stderr.contains("panicked"), "{place}: {ran}");
    }

    /// Every file below a folder, the test's own secrets and profile apart.
    fn search(&mut self, dir: &Path) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.ends_with("home/secrets") || path.ends_with("home/.config") {
                continue;
            }
            if path.is_dir() {
                self.search(&path);
            } else if path.is_file() {
                self.look(&path.display().to_string(), &std::fs::read(&path).unwrap());
            }
        }
    }
}

/// The profile's file with some words in it replaced.
fn change(site: &Site, from: &str, to: &str) -> String {
    let path = site.home().join(".config/mfctl/mfctl.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    assert!(before.contains(from), "{from} is not in {before}");
    std::fs::write(&path, before.replace(from, to)).unwrap();
    before
}

fn restore(site: &Site, before: &str) {
    std::fs::write(site.home().join(".config/mfctl/mfctl.toml"), before).unwrap();
}

/// A site whose brokers want a password.
fn site(watch: &mut Watch) -> Site {
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
    let kept = site.home().join("secrets/kafka");
    std::fs::copy(file.path(), &kept).unwrap();
    change(&site, &file.path().display().to_string(), &kept.display().to_string());
    watch.over("the brokers' password", &password);
    watch.over("the store's secret key", &env("STACK_S3_SECRET_KEY"));
    let jwt = std::fs::read_to_string(env("STACK_POSTGREST_JWT_SECRET")).unwrap();
    watch.over("the tokens' secret", jwt.trim());
    let database = env("STACK_POSTGRES");
    let password = database.split('@').next().unwrap().rsplit(':').next().unwrap();
    watch.over("the database's password", password);
    let foreign = watch.plant("AWS_SECRET_ACCESS_KEY");
    site.with("AWS_SECRET_ACCESS_KEY", foreign).with("AWS_ACCESS_KEY_ID", "somebody")
}

#[test]
fn no_secret_is_in_anything_that_a_full_session_says_or_writes() {
    let mut watch = Watch::new();
    let site = site(&mut watch);
    write_texts(&site.path("in"), 20, &mut fastrand::Rng::with_seed(15));
    let working = |watch: &mut Watch| {
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
            watch.hear(&words.join(" "), &ran);
            assert_eq!(ran.code, code, "{words:?}: {ran}");
        }
    };
    working(&mut watch);
    crash(&site, &mut watch);
    command_lines(&site, &mut watch);
    manifests(&site, &mut watch);
    refused(&site, &mut watch);
    unreachable(&site, &mut watch);
    unusable(&site, &mut watch);
    watch.search(&site.path(""));
    for topic in ["mfctl.audit", "ingest.raw", "media.ingested"] {
        for record in committed(&site.platform().topic(topic)) {
            watch.look(topic, &[record.key, record.value, format!("{:?}", record.headers).into_bytes()].concat());
        }
    }
    assert!(watch.places > 80, "only {} places were looked at", watch.places);
}

fn crash(site: &Site, watch: &mut Watch) {
    write_texts(&site.path("crash"), 5, &mut fastrand::Rng::with_seed(16));
    site.json(["ingest", "crash"], &[0]);
    let died = Ran::of(site.failing("before_commit", ["worker", "all", "--until-drained", "-vvv"]));
    assert_eq!(died.code, -6, "{died}");
    watch.hear("a crash", &died);
}

fn command_lines(site: &Site, watch: &mut Watch) {
    // It says much: into a file, which is searched with the others.
    let words = ["worker", "all", "-vvv", "--listen", "127.0.0.1:0"];
    let worker = Running::logged(site.command(words), &site.path("daemon.log"));
    write_texts(&site.path("more"), 5, &mut fastrand::Rng::with_seed(17));
    let uploaded = site.run(["ingest", "more", "--wait", "enriched", "-vvv"]);
    assert_eq!(uploaded.code, 0, "{uploaded}");
    watch.hear("ingest beside a worker", &uploaded);
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        if line.windows(5).any(|window| window == b"mfctl") && !line.windows(5).any(|window| window == b"stack") {
            watch.look("a command line", &line);
        }
    }
    worker.signal(rustix::process::Signal::TERM);
    assert_eq!(worker.code(), 143);
}

const ASKING: [&[&str]; 3] =
    [&["status", "-vvv"], &["worker", "all", "--until-drained", "--give-up-after", "3s", "-vvv"], &["audit", "-vvv"]];

/// Manifests, plans and settings: what they are made with, what is made at random, and what somebody tries to write there.
fn manifests(site: &Site, watch: &mut Watch) {
    watch.over("Consul's token", &env("STACK_CONSUL_TOKEN"));
    watch.over("Vault's token", &env("STACK_VAULT_TOKEN"));
    let own = site.env_name();
    let dir = crate::bootstrap::folder(site);
    crate::bootstrap::add(
        &dir,
        "VaultSecret",
        &format!("{own}-kv/media/generated"),
        "{fields: {key: {random: {bytes: 32}}}}",
    );
    let session = |watch: &mut Watch, words: &[&str], code: i32| {
        let ran = site.run(words);
        watch.hear(&words.join(" "), &ran);
        assert_eq!(ran.code, code, "{words:?}: {ran}");
    };
    session(watch, &["bootstrap", "plan", "platform", "--out", "plan.json", "-vvv"], 0);
    session(watch, &["bootstrap", "apply", "plan.json", "--yes", "-vvv"], 0);
    // What was made at random is known from now on.
    let read = |path: &str, field: &str| {
        let mut command = std::process::Command::new(env("STACK_VAULT_BIN"));
        command.args(["kv", "get", &format!("-mount={own}-kv"), &format!("-field={field}"), path]);
        command.env("BAO_ADDR", env("STACK_VAULT")).env("BAO_TOKEN", env("STACK_VAULT_TOKEN"));
        let ran = Ran::of(command);
        assert_eq!(ran.code, 0, "{ran}");
        ran.stdout.trim().to_owned()
    };
    watch.over("a generated secret", &read("media/generated", "key"));
    watch.over("a generated token of Consul's", &read("media/consul", "token"));
    session(watch, &["bootstrap", "drift", "platform", "-vvv"], 0);
    session(watch, &["bootstrap", "show", "platform", "-o", "json", "-vvv"], 0);
    let (token, secret) = (format!("ConsulToken/{own}-worker"), format!("VaultSecret/{own}-kv/media/generated"));
    session(watch, &["bootstrap", "import", "found", "--only", &token, "--only", &secret, "-vvv"], 0);
    session(watch, &["kv", "put", "svc/a", "1", "--reason", "x", "-vvv"], 0);
    session(watch, &["kv", "list", "-o", "json", "-vvv"], 0);
    session(watch, &["kv", "history", "-vvv"], 0);

    let planted = watch.plant("a secret that somebody tries to write into Consul");
    session(watch, &["kv", "put", "svc/db_password", &planted, "--reason", "x", "-vvv"], 8);
    let wrong = dir.join("base/wrong.yaml");
    let text = "apiVersion: mfctl/v1\nkind: ConsulKeys\nmetadata: {name: svc}\nspec: {keys: {db_password: SECRET}}\n";
    std::fs::write(&wrong, text.replace("SECRET", &planted)).unwrap();
    session(watch, &["bootstrap", "plan", "platform", "-vvv"], 6);
    session(watch, &["kv", "push", "platform/base/wrong.yaml", "--reason", "x", "--yes", "-vvv"], 6);
    std::fs::remove_file(wrong).unwrap();

    let kept = site.home().join("secrets/vault");
    let before = std::fs::read(&kept).unwrap();
    std::fs::write(&kept, watch.plant("a wrong token of Vault's")).unwrap();
    session(watch, &["bootstrap", "plan", "platform", "-vvv"], 6);
    std::fs::write(&kept, before).unwrap();
}

/// Each server is given a wrong password, key or token.
fn refused(site: &Site, watch: &mut Watch) {
    for name in ["kafka", "s3", "database", "jwt", "consul"] {
        let wrong = watch.plant(&format!("a wrong secret of {name}"));
        let secret = site.home().join("secrets").join(name);
        let before = std::fs::read(&secret).unwrap_or_default();
        let text = match name {
            "database" => env("STACK_POSTGRES").replace("mfctl_admin:", &format!("mfctl_admin:{wrong}")),
            _ => wrong,
        };
        std::fs::write(&secret, text).unwrap();
        let profile = match name {
            "jwt" => change(site, &env("STACK_POSTGREST_JWT_SECRET"), &secret.display().to_string()),
            _ => change(site, "kind", "kind"),
        };
        let asked = ASKING.into_iter().chain([&["bootstrap", "apply", "--yes", "-vvv"][..]]);
        for words in asked {
            let ran = site.run(words);
            watch.hear(&format!("{} refused by {name}", words.join(" ")), &ran);
            let asks_it = !matches!(name, "database" | "consul") || words[0] == "bootstrap";
            assert!(!asks_it || ran.code != 0, "{words:?} with a wrong secret of {name}: {ran}");
        }
        restore(site, &profile);
        std::fs::write(&secret, before).unwrap();
    }
}

/// Each server is looked for where nothing listens.
fn unreachable(site: &Site, watch: &mut Watch) {
    for address in [env("STACK_KAFKA_SASL"), env("STACK_S3"), env("STACK_POSTGREST"), env("STACK_REGISTRY")] {
        let nowhere = if address.starts_with("http") { "http://127.0.0.1:1/x" } else { "127.0.0.1:1" };
        let before = change(site, &address, nowhere);
        for words in ASKING {
            watch.hear(&format!("{} without {address}", words.join(" ")), &site.run(words));
        }
        restore(site, &before);
    }
}

/// Secrets written where they do not belong.
fn unusable(site: &Site, watch: &mut Watch) {
    let inline = watch.plant("a secret in the profile itself");
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
        let before = change(site, &from, &to);
        for words in
            [&["status", "-vvv"][..], &["config", "show"], &["config", "explain", "profile.postgrest.jwt_secret"]]
        {
            let ran = site.run(words);
            watch.hear(&format!("{} with {}", words.join(" "), to.replace(&inline, "…")), &ran);
            assert!(ran.code != 0 || words[0] == "config", "{to}: {ran}");
        }
        restore(site, &before);
    }
}
