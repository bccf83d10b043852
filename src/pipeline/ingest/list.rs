//! Reads lists of paths. An entry is bytes: it is taken as it is written if something of that name exists, otherwise without
//! the carriage return at its end, and the first one without the byte order mark at its beginning.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::candidate::IngestCandidate;
use super::entries::{BOM, Entry, EntryReader, Flaw, Terminator, plain};
use super::error::Error;
use super::input::{JobInputs, PartReader};
use super::open_tails::{OpenTails, read_parts};
use super::read::refusal;
use super::spec::ListSpec;
use mfctl_core::domain::job::{InputKind, RefusalKind};
use mfctl_core::stop::Stop;

/// The longest path that the kernel takes, in bytes, without its terminating NUL.
const MAX_PATH: usize = 4095;
/// The longest entry: a path, a byte order mark and a carriage return.
const MAX_ENTRY: usize = MAX_PATH + 4;

/// What an entry of a list is.
pub(super) enum ListEntry {
    /// A path, made absolute.
    Path(PathBuf),
    /// An entry that names nothing that could be ingested.
    Refused(IngestCandidate),
}

/// Sends each entry of a job's list. What a part ends with whose own end was not read may be a piece of an entry: it waits for a
/// later part that has the whole entry, and is refused as cut off if the list ended without it.
///
/// # Errors
/// The list cannot be read; a line contains a NUL.
pub(super) fn entries(
    list: &ListSpec,
    inputs: &JobInputs,
    stop: &Stop,
    each: &mut dyn FnMut(ListEntry) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Error> {
    let read = read_parts(inputs, InputKind::List, |part, tails| part_entries(list, part, stop, tails, each))?;
    let ControlFlow::Continue(tails) = read else { return Ok(ControlFlow::Break(())) };
    for tail in tails {
        let reason = format!("entry {} of the list {}", tail.line, tail.reason("the list"));
        let name = entry_name(&list.named_path(), tail.part, tail.line);
        let candidate = IngestCandidate::refused(name, refusal(RefusalKind::CutOff, reason));
        if each(ListEntry::Refused(candidate)).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn part_entries(
    list: &ListSpec,
    part: PartReader<'_>,
    stop: &Stop,
    tails: &mut OpenTails,
    each: &mut dyn FnMut(ListEntry) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Error> {
    let base = list.base.to_path();
    let parser = ListParser { list, base: &base, part: part.number() };
    let terminator = if list.nul { Terminator::Nul } else { Terminator::Newline };
    let mut reader = EntryReader::new(part, terminator, MAX_ENTRY);
    let mut begun = false;
    tails.begin_part();
    loop {
        if stop.requested().is_some() {
            return Ok(ControlFlow::Break(()));
        }
        let read = if begun { Ok(()) } else { reader.refuse_utf16() };
        begun = true;
        let entry = match read.and_then(|()| reader.next_entry()) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(ControlFlow::Continue(())),
            Err(_) if stop.requested().is_some() => return Ok(ControlFlow::Break(())),
            Err(error) => return Err(reader.input.error(&list.name(), error)),
        };
        if entry.has_nul {
            let error = format!("line {} contains a NUL: are its paths NUL-terminated (-0)?", entry.line);
            return Err(reader.input.error(&list.name(), io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        let bytes = reader.bytes().strip_prefix(BOM).unwrap_or(reader.bytes());
        if !entry.terminated && !reader.input.ended() {
            tails.open_tail(parser.part, entry.line, bytes);
            return Ok(ControlFlow::Continue(()));
        }
        if !bytes.trim_ascii().is_empty() {
            tails.whole_entry(bytes);
        }
        if let Some(parsed) = parser.parse(entry, reader.bytes()) {
            reader.input.count_entry();
            if each(parsed).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
}

struct ListParser<'a> {
    list: &'a ListSpec,
    base: &'a Path,
    part: u32,
}

impl ListParser<'_> {
    /// `None` for an empty entry.
    fn parse(&self, entry: Entry, bytes: &[u8]) -> Option<ListEntry> {
        if entry.flaw == Some(Flaw::TooLong) {
            let hint = if self.list.nul { "" } else { ": are its paths NUL-terminated (-0)?" };
            return Some(self.invalid(entry, &format!("longer than a path of {MAX_PATH} bytes{hint}")));
        }
        let mut readings = vec![bytes];
        let mut read_without = |shorter: fn(&[u8]) -> Option<&[u8]>| {
            let more: Vec<&[u8]> = readings.iter().filter_map(|reading| shorter(reading)).collect();
            readings.extend(more);
        };
        if !self.list.nul {
            read_without(|bytes| bytes.strip_suffix(b"\r"));
        }
        if entry.line == 1 {
            read_without(|bytes| bytes.strip_prefix(BOM));
        }
        let paths = || {
            readings.iter().filter(|name| !name.is_empty()).map(|name| plain(&self.base.join(OsStr::from_bytes(name))))
        };
        let mut existing = paths().filter(|path| exists(path));
        if let Some(path) = existing.next() {
            if existing.any(|other| other != path) {
                let reason = "ambiguous: files exist with and without the byte order mark or carriage return in this name: \
                              give a NUL-terminated list (-0)";
                return Some(self.invalid(entry, reason));
            }
            if !entry.terminated && path.is_dir() {
                let reason = "cut off: it names a folder, and the list ends without a terminator after it, so it may be \
                              the beginning of another name";
                return Some(ListEntry::Refused(IngestCandidate::refused(path, refusal(RefusalKind::CutOff, reason))));
            }
            return Some(ListEntry::Path(path));
        }
        // Nothing of any of these names exists: the one without marks is what the writer of the list meant.
        let name = readings.last().filter(|name| !name.is_empty())?;
        let path = plain(&self.base.join(OsStr::from_bytes(name)));
        if name.len() > MAX_PATH {
            return Some(self.invalid(entry, &format!("longer than a path of {MAX_PATH} bytes")));
        }
        let refusal = if entry.terminated {
            refusal(RefusalKind::NotFound, "there is no such file")
        } else {
            let reason = "cut off: nothing has this name, and the list ends without a terminator after it";
            refusal(RefusalKind::CutOff, reason)
        };
        Some(ListEntry::Refused(IngestCandidate::refused(path, refusal)))
    }

    fn invalid(&self, entry: Entry, reason: &str) -> ListEntry {
        let reason = format!("entry {} of the list is {reason}", entry.line);
        let name = entry_name(&self.list.named_path(), self.part, entry.line);
        ListEntry::Refused(IngestCandidate::refused(name, refusal(RefusalKind::InvalidEntry, reason)))
    }
}

/// The name of an entry that is no path: `<input>:<line>`, with the number of its part from the second one on. Where a file
/// has this name, `#` is added: the journal has one row for each name.
pub(super) fn entry_name(input: &Path, part: u32, line: u64) -> PathBuf {
    let mut name = input.as_os_str().to_owned();
    if part > 1 {
        name.push(format!("#{part}"));
    }
    name.push(format!(":{line}"));
    while exists(Path::new(&name)) {
        name.push("#");
    }
    name.into()
}

/// Whether something has this name, even if it cannot be looked at.
fn exists(path: &Path) -> bool {
    use std::io::ErrorKind;
    match std::fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) => {
            let long = error.raw_os_error() == Some(rustix::io::Errno::NAMETOOLONG.raw_os_error());
            !long && !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
        }
    }
}

#[cfg(test)]
mod tests {
    use mfctl_core::domain::SourcePath;

    use super::*;

    fn read(base: &Path, nul: bool, text: &[u8], ended: bool) -> Result<Vec<(String, Option<RefusalKind>)>, Error> {
        let path = Some(SourcePath::from_text("/list"));
        let list = ListSpec { path, nul, base: SourcePath::from_path(base), sha256: None };
        let inputs = JobInputs::of_text(InputKind::List, text, ended);
        let mut all = Vec::new();
        let read = entries(&list, &inputs, &Stop::never(), &mut |entry| {
            let (path, refused) = match entry {
                ListEntry::Path(path) => (path, None),
                ListEntry::Refused(candidate) => (candidate.path, candidate.refused.map(|refusal| refusal.kind)),
            };
            let name = path.strip_prefix(base).unwrap_or(&path);
            all.push((SourcePath::from_path(name).to_string(), refused));
            ControlFlow::Continue(())
        });
        let read = read.map(|_| all);
        if let Ok(all) = &read {
            assert_eq!(inputs.progress()[0].entries, all.len() as u64, "{all:?}");
        }
        read
    }

    fn named(expected: &[(&str, Option<RefusalKind>)]) -> Vec<(String, Option<RefusalKind>)> {
        expected.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect()
    }

    #[test]
    fn marks_and_line_ends_of_other_systems_are_no_part_of_a_name_unless_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        for name in [b"a".as_slice(), b"b\r", b"d", b"d\r", b"\xff", b"\xef\xbb\xbfc"] {
            std::fs::write(base.join(OsStr::from_bytes(name)), "x").unwrap();
        }
        let text = b"\xef\xbb\xbfa\r\nb\r\n\r\n\xff\n\xef\xbb\xbfa\ngone\r\nd\nd\r\n";
        let missing = Some(RefusalKind::NotFound);
        let expected = named(&[
            ("a", None),
            ("b\r", None),
            ("\\xff", None),
            ("\u{feff}a", missing),
            ("gone", missing),
            ("d", None),
            ("/list:8", Some(RefusalKind::InvalidEntry)),
        ]);
        assert_eq!(read(&base, false, text, true).unwrap(), expected);
        assert_eq!(read(&base, false, b"\xef\xbb\xbfc\n", true).unwrap(), named(&[("\u{feff}c", None)]));
        assert_eq!(read(&base, true, b"a\0\0b\r\0", true).unwrap(), named(&[("a", None), ("b\r", None)]));
        assert_eq!(read(&base, true, b"a\r\0", true).unwrap(), named(&[("a\r", missing)]));
    }

    #[test]
    fn last_entry_without_terminator_is_taken_if_it_exists_and_the_list_ended() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::write(base.join("a"), "x").unwrap();
        let cut = Some(RefusalKind::CutOff);
        for nul in [false, true] {
            assert_eq!(read(&base, nul, b"a", true).unwrap(), named(&[("a", None)]));
            assert_eq!(read(&base, nul, b"b", true).unwrap(), named(&[("b", cut)]));
            assert_eq!(read(&base, nul, b"a", false).unwrap(), []);
        }
    }

    #[test]
    fn entry_that_cannot_be_a_path_is_named_by_its_line() {
        let base = Path::new("/nowhere");
        let text = [b"x".repeat(9000), b"y".repeat(4096), b"z".to_vec()].join(&b'\n');
        let invalid = Some(RefusalKind::InvalidEntry);
        let cut = Some(RefusalKind::CutOff);
        let expected = named(&[("/list:1", invalid), ("/list:2", invalid), ("z", cut)]);
        assert_eq!(read(base, false, &text, true).unwrap(), expected);
        let message = |text: &[u8]| mfctl_core::domain::error_chain(&read(base, false, text, true).unwrap_err());
        let error = message(b"a\nb\0c\0");
        assert!(error.contains("line 2") && error.contains("-0") && error.contains("/list"), "{error}");
        assert!(message(b"\xff\xfea\0\n\0").contains("UTF-16"));
    }
}
