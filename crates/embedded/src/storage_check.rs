//! SQLite's own check of the data folder's file.

use async_trait::async_trait;
use rusqlite::Connection;

use super::cross_check;
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
        let what = "check the data folder's file";
        let mut damage = match self.db.read(what, move |connection| check(connection, pragma)).await {
            // Damage can be such that the check itself ends with an error.
            Err(error) if error.kind() == ErrorKind::Corrupt => vec![error.full()],
            checked => checked?,
        };
        damage.extend(found(self.db.read(what, compare_tables).await)?);
        if depth == CheckDepth::Full {
            damage.extend(found(self.wrong_texts().await)?);
        }
        if damage.len() > MAX_DAMAGE {
            damage.truncate(MAX_DAMAGE - 1);
            damage.push("more is damaged than is listed".to_owned());
        }
        Ok(damage)
    }
}

impl SqliteCheck {
    /// Texts of the search index that are not those of the catalog, read in short transactions.
    async fn wrong_texts(&self) -> Result<Vec<String>> {
        let mut damage = Vec::new();
        let mut after = i64::MIN;
        loop {
            let compared =
                self.db.read("compare texts", move |connection| cross_check::compare_texts(connection, after));
            let compared = compared.await?;
            damage.extend(compared.damage);
            let Some(last) = compared.last.filter(|last| *last > after && damage.len() <= MAX_DAMAGE) else { break };
            after = last;
        }
        Ok(damage)
    }
}

/// What a check found. An error that shows damage, or that a table is missing, is a finding too.
fn found(checked: Result<Vec<String>>) -> Result<Vec<String>> {
    match checked {
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Internal) => Ok(vec![error.full()]),
        checked => checked,
    }
}

/// Compares tables with each other.
fn compare_tables(connection: &Connection) -> Result<Vec<String>> {
    let mut damage = Vec::new();
    for check in [cross_check::broken_references, cross_check::wrong_totals, cross_check::incomplete_documents] {
        damage.extend(found(check(connection))?);
    }
    Ok(damage)
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
    Ok(damage)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::search::SqliteSearch;
    use crate::{DataFolder, OpenMode};
    use mfctl_core::domain::{AssetId, Revision, Tenant};
    use mfctl_core::ports::{SearchDocument, SearchIndex as _};

    /// A folder with the search documents of two assets.
    async fn folder_with_documents() -> (tempfile::TempDir, DataFolder) {
        let data = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(data.path(), OpenMode::MayCreate).unwrap();
        let document = |id| SearchDocument {
            asset_id: AssetId(uuid::Uuid::from_u128(id)),
            locale: "fa".to_owned(),
            revision: Revision::FIRST,
            tenant: Tenant::default(),
            title: "title".to_owned(),
            body: format!("text {id}"),
            names: Vec::new(),
            tags: BTreeMap::default(),
            collection: None,
            media_type: "text/plain".to_owned(),
            language: None,
        };
        SqliteSearch::new(folder.db().clone()).index(vec![document(1), document(2)]).await.unwrap();
        (data, folder)
    }

    async fn damage_after(sql: &'static str) -> Vec<String> {
        let (_data, folder) = folder_with_documents().await;
        let check = SqliteCheck::new(folder.db().clone());
        assert_eq!(check.damage(CheckDepth::Full).await.unwrap(), Vec::<String>::new());
        folder.db().write("damage", move |tx| tx.execute_batch(sql).during("damage")).await.unwrap();
        check.damage(CheckDepth::Quick).await.unwrap()
    }

    #[tokio::test]
    async fn rows_that_do_not_fit_to_those_of_another_table_are_named() {
        let second = "the search document of asset 00000000-0000-0000-0000-000000000002 (fa)";
        let no_text = format!("{second} has no text in table search_bodies");
        let no_words = format!("{second} has no words in table search_words");
        for (sql, damage) in [
            ("DELETE FROM search_bodies WHERE document_id = 2", no_text.as_str()),
            ("DELETE FROM search_words WHERE rowid = 2", no_words.as_str()),
            ("INSERT INTO search_bodies VALUES (7, 'x')", "row 7 of table search_bodies belongs to no search document"),
            (
                "UPDATE media_totals SET bytes = 5 WHERE state = 1 AND dead_lettered = 1",
                "table media_totals, assets ingested and dead-lettered: 0 assets with 5 bytes recorded, the catalog has 0 \
                 assets with 0 bytes",
            ),
        ] {
            assert_eq!(damage_after(sql).await, [damage], "{sql}");
        }
    }

    #[tokio::test]
    async fn row_that_refers_to_no_row_is_named() {
        let data = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(data.path(), OpenMode::MayCreate).unwrap();
        let connection = Connection::open(folder.db().path()).unwrap();
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        connection.execute_batch("INSERT INTO partitions (part_id, topic_id, partition) VALUES (3, 9, 0)").unwrap();
        let damage = SqliteCheck::new(folder.db().clone()).damage(CheckDepth::Quick).await.unwrap();
        assert_eq!(damage, ["row 3 of table partitions refers to a row of topics that does not exist"]);
    }

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
