//! Removes old claims, by the rules of [`mfctl_core::domain::claim_folding`].

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::claims::held_claim;
use super::inbox_names::NameIds;
use crate::db::SqlContext;
use crate::sql::{self, RowReader};
use mfctl_core::domain::claim_folding::{FoldLimits, is_folded};
use mfctl_core::domain::{AssetId, AssetState, GroupName, Revision};
use mfctl_core::ports::{FoldedPage, HeldClaim, Result};

/// A claim with its key.
struct KeyedClaim {
    asset_id: AssetId,
    revision: Revision,
    held: HeldClaim,
}

/// See [`mfctl_core::ports::Catalog::fold_claims`].
pub(super) fn fold(
    tx: &Connection,
    group: &GroupName,
    limits: &FoldLimits,
    after: Option<AssetId>,
    limit: usize,
) -> Result<FoldedPage> {
    let Some(group) = NameIds::default().get(tx, group.as_str())? else {
        return Ok(FoldedPage { folded: 0, next: None });
    };
    let page = page(tx, group, after, limit)?;
    let next = page.last().map(|claim| claim.asset_id).filter(|_| page.len() == limit);
    let mut folded = 0;
    let mut stays_of: Option<AssetId> = None;
    for KeyedClaim { asset_id, revision, held } in page {
        let is_blocked = stays_of == Some(asset_id) || !limits.allow(&held.claim, held.claimed_at);
        if is_blocked || !keep_revision(tx, group, asset_id, revision)? {
            stays_of = Some(asset_id);
            continue;
        }
        tx.prepare_cached("DELETE FROM media_inbox WHERE group_id = ?1 AND asset_id = ?2 AND revision = ?3")
            .and_then(|mut delete| delete.execute(params![group, asset_id.0.as_bytes(), revision.0]))
            .during("remove a claim")?;
        folded += 1;
    }
    Ok(FoldedPage { folded, next })
}

/// Whether a claim that is not stored was folded.
pub(super) fn is_claim_folded(tx: &Connection, group: i64, asset_id: AssetId, revision: Revision) -> Result<bool> {
    let highest: Option<Option<u32>> = tx
        .prepare_cached("SELECT folded_claims ->> ?2 FROM media_assets WHERE asset_id = ?1")
        .and_then(|mut select| {
            select.query_row(params![asset_id.0.as_bytes(), path_of(group)], |row| row.get(0)).optional()
        })
        .during("read an asset's folded claims")?;
    Ok(is_folded(revision, highest.flatten().map(Revision)))
}

/// The JSON path of a group in `folded_claims`.
fn path_of(group: i64) -> String {
    format!("$.\"{group}\"")
}

/// The claims of the next assets. An asset whose claims are more than the page has only its first ones in it.
fn page(tx: &Connection, group: i64, after: Option<AssetId>, limit: usize) -> Result<Vec<KeyedClaim>> {
    let sql = "SELECT name, partition, \"offset\", owner_topic_id, epoch, done, dead_lettered, claimed_at,
                      asset_id, revision
               FROM media_inbox JOIN media_inbox_names ON name_id = topic_id
               WHERE group_id = ?1 AND asset_id > ?2 ORDER BY asset_id, revision LIMIT ?3";
    let after = after.map_or_else(Vec::new, |after| after.0.as_bytes().to_vec());
    let keyed = |row: &Row<'_>| {
        let mut columns = RowReader::new(row);
        let held = held_claim(&mut columns)?;
        Ok(KeyedClaim { held, asset_id: columns.id(AssetId)?, revision: Revision(columns.get()?) })
    };
    tx.prepare_cached(sql)
        .and_then(|mut select| select.query_map(params![group, after, limit as i64], keyed)?.collect())
        .during("list claims")
}

/// Writes a revision as folded into its asset; false if the asset does not take it.
fn keep_revision(tx: &Connection, group: i64, asset_id: AssetId, revision: Revision) -> Result<bool> {
    let update = "UPDATE media_assets
               SET folded_claims =
                   json_set(coalesce(folded_claims, '{}'), ?2, max(coalesce(folded_claims ->> ?2, 0), ?3))
               WHERE asset_id = ?1 AND dead_lettered IS NULL AND state <> ?4";
    let values = params![
        asset_id.0.as_bytes(),
        path_of(group),
        revision.0,
        sql::variant_index(AssetState::ALL, &AssetState::Revoked)
    ];
    let changed = tx.prepare_cached(update).and_then(|mut update| update.execute(values)).during("fold a claim")?;
    Ok(changed > 0)
}
