//! The ids of group and topic names, which every claim would repeat.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use crate::db::SqlContext;
use mfctl_core::ports::Result;

/// Ids of names, cached for one call.
#[derive(Default)]
pub(super) struct NameIds(HashMap<String, i64>);

impl NameIds {
    /// The id of a name; assigned if it has none.
    pub(super) fn get_or_insert(&mut self, tx: &Connection, name: &str) -> Result<i64> {
        if let Some(id) = self.get(tx, name)? {
            return Ok(id);
        }
        tx.prepare_cached("INSERT INTO media_inbox_names (name) VALUES (?1)")
            .and_then(|mut insert| insert.execute([name]))
            .during("insert a name")?;
        let id = tx.last_insert_rowid();
        self.0.insert(name.to_owned(), id);
        Ok(id)
    }

    /// The id of a name, if it has one.
    pub(super) fn get(&mut self, connection: &Connection, name: &str) -> Result<Option<i64>> {
        if let Some(id) = self.0.get(name) {
            return Ok(Some(*id));
        }
        let id: Option<i64> = connection
            .prepare_cached("SELECT name_id FROM media_inbox_names WHERE name = ?1")
            .and_then(|mut select| select.query_row([name], |row| row.get(0)).optional())
            .during("find the id of a name")?;
        if let Some(id) = id {
            self.0.insert(name.to_owned(), id);
        }
        Ok(id)
    }
}
