//! Random lists and manifests, from files and pipes, cut off at any byte, in processes that die: nothing that was named is
//! lost without a word.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use mfctl_core::domain::job::{FileStep, JournalFile};
use mfctl_core::domain::{JobId, Sha256};
use mfctl_core::ports::{JobFilter, Ports};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use sha2::Digest;

use crate::support::{CommandOutput, Running, Site, env_number, eventually, seed};

const BOM: &[u8] = b"\xef\xbb\xbf";
const FAILPOINTS: [&str; 5] =
    ["ingest_planned", "ingest_durable", "ingest_staged", "ingest_published", "ingest_recorded"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Lines,
    Names,
    Jsonl,
    Csv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    File,
    Stdin,
    Fifo,
}

/// What one round gives to mfctl.
#[derive(Debug)]
struct Given {
    form: Form,
    delivery: Delivery,
    text: Vec<u8>,
    /// Whether a byte of it was changed, or its end is missing.
    odd: bool,
}

impl Given {
    fn random(names: &[Vec<u8>], rng: &mut fastrand::Rng) -> Self {
        let form = rng.choice([Form::Lines, Form::Names, Form::Jsonl, Form::Csv]).unwrap();
        let delivery = rng.choice([Delivery::File, Delivery::Stdin, Delivery::Fifo]).unwrap();
        let mut text = if rng.u8(..4) == 0 && form != Form::Names { BOM.to_vec() } else { Vec::new() };
        let end: &[u8] = match form {
            Form::Names => b"\0",
            _ if rng.bool() => b"\r\n",
            _ => b"\n",
        };
        if form == Form::Csv {
            text.extend_from_slice(b"title,path");
            text.extend_from_slice(end);
        }
        for _ in 0..rng.usize(1..14) {
            let mut name = rng.choice(names).unwrap().clone();
            if form == Form::Lines && name.contains(&b'\n') {
                continue;
            }
            if rng.u8(..12) == 0 {
                name.push(b'-');
            }
            match form {
                Form::Lines | Form::Names => text.extend_from_slice(&name),
                Form::Jsonl => {
                    let path = String::from_utf8_lossy(&name);
                    text.extend_from_slice(serde_json::json!({ "title": "t", "path": path }).to_string().as_bytes());
                }
                Form::Csv => {
                    text.extend_from_slice(b"t,\"");
                    for byte in name {
                        text.extend_from_slice(if byte == b'"' { b"\"\"" } else { std::slice::from_ref(&byte) });
                    }
                    text.push(b'"');
                }
            }
            text.extend_from_slice(end);
            if rng.u8(..8) == 0 {
                text.extend_from_slice(end);
            }
        }
        let cut = rng.u8(..4) == 0;
        let changed = rng.u8(..10) == 0;
        if cut {
            text.truncate(rng.usize(..=text.len()));
        }
        if changed && !text.is_empty() {
            let at = rng.usize(..text.len());
            text[at] = rng.choice([0, 0xff, b'\n', b'\r', b'"']).unwrap();
        }
        Self { form, delivery, text, odd: cut || changed }
    }

    /// What is given to a job that did not read all: all of it, or what begins with a whole entry that it did read.
    fn rest(&self, end: End, rng: &mut fastrand::Rng) -> &[u8] {
        let terminator = match self.form {
            Form::Lines => b'\n',
            Form::Names => 0,
            Form::Jsonl | Form::Csv => return &self.text,
        };
        let End::AfterBytes(_, bytes) = end else { return &self.text };
        let ends = (0..bytes).filter(|at| self.text[*at] == terminator);
        let mut begins: Vec<usize> = std::iter::once(0).chain(ends.map(|at| at + 1)).collect();
        // The last of them begins the entry that was cut off.
        begins.truncate(begins.len().max(2) - 1);
        let begin = rng.choice(begins).unwrap_or(0);
        &self.text[begin..]
    }

    fn option(&self) -> &'static str {
        if matches!(self.form, Form::Lines | Form::Names) { "--files-from" } else { "--manifest" }
    }

    /// The arguments that begin a job.
    fn words(&self, source: &str) -> Vec<String> {
        let form: &[&str] = match self.form {
            Form::Lines => &[],
            Form::Names => &["-0"],
            Form::Jsonl => &["--manifest-format", "jsonl"],
            Form::Csv => &["--manifest-format", "csv"],
        };
        let words = ["ingest", "-q", "-o", "json", self.option(), source];
        words.iter().chain(form).map(|word| (*word).to_owned()).collect()
    }

    /// The names that the text says, by a reading of its own: each as the names of which one must be accounted for. `None`
    /// where it cannot be said what the text names, so that success would be wrong.
    fn names(&self, base: &Path) -> Option<Vec<Vec<PathBuf>>> {
        let path = |name: &[u8]| base.join(std::ffi::OsStr::from_bytes(name));
        let text = self.text.strip_prefix(BOM).unwrap_or(&self.text);
        match self.form {
            Form::Names => {
                let entries = self.text.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
                Some(entries.map(|entry| vec![path(entry), path(entry.strip_prefix(BOM).unwrap_or(entry))]).collect())
            }
            Form::Lines => {
                if text.contains(&0) {
                    return None;
                }
                let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && *line != b"\r");
                Some(lines.map(|line| vec![path(line), path(line.strip_suffix(b"\r").unwrap_or(line))]).collect())
            }
            Form::Jsonl => {
                let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
                let row = |line: &[u8]| {
                    let row: serde_json::Value = serde_json::from_slice(line).ok()?;
                    Some(vec![path(row["path"].as_str()?.as_bytes())])
                };
                lines.map(row).collect()
            }
            Form::Csv => {
                // Not what mfctl does: the whole text at once.
                let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text);
                let column = reader.byte_headers().ok()?.iter().position(|name| name == b"path")?;
                let rows = reader.byte_records().map(|row| Some(vec![path(row.ok()?.get(column)?)]));
                rows.collect()
            }
        }
    }
}

/// How a round's first process ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// By itself.
    Itself,
    /// At a failpoint.
    Failpoint(&'static str),
    /// By a signal, once it has kept so many bytes of its input.
    AfterBytes(Signal, usize),
    /// By SIGKILL, at a random moment.
    AfterPause(Duration),
}

/// The list of a round, and how it reaches a process.
struct Round<'a> {
    site: &'a Site,
    given: &'a Given,
}

impl Round<'_> {
    /// The files of the spool, with their content.
    fn spool(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        let files = entries(self.site.data().join("jobs")).flat_map(entries);
        files.map(|file| (file.clone(), fs::read(file).unwrap())).collect()
    }

    /// Runs a command on the round's list.
    fn run(&self, words: &[String], end: End) -> CommandOutput {
        let before: Vec<PathBuf> = self.spool().into_keys().collect();
        let mut command = match end {
            End::Failpoint(name) => self.site.command_with_failpoint(name, words),
            _ => self.site.command(words),
        };
        if self.given.delivery == Delivery::Stdin {
            command.stdin(Stdio::piped());
        }
        let mut running = Running::captured(command);
        let bytes = match end {
            End::AfterBytes(_, bytes) => bytes,
            _ => self.given.text.len(),
        };
        let text = &self.given.text[..bytes];
        let mut pipe: Option<Box<dyn Write>> = match self.given.delivery {
            Delivery::File => None,
            Delivery::Stdin => Some(Box::new(running.child.stdin.take().unwrap())),
            // Opened for reading too, so that it waits for no reader, and what is in it stays until one has read it.
            Delivery::Fifo => {
                let options = fs::OpenOptions::new().read(true).write(true).open(self.site.path("fifo"));
                Some(Box::new(options.unwrap()))
            }
        };
        if let Some(pipe) = &mut pipe {
            // The process may have ended.
            let _ = pipe.write_all(text);
        }
        if let End::AfterPause(pause) = end {
            std::thread::park_timeout(pause);
            running.signal(Signal::KILL);
        }
        if pipe.is_some() {
            eventually("the input is kept, or the process has ended", || {
                let kept = || self.spool().into_iter().any(|(file, kept)| !before.contains(&file) && kept == text);
                kept() || !running.is_alive()
            });
        }
        if let End::AfterBytes(signal, _) = end {
            running.signal(signal);
            eventually("the signal ends the process", || !running.is_alive());
        }
        drop(pipe);
        running.finish()
    }

    fn newest_job(&self) -> Option<JobId> {
        let listed = self.site.run(["jobs", "list", "-o", "name"]);
        listed.stdout.lines().next().map(|line| line.parse().unwrap())
    }

    /// Checks what a run said against what the journal has and what the list says.
    async fn check(&self, ran: &CommandOutput, round: &str) {
        let names = self.given.names(&self.site.path("."));
        assert!([0, 3, 6].contains(&ran.code), "{round}: {ran}");
        if ran.code == 6 {
            let loud = self.given.odd || names.is_none_or(|names| names.is_empty());
            assert!(loud, "an ordinary list is refused: {round}: {ran}");
            return;
        }
        let job = self.newest_job().unwrap();
        let verified = self.site.run(["jobs", "verify", &job.to_string()]);
        // A job that is resumed may have nothing to do, but nothing was verified then.
        let safe = ran.code == 0 && names.as_ref().is_some_and(|names| !names.is_empty());
        assert_eq!(verified.code, if safe { 0 } else { 10 }, "{round}: {ran}\n{verified}");
        let unfinished = ran.code == 3 && ran.stderr.contains("is not finished");
        let Some(names) = names else {
            return assert_eq!(ran.code, 3, "{round}: {ran}");
        };
        let journal = journal(&self.site.ports().await, job).await;
        let row = |path: &PathBuf| journal.get(&normal(path)).is_some_and(|row| accounted(path, row, ran.code == 0));
        let lost: Vec<_> = names.iter().filter(|names| !names.iter().any(|path| path.is_dir() || row(path))).collect();
        // A row that cannot be read as one is named by its line; after a quote that is not closed, there are no rows.
        let report = ran.json();
        let failures = report["failures"].as_array().unwrap();
        let by_line = |path: &str| path.rsplit_once(':').is_some_and(|(_, line)| line.parse::<u64>().is_ok());
        let named = failures.iter().filter(|row| by_line(row["path"].as_str().unwrap())).count();
        let ended =
            failures.iter().any(|row| row["reason"].as_str().unwrap().contains("no row after this one was read"));
        assert!(lost.len() <= named || ended || unfinished, "{lost:?} are not accounted for: {round}: {ran}");
    }
}

/// The path as the journal has it: the site's folder without `.`.
fn normal(path: &Path) -> PathBuf {
    path.components().collect()
}

async fn journal(ports: &Ports, job: JobId) -> BTreeMap<PathBuf, JournalFile> {
    let page = ports.journal.files(job, &JobFilter::default(), None, 1000).await.unwrap();
    assert_eq!(page.next, None);
    page.items.into_iter().map(|file| (normal(&file.path.to_path()), file)).collect()
}

/// Whether a file is stored under its own digest; without `stored`, whether it has any outcome.
fn accounted(path: &Path, row: &JournalFile, stored: bool) -> bool {
    if !stored {
        return row.step.is_final();
    }
    let digest = Sha256(sha2::Sha256::digest(fs::read(path).unwrap()).into());
    matches!(row.step, FileStep::Published | FileStep::Deduplicated) && row.sha256 == Some(digest)
}

/// Files whose names are hard to read from a list.
fn write_files(site: &Site) -> Vec<Vec<u8>> {
    let names: [&[u8]; 12] = [
        b"in/a.txt",
        b"in/a.txt\r",
        b"in/two words",
        b"in/\xff\xfe",
        b"in/\xd8\xa8\xd8\xa7\xd8\xba",
        b"in/one\xd8",
        b"in/quote\"d",
        b"in/com,ma",
        b"in/back\\slash",
        b"in/ space ",
        b"in/new\nline",
        b"in/deep/er",
    ];
    fs::create_dir_all(site.path("in/deep")).unwrap();
    for name in names {
        fs::write(site.path(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    names.iter().map(|name| name.to_vec()).collect()
}

#[tokio::test]
async fn no_list_loses_an_entry_without_a_word() {
    let mut rng = fastrand::Rng::with_seed(seed());
    for number in 0..env_number("MFCTL_TEST_INPUTS", 25) {
        let site = Site::new();
        let given = Given::random(&write_files(&site), &mut rng);
        let source = match given.delivery {
            Delivery::Stdin => rng.choice(["-", "/dev/stdin"]).unwrap(),
            Delivery::File => "list",
            Delivery::Fifo => "fifo",
        };
        fs::write(site.path("list"), &given.text).unwrap();
        mknodat(CWD, site.path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let signal = rng.choice([Signal::KILL, Signal::INT]).unwrap();
        let end = match rng.u8(..4) {
            0 => End::Failpoint(rng.choice(FAILPOINTS).unwrap()),
            1 if given.delivery != Delivery::File => End::AfterBytes(signal, rng.usize(..=given.text.len())),
            2 => End::AfterPause(Duration::from_millis(rng.u64(..300))),
            _ => End::Itself,
        };
        let text = given.text.escape_ascii();
        let round = format!("round {number}, {end:?}, {:?} by {:?} from {source}: {text}", given.form, given.delivery);
        let words = given.words(source);
        let work = Round { site: &site, given: &given };
        let mut ran = work.run(&words, end);
        if let (Some(job), true) = (work.newest_job(), rng.bool()) {
            let resume = |more: &[&str]| {
                ["ingest", "-q", "-o", "json", "--resume"]
                    .into_iter()
                    .map(str::to_owned)
                    .chain([job.to_string()])
                    .chain(more.iter().map(|word| (*word).to_owned()))
                    .collect::<Vec<_>>()
            };
            let bare = site.run(resume(&[]));
            work.check(&bare, &format!("resumed, {round}")).await;
            // What the job has not read is given to it; a job that has read all of it refuses more.
            if bare.code == 3 && bare.stderr.contains("is not finished") {
                fs::write(site.path("list"), given.rest(end, &mut rng)).unwrap();
                ran = site.run(resume(&[given.option(), "list"]));
                work.check(&ran, &format!("given again, {round}")).await;
            }
        } else if !matches!(end, End::Itself) {
            ran = work.run(&words, End::Itself);
            work.check(&ran, &format!("again, {round}")).await;
        } else {
            work.check(&ran, &round).await;
        }
        assert!(ran.code != 1 && ran.code != 101, "{round}: {ran}");
    }
}
