//! Lists assets by id, filtered, in reads that stay short even if few assets match.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::rows::{ASSET_COLUMNS, asset};
use crate::db::SqlContext;
use crate::sql;
use mfctl_core::domain::asset::AssetState;
use mfctl_core::domain::{Asset, AssetId};
use mfctl_core::ports::{AssetFilter, Result};

/// Rows scanned in one read.
const SCAN_ROWS: i64 = 20_000;

/// The matches of one read.
pub(super) struct AssetScan {
    pub(super) assets: Vec<Asset>,
    /// Where the next read continues; `None` after the last row.
    pub(super) continue_after: Option<AssetId>,
}

/// At most `wanted` matching assets out of the next [`SCAN_ROWS`] after `after`.
pub(super) fn scan(
    connection: &Connection,
    filter: &AssetFilter,
    after: Option<AssetId>,
    wanted: usize,
) -> Result<AssetScan> {
    let what = "list assets";
    let conditions = AssetConditions::new(filter);
    // An index of matching rows alone needs no bound: no row is skipped.
    let last_scanned = if conditions.indexed { None } else { end_of_scan(connection, after)? };
    let query = format!(
        "{ASSET_COLUMNS} FROM media_assets WHERE asset_id > ?1 AND asset_id <= ?2 {} ORDER BY asset_id LIMIT ?3",
        conditions.sql
    );
    let id = |asset: AssetId| asset.0.as_bytes().to_vec();
    // The empty blob sorts before every id, 17 bytes of the highest value after every one.
    let after = after.map_or_else(Vec::new, id);
    let until = last_scanned.map_or_else(|| vec![0xff; 17], id);
    let mut values = vec![Value::Blob(after), Value::Blob(until), Value::Integer(wanted as i64)];
    values.extend(conditions.values);
    let assets: Vec<Asset> = connection
        .prepare_cached(&query)
        .and_then(|mut select| select.query_map(params_from_iter(values), asset)?.collect())
        .during(what)?;
    let continue_after = if assets.len() == wanted { assets.last().map(|asset| asset.asset_id) } else { last_scanned };
    Ok(AssetScan { assets, continue_after })
}

/// The last asset of the next [`SCAN_ROWS`]; `None` if there are fewer.
fn end_of_scan(connection: &Connection, after: Option<AssetId>) -> Result<Option<AssetId>> {
    let after = after.map_or_else(Vec::new, |asset| asset.0.as_bytes().to_vec());
    connection
        .prepare_cached("SELECT asset_id FROM media_assets WHERE asset_id > ?1 ORDER BY asset_id LIMIT 1 OFFSET ?2")
        .and_then(|mut select| {
            select.query_row(params![after, SCAN_ROWS - 1], |row| sql::RowReader::new(row).id(AssetId)).optional()
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
        if let Some(flagged) = filter.dead_lettered {
            all.and(if flagged { "dead_lettered IS NOT NULL" } else { "dead_lettered IS NULL" }, []);
            all.indexed |= flagged;
        }
        if let Some(media_type) = &filter.media_type {
            let family = media_type.ends_with('/');
            let condition = if family { "substr(media_type, 1, length(?)) = ?" } else { "media_type = ?" };
            let values = std::iter::repeat_n(Value::Text(media_type.clone()), if family { 2 } else { 1 });
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
