//! Listing and counting objects without holding a bucket in memory.
//!
//! A folder's entries come in no order, and the order of folders is not that of keys: `a-b/x` stands before `a/b`,
//! because `-` stands before `/`. So entries are ordered by the least key they can hold (a folder `a` by `a/`), and of
//! a folder only the entries next in that order are held at once.

use std::collections::BinaryHeap;
use std::fs::{self, DirEntry, ReadDir};
use std::io::{self, ErrorKind as Io};
use std::path::{Path, PathBuf};

use super::fault::fault;
use super::stored_at;
use crate::domain::ObjectKey;
use crate::ports::{BucketUsage, Error, ListedObject, Result};

/// Entries of one folder held at once.
const HELD: usize = 16 * 1024;

/// Objects of the bucket at `root` whose key begins with `prefix` and comes after `after`, in the order of keys.
pub(super) fn list(root: &Path, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<Vec<ListedObject>> {
    let mut listing = Listing {
        root,
        prefix,
        after: after.map_or("", ObjectKey::as_str),
        limit,
        found: Vec::with_capacity(limit.min(1024)),
    };
    listing.folder("", 0)?;
    Ok(listing.found)
}

struct Listing<'a> {
    root: &'a Path,
    prefix: &'a str,
    after: &'a str,
    limit: usize,
    found: Vec<ListedObject>,
}

impl Listing<'_> {
    /// Adds the objects below a folder; `above` is the beginning of their keys, `""` or `…/`.
    fn folder(&mut self, above: &str, depth: usize) -> Result<()> {
        let mut passed: Option<String> = None;
        // A key of 1024 bytes has at most 512 parts.
        while self.found.len() < self.limit && depth <= 512 {
            let next = self.next_entries(above, passed.as_deref())?;
            for entry in &next {
                if self.found.len() >= self.limit {
                    return Ok(());
                }
                if entry.ends_with('/') { self.folder(entry, depth + 1)? } else { self.object(entry)? }
            }
            if next.len() < HELD {
                return Ok(());
            }
            passed = next.into_iter().next_back();
        }
        Ok(())
    }

    /// The first entries of a folder that can hold what is asked for, in order, beyond the one `passed`.
    fn next_entries(&self, above: &str, passed: Option<&str>) -> Result<Vec<String>> {
        let mut least: BinaryHeap<String> = BinaryHeap::new();
        for entry in entries(&self.root.join(above))? {
            let Some(name) = key_of(above, &entry?) else { continue };
            if !self.can_hold(&name) || passed.is_some_and(|passed| name.as_str() <= passed) {
                continue;
            }
            if least.len() < HELD {
                least.push(name);
            } else if least.peek().is_some_and(|greatest| name < *greatest) {
                least.pop();
                least.push(name);
            }
        }
        Ok(least.into_sorted_vec())
    }

    /// Whether an object (`a/b`) or folder (`a/b/`) lies where the listing looks.
    fn can_hold(&self, name: &str) -> bool {
        if name.ends_with('/') {
            let in_prefix = name.starts_with(self.prefix) || self.prefix.starts_with(name);
            in_prefix && (name > self.after || self.after.starts_with(name))
        } else {
            name.starts_with(self.prefix) && name > self.after
        }
    }

    fn object(&mut self, name: &str) -> Result<()> {
        let Ok(key) = ObjectKey::new(name) else { return Ok(()) };
        match self.root.join(name).metadata() {
            Ok(found) if found.is_file() => {
                self.found.push(ListedObject { key, size_bytes: found.len(), modified_at: stored_at(&found) });
                Ok(())
            }
            Ok(_) => Ok(()),
            // Removed since its folder was read.
            Err(error) if error.kind() == Io::NotFound => Ok(()),
            Err(error) => Err(fault(format!("look at {name}"), error)),
        }
    }
}

/// Objects and bytes of the bucket at `root`; stops at `limit` objects.
pub(super) fn usage(root: &Path, limit: u64) -> Result<BucketUsage> {
    let mut usage = BucketUsage::default();
    let mut open: Vec<(String, Entries)> = vec![(String::new(), entries(root)?)];
    while let Some((above, folder)) = open.last_mut() {
        let Some(entry) = folder.next() else {
            open.pop();
            continue;
        };
        let entry = entry?;
        let Some(name) = key_of(above, &entry) else { continue };
        if name.ends_with('/') {
            let below = entries(&root.join(&name))?;
            open.push((name, below));
            continue;
        }
        if usage.objects == limit {
            usage.partial = true;
            return Ok(usage);
        }
        match entry.metadata() {
            Ok(found) => {
                let at = stored_at(&found);
                usage.objects += 1;
                usage.bytes += found.len();
                usage.oldest_at = Some(usage.oldest_at.map_or(at, |oldest| oldest.min(at)));
            }
            Err(error) if error.kind() == Io::NotFound => {}
            Err(error) => return Err(fault(format!("look at {name}"), error)),
        }
    }
    Ok(usage)
}

/// The key of an entry, with a `/` at its end if it is a folder. `None`, with a warning, for what can be no object.
fn key_of(above: &str, entry: &DirEntry) -> Option<String> {
    let name = entry.file_name();
    let kind = entry.file_type().ok();
    let key = name.to_str().map(|name| format!("{above}{name}")).filter(|key| ObjectKey::new(key.as_str()).is_ok());
    match (key, kind) {
        (Some(key), Some(kind)) if kind.is_file() => Some(key),
        (Some(key), Some(kind)) if kind.is_dir() => Some(key + "/"),
        _ => {
            tracing::warn!(path = ?entry.path(), "not an object: ignored");
            None
        }
    }
}

/// A folder's entries; none if it was removed meanwhile.
fn entries(folder: &Path) -> Result<Entries> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Entries { folder: folder.to_owned(), entries: Some(entries) }),
        Err(error) if error.kind() == Io::NotFound => Ok(Entries { folder: folder.to_owned(), entries: None }),
        Err(error) => Err(unreadable(folder, error)),
    }
}

struct Entries {
    folder: PathBuf,
    entries: Option<ReadDir>,
}

impl Iterator for Entries {
    type Item = Result<DirEntry>;

    fn next(&mut self) -> Option<Result<DirEntry>> {
        let entry = self.entries.as_mut()?.next()?;
        Some(entry.map_err(|error| unreadable(&self.folder, error)))
    }
}

fn unreadable(folder: &Path, error: io::Error) -> Error {
    fault(format!("read folder {}", folder.display()), error)
}
