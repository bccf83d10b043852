//! Listing and counting objects without holding a bucket in memory.
//!
//! A folder's entries come in no order, and the order of folders is not that of keys: `a-b/x` stands before `a/b`,
//! because `-` stands before `/`. So entries are ordered by the least key they can hold (a folder `a` by `a/`), and of
//! a folder only the entries next in that order are held at once.

use std::collections::BinaryHeap;
use std::fs::{self, DirEntry, ReadDir};
use std::io::{self, ErrorKind as Io};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::fault::fault;
use super::stored_at;
use mfctl_core::domain::ObjectKey;
use mfctl_core::ports::{BucketUsage, Error, ListedObject, Result};

/// Entries of one folder held at once.
const HELD: usize = 16 * 1024;
/// Smaller folders are read again for each page.
const WORTH_REMEMBERING: usize = 2 * 1024;
/// A folder that changed this lately may change again without its time of change showing it.
const SETTLED: Duration = Duration::from_secs(1);

/// What was last read of a large folder, so that the pages of a listing do not each read all of it. Forgotten when the
/// folder changes.
#[derive(Default)]
pub(super) struct Memory(Mutex<Option<Remembered>>);

struct Remembered {
    folder: PathBuf,
    prefix: String,
    changed: SystemTime,
    /// The entries are the first that a listing after this key needs.
    after: String,
    entries: Arc<Vec<String>>,
}

impl Memory {
    /// Entries that a listing which goes on after `after` can use.
    fn recall(
        &self,
        folder: &Path,
        prefix: &str,
        changed: Option<SystemTime>,
        after: &str,
    ) -> Option<Arc<Vec<String>>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref().filter(|kept| kept.folder == folder && kept.prefix == prefix)?;
        (Some(kept.changed) == changed && kept.after.as_str() <= after).then(|| Arc::clone(&kept.entries))
    }

    fn keep(&self, remembered: Remembered) {
        if remembered.changed.elapsed().is_ok_and(|age| age > SETTLED) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(remembered);
        }
    }
}

/// Objects of the bucket at `root` whose key begins with `prefix` and comes after `after`, in the order of keys.
pub(super) fn list(
    memory: &Memory,
    root: &Path,
    prefix: &str,
    after: Option<&ObjectKey>,
    limit: usize,
) -> Result<Vec<ListedObject>> {
    let mut listing = Listing {
        memory,
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
    memory: &'a Memory,
    root: &'a Path,
    prefix: &'a str,
    after: &'a str,
    limit: usize,
    found: Vec<ListedObject>,
}

impl Listing<'_> {
    /// Adds the objects below a folder; `above` is the beginning of their keys, `""` or `…/`.
    fn folder(&mut self, above: &str, depth: usize) -> Result<()> {
        let mut passed = String::new();
        // A key of 1024 bytes has at most 512 parts.
        while self.found.len() < self.limit && depth <= 512 {
            let (next, all) = self.next_entries(above, &passed)?;
            for entry in &next {
                if self.found.len() >= self.limit {
                    return Ok(());
                }
                if entry.ends_with('/') { self.folder(entry, depth + 1)? } else { self.object(entry)? }
            }
            let Some(last) = next.into_iter().next_back().filter(|_| !all) else { return Ok(()) };
            passed = last;
        }
        Ok(())
    }

    /// The first entries of a folder that can hold what is asked for, in order, beyond the one `passed`, and whether
    /// they are all there are.
    fn next_entries(&self, above: &str, passed: &str) -> Result<(Vec<String>, bool)> {
        let folder = self.root.join(above);
        // Asked before it is read: what comes meanwhile makes the answer old.
        let changed = folder.metadata().and_then(|found| found.modified()).ok();
        let wanted = |name: &str| name > passed && self.can_hold(name);
        if let Some(entries) = self.memory.recall(&folder, self.prefix, changed, self.after) {
            let all = entries.len() < HELD;
            let rest: Vec<String> = entries.iter().filter(|name| wanted(name)).cloned().collect();
            if all || !rest.is_empty() {
                return Ok((rest, all));
            }
        }
        let mut least: BinaryHeap<String> = BinaryHeap::new();
        for entry in entries(&folder)? {
            let Some(name) = key_of(above, &entry?).filter(|name| wanted(name)) else { continue };
            if least.len() < HELD {
                least.push(name);
            } else if least.peek().is_some_and(|greatest| name < *greatest) {
                least.pop();
                least.push(name);
            }
        }
        let least = least.into_sorted_vec();
        if let Some(changed) = changed.filter(|_| passed.is_empty() && least.len() >= WORTH_REMEMBERING) {
            let (prefix, after) = (self.prefix.to_owned(), self.after.to_owned());
            self.memory.keep(Remembered { folder, prefix, changed, after, entries: Arc::new(least.clone()) });
        }
        let all = least.len() < HELD;
        Ok((least, all))
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
