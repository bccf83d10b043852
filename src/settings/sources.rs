//! What configuration is read from, as one value, so that nothing below looks at the process itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mfctl_core::domain::EnvName;

/// The flags that are settings.
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
    /// The flags.
    pub flags: Flags,
    /// The environment's variables that are UTF-8.
    pub env: BTreeMap<String, String>,
    /// Names of `MFCTL_…` variables whose value is not UTF-8.
    pub unreadable: Vec<String>,
    /// The working folder, absolute.
    pub cwd: PathBuf,
    /// The user's home, if there is one.
    pub home: Option<PathBuf>,
    /// The user's id.
    pub uid: u32,
    /// The user's name.
    pub user: String,
    /// The machine's name.
    pub host: String,
    /// The machine's file.
    pub system_file: PathBuf,
}

/// The machine's file.
const SYSTEM_FILE: &str = "/etc/mfctl/mfctl.toml";

impl Sources {
    /// This process's own.
    ///
    /// # Errors
    /// When the working folder is gone.
    pub fn of_process(flags: Flags) -> std::io::Result<Self> {
        let mut env = BTreeMap::new();
        let mut unreadable = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => {
                    env.insert(name, value);
                }
                Err(_) if name.starts_with("MFCTL_") => unreadable.push(name),
                Err(_) => {}
            }
        }
        let uid = rustix::process::geteuid().as_raw();
        let named = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
        Ok(Self {
            flags,
            unreadable,
            cwd: std::env::current_dir()?,
            home: std::env::home_dir().filter(|home| home.is_absolute()),
            uid,
            user: named("USER").or_else(|| named("LOGNAME")).unwrap_or_else(|| format!("uid-{uid}")),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            system_file: PathBuf::from(SYSTEM_FILE),
            env,
        })
    }

    /// The user's own file, where there is a home.
    #[must_use]
    pub fn user_file(&self) -> Option<PathBuf> {
        self.base("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("mfctl/mfctl.toml"))
    }

    /// The file that replaces the user's own: `--config`, else `MFCTL_CONFIG`.
    #[must_use]
    pub fn explicit_file(&self) -> Option<PathBuf> {
        let given = self.flags.config.clone().or_else(|| self.env.get("MFCTL_CONFIG").map(PathBuf::from))?;
        Some(self.absolute(&given, &self.cwd))
    }

    /// The platform's folder for a user's data.
    #[must_use]
    pub fn platform_data(&self) -> Option<PathBuf> {
        self.base("XDG_DATA_HOME", ".local/share")
    }

    /// An XDG base folder; one that is not absolute does not count, as the standard says.
    fn base(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let given = self.env.get(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        given.or_else(|| self.home.as_ref().map(|home| home.join(below_home)))
    }

    /// A path as a person wrote it, made absolute: `~/` is the home, anything else stands below `base`.
    #[must_use]
    pub fn absolute(&self, text: &Path, base: &Path) -> PathBuf {
        if let (Ok(below), Some(home)) = (text.strip_prefix("~"), &self.home) {
            return home.join(below);
        }
        // Dots are taken out by name alone, as the shell does: the folder may not exist yet.
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
