//! An original that was damaged on disk.

use std::path::{Path, PathBuf};

use crate::pipeline::media_verbs::{PAGE, page_asset, site_with};

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn damaged_original_is_never_returned() {
    let site = site_with(&[("page.html", PAGE.as_bytes())]);
    let asset = page_asset(&site);
    let originals = files_below(&site.data().join("objects/myfarsi-dev-media-originals"));
    let stored = originals.iter().find(|path| std::fs::read(path).unwrap() == PAGE.as_bytes()).unwrap();
    // The store's files are read-only, so the damaged file replaces the original.
    let damaged = PAGE.replace("Water", "Wafer");
    std::fs::remove_file(stored).unwrap();
    std::fs::write(stored, damaged).unwrap();
    let piped = site.run(["media", "get", &asset]);
    assert_eq!((piped.code, piped.stdout.as_str()), (10, ""), "{piped}");
    let written = site.run(["media", "get", &asset, "-O", "copy.html"]);
    assert_eq!(written.code, 10, "{written}");
    assert!(!site.path("copy.html").exists());
}
