//! `.mfctlignore` files: patterns of what to leave out of a folder, in gitignore's syntax. A file that cannot be read, or a
//! line that cannot be applied, is an error: nothing is taken on the strength of a rule that was not understood.

use std::fs::Metadata;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::entries::BOM;
use super::error::Error;
use super::pattern::{Dialect, Pattern, PatternSet};
use super::read;
use super::skipped::{RuleSource, SkipRule, shown};
use mfctl_core::domain::SourcePath;

/// The name of files with patterns of what to leave out.
pub(super) const IGNORE_FILE: &str = ".mfctlignore";

/// The largest ignore file, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// A line of an ignore file.
#[derive(Debug)]
struct IgnoreRule {
    rule: SkipRule,
    /// Whether it takes again what an earlier line left out (`!`).
    negated: bool,
    folders_only: bool,
}

/// The rules of one ignore file.
#[derive(Debug)]
pub(super) struct IgnoreFile {
    folder: PathBuf,
    rules: Vec<IgnoreRule>,
    patterns: PatternSet,
}

/// What an ignore file says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// This rule leaves it out.
    LeftOut(&'a SkipRule),
    /// It is taken, whatever the ignore files of the folders above say.
    Taken,
}

impl IgnoreFile {
    /// Reads the ignore file of a folder; `None` if it has none.
    ///
    /// # Errors
    /// The file cannot be read, is too large, is in an encoding that is not known, or has a line that is not a pattern.
    pub(super) fn of_folder(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(IGNORE_FILE);
        let source = SourcePath::from_path(&path);
        let text = match read_bytes(&path) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(None),
            Err(reason) => return Err(Error::IgnoreFile { file: source, line: None, reason }),
        };
        let invalid = |line: u64, reason| Error::IgnoreFile { file: source.clone(), line: Some(line), reason };
        let text = decode(text).map_err(|(line, reason)| invalid(line, reason))?;
        let mut rules = Vec::new();
        let mut expressions = Vec::new();
        for (line, text) in (1u64..).zip(text.split(|byte| *byte == b'\n')) {
            let line_text = without_marks(text);
            if line_text.contains(&b'\r') {
                let reason = "it has a carriage return within a line: end the lines with a newline";
                return Err(invalid(line, reason.to_owned()));
            }
            let Some((pattern, negated)) = line_pattern(line_text) else { continue };
            let parsed = Pattern::parse(pattern, Dialect::Git).map_err(|reason| invalid(line, reason))?;
            let rule = SkipRule {
                source: RuleSource::IgnoreFile,
                pattern: Some(shown(pattern)),
                file: Some(source.clone()),
                line: Some(line),
            };
            rules.push(IgnoreRule { rule, negated, folders_only: parsed.folders_only });
            expressions.push(parsed.itself);
        }
        let expressions: Vec<_> = expressions.iter().map(String::as_str).collect();
        let patterns = PatternSet::new(&expressions)
            .map_err(|(index, reason)| invalid(rules[index].rule.line.unwrap_or_default(), reason))?;
        Ok(Some(Self { folder: folder.to_owned(), rules, patterns }))
    }

    /// What the last matching line says of a path below the file's folder; `None` if no line matches.
    pub(super) fn verdict(&self, path: &Path, is_folder: bool) -> Option<Verdict<'_>> {
        let relative = path.strip_prefix(&self.folder).ok()?;
        let matching = self.patterns.matches(relative.as_os_str().as_bytes()).map(|index| &self.rules[index]);
        let mut matching = matching.filter(|rule| is_folder || !rule.folders_only);
        let last = matching.next()?;
        Some(if last.negated { Verdict::Taken } else { Verdict::LeftOut(&last.rule) })
    }
}

/// A line without the carriage return at its end, and without byte order marks at its beginning, which files that were
/// put together have on later lines too.
fn without_marks(mut line: &[u8]) -> &[u8] {
    while let Some(rest) = line.strip_prefix(BOM) {
        line = rest;
    }
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The pattern of a line, and whether it is negated; `None` for empty lines and comments.
fn line_pattern(line: &[u8]) -> Option<(&[u8], bool)> {
    if line.starts_with(b"#") {
        return None;
    }
    let mut end = line.len();
    while end > 0 && line[end - 1] == b' ' {
        let backslashes = line[..end - 1].iter().rev().take_while(|byte| **byte == b'\\').count();
        if backslashes % 2 == 1 {
            break;
        }
        end -= 1;
    }
    let pattern = &line[..end];
    let (pattern, negated) = pattern.strip_prefix(b"!").map_or((pattern, false), |rest| (rest, true));
    (!pattern.is_empty()).then_some((pattern, negated))
}

/// The bytes of an ignore file; `None` if there is none, or if nothing in its folder can be opened.
fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let unreadable = |error: io::Error| format!("it cannot be read: {error}");
    match std::fs::symlink_metadata(path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        // Without the right to search the folder, or with so long a path, no file in it can be opened either: each is
        // reported as unreadable.
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidFilename) => {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(error)),
    }
    let file = read::open(path).map_err(unreadable)?;
    if !file.metadata().as_ref().is_ok_and(Metadata::is_file) {
        return Err("it is not a regular file".to_owned());
    }
    let mut text = Vec::new();
    (&file).take(MAX_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("it is larger than {} KiB", MAX_BYTES / 1024));
    }
    Ok(Some(text))
}

/// The text in a form that is compatible with ASCII: UTF-16 with a byte order mark is converted to UTF-8, everything else
/// stays as it is.
///
/// # Errors
/// The line, and why the text cannot be used.
fn decode(text: Vec<u8>) -> Result<Vec<u8>, (u64, String)> {
    let line_of = |before: &[u8]| 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64;
    let text = match text.get(..2) {
        Some([0xff, 0xfe]) => utf16(&text[2..], u16::from_le_bytes)?,
        Some([0xfe, 0xff]) => utf16(&text[2..], u16::from_be_bytes)?,
        _ => text,
    };
    match text.iter().position(|byte| *byte == 0) {
        Some(at) => Err((
            line_of(&text[..at]),
            "it has a NUL byte: save the file as UTF-8, or as UTF-16 with a byte order mark".to_owned(),
        )),
        None => Ok(text),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<Vec<u8>, (u64, String)> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len());
    for c in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        match c {
            Ok(c) => text.push(c),
            Err(_) => return Err((1 + text.matches('\n').count() as u64, "it is not valid UTF-16".to_owned())),
        }
    }
    if rest.is_empty() {
        Ok(text.into_bytes())
    } else {
        Err((1 + text.matches('\n').count() as u64, "it ends in the middle of a UTF-16 character".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::symlink;
    use std::process::{Command, Stdio};

    use super::*;

    fn read(content: &[u8]) -> (tempfile::TempDir, Result<Option<IgnoreFile>, Error>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(IGNORE_FILE), content).unwrap();
        let file = IgnoreFile::of_folder(dir.path());
        (dir, file)
    }

    fn leaves_out(content: &[u8], name: &str, is_folder: bool) -> Option<u64> {
        let (dir, file) = read(content);
        let file = file.unwrap().unwrap();
        match file.verdict(&dir.path().join(name), is_folder) {
            Some(Verdict::LeftOut(rule)) => rule.line,
            _ => None,
        }
    }

    #[test]
    fn lines_are_read_as_git_reads_them() {
        assert_eq!(leaves_out(b"# no\n\n*.key\n", "a.key", false), Some(3));
        assert_eq!(leaves_out(b"*.key\n!a.key\n", "a.key", false), None);
        assert_eq!(leaves_out(b"*.key\n!a.key\n", "b.key", false), Some(1));
        assert_eq!(leaves_out(b"cache/\n", "cache", false), None);
        assert_eq!(leaves_out(b"cache/\n", "x/cache", true), Some(1));
        assert_eq!(leaves_out(b"*.key\r\n*.pem", "a.key", false), Some(1));
        assert_eq!(leaves_out(b"*.key\r\n*.pem\r", "a.pem", false), Some(2));
        assert_eq!(leaves_out(b"\xef\xbb\xbf\xef\xbb\xbf*.key\n\xef\xbb\xbf*.pem\n", "a.key", false), Some(1));
        assert_eq!(leaves_out(b"*.key\n\xef\xbb\xbf*.pem\n", "a.pem", false), Some(2));
        assert_eq!(leaves_out(b"a.key  \n", "a.key", false), Some(1));
        assert_eq!(leaves_out(b"a.key\\ \n", "a.key ", false), Some(1));
        assert_eq!(leaves_out(b"\\#a\n\\!b\n", "#a", false), Some(1));
        assert_eq!(leaves_out(b"\\#a\n\\!b\n", "!b", false), Some(2));
    }

    /// The paths of these that Git ignores in a repository; `None` where there is no Git.
    fn ignored_by_git(repository: &Path, paths: &[String]) -> Option<Vec<String>> {
        let git = |words: &[&str]| {
            let mut command = Command::new("git");
            command.args(words).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
            command.env("HOME", repository).current_dir(repository);
            command
        };
        if !repository.join(".git").exists() && !git(&["init", "-q"]).status().ok()?.success() {
            return None;
        }
        let mut check = git(&["check-ignore", "--no-index", "--stdin", "-z"]);
        let mut child = check.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(paths.join("\0").as_bytes()).unwrap();
        let found = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        Some(found.split_terminator('\0').map(str::to_owned).collect())
    }

    #[test]
    fn random_patterns_with_braces_match_as_in_git() {
        let seed = std::env::var("MFCTL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(fastrand::u64(..));
        let mut random = fastrand::Rng::with_seed(seed);
        let mut word = |alphabet: &[u8], longest: usize| -> String {
            let length = random.usize(1..=longest);
            (0..length).map(|_| char::from(alphabet[random.usize(..alphabet.len())])).collect()
        };
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..150 {
            let pattern = word(b"ab{{}},,*?/\\", 8);
            let mut paths: Vec<String> = (0..60).map(|_| word(b"ab{},", 4)).collect();
            paths.extend((0..30).map(|_| format!("{}/{}", word(b"ab{},", 3), word(b"ab{},", 3))));
            paths.push(pattern.replace(['/', '\\', '*', '?'], "a"));
            // Two asterisks have tests of their own.
            if pattern.contains("**") {
                continue;
            }
            for name in [IGNORE_FILE, ".gitignore"] {
                std::fs::write(dir.path().join(name), &pattern).unwrap();
            }
            let Ok(file) = IgnoreFile::of_folder(dir.path()) else { continue };
            let file = file.unwrap();
            let Some(expected) = ignored_by_git(dir.path(), &paths) else { return };
            let is_left_out = |path: &Path, is_folder| {
                matches!(file.verdict(&dir.path().join(path), is_folder), Some(Verdict::LeftOut(_)))
            };
            for path in &paths {
                let folder = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty());
                let found =
                    is_left_out(Path::new(path), false) || folder.is_some_and(|folder| is_left_out(folder, true));
                assert_eq!(found, expected.contains(path), "MFCTL_SEED={seed}: {pattern} on {path}");
            }
        }
    }

    #[test]
    fn encodings_are_recognised_by_their_mark() {
        let utf16 =
            |units: &dyn Fn(u16) -> [u8; 2]| "\u{feff}*.key\r\nسری/\r\n".encode_utf16().flat_map(units).collect();
        let little: Vec<u8> = utf16(&u16::to_le_bytes);
        let big: Vec<u8> = utf16(&u16::to_be_bytes);
        for content in [little.as_slice(), &big, "\u{feff}*.key\nسری/\n".as_bytes()] {
            assert_eq!(leaves_out(content, "a.key", false), Some(1));
            assert_eq!(leaves_out(content, "سری", true), Some(2));
        }
        assert_eq!(leaves_out(b"# r\xe9serv\xe9\n*.key\n", "a.key", false), Some(2));
        for (wrong, line) in [
            (&little[2..], 1),
            (&little[..little.len() - 1], 2),
            (b"\xff\xfe\x00\x00*\x00\x00\x00", 1),
            (b"\xff\xfe\x00\xd8a\x00", 1),
            (b"a\n*.key\0\n", 2),
            (b"a\n*.key\r*.pem\r", 2),
        ] {
            let Err(Error::IgnoreFile { line: found, .. }) = read(wrong).1 else { panic!("{wrong:?} was taken") };
            assert_eq!(found, Some(line), "{wrong:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_an_error_with_its_line() {
        let Err(error) = read(b"*.key\n\n[a\n").1 else { panic!("an invalid line was taken") };
        assert!(error.to_string().ends_with("/.mfctlignore, line 3: a [ is not closed"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(IGNORE_FILE);
        assert!(IgnoreFile::of_folder(dir.path()).unwrap().is_none());
        symlink("nowhere", &path).unwrap();
        assert!(IgnoreFile::of_folder(dir.path()).is_err(), "a dangling link");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(IgnoreFile::of_folder(dir.path()).is_err(), "a folder");
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, vec![b'\n'; MAX_BYTES as usize + 1]).unwrap();
        assert!(IgnoreFile::of_folder(dir.path()).is_err(), "a file without end");
    }
}
