//! The sources of configuration as one value, so that nothing else reads the state of the process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use mfctl_core::domain::EnvName;

/// Global flags that are settings.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--profile`
    pub profile: Option<String>,
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--env`
    pub env: Option<EnvName>,
}

/// Everything that settings depend on.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Global flags.
    pub flags: Flags,
    /// Environment variables that are UTF-8.
    pub env: BTreeMap<String, String>,
    /// Environment variables that are not UTF-8, which only a path may be.
    pub env_bytes: BTreeMap<String, OsString>,
    /// Working directory, absolute.
    pub cwd: PathBuf,
    /// Home directory of the user, if there is one.
    pub home: Option<PathBuf>,
    /// Effective user id.
    pub uid: u32,
    /// User name.
    pub user: String,
    /// Host name.
    pub host: String,
    /// Path of the system file.
    pub system_file: PathBuf,
}

/// Path of the system file.
const SYSTEM_FILE: &str = "/etc/mfctl/mfctl.toml";

impl Sources {
    /// The sources of this process.
    ///
    /// # Errors
    /// When the working directory was deleted.
    pub fn of_process(flags: Flags) -> std::io::Result<Self> {
        let mut env = BTreeMap::new();
        let mut env_bytes = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => {
                    env.insert(name, value);
                }
                Err(value) => {
                    env_bytes.insert(name, value);
                }
            }
        }
        let uid = rustix::process::geteuid().as_raw();
        let named = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
        Ok(Self {
            flags,
            env_bytes,
            cwd: std::env::current_dir()?,
            home: std::env::home_dir().filter(|home| home.is_absolute()),
            uid,
            user: named("USER").or_else(|| named("LOGNAME")).unwrap_or_else(|| format!("uid-{uid}")),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            system_file: PathBuf::from(SYSTEM_FILE),
            env,
        })
    }

    /// The path that a variable gives, byte for byte.
    #[must_use]
    pub fn path_in(&self, variable: &str) -> Option<PathBuf> {
        let text = self.env.get(variable).map(PathBuf::from);
        text.or_else(|| self.env_bytes.get(variable).map(PathBuf::from))
    }

    /// Path of the user file; `None` without a home directory.
    #[must_use]
    pub fn user_file(&self) -> Option<PathBuf> {
        self.base("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("mfctl/mfctl.toml"))
    }

    /// Path of the file that replaces the user file: `--config`, else `MFCTL_CONFIG`.
    #[must_use]
    pub fn explicit_file(&self) -> Option<PathBuf> {
        let given = self.flags.config.clone().or_else(|| self.path_in("MFCTL_CONFIG"))?;
        Some(self.absolute(&given, &self.cwd))
    }

    /// XDG data directory of the user.
    #[must_use]
    pub fn platform_data(&self) -> Option<PathBuf> {
        self.base("XDG_DATA_HOME", ".local/share")
    }

    /// An XDG base directory; a relative path is ignored, as the specification requires.
    fn base(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let given = self.path_in(variable).filter(|path| path.is_absolute());
        given.or_else(|| self.home.as_ref().map(|home| home.join(below_home)))
    }

    /// Makes a path absolute: `~/` is the home directory, any other path is relative to `base`.
    #[must_use]
    pub fn absolute(&self, text: &Path, base: &Path) -> PathBuf {
        if let (Ok(below), Some(home)) = (text.strip_prefix("~"), &self.home) {
            return home.join(below);
        }
        // Dots are removed lexically, as the shell does: the directory may not exist yet.
        let mut path = PathBuf::new();
        for part in base.join(text).components() {
            match part {
                std::path::Component::ParentDir => {
                    path.pop();
                }
                std::path::Component::CurDir => {}
                other => path.push(other),
            }
        }
        path
    }
}
