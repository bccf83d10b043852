//! Conversions between the domain's types and SQLite's columns. A column that cannot be parsed is
//! [`mfctl_core::ports::ErrorKind::Corrupt`].
//!
//! Ids are 16-byte blobs, digests 32-byte blobs, times microseconds since 1970, counts and enums integers, the rest
//! text.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::{FromSql, Type};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use mfctl_core::domain::Sha256;
use mfctl_core::domain::job::FileRefusal;
use mfctl_core::ports::{CursorPage, Error, ErrorKind, Result};

/// Rows of one page at most, whatever limit is requested.
const MAX_PAGE_ROWS: usize = 10_000;

/// Reads the columns of a row one after another.
pub(super) struct RowReader<'r> {
    row: &'r Row<'r>,
    /// The index of the next column.
    next: usize,
}

impl<'r> RowReader<'r> {
    pub(super) fn new(row: &'r Row<'r>) -> Self {
        Self { row, next: 0 }
    }

    /// The next column, in a type that SQLite converts to.
    pub(super) fn get<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    /// The next column, converted by `parse`; NULL is `None`.
    fn parsed<S: FromSql, T>(
        &mut self,
        kind: Type,
        parse: impl FnOnce(S) -> std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>,
    ) -> rusqlite::Result<Option<T>> {
        let Some(stored) = self.get::<Option<S>>()? else { return Ok(None) };
        let column = self.next - 1;
        parse(stored).map(Some).map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, kind, error))
    }

    fn not_null<T>(&self, value: Option<T>) -> rusqlite::Result<T> {
        value.ok_or_else(|| rusqlite::Error::FromSqlConversionFailure(self.next - 1, Type::Null, "NULL".into()))
    }

    /// An id.
    pub(super) fn id<T>(&mut self, make: fn(Uuid) -> T) -> rusqlite::Result<T> {
        let id = self.maybe_id(make)?;
        self.not_null(id)
    }

    /// An id or NULL.
    pub(super) fn maybe_id<T>(&mut self, make: fn(Uuid) -> T) -> rusqlite::Result<Option<T>> {
        self.parsed(Type::Blob, |bytes: [u8; 16]| Ok(make(Uuid::from_bytes(bytes))))
    }

    /// A digest.
    pub(super) fn sha256(&mut self) -> rusqlite::Result<Sha256> {
        self.get().map(Sha256)
    }

    /// A digest or NULL.
    pub(super) fn maybe_sha256(&mut self) -> rusqlite::Result<Option<Sha256>> {
        Ok(self.get::<Option<[u8; 32]>>()?.map(Sha256))
    }

    /// A time.
    pub(super) fn time(&mut self) -> rusqlite::Result<Timestamp> {
        let time = self.maybe_time()?;
        self.not_null(time)
    }

    /// A time or NULL.
    pub(super) fn maybe_time(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        self.parsed(Type::Integer, |stored: i64| Ok(Timestamp::from_microsecond(stored)?))
    }

    /// A count.
    pub(super) fn count(&mut self) -> rusqlite::Result<u64> {
        let count = self.maybe_count()?;
        self.not_null(count)
    }

    /// A count or NULL.
    pub(super) fn maybe_count(&mut self) -> rusqlite::Result<Option<u64>> {
        self.parsed(Type::Integer, |stored: i64| Ok(u64::try_from(stored)?))
    }

    /// Text, parsed into a validating type.
    pub(super) fn text<T>(&mut self) -> rusqlite::Result<T>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let text = self.maybe_text()?;
        self.not_null(text)
    }

    /// Text, parsed into a validating type, or NULL.
    pub(super) fn maybe_text<T>(&mut self) -> rusqlite::Result<Option<T>>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        self.parsed(Type::Text, |text: String| Ok(text.parse()?))
    }

    /// An enum's variant, stored as its index in `all`.
    pub(super) fn variant<T: Copy>(&mut self, all: &[T]) -> rusqlite::Result<T> {
        let value = self.maybe_variant(all)?;
        self.not_null(value)
    }

    /// An enum's variant or NULL.
    pub(super) fn maybe_variant<T: Copy>(&mut self, all: &[T]) -> rusqlite::Result<Option<T>> {
        self.parsed(Type::Integer, |index: i64| {
            let variant = usize::try_from(index).ok().and_then(|index| all.get(index).copied());
            variant.ok_or_else(|| format!("{index} is not the index of any of {} variants", all.len()).into())
        })
    }

    /// A refusal's kind and reason, or two NULLs.
    pub(super) fn refusal(&mut self) -> rusqlite::Result<Option<FileRefusal>> {
        let kind = self.maybe_text()?;
        let reason: Option<String> = self.get()?;
        Ok(kind.map(|kind| FileRefusal { kind, reason: reason.unwrap_or_default() }))
    }

    /// JSON; NULL is the default of the type.
    pub(super) fn json<T: DeserializeOwned + Default>(&mut self) -> rusqlite::Result<T> {
        Ok(self.parsed(Type::Text, |text: String| Ok(serde_json::from_str(&text)?))?.unwrap_or_default())
    }
}

/// A time as it is stored.
pub(super) fn time(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// A count as it is stored. Saturates, but no count that fits on a disk is that large.
pub(super) fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// An enum's variant as it is stored: its index in `all`.
pub(super) fn variant_index<T: PartialEq>(all: &[T], value: &T) -> i64 {
    all.iter().position(|variant| variant == value).map_or(-1, |index| index as i64)
}

/// JSON as it is stored; the default of the type is NULL, which takes no space.
pub(super) fn json<T: Serialize + Default + PartialEq>(value: &T) -> Result<Option<String>> {
    if *value == T::default() {
        return Ok(None);
    }
    serde_json::to_string(value).map(Some).map_err(|error| Error::new(ErrorKind::Internal, "write JSON").because(error))
}

/// The requested limit, within 1 and [`MAX_PAGE_ROWS`].
pub(super) fn clamp_page_limit(limit: usize) -> usize {
    limit.clamp(1, MAX_PAGE_ROWS)
}

/// A page of rows. The caller reads `limit + 1` rows: the extra one shows that there is a next page.
pub(super) fn page<T>(mut rows: Vec<T>, limit: usize, cursor_of: impl FnOnce(&T) -> String) -> CursorPage<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(cursor_of);
    CursorPage { items: rows, next }
}

/// The error of a cursor that is not from a page of this list.
pub(super) fn invalid_cursor(cursor: &str) -> Error {
    let shown: String = cursor.chars().take(80).collect();
    Error::new(ErrorKind::Invalid, format!("{shown:?} is not a cursor of this list"))
        .hint("omit the cursor to start at the beginning")
}
