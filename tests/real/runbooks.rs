//! Runs the runbooks of `bootstrap` and `kv`: every command of the documents, in order.

use std::path::Path;
use std::process::Command;

use crate::dedicated_servers::{empty_servers, read_consul_token_from_vault};
use crate::support::stack::env;
use crate::support::{CommandOutput, Site};

/// The commands of a document: its `sh` blocks, in order.
fn commands(document: &str) -> String {
    let mut script = String::new();
    let mut inside = false;
    for line in document.lines() {
        match line.trim() {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}

#[track_caller]
fn follow(site: &Site, document: &str) -> CommandOutput {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks").join(document);
    let script = commands(&std::fs::read_to_string(&path).unwrap());
    assert!(script.lines().count() > 2, "{document} has no commands");
    let bin = site.path("bin");
    if !bin.exists() {
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mfctl"), bin.join("mfctl")).unwrap();
    }
    // The same home, folder and variables as every other command of the site.
    let template = site.command(["status"]);
    let mut shell = Command::new("sh");
    shell.args(["-eux", "-c", &script]).env_clear().current_dir(template.get_current_dir().unwrap());
    shell.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let ran = CommandOutput::run(shell);
    assert_eq!(ran.code, 0, "{document}: {ran}");
    ran
}

#[test]
fn bring_up_and_break_glass_runbooks_work() {
    let site = Site::unprepared();
    // The document begins with empty servers.
    let (_vault, _consul) = empty_servers(&site);
    read_consul_token_from_vault(&site);
    site.json(["bootstrap", "init-consul-acl", "--yes"], &[0]);
    let ran = follow(&site, "bring-up.md");
    assert!(ran.stdout.contains("nothing to do"), "{ran}");
    let ran = follow(&site, "break-glass.md");
    assert!(ran.stdout.contains("! media-api/max_page_size changed by hand until"), "{ran}");
    assert!(ran.stdout.contains("INC-7") && ran.stdout.contains("INC-8 is over"), "{ran}");
}

#[test]
fn adopt_runbook_works() {
    let site = Site::unprepared();
    let consul = |key: &str, value: &str| {
        let mut command = Command::new(env("STACK_CONSUL_BIN"));
        command.args(["kv", "put", &format!("{}/{key}", site.env_name()), value]);
        command.env("CONSUL_HTTP_ADDR", env("STACK_CONSUL")).env("CONSUL_HTTP_TOKEN", env("STACK_CONSUL_TOKEN"));
        let ran = CommandOutput::run(command);
        assert_eq!(ran.code, 0, "{ran}");
    };
    consul("player/colour", "blue");
    consul("player/volume", "11");
    let ran = follow(&site, "adopt.md");
    assert!(ran.stdout.contains("nothing to do"), "{ran}");
    let refused = site.run(["kv", "put", "player/colour", "red", "--reason", "x"]);
    assert!(refused.code == 8 && refused.stderr.contains("base/consul-keys.yaml:"), "{refused}");
}
