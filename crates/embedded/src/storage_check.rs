//! SQLite's own check of the data folder's file.

use async_trait::async_trait;
use rusqlite::Connection;

use super::db::{Db, SqlContext, missing_schema};
use mfctl_core::ports::{CheckDepth, ErrorKind, MAX_DAMAGE, Result, StorageCheck};

/// Checks the file behind a [`Db`].
pub struct SqliteCheck {
    db: Db,
}

impl SqliteCheck {
    /// The check of this file.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db }
    }
}

#[async_trait]
impl StorageCheck for SqliteCheck {
    fn name(&self) -> String {
        self.db.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    async fn damage(&self, depth: CheckDepth) -> Result<Vec<String>> {
        let pragma = match depth {
            CheckDepth::Quick => "quick_check",
            CheckDepth::Full => "integrity_check",
        };
        match self.db.read("check the data folder's file", move |connection| check(connection, pragma)).await {
            // Damage can be such that the check itself ends with an error.
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(vec![error.full()]),
            checked => checked,
        }
    }
}

fn check(connection: &Connection, pragma: &str) -> Result<Vec<String>> {
    let what = "check the data folder's file";
    let mut statement = connection.prepare(&format!("PRAGMA {pragma}({MAX_DAMAGE})")).during(what)?;
    let mut rows = statement.query([]).during(what)?;
    let mut damage = Vec::new();
    // A row that cannot be read ends the check: what was found before it is the answer, with that error.
    loop {
        match rows.next().and_then(|row| row.map(|row| row.get::<_, String>(0)).transpose()) {
            Ok(None) => break,
            Ok(Some(line)) if line == "ok" => {}
            Ok(Some(lines)) => damage.extend(lines.lines().map(str::to_owned)),
            Err(error) => {
                damage.push(error.to_string());
                break;
            }
        }
    }
    match missing_schema(connection) {
        Ok(missing) => damage.extend(missing),
        Err(error) => damage.push(error.full()),
    }
    damage.truncate(MAX_DAMAGE);
    Ok(damage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataFolder, OpenMode};

    #[tokio::test]
    async fn missing_table_is_damage() {
        let data = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(data.path(), OpenMode::MayCreate).unwrap();
        let check = SqliteCheck::new(folder.db().clone());
        assert_eq!(check.damage(CheckDepth::Full).await.unwrap(), Vec::<String>::new());
        let drop_table = |tx: &Connection| tx.execute_batch("DROP TABLE journal_files").during("drop a table");
        folder.db().write("drop a table", drop_table).await.unwrap();
        let damage = check.damage(CheckDepth::Quick).await.unwrap();
        assert!(damage.contains(&"table journal_files is missing".to_owned()), "{damage:?}");
    }
}
