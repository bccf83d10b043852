//! The other places at which mounts show a folder or a part of it: bind mounts and overlays, by `/proc/self/mountinfo`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The mounts of this process; see `proc_pid_mountinfo(5)`.
const MOUNT_INFO: &str = "/proc/self/mountinfo";

/// A line of `mountinfo`.
#[derive(Debug)]
struct Mount {
    /// `major:minor`.
    device: Vec<u8>,
    /// The folder of the file system that is mounted.
    root: PathBuf,
    /// Where it is mounted.
    point: PathBuf,
    /// The folders that an overlay is made of.
    layers: Vec<PathBuf>,
}

/// The other paths of a folder with this canonical path, and of the parts of it that are mounted elsewhere. Empty where the
/// system does not tell.
pub(super) fn other_paths(folder: &Path) -> Vec<PathBuf> {
    std::fs::read(MOUNT_INFO).map(|text| paths_by(&text, folder)).unwrap_or_default()
}

fn paths_by(mount_info: &[u8], folder: &Path) -> Vec<PathBuf> {
    let mounts: Vec<Mount> = mount_info.split(|byte| *byte == b'\n').filter_map(Mount::parse).collect();
    let deepest = |mount: &&Mount| mount.point.components().count();
    // Of mounts at the same point, the last one is seen.
    let Some(home) = mounts.iter().filter(|mount| folder.starts_with(&mount.point)).max_by_key(deepest) else {
        return Vec::new();
    };
    let own_root = joined(&home.root, folder, &home.point);
    let own_layers = home.layers.iter().map(|layer| joined(layer, folder, &home.point));
    let within = mounts.iter().filter(|mount| mount.point.starts_with(folder));
    let parts = within.map(|mount| (&mount.device, mount.root.clone()));
    let parts: Vec<_> = std::iter::once((&home.device, own_root.clone())).chain(parts).collect();
    let mut paths: Vec<PathBuf> = own_layers.collect();
    for mount in &mounts {
        if parts.iter().any(|(device, root)| **device == mount.device && mount.root.starts_with(root)) {
            paths.push(mount.point.clone());
        } else if mount.device == home.device && own_root.starts_with(&mount.root) {
            paths.push(joined(&mount.point, &own_root, &mount.root));
        }
        for layer in &mount.layers {
            if layer.starts_with(folder) {
                paths.push(mount.point.clone());
            } else if folder.starts_with(layer) {
                paths.push(joined(&mount.point, folder, layer));
            }
        }
    }
    paths.retain(|path| !path.starts_with(folder));
    paths
}

/// What `path` is below `base`, below `other`.
fn joined(other: &Path, path: &Path, base: &Path) -> PathBuf {
    match path.strip_prefix(base) {
        Ok(below) if !below.as_os_str().is_empty() => other.join(below),
        _ => other.to_owned(),
    }
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let device = fields.nth(2)?.to_vec();
        let root = unescaped(fields.next()?);
        let point = unescaped(fields.next()?);
        let mut after_separator = fields.skip_while(|field| *field != b"-");
        let is_overlay = after_separator.nth(1)? == b"overlay";
        let options = after_separator.nth(1).unwrap_or_default();
        let layers = if is_overlay { layers(options) } else { Vec::new() };
        Some(Self { device, root, point, layers })
    }
}

/// The folders in an overlay's options: `lowerdir=a:b,upperdir=c`, or `lowerdir+=a` for each.
fn layers(options: &[u8]) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for option in options.split(|byte| *byte == b',') {
        let value = |name: &[u8]| option.strip_prefix(name);
        if let Some(folders) = value(b"lowerdir=").or_else(|| value(b"lowerdir+=")) {
            all.extend(folders.split(|byte| *byte == b':').map(unescaped));
        }
        all.extend(value(b"upperdir=").map(unescaped));
    }
    // What a relative path is relative to is not known.
    all.retain(|layer| layer.is_absolute());
    all.into_iter().map(|layer| layer.canonicalize().unwrap_or(layer)).collect()
}

/// A field with its octal escapes (`\040` is a space) resolved.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| {
            let value =
                digits.iter().try_fold(0u32, |value, digit| Some(value * 8 + char::from(*digit).to_digit(8)?))?;
            u8::try_from(value).ok()
        });
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(mount_info: &str, folder: &str) -> Vec<String> {
        let paths = paths_by(mount_info.as_bytes(), Path::new(folder));
        paths.into_iter().map(|path| path.to_str().unwrap().to_owned()).collect()
    }

    const ROOT: &str = "27 1 8:1 / / rw - ext4 /dev/sda1 rw\n";

    #[test]
    fn bind_mounts_of_the_folder_of_a_part_and_of_a_folder_above_are_found() {
        let mounts = format!(
            "{ROOT}30 27 8:1 /srv/data/objects/b/deep /mnt/deep rw shared:1 - ext4 /dev/sda1 rw\n\
             31 27 8:1 /srv/data /mnt/with\\040space rw - ext4 /dev/sda1 rw\n\
             32 27 8:1 /srv /mnt/srv rw - ext4 /dev/sda1 rw\n\
             33 27 8:1 /srv/database /mnt/other rw - ext4 /dev/sda1 rw\n\
             34 27 8:2 /srv/data /mnt/disk rw - ext4 /dev/sdb1 rw\n"
        );
        assert_eq!(paths(&mounts, "/srv/data"), ["/mnt/deep", "/mnt/with space", "/mnt/srv/data"]);
        assert_eq!(paths(ROOT, "/srv/data"), [""; 0]);
        assert_eq!(paths("", "/srv/data"), [""; 0]);
    }

    #[test]
    fn disk_that_is_mounted_within_the_folder_is_a_part_of_it() {
        let mounts = format!(
            "{ROOT}30 27 8:2 / /srv/data/objects rw - xfs /dev/sdb1 rw\n31 27 8:2 /b /mnt/b rw - xfs /dev/sdb1 rw\n"
        );
        assert_eq!(paths(&mounts, "/srv/data"), ["/mnt/b"]);
    }

    #[test]
    fn overlays_of_the_folder_and_of_a_part_are_found() {
        let mounts = format!(
            "{ROOT}30 27 0:50 / /mnt/o rw - overlay overlay rw,lowerdir=/srv:/opt,upperdir=/tmp/u,workdir=/tmp/w\n\
             31 27 0:51 / /mnt/p rw - overlay overlay rw,lowerdir=/opt,upperdir=/srv/data/objects,workdir=/tmp/w\n\
             32 27 0:52 / /mnt/q rw - overlay overlay rw,lowerdir=/opt,upperdir=/tmp/v,workdir=/tmp/w\n"
        );
        assert_eq!(paths(&mounts, "/srv/data"), ["/mnt/o/data", "/mnt/p"]);
        assert_eq!(paths(&mounts, "/mnt/q/data"), ["/opt/data", "/tmp/v/data"]);
    }
}
