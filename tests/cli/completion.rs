//! Completion of live values, as a shell asks for it.

use crate::support::{CommandOutput, Site};

/// The candidates for the last of these words.
fn candidates(site: &Site, words: &[&str]) -> Vec<String> {
    let mut command = site.command([&["--", "mfctl"], words].concat());
    command.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", words.len().to_string()).env("_CLAP_IFS", "\n");
    let ran = CommandOutput::run(command);
    assert!(ran.code == 0 && ran.stderr.is_empty(), "{words:?}: {ran}");
    // Flags are offered with the values of an argument.
    ran.stdout.lines().filter(|line| !line.starts_with("--")).map(str::to_owned).collect()
}

#[test]
fn values_of_the_platform_are_completed() {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    std::fs::write(site.path("in/a.txt"), "text").unwrap();
    std::fs::write(site.path("in/poster.png"), include_bytes!("../../examples/media/posters/girih-12000x9000.png"))
        .unwrap();
    site.json(["ingest", "in", "--collection", "poems", "--tag", "project=atlas", "--tag", "draft"], &[0]);
    site.json(["worker", "all", "--until-drained"], &[3]);
    let dead = site.run(["dlq", "list", "-o", "name"]).stdout.trim().to_owned();
    assert!(dead.contains(".dlq:"), "{dead}");

    assert_eq!(candidates(&site, &["dlq", "show", ""]), [dead.as_str()]);
    assert_eq!(candidates(&site, &["dlq", "discard", &dead[..8]]), [dead.as_str()]);
    assert_eq!(candidates(&site, &["dlq", "list", "--kind", ""]), ["parser_limit"]);
    assert_eq!(candidates(&site, &["media", "list", "--state", ""]), ["staged", "ingested", "enriched", "revoked"]);
    assert_eq!(candidates(&site, &["media", "list", "--state", "en"]), ["enriched"]);
    for verb in [&["media", "list"][..], &["media", "search", "x"], &["ingest", "in"]] {
        assert_eq!(candidates(&site, &[verb, &["--collection", ""]].concat()), ["poems"], "{verb:?}");
    }
    for verb in [&["media", "list"][..], &["ingest", "in"]] {
        assert_eq!(
            candidates(&site, &[verb, &["--tag", ""]].concat()),
            ["draft", "project", "project=atlas"],
            "{verb:?}"
        );
    }
}

/// What bash would offer for this line with the cursor at its end.
fn bash(site: &Site, line: &str, words: &[&str], current: &str) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "source <(mfctl completions bash)\nCOMP_LINE='{line}' COMP_POINT={} COMP_TYPE=9 COMP_WORDS=({}) COMP_CWORD={}\n\
         _clap_complete_mfctl mfctl '{current}' x 2>/dev/null\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        line.len(),
        quoted.join(" "),
        words.len() - 1,
    );
    std::fs::create_dir_all(site.path("bin")).unwrap();
    let _ = std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mfctl"), site.path("bin/mfctl"));
    let template = site.command(["status"]);
    let mut command = std::process::Command::new("bash");
    command.args(["--norc", "-c", &script]).env_clear().current_dir(site.path(""));
    command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", format!("{}:/usr/bin:/bin", site.path("bin").display()));
    let ran = CommandOutput::run(command);
    assert_eq!(ran.code, 0, "{line}: {ran}");
    ran.stdout.lines().filter(|line| !line.is_empty() && !line.starts_with("--")).map(str::to_owned).collect()
}

/// bash splits words at `:` and `=`, and replaces only what is behind them.
#[test]
fn bash_completes_words_with_colons_and_equals_signs() {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    std::fs::write(site.path("in/poster.png"), include_bytes!("../../examples/media/posters/girih-12000x9000.png"))
        .unwrap();
    site.json(["ingest", "in", "--tag", "project=atlas"], &[0]);
    site.json(["worker", "all", "--until-drained"], &[3]);
    let dead = site.run(["dlq", "list", "-o", "name"]).stdout.trim().to_owned();
    let (topic, rest) = dead.split_once(':').unwrap();
    assert_eq!(bash(&site, "mfctl dlq show ", &["mfctl", "dlq", "show", ""], ""), [dead.as_str()]);
    let line = format!("mfctl dlq show {topic}:");
    assert_eq!(bash(&site, &line, &["mfctl", "dlq", "show", topic, ":"], ""), [rest]);
    let line = "mfctl media list --tag project=at";
    assert_eq!(bash(&site, line, &["mfctl", "media", "list", "--tag", "project", "=", "at"], "at"), ["atlas"]);
    let line = "mfctl media list --state=en";
    assert_eq!(bash(&site, line, &["mfctl", "media", "list", "--state", "=", "en"], "en"), ["enriched"]);
    assert_eq!(bash(&site, "mfctl prof", &["mfctl", "prof"], "prof"), ["profile"]);
}

#[test]
fn bash_quotes_values_with_spaces_unless_the_word_has_quotes() {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    std::fs::write(site.path("in/a.txt"), "text").unwrap();
    site.json(["ingest", "in", "--collection", "my poems", "--tag", "project=the $ atlas"], &[0]);
    let collection = |word: &str, current: &str| {
        let line = format!("mfctl media list --collection {word}");
        bash(&site, &line, &["mfctl", "media", "list", "--collection", word], current)
    };
    assert_eq!(collection("", ""), ["my\\ poems"]);
    assert_eq!(collection("my", "my"), ["my\\ poems"]);
    assert_eq!(collection("my\\ p", "my\\ p"), ["my\\ poems"]);
    assert_eq!(collection("\"my p", "my p"), ["my poems"]);
    let line = "mfctl media list --tag project=th";
    let words = ["mfctl", "media", "list", "--tag", "project", "=", "th"];
    assert_eq!(bash(&site, line, &words, "th"), ["the\\ \\$\\ atlas"]);
    assert_eq!(
        bash(&site, "mfctl media list --state=", &["mfctl", "media", "list", "--state", "=", ""], "")[0],
        "staged"
    );
}

#[test]
fn settings_and_profiles_are_completed_without_a_platform() {
    let site = Site::new();
    assert_eq!(candidates(&site, &["config", "explain", "slo.latency_s"]), ["slo.latency_seconds"]);
    assert_eq!(candidates(&site, &["config", "set", "kafka.br"]), ["kafka.brokers"]);
    assert_eq!(candidates(&site, &["config", "unset", "prot"]), ["protected"]);
    assert_eq!(candidates(&site, &["profile", "add", "x", "--set", "tena"]), ["tenant="]);
    assert_eq!(site.run(["profile", "add", "staging"]).code, 0);
    assert_eq!(candidates(&site, &["profile", "use", "st"]), ["staging"]);
    // No platform is no error on the terminal.
    for words in [&["dlq", "show", ""][..], &["dlq", "list", "--kind", ""], &["media", "list", "--tag", ""]] {
        assert_eq!(candidates(&site, words), [""; 0], "{words:?}");
    }
}
