//! The schema registry of the embedded profile: the same wire format as a Confluent registry's, its numbers in the data
//! folder's file.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

use super::db::{Db, SqlContext};
use super::sql::Cells;
use crate::domain::event::SchemaId;
use crate::ports::{Error, ErrorKind, RegisteredSchema, Result, SchemaRegistry};

const COLUMNS: &str = "SELECT schema_id, subject, version, schema FROM registry_schemas";

/// The registry in the data folder's file.
#[derive(Debug, Clone)]
pub struct SqliteRegistry {
    db: Db,
}

impl SqliteRegistry {
    /// The registry in this file.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db }
    }
}

#[async_trait]
impl SchemaRegistry for SqliteRegistry {
    async fn register(&self, subject: &str, schema: &Value) -> Result<RegisteredSchema> {
        if subject.trim().is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "a schema's subject cannot be empty"));
        }
        // Asked first: registering what is there is the usual case and needs no write.
        let known = self.versions(subject).await?.into_iter().find(|known| known.schema == *schema);
        if let Some(known) = known {
            return Ok(known);
        }
        let (subject, schema) = (subject.to_owned(), schema.clone());
        self.db.write("register a schema", move |tx| register(tx, subject, schema)).await
    }

    async fn by_id(&self, id: SchemaId) -> Result<RegisteredSchema> {
        self.db
            .read("read a schema", move |connection| {
                let found = connection
                    .prepare_cached(&format!("{COLUMNS} WHERE schema_id = ?1"))
                    .and_then(|mut select| select.query_row([id.0], registered).optional())
                    .during("read a schema")?;
                found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no schema has the id {}", id.0)))
            })
            .await
    }

    async fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>> {
        Ok(self.versions(subject).await?.pop())
    }

    async fn versions(&self, subject: &str) -> Result<Vec<RegisteredSchema>> {
        let subject = subject.to_owned();
        self.db.read("read a subject's schemas", move |connection| versions(connection, &subject)).await
    }

    async fn subjects(&self) -> Result<Vec<String>> {
        self.db
            .read("list subjects", |connection| {
                connection
                    .prepare_cached("SELECT DISTINCT subject FROM registry_schemas ORDER BY subject")
                    .and_then(|mut select| select.query_map([], |row| row.get(0))?.collect())
                    .during("list subjects")
            })
            .await
    }
}

/// Adds a version unless it came meanwhile. Inside the write transaction, so that numbers have no gaps.
fn register(tx: &Connection, subject: String, schema: Value) -> Result<RegisteredSchema> {
    let versions = versions(tx, &subject)?;
    if let Some(known) = versions.iter().find(|known| known.schema == schema) {
        return Ok(known.clone());
    }
    let version = versions.last().map_or(1, |latest| latest.version + 1);
    tx.prepare_cached("INSERT INTO registry_schemas (subject, version, schema) VALUES (?1, ?2, ?3)")
        .and_then(|mut insert| insert.execute(params![subject, version, schema.to_string()]))
        .during("register a schema")?;
    let id = u32::try_from(tx.last_insert_rowid())
        .map_err(|error| Error::new(ErrorKind::Full, "the registry has no numbers left").because(error))?;
    Ok(RegisteredSchema { id: SchemaId(id), subject, version, schema })
}

fn versions(connection: &Connection, subject: &str) -> Result<Vec<RegisteredSchema>> {
    connection
        .prepare_cached(&format!("{COLUMNS} WHERE subject = ?1 ORDER BY version"))
        .and_then(|mut select| select.query_map([subject], registered)?.collect())
        .during("read a subject's schemas")
}

fn registered(row: &Row<'_>) -> rusqlite::Result<RegisteredSchema> {
    let mut cells = Cells::of(row);
    Ok(RegisteredSchema {
        id: SchemaId(cells.plain()?),
        subject: cells.plain()?,
        version: cells.plain()?,
        schema: cells.text()?,
    })
}
