//! `config set`, `config unset` and `profile`: changes of configuration files by verbs.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{CommandOutput, Running, Site};

fn file(site: &Site) -> PathBuf {
    site.home().join(".config/mfctl/mfctl.toml")
}

fn write(site: &Site, text: &str) {
    let path = file(site);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
}

fn read(site: &Site) -> String {
    std::fs::read_to_string(file(site)).unwrap()
}

fn run(site: &Site, words: &[&str]) -> CommandOutput {
    CommandOutput::run(site.command_without_data_dir(words))
}

#[track_caller]
fn succeed(site: &Site, words: &[&str]) -> CommandOutput {
    let ran = run(site, words);
    assert_eq!(ran.code, 0, "{words:?}: {ran}");
    ran
}

#[track_caller]
fn json(site: &Site, words: &[&str]) -> Value {
    let words: Vec<&str> = words.iter().copied().chain(["-o", "json"]).collect();
    serde_json::from_str(&succeed(site, &words).stdout).unwrap()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o777
}

#[test]
fn a_file_that_is_not_utf8_is_refused_with_its_line_and_stays() {
    let site = Site::new();
    write(&site, "");
    for (bytes, line, byte) in
        [(&b"# a\n[slo]\n# caf\xe9\nsuccess = 0.9\n"[..], 3, "0xe9"), (b"\xff\xfe[\0s\0l\0o\0]\0\n\0", 1, "0xff")]
    {
        std::fs::write(file(&site), bytes).unwrap();
        for words in [
            &["config", "set", "slo.success", "0.5"][..],
            &["config", "unset", "slo.success"],
            &["profile", "use", "embedded"],
            &["profile", "add", "new"],
            &["config", "show"],
        ] {
            let ran = run(&site, words);
            let says = format!("mfctl.toml:{line}: the file is not UTF-8 (byte {byte})");
            assert!(ran.code == 6 && ran.stderr.contains(&says), "{words:?}: {ran}");
        }
        assert_eq!(std::fs::read(file(&site)).unwrap(), bytes);
    }
}

#[test]
fn a_file_that_is_not_toml_is_named_with_its_line() {
    let site = Site::new();
    let text = "[slo]\nsuccess = 0.9\nlatency_seconds = = 3\n";
    write(&site, text);
    let named = format!("{}:3: ", file(&site).display());
    for words in [
        &["config", "set", "slo.success", "0.5"][..],
        &["config", "unset", "slo.success"],
        &["profile", "add", "new"],
        &["config", "show"],
    ] {
        let ran = run(&site, words);
        assert!(ran.code == 6 && ran.stderr.matches(&named).count() == 1, "{words:?}: {ran}");
    }
    assert_eq!(read(&site), text);
}

#[test]
fn a_mark_and_mixed_line_ends_stay() {
    let site = Site::new();
    let text =
        "\u{FEFF}# ours\r\n[slo] # levels\nsuccess = 0.9\r\nlatency_seconds = 60\n[profile.p]\r\nenvironment = \"dev\"";
    write(&site, text);
    succeed(&site, &["config", "set", "slo.success", "0.5"]);
    let mut expected = text.replace("0.9", "0.5");
    assert_eq!(read(&site), expected);
    succeed(&site, &["profile", "use", "p"]);
    expected = expected.replace('\u{FEFF}', "\u{FEFF}default_profile = \"p\"\r\n\r\n");
    assert_eq!(read(&site), expected);
    succeed(&site, &["config", "unset", "slo.success"]);
    expected = expected.replace("success = 0.5\r\n", "");
    assert_eq!(read(&site), expected);
    succeed(&site, &["config", "set", "tenant", "films"]);
    assert_eq!(read(&site), format!("{expected}\r\ntenant = \"films\"\r\n"));
    succeed(&site, &["profile", "add", "q"]);
    let added = read(&site);
    let rest = added.strip_prefix(&format!("{expected}\r\ntenant = \"films\"\r\n")).unwrap();
    assert!(rest.starts_with("\r\n[profile.q]\r\n"), "{rest:?}");
}

const COMMENTED: &str = "\
# our settings
default_profile = \"prod\"

[slo]   # levels
latency_seconds=60 # since INC-5

[profile.prod]
environment = \"prod\"
protected = true
# the films
tenant = \"films\"

[profile.dev]
environment = \"dev\"
";

#[test]
fn set_creates_a_private_file_and_names_it_first() {
    let site = Site::new();
    let ran = succeed(&site, &["config", "set", "worker.drain_timeout", "10s"]);
    let path = file(&site);
    assert!(ran.stdout.starts_with(&format!("created {}\n", path.display())), "{ran}");
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(read(&site), "[worker]\ndrain_timeout = \"10s\"\n");
    // The profile in effect is still the built-in one.
    let shown = json(&site, &["config", "show"]);
    assert_eq!(shown["profile"], "embedded");
    succeed(&site, &["config", "set", "tenant", "films"]);
    assert_eq!(json(&site, &["config", "show"])["profile"], "embedded");
    let again = succeed(&site, &["config", "set", "worker.drain_timeout", "10s"]);
    assert!(again.stdout.starts_with(&format!("unchanged {}\n", path.display())), "{again}");
}

#[test]
fn set_and_unset_keep_comments_order_and_mode() {
    let site = Site::new();
    write(&site, COMMENTED);
    std::fs::set_permissions(file(&site), PermissionsExt::from_mode(0o640)).unwrap();
    let set = json(&site, &["config", "set", "slo.latency_seconds", "30"]);
    assert_eq!((&set["before"], &set["after"], &set["changed"]), (&"60".into(), &"30".into(), &true.into()), "{set:#}");
    assert_eq!(set["effective"]["value"], "30", "{set:#}");
    assert_eq!(read(&site), COMMENTED.replace("=60", "=30"));
    succeed(&site, &["config", "set", "slo.latency_seconds", "60"]);
    succeed(&site, &["config", "set", "profile.dev.storage.warn_percent", "70"]);
    assert_eq!(read(&site), format!("{COMMENTED}\n[profile.dev.storage]\nwarn_percent = 70\n"));
    let unset = succeed(&site, &["config", "unset", "storage.warn_percent", "--profile", "dev"]);
    assert!(unset.stdout.contains("is no longer set (was 70)") && unset.stdout.contains("in effect: 80"), "{unset}");
    assert_eq!(read(&site), COMMENTED);
    succeed(&site, &["config", "unset", "tenant"]);
    assert_eq!(read(&site), COMMENTED.replace("tenant = \"films\"\n", ""));
    let absent = succeed(&site, &["config", "unset", "tenant"]);
    assert!(absent.stdout.contains("was not set"), "{absent}");
    assert_eq!(mode(&file(&site)), 0o640);
}

#[test]
fn a_dry_run_prints_a_diff_and_writes_nothing() {
    let site = Site::new();
    write(&site, COMMENTED);
    let dry = succeed(&site, &["config", "set", "slo.latency_seconds", "30", "--dry-run"]);
    assert!(dry.stdout.starts_with(&format!("would change {}\n", file(&site).display())), "{dry}");
    assert!(dry.stdout.contains("\n-latency_seconds=60 # since INC-5\n+latency_seconds=30 # since INC-5\n"), "{dry}");
    let dry = succeed(&site, &["config", "set", "protected", "false", "--profile", "prod", "-n"]);
    assert!(dry.stderr.contains("needs --yes --confirm prod"), "{dry}");
    let dry = json(&site, &["profile", "add", "x", "--dry-run"]);
    assert!(dry["diff"].as_str().unwrap().contains("+[profile.x]"), "{dry:#}");
    assert_eq!(read(&site), COMMENTED);
    let none = Site::new();
    let dry = succeed(&none, &["config", "set", "slo.latency_seconds", "30", "--dry-run"]);
    assert!(dry.stdout.contains("+latency_seconds = 30"), "{dry}");
    assert!(!none.home().join(".config").exists());
}

#[test]
fn invalid_keys_and_values_are_refused_and_nothing_is_written() {
    let site = Site::new();
    write(&site, COMMENTED);
    for (words, code, says) in [
        (&["slo.latency_second", "30"][..], 6, "did you mean `slo.latency_seconds`?"),
        (&["slo.latency_seconds", "soon"][..], 6, "a whole number"),
        (&["slo.latency_seconds", "0"][..], 6, "a whole number"),
        (&["enrich.memory", "24MiB"][..], 6, "below its minimum of 192MiB"),
        (&["tenant", "No Tenant"][..], 6, "a tenant's name"),
        (&["tenant", "x", "--profile", "prodd"][..], 6, "did you mean `prod`?"),
        (&["profile.new.tenant", "x"][..], 6, "mfctl profile add new"),
        (&["profile.dev.tenant", "x", "--profile", "prod"][..], 2, "names profile dev"),
        // The file as a whole is loaded: an embedded profile has no servers.
        (&["kafka.brokers", "k:9092", "--profile", "dev"][..], 6, "an embedded profile has no kafka"),
        (&["default_profile", "nothing"][..], 6, "there is no profile `nothing`"),
    ] {
        let words: Vec<&str> = ["config", "set"].iter().chain(words).copied().collect();
        let ran = run(&site, &words);
        assert_eq!(ran.code, code, "{words:?}: {ran}");
        assert!(ran.stderr.contains(says), "{words:?}: {ran}");
        assert!(ran.stdout.is_empty(), "{words:?}: {ran}");
    }
    let incomplete = run(&site, &["config", "unset", "environment", "--profile", "dev"]);
    assert!(incomplete.code == 0 || incomplete.stderr.contains("dev"), "{incomplete}");
    assert!(read(&site).contains("[slo]   # levels"));
    // A value that makes the file invalid can be replaced.
    write(&site, "[slo]\nlatency_seconds = \"soon\"\n");
    succeed(&site, &["config", "set", "slo.latency_seconds", "30"]);
    assert_eq!(read(&site), "[slo]\nlatency_seconds = 30\n");
}

#[test]
fn literal_secrets_are_refused_and_never_shown() {
    let site = Site::new();
    let cluster = "[profile.c]\nkind = \"cluster\"\nenvironment = \"dev\"\n\n[profile.c.kafka]\nbrokers = \"k:9092\"\n";
    write(&site, cluster);
    for (key, value) in [
        ("kafka.password", "hunter2"),
        ("s3.secret_key", "hunter2hunter2hunter2hunter2"),
        ("database.admin_url", "postgres://u:hunter2@h/x"),
        ("actor", "password=hunter2"),
    ] {
        for format in ["table", "json"] {
            let ran = run(&site, &["config", "set", key, value, "--profile", "c", "-o", format]);
            assert_eq!(ran.code, 8, "{key}: {ran}");
            assert!(!format!("{ran}").contains("hunter2"), "{key}: {ran}");
        }
    }
    let ran = run(&site, &["config", "set", "kafka.password", "hunter2", "--profile", "c"]);
    assert!(ran.stderr.contains("env:NAME") && ran.stderr.contains("vault:PATH#FIELD"), "{ran}");
    let ran = run(&site, &["profile", "add", "d", "--from", "c", "--set", "kafka.password=hunter2"]);
    assert!(ran.code == 8 && !format!("{ran}").contains("hunter2"), "{ran}");
    assert_eq!(read(&site), cluster);
    // One that is in the file already is replaced by a reference, and the difference does not show it.
    write(&site, &format!("{cluster}password = \"hunter2\"\n"));
    let words = ["config", "set", "kafka.password", "env:KAFKA_PASSWORD", "--profile", "c"];
    let dry = succeed(&site, &[&words[..], &["--dry-run"]].concat());
    assert!(
        dry.stdout.contains("+password = \"env:KAFKA_PASSWORD\"") && !format!("{dry}").contains("hunter2"),
        "{dry}"
    );
    let set = succeed(&site, &words);
    assert!(!format!("{set}").contains("hunter2"), "{set}");
    assert_eq!(read(&site), format!("{cluster}password = \"env:KAFKA_PASSWORD\"\n"));
}

#[test]
fn protection_is_lowered_only_with_the_environments_name() {
    let site = Site::new();
    write(&site, COMMENTED);
    let lowering: [&[&str]; 6] = [
        &["config", "set", "protected", "false", "--profile", "prod"],
        &["config", "unset", "profile.prod.protected"],
        &["config", "set", "environment", "other", "--profile", "prod"],
        &["config", "set", "environment", "prod", "--profile", "dev"],
        &["profile", "add", "copy", "--from", "prod", "--set", "protected=false"],
        &["profile", "add", "shadow", "--environment", "prod", "--set", "protected=false"],
    ];
    for words in lowering {
        for flags in [&[][..], &["--yes"], &["--yes", "--confirm", "dev"]] {
            let ran = run(&site, &[words, flags].concat());
            assert_eq!(ran.code, 8, "{words:?} {flags:?}: {ran}");
        }
        assert_eq!(read(&site), COMMENTED, "{words:?}");
        succeed(&site, &[words, &["--yes", "--confirm", "prod"]].concat());
        assert_ne!(read(&site), COMMENTED, "{words:?}");
        write(&site, COMMENTED);
    }
    // A copy keeps the protection, and a name that says so gets it.
    succeed(&site, &["profile", "add", "copy", "--from", "prod"]);
    succeed(&site, &["profile", "add", "prod-eu"]);
    let listed = json(&site, &["profile", "list"]);
    let protected: Vec<&str> = listed["profiles"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|profile| profile["protected"] == true)
        .map(|profile| profile["name"].as_str().unwrap())
        .collect();
    assert_eq!(protected, ["copy", "prod", "prod-eu"]);
    // Raising it needs no confirmation.
    succeed(&site, &["config", "set", "protected", "true", "--profile", "dev"]);
}

#[test]
fn a_value_of_a_higher_layer_that_stays_in_effect_is_named() {
    let site = Site::new().with("MFCTL_SLO_LATENCY_SECONDS", "90");
    write(&site, COMMENTED);
    let ran = succeed(&site, &["config", "set", "slo.latency_seconds", "30"]);
    assert!(ran.stderr.contains("slo.latency_seconds stays 90: MFCTL_SLO_LATENCY_SECONDS"), "{ran}");
    let report = json(&site, &["config", "set", "slo.latency_seconds", "31"]);
    assert_eq!((&report["overridden"], &report["effective"]["value"]), (&true.into(), &"90".into()), "{report:#}");
    let site = Site::new();
    write(&site, &format!("{COMMENTED}\n[profile.prod.slo]\nlatency_seconds = 20\n"));
    let ran = succeed(&site, &["config", "set", "slo.latency_seconds", "30"]);
    assert!(ran.stderr.contains("stays 20") && ran.stderr.contains("mfctl.toml:"), "{ran}");
    let ran = succeed(&site, &["config", "set", "data_dir", "/srv/x", "--data-dir", "/srv/y"]);
    assert!(ran.stderr.contains("profile.data_dir stays /srv/y: --data-dir"), "{ran}");
    let ran = succeed(&site, &["config", "set", "slo.success", "0.9", "--file", "elsewhere.toml"]);
    assert!(ran.stderr.contains("no command here reads") && site.path("elsewhere.toml").exists(), "{ran}");
}

#[test]
fn links_stay_and_files_that_others_can_write_are_refused() {
    let site = Site::new();
    std::fs::create_dir_all(file(&site).parent().unwrap()).unwrap();
    std::fs::write(site.path("dotfiles.toml"), COMMENTED).unwrap();
    std::fs::set_permissions(site.path("dotfiles.toml"), PermissionsExt::from_mode(0o600)).unwrap();
    symlink(site.path("dotfiles.toml"), file(&site)).unwrap();
    succeed(&site, &["config", "set", "slo.latency_seconds", "30"]);
    assert!(file(&site).symlink_metadata().unwrap().is_symlink());
    assert!(std::fs::read_to_string(site.path("dotfiles.toml")).unwrap().contains("latency_seconds=30"));
    let left: Vec<_> = std::fs::read_dir(file(&site).parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1);
    for open in [0o666, 0o620, 0o602] {
        std::fs::set_permissions(site.path("dotfiles.toml"), PermissionsExt::from_mode(open)).unwrap();
        let ran = run(&site, &["config", "set", "slo.latency_seconds", "31"]);
        assert!(ran.code == 8 && ran.stderr.contains("chmod go-w"), "{ran}");
    }
}

#[test]
fn changes_at_once_lose_nothing() {
    let site = Site::new();
    write(&site, COMMENTED);
    let keys = [
        "slo.success",
        "slo.latency_objective",
        "worker.dead_letter_ratio",
        "storage.warn_percent",
        "retention.media_days",
        "retention.staging_days",
        "retention.ingest_raw_days",
        "enrich.max_pixels",
    ];
    let values = ["0.9", "0.8", "0.7", "60", "20", "200", "40", "20000000"];
    let running: Vec<Running> = keys
        .iter()
        .zip(values)
        .map(|(key, value)| Running::captured(site.command_without_data_dir(["config", "set", *key, value])))
        .collect();
    for process in running {
        let ran = process.finish();
        assert_eq!(ran.code, 0, "{ran}");
    }
    let shown = json(&site, &["config", "show", "--changed"]);
    for (key, value) in keys.iter().zip(values) {
        let found = shown["settings"].as_array().unwrap().iter().find(|setting| setting["key"] == **key);
        assert_eq!(found.unwrap_or_else(|| panic!("{key} is lost: {shown:#}"))["value"], *value);
    }
    assert!(read(&site).starts_with(&COMMENTED[..40]));
}

#[test]
fn profiles_are_listed_chosen_and_added() {
    let site = Site::new();
    let listed = succeed(&site, &["profile", "list"]);
    assert!(listed.stdout.contains("* embedded") || listed.stdout.contains("*  embedded"), "{listed}");
    let added =
        succeed(&site, &["profile", "add", "staging", "--set", "tenant=films", "--set", "slo.latency_seconds=20"]);
    assert!(added.stdout.contains("mfctl profile use staging"), "{added}");
    assert_eq!(
        read(&site),
        "[profile.staging]\nkind = \"embedded\"\nenvironment = \"staging\"\ntenant = \"films\"\n\n\
         [profile.staging.slo]\nlatency_seconds = 20\n"
    );
    let used = succeed(&site, &["profile", "use", "staging"]);
    assert!(used.stdout.contains("the default profile is staging"), "{used}");
    assert_eq!(json(&site, &["config", "show"])["profile"], "staging");
    let words = [
        "profile",
        "add",
        "eu",
        "--environment",
        "dev",
        "--set",
        "kind=cluster",
        "--set",
        "kafka.brokers=k:9092",
        "--set",
        "kafka.password=env:P",
        "--set",
        "consul.url=http://c:8500",
    ];
    succeed(&site, &words);
    succeed(&site, &["profile", "add", "us", "--from", "eu", "--set", "kafka.brokers=us:9092", "--use"]);
    let listed = json(&site, &["profile", "list"]);
    assert_eq!(listed["current"], "us", "{listed:#}");
    let us = listed["profiles"].as_array().unwrap().iter().find(|profile| profile["name"] == "us").unwrap();
    assert_eq!(
        (&us["environment"], &us["kind"], &us["current"]),
        (&"dev".into(), &"cluster".into(), &true.into()),
        "{us:#}"
    );
    let text = read(&site);
    assert!(text.contains("[profile.us.kafka]\nbrokers = \"us:9092\"\npassword = \"env:P\"\n"), "{text}");
    assert!(text.contains("[profile.us.consul]\nurl = \"http://c:8500\"\n"), "{text}");
    for (words, code, says) in [
        (&["profile", "add", "us"][..], 8, "defined already"),
        (&["profile", "add", "embedded"][..], 8, "built in"),
        (&["profile", "add", "x", "--from", "nothing"][..], 6, "there is no profile `nothing`"),
        (&["profile", "add", "x", "--set", "tenant"][..], 2, "KEY=VALUE"),
        (&["profile", "add", "x", "--set", "tennant=a"][..], 6, "did you mean `tenant`?"),
        (&["profile", "use", "nothing"][..], 6, "there is no profile `nothing`"),
    ] {
        let ran = run(&site, words);
        assert!(ran.code == code && ran.stderr.contains(says), "{words:?}: {ran}");
    }
    assert_eq!(read(&site), text);
    let site = site.with("MFCTL_PROFILE", "eu");
    let used = succeed(&site, &["profile", "use", "staging"]);
    assert!(used.stderr.contains("eu stays in use here: MFCTL_PROFILE"), "{used}");
    let names = succeed(&site, &["profile", "list", "-o", "name"]).stdout;
    assert_eq!(names, "eu\nstaging\nus\nembedded\n");
}

#[test]
fn init_names_the_verb_that_adds_a_profile() {
    let site = Site::new();
    succeed(&site, &["init"]);
    let again = run(&site, &["init", "prod"]);
    assert!(again.code == 8 && again.stderr.contains("`mfctl profile add NAME`"), "{again}");
    succeed(&site, &["profile", "add", "prod"]);
    let listed = json(&site, &["profile", "list"]);
    assert_eq!(listed["current"], "dev", "{listed:#}");
    assert_eq!(listed["profiles"].as_array().unwrap().len(), 3, "{listed:#}");
    // The file that init writes has comments between its keys.
    succeed(&site, &["config", "set", "slo.latency_seconds", "30"]);
    succeed(&site, &["config", "set", "tenant", "films"]);
    let text = read(&site);
    assert!(text.contains("[slo]\nlatency_seconds = 30\n#"), "{text}");
    succeed(&site, &["config", "unset", "slo.latency_seconds"]);
    succeed(&site, &["config", "unset", "tenant"]);
    assert!(read(&site).contains("[slo]\n#"), "{}", read(&site));
}

#[test]
fn a_projects_profile_is_changed_in_the_projects_file() {
    let site = Site::new();
    succeed(&site, &["init", "site", "--project", "--data-dir", "./media"]);
    let ran = succeed(&site, &["config", "set", "tenant", "films", "--profile", "site"]);
    assert!(ran.stdout.contains(&site.path("mfctl.toml").display().to_string()), "{ran}");
    assert!(std::fs::read_to_string(site.path("mfctl.toml")).unwrap().contains("tenant = \"films\""));
    assert!(!file(&site).exists());
    // Named by --config it is one file, not two.
    succeed(&site, &["config", "set", "tenant", "series", "--profile", "site", "--config", "mfctl.toml"]);
    assert!(std::fs::read_to_string(site.path("mfctl.toml")).unwrap().contains("tenant = \"series\""));
    let ran = run(&site, &["config", "set", "default_profile", "site", "--file", "mfctl.toml"]);
    assert!(ran.code == 6 && ran.stderr.contains("may not choose the default profile"), "{ran}");
}

#[test]
fn file_of_another_project_is_changed_only_in_its_folder() {
    let site = Site::new();
    std::fs::create_dir(site.path("project")).unwrap();
    std::fs::write(site.path("project/mfctl.toml"), "[slo]\nsuccess = 0.9\n").unwrap();
    let ran = run(&site, &["config", "set", "slo.success", "0.8", "--file", "project/mfctl.toml"]);
    assert!(ran.code == 6 && ran.stderr.contains("in its own folder"), "{ran}");
    assert_eq!(std::fs::read_to_string(site.path("project/mfctl.toml")).unwrap(), "[slo]\nsuccess = 0.9\n");
}

#[test]
fn profile_of_a_file_that_is_not_read_here_is_changed_in_it() {
    let site = Site::new();
    std::fs::write(site.path("deploy.toml"), "[profile.site]\nenvironment = \"dev\"\n").unwrap();
    succeed(&site, &["config", "set", "tenant", "films", "--profile", "site", "--file", "deploy.toml"]);
    assert!(std::fs::read_to_string(site.path("deploy.toml")).unwrap().contains("tenant = \"films\""));
}

#[test]
fn copy_of_an_unprotected_profile_for_production_is_protected() {
    let site = Site::new();
    write(&site, "default_profile = \"dev\"\n[profile.dev]\nenvironment = \"dev\"\nprotected = false\n");
    let added = json(&site, &["profile", "add", "prod", "--from", "dev", "--environment", "prod"]);
    assert_eq!(added["protected"], true, "{added:#}");
}
