//! Login tokens that are cached across processes, so that the next one need not log in again: each in a file of the data
//! folder with mode 0600, together with a digest of the login it belongs to.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use mfctl_core::domain::Secret;
use mfctl_core::domain::path::ShownPath as _;

/// The largest token file that is read.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The file that caches the token of one login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile {
    path: PathBuf,
    /// A digest, because the parts of a login may be secret themselves.
    login_digest: String,
}

#[derive(Serialize, Deserialize)]
struct TokenFileContent {
    #[serde(rename = "purpose")]
    login_digest: String,
    token: String,
}

impl TokenFile {
    /// The token at this path of the login made of these parts: server, role, credentials.
    #[must_use]
    pub fn new(path: PathBuf, login: &[&str]) -> Self {
        let mut digest = Sha256::new();
        for part in login {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        Self { path, login_digest: hex::encode(digest.finalize()) }
    }

    /// The token, if the file holds one of this login. A file that other users can read, or own, is ignored.
    #[must_use]
    pub fn read(&self) -> Option<Secret> {
        let file = OpenOptions::new().read(true).open(&self.path).ok()?;
        let metadata = file.metadata().ok()?;
        let is_private = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o077 == 0;
        if !is_private || !metadata.is_file() {
            return None;
        }
        let mut text = String::new();
        file.take(MAX_FILE_BYTES).read_to_string(&mut text).ok()?;
        let content: TokenFileContent = serde_json::from_str(&text).ok()?;
        (content.login_digest == self.login_digest && !content.token.is_empty()).then(|| Secret::new(content.token))
    }

    /// Replaces the cached token. A failure is only logged: the next process logs in again.
    pub fn write(&self, token: &Secret) {
        let content = TokenFileContent { login_digest: self.login_digest.clone(), token: token.expose().to_owned() };
        let Ok(text) = serde_json::to_string(&content) else { return };
        if let Err(error) = write_private(&self.path, &text) {
            tracing::debug!(path = %self.path.shown(), %error, "cannot cache a login token");
        }
    }
}

/// Writes a file atomically, with mode 0600: synced under a temporary name, then renamed.
///
/// # Errors
/// Errors of the file system; the old file is left as it was.
pub fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let temporary = path.with_extension(format!("{:08x}.new", fastrand::u32(..)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| std::fs::rename(&temporary, path));
    if renamed.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    renamed
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn token_is_read_by_the_same_login_from_a_private_file_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let file = TokenFile::new(path.clone(), &["https://vault", "role"]);
        assert_eq!(file.read(), None);
        file.write(&Secret::new("s.1"));
        file.write(&Secret::new("s.2"));
        assert_eq!(file.read().unwrap().expose(), "s.2");
        for other in [&["https://vault", "other"][..], &["https://vaultrole"], &["https://vault", "ro", "le"]] {
            assert_eq!(TokenFile::new(path.clone(), other).read(), None, "{other:?}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(file.read(), None);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
