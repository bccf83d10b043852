//! Random command lines over every command and flag: none panics, hangs, ends with a code that is not documented, or
//! prints half a document.
//!
//! `MFCTL_TEST_COMMAND_LINES` is their number, `MFCTL_TEST_COMMAND_SECONDS` the time that each may take, and `MFCTL_SEED`
//! repeats a run.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Seek};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction};
use fastrand::Rng;

use crate::support::{Running, Site, env_number, seed};

/// Processes that run at the same time.
const THREADS: usize = 3;
/// Every documented exit code.
const EXIT_CODES: [i32; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 129, 130, 141, 143];
/// Commands that run until they are stopped, with the flag that ends them; none: there is no such flag, so each gets an
/// unknown flag. The demo ends by itself, but only after it has run the whole pipeline.
const ENDLESS: [(&str, Option<&str>); 6] = [
    ("worker persist", Some("--until-drained")),
    ("worker enrich", Some("--until-drained")),
    ("worker all", Some("--until-drained")),
    ("top", Some("--once")),
    ("kv watch", None),
    ("demo", None),
];
/// Flags that make a command wait for something.
const WAITING: [&str; 2] = ["watch", "wait"];
/// Commands whose results are not documents.
const RAW_RESULTS: [&str; 5] = ["completions", "man", "media get", "schema show", "kv get"];

#[derive(Debug)]
struct CommandLine {
    /// The names of the command and its groups.
    path: String,
    words: Vec<OsString>,
}

struct Generator<'a> {
    random: Rng,
    root: &'a clap::Command,
}

impl Generator<'_> {
    fn command_line(&mut self) -> CommandLine {
        let mut command = self.root;
        let mut path: Vec<&str> = Vec::new();
        let mut words = Vec::new();
        while command.has_subcommands() && self.random.u8(..50) > 0 {
            let all: Vec<_> = command.get_subcommands().filter(|sub| !sub.get_name().starts_with("__")).collect();
            command = all[self.random.usize(..all.len())];
            path.push(command.get_name());
            words.push(command.get_name().into());
        }
        let path = path.join(" ");
        for _ in 0..self.random.usize(..5).saturating_sub(1) {
            let arguments: Vec<_> = command.get_arguments().collect();
            if let Some(argument) = self.random.choice(arguments) {
                self.argument(argument, &mut words);
            }
        }
        for argument in command.get_positionals().filter(|argument| argument.is_required_set()) {
            if self.random.u8(..4) > 0 {
                self.argument(argument, &mut words);
            }
        }
        for argument in
            command.get_arguments().filter(|argument| argument.is_required_set() && !argument.is_positional())
        {
            if self.random.u8(..4) > 0 {
                self.argument(argument, &mut words);
            }
        }
        if self.random.u8(..12) == 0 {
            let at = self.random.usize(..=words.len());
            let word = self.value(None);
            words.insert(at, word);
        }
        if let Some((_, flag)) = ENDLESS.iter().find(|(name, _)| *name == path) {
            words.push(flag.unwrap_or("--no-such-flag").into());
        }
        if self.random.u8(..3) == 0 {
            words.extend(["-o".into(), "json".into()]);
        }
        CommandLine { path, words }
    }

    fn argument(&mut self, argument: &Arg, words: &mut Vec<OsString>) {
        let name = argument.get_long().unwrap_or_default();
        if WAITING.contains(&name) {
            return;
        }
        let takes_value = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
        let value = takes_value.then(|| self.value(Some(argument)));
        if argument.is_positional() {
            words.extend(value);
            return;
        }
        let long = argument.get_long().map(|long| format!("--{long}"));
        let flag =
            argument.get_short().filter(|_| long.is_none() || self.random.bool()).map(|short| format!("-{short}"));
        let Some(flag) = flag.or(long) else { return };
        match value {
            Some(value) if flag.starts_with("--") && self.random.bool() => {
                let mut word = OsString::from(flag + "=");
                word.push(value);
                words.push(word);
            }
            value => {
                words.push(flag.into());
                words.extend(value);
            }
        }
    }

    fn value(&mut self, argument: Option<&Arg>) -> OsString {
        let possible = argument.map(Arg::get_possible_values).unwrap_or_default();
        if !possible.is_empty() && self.random.u8(..4) > 0 {
            return possible[self.random.usize(..possible.len())].get_name().into();
        }
        const WORDS: [&str; 44] = [
            "",
            "-",
            "--",
            "0",
            "1",
            "-1",
            "9223372036854775807",
            "18446744073709551616",
            "1e308",
            "NaN",
            "0.5",
            "auto",
            "5ms",
            "1h",
            "99999999999999999h",
            "-3s",
            "1KiB",
            "18446744073709551615GiB",
            "2024-02-30T00:00:00Z",
            "2026-01-01T00:00:00Z",
            "in",
            "in/a.txt",
            "in/a.txt.json",
            "no-such-file",
            "list",
            "rows.jsonl",
            "out",
            "new.toml",
            "ed6de839-bf6e-5531-a0eb-2be63a35ce0a",
            "019ab0c4-0000-7000-8000-000000000000",
            "media.ingested.dlq:0:0",
            "media.ingested:-1:99999999999999999999",
            "ingest.raw",
            "media.ingested",
            "media-api/banner",
            "stack/mfctl",
            "a=b",
            "=",
            "[",
            "image/*",
            "fa-IR",
            "حافظ",
            "embedded",
            "~",
        ];
        match self.random.u8(..10) {
            0..6 => self.random.choice(WORDS).unwrap_or_default().into(),
            6 => OsString::from_vec(b"in/bad\xff.txt".to_vec()),
            7 => "a".repeat(self.random.usize(1000..100_000)).into(),
            _ => {
                // No slashes and dots: nothing outside the test's folder is named.
                let length = self.random.usize(1..20);
                let byte = |random: &mut Rng| match random.u8(1..) {
                    b'/' | b'.' | b'~' => b'_',
                    byte => byte,
                };
                OsString::from_vec((0..length).map(|_| byte(&mut self.random)).collect())
            }
        }
    }
}

/// A machine without configuration, with some files to name.
fn site(with_data: bool) -> Site {
    let site = Site::new();
    fs::create_dir(site.path("in")).unwrap();
    for name in [OsStr::new("a.txt"), OsStr::new("b.txt"), OsStr::from_bytes(b"bad\xff.txt")] {
        fs::write(site.path("in").join(name), name.as_bytes()).unwrap();
    }
    fs::write(site.path("in/a.txt.json"), r#"{"title":"غزل"}"#).unwrap();
    fs::write(site.path("list"), "in/a.txt\nno-such-file\n").unwrap();
    fs::write(site.path("rows.jsonl"), "{\"path\":\"in/b.txt\"}\n").unwrap();
    if with_data {
        site.json(["ingest", "in"], &[0]);
        site.json(["worker", "all", "--until-drained"], &[0]);
    }
    site
}

/// Runs a command line; returns its exit code, or what is wrong with how it ended.
fn run(site: &Site, line: &CommandLine, folder: &Path, limit: Duration) -> Result<i32, String> {
    let stdout = fs::File::options().create(true).truncate(true).read(true).write(true).open(folder.join("stdout"));
    let stderr = fs::File::options().create(true).truncate(true).read(true).write(true).open(folder.join("stderr"));
    let mut stdout = stdout.unwrap();
    let mut stderr = stderr.unwrap();
    let mfctl = site.command::<&OsStr>([]);
    // A shell can close its standard input.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec \"$0\" \"$@\" <&-"]).arg(mfctl.get_program()).args(&line.words).env_clear();
    command.envs(mfctl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("TMPDIR", folder).env("XDG_RUNTIME_DIR", folder).current_dir(site.path(""));
    command.stdin(Stdio::null()).stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let mut child = Running::with_own_output(command);
    let started = Instant::now();
    let code = loop {
        if let Some(code) = child.exit_code() {
            break code;
        }
        if started.elapsed() > limit {
            return Err(format!("still runs after {limit:?}"));
        }
        std::thread::park_timeout(Duration::from_millis(3));
    };
    let read = |file: &mut fs::File| {
        let mut text = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    };
    let stdout = read(&mut stdout);
    let stderr = read(&mut stderr);
    if !EXIT_CODES.contains(&code) || stderr.contains("panicked") {
        return Err(format!("exit {code}: {stderr}"));
    }
    let asks_for_help = line.words.iter().any(|word| {
        let word = word.as_bytes();
        word == b"help"
            || word == b"--help"
            || word == b"--version"
            || !word.starts_with(b"--") && word.starts_with(b"-") && (word.contains(&b'h') || word.contains(&b'V'))
    });
    let is_document = line.words.ends_with(&["-o".into(), "json".into()])
        && !asks_for_help
        // What follows it are no flags.
        && !line.words.iter().any(|word| word == "--")
        && !RAW_RESULTS.contains(&line.path.as_str());
    if is_document && !stdout.is_empty() && serde_json::from_str::<serde_json::Value>(&stdout).is_err() {
        return Err(format!("exit {code}, stdout is not one document: {stdout}\n{stderr}"));
    }
    Ok(code)
}

#[test]
fn random_command_lines_end_as_documented() {
    let count = env_number("MFCTL_TEST_COMMAND_LINES", 600);
    let limit = Duration::from_secs(env_number("MFCTL_TEST_COMMAND_SECONDS", 30) as u64);
    let seed = seed();
    let mut root = mfctl::cli::definition();
    root.build();
    let next = AtomicUsize::new(0);
    let problems = Mutex::new(Vec::new());
    let wrong_usage = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let sites = [site(false), site(true)];
                let folder = tempfile::tempdir().unwrap();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || problems.lock().unwrap().len() >= 20 {
                        return;
                    }
                    let random = Rng::with_seed(seed.wrapping_add(index as u64));
                    let mut generator = Generator { random, root: &root };
                    let line = generator.command_line();
                    let site = &sites[generator.random.usize(..2)];
                    match run(site, &line, folder.path(), limit) {
                        Ok(2) => drop(wrong_usage.fetch_add(1, Ordering::Relaxed)),
                        Ok(_) => {}
                        Err(problem) => {
                            let words: Vec<_> = line.words.iter().map(|word| format!("{word:.200?}")).collect();
                            problems.lock().unwrap().push(format!("{index}: mfctl {}\n{problem}", words.join(" ")));
                        }
                    }
                }
            });
        }
    });
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n\n"));
    let wrong_usage = wrong_usage.into_inner();
    assert!(
        wrong_usage * 4 < count * 3,
        "{wrong_usage} of {count} are refused as wrong usage: hardly any command was run"
    );
}
