//! Compares the migrations that a database has applied with those of this build. Pure: no I/O.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::migrations::MigrationScript;
use mfctl_core::ports::{ClaimFence, Error, ErrorKind, Migration, Result};

/// A row of `media.schema_migrations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AppliedMigration {
    /// The migration's number, from 1.
    pub version: u32,
    /// The migration's name, such as `tables`.
    pub name: String,
    /// The SHA-256 of its SQL, in hex.
    pub checksum: String,
    /// When it was applied; for a dirty migration, when it was started.
    #[schemars(with = "String")]
    pub applied_at: Timestamp,
    /// Whether it was started and not finished.
    pub dirty: bool,
    /// The version of the mfctl that applied it.
    pub mfctl_version: String,
}

/// The migrations of a database, compared with those of this build.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct MigrationStatus {
    /// The database's identity, unique to it; none before its first migration.
    pub identity: Option<String>,
    /// Applied migrations, in order.
    pub applied: Vec<AppliedMigration>,
    /// Migrations of this build that are not applied, in order.
    pub pending: Vec<Migration>,
    /// Migrations that were started and not finished.
    pub dirty: Vec<AppliedMigration>,
    /// Applied migrations whose checksum differs from this build's.
    pub changed: Vec<AppliedMigration>,
    /// Migrations that this build does not have: a later mfctl applied them.
    pub unknown: Vec<AppliedMigration>,
    /// The session that is migrating now, as `application_name (pid 7)`.
    pub migrating: Option<String>,
    /// Whether claims are fenced, and since when no worker of a release without epochs has claimed.
    pub claim_fence: ClaimFence,
}

impl MigrationStatus {
    /// Compares the scripts of a build with the rows of a database.
    pub(super) fn of(scripts: &[MigrationScript], rows: Vec<AppliedMigration>) -> Self {
        let mut status = Self::default();
        for script in scripts {
            match rows.iter().find(|row| row.version == script.version) {
                None => status.pending.push(script.migration()),
                Some(row) if !row.dirty && row.checksum != script.checksum() => status.changed.push(row.clone()),
                Some(_) => {}
            }
        }
        status.dirty = rows.iter().filter(|row| row.dirty).cloned().collect();
        status.unknown =
            rows.iter().filter(|row| scripts.iter().all(|script| script.version != row.version)).cloned().collect();
        status.applied = rows.into_iter().filter(|row| !row.dirty).collect();
        status
    }

    /// Whether the database's schema is what this build's migrations made.
    ///
    /// # Errors
    /// `Locked` while another session migrates, `Corrupt` for a dirty or changed migration, `TooNew` for an unknown one.
    pub fn check_sound(&self) -> Result<()> {
        if let (Some(row), Some(session)) = (self.dirty.first(), &self.migrating) {
            let what = format!("migration {} is being applied by {session}", title(row));
            return Err(Error::new(ErrorKind::Locked, what).hint("wait for it, then look again"));
        }
        if let Some(row) = self.dirty.first() {
            let what = format!("migration {} is dirty: started at {} and not finished", title(row), row.applied_at);
            return Err(Error::new(ErrorKind::Corrupt, what).hint(format!(
                "it is one transaction, so nothing of it was applied; make sure that no other mfctl runs, then in psql: \
                 DELETE FROM media.schema_migrations WHERE version = {} AND dirty; and migrate again",
                row.version
            )));
        }
        if let Some(row) = self.unknown.first() {
            let what = format!(
                "migration {} was applied by mfctl {}, which is later than this one",
                title(row),
                row.mfctl_version
            );
            return Err(Error::new(ErrorKind::TooNew, what).hint("upgrade this mfctl"));
        }
        if let Some(row) = self.changed.first() {
            let what = format!("migration {} differs from the one that was applied at {}", title(row), row.applied_at);
            return Err(Error::new(ErrorKind::Corrupt, what).hint(format!(
                "use the mfctl that applied it ({}), or find out who changed media.schema_migrations",
                row.mfctl_version
            )));
        }
        Ok(())
    }
}

fn title(row: &AppliedMigration) -> String {
    format!("{:04}_{}", row.version, row.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPTS: &[MigrationScript] = &[
        MigrationScript { version: 1, name: "a", sql: "SELECT 1" },
        MigrationScript { version: 2, name: "b", sql: "SELECT 2" },
    ];

    fn row(version: u32) -> AppliedMigration {
        let checksum = SCRIPTS.get(version as usize - 1).map(MigrationScript::checksum).unwrap_or_default();
        AppliedMigration {
            version,
            name: "a".into(),
            checksum,
            applied_at: Timestamp::UNIX_EPOCH,
            dirty: false,
            mfctl_version: "0.1.0".into(),
        }
    }

    #[test]
    fn scripts_without_a_row_are_pending() {
        let status = MigrationStatus::of(SCRIPTS, vec![row(1)]);
        assert_eq!(status.pending, [SCRIPTS[1].migration()]);
        assert_eq!((status.applied.len(), status.check_sound().is_ok()), (1, true));
        assert_eq!(MigrationStatus::of(SCRIPTS, vec![]).pending.len(), 2);
    }

    #[test]
    fn dirty_changed_and_unknown_migrations_are_refused() {
        let refused = |rows| MigrationStatus::of(SCRIPTS, rows).check_sound().unwrap_err();
        let dirty = refused(vec![AppliedMigration { dirty: true, ..row(1) }]);
        assert_eq!(dirty.kind(), ErrorKind::Corrupt);
        assert!(dirty.hint_text().unwrap().contains("WHERE version = 1 AND dirty"));
        let changed = refused(vec![AppliedMigration { checksum: "other".into(), ..row(1) }, row(2)]);
        assert_eq!(changed.kind(), ErrorKind::Corrupt);
        assert_eq!(refused(vec![row(1), row(2), row(3)]).kind(), ErrorKind::TooNew);
        let mut under_way = MigrationStatus::of(SCRIPTS, vec![AppliedMigration { dirty: true, ..row(1) }]);
        under_way.migrating = Some("mfctl (pid 7)".into());
        assert_eq!(under_way.check_sound().unwrap_err().kind(), ErrorKind::Locked);
    }
}
