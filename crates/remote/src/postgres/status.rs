//! How a database stands to the migrations of this build. Pure: what is read is given.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::migrations::Script;
use mfctl_core::ports::{Error, ErrorKind, Migration, Result};

/// A migration as the database has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AppliedMigration {
    /// Its number.
    pub version: u32,
    /// Its name.
    pub name: String,
    /// The SHA-256 of its statements.
    pub checksum: String,
    /// When it was applied; of one that is dirty, begun.
    #[schemars(with = "String")]
    pub applied_at: Timestamp,
    /// Whether it was begun and its end is not known.
    pub dirty: bool,
    /// The mfctl that applied it.
    pub mfctl_version: String,
}

/// How a database stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct MigrationStatus {
    /// What makes this database another than every other; none before its first migration.
    pub identity: Option<String>,
    /// Those that were applied, in order.
    pub applied: Vec<AppliedMigration>,
    /// Those that are yet to be, in order.
    pub pending: Vec<Migration>,
    /// Those that were begun and whose end is not known.
    pub dirty: Vec<AppliedMigration>,
    /// Those that were another text when they were applied.
    pub changed: Vec<AppliedMigration>,
    /// Those that this mfctl does not know: a later one applied them.
    pub unknown: Vec<AppliedMigration>,
    /// Who is migrating now.
    pub migrating: Option<String>,
}

impl MigrationStatus {
    /// What the rows say to these scripts.
    pub(super) fn of(scripts: &[Script], rows: Vec<AppliedMigration>) -> Self {
        let mut status = Self::default();
        for script in scripts {
            match rows.iter().find(|row| row.version == script.version) {
                None => status.pending.push(script.named()),
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

    /// Refuses a database that is not what its migrations say.
    ///
    /// # Errors
    /// `Locked` for one that is being migrated, `Corrupt` for a dirty or changed migration, `TooNew` for an unknown one.
    pub fn refuse_unsound(&self) -> Result<()> {
        if let (Some(row), Some(who)) = (self.dirty.first(), &self.migrating) {
            let what = format!("migration {} is being applied by {who}", title(row));
            return Err(Error::new(ErrorKind::Locked, what).hint("wait for it, then look again"));
        }
        if let Some(row) = self.dirty.first() {
            let what = format!("migration {} is dirty: begun at {} and never ended", title(row), row.applied_at);
            return Err(Error::new(ErrorKind::Corrupt, what).hint(format!(
                "it is one transaction, so nothing of it is there; see that no other mfctl runs, then in psql: \
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
            let what = format!("migration {} is not the one that was applied at {}", title(row), row.applied_at);
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

    const SCRIPTS: &[Script] =
        &[Script { version: 1, name: "a", sql: "SELECT 1" }, Script { version: 2, name: "b", sql: "SELECT 2" }];

    fn row(version: u32) -> AppliedMigration {
        let checksum = SCRIPTS.get(version as usize - 1).map(Script::checksum).unwrap_or_default();
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
    fn what_is_not_applied_is_pending() {
        let status = MigrationStatus::of(SCRIPTS, vec![row(1)]);
        assert_eq!(status.pending, [SCRIPTS[1].named()]);
        assert_eq!((status.applied.len(), status.refuse_unsound().is_ok()), (1, true));
        assert_eq!(MigrationStatus::of(SCRIPTS, vec![]).pending.len(), 2);
    }

    #[test]
    fn dirty_changed_and_unknown_are_refused_each_in_its_way() {
        let refused = |rows| MigrationStatus::of(SCRIPTS, rows).refuse_unsound().unwrap_err();
        let dirty = refused(vec![AppliedMigration { dirty: true, ..row(1) }]);
        assert_eq!(dirty.kind(), ErrorKind::Corrupt);
        assert!(dirty.hint_text().unwrap().contains("WHERE version = 1 AND dirty"));
        let changed = refused(vec![AppliedMigration { checksum: "other".into(), ..row(1) }, row(2)]);
        assert_eq!(changed.kind(), ErrorKind::Corrupt);
        assert_eq!(refused(vec![row(1), row(2), row(3)]).kind(), ErrorKind::TooNew);
        let mut under_way = MigrationStatus::of(SCRIPTS, vec![AppliedMigration { dirty: true, ..row(1) }]);
        under_way.migrating = Some("mfctl (pid 7)".into());
        assert_eq!(under_way.refuse_unsound().unwrap_err().kind(), ErrorKind::Locked);
    }
}
