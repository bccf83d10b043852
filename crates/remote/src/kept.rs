//! Tokens that outlive the process that logged in for them, so that the next one need not: each in a file of the data folder
//! that its owner alone can read, with a mark of what it is good for.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use mfctl_core::domain::Secret;

/// No token is longer.
const LARGEST: u64 = 64 * 1024;

/// Where a token is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    path: PathBuf,
    /// A digest: what a login is made of may be secret itself.
    purpose: String,
}

#[derive(Serialize, Deserialize)]
struct Content {
    purpose: String,
    token: String,
}

impl Kept {
    /// A token at this path, for a login made of these parts: where, as whom, with what.
    #[must_use]
    pub fn new(path: PathBuf, login: &[&str]) -> Self {
        let mut digest = Sha256::new();
        for part in login {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        Self { path, purpose: hex::encode(digest.finalize()) }
    }

    /// The token, if there is one of this login's. A file that others can read, or that is another user's, is not trusted.
    #[must_use]
    pub fn read(&self) -> Option<Secret> {
        let file = OpenOptions::new().read(true).open(&self.path).ok()?;
        let metadata = file.metadata().ok()?;
        let own = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o077 == 0;
        if !own || !metadata.is_file() {
            return None;
        }
        let mut text = String::new();
        file.take(LARGEST).read_to_string(&mut text).ok()?;
        let content: Content = serde_json::from_str(&text).ok()?;
        (content.purpose == self.purpose && !content.token.is_empty()).then(|| Secret::new(content.token))
    }

    /// Keeps a token in place of what was there. One that cannot be kept is made again by the next process.
    pub fn write(&self, token: &Secret) {
        let content = Content { purpose: self.purpose.clone(), token: token.expose().to_owned() };
        let Ok(text) = serde_json::to_string(&content) else { return };
        if let Err(error) = write(&self.path, &text) {
            tracing::debug!(path = %self.path.display(), %error, "a token was not kept");
        }
    }
}

/// Writes a file whole or not at all, readable by us alone.
///
/// # Errors
/// Those of the file system.
pub fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension(format!("{:08x}.new", fastrand::u32(..)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let kept = written.and_then(|()| std::fs::rename(&new, path));
    if kept.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_read_back_by_the_same_login_alone_and_only_if_nobody_else_could() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let kept = Kept::new(path.clone(), &["https://vault", "role"]);
        assert_eq!(kept.read(), None);
        kept.write(&Secret::new("s.1"));
        kept.write(&Secret::new("s.2"));
        assert_eq!(kept.read().unwrap().expose(), "s.2");
        for other in [&["https://vault", "other"][..], &["https://vaultrole"], &["https://vault", "ro", "le"]] {
            assert_eq!(Kept::new(path.clone(), other).read(), None, "{other:?}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(kept.read(), None);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing half-written stays");
    }
}
