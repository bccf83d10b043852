//! How the domain's types stand in SQLite's columns, and back. What does not parse on the way back is damage:
//! [`mfctl_core::ports::ErrorKind::Corrupt`].
//!
//! Ids are 16-byte blobs, digests 32-byte blobs, times microseconds since 1970, counts integers, the rest text.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::{FromSql, Type};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use mfctl_core::domain::Sha256;
use mfctl_core::domain::job::Refusal;
use mfctl_core::ports::{Error, ErrorKind, Page, Result};

/// Rows of one page at most, whatever the caller asks for.
const MAX_PAGE: usize = 10_000;

/// Reads a row's columns in their order.
pub(super) struct Cells<'r> {
    row: &'r Row<'r>,
    at: usize,
}

impl<'r> Cells<'r> {
    pub(super) fn of(row: &'r Row<'r>) -> Self {
        Self { row, at: 0 }
    }

    /// The next column as SQLite's own type.
    pub(super) fn plain<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.at += 1;
        self.row.get(self.at - 1)
    }

    /// The next column as what a parser makes of it; NULL is `None`.
    fn parsed<S: FromSql, T>(
        &mut self,
        kind: Type,
        parse: impl FnOnce(S) -> std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>,
    ) -> rusqlite::Result<Option<T>> {
        let Some(stored) = self.plain::<Option<S>>()? else { return Ok(None) };
        let at = self.at - 1;
        parse(stored).map(Some).map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, kind, error))
    }

    fn present<T>(&self, value: Option<T>) -> rusqlite::Result<T> {
        value.ok_or_else(|| rusqlite::Error::FromSqlConversionFailure(self.at - 1, Type::Null, "NULL".into()))
    }

    /// An id.
    pub(super) fn id<T>(&mut self, make: fn(Uuid) -> T) -> rusqlite::Result<T> {
        let id = self.maybe_id(make)?;
        self.present(id)
    }

    /// An id or NULL.
    pub(super) fn maybe_id<T>(&mut self, make: fn(Uuid) -> T) -> rusqlite::Result<Option<T>> {
        self.parsed(Type::Blob, |bytes: [u8; 16]| Ok(make(Uuid::from_bytes(bytes))))
    }

    /// A digest.
    pub(super) fn sha256(&mut self) -> rusqlite::Result<Sha256> {
        self.plain().map(Sha256)
    }

    /// A digest or NULL.
    pub(super) fn maybe_sha256(&mut self) -> rusqlite::Result<Option<Sha256>> {
        Ok(self.plain::<Option<[u8; 32]>>()?.map(Sha256))
    }

    /// A time.
    pub(super) fn time(&mut self) -> rusqlite::Result<Timestamp> {
        let time = self.maybe_time()?;
        self.present(time)
    }

    /// A time or NULL.
    pub(super) fn maybe_time(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        self.parsed(Type::Integer, |stored: i64| Ok(Timestamp::from_microsecond(stored)?))
    }

    /// A count.
    pub(super) fn count(&mut self) -> rusqlite::Result<u64> {
        let count = self.maybe_count()?;
        self.present(count)
    }

    /// A count or NULL.
    pub(super) fn maybe_count(&mut self) -> rusqlite::Result<Option<u64>> {
        self.parsed(Type::Integer, |stored: i64| Ok(u64::try_from(stored)?))
    }

    /// Text of a type that checks it.
    pub(super) fn text<T>(&mut self) -> rusqlite::Result<T>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let text = self.maybe_text()?;
        self.present(text)
    }

    /// Text of a type that checks it, or NULL.
    pub(super) fn maybe_text<T>(&mut self) -> rusqlite::Result<Option<T>>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        self.parsed(Type::Text, |text: String| Ok(text.parse()?))
    }

    /// One of an enum's values, stored as its place in `all`.
    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> rusqlite::Result<T> {
        let value = self.maybe_one_of(all)?;
        self.present(value)
    }

    /// One of an enum's values, or NULL.
    pub(super) fn maybe_one_of<T: Copy>(&mut self, all: &[T]) -> rusqlite::Result<Option<T>> {
        self.parsed(Type::Integer, |place: i64| {
            let found = usize::try_from(place).ok().and_then(|place| all.get(place).copied());
            found.ok_or_else(|| format!("{place} is none of the {} values", all.len()).into())
        })
    }

    /// A refusal's kind and reason, or two NULLs.
    pub(super) fn refusal(&mut self) -> rusqlite::Result<Option<Refusal>> {
        let kind = self.maybe_text()?;
        let reason: Option<String> = self.plain()?;
        Ok(kind.map(|kind| Refusal { kind, reason: reason.unwrap_or_default() }))
    }

    /// JSON; NULL is the type's default.
    pub(super) fn json<T: DeserializeOwned + Default>(&mut self) -> rusqlite::Result<T> {
        Ok(self.parsed(Type::Text, |text: String| Ok(serde_json::from_str(&text)?))?.unwrap_or_default())
    }
}

/// A time as it is stored.
pub(super) fn time(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// A count as it is stored. No count that fits a disk is cut.
pub(super) fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// An enum's value as it is stored: its place.
pub(super) fn place<T: PartialEq>(all: &[T], value: &T) -> i64 {
    all.iter().position(|one| one == value).map_or(-1, |place| place as i64)
}

/// JSON as it is stored; the type's default is NULL, which takes no room.
pub(super) fn json<T: Serialize + Default + PartialEq>(value: &T) -> Result<Option<String>> {
    if *value == T::default() {
        return Ok(None);
    }
    serde_json::to_string(value).map(Some).map_err(|error| Error::new(ErrorKind::Internal, "write JSON").because(error))
}

/// The rows a page may have.
pub(super) fn page_limit(limit: usize) -> usize {
    limit.clamp(1, MAX_PAGE)
}

/// A page of rows, given one row more than the page holds if there is one.
pub(super) fn page<T>(mut rows: Vec<T>, limit: usize, cursor_of: impl FnOnce(&T) -> String) -> Page<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(cursor_of);
    Page { items: rows, next }
}

/// The error of a cursor that no page gave.
pub(super) fn bad_cursor(cursor: &str) -> Error {
    let shown: String = cursor.chars().take(80).collect();
    Error::new(ErrorKind::Invalid, format!("{shown:?} is not a cursor of this list"))
        .hint("leave the cursor out to begin anew")
}
