//! The paths by which a file may be in the catalog.
//!
//! An ingest resolves the links in the folders of what it is given, and keeps the names below as it finds them: the name of a
//! link to a file, and with `--follow` those of links to folders. So each folder of the path may be the one up to which links
//! were resolved. The names may be in another normal form of Unicode than they are typed in, as some file systems store them.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use mfctl_core::domain::SourcePath;
use unicode_normalization::UnicodeNormalization;

/// Most paths of a file.
const MAX_PATHS: usize = 64;
/// Folders, from the file upwards, up to which links are resolved.
const MAX_FOLDERS: usize = 40;

/// The paths of a file at an absolute path, the likeliest first.
pub(super) fn candidates(absolute: &Path) -> Vec<SourcePath> {
    let without_dots = without_dots(absolute);
    let mut paths: Vec<PathBuf> = Vec::new();
    for path in [absolute, &without_dots] {
        add(&mut paths, path.to_path_buf());
        // The name of a file is its own even if it is a link.
        for folder in path.ancestors().skip(1).take(MAX_FOLDERS) {
            add_resolved(&mut paths, path, folder);
        }
        add_resolved(&mut paths, path, path);
    }
    // Nothing is stored with these in its path.
    paths.retain(|path| !path.components().any(|part| matches!(part, Component::ParentDir | Component::CurDir)));
    let mut found: Vec<SourcePath> = Vec::new();
    let forms: [fn(&str) -> String; 2] = [|text| text.nfc().collect(), |text| text.nfd().collect()];
    for path in paths.iter().map(|path| SourcePath::from_path(path)) {
        let (folder, name) = path.as_str().split_at(path.as_str().len() - path.file_name().len());
        let mut texts = vec![path.as_str().to_owned()];
        texts.extend(forms.iter().map(|form| form(path.as_str())));
        texts.extend(forms.iter().map(|form| format!("{folder}{}", form(name))));
        texts.extend([(0, 1), (1, 0)].map(|(of_folder, of_name)| forms[of_folder](folder) + &forms[of_name](name)));
        for path in texts.into_iter().map(SourcePath::from_text) {
            if found.len() < MAX_PATHS && !found.contains(&path) {
                found.push(path);
            }
        }
    }
    found
}

fn add(paths: &mut Vec<PathBuf>, path: PathBuf) {
    // Compared as bytes: paths that only differ in a dot are equal to each other.
    if !paths.iter().any(|known| known.as_os_str() == path.as_os_str()) {
        paths.push(path);
    }
}

/// Adds the path with the links resolved up to a folder of it, if that exists.
fn add_resolved(paths: &mut Vec<PathBuf>, path: &Path, folder: &Path) {
    if let (Ok(real), Ok(rest)) = (folder.canonicalize(), path.strip_prefix(folder)) {
        let joined = if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        add(paths, joined);
    }
}

/// The path without `.` and `..`, as if no folder of it were a link.
fn without_dots(absolute: &Path) -> PathBuf {
    let mut parts: Vec<OsString> = Vec::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(name) => parts.push(name.to_owned()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Path::new("/").join(parts.iter().collect::<PathBuf>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &Path, wanted: &Path) -> bool {
        candidates(path).contains(&SourcePath::from_path(wanted))
    }

    #[test]
    fn a_file_is_looked_up_by_each_path_that_may_name_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("real/sub")).unwrap();
        std::fs::write(root.join("real/sub/a.txt"), "a").unwrap();
        std::os::unix::fs::symlink(root.join("real"), root.join("link")).unwrap();
        std::os::unix::fs::symlink(root.join("real/sub"), root.join("real/below")).unwrap();
        std::os::unix::fs::symlink(root.join("real/sub/a.txt"), root.join("name.txt")).unwrap();
        let a = root.join("real/sub/a.txt");
        for path in
            ["real/sub/a.txt", "link/sub/a.txt", "real/sub/../sub/a.txt", "link/./sub/a.txt", "real/below/a.txt"]
        {
            assert!(found(&root.join(path), &a), "{path}");
        }
        assert!(found(&root.join("link/below/a.txt"), &root.join("real/below/a.txt")), "links below are kept");
        assert!(found(&root.join("name.txt"), &root.join("name.txt")), "a link's own name");
        assert!(found(&root.join("name.txt"), &a), "and that of the file");
        assert!(found(&root.join("link/below/../gone.txt"), &root.join("real/gone.txt")), "as the kernel resolves ..");
        assert!(found(&root.join("missing/../real/gone.txt"), &root.join("real/gone.txt")), "or by its text");
        assert_eq!(candidates(&a)[0], SourcePath::from_path(&a), "the path as it is comes first");
        assert_eq!(candidates(&a).len(), 1);
    }

    #[test]
    fn names_are_looked_up_in_each_normal_form() {
        for typed in ["/caf\u{e9}/\u{e9}.txt", "/cafe\u{301}/e\u{301}.txt", "/caf\u{e9}/e\u{301}.txt"] {
            let paths = candidates(Path::new(typed));
            for stored in ["/caf\u{e9}/\u{e9}.txt", "/cafe\u{301}/e\u{301}.txt", "/cafe\u{301}/\u{e9}.txt"] {
                assert!(paths.contains(&SourcePath::from_text(stored)), "{typed:?} {stored:?} {paths:?}");
            }
        }
    }

    #[test]
    fn the_number_of_paths_is_bounded() {
        let deep = format!("/{}e\u{301}", "../e\u{301}/".repeat(500));
        assert!(candidates(Path::new(&deep)).len() <= MAX_PATHS);
    }
}
