//! Reads manifests and lists of paths row by row. An invalid row becomes a rejected file that is named by its line.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::candidate::{CandidateSink, IngestCandidate};
use super::error::Error;
use super::metadata::{DeclaredMetadata, MAX_BYTES};
use super::read::refusal;
use super::spec::{ListSpec, ManifestForm, ManifestSpec};
use mfctl_core::domain::SourcePath;
use mfctl_core::domain::job::RefusalKind;
use mfctl_core::stop::Stop;

/// Sends each row of a manifest as a candidate whose file has not been checked. Relative paths are relative to the
/// manifest's folder.
pub(super) fn rows(spec: &ManifestSpec, stop: &Stop, sink: CandidateSink<'_>) -> Result<ControlFlow<()>, Error> {
    let path = spec.path.to_path();
    let input = BufReader::new(File::open(&path).map_err(|error| input_error(&spec.path, error))?);
    let manifest = ManifestFile { path: &path, folder: path.parent().unwrap_or(Path::new("/")) };
    match spec.form {
        ManifestForm::Jsonl => jsonl_rows(&manifest, input, stop, sink),
        ManifestForm::Csv => csv_rows(&manifest, input, stop, sink),
    }
}

fn input_error(path: &SourcePath, error: io::Error) -> Error {
    Error::Input { what: path.to_string(), error }
}

/// The manifest that rows come from.
struct ManifestFile<'a> {
    path: &'a Path,
    folder: &'a Path,
}

impl ManifestFile<'_> {
    fn row(&self, path: &str, declared: Result<DeclaredMetadata, String>) -> IngestCandidate {
        let path = self.folder.join(path);
        match declared.and_then(|declared| declared.check().map(|()| declared)) {
            Ok(declared) => IngestCandidate { declared: Some(Box::new(declared)), ..IngestCandidate::unchecked(path) },
            Err(reason) => {
                let reason = format!("its manifest row: {reason}");
                IngestCandidate::refused(path, refusal(RefusalKind::BadMetadata, reason))
            }
        }
    }

    /// A row that names no file, as a refused candidate `<manifest>:<line>`.
    fn invalid_line(&self, line: u64, reason: impl std::fmt::Display) -> IngestCandidate {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(":{line}"));
        let reason = format!("line {line} of the manifest: {reason}");
        IngestCandidate::refused(name, refusal(RefusalKind::BadMetadata, reason))
    }

    fn read_error(&self, error: io::Error) -> Error {
        input_error(&SourcePath::from_path(self.path), error)
    }
}

#[derive(Deserialize)]
struct RowPath {
    path: String,
}

fn jsonl_rows(
    manifest: &ManifestFile<'_>,
    mut input: impl BufRead,
    stop: &Stop,
    sink: CandidateSink<'_>,
) -> Result<ControlFlow<()>, Error> {
    let mut line = Vec::new();
    for number in 1u64.. {
        if stop.requested().is_some() {
            return Ok(ControlFlow::Break(()));
        }
        let Some(whole) = read_line(&mut input, b'\n', &mut line).map_err(|error| manifest.read_error(error))? else {
            break;
        };
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let candidate = if whole {
            jsonl_row(manifest, number, text)
        } else {
            manifest.invalid_line(number, format_args!("is longer than {} KiB", MAX_BYTES / 1024))
        };
        if sink(candidate).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn jsonl_row(manifest: &ManifestFile<'_>, number: u64, text: &[u8]) -> IngestCandidate {
    let row: RowPath = match serde_json::from_slice(text) {
        Ok(row) => row,
        Err(error) => return manifest.invalid_line(number, error),
    };
    if row.path.is_empty() || row.path.contains('\0') {
        return manifest.invalid_line(number, "the path is empty or contains a NUL");
    }
    let declared = serde_json::from_slice(text).map_err(|error| error.to_string()).and_then(|mut value: Value| {
        if let Some(fields) = value.as_object_mut() {
            fields.remove("path");
        }
        DeclaredMetadata::from_value(value)
    });
    manifest.row(&row.path, declared)
}

/// The columns are `path`, `title`, `tags` (`k=v;k=v`), `collection` and `locale`; every other column is a custom field.
fn csv_rows(
    manifest: &ManifestFile<'_>,
    input: impl BufRead,
    stop: &Stop,
    sink: CandidateSink<'_>,
) -> Result<ControlFlow<()>, Error> {
    let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(input);
    let header = reader.headers().map_err(|error| manifest.read_error(io::Error::other(error)))?.clone();
    let Some(path_column) = header.iter().position(|name| name.trim() == "path") else {
        return Err(manifest.read_error(io::Error::other("its first line has no column named path")));
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
                Some(path) => manifest.row(path, Ok(csv_metadata(&header, &record))),
                None => manifest.invalid_line(line, "the path is empty or contains a NUL"),
            },
            Err(error) if error.is_io_error() => return Err(manifest.read_error(io::Error::other(error))),
            Err(error) => manifest.invalid_line(line, error),
        };
        if sink(candidate).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

fn csv_metadata(header: &csv::StringRecord, record: &csv::StringRecord) -> DeclaredMetadata {
    let mut declared = DeclaredMetadata::default();
    for (name, value) in header.iter().zip(record).filter(|(_, value)| !value.is_empty()) {
        match name.trim() {
            "path" => {}
            "title" => declared.title = Some(value.to_owned()),
            "collection" => declared.collection = Some(value.to_owned()),
            "locale" => declared.locale = Some(value.to_owned()),
            "tags" => {
                let tags = value.split(';').filter(|tag| !tag.trim().is_empty());
                declared.set_tags(tags.map(str::to_owned).collect());
            }
            custom => {
                declared.custom.insert(custom.strip_prefix("custom.").unwrap_or(custom).to_owned(), value.into());
            }
        }
    }
    declared
}

/// Sends each path of a list, made absolute.
pub(super) fn paths(
    list: &ListSpec,
    stop: &Stop,
    each: &mut dyn FnMut(PathBuf) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Error> {
    use std::os::unix::ffi::OsStrExt;
    let what = list.path.clone().unwrap_or_else(|| SourcePath::from_text("standard input"));
    let mut input: Box<dyn BufRead> = match &list.path {
        Some(path) => Box::new(BufReader::new(File::open(path.to_path()).map_err(|error| input_error(&what, error))?)),
        None => Box::new(BufReader::new(io::stdin())),
    };
    let base = list.base.to_path();
    let end = if list.nul { 0 } else { b'\n' };
    let mut line = Vec::new();
    loop {
        if stop.requested().is_some() {
            return Ok(ControlFlow::Break(()));
        }
        let Some(whole) = read_line(&mut input, end, &mut line).map_err(|error| input_error(&what, error))? else {
            return Ok(ControlFlow::Continue(()));
        };
        if !whole || (list.nul && line.contains(&b'\n') && line.len() > 1 << 16) {
            let hint =
                if list.nul { "a path is too long" } else { "a path is too long: are paths separated by NUL (-0)?" };
            return Err(input_error(&what, io::Error::other(hint)));
        }
        if line.contains(&0) {
            return Err(input_error(&what, io::Error::other("a path contains a NUL: did you mean -0?")));
        }
        if !line.is_empty() && each(base.join(std::ffi::OsStr::from_bytes(&line))).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

/// Reads up to `end` into `line`, without `end`. `None` at the end of input; `false` if the line was longer than
/// [`MAX_BYTES`] and its end is left out.
fn read_line(input: &mut dyn BufRead, end: u8, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let mut any = false;
    let mut whole = true;
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

    fn read(name: &str, form: ManifestForm, text: &str) -> Vec<IngestCandidate> {
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
    fn invalid_jsonl_rows_are_refused_by_line() {
        let long = format!("{{\"path\":\"{}\"}}", "x".repeat(300_000));
        let text = format!(
            "{{\"path\":\"a.pdf\",\"title\":\"A\",\"custom\":{{\"n\":1}}}}\n\n{{\"title\":\"no path\"}}\n\
             {{\"path\":\"b\",\"title\":7}}\nnot json\n{long}\n{{\"path\":\"/abs\"}}"
        );
        let all = read("m.jsonl", ManifestForm::Jsonl, &text);
        let kinds: Vec<_> = all.iter().map(|row| row.refused.as_ref().map(|refusal| refusal.reason.clone())).collect();
        assert_eq!(all.len(), 6);
        assert_eq!(all[0].declared.as_ref().unwrap().title.as_deref(), Some("A"));
        assert!(all[0].path.ends_with("a.pdf") && all[0].path.is_absolute());
        assert!(kinds[1].as_ref().unwrap().starts_with("line 3"));
        assert!(kinds[2].as_ref().unwrap().contains("title is a number") && all[2].path.ends_with("b"));
        assert!(kinds[3].as_ref().unwrap().starts_with("line 5"));
        assert!(kinds[4].as_ref().unwrap().contains("longer"));
        assert_eq!(all[5].path, Path::new("/abs"));
    }

    #[test]
    fn unknown_csv_columns_are_custom_fields() {
        let text = "path,title,tags,shelf\na.pdf,\"A, and B\",k=v;bare,7\n,x,,\nb.pdf\n";
        let all = read("m.csv", ManifestForm::Csv, text);
        let declared = all[0].declared.as_ref().unwrap();
        assert_eq!(declared.title.as_deref(), Some("A, and B"));
        assert_eq!(declared.tags(), [("k".into(), "v".into()), ("bare".into(), String::new())].into());
        assert_eq!(declared.custom.get("shelf"), Some(&Value::from("7")));
        assert!(all[1].refused.is_some() && all[2].refused.is_some());
    }

    #[test]
    fn nul_terminated_list_allows_any_file_name() {
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
