//! The schema registry of the embedded profile. The wire format is that of Confluent's registry; the schema ids come
//! from the data folder's file.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

use super::db::{Db, SqlContext};
use super::sql::RowReader;
use mfctl_core::domain::compat::{self, CompatViolation, Compatibility, EarlierVersion};
use mfctl_core::domain::event::SchemaId;
use mfctl_core::ports::{Error, ErrorKind, RegisteredSchema, Result, SchemaRegistry};

/// The compatibility level of the platform's own schemas, and of a subject without a level of its own.
const DEFAULT_LEVEL: Compatibility = Compatibility::BackwardTransitive;
/// The prefix of the key in table `meta` under which a subject's own level is stored.
const LEVEL_KEY_PREFIX: &str = "registry.compatibility:";
/// Violations listed in an error message at most.
const MAX_LISTED_VIOLATIONS: usize = 3;
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
        // Usually the schema is registered already, which needs no write.
        let existing = self.versions(subject).await?.into_iter().find(|version| version.schema == *schema);
        if let Some(existing) = existing {
            return Ok(existing);
        }
        let subject = subject.to_owned();
        let schema = schema.clone();
        self.db.write("register a schema", move |tx| register(tx, subject, schema)).await
    }

    async fn by_id(&self, id: SchemaId) -> Result<RegisteredSchema> {
        self.db
            .read("read a schema", move |connection| {
                let schema = connection
                    .prepare_cached(&format!("{COLUMNS} WHERE schema_id = ?1"))
                    .and_then(|mut select| select.query_row([id.0], registered).optional())
                    .during("read a schema")?;
                schema.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no schema has the id {}", id.0)))
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

    async fn compatibility(&self, subject: &str) -> Result<Compatibility> {
        let subject = subject.to_owned();
        self.db.read("read a subject's compatibility", move |connection| compatibility(connection, &subject)).await
    }

    async fn set_compatibility(&self, subject: &str, level: Compatibility) -> Result<()> {
        let subject = subject.to_owned();
        self.db
            .write("set a subject's compatibility", move |tx| {
                if versions(tx, &subject)?.is_empty() {
                    return Err(Error::new(ErrorKind::NotFound, format!("subject {subject} has no version")));
                }
                let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2)
                    ON CONFLICT (key) DO UPDATE SET value = excluded.value";
                tx.prepare_cached(sql)
                    .and_then(|mut set| set.execute(params![format!("{LEVEL_KEY_PREFIX}{subject}"), level.as_str()]))
                    .during("set a subject's compatibility")?;
                Ok(())
            })
            .await
    }

    async fn check_compatibility(&self, subject: &str, schema: &Value) -> Result<Vec<String>> {
        let subject = subject.to_owned();
        let schema = schema.clone();
        let violations =
            self.db.read("check a schema", move |connection| violations(connection, &subject, &schema)).await?;
        Ok(violations.1.iter().map(describe).collect())
    }
}

fn compatibility(connection: &Connection, subject: &str) -> Result<Compatibility> {
    let stored: Option<String> = connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")
        .and_then(|mut select| select.query_row([format!("{LEVEL_KEY_PREFIX}{subject}")], |row| row.get(0)).optional())
        .during("read a subject's compatibility")?;
    let Some(stored) = stored else { return Ok(DEFAULT_LEVEL) };
    let corrupt = |error| Error::new(ErrorKind::Corrupt, format!("read the compatibility of {subject}")).because(error);
    stored.parse().map_err(corrupt)
}

fn violations(connection: &Connection, subject: &str, schema: &Value) -> Result<(Compatibility, Vec<CompatViolation>)> {
    let level = compatibility(connection, subject)?;
    let versions = versions(connection, subject)?;
    let earlier: Vec<_> =
        versions.iter().map(|old| EarlierVersion { version: old.version, schema: &old.schema }).collect();
    Ok((level, compat::check(level, schema, &earlier)))
}

fn describe(violation: &CompatViolation) -> String {
    let pointer = if violation.pointer.is_empty() { "/" } else { violation.pointer.as_str() };
    format!("{pointer}: {} (against version {})", violation.message, violation.against_version)
}

fn incompatible(subject: &str, level: Compatibility, violations: &[CompatViolation]) -> Error {
    let first: Vec<_> = violations.iter().take(MAX_LISTED_VIOLATIONS).map(describe).collect();
    let more = violations.len().saturating_sub(MAX_LISTED_VIOLATIONS);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let what = format!("a schema for {subject} breaks {level}: {}{more}", first.join("; "));
    Error::new(ErrorKind::Conflict, what).hint("`mfctl schema check` names each breaking change and what would fix it")
}

/// Adds a version, unless another process registered it meanwhile. In the write transaction, so that versions have no
/// gaps.
fn register(tx: &Connection, subject: String, schema: Value) -> Result<RegisteredSchema> {
    let versions = versions(tx, &subject)?;
    if let Some(existing) = versions.iter().find(|version| version.schema == schema) {
        return Ok(existing.clone());
    }
    let (level, violations) = violations(tx, &subject, &schema)?;
    if !violations.is_empty() {
        return Err(incompatible(&subject, level, &violations));
    }
    let version = versions.last().map_or(1, |latest| latest.version + 1);
    tx.prepare_cached("INSERT INTO registry_schemas (subject, version, schema) VALUES (?1, ?2, ?3)")
        .and_then(|mut insert| insert.execute(params![subject, version, schema.to_string()]))
        .during("register a schema")?;
    let id = u32::try_from(tx.last_insert_rowid())
        .map_err(|error| Error::new(ErrorKind::Full, "the registry has no schema ids left").because(error))?;
    Ok(RegisteredSchema { id: SchemaId(id), subject, version, schema })
}

fn versions(connection: &Connection, subject: &str) -> Result<Vec<RegisteredSchema>> {
    connection
        .prepare_cached(&format!("{COLUMNS} WHERE subject = ?1 ORDER BY version"))
        .and_then(|mut select| select.query_map([subject], registered)?.collect())
        .during("read a subject's schemas")
}

fn registered(row: &Row<'_>) -> rusqlite::Result<RegisteredSchema> {
    let mut columns = RowReader::new(row);
    Ok(RegisteredSchema {
        id: SchemaId(columns.get()?),
        subject: columns.get()?,
        version: columns.get()?,
        schema: columns.text()?,
    })
}
