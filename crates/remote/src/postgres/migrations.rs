//! The migrations of this build, in their order. One that was released is never changed: the next number is for that.

use sha2::{Digest, Sha256};

use mfctl_core::ports::Migration;

/// A numbered change, whole in one transaction.
pub(super) struct Script {
    /// Its number.
    pub(super) version: u32,
    /// Its name.
    pub(super) name: &'static str,
    /// Its statements.
    pub(super) sql: &'static str,
}

macro_rules! scripts {
    ($($version:literal $name:literal),+ $(,)?) => {
        &[$( Script {
            version: $version,
            name: $name,
            sql: include_str!(concat!("migrations/000", $version, "_", $name, ".sql")),
        } ),+]
    };
}

/// All of them.
pub(super) static SCRIPTS: &[Script] = scripts![1 "base", 2 "tables", 3 "rules", 4 "calls", 5 "access"];

impl Script {
    /// What tells that the script is the one that was applied.
    pub(super) fn checksum(&self) -> String {
        hex::encode(Sha256::digest(self.sql.as_bytes()))
    }

    /// As the port says it.
    pub(super) fn named(&self) -> Migration {
        Migration { version: self.version, name: self.name.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbered_without_a_gap() {
        let versions: Vec<u32> = SCRIPTS.iter().map(|script| script.version).collect();
        assert_eq!(versions, (1..=SCRIPTS.len() as u32).collect::<Vec<_>>());
    }

    /// A transaction is the runner's to begin and end.
    #[test]
    fn no_script_ends_its_transaction() {
        for script in SCRIPTS {
            let ends = |line: &str| ["COMMIT", "ROLLBACK", "BEGIN;"].iter().any(|word| line.starts_with(word));
            assert!(!script.sql.lines().any(ends), "{}", script.name);
            assert!(!script.sql.contains("CONCURRENTLY"), "{}", script.name);
        }
    }
}
