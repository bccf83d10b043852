//! The migrations of this build, in order. A released migration is never changed: a change is a new migration.

use sha2::{Digest, Sha256};

use mfctl_core::ports::Migration;

/// A migration's SQL; it runs in one transaction.
pub(super) struct MigrationScript {
    pub(super) version: u32,
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
}

macro_rules! scripts {
    ($($zeros:literal: $($version:literal $name:literal),+);+ $(;)?) => {
        &[$($( MigrationScript {
            version: $version,
            name: $name,
            sql: include_str!(concat!("migrations/", $zeros, $version, "_", $name, ".sql")),
        } ),+),+]
    };
}

/// All migrations, by version.
pub(super) static SCRIPTS: &[MigrationScript] = scripts![
    "000": 1 "base", 2 "tables", 3 "rules", 4 "calls", 5 "access", 6 "names", 7 "unread", 8 "claims", 9 "takedown";
    "00": 10 "job_leases";
];

impl MigrationScript {
    /// The SHA-256 of the SQL, in hex: it shows whether the script is the one that was applied.
    pub(super) fn checksum(&self) -> String {
        hex::encode(Sha256::digest(self.sql.as_bytes()))
    }

    pub(super) fn migration(&self) -> Migration {
        Migration { version: self.version, name: self.name.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_no_gap() {
        let versions: Vec<u32> = SCRIPTS.iter().map(|script| script.version).collect();
        assert_eq!(versions, (1..=SCRIPTS.len() as u32).collect::<Vec<_>>());
    }

    /// The runner begins and commits the transaction.
    #[test]
    fn no_script_ends_its_transaction() {
        for script in SCRIPTS {
            let ends = |line: &str| ["COMMIT", "ROLLBACK", "BEGIN;"].iter().any(|word| line.starts_with(word));
            assert!(!script.sql.lines().any(ends), "{}", script.name);
            assert!(!script.sql.contains("CONCURRENTLY"), "{}", script.name);
        }
    }
}
