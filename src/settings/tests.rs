//! The layers' rules, each on files in a temporary folder and an environment of its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;

struct SettingsFixture {
    root: tempfile::TempDir,
    sources: Sources,
}

impl SettingsFixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for dir in ["home/.config/mfctl", "home/work/.git", "home/work/deep", "etc"] {
            std::fs::create_dir_all(at(dir)).unwrap();
        }
        let sources = Sources {
            flags: Flags::default(),
            env: BTreeMap::new(),
            env_bytes: BTreeMap::default(),
            cwd: at("home/work/deep"),
            home: Some(at("home")),
            uid: rustix::process::geteuid().as_raw(),
            user: "ops".to_owned(),
            host: "box".to_owned(),
            system_file: at("etc/mfctl.toml"),
        };
        Self { root, sources }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    fn system(self, text: &str) -> Self {
        self.write("etc/mfctl.toml", text);
        self
    }

    fn user(self, text: &str) -> Self {
        self.write("home/.config/mfctl/mfctl.toml", text);
        self
    }

    fn project(self, text: &str) -> Self {
        self.write("home/work/mfctl.toml", text);
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn profile(mut self, name: &str) -> Self {
        self.sources.flags.profile = Some(name.to_owned());
        self
    }

    fn layers(&self) -> Layers {
        Layers::read(&self.sources).unwrap()
    }

    fn settings(&self) -> Result<Settings, Error> {
        Layers::read(&self.sources)?.settings()
    }

    fn error(&self) -> (SettingsErrorKind, String) {
        let error = self.settings().unwrap_err();
        (error.kind(), format!("{error} [{}]", error.hint_text().unwrap_or_default()))
    }
}

fn resolved(settings: &Settings, key: &str) -> ResolvedSetting {
    settings.resolved.iter().find(|resolved| resolved.key == key).unwrap().clone()
}

const PROD: &str = "[profile.prod]\nenvironment = \"prod\"\nprotected = true\n";

#[test]
fn embedded_profile_is_implied_without_any_file() {
    let site = SettingsFixture::new();
    let settings = site.settings().unwrap();
    assert_eq!((settings.profile.name.as_str(), settings.profile.environment.as_str()), ("embedded", "dev"));
    assert_eq!(settings.profile.data_dir, site.path("home/.local/share/mfctl"));
    assert_eq!(settings.profile.actor, "ops@box");
    assert_eq!(settings.worker.drain_timeout.as_secs(), 25);
    assert_eq!(settings.worker.give_up_after.as_secs(), 120);
    assert_eq!(settings.enrich.memory, ByteSize(512 << 20));
}

#[test]
fn each_layer_overrides_the_one_below_and_names_its_origin() {
    let site = SettingsFixture::new()
        .system("[worker]\ndrain_timeout = \"10s\"\n")
        .user("\n\n[worker]\ndrain_timeout = \"20s\"\n")
        .project("[worker]\ndrain_timeout = 30\n");
    let found = resolved(&site.settings().unwrap(), "worker.drain_timeout");
    assert_eq!((found.value.as_str(), found.origin.layer), ("30s", Layer::Project));
    let hidden: Vec<(&str, Layer)> =
        found.hidden.iter().map(|(value, origin)| (value.as_str(), origin.layer)).collect();
    assert_eq!(hidden, [("20s", Layer::User), ("10s", Layer::System), ("25s", Layer::Default)]);
    assert_eq!(found.hidden[0].1.to_string(), format!("{}:4", site.path("home/.config/mfctl/mfctl.toml").display()));

    let site = site.env("MFCTL_WORKER_DRAIN_TIMEOUT", "1m");
    let settings = site.settings().unwrap();
    assert_eq!(settings.worker.drain_timeout.as_secs(), 60);
    assert_eq!(resolved(&settings, "worker.drain_timeout").origin.to_string(), "MFCTL_WORKER_DRAIN_TIMEOUT");
}

#[test]
fn profile_settings_override_general_settings() {
    let site = SettingsFixture::new()
        .user(&format!("{PROD}[profile.prod.worker]\nconcurrency = 16\n"))
        .project("[worker]\nconcurrency = 2\n")
        .profile("prod");
    let found = resolved(&site.settings().unwrap(), "worker.concurrency");
    assert_eq!((found.value.as_str(), found.hidden[0].0.as_str()), ("16", "2"));
}

#[test]
fn missing_choice_among_profiles_is_a_usage_error_with_the_list() {
    let site = SettingsFixture::new().user(&format!("{PROD}[profile.staging]\nenvironment = \"staging\"\n"));
    let (kind, text) = site.error();
    assert_eq!(kind, SettingsErrorKind::Usage);
    assert!(text.contains("prod, staging") && text.contains("--profile"), "{text}");
}

#[test]
fn profile_is_chosen_by_flag_then_variable_then_user_file() {
    let user = format!(
        "default_profile = \"prod\"\n{PROD}[profile.b]\nenvironment = \"b\"\n[profile.c]\nenvironment = \"c\"\n"
    );
    let site = SettingsFixture::new().user(&user);
    assert_eq!(site.settings().unwrap().profile.name.as_str(), "prod");
    let site = site.env("MFCTL_PROFILE", "b");
    assert_eq!(site.settings().unwrap().profile.name.as_str(), "b");
    let site = site.profile("c");
    let choice = site.layers().choose().unwrap();
    assert_eq!((choice.profile.as_str(), choice.origin.to_string().as_str()), ("c", "--profile"));
}

#[test]
fn data_dir_implies_embedded_only_when_no_profile_is_chosen() {
    let mut site = SettingsFixture::new().user(PROD);
    site.sources.flags.data_dir = Some(PathBuf::from("../data"));
    let settings = site.settings().unwrap();
    assert_eq!(settings.profile.name.as_str(), "embedded");
    assert_eq!(settings.profile.data_dir, site.path("home/work/data"));
    let site = site.env("MFCTL_PROFILE", "prod");
    assert_eq!(site.settings().unwrap().profile.name.as_str(), "prod");
    // The variable names a folder; it chooses nothing.
    let site = SettingsFixture::new().user(PROD).env("MFCTL_DATA_DIR", "/data");
    assert_eq!(site.error().0, SettingsErrorKind::Usage);
}

#[test]
fn embedded_profile_can_always_be_chosen() {
    let site = SettingsFixture::new().user(PROD).profile("embedded");
    assert_eq!(site.settings().unwrap().profile.environment.as_str(), "dev");
}

#[test]
fn unknown_profile_is_reported_with_the_nearest_name() {
    let (kind, text) = SettingsFixture::new().user(PROD).profile("prd").error();
    assert_eq!(kind, SettingsErrorKind::NotFound);
    assert!(text.contains("did you mean `prod`?"), "{text}");
}

#[test]
fn profile_with_servers_must_be_of_kind_cluster() {
    let far = "[profile.far]\nenvironment = \"dev\"\n[profile.far.kafka]\nbrokers = \"a:1\"\n";
    let (kind, text) = SettingsFixture::new().user(far).profile("far").error();
    assert_eq!(kind, SettingsErrorKind::Invalid);
    assert!(text.contains("has no kafka") && text.contains("kind = \"cluster\""), "{text}");
    let fixture = SettingsFixture::new().user(far).system("[profile.far]\nkind = \"cluster\"\n").profile("far");
    assert_eq!(fixture.settings().unwrap().profile.kind, ProfileKind::Cluster);
}

#[test]
fn env_flag_only_asserts_the_environment() {
    let mut site = SettingsFixture::new().user(PROD).profile("prod");
    site.sources.flags.env = Some("dev".parse().unwrap());
    assert_eq!(site.error().0, SettingsErrorKind::Refused);
    site.sources.flags.env = Some("prod".parse().unwrap());
    assert!(site.settings().is_ok());
    let site = SettingsFixture::new().env("MFCTL_ENV", "prod");
    assert_eq!(site.error().0, SettingsErrorKind::Refused);
}

#[test]
fn default_data_folder_differs_per_profile() {
    let site = SettingsFixture::new().user(PROD).profile("prod");
    assert_eq!(site.settings().unwrap().profile.data_dir, site.path("home/.local/share/mfctl-prod"));
}

#[test]
fn relative_data_folder_starts_at_the_folder_of_its_file() {
    let site = SettingsFixture::new()
        .project("[profile.here]\nenvironment = \"dev\"\ndata_dir = \"./data\"\n")
        .profile("here");
    assert_eq!(site.settings().unwrap().profile.data_dir, site.path("home/work/data"));
    let site = SettingsFixture::new().user("[profile.a]\nenvironment = \"dev\"\ndata_dir = \"~/d\"\n").profile("a");
    assert_eq!(site.settings().unwrap().profile.data_dir, site.path("home/d"));
}

#[test]
fn project_file_may_add_profiles_but_not_redefine_or_choose_one() {
    let added = SettingsFixture::new().user(PROD).project("[profile.demo]\nenvironment = \"demo\"\n").profile("demo");
    assert_eq!(added.settings().unwrap().profile.environment.as_str(), "demo");
    for project in [
        "[profile.prod]\nprotected = false\n",
        "\n[profile.embedded]\nenvironment = \"x\"\n",
        "default_profile = \"prod\"\n",
    ] {
        let (kind, text) = SettingsFixture::new().user(PROD).project(project).profile("prod").error();
        assert_eq!(kind, SettingsErrorKind::Invalid, "{project}");
        assert!(text.contains("work/mfctl.toml:"), "{text}");
    }
    let (kind, _) = SettingsFixture::new().system("default_profile = \"prod\"\n").error();
    assert_eq!(kind, SettingsErrorKind::Invalid);
}

#[test]
fn project_file_that_others_can_write_is_refused() {
    let site = SettingsFixture::new().project("[worker]\nconcurrency = 2\n");
    let path = site.path("home/work/mfctl.toml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o664)).unwrap();
    let (kind, text) = site.error();
    assert_eq!(kind, SettingsErrorKind::Invalid);
    assert!(text.contains("can be written by others (mode 664)"), "{text}");
}

#[test]
fn project_file_of_another_user_is_refused() {
    let mut site = SettingsFixture::new().project("[worker]\nconcurrency = 2\n");
    // As if another user ran it. Root's files are trusted, so the file gets an owner where the test may do that.
    let path = site.path("home/work/mfctl.toml");
    if site.sources.uid == 0 {
        std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
    } else {
        site.sources.uid += 1;
    }
    assert!(site.error().1.contains("belongs to another user"), "{:?}", site.error());
}

#[test]
fn project_file_is_searched_up_to_the_repository_root() {
    let site = SettingsFixture::new();
    site.write("home/mfctl.toml", "nonsense = 1\n");
    assert!(site.settings().is_ok());
    let mut outside = SettingsFixture::new();
    outside.write("etc/mfctl.toml", "");
    std::fs::create_dir_all(outside.path("srv/x")).unwrap();
    outside.write("srv/mfctl.toml", "nonsense = 1\n");
    outside.sources.cwd = outside.path("srv/x");
    assert!(outside.settings().is_ok());
}

#[test]
fn config_flag_replaces_the_user_file_and_must_exist() {
    let mut site = SettingsFixture::new().user("[worker]\nconcurrency = 1\n");
    site.write("other.toml", "[worker]\nconcurrency = 7\n");
    site.sources.flags.config = Some(site.path("other.toml"));
    let found = resolved(&site.settings().unwrap(), "worker.concurrency");
    assert_eq!((found.value.as_str(), found.hidden.len()), ("7", 1));
    site.sources.flags.config = Some(PathBuf::from("none.toml"));
    assert_eq!(site.error().0, SettingsErrorKind::NotFound);
}

#[test]
fn unknown_keys_are_errors_with_line_and_suggestion() {
    let wrongs = [
        ("[worker]\n\nconcurency = 2\n", ":3: unknown key `worker.concurency` [did you mean `concurrency`?]"),
        ("[wroker]\n", ":1: unknown key `wroker` [did you mean `worker`?]"),
        (
            "[profile.a]\nenvironment = \"a\"\ndata-dir = \"x\"\n",
            ":3: unknown key `data-dir` [did you mean `data_dir`?]",
        ),
        ("[enrich]\nmemory = \"lots\"\n", ":2: enrich.memory expects a size"),
        ("[worker]\nconcurrency = [1]\n", ":2: worker.concurrency expects"),
        ("worker = 3\n", ":1: worker expects a table"),
        ("[worker\n", ":1: "),
        ("[profile.\"a b\"]\n", ":1: \"a b\" is no profile name"),
    ];
    for (text, expected) in wrongs {
        let (kind, message) = SettingsFixture::new().user(text).error();
        assert_eq!(kind, SettingsErrorKind::Invalid, "{text}");
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn invalid_value_is_an_error_even_when_overridden() {
    let site = SettingsFixture::new().system("[slo]\nsuccess = 7.5\n").user("[slo]\nsuccess = 0.9\n");
    assert_eq!(site.error().0, SettingsErrorKind::Invalid);
}

#[test]
fn invalid_variables_are_errors() {
    assert!(
        SettingsFixture::new()
            .env("MFCTL_WORKER_CONCURRENCY", "many")
            .error()
            .1
            .contains("MFCTL_WORKER_CONCURRENCY: worker.concurrency expects")
    );
    assert!(SettingsFixture::new().env("MFCTL_PROFILE", "").error().1.contains("the variable is empty"));
    let site = SettingsFixture::new()
        .env("MFCTL_WORKER_CONCURENCY", "3")
        .env("MFCTL_SERVICE_HOST", "10.0.0.1")
        .env("MFCTL_PORT_9090_TCP", "tcp://10.0.0.1:9090")
        .env("MFCTL_TEST_CLOCK_OFFSET_SECONDS", "3");
    let layers = site.layers();
    assert_eq!(layers.warnings().len(), 1, "{:?}", layers.warnings());
    assert!(layers.warnings()[0].contains("did you mean MFCTL_WORKER_CONCURRENCY?"), "{:?}", layers.warnings());
}

#[test]
fn profile_without_an_environment_is_refused_with_its_line() {
    let (kind, text) = SettingsFixture::new().user("\n[profile.a]\nkind = \"embedded\"\n").profile("a").error();
    assert_eq!(kind, SettingsErrorKind::Invalid);
    assert!(text.contains("mfctl.toml:2: profile `a` has no environment"), "{text}");
}

const CLUSTER: &str = "[profile.c]\nkind = \"cluster\"\nenvironment = \"dev\"\n\
    [profile.c.kafka]\nbrokers = [\"a:9092\", \"b:9092\"]\n[profile.c.s3]\nca = \"tls/ca.pem\"\n";

#[test]
fn cluster_profile_has_only_the_services_it_names() {
    let settings = SettingsFixture::new().user(CLUSTER).profile("c").settings().unwrap();
    assert_eq!(settings.profile.kind, ProfileKind::Cluster);
    let services = &settings.profile.services;
    assert_eq!(services.kafka.as_ref().unwrap().brokers, Some(Brokers::At("a:9092,b:9092".into())));
    assert!(services.postgrest.is_none() && services.schema_registry.is_none());
    assert_eq!(services.endpoints(), [("kafka", "a:9092,b:9092".to_owned()), ("s3", "aws/us-east-1".to_owned())]);
    let ca = services.s3.as_ref().unwrap().ca.as_deref().unwrap();
    assert!(ca.is_absolute() && ca.ends_with("tls/ca.pem"), "{}", ca.display());
}

#[test]
fn plain_secrets_are_refused_and_not_repeated() {
    for (table, key) in [("kafka", "password"), ("s3", "secret_key"), ("database", "admin_url")] {
        let text = format!(
            "[profile.c]\nkind = \"cluster\"\nenvironment = \"dev\"\n[profile.c.{table}]\n{key} = \"hunter2\"\n"
        );
        let (_, message) = SettingsFixture::new().user(&text).profile("c").error();
        assert!(
            message.contains("by reference") && message.contains(":5:") && !message.contains("hunter2"),
            "{message}"
        );
    }
    let (_, message) = SettingsFixture::new()
        .user("[profile.c]\nkind = \"cluster\"\nenvironment = \"dev\"\n[profile.c.postgrest]\nurl = \"http://u:hunter2@host\"\n")
        .profile("c")
        .error();
    assert!(message.contains("without a password") && !message.contains("hunter2"), "{message}");
}

#[test]
fn fallback_variables_fill_only_unset_keys() {
    let site = |text: &str| {
        SettingsFixture::new()
            .user(text)
            .profile("c")
            .env("AWS_REGION", "eu-north-1")
            .env("AWS_SECRET_ACCESS_KEY", "hunter2")
            .env("AWS_ENDPOINT_URL", "http://elsewhere:9000")
    };
    let open = site(CLUSTER).settings().unwrap();
    let s3 = open.profile.services.s3.as_ref().unwrap();
    assert_eq!(
        (s3.region.as_str(), s3.endpoint.as_ref().unwrap().show()),
        ("eu-north-1", "http://elsewhere:9000".into())
    );
    let secret = resolved(&open, "profile.s3.secret_key");
    assert_eq!(
        (secret.value.as_str(), secret.origin.to_string()),
        ("env:AWS_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY".into())
    );
    assert!(!format!("{open:?}").contains("hunter2"));
    let settings = site(&format!("{CLUSTER}region = \"us-west-2\"\n")).settings().unwrap();
    let region = resolved(&settings, "profile.s3.region");
    assert_eq!((region.value.as_str(), region.hidden[0].0.as_str()), ("us-west-2", "eu-north-1"));
    let without = site("[profile.c]\nkind = \"cluster\"\nenvironment = \"dev\"\n").settings().unwrap();
    assert!(without.profile.services.s3.is_none());
}

#[test]
fn generated_file_round_trips_and_changes_only_the_profile() {
    let profile = NewProfile {
        name: "prod-eu".parse().unwrap(),
        environment: "prod".parse().unwrap(),
        data_dir: Some(PathBuf::from("/srv/it's \"here\"")),
        default: true,
    };
    let text = commented_file(&profile);
    let settings = SettingsFixture::new().user(&text).settings().unwrap();
    assert_eq!(settings.profile.data_dir, Path::new("/srv/it's \"here\""));
    assert!(settings.profile.protected);
    let general = settings.resolved.iter().filter(|resolved| !resolved.key.starts_with("profile."));
    assert!(general.clone().count() > 10);
    assert!(general.clone().all(|resolved| resolved.origin.layer == Layer::Default));
    // Each commented default is itself a valid line.
    let uncommented: String = text
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ") && !rest.contains('(')).unwrap_or(line))
        .filter(|line| !line.starts_with("data_dir = \"/path\"") && !line.contains("protected = false"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(SettingsFixture::new().user(&uncommented).settings().is_ok(), "{uncommented}");
}

#[test]
fn reference_names_every_key() {
    let text = reference();
    assert!(all_keys().all(|key| text.contains(&format!("| `{}` |", key.field))));
}

#[test]
fn a_variable_with_a_path_need_not_be_utf8() {
    let bytes = |text: &[u8]| OsStr::from_bytes(text).to_owned();
    let mut fixture = SettingsFixture::new().user(
        "[profile.prod]\nkind = \"cluster\"\nenvironment = \"prod\"\n[profile.prod.vault]\nurl = \"https://v:1\"\n",
    );
    fixture.sources.env_bytes.insert("MFCTL_DATA_DIR".to_owned(), bytes(b"d\xff"));
    fixture.sources.env_bytes.insert("VAULT_CACERT".to_owned(), bytes(b"/ca\xfe.pem"));
    fixture.sources.env_bytes.insert("LS_COLORS".to_owned(), bytes(b"\xff"));
    let name: ProfileName = "prod".parse().unwrap();
    let layers = fixture.layers();
    let settings = layers.settings_of(&ProfileName::embedded()).unwrap();
    assert_eq!(settings.profile.data_dir, fixture.sources.cwd.join(OsStr::from_bytes(b"d\xff")));
    let shown = |key: &str| {
        let resolved = layers.resolved(Some(&name)).unwrap();
        resolved.into_iter().find(|setting| setting.key == key).unwrap().value
    };
    assert!(shown("profile.data_dir").ends_with("/d\\xff"), "{}", shown("profile.data_dir"));
    assert_eq!(shown("profile.vault.ca"), "/ca\\xfe.pem");
    fixture.sources.env_bytes.insert("MFCTL_CONFIG".to_owned(), bytes(b"no\xff.toml"));
    let error = Layers::read(&fixture.sources).unwrap_err().to_string();
    assert!(error.contains("there is no file /") && error.ends_with("/no\\xff.toml"), "{error}");
    fixture.sources.env_bytes.remove("MFCTL_CONFIG");
    fixture.sources.env_bytes.insert("MFCTL_TENANT".to_owned(), bytes(b"a\xff"));
    assert_eq!(Layers::read(&fixture.sources).unwrap_err().to_string(), "MFCTL_TENANT: the value is not UTF-8");
}
