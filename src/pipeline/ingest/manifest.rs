//! Manifests and lists of paths, read row by row. A row that cannot be used becomes a rejected file, named by its line.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::Error;
use super::metadata::{MAX_BYTES, Said};
use super::read::refusal;
use super::spec::{ListSpec, ManifestForm, ManifestSpec};
use super::walk::{Candidate, Sink};
use mfctl_core::domain::SourcePath;
use mfctl_core::domain::job::RefusalKind;
use mfctl_core::stop::Stop;

/// Takes each row of a manifest as a candidate that nobody has looked at yet. Relative paths stand below the manifest's
/// folder.
pub(super) fn rows(spec: &ManifestSpec, stop: &Stop, sink: Sink<'_>) -> Result<ControlFlow<()>, Error> {
    let path = spec.path.to_path();
    let input = BufReader::new(File::open(&path).map_err(|error| unopened(&spec.path, error))?);
    let source = Source { path: &path, folder: path.parent().unwrap_or(Path::new("/")) };
    match spec.form {
        ManifestForm::Jsonl => jsonl(&source, input, stop, sink),
        ManifestForm::Csv => csv_rows(&source, input, stop, sink),
    }
}

fn unopened(path: &SourcePath, error: io::Error) -> Error {
    Error::Input { what: path.to_string(), error }
}

struct Source<'a> {
    path: &'a Path,
    folder: &'a Path,
}

impl Source<'_> {
    fn row(&self, path: &str, said: Result<Said, String>) -> Candidate {
        let path = self.folder.join(path);
        match said.and_then(|said| said.check().map(|()| said)) {
            Ok(said) => Candidate { path, size_hint: 0, refused: None, said: Some(Box::new(said)) },
            Err(reason) => {
                Candidate::refused(path, refusal(RefusalKind::BadMetadata, format!("its manifest row: {reason}")))
            }
        }
    }

    /// A row that names no file.
    fn bad_line(&self, line: u64, reason: impl std::fmt::Display) -> Candidate {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(":{line}"));
        Candidate::refused(name, refusal(RefusalKind::BadMetadata, format!("line {line} of the manifest: {reason}")))
    }

    fn unreadable(&self, error: io::Error) -> Error {
        unopened(&SourcePath::from_path(self.path), error)
    }
}

#[derive(Deserialize)]
struct PathOnly {
    path: String,
}

fn jsonl(source: &Source<'_>, mut input: impl BufRead, stop: &Stop, sink: Sink<'_>) -> Result<ControlFlow<()>, Error> {
    let mut line = Vec::new();
    for number in 1u64.. {
        if stop.requested().is_some() {
            return Ok(ControlFlow::Break(()));
        }
        let Some(whole) = next(&mut input, b'\n', &mut line).map_err(|error| source.unreadable(error))? else { break };
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let candidate = if whole {
            json_row(source, number, text)
        } else {
            source.bad_line(number, format_args!("is longer than {} KiB", MAX_BYTES / 1024))
        };
        if sink(candidate).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn json_row(source: &Source<'_>, number: u64, text: &[u8]) -> Candidate {
    let row: PathOnly = match serde_json::from_slice(text) {
        Ok(row) => row,
        Err(error) => return source.bad_line(number, error),
    };
    if row.path.is_empty() || row.path.contains('\0') {
        return source.bad_line(number, "the path is empty or has a NUL in it");
    }
    let said = serde_json::from_slice(text).map_err(|error| error.to_string()).and_then(|mut value: Value| {
        if let Some(fields) = value.as_object_mut() {
            fields.remove("path");
        }
        Said::from_value(value)
    });
    source.row(&row.path, said)
}

/// A CSV's columns `path`, `title`, `tags` (`k=v;k=v`), `collection`, `locale`; every other column is a field of the
/// operator's own.
fn csv_rows(source: &Source<'_>, input: impl BufRead, stop: &Stop, sink: Sink<'_>) -> Result<ControlFlow<()>, Error> {
    let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(input);
    let headings = reader.headers().map_err(|error| source.unreadable(io::Error::other(error)))?.clone();
    let Some(path_column) = headings.iter().position(|name| name.trim() == "path") else {
        return Err(source.unreadable(io::Error::other("its first line has no column named path")));
    };
    let mut record = csv::StringRecord::new();
    loop {
        if stop.requested().is_some() {
            return Ok(ControlFlow::Break(()));
        }
        let line = reader.position().line();
        let candidate = match reader.read_record(&mut record) {
            Ok(false) => return Ok(ControlFlow::Continue(())),
            Ok(true) => match record.get(path_column).filter(|path| !path.is_empty() && !path.contains('\0')) {
                Some(path) => source.row(path, Ok(csv_said(&headings, &record))),
                None => source.bad_line(line, "the path is empty or has a NUL in it"),
            },
            Err(error) if error.is_io_error() => return Err(source.unreadable(io::Error::other(error))),
            Err(error) => source.bad_line(line, error),
        };
        if sink(candidate).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

fn csv_said(headings: &csv::StringRecord, record: &csv::StringRecord) -> Said {
    let mut said = Said::default();
    for (name, value) in headings.iter().zip(record).filter(|(_, value)| !value.is_empty()) {
        match name.trim() {
            "path" => {}
            "title" => said.title = Some(value.to_owned()),
            "collection" => said.collection = Some(value.to_owned()),
            "locale" => said.locale = Some(value.to_owned()),
            "tags" => said.set_tags(value.split(';').filter(|tag| !tag.trim().is_empty()).map(str::to_owned).collect()),
            own => {
                said.custom.insert(own.strip_prefix("custom.").unwrap_or(own).to_owned(), value.into());
            }
        }
    }
    said
}

/// Takes each path of a list.
pub(super) fn paths(
    list: &ListSpec,
    stop: &Stop,
    each: &mut dyn FnMut(PathBuf) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Error> {
    use std::os::unix::ffi::OsStrExt;
    let what = list.path.clone().unwrap_or_else(|| SourcePath::from_text("standard input"));
    let mut input: Box<dyn BufRead> = match &list.path {
        Some(path) => Box::new(BufReader::new(File::open(path.to_path()).map_err(|error| unopened(&what, error))?)),
        None => Box::new(BufReader::new(io::stdin())),
    };
    let base = list.base.to_path();
    let (end, mut line) = (if list.nul { 0 } else { b'\n' }, Vec::new());
    loop {
        if stop.requested().is_some() {
            return Ok(ControlFlow::Break(()));
        }
        let Some(whole) = next(&mut input, end, &mut line).map_err(|error| unopened(&what, error))? else {
            return Ok(ControlFlow::Continue(()));
        };
        if !whole || (list.nul && line.contains(&b'\n') && line.len() > 1 << 16) {
            let hint =
                if list.nul { "a path is too long" } else { "a path is too long: are paths separated by NUL (-0)?" };
            return Err(unopened(&what, io::Error::other(hint)));
        }
        if line.contains(&0) {
            return Err(unopened(&what, io::Error::other("there is a NUL in a path: did you mean -0?")));
        }
        if !line.is_empty() && each(base.join(std::ffi::OsStr::from_bytes(&line))).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

/// Reads up to `end` into `line`, without it. `None` at the end of input; `false` if it was longer than allowed, and the
/// rest passed over.
fn next(input: &mut dyn BufRead, end: u8, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let (mut any, mut whole) = (false, true);
    loop {
        let available = match input.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Ok(any.then_some(whole));
        }
        any = true;
        let at = available.iter().position(|byte| *byte == end);
        let part = &available[..at.unwrap_or(available.len())];
        if (line.len() + part.len()) as u64 > MAX_BYTES {
            whole = false;
        } else {
            line.extend_from_slice(part);
        }
        let used = at.map_or(available.len(), |at| at + 1);
        input.consume(used);
        if at.is_some() {
            return Ok(Some(whole));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, form: ManifestForm, text: &str) -> Vec<Candidate> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let spec = ManifestSpec { path: SourcePath::from_path(&path), form };
        let mut all = Vec::new();
        let ended = rows(&spec, &Stop::never(), &mut |candidate| {
            all.push(candidate);
            ControlFlow::Continue(())
        });
        assert!(ended.unwrap().is_continue());
        all
    }

    #[test]
    fn rows_of_jsonl_are_taken_and_bad_ones_named() {
        let long = format!("{{\"path\":\"{}\"}}", "x".repeat(300_000));
        let text = format!(
            "{{\"path\":\"a.pdf\",\"title\":\"A\",\"custom\":{{\"n\":1}}}}\n\n{{\"title\":\"no path\"}}\n\
             {{\"path\":\"b\",\"title\":7}}\nnot json\n{long}\n{{\"path\":\"/abs\"}}"
        );
        let all = read("m.jsonl", ManifestForm::Jsonl, &text);
        let kinds: Vec<_> = all.iter().map(|row| row.refused.as_ref().map(|refusal| refusal.reason.clone())).collect();
        assert_eq!(all.len(), 6);
        assert_eq!(all[0].said.as_ref().unwrap().title.as_deref(), Some("A"));
        assert!(all[0].path.ends_with("a.pdf") && all[0].path.is_absolute());
        assert!(kinds[1].as_ref().unwrap().starts_with("line 3"));
        assert!(kinds[2].as_ref().unwrap().contains("string") && all[2].path.ends_with("b"));
        assert!(kinds[3].as_ref().unwrap().starts_with("line 5"));
        assert!(kinds[4].as_ref().unwrap().contains("longer"));
        assert_eq!(all[5].path, Path::new("/abs"));
    }

    #[test]
    fn a_csvs_other_columns_are_the_operators_own_fields() {
        let text = "path,title,tags,shelf\na.pdf,\"A, and B\",k=v;bare,7\n,x,,\nb.pdf\n";
        let all = read("m.csv", ManifestForm::Csv, text);
        let said = all[0].said.as_ref().unwrap();
        assert_eq!(said.title.as_deref(), Some("A, and B"));
        assert_eq!(said.tags(), [("k".into(), "v".into()), ("bare".into(), String::new())].into());
        assert_eq!(said.custom.get("shelf"), Some(&Value::from("7")));
        assert!(all[1].refused.is_some() && all[2].refused.is_some());
    }

    #[test]
    fn a_list_may_be_separated_by_nul_so_that_any_name_fits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        std::fs::write(&path, b"a\nb\0/c\xff\0").unwrap();
        let list =
            ListSpec { path: Some(SourcePath::from_path(&path)), nul: true, base: SourcePath::from_text("/base") };
        let mut all = Vec::new();
        let mut each = |path: PathBuf| {
            all.push(SourcePath::from_path(&path).to_string());
            ControlFlow::Continue(())
        };
        assert!(paths(&list, &Stop::never(), &mut each).unwrap().is_continue());
        assert_eq!(all, ["/base/a\nb", "/c\\xff"]);
        let lines = ListSpec { nul: false, ..list };
        assert!(paths(&lines, &Stop::never(), &mut |_| ControlFlow::Continue(())).is_err());
    }
}
