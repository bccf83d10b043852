//! Lists assets, filtered, in reads that stay short even if few assets match.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use regex::Regex;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::names::{self, PathTexts};
use super::rows::{ASSET_COLUMNS, asset};
use crate::db::SqlContext;
use crate::sql::{self, RowReader};
use mfctl_core::domain::asset::AssetState;
use mfctl_core::domain::{Asset, AssetId, NameGlob};
use mfctl_core::ports::{AssetFilter, AssetOrder, AssetSortKey, Error, ErrorKind, Result};

/// Rows scanned in one read.
const SCAN_ROWS: i64 = 20_000;

/// A filter whose pattern of names is compiled.
#[derive(Debug, Clone)]
pub(super) struct PreparedFilter {
    filter: AssetFilter,
    name: Option<Regex>,
}

impl PreparedFilter {
    pub(super) fn new(filter: &AssetFilter) -> Result<Self> {
        let compile = |glob: &NameGlob| {
            let what = format!("the pattern {:?} is too complex", glob.as_str());
            Regex::new(glob.regex()).map_err(|error| Error::new(ErrorKind::Invalid, what).because(error))
        };
        Ok(Self { filter: filter.clone(), name: filter.name.as_ref().map(compile).transpose()? })
    }
}

/// Compares the names of assets with a filter's pattern.
struct NameTest<'c, 'f> {
    paths: PathTexts<'c>,
    name: &'f Regex,
}

impl<'c, 'f> NameTest<'c, 'f> {
    /// `None` if the filter has no pattern.
    fn new(connection: &'c Connection, filter: &'f PreparedFilter) -> Result<Option<Self>> {
        let test = |name| Ok(Self { paths: PathTexts::new(connection)?, name });
        filter.name.as_ref().map(test).transpose()
    }

    fn matches(&mut self, asset: AssetId) -> Result<bool> {
        self.paths.any(asset, |path| self.name.is_match(&NameGlob::form(path)))
    }
}

/// The matches of one read.
pub(super) struct AssetScan {
    pub(super) assets: Vec<Asset>,
    /// Where the next read continues; `None` after the last row.
    pub(super) continue_after: Option<AssetId>,
}

/// At most `wanted` matching assets out of the next [`SCAN_ROWS`] after `after`.
pub(super) fn scan(
    connection: &Connection,
    filter: &PreparedFilter,
    after: Option<AssetId>,
    wanted: usize,
) -> Result<AssetScan> {
    let what = "list assets";
    let conditions = AssetConditions::new(&filter.filter);
    let mut name_test = NameTest::new(connection, filter)?;
    // An index of matching rows alone needs no bound: no row is skipped.
    let unbounded = conditions.indexed && name_test.is_none();
    let last_scanned = if unbounded { None } else { end_of_scan(connection, after)? };
    let query = format!(
        "{ASSET_COLUMNS} FROM media_assets WHERE asset_id > ?1 AND asset_id <= ?2 {} ORDER BY asset_id LIMIT ?3",
        conditions.sql
    );
    // Rows whose names do not match count for nothing; -1 is no limit.
    let row_limit = if name_test.is_some() { -1 } else { wanted as i64 };
    let values = conditions.values_between(after, last_scanned, row_limit);
    let mut assets: Vec<Asset> = Vec::new();
    let mut select = connection.prepare_cached(&query).during(what)?;
    let mut rows = select.query(params_from_iter(values)).during(what)?;
    while let Some(row) = rows.next().during(what)? {
        if let Some(test) = &mut name_test
            && !test.matches(RowReader::new(row).id(AssetId).during(what)?)?
        {
            continue;
        }
        assets.push(asset(row).during(what)?);
        if assets.len() == wanted {
            break;
        }
    }
    let continue_after = if assets.len() == wanted { assets.last().map(|asset| asset.asset_id) } else { last_scanned };
    Ok(AssetScan { assets, continue_after })
}

/// An asset's place in a sorted list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SortedAsset {
    place: SortPlace,
    pub(super) asset: AssetId,
}

/// A key in the direction of the list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum SortPlace {
    Ascending(SortKey),
    Descending(Reverse<SortKey>),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum SortKey {
    Number(i64),
    Text(String),
}

/// The first assets of a sorted list after `beyond`, collected by reads of [`SCAN_ROWS`].
#[derive(Debug)]
pub(super) struct SortedScan {
    pub(super) filter: PreparedFilter,
    pub(super) order: AssetOrder,
    pub(super) beyond: Option<SortedAsset>,
    /// Most assets to be kept.
    pub(super) wanted: usize,
    /// The last one first.
    pub(super) best: BinaryHeap<SortedAsset>,
}

impl SortedScan {
    /// Reads the next rows; returns where the next read continues, `None` after the last row.
    pub(super) fn read(&mut self, connection: &Connection, after: Option<AssetId>) -> Result<Option<AssetId>> {
        let what = "list assets";
        let conditions = AssetConditions::new(&self.filter.filter);
        let mut name_test = NameTest::new(connection, &self.filter)?;
        let last_scanned = end_of_scan(connection, after)?;
        let query = format!(
            "SELECT asset_id, {} FROM media_assets WHERE asset_id > ?1 AND asset_id <= ?2 {} ORDER BY asset_id LIMIT ?3",
            key_column(self.order.key),
            conditions.sql
        );
        let values = conditions.values_between(after, last_scanned, -1);
        let mut select = connection.prepare_cached(&query).during(what)?;
        let mut rows = select.query(params_from_iter(values)).during(what)?;
        while let Some(row) = rows.next().during(what)? {
            let mut columns = RowReader::new(row);
            let asset = columns.id(AssetId).during(what)?;
            if let Some(test) = &mut name_test
                && !test.matches(asset)?
            {
                continue;
            }
            let found = sorted_asset(connection, self.order, asset, &mut columns)?;
            if self.beyond.as_ref().is_none_or(|beyond| found > *beyond) {
                self.best.push(found);
                if self.best.len() > self.wanted {
                    self.best.pop();
                }
            }
        }
        Ok(last_scanned)
    }
}

/// The place of an asset in a sorted list; `None` if there is no such asset.
pub(super) fn place_of(connection: &Connection, order: AssetOrder, asset: AssetId) -> Result<Option<SortedAsset>> {
    let what = "list assets";
    let query = format!("SELECT {} FROM media_assets WHERE asset_id = ?1", key_column(order.key));
    let mut select = connection.prepare_cached(&query).during(what)?;
    let mut rows = select.query([asset.0.as_bytes()]).during(what)?;
    let row = rows.next().during(what)?;
    row.map(|row| sorted_asset(connection, order, asset, &mut RowReader::new(row))).transpose()
}

/// The column with the key; an asset's name is in no column of its row.
fn key_column(key: AssetSortKey) -> &'static str {
    match key {
        AssetSortKey::Name => "NULL",
        AssetSortKey::Size => "size_bytes",
        AssetSortKey::Staged => "staged_at",
        AssetSortKey::MediaType => "media_type",
    }
}

/// An asset with its place; the next of `columns` is the key's.
fn sorted_asset(
    connection: &Connection,
    order: AssetOrder,
    asset: AssetId,
    columns: &mut RowReader<'_>,
) -> Result<SortedAsset> {
    let what = "list assets";
    let key = match order.key {
        AssetSortKey::Size | AssetSortKey::Staged => SortKey::Number(columns.get().during(what)?),
        AssetSortKey::MediaType => SortKey::Text(columns.get().during(what)?),
        AssetSortKey::Name => SortKey::Text(names::file_name(connection, asset)?),
    };
    let place = if order.descending { SortPlace::Descending(Reverse(key)) } else { SortPlace::Ascending(key) };
    Ok(SortedAsset { place, asset })
}

/// The last asset of the next [`SCAN_ROWS`]; `None` if there are fewer.
fn end_of_scan(connection: &Connection, after: Option<AssetId>) -> Result<Option<AssetId>> {
    let after = after.map_or_else(Vec::new, |asset| asset.0.as_bytes().to_vec());
    connection
        .prepare_cached("SELECT asset_id FROM media_assets WHERE asset_id > ?1 ORDER BY asset_id LIMIT 1 OFFSET ?2")
        .and_then(|mut select| {
            select.query_row(params![after, SCAN_ROWS - 1], |row| RowReader::new(row).id(AssetId)).optional()
        })
        .during("list assets")
}

/// A filter as SQL conditions. Values of the filter are parameters, never part of the statement.
struct AssetConditions {
    sql: String,
    values: Vec<Value>,
    /// Whether an index holds the matching rows alone.
    indexed: bool,
}

impl AssetConditions {
    fn new(filter: &AssetFilter) -> Self {
        let mut all = Self { sql: String::new(), values: Vec::new(), indexed: false };
        if let Some(tenant) = &filter.tenant {
            all.and("tenant = ?", [Value::Text(tenant.to_string())]);
        }
        if let Some(state) = &filter.state {
            all.and("state = ?", [Value::Integer(sql::variant_index(AssetState::ALL, state))]);
        }
        if filter.without_revoked {
            let revoked = sql::variant_index(AssetState::ALL, &AssetState::Revoked);
            all.and("state <> ?", [Value::Integer(revoked)]);
        }
        if let Some(flagged) = filter.dead_lettered {
            all.and(if flagged { "dead_lettered IS NOT NULL" } else { "dead_lettered IS NULL" }, []);
            all.indexed |= flagged;
        }
        if let Some(media_type) = &filter.media_type {
            let family = media_type.is_family();
            let condition = if family { "substr(media_type, 1, length(?)) = ?" } else { "media_type = ?" };
            let values = std::iter::repeat_n(Value::Text(media_type.as_str().to_owned()), if family { 2 } else { 1 });
            all.and(condition, values);
        }
        if let Some(collection) = &filter.collection {
            all.and("collection = ?", [Value::Text(collection.clone())]);
            all.indexed = true;
        }
        if let Some((name, value)) = &filter.tag {
            let tag = "EXISTS (SELECT 1 FROM json_each(metadata, '$.tags') WHERE key = ?";
            if value.is_empty() {
                all.and(&format!("{tag})"), [Value::Text(name.clone())]);
            } else {
                let both = [Value::Text(name.clone()), Value::Text(value.clone())];
                all.and(&format!("{tag} AND value = ?)"), both);
            }
        }
        if let Some(job) = filter.job_id {
            let of_job = "EXISTS (SELECT 1 FROM media_job_outcomes AS seen
                 WHERE seen.job_id = ? AND seen.asset_id = media_assets.asset_id)";
            let job = Value::Blob(job.0.as_bytes().to_vec());
            all.and(&format!("(job_id = ? OR {of_job})"), [job.clone(), job]);
        }
        if let Some(since) = filter.since {
            all.and("staged_at >= ?", [Value::Integer(sql::time(since))]);
        }
        all
    }

    /// The values of a query of the rows between two assets: the first three are the bounds and the limit.
    fn values_between(self, after: Option<AssetId>, until: Option<AssetId>, row_limit: i64) -> Vec<Value> {
        let id = |asset: AssetId| asset.0.as_bytes().to_vec();
        // The empty blob sorts before every id, 17 bytes of the highest value after every one.
        let after = after.map_or_else(Vec::new, id);
        let until = until.map_or_else(|| vec![0xff; 17], id);
        let mut values = vec![Value::Blob(after), Value::Blob(until), Value::Integer(row_limit)];
        values.extend(self.values);
        values
    }

    /// Adds a condition; its `?` are numbered after those of earlier conditions.
    fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(" AND ");
        self.values.extend(values);
        let mut number = 3 + self.values.len() - condition.matches('?').count();
        for (index, part) in condition.split('?').enumerate() {
            if index > 0 {
                number += 1;
                self.sql.push_str(&format!("?{number}"));
            }
            self.sql.push_str(part);
        }
    }
}
