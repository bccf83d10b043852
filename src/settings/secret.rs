//! References to secrets: read on demand, never printed.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use super::error::{Error, SettingsErrorKind};
use super::value::{RawValue, SettingValue, ValueKind};
use mfctl_core::domain::Secret;
use mfctl_core::domain::path::ShownPath as _;

/// Reference to a secret, which a configuration file contains instead of the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// `env:NAME`
    Env(String),
    /// `file:PATH`
    File(PathBuf),
    /// `vault:PATH#FIELD`, the path below the profile's `vault.mount`
    Vault {
        /// Path below the mount.
        path: String,
        /// Field of the secret.
        field: String,
    },
}

/// Maximum length of a secret in bytes.
const MAX_BYTES: u64 = 64 * 1024;

impl SecretRef {
    /// Parses a reference. A plain value is refused and not repeated in the error.
    ///
    /// # Errors
    /// When the text is not a reference.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text.split_once(':') {
            Some(("env", name)) if valid_variable(name) => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if path.starts_with('/') => Ok(Self::File(PathBuf::from(path))),
            Some(("vault", rest)) => vault(rest),
            Some(("file", _)) => Err(Error::invalid("a secret's `file:` needs an absolute path")),
            Some(("env", _)) => Err(Error::invalid("a secret's `env:` needs the name of a variable")),
            _ => Err(Error::invalid("a secret is given by reference, never as plain text")
                .hint("write \"env:NAME\", \"file:/path\" or \"vault:PATH#FIELD\"; a secret that stood in a file should be replaced")),
        }
    }

    /// Reads the secret. One newline at its end is removed.
    ///
    /// # Errors
    /// When the variable or file does not exist, is empty, too long or not UTF-8; for a secret in Vault, which only a
    /// connected profile can read.
    pub fn resolve(&self, env: &BTreeMap<String, String>) -> Result<Secret, Error> {
        let text = match self {
            Self::Env(name) => {
                env.get(name).cloned().ok_or_else(|| missing(&format!("the variable {name} is not set")))?
            }
            Self::File(path) => {
                let file = std::fs::File::open(path).map_err(|error| missing(&format!("{}: {error}", path.shown())))?;
                let mut text = String::new();
                let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
                read.map_err(|error| Error::invalid(format!("{}: {error}", path.shown())))?;
                text
            }
            Self::Vault { .. } => {
                return Err(Error::invalid(format!("{self} cannot be used here"))
                    .hint("give it as \"env:NAME\" or \"file:/path\""));
            }
        };
        self.secret(&text)
    }

    /// The secret in the text that was read from here. One newline at its end is removed: editors and `vault kv put FIELD=@FILE`
    /// leave one.
    ///
    /// # Errors
    /// When the text is empty or too long.
    pub fn secret(&self, text: &str) -> Result<Secret, Error> {
        let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
        if text.is_empty() || text.len() as u64 > MAX_BYTES {
            return Err(Error::invalid(format!("the secret at {self} is empty or longer than 64 KiB")));
        }
        Ok(Secret::new(text))
    }
}

fn vault(rest: &str) -> Result<SecretRef, Error> {
    let fits = |part: &str| {
        let c = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && part != "." && part != ".." && part.chars().all(c)
    };
    match rest.split_once('#') {
        Some((path, field)) if path.split('/').all(fits) && fits(field) => {
            Ok(SecretRef::Vault { path: path.to_owned(), field: field.to_owned() })
        }
        _ => Err(Error::invalid("a secret's `vault:` needs a path and a field, such as vault:media/s3#secret_key")),
    }
}

fn valid_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn missing(message: &str) -> Error {
    Error::new(SettingsErrorKind::NotFound, format!("cannot read a secret: {message}"))
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Vault { path, field } => write!(f, "vault:{path}#{field}"),
        }
    }
}

impl SettingValue for SecretRef {
    const EXPECTS: &'static str = "where the secret is: \"env:NAME\", \"file:/path\" or \"vault:PATH#FIELD\"";
    const KIND: ValueKind = ValueKind::Secret;

    fn parse(raw: &RawValue) -> Option<Self> {
        raw.text().and_then(|text| Self::parse(text).ok())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_secret_is_refused_and_not_repeated() {
        let error = SecretRef::parse("hunter2").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        assert!(error.hint_text().unwrap().contains("env:NAME"));
        for text in
            ["env:", "env:A B", "file:relative", "https://x", "vault:a", "vault:#b", "vault:a/../b#c", "vault:/a#b"]
        {
            assert!(SecretRef::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_are_read_from_files_and_variables_and_redacted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "s3cret\n").unwrap();
        let env = BTreeMap::from([("TOKEN".to_owned(), "t0ken".to_owned())]);
        let from_file = SecretRef::parse(&format!("file:{}", path.display())).unwrap().resolve(&env).unwrap();
        let from_env = SecretRef::parse("env:TOKEN").unwrap().resolve(&env).unwrap();
        assert_eq!((from_file.expose(), from_env.expose()), ("s3cret", "t0ken"));
        assert_eq!(format!("{from_file:?}"), "Secret(…)");
        assert!(SecretRef::parse("env:NONE").unwrap().resolve(&env).is_err());
    }
}
