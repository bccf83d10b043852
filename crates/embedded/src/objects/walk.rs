//! Lists and counts objects without holding a bucket in memory.
//!
//! A folder's entries come in no order, and the order of folders is not that of keys: `a-b/x` sorts before `a/b`,
//! because `-` sorts before `/`. So entries are ordered by the least key that they can hold (a folder `a` by `a/`), and
//! only the next entries of a folder in that order are held at once.

use std::collections::BinaryHeap;
use std::fs::{self, DirEntry, ReadDir};
use std::io::{self, ErrorKind as Io};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::file_ops::{file_error, modified_at};
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::domain::{ObjectKey, object_keys};
use mfctl_core::ports::{BucketUsage, Error, ListedObject, Result};

/// Entries of one folder held at once.
const MAX_ENTRIES: usize = 16 * 1024;
/// A folder with fewer entries is read again for each page.
const MIN_CACHED_ENTRIES: usize = 2 * 1024;
/// A folder that changed more recently may change again without a new modification time.
const MIN_CACHED_AGE: Duration = Duration::from_secs(1);

/// The entries last read of a large folder, so that each page of a listing does not read all of it again. Invalid once
/// the folder changes.
#[derive(Default)]
pub(super) struct ListingCache(Mutex<Option<CachedEntries>>);

struct CachedEntries {
    folder: PathBuf,
    prefix: String,
    modified: SystemTime,
    /// The entries are the first that a listing after this key needs.
    after: String,
    entries: Arc<Vec<String>>,
}

impl ListingCache {
    /// Entries that a listing after `after` can use; `None` if there are none or the folder was modified.
    fn get(&self, folder: &Path, prefix: &str, modified: Option<SystemTime>, after: &str) -> Option<Arc<Vec<String>>> {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cached.as_ref().filter(|cached| cached.folder == folder && cached.prefix == prefix)?;
        (Some(cached.modified) == modified && cached.after.as_str() <= after).then(|| Arc::clone(&cached.entries))
    }

    fn put(&self, entries: CachedEntries) {
        if entries.modified.elapsed().is_ok_and(|age| age > MIN_CACHED_AGE) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(entries);
        }
    }
}

/// At most `limit` objects of the bucket at `root` whose key begins with `prefix` and sorts after `after`, by key.
pub(super) fn list(
    cache: &ListingCache,
    root: &Path,
    prefix: &str,
    after: Option<&ObjectKey>,
    limit: usize,
) -> Result<Vec<ListedObject>> {
    let mut walk = ObjectWalk {
        cache,
        root,
        prefix,
        after: after.map_or("", ObjectKey::as_str),
        limit,
        objects: Vec::with_capacity(limit.min(1024)),
    };
    walk.folder("", 0)?;
    Ok(walk.objects)
}

/// One listing in progress.
struct ObjectWalk<'a> {
    cache: &'a ListingCache,
    root: &'a Path,
    prefix: &'a str,
    after: &'a str,
    limit: usize,
    objects: Vec<ListedObject>,
}

impl ObjectWalk<'_> {
    /// Adds the objects below a folder; `key_prefix` is the beginning of their keys, `""` or `…/`.
    fn folder(&mut self, key_prefix: &str, depth: usize) -> Result<()> {
        let mut last_entry = String::new();
        // A key of 1024 bytes has at most 512 parts.
        while self.objects.len() < self.limit && depth <= 512 {
            let (next, is_complete) = self.next_entries(key_prefix, &last_entry)?;
            for entry in next.iter() {
                if !self.is_wanted(entry, &last_entry) {
                    continue;
                }
                if self.objects.len() >= self.limit {
                    return Ok(());
                }
                if entry.ends_with('/') { self.folder(entry, depth + 1)? } else { self.object(entry)? }
            }
            let Some(last) = next.last().filter(|_| !is_complete) else { return Ok(()) };
            last_entry.clone_from(last);
        }
        Ok(())
    }

    /// Whether an entry after `last_entry` can hold requested objects.
    fn is_wanted(&self, name: &str, last_entry: &str) -> bool {
        name > last_entry && self.can_hold(name)
    }

    /// Entries of a folder in order, among them the next after `last_entry` that can hold requested objects; and whether there
    /// are no more.
    fn next_entries(&self, key_prefix: &str, last_entry: &str) -> Result<(Arc<Vec<String>>, bool)> {
        let folder = self.root.join(key_prefix);
        // Read before the entries, so that a later change invalidates them.
        let modified = folder.metadata().and_then(|metadata| metadata.modified()).ok();
        let wanted = |name: &str| self.is_wanted(name, last_entry);
        if let Some(entries) = self.cache.get(&folder, self.prefix, modified, self.after) {
            let is_complete = entries.len() < MAX_ENTRIES;
            // Those that are wanted are the last ones.
            if is_complete || entries.last().is_some_and(|last| wanted(last)) {
                return Ok((entries, is_complete));
            }
        }
        let mut least: BinaryHeap<String> = BinaryHeap::new();
        for entry in entries(&folder)? {
            let Some(name) = key_of(key_prefix, &entry?).filter(|name| wanted(name)) else { continue };
            if least.len() < MAX_ENTRIES {
                least.push(name);
            } else if least.peek().is_some_and(|greatest| name < *greatest) {
                least.pop();
                least.push(name);
            }
        }
        let least = Arc::new(least.into_sorted_vec());
        if let Some(modified) = modified.filter(|_| last_entry.is_empty() && least.len() >= MIN_CACHED_ENTRIES) {
            self.cache.put(CachedEntries {
                folder,
                prefix: self.prefix.to_owned(),
                modified,
                after: self.after.to_owned(),
                entries: Arc::clone(&least),
            });
        }
        let is_complete = least.len() < MAX_ENTRIES;
        Ok((least, is_complete))
    }

    /// Whether an object (`a/b`) or folder (`a/b/`) is, or can hold, a requested object.
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
        match self.root.join(name).symlink_metadata() {
            Ok(metadata) if metadata.is_file() => {
                let modified_at = modified_at(&metadata);
                self.objects.push(ListedObject { key, size_bytes: metadata.len(), modified_at });
                Ok(())
            }
            Ok(_) => Ok(()),
            // Removed after its folder was read.
            Err(error) if error.kind() == Io::NotFound => Ok(()),
            Err(error) => Err(file_error(format!("read the metadata of {name}"), error)),
        }
    }
}

/// Objects and bytes of the bucket at `root`; stops at `limit` objects.
pub(super) fn usage(root: &Path, limit: u64) -> Result<BucketUsage> {
    let mut usage = BucketUsage::default();
    let marker = object_keys::marker();
    let mut open: Vec<(String, FolderEntries)> = vec![(String::new(), entries(root)?)];
    while let Some((key_prefix, folder)) = open.last_mut() {
        let Some(entry) = folder.next() else {
            open.pop();
            continue;
        };
        let entry = entry?;
        let Some(name) = key_of(key_prefix, &entry) else { continue };
        if name.ends_with('/') {
            let children = entries(&root.join(&name))?;
            open.push((name, children));
            continue;
        }
        if name == marker.as_str() {
            continue;
        }
        if usage.objects == limit {
            usage.partial = true;
            return Ok(usage);
        }
        match entry.metadata() {
            Ok(metadata) => {
                let at = modified_at(&metadata);
                usage.objects += 1;
                usage.bytes += metadata.len();
                usage.oldest_at = Some(usage.oldest_at.map_or(at, |oldest| oldest.min(at)));
            }
            Err(error) if error.kind() == Io::NotFound => {}
            Err(error) => return Err(file_error(format!("read the metadata of {name}"), error)),
        }
    }
    Ok(usage)
}

/// The key of an entry, ending in `/` for a folder. `None`, with a warning, for what cannot be an object.
fn key_of(key_prefix: &str, entry: &DirEntry) -> Option<String> {
    let name = entry.file_name();
    let kind = entry.file_type().ok();
    let key =
        name.to_str().map(|name| format!("{key_prefix}{name}")).filter(|key| ObjectKey::new(key.as_str()).is_ok());
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
fn entries(folder: &Path) -> Result<FolderEntries> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(FolderEntries { folder: folder.to_owned(), entries: Some(entries) }),
        Err(error) if error.kind() == Io::NotFound => Ok(FolderEntries { folder: folder.to_owned(), entries: None }),
        Err(error) => Err(unreadable_folder(folder, error)),
    }
}

struct FolderEntries {
    folder: PathBuf,
    entries: Option<ReadDir>,
}

impl Iterator for FolderEntries {
    type Item = Result<DirEntry>;

    fn next(&mut self) -> Option<Result<DirEntry>> {
        let entry = self.entries.as_mut()?.next()?;
        Some(entry.map_err(|error| unreadable_folder(&self.folder, error)))
    }
}

fn unreadable_folder(folder: &Path, error: io::Error) -> Error {
    file_error(format!("read folder {}", folder.shown()), error)
}
