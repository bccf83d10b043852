//! Reads manifests row by row. An invalid row becomes a refused file that is named by its line.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::candidate::{CandidateSink, IngestCandidate};
use super::csv_row::{CsvHeader, fields};
use super::entries::{BOM, Entry, EntryReader, Flaw, Terminator, plain};
use super::error::Error;
use super::first_rows::{FirstRows, Repetition, RowPlace};
use super::input::{JobInputs, PartReader};
use super::json_fields::{self, reason_in_line};
use super::list::entry_name;
use super::metadata::{DeclaredMetadata, MAX_BYTES, text_of};
use super::open_tails::{OpenTails, read_parts};
use super::read::refusal;
use super::rules::FileRules;
use super::spec::{ManifestForm, ManifestSpec};
use mfctl_core::domain::SourcePath;
use mfctl_core::domain::job::{InputKind, RefusalKind};
use mfctl_core::stop::Stop;

/// Sends each row of a job's manifest as a candidate whose file has not been checked. A row that says the same of a
/// file as an earlier one is not sent; one with other metadata is refused, unless the rules leave out the file. What a
/// part ends with whose own end was not read may be a piece of a row: it waits for a later part that has the whole row,
/// and is refused as cut off if the manifest ended without it.
///
/// # Errors
/// The manifest cannot be read, is in UTF-16, or has no column of paths; a temporary file cannot be written.
pub(super) fn rows(
    spec: &ManifestSpec,
    rules: &FileRules,
    inputs: &JobInputs,
    stop: &Stop,
    sink: CandidateSink<'_>,
) -> Result<ControlFlow<()>, Error> {
    let mut first_rows = FirstRows::new()?;
    let read = read_parts(inputs, InputKind::Manifest, |part, tails| {
        part_rows(spec, rules, part, stop, tails, &mut first_rows, sink)
    })?;
    let ControlFlow::Continue(tails) = read else { return Ok(ControlFlow::Break(())) };
    for tail in tails {
        let reason = tail.reason("the manifest");
        let candidate = invalid_row(&spec.named_path(), tail.part, tail.line, RefusalKind::CutOff, &reason);
        if sink(candidate).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn part_rows(
    spec: &ManifestSpec,
    rules: &FileRules,
    part: PartReader<'_>,
    stop: &Stop,
    tails: &mut OpenTails,
    first_rows: &mut FirstRows,
    sink: CandidateSink<'_>,
) -> Result<ControlFlow<()>, Error> {
    let mut parser = RowParser { file: spec.named_path(), folder: spec.folder(), part: part.number(), header: None };
    let csv = spec.form == ManifestForm::Csv;
    let terminator = if csv { Terminator::CsvRecord } else { Terminator::Newline };
    let limit = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX);
    let mut reader = EntryReader::new(part, terminator, limit);
    let mut begun = false;
    tails.begin_part();
    loop {
        if stop.requested().is_some() {
            return Ok(ControlFlow::Break(()));
        }
        let read = if begun { Ok(()) } else { reader.refuse_utf16() };
        let entry = match read.and_then(|()| reader.next_entry()) {
            Ok(Some(entry)) => entry,
            Ok(None) if csv && !begun && reader.input.ended() => {
                return Err(reader.input.error(&spec.name(), invalid_data("it has no header line")));
            }
            Ok(None) => return Ok(ControlFlow::Continue(())),
            Err(_) if stop.requested().is_some() => return Ok(ControlFlow::Break(())),
            Err(error) => return Err(reader.input.error(&spec.name(), error)),
        };
        let bytes = if begun { reader.bytes() } else { reader.bytes().strip_prefix(BOM).unwrap_or(reader.bytes()) };
        begun = true;
        if bytes.trim_ascii().is_empty() && entry.flaw.is_none() {
            continue;
        }
        if !entry.terminated && !reader.input.ended() {
            tails.open_tail(parser.part, entry.line, bytes);
            return Ok(ControlFlow::Continue(()));
        }
        tails.whole_entry(bytes);
        if csv && parser.header.is_none() {
            let header = CsvHeader::read(bytes, entry);
            parser.header = Some(header.map_err(|error| reader.input.error(&spec.name(), invalid_data(error)))?);
            // Where the rest of a manifest is given, the first row follows the header.
            tails.begin_part();
            continue;
        }
        let candidate = parser.row(entry, bytes);
        reader.input.count_entry();
        let place = RowPlace { part: parser.part, line: entry.line };
        let candidate = match first_rows.compare(&candidate, place, bytes)? {
            Repetition::No => candidate,
            Repetition::Differs(first) if rules.leaves_out_named(&candidate.path, &parser.folder).is_none() => {
                parser.repeated(entry.line, &candidate.path, first)
            }
            Repetition::Same | Repetition::Differs(_) => continue,
        };
        if sink(candidate).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

/// Parses the rows of one part.
struct RowParser {
    /// The manifest's name in the names of invalid rows.
    file: PathBuf,
    /// The folder that relative paths are relative to.
    folder: PathBuf,
    part: u32,
    /// The columns of a CSV manifest; `None` in JSON Lines.
    header: Option<CsvHeader>,
}

impl RowParser {
    fn row(&self, entry: Entry, bytes: &[u8]) -> IngestCandidate {
        let refused = |kind, reason: String| self.invalid(entry.line, kind, &reason);
        match entry.flaw {
            Some(Flaw::TooLong) => {
                refused(RefusalKind::BadMetadata, format!("is longer than {} KiB", MAX_BYTES / 1024))
            }
            Some(Flaw::OpenQuote) => refused(
                RefusalKind::CutOff,
                "is cut off: the manifest ends within a quoted field, and no row after this one was read".to_owned(),
            ),
            Some(Flaw::TextAfterQuote) => {
                refused(RefusalKind::BadMetadata, "has text between the end of a quoted field and the comma".to_owned())
            }
            None => match &self.header {
                Some(header) => self.csv_row(header, entry, bytes),
                None => self.jsonl_row(entry, bytes.trim_ascii_end()),
            },
        }
    }

    fn jsonl_row(&self, entry: Entry, text: &[u8]) -> IngestCandidate {
        let mut fields = match json_fields::fields(text) {
            Ok(fields) => fields,
            Err(error) if !entry.terminated && error.is_eof() => {
                let reason = format!("is cut off: the manifest ends within it ({})", reason_in_line(&error));
                return self.invalid(entry.line, RefusalKind::CutOff, &reason);
            }
            Err(error) => {
                let reason = format!("is invalid: {}", reason_in_line(&error));
                return self.invalid(entry.line, RefusalKind::BadMetadata, &reason);
            }
        };
        let path = match fields.remove("path").map(|path| text_of("path", path)) {
            Some(Ok(path)) => path,
            Some(Err(reason)) => {
                return self.invalid(entry.line, RefusalKind::BadMetadata, &format!("is invalid: {reason}"));
            }
            None => return self.invalid(entry.line, RefusalKind::BadMetadata, "has no field path"),
        };
        if path.is_empty() || path.contains('\0') {
            let reason = "has a path that is empty or contains a NUL";
            return self.invalid(entry.line, RefusalKind::BadMetadata, reason);
        }
        self.candidate(entry, Path::new(&path), DeclaredMetadata::from_fields(fields))
    }

    fn csv_row(&self, header: &CsvHeader, entry: Entry, bytes: &[u8]) -> IngestCandidate {
        let record = match fields(bytes) {
            Ok(record) => record,
            Err(error) => return self.invalid(entry.line, RefusalKind::BadMetadata, &error),
        };
        let found = record.len();
        let wanted = header.columns();
        if found != wanted {
            let fewer = found < wanted && !entry.terminated;
            let (kind, cut) =
                if fewer { (RefusalKind::CutOff, "is cut off: it ") } else { (RefusalKind::BadMetadata, "") };
            return self.invalid(entry.line, kind, &format!("{cut}has {found} fields, not {wanted} as the header"));
        }
        let path = header.path(&record);
        if path.is_empty() || path.contains(&0) {
            let reason = "has a path that is empty or contains a NUL";
            return self.invalid(entry.line, RefusalKind::BadMetadata, reason);
        }
        let path = Path::new(OsStr::from_bytes(path));
        if !entry.terminated && header.path_is_last() && !self.folder.join(path).exists() {
            let reason = "cut off: nothing has this name, and the manifest ends without a newline after it";
            return IngestCandidate::refused(self.folder.join(path), refusal(RefusalKind::CutOff, reason));
        }
        self.candidate(entry, path, header.metadata(&record))
    }

    fn candidate(&self, entry: Entry, path: &Path, declared: Result<DeclaredMetadata, String>) -> IngestCandidate {
        let path = plain(&self.folder.join(path));
        match declared.and_then(|declared| declared.check().map(|()| declared)) {
            Ok(declared) => IngestCandidate { declared: Some(Box::new(declared)), ..IngestCandidate::unchecked(path) },
            Err(reason) => {
                let reason = format!("its manifest row, line {}: {reason}", entry.line);
                IngestCandidate::refused(path, refusal(RefusalKind::BadMetadata, reason))
            }
        }
    }

    /// A row with other metadata of a file than the first one that names it.
    fn repeated(&self, line: u64, path: &Path, first: RowPlace) -> IngestCandidate {
        let part = if first.part == self.part { String::new() } else { format!(" of its part {}", first.part) };
        let path = SourcePath::from_path(path);
        let reason = format!("names {path} again, with other metadata than line {}{part}", first.line);
        self.invalid(line, RefusalKind::BadMetadata, &reason)
    }

    /// A row that names no file, as a refused candidate `<manifest>:<line>`.
    fn invalid(&self, line: u64, kind: RefusalKind, reason: &str) -> IngestCandidate {
        invalid_row(&self.file, self.part, line, kind, reason)
    }
}

/// A row of the manifest with this name that names no file, as a refused candidate `<manifest>:<line>`.
fn invalid_row(manifest: &Path, part: u32, line: u64, kind: RefusalKind, reason: &str) -> IngestCandidate {
    let reason = format!("line {line} of the manifest {reason}");
    IngestCandidate::refused(entry_name(manifest, part, line), refusal(kind, reason))
}

/// The error for a manifest that is invalid as a whole.
fn invalid_data(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::pipeline::ingest::spec::{JobSpec, PathPattern};

    fn try_read(form: ManifestForm, text: impl AsRef<[u8]>, ended: bool) -> Result<Vec<IngestCandidate>, Error> {
        try_read_with(&JobSpec::default(), form, text, ended)
    }

    fn try_read_with(
        job: &JobSpec,
        form: ManifestForm,
        text: impl AsRef<[u8]>,
        ended: bool,
    ) -> Result<Vec<IngestCandidate>, Error> {
        let rules = FileRules::new(job.clone(), Vec::new())?;
        let path = Some(SourcePath::from_text("/in/rows"));
        let spec = ManifestSpec { path, form, base: None, sha256: None };
        let inputs = JobInputs::of_text(InputKind::Manifest, text.as_ref(), ended);
        let mut all = Vec::new();
        let read = rows(&spec, &rules, &inputs, &Stop::never(), &mut |candidate| {
            all.push(candidate);
            ControlFlow::Continue(())
        });
        if read.is_ok() {
            assert!(inputs.progress()[0].entries >= all.len() as u64, "{all:?}");
        }
        read.map(|_| all)
    }

    fn read(form: ManifestForm, text: impl AsRef<[u8]>) -> Vec<IngestCandidate> {
        try_read(form, text, true).unwrap()
    }

    /// The path of each row, and why it is refused.
    fn refusals(rows: &[IngestCandidate]) -> Vec<(&str, Option<RefusalKind>)> {
        let kind = |row: &IngestCandidate| row.refused.as_ref().map(|refusal| refusal.kind);
        rows.iter().map(|row| (row.path.to_str().unwrap(), kind(row))).collect()
    }

    const BAD: Option<RefusalKind> = Some(RefusalKind::BadMetadata);
    const CUT: Option<RefusalKind> = Some(RefusalKind::CutOff);

    #[test]
    fn invalid_jsonl_rows_are_refused_by_line() {
        let long = format!("{{\"path\":\"{}\"}}", "x".repeat(300_000));
        let text = format!(
            "\u{feff}{{\"path\":\"a.pdf\",\"title\":\"A\",\"custom\":{{\"n\":1}}}}\r\n\n{{\"title\":\"no path\"}}\n\
             {{\"path\":\"b\",\"title\":7}}\nnot json\n{long}\n{{\"path\":\"/abs\"}}"
        );
        let all = read(ManifestForm::Jsonl, text);
        let expected = [
            ("/in/a.pdf", None),
            ("/in/rows:3", BAD),
            ("/in/b", BAD),
            ("/in/rows:5", BAD),
            ("/in/rows:6", BAD),
            ("/abs", None),
        ];
        assert_eq!(refusals(&all), expected);
        assert_eq!(all[0].declared.as_ref().unwrap().title.as_deref(), Some("A"));
        let reason = |row: usize| all[row].refused.as_ref().unwrap().reason.as_str();
        assert!(reason(2).contains("line 4") && reason(2).contains("title is a number"), "{}", reason(2));
        assert!(reason(4).contains("longer"), "{}", reason(4));
    }

    #[test]
    fn an_invalid_jsonl_row_names_its_line_and_its_field_once() {
        let text = "{\"path\":null}\n{\"path\":1.10}\n{\"title\":\"t\"}\n{\"path\":\"a\",}\n[1]\n";
        let rows = read(ManifestForm::Jsonl, text);
        let reasons: Vec<_> = rows.iter().map(|row| row.refused.as_ref().unwrap().reason.as_str()).collect();
        let expected = [
            "line 1 of the manifest is invalid: path is null, not a text",
            "line 2 of the manifest is invalid: path is a number, not a text",
            "line 3 of the manifest has no field path",
            "line 4 of the manifest is invalid: trailing comma at column 13",
            "line 5 of the manifest is invalid: it is not a JSON object",
        ];
        assert_eq!(reasons, expected);
        let kept =
            read(ManifestForm::Jsonl, "{\"path\":\"a\",\"custom\":{\"ver\":1.10},\"acct\":12345678901234567890123}\n");
        let custom = serde_json::to_value(&kept[0].declared.as_ref().unwrap().custom).unwrap();
        assert_eq!(custom, serde_json::json!({"ver": "1.10", "acct": "12345678901234567890123"}));
    }

    #[test]
    fn a_later_row_of_a_file_with_other_metadata_is_refused_and_names_both_lines() {
        let jsonl = "{\"path\":\"a\",\"title\":\"A\",\"tags\":[\"x\"]}\n{\"path\":\"b\"}\n\
                     {\"tags\":{\"x\":\"\"},\"path\":\"./a\",\"title\":\"A\"}\n{\"path\":\"a\",\"title\":\"B\"}\n\
                     {\"path\":\"c\",\"title\":7}\n{\"path\":\"c\",\"title\":\"C\"}\n{\"path\":\"c\",\"title\":7}\n";
        let all = read(ManifestForm::Jsonl, jsonl);
        let expected = [("/in/a", None), ("/in/b", None), ("/in/rows:4", BAD), ("/in/c", BAD), ("/in/rows:6", BAD)];
        assert_eq!(refusals(&all), expected);
        let reason = |row: usize| all[row].refused.as_ref().unwrap().reason.as_str();
        assert_eq!(reason(2), "line 4 of the manifest names /in/a again, with other metadata than line 1");
        assert_eq!(reason(4), "line 6 of the manifest names /in/c again, with other metadata than line 5");
        let csv = "path,title\na,A\n/in/a,A\n\"a\",B\nb,A\n";
        assert_eq!(refusals(&read(ManifestForm::Csv, csv)), [("/in/a", None), ("/in/rows:4", BAD), ("/in/b", None)]);
    }

    #[test]
    fn a_later_row_of_a_file_that_is_left_out_is_not_refused() {
        let job = JobSpec { exclude: [PathPattern::from("a")].into(), ..JobSpec::default() };
        let all = try_read_with(&job, ManifestForm::Csv, "path,title\na,A\na,B\nb,A\nb,B\n", true).unwrap();
        assert_eq!(refusals(&all), [("/in/a", None), ("/in/b", None), ("/in/rows:5", BAD)]);
    }

    #[test]
    fn last_row_that_was_cut_off_is_refused_unless_more_is_to_come() {
        let text = "{\"path\":\"a\"}\n{\"path\":\"b";
        assert_eq!(refusals(&read(ManifestForm::Jsonl, text)), [("/in/a", None), ("/in/rows:2", CUT)]);
        assert_eq!(refusals(&try_read(ManifestForm::Jsonl, text, false).unwrap()), [("/in/a", None)]);
        for (text, expected) in [
            ("path,title\na,A\nb", [("/in/a", None), ("/in/rows:3", CUT)]),
            ("path,title\na,A\nb,\"B\nc,C\n", [("/in/a", None), ("/in/rows:3", CUT)]),
            ("title,path\nA,a\nB,no-such", [("/in/a", None), ("/in/no-such", CUT)]),
        ] {
            assert_eq!(refusals(&read(ManifestForm::Csv, text)), expected, "{text:?}");
            assert_eq!(refusals(&try_read(ManifestForm::Csv, text, false).unwrap()), [("/in/a", None)], "{text:?}");
        }
        // Of a header that was cut off nothing is known, but it is no error while more may come.
        assert!(try_read(ManifestForm::Csv, "pa", false).unwrap().is_empty());
    }

    #[test]
    fn unknown_csv_columns_are_custom_fields() {
        let text = "\u{feff}path,title,tags,shelf\r\na.pdf,\"A, and B\",k=v;bare,7\r\n\r\n,x,,\nb.pdf\n";
        let all = read(ManifestForm::Csv, text);
        assert_eq!(refusals(&all), [("/in/a.pdf", None), ("/in/rows:4", BAD), ("/in/rows:5", BAD)]);
        let declared = all[0].declared.as_ref().unwrap();
        assert_eq!(declared.title.as_deref(), Some("A, and B"));
        assert_eq!(declared.tags(), [("k".into(), "v".into()), ("bare".into(), String::new())].into());
        assert_eq!(declared.custom.get("shelf"), Some(&Value::from("7")));
    }

    #[test]
    fn a_row_with_two_values_of_a_tag_or_field_is_refused() {
        let csv = read(ManifestForm::Csv, "path,tags\na,k=1;k=2\nb,k=1;k=1\n");
        assert_eq!(refusals(&csv), [("/in/a", BAD), ("/in/b", None)]);
        let reason = &csv[0].refused.as_ref().unwrap().reason;
        assert!(reason.contains("line 2: tags: k is given twice, with the values \"1\" and \"2\""), "{reason}");
        let text = "{\"path\":\"a\",\"path\":\"b\"}\n{\"path\":\"a\",\"title\":\"1\",\"title\":\"2\"}\n";
        let jsonl = read(ManifestForm::Jsonl, text);
        assert_eq!(refusals(&jsonl), [("/in/rows:1", BAD), ("/in/rows:2", BAD)]);
        let reason = &jsonl[1].refused.as_ref().unwrap().reason;
        assert!(reason.contains("line 2 of the manifest is invalid: the field \"title\" is given twice"), "{reason}");
    }

    #[test]
    fn csv_path_is_bytes_and_odd_quotes_swallow_no_row() {
        let all = read(ManifestForm::Csv, b"path,title\n\xff.txt,x\n\"a\"b,y\nc,\xff\nd,z\n");
        let paths: Vec<_> = all.iter().map(|row| row.path.as_os_str().as_bytes()).collect();
        assert_eq!(paths, [b"/in/\xff.txt".as_slice(), b"/in/rows:3", b"/in/c", b"/in/d"]);
        let refused: Vec<_> = all.iter().map(|row| row.refused.is_some()).collect();
        assert_eq!(refused, [false, true, true, false]);
    }

    #[test]
    fn fields_that_no_comma_separates_are_named() {
        for (text, named) in [
            ("path;title\na;A\n", "no column named path: its fields are separated by semicolons"),
            ("\"title\";\"path\"\r\nA;a\r\n", "separated by semicolons"),
            ("\u{feff}path\ttitle\na\tA\n", "separated by tabs"),
            ("title;path,x\n", "separated by semicolons"),
            ("sep=,\npath,title\na,A\n", "names the separator for spreadsheets: delete it"),
            ("SEP=;\r\npath;title\r\na;A\r\n", "separate the fields by commas"),
        ] {
            let error = try_read(ManifestForm::Csv, text, true).unwrap_err();
            let error = mfctl_core::domain::error_chain(&error);
            assert!(error.contains(named), "{text:?}: {error}");
        }
        let error = try_read(ManifestForm::Csv, "title\na\n", true).unwrap_err();
        assert!(mfctl_core::domain::error_chain(&error).ends_with("no column named path"));
    }

    #[test]
    fn manifest_that_cannot_be_read_as_a_whole_is_an_error() {
        for text in ["", "title\na\n", "path,path\na,b\n", "path,\na,b\n", "\"path\na\n", "path\ra\rb\r"] {
            assert!(try_read(ManifestForm::Csv, text, true).is_err(), "{text:?}");
        }
        for form in [ManifestForm::Csv, ManifestForm::Jsonl] {
            let error = try_read(form, b"\xff\xfep\0a\0", true).unwrap_err();
            assert!(mfctl_core::domain::error_chain(&error).contains("UTF-16"), "{error}");
        }
    }
}
