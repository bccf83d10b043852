//! Passwords in addresses never appear in the output, whatever characters they have.

use crate::support::{CommandOutput, Site};

/// A cluster profile whose servers do not answer, with these lines in the table of one server.
fn profile(site: &Site, table: &str, line: &str) {
    let mut text =
        format!("[profile.x]\nkind = \"cluster\"\nenvironment = \"x\"\ndata_dir = \"{}\"\n", site.data().display());
    for (name, lines) in [
        ("kafka", "brokers = \"127.0.0.1:1\""),
        ("s3", "endpoint = \"http://127.0.0.1:1\"\naccess_key = \"a\"\nsecret_key = \"env:KEY\""),
        ("postgrest", "url = \"http://127.0.0.1:1\"\ntoken = \"env:KEY\""),
        ("schema_registry", "url = \"http://127.0.0.1:1\""),
        ("database", "admin_url = \"env:DATABASE\""),
    ] {
        let kept: Vec<_> = lines.lines().filter(|kept| name != table || !line.starts_with(&kept[..4])).collect();
        text.push_str(&format!("[profile.x.{name}]\n{}\n", kept.join("\n")));
        if name == table {
            text.push_str(&format!("{line}\n"));
        }
    }
    std::fs::create_dir_all(site.home().join(".config/mfctl")).unwrap();
    std::fs::write(site.home().join(".config/mfctl/mfctl.toml"), text).unwrap();
}

fn run(site: &Site, database: &str, words: &[&str]) -> CommandOutput {
    let mut command = site.command_without_data_dir([&["--profile", "x"], words].concat());
    command.env("KEY", "k").env("DATABASE", database);
    CommandOutput::run(command)
}

const PASSWORDS: [&str; 6] =
    ["first@rest-of-S3cret", "S3cret/x", "a/S3cret@b", "a?S3cret", "#S3cret%", "8080/S3cret@x"];

#[test]
fn no_part_of_a_database_password_is_printed() {
    let site = Site::new();
    profile(&site, "", "");
    for password in PASSWORDS {
        let database = format!("postgres://admin:{password}@127.0.0.1:1/media");
        for words in [&["db", "status"][..], &["db", "status", "-o", "json", "-vv"], &["db", "migrate", "--yes"]] {
            let ran = run(&site, &database, words);
            assert!([5, 6].contains(&ran.code), "{password} {words:?}: {ran}");
            assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("S3cret"), "{password} {words:?}: {ran}");
        }
    }
    let ran = run(&site, "postgres://admin:first@rest-of-S3cret@127.0.0.1:1/media", &["db", "status"]);
    assert!(ran.code == 6 && ran.stderr.contains("%40"), "{ran}");
    let ran = run(&site, "postgres://admin:S3cret%40x@127.0.0.1:1/media", &["db", "status", "-v"]);
    assert!(ran.code == 5 && ran.stderr.contains("database=admin@127.0.0.1:1/media"), "{ran}");
}

#[test]
fn no_part_of_a_password_in_a_servers_address_is_printed() {
    for password in PASSWORDS {
        for (table, key) in [
            ("s3", "endpoint"),
            ("postgrest", "url"),
            ("schema_registry", "url"),
            ("s3", "proxy"),
            ("kafka", "brokers"),
        ] {
            let site = Site::new();
            profile(&site, table, &format!("{key} = \"http://admin:{password}@127.0.0.1:1/x\""));
            for words in [&["config", "show"][..], &["config", "show", "-o", "json"], &["status"], &["audit", "-vv"]] {
                let ran = run(&site, "postgres://127.0.0.1:1/media", words);
                assert_eq!(ran.code, 6, "{table}.{key} {password}: {ran}");
                assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("S3cret"), "{table}.{key} {password}: {ran}");
            }
        }
    }
}

#[test]
fn a_password_in_another_tools_proxy_variable_is_not_printed() {
    let site = Site::new();
    profile(&site, "", "");
    for words in [&["config", "show"][..], &["config", "explain", "s3.proxy"], &["status"]] {
        let mut command = site.command_without_data_dir([&["--profile", "x"], words].concat());
        command.env("KEY", "k").env("HTTPS_PROXY", "http://admin:a/S3cret@127.0.0.1:1");
        let ran = CommandOutput::run(command);
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("S3cret"), "{ran}");
    }
}
