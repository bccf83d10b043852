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
    ($($version:literal $file:literal),+ $(,)?) => {
        &[$( MigrationScript {
            version: $version,
            name: without_number($file),
            sql: include_str!(concat!("migrations/", $file, ".sql")),
        } ),+]
    };
}

/// The name of a file without its four digits: `base` of `0001_base`.
const fn without_number(file: &'static str) -> &'static str {
    file.split_at(5).1
}

/// All migrations, by version.
pub(super) static SCRIPTS: &[MigrationScript] = scripts![
    1 "0001_base",
    2 "0002_tables",
    3 "0003_rules",
    4 "0004_calls",
    5 "0005_access",
    6 "0006_names",
    7 "0007_unread",
    8 "0008_claims",
    9 "0009_takedown",
    10 "0010_purged_takedowns",
    11 "0011_unfenced_claims",
    12 "0012_claim_folding",
    13 "0013_job_leases",
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
