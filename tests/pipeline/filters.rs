//! What an ingest leaves out: ignore files, include and exclude patterns, and the data folder itself.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{CommandOutput, Site};

fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// The names of the source files that the job took.
fn taken(site: &Site) -> Vec<PathBuf> {
    let mut names = Vec::new();
    let root = site.path("").canonicalize().unwrap();
    for folder in ["in", "elsewhere", "data"] {
        let mut open = vec![root.join(folder)];
        while let Some(path) = open.pop() {
            if path.is_dir() && !path.is_symlink() {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if site.run([OsStr::new("media"), OsStr::new("trace"), path.as_os_str()]).code == 0 {
                names.push(path.strip_prefix(&root).unwrap().to_owned());
            }
        }
    }
    names.sort();
    names
}

fn as_paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

#[test]
fn an_ignore_file_that_cannot_be_applied_stops_the_job_before_its_folder_is_read() {
    let utf16_without_mark: Vec<u8> = "*.key\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    type Break<'a> = &'a dyn Fn(&Path);
    let broken: [(&str, Break<'_>, &str); 5] = [
        ("a folder", &|path| fs::create_dir(path).unwrap(), "not a regular file"),
        ("a dangling link", &|path| symlink("nowhere", path).unwrap(), "cannot be read"),
        ("a loop", &|path| symlink(".mfctlignore", path).unwrap(), "cannot be read"),
        ("an invalid line", &|path| fs::write(path, "*.pem\n\n[a-\n").unwrap(), "line 3: a [ is not closed"),
        ("UTF-16 without a mark", &|path| fs::write(path, &utf16_without_mark).unwrap(), "line 1: it has a NUL"),
    ];
    for (what, make, reason) in broken {
        let site = Site::new();
        write(&site.path("in/deep/secret.key"), "the key");
        let ignore_file = site.path("in/deep/.mfctlignore");
        make(&ignore_file);
        for words in [vec!["ingest", "in", "--dry-run"], vec!["ingest", "in"], vec!["ingest", "in/deep"]] {
            let ran = site.run(&words);
            assert_eq!(ran.code, 6, "{what}: {ran}");
            assert!(ran.stderr.contains("in/deep/.mfctlignore") && ran.stderr.contains(reason), "{what}: {ran}");
        }
        assert_eq!(site.run(["media", "list", "-o", "name"]).stdout, "", "{what}: nothing was staged");

        // The same command works once the file is mended.
        if ignore_file.is_dir() {
            fs::remove_dir(&ignore_file).unwrap()
        } else {
            fs::remove_file(&ignore_file).unwrap()
        }
        fs::write(&ignore_file, "*.key\n").unwrap();
        write(&site.path("in/other.txt"), "other");
        let ingested = site.json(["ingest", "in"], &[0]);
        assert_eq!(ingested["discovered"], 1, "{what}: {ingested:#}");
    }
}

#[test]
fn an_ignore_file_that_is_not_utf8_is_applied() {
    let site = Site::new();
    let utf16: Vec<u8> = "\u{feff}*.key\r\nنهان/\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    // ISO-8859-1, and "کلید" in ISO-8859-6.
    let latin: &[u8] = b"# r\xe9serv\xe9\n*.key\n";
    let arabic_name: &[u8] = b"\xe3\xe4\xea\xcf.txt";
    let arabic: &[u8] = b"\xe3\xe4\xea\xcf*\n";
    write(&site.path("in/latin/.mfctlignore"), latin);
    write(&site.path("in/latin/a.key"), "secret 1");
    write(&site.path("in/latin/a.txt"), "text 1");
    write(&site.path("in/utf16/.mfctlignore"), utf16);
    write(&site.path("in/utf16/a.key"), "secret 2");
    write(&site.path("in/utf16/نهان/b.txt"), "secret 3");
    write(&site.path("in/utf16/a.txt"), "text 2");
    write(&site.path("in/arabic/.mfctlignore"), arabic);
    write(&site.path("in/arabic").join(OsStr::from_bytes(arabic_name)), "secret 4");
    write(&site.path("in/arabic/a.txt"), "text 3");
    site.json(["ingest", "in"], &[0]);
    assert_eq!(taken(&site), as_paths(&["in/arabic/a.txt", "in/latin/a.txt", "in/utf16/a.txt"]));
}

#[test]
fn what_each_rule_left_out_is_counted_and_named() {
    let site = Site::new();
    for name in ["a.txt", "b.bak", "c.bak", "d.key", "e.log", "cache/f.txt", ".hidden", "x/cache", "g.pdf"] {
        write(&site.path("in").join(name), name);
    }
    write(&site.path("in/.mfctlignore"), "# keys\n*.key\n");
    let words = ["ingest", "in", "--exclude", "*.bak", "--exclude", "cache/", "--exclude", "none*"];
    let words =
        [&words[..], &["--include", "*.txt", "--include", "cache", "--include", "*.pdff", "--no-hidden"]].concat();
    let file = site.path("in/.mfctlignore").canonicalize().unwrap();
    let expected = json!([
        {"source": "exclude", "pattern": "*.bak", "file": null, "line": null, "count": 2},
        {"source": "include", "pattern": null, "file": null, "line": null, "count": 2},
        {"source": "exclude", "pattern": "cache/", "file": null, "line": null, "count": 1},
        {"source": "no_hidden", "pattern": null, "file": null, "line": null, "count": 1},
        {"source": "ignore_file", "pattern": "*.key", "file": file, "line": 2, "count": 1},
    ]);
    // A file that no --include matches is left out before ignore files are asked.
    let rules = |report: &Value| -> Value {
        let rules = report["left_out"].as_array().unwrap().clone();
        rules.into_iter().filter(|rule| rule["source"] != "ignore_file").collect()
    };
    let expected: Value =
        expected.as_array().unwrap().iter().filter(|rule| rule["source"] != "ignore_file").cloned().collect();
    let mut expected = expected.as_array().unwrap().clone();
    expected[1]["count"] = 3.into();
    expected.swap(0, 1);
    let planned = site.json([&words[..], &["--dry-run"]].concat(), &[0]);
    assert_eq!(rules(&planned), Value::from(expected.clone()), "{planned:#}");
    let report = site.json(&words, &[0]);
    assert_eq!(rules(&report), Value::from(expected), "{report:#}");
    assert_eq!(taken(&site), as_paths(&["in/a.txt", "in/x/cache"]));

    let ran = site.run([&words[..], &["--new-job"]].concat());
    assert!(ran.stderr.contains("2 files or folders left out by --exclude '*.bak'"), "{ran}");
    assert!(ran.stderr.contains("--include '*.pdff' matches no file"), "{ran}");
    assert!(ran.stderr.contains("--exclude 'none*' matches nothing"), "{ran}");
    assert!(!ran.stderr.contains("'*.txt' matches"), "{ran}");

    let report = site.json(["ingest", "in", "--new-job"], &[0]);
    let rule = json!({"source": "ignore_file", "pattern": "*.key", "file": file, "line": 2, "count": 1});
    assert_eq!(report["left_out"], json!([rule]), "{report:#}");
    let ran = site.run(["ingest", "in", "--new-job"]);
    assert!(ran.stderr.contains("left out by '*.key' (") && ran.stderr.contains("/in/.mfctlignore, line 2)"), "{ran}");
}

#[test]
fn patterns_leave_out_files_that_a_list_a_manifest_or_an_argument_names() {
    let site = Site::new();
    for name in ["in/a.txt", "in/a.key", "in/cache/b.txt", "in/c.txt"] {
        write(&site.path(name), name);
    }
    write(&site.path("list"), "in/a.txt\nin/a.key\nin/cache/b.txt\nin/cache\n");
    write(&site.path("rows.jsonl"), "{\"path\":\"in/c.txt\"}\n{\"path\":\"in/a.key\"}\n");
    let report = site.json(["ingest", "--files-from", "list", "--exclude", "*.key", "--exclude", "cache/"], &[0]);
    assert_eq!((&report["discovered"], report["left_out"][0]["count"].as_u64()), (&1.into(), Some(2)), "{report:#}");
    let report = site.json(["ingest", "--manifest", "rows.jsonl", "--exclude", "*.key"], &[0]);
    assert_eq!(report["discovered"], 1, "{report:#}");
    let report = site.json(["ingest", "in/a.key", "in/a.txt", "--exclude", "*.key"], &[0]);
    assert_eq!(report["discovered"], 1, "{report:#}");
    assert_eq!(taken(&site), as_paths(&["in/a.txt", "in/c.txt"]));
}

#[test]
fn names_and_patterns_of_any_bytes_work_on_the_command_line() {
    let site = Site::new();
    let name = OsStr::from_bytes(b"bad\xff.txt");
    write(&site.path("in").join(name), "bad");
    write(&site.path("in/good.txt"), "good");
    let path = site.path("in").join(name);
    let report =
        site.json(["ingest".as_ref(), "in".as_ref(), "--exclude".as_ref(), OsStr::from_bytes(b"*\xff*")], &[0]);
    assert_eq!(report["left_out"][0]["pattern"], "*\\xff*", "{report:#}");
    assert_eq!(taken(&site), as_paths(&["in/good.txt"]));
    let again = site.run(["ingest".as_ref(), "in".as_ref(), "--exclude".as_ref(), OsStr::from_bytes(b"*\xff*")]);
    assert_eq!(again.code, 0, "{again}");

    site.json(["ingest".as_ref(), path.as_os_str()], &[0]);
    let traced = site.json(["media".as_ref(), "trace".as_ref(), path.as_os_str()], &[0]);
    assert!(traced["asset_id"].is_string(), "{traced:#}");
    for words in [
        vec![name],
        vec!["media".as_ref(), "search".as_ref(), name],
        vec!["media".as_ref(), "list".as_ref(), OsStr::from_bytes(b"--\xff")],
        vec!["ingest".as_ref(), "in".as_ref(), "--collection".as_ref(), name, "-o".as_ref(), "json".as_ref()],
        vec!["--profile".as_ref(), name, "status".as_ref()],
    ] {
        let ran = site.run(&words);
        assert_eq!(ran.code, 2, "{words:?}: {ran}");
        assert!(!ran.stderr.contains("panicked"), "{words:?}: {ran}");
    }
    // The data folder is the one that was named, byte for byte.
    let folder = OsStr::from_bytes(b"data\xff");
    let ran = site.run(["--data-dir".as_ref(), folder, "ingest".as_ref(), "in/good.txt".as_ref()]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(site.path(folder).join("mfctl.db").exists(), "{ran}");
    assert_eq!(site.json(["--data-dir".as_ref(), folder, "ingest".as_ref(), "in".as_ref()], &[0])["deduplicated"], 1);

    let mut completion = site.command(["--".as_ref(), "mfctl".as_ref(), "--profile".as_ref(), name, "jobs".as_ref()]);
    completion.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "3").env("_CLAP_IFS", "\n");
    let completed = CommandOutput::run(completion);
    assert!(completed.code == 0 && !completed.stderr.contains("panicked"), "{completed}");
}

#[test]
fn the_data_folder_is_never_ingested_whatever_path_leads_to_it() {
    let site = Site::new();
    write(&site.path("in/x.txt"), "x");
    site.json(["ingest", "in/x.txt"], &[0]);
    let objects = site.data().join("objects");
    let object = find_file(&objects);
    symlink("../data", site.path("in/to-data")).unwrap();
    symlink(object.parent().unwrap(), site.path("in/to-deep")).unwrap();
    symlink(&object, site.path("in/to-object")).unwrap();
    write(&site.path("list"), [object.as_os_str().as_bytes(), b"\ndata/mfctl.db\nin/to-deep\n"].concat());
    write(&site.path("rows.jsonl"), json!({"path": object}).to_string());
    let kind = |report: &Value| -> Vec<String> {
        let failures = report["failures"].as_array().unwrap();
        failures.iter().map(|failure| failure["kind"].as_str().unwrap().to_owned()).collect()
    };

    let followed = site.json(["ingest", "in", "--follow"], &[3]);
    assert_eq!((kind(&followed), &followed["discovered"]), (vec!["data_folder".into()], &2.into()), "{followed:#}");
    let job = followed["job_id"].as_str().unwrap();
    let verified = site.json(["jobs", "verify", job], &[10]);
    let reasons = verified["problems"].to_string();
    assert!(reasons.contains("in/to-data") && reasons.contains("in/to-deep"), "{verified:#}");
    assert!(!reasons.contains("in/to-data/"), "the data folder was searched: {verified:#}");
    for words in [
        vec!["ingest", "data"],
        vec!["ingest", "data/objects"],
        vec!["ingest", "in/to-deep"],
        vec!["ingest", "data/mfctl.db"],
        vec!["ingest", object.to_str().unwrap()],
        vec!["ingest", "--manifest", "rows.jsonl"],
    ] {
        let report = site.json(&words, &[3]);
        assert_eq!(kind(&report), ["data_folder"], "{words:?}: {report:#}");
    }
    let listed = site.json(["ingest", "--files-from", "list"], &[3]);
    assert_eq!(kind(&listed), ["data_folder"; 3], "{listed:#}");
    let ran = site.run(["ingest", "."]);
    assert!(ran.stderr.contains("1 data folder of mfctl not ingested"), "{ran}");
    assert_eq!(taken(&site), as_paths(&["in/x.txt"]));
}

/// Any file below a folder.
fn find_file(folder: &Path) -> PathBuf {
    let mut open = vec![folder.canonicalize().unwrap()];
    loop {
        let path = open.pop().unwrap();
        if path.is_file() {
            return path;
        }
        open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
    }
}

/// A file named by a list is left out whatever the spelling of its path, and wherever the list is read.
#[test]
fn rules_apply_to_every_spelling_of_a_listed_path() {
    let site = Site::new();
    let elsewhere = tempfile::tempdir().unwrap();
    for name in ["in/private/s.txt", "in/open.txt"] {
        write(&site.path(name), name);
    }
    let outside = elsewhere.path().join("private/t.txt");
    write(&outside, "another secret");
    let spellings = "in/./private/s.txt\nin//private/s.txt\nin/../in/private/s.txt\nin/private\nin\n";
    write(&site.path("list"), format!("{spellings}in/./open.txt\n{}\n", outside.display()));
    let words = ["ingest", "--files-from", "list", "--exclude", "in/private/", "--exclude", "private/"];
    assert_eq!(site.json(words, &[0])["discovered"], 1);
    assert_eq!(taken(&site), as_paths(&["in/open.txt"]));
}

#[test]
fn sidecar_that_a_rule_leaves_out_is_not_read() {
    for (ignore_file, options) in [("", &["--exclude", "*.json"][..]), ("*.json\n", &[])] {
        let site = Site::new();
        write(&site.path("in/a.txt"), "a text");
        write(&site.path("in/a.txt.json"), r#"{"title":"a secret title"}"#);
        if !ignore_file.is_empty() {
            write(&site.path("in/.mfctlignore"), ignore_file);
        }
        site.json(["ingest", "in"].iter().chain(options), &[0]);
        let listed = site.json(["media", "list"], &[0]).to_string();
        assert!(!listed.contains("a secret title"), "{listed}");
        let job = site.run(["jobs", "list", "-o", "name"]).stdout;
        let verified = site.run(["jobs", "verify", job.trim(), "--deep"]);
        assert_eq!(verified.code, 10, "what the job did not read is not safe to delete: {verified}");
    }
}
