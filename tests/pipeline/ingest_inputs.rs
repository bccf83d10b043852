//! Lists and manifests: from a file or a pipe, whole or cut off, and what mfctl says when they name nothing.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use mfctl_core::domain::job::JobStatus;
use mfctl_core::domain::{JobId, Tenant};
use mfctl_core::ports::NewJob;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

use crate::support::{CommandOutput, Running, Site, eventually};

/// Creates `in/00.txt` and so on; returns the list and the manifest that name them.
fn write_input(site: &Site, count: usize) -> (String, String) {
    fs::create_dir_all(site.path("in")).unwrap();
    let names: Vec<String> = (0..count).map(|number| format!("in/{number:02}.txt")).collect();
    for name in &names {
        fs::write(site.path(name), name).unwrap();
    }
    let rows: Vec<String> = names.iter().map(|name| format!("{{\"path\":\"{name}\",\"title\":\"t\"}}\n")).collect();
    (names.join("\n") + "\n", rows.concat())
}

/// Runs with this text on stdin.
fn run_with_stdin(site: &Site, words: &[&str], text: &str) -> CommandOutput {
    let mut command = site.command(words);
    command.args(["-o", "json"]).stdin(Stdio::piped());
    let mut running = Running::captured(command);
    // The process may end without reading its input.
    let _ = running.child.stdin.take().unwrap().write_all(text.as_bytes());
    running.finish()
}

/// Runs a line of bash in the site's folder, in which `$MFCTL` is the binary.
fn run_bash(site: &Site, line: &str) -> CommandOutput {
    let inner = site.command(["--version"]);
    let mut command = Command::new("/bin/bash");
    command.args(["-c", line]).env_clear().stdin(Stdio::null()).current_dir(site.path("."));
    command.env("MFCTL", inner.get_program());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    CommandOutput::run(command)
}

fn make_fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn job_of(ran: &CommandOutput) -> String {
    ran.json()["job_id"].as_str().unwrap().to_owned()
}

/// Whether a job's spool has a file with this content.
fn is_kept(site: &Site, content: &[u8]) -> bool {
    let files = |folder: &Path| fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut kept = files(&site.data().join("jobs")).flat_map(|job| files(&job).collect::<Vec<_>>());
    kept.any(|file| fs::read(file).unwrap() == content)
}

#[test]
fn list_and_manifest_are_ingested_from_any_kind_of_file() {
    for (option, name) in [("--files-from", "list"), ("--manifest", "rows")] {
        let site = Site::new();
        let (list, rows) = write_input(&site, 9);
        let text = if name == "list" { list } else { rows };
        fs::write(site.path("given"), &text).unwrap();
        make_fifo(&site.path("fifo"));
        let lines = [
            format!("\"$MFCTL\" ingest {option} given -o json"),
            format!("cat given | \"$MFCTL\" ingest {option} - -o json"),
            format!("cat given | \"$MFCTL\" ingest {option} /dev/stdin -o json"),
            format!("\"$MFCTL\" ingest {option} /dev/stdin -o json <given"),
            format!("\"$MFCTL\" ingest {option} <(cat given) -o json"),
            format!("\"$MFCTL\" ingest {option} /dev/fd/7 -o json 7< <(cat given)"),
            format!("(cat given >fifo &) ; \"$MFCTL\" ingest {option} fifo -o json"),
        ];
        for line in lines {
            let ran = run_bash(&site, &line);
            assert_eq!(ran.code, 0, "{line}: {ran}");
            let report = ran.json();
            assert_eq!((&report["discovered"], &report["entries_read"]), (&9.into(), &9.into()), "{line}: {report:#}");
            let verified = site.run(["jobs", "verify", &job_of(&ran)]);
            assert_eq!(verified.code, 0, "{line}: {verified}");
            let dry = run_bash(&site, &line.replace("ingest", "ingest --dry-run"));
            assert_eq!((dry.code, &dry.json()["discovered"]), (0, &9.into()), "{line}: {dry}");
        }
        let kept = site.data().join("jobs");
        let folders = fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().path());
        let kinds = if name == "list" { "list" } else { "manifest" };
        assert!(folders.map(|folder| fs::read(folder.join(kinds)).unwrap()).all(|kept| kept == text.as_bytes()));
    }
}

#[test]
fn a_manifest_that_names_a_file_twice_with_other_metadata_is_rejected_by_line() {
    let site = Site::new();
    write_input(&site, 2);
    let rows = "path,title\nin/00.txt,A\nin/01.txt,B\n./in/00.txt,A\nin/01.txt,C\n";
    fs::write(site.path("rows.csv"), rows).unwrap();
    let refused = "line 5 of the manifest names";
    let dry = site.run(["ingest", "--manifest", "rows.csv", "in", "--dry-run", "-o", "json"]);
    assert_eq!(
        (dry.code, &dry.json()["discovered"], &dry.json()["actions"]["reject"]),
        (3, &3.into(), &1.into()),
        "{dry}"
    );
    assert!(dry.stdout.contains(refused), "{dry}");
    let ran = site.run(["ingest", "--manifest", "rows.csv", "in", "-o", "json"]);
    let report = ran.json();
    assert_eq!((ran.code, &report["staged"], &report["rejected"]), (3, &2.into(), &1.into()), "{ran}");
    let reason = report["failures"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with(refused) && reason.ends_with("again, with other metadata than line 3"), "{reason}");
    assert_eq!(report["failures"][0]["kind"], "bad_metadata");
    assert_eq!(site.run(["jobs", "verify", &job_of(&ran)]).code, 10);
}

#[test]
fn a_file_that_is_missing_is_not_said_to_be_cut_off() {
    let site = Site::new();
    write_input(&site, 1);
    fs::write(site.path("list"), "in/00.txt\nin/no-such.txt\n").unwrap();
    let ran = site.run(["ingest", "--files-from", "list"]);
    assert_eq!(ran.code, 3, "{ran}");
    assert!(ran.stderr.contains("--retry-failed") && !ran.stderr.contains("cut off"), "{ran}");
}

#[test]
fn a_tag_with_two_values_is_wrong_usage() {
    let site = Site::new();
    write_input(&site, 1);
    let ran = site.run(["ingest", "in", "--tag", "k=1", "--tag", "k=2"]);
    assert_eq!(ran.code, 2, "{ran}");
    assert!(ran.stderr.contains("--tag: k is given twice"), "{ran}");
    assert_eq!(site.run(["ingest", "in", "--tag", "k=1", "--tag", "k=1"]).code, 0);
}

/// A command whose list stands still is interrupted; what it did not read is given later.
#[test]
fn job_whose_list_was_not_read_to_its_end_is_not_finished() {
    let site = Site::new();
    let (list, _) = write_input(&site, 9);
    let (first, rest) = list.split_at(list.find("04.txt").unwrap());
    let mut command = site.command(["ingest", "--files-from", "-"]);
    command.stdin(Stdio::piped());
    let mut holding = Running::captured(command);
    let mut pipe = holding.child.stdin.take().unwrap();
    pipe.write_all(first.as_bytes()).unwrap();
    eventually("the list is kept as it is read", || is_kept(&site, first.as_bytes()));
    holding.signal(Signal::INT);
    let stopped = holding.finish();
    assert_eq!(stopped.code, 130, "{stopped}");
    drop(pipe);
    let job = site.run(["jobs", "list", "-o", "name"]).stdout.trim().to_owned();
    assert!(stopped.stderr.contains(&format!("--resume {job} --files-from")), "{stopped}");

    // Without the rest, the four whole entries are ingested, and the job says that there is more.
    let resumed = site.run(["ingest", "--resume", &job, "-o", "json"]);
    assert_eq!(resumed.code, 3, "{resumed}");
    assert_eq!((&resumed.json()["discovered"], &resumed.json()["failed"]), (&4.into(), &0.into()), "{resumed}");
    assert!(resumed.stderr.contains("4 entries") && resumed.stderr.contains("--files-from FILE"), "{resumed}");
    let shown = site.json(["jobs", "show", &job], &[0]);
    assert_eq!((&shown["status"], &shown["inputs"][0]["ended"]), (&"interrupted".into(), &false.into()), "{shown:#}");
    let verified = site.run(["jobs", "verify", &job]);
    assert_eq!(verified.code, 10, "{verified}");
    assert!(verified.stderr.contains("the end of its list was not read"), "{verified}");

    // The rest, from the last whole entry on.
    let rest = format!("in/03.txt\nin/{rest}");
    let ended = run_with_stdin(&site, &["ingest", "--resume", &job, "--files-from", "-"], &rest);
    assert_eq!((ended.code, &ended.json()["discovered"]), (0, &9.into()), "{ended}");
    assert_eq!(site.run(["jobs", "verify", &job]).code, 0);
    let again = run_with_stdin(&site, &["ingest", "--resume", &job, "--files-from", "-"], &rest);
    assert_eq!(again.code, 6, "{again}");
    assert!(again.stderr.contains("read to its end"), "{again}");
}

/// Begins a job with a pipe that stands still after this text, kills the command, and returns the job.
fn killed_amid_its_input(site: &Site, words: &[&str], text: &str) -> String {
    let mut command = site.command(words);
    command.stdin(Stdio::piped());
    let mut killed = Running::captured(command);
    let mut pipe = killed.child.stdin.take().unwrap();
    pipe.write_all(text.as_bytes()).unwrap();
    eventually("what was read is kept", || is_kept(site, text.as_bytes()));
    killed.kill();
    site.run(["jobs", "list", "-o", "name"]).stdout.lines().next().unwrap().to_owned()
}

/// What was given names "in/1", and the list broke off within that name.
#[test]
fn name_at_the_break_of_a_pipe_is_accounted_for() {
    for (option, begun, rest, whole) in [
        ("--files-from", "in/00.txt\nin/1", "in/19.txt\n", "in/00.txt\nin/11.txt\nin/19.txt\n"),
        (
            "--manifest",
            "{\"path\":\"in/00.txt\"}\n{\"path\":\"in/1",
            "{\"path\":\"in/19.txt\"}\n",
            "{\"path\":\"in/00.txt\"}\n{\"path\":\"in/11.txt\"}\n{\"path\":\"in/19.txt\"}\n",
        ),
    ] {
        let words = ["ingest", option, "-"];
        for (given, code, discovered) in [(rest, 3, 3), (whole, 0, 3)] {
            let site = Site::new();
            write_input(&site, 20);
            fs::write(site.path("in/1"), "a file of that name").unwrap();
            let job = killed_amid_its_input(&site, &words, begun);
            let ended = run_with_stdin(&site, &["ingest", "--resume", &job, option, "-"], given);
            assert_eq!((ended.code, &ended.json()["discovered"]), (code, &discovered.into()), "{given}: {ended}");
            let failures = ended.json()["failures"].to_string();
            assert_eq!(failures.contains("broke off in it"), code == 3, "{failures}");
            assert_eq!(site.run(["jobs", "verify", &job]).code == 0, code == 0, "{given}");
        }
    }
}

/// The same command with another list must not finish a job that did not read its own.
#[test]
fn another_list_does_not_finish_a_job_that_was_cut_off() {
    let site = Site::new();
    let (list, rows) = write_input(&site, 9);
    for (option, text) in [("--files-from", list), ("--manifest", rows)] {
        let words = ["ingest", option, "-"];
        let half = &text[..text.len() / 2];
        let job = killed_amid_its_input(&site, &words, half);
        let lines: Vec<&str> = text.lines().collect();
        let other = lines[5..].join("\n") + "\n";
        for another in [other.as_str(), &half[..half.len() / 2], ""] {
            let refused = run_with_stdin(&site, &words, another);
            assert_eq!(refused.code, 6, "{refused}");
            assert!(refused.stderr.contains("--new-job") && refused.stderr.contains("--resume"), "{refused}");
            let shown = site.json(["jobs", "show", &job], &[0]);
            assert_eq!(shown["inputs"].as_array().unwrap().len(), 1, "{shown:#}");
            assert_eq!(site.run(["jobs", "verify", &job]).code, 10);
        }
        let resumed = run_with_stdin(&site, &words, &text);
        assert_eq!((resumed.code, job_of(&resumed)), (0, job), "{resumed}");
    }
}

/// Bytes that are no list cost the job nothing: a correct one can be given after them.
#[test]
fn list_that_cannot_be_used_is_given_again() {
    let site = Site::new();
    let (list, _) = write_input(&site, 4);
    for (option, wrong, right) in [
        ("--files-from", "in/00.txt\nin/01\0.txt\n", list.as_str()),
        ("--manifest", "name,title\na,b\n", "path\nin/00.txt\nin/01.txt\nin/02.txt\nin/03.txt\n"),
    ] {
        let csv = wrong.contains(',');
        let format = if csv { "csv" } else { "jsonl" };
        let with_format: &[&str] = if option == "--manifest" { &["--manifest-format", format] } else { &[] };
        let words = [&["ingest", option, "-"], with_format].concat();
        let refused = run_with_stdin(&site, &words, wrong);
        assert_eq!(refused.code, 6, "{refused}");
        let given = run_with_stdin(&site, &words, right);
        assert_eq!((given.code, &given.json()["discovered"]), (0, &4.into()), "{given}");
        assert_eq!(site.run(["jobs", "verify", &job_of(&given)]).code, 0);
    }
}

/// After a kill, the same command with the whole list again completes the same job.
#[test]
fn same_command_with_a_new_pipe_completes_the_job() {
    let site = Site::new();
    let (list, rows) = write_input(&site, 9);
    for (option, text) in [("--files-from", list), ("--manifest", rows)] {
        let words = ["ingest", option, "-"];
        killed_amid_its_input(&site, &words, &text[..text.len() / 2]);
        let resumed = run_with_stdin(&site, &words, &text);
        assert_eq!(resumed.code, 0, "{resumed}");
        assert!(resumed.stderr.contains("resuming job"), "{resumed}");
        assert_eq!(resumed.json()["discovered"], 9, "{resumed}");
        let verified = site.run(["jobs", "verify", &job_of(&resumed)]);
        assert_eq!(verified.code, 0, "{verified}");
    }
}

#[test]
fn list_that_was_changed_is_another_job() {
    let site = Site::new();
    let (list, _) = write_input(&site, 4);
    fs::write(site.path("list"), &list[..20]).unwrap();
    let died = CommandOutput::run(site.command_with_failpoint("ingest_durable", ["ingest", "--files-from", "list"]));
    assert_eq!(died.code, -6, "{died}");
    let first = site.run(["jobs", "list", "-o", "name"]).stdout.trim().to_owned();
    fs::write(site.path("list"), list).unwrap();
    let whole = site.json(["ingest", "--files-from", "list"], &[0]);
    assert_eq!(whole["discovered"], 4, "{whole:#}");
    assert_ne!(whole["job_id"], first.as_str());
    // The first job has its own list still.
    let resumed = site.json(["ingest", "--resume", &first], &[0]);
    assert_eq!((&resumed["discovered"], &resumed["failed"]), (&2.into(), &0.into()), "{resumed:#}");
}

#[test]
fn entry_that_was_cut_off_and_one_that_never_existed_are_failures() {
    let site = Site::new();
    let (list, _) = write_input(&site, 2);
    let text = format!("{list}in/gone.txt\nin/0");
    let ran = run_with_stdin(&site, &["ingest", "--files-from", "-"], &text);
    assert_eq!(ran.code, 3, "{ran}");
    let report = ran.json();
    let failures: Vec<_> = report["failures"].as_array().unwrap().iter().map(|row| &row["kind"]).collect();
    assert_eq!(failures, ["cut_off", "not_found"], "{report:#}");
    assert!(report["failures"][0]["reason"].as_str().unwrap().contains("cut off"), "{report:#}");
    assert_eq!(site.run(["jobs", "verify", &job_of(&ran)]).code, 10);
    let dry = run_with_stdin(&site, &["ingest", "-n", "--files-from", "-"], &text);
    assert_eq!((dry.code, dry.json()["actions"]["fail"].as_u64()), (3, Some(2)), "{dry}");

    // A file that the job had seen has vanished instead.
    fs::create_dir(site.path("seen")).unwrap();
    fs::write(site.path("seen/a.txt"), "a").unwrap();
    fs::write(site.path("seen/b.txt"), "b").unwrap();
    CommandOutput::run(site.command_with_failpoint("ingest_planned", ["ingest", "seen"]));
    fs::remove_file(site.path("seen/a.txt")).unwrap();
    let resumed = site.json(["ingest", "seen"], &[3]);
    assert_eq!(resumed["failures"][0]["kind"], "vanished", "{resumed:#}");
}

#[test]
fn expected_number_of_entries_is_checked() {
    let site = Site::new();
    let (list, _) = write_input(&site, 5);
    let words = ["ingest", "--files-from", "-", "--expect", "5"];
    let cut = &list[..list.len() - 10];
    let ran = run_with_stdin(&site, &words, cut);
    assert_eq!(ran.code, 3, "{ran}");
    assert!(ran.stderr.contains("4 entries were read, but --expect said 5"), "{ran}");
    let job = job_of(&ran);
    assert!(ran.stderr.contains("all of it") && !ran.stderr.contains("the rest"), "{ran}");
    let verified = site.run(["jobs", "verify", &job]);
    assert_eq!(verified.code, 10, "{verified}");
    assert!(verified.stderr.contains("--expect said 5"), "{verified}");
    // Half of the list is not all of it; the same command with all of it is.
    let again = run_with_stdin(&site, &words, cut);
    assert_eq!((again.code, job_of(&again)), (3, job.clone()), "{again}");
    let whole = run_with_stdin(&site, &words, &format!("\n{list}\n\n"));
    assert_eq!((whole.code, job_of(&whole)), (0, job.clone()), "{whole}");
    assert_eq!(site.run(["jobs", "verify", &job]).code, 0);
    let dry = run_with_stdin(&site, &["ingest", "-n", "--files-from", "-", "--expect", "9"], &list);
    assert_eq!(dry.code, 3, "{dry}");
    for words in
        [vec!["ingest", "in", "--expect", "1"], vec!["ingest", "--manifest", "-", "--files-from", "/dev/stdin"]]
    {
        assert_eq!(site.run(&words).code, 2, "{words:?}");
    }
}

#[test]
fn lists_and_manifests_of_other_systems_lose_no_entry() {
    let site = Site::new();
    let (list, rows) = write_input(&site, 3);
    let csv = format!("path,shelf\n{}", list.replace(".txt\n", ".txt,7\n"));
    for (words, text) in [
        (vec!["--files-from"], &list),
        (vec!["--manifest"], &rows),
        (vec!["--manifest-format", "csv", "--manifest"], &csv),
    ] {
        let text = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        let words: Vec<_> = ["ingest"].into_iter().chain(words).chain(["-"]).collect();
        let ran = run_with_stdin(&site, &words, &text);
        assert_eq!((ran.code, &ran.json()["discovered"]), (0, &3.into()), "{words:?}: {ran}");
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        fs::write(site.path("utf16"), utf16).unwrap();
        let words = [&words[..words.len() - 1], &["utf16"]].concat();
        let refused = site.run(&words);
        assert_eq!(refused.code, 6, "{words:?}: {refused}");
        assert!(refused.stderr.contains("UTF-16"), "{refused}");
    }
    fs::write(site.path("nul"), list.replace('\n', "\0")).unwrap();
    let refused = site.run(["ingest", "--files-from", "nul"]);
    assert_eq!(refused.code, 6, "{refused}");
    assert!(refused.stderr.contains("line 1 contains a NUL") && refused.stderr.contains("-0"), "{refused}");
    // The job did not begin.
    assert_eq!(site.run(["jobs", "list", "-o", "name"]).stdout.lines().count(), 3);
}

#[test]
fn ingest_that_finds_nothing_fails_after_its_report() {
    let site = Site::new();
    fs::create_dir(site.path("empty")).unwrap();
    fs::create_dir(site.path("tmp")).unwrap();
    fs::write(site.path("tmp/a.tmp"), "a").unwrap();
    fs::write(site.path("list"), "\n\n").unwrap();
    for (words, why) in [
        (vec!["ingest", "empty"], "no file was found"),
        (vec!["ingest", "--files-from", "list"], "the list or manifest has no entries"),
        (vec!["ingest", "tmp", "--exclude", "*.tmp"], "--exclude"),
        (vec!["ingest", "-n", "tmp", "--include", "*.pdf"], "--include"),
    ] {
        let ran = site.run([words.clone(), vec!["-o", "json"]].concat());
        assert_eq!((ran.code, &ran.json()["discovered"]), (6, &0.into()), "{words:?}: {ran}");
        let error: serde_json::Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
        assert_eq!(error["error"]["kind"], "nothing_found", "{ran}");
        assert!(error["error"]["message"].as_str().unwrap().contains(why), "{words:?}: {ran}");
        let allowed = site.run([words.clone(), vec!["--allow-empty"]].concat());
        assert_eq!(allowed.code, 0, "{words:?}: {allowed}");
        if words[1] != "-n" {
            let verified = site.run(["jobs", "verify", ran.json()["job_id"].as_str().unwrap()]);
            assert_eq!(verified.code, 10, "{words:?}: {verified}");
            assert!(!verified.stderr.contains("may be deleted"), "{verified}");
            let resumed = site.run(["ingest", "--resume", ran.json()["job_id"].as_str().unwrap()]);
            assert_eq!(resumed.code, 0, "{words:?}: {resumed}");
        }
    }
}

/// A FIFO that no process writes to is named, and Ctrl-C ends the wait.
#[test]
fn wait_for_the_writer_of_a_fifo_is_announced_and_can_be_interrupted() {
    let site = Site::new();
    make_fifo(&site.path("fifo"));
    let log = site.path("log");
    let mut waiting = Running::logged(site.command(["ingest", "--files-from", "fifo"]), &log);
    eventually("it says what it waits for", || fs::read_to_string(&log).unwrap().contains("waiting for fifo"));
    assert!(waiting.is_alive());
    waiting.signal(Signal::INT);
    assert_eq!(waiting.code(), 130);
}

/// Without what the list said, mfctl calls nothing safe and nothing finished.
#[test]
fn damaged_copy_of_a_list_is_an_error() {
    let site = Site::new();
    let (list, _) = write_input(&site, 3);
    fs::write(site.path("list"), list).unwrap();
    let job = site.json(["ingest", "--files-from", "list"], &[0])["job_id"].as_str().unwrap().to_owned();
    let kept = site.data().join("jobs").join(&job).join("list");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let damages: [fn(&Path) -> std::io::Result<()>; 3] = [
        |kept| fs::write(kept, "in/00.txt\n"),
        |kept| fs::remove_file(kept),
        |kept| {
            make_fifo(kept);
            Ok(())
        },
    ];
    for damage in damages {
        damage(&kept).unwrap();
        for words in [["jobs", "verify"], ["ingest", "--resume"]] {
            let ran = site.run([&words[..], &[job.as_str()]].concat());
            assert_eq!(ran.code, 6, "{ran}");
            assert!(ran.stderr.contains(kept.to_str().unwrap()), "{ran}");
        }
        let audited = site.json(["audit", "--second-look-ms", "0"], &[10]);
        assert_eq!(audited["violations"][0]["subject"], kept.to_str().unwrap(), "{audited:#}");
        assert_eq!(audited["violation_count"], 1);
    }
}

/// A row of the manifest counts, whatever else of the command leads to its file.
#[test]
fn manifest_row_applies_to_a_file_that_an_argument_names_too() {
    let site = Site::new();
    write_input(&site, 3);
    fs::write(site.path("rows"), "{\"path\":\"in/01.txt\",\"title\":\"From the manifest\"}\n").unwrap();
    site.json(["ingest", "in", "--manifest", "rows"], &[0]);
    let found = site.json(["media", "list"], &[0]).to_string();
    assert!(found.contains("From the manifest"), "{found}");
    fs::write(site.path("rows"), "{\"path\":\"in/02.txt\",\"tags\":7}\n").unwrap();
    let refused = site.json(["ingest", "in", "--manifest", "rows"], &[3]);
    assert_eq!(refused["failures"][0]["kind"], "bad_metadata", "{refused:#}");
}

/// An entry that is no path is named by its line, even if a file has that name.
#[test]
fn invalid_entry_and_a_file_named_like_it_are_both_accounted_for() {
    for file_first in [true, false] {
        let site = Site::new();
        write_input(&site, 1);
        let long = "x".repeat(5000);
        let invalid_line = if file_first { 2 } else { 1 };
        let name = format!("list:{invalid_line}");
        fs::write(site.path(&name), "poem").unwrap();
        let lines = if file_first { [&name, &long] } else { [&long, &name] };
        fs::write(site.path("list"), lines.map(|line| format!("{line}\n")).concat()).unwrap();
        let report = site.json(["ingest", "--files-from", "list"], &[3]);
        assert_eq!((&report["published"], &report["rejected"]), (&1.into(), &1.into()), "{report:#}");
    }
}

/// An ignore file that cannot be applied leaves it open whether a sidecar is to be read.
#[test]
fn named_file_is_refused_if_the_rules_for_its_sidecar_are_not_known() {
    let site = Site::new();
    let (list, rows) = write_input(&site, 1);
    fs::write(site.path("in/00.txt.json"), "{\"title\":\"From the sidecar\"}").unwrap();
    fs::write(site.path("in/.mfctlignore"), "[\n").unwrap();
    fs::write(site.path("list"), list).unwrap();
    fs::write(site.path("rows"), rows).unwrap();
    for words in [["ingest", "--files-from", "list"], ["ingest", "--manifest", "rows"]] {
        let report = site.json(words, &[3]);
        assert!(report["failures"][0]["reason"].as_str().unwrap().contains("line 1"), "{report:#}");
    }
}

/// A name that did not exist becomes a folder: the retry takes its files, and no row is left of the folder.
#[test]
fn folder_that_came_later_is_taken_by_a_retry() {
    let site = Site::new();
    fs::write(site.path("list"), "in\n").unwrap();
    let job = job_of(&site.run(["ingest", "--files-from", "list", "-o", "json"]));
    write_input(&site, 2);
    let retried = site.json(["ingest", "--retry-failed", &job], &[0]);
    assert_eq!((&retried["discovered"], &retried["published"]), (&2.into(), &2.into()), "{retried:#}");
    let verified = site.run(["jobs", "verify", &job]);
    assert_eq!(verified.code, 0, "{verified}");
}

/// What a list ended in is not retried: only the whole list tells what it is.
#[test]
fn what_was_cut_off_stays_so_when_failed_files_are_retried() {
    let site = Site::new();
    write_input(&site, 1);
    fs::write(site.path("list"), "in/00.txt\nin/00.t").unwrap();
    let ran = site.run(["ingest", "--files-from", "list", "-o", "json"]);
    assert!(ran.code == 3 && ran.stderr.contains("new job with the whole list"), "{ran}");
    let retried = site.json(["ingest", "--retry-failed", &job_of(&ran)], &[3]);
    assert_eq!(retried["failures"][0]["kind"], "cut_off", "{retried:#}");
}

/// Earlier versions did not keep what they read from standard input.
#[tokio::test]
async fn job_of_an_earlier_version_without_its_list_is_not_safe_until_it_is_given() {
    let site = Site::new();
    let (list, _) = write_input(&site, 3);
    fs::write(site.path("list"), &list).unwrap();
    let ports = site.ports().await;
    let job_id = JobId::fresh();
    let at = ports.clock.now();
    let spec = serde_json::json!({
        "roots": [], "list": { "path": null, "nul": false, "base": site.path("") }, "max_size_bytes": 1_000_000,
    });
    let tenant = site.on_stack.as_ref().map_or_else(Tenant::default, |platform| Tenant::new(&platform.tenant).unwrap());
    let new = NewJob { job_id, tenant, actor: "me".into(), host: "host".into(), spec, at };
    ports.journal.begin(new).await.unwrap();
    ports.journal.set_walk_complete(job_id, at).await.unwrap();
    ports.journal.set_status(job_id, JobStatus::Finished, None, at).await.unwrap();
    let job = job_id.to_string();
    let verified = site.run(["jobs", "verify", &job]);
    assert_eq!(verified.code, 10, "{verified}");
    assert!(verified.stderr.contains("was not kept"), "{verified}");
    let resumed = site.run(["ingest", "--resume", &job]);
    assert_eq!(resumed.code, 3, "{resumed}");
    assert!(resumed.stderr.contains("was not kept"), "{resumed}");
    let given = site.json(["ingest", "--resume", &job, "--files-from", "list"], &[0]);
    assert_eq!(given["discovered"], 3, "{given:#}");
    assert_eq!(site.run(["jobs", "verify", &job]).code, 0);
}
