//! Takedowns of assets, and their lifts.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::db::SqlContext;
use crate::sql::{self, RowReader};
use mfctl_core::domain::{AssetId, Revision};
use mfctl_core::ports::{Result, Takedown, TakedownRequest};

/// The columns that [`takedown`] reads, in its order.
const COLUMNS: &str = "SELECT taken.asset_id, taken.revision, taken.reason, taken.actor, taken.revoked_at, \
    taken.completed_at, taken.purged_at, taken.lifted_at, taken.lifted_by, taken.lift_reason \
    FROM media_takedowns AS taken";

/// See [`mfctl_core::ports::Catalog::revoke`].
pub(super) fn revoke(tx: &Connection, requests: &[TakedownRequest]) -> Result<Vec<Option<Takedown>>> {
    let what = "take assets down";
    let mut update = tx
        .prepare_cached(
            "UPDATE media_assets SET state = 3, facts = NULL, dead_lettered = NULL, updated_at = max(updated_at, ?3)
             WHERE asset_id = ?1 AND revision = ?2 AND state <> 3",
        )
        .during(what)?;
    let mut insert = tx
        .prepare_cached(
            "INSERT INTO media_takedowns (asset_id, revision, reason, actor, revoked_at)
             SELECT asset_id, revision, ?3, ?4, ?5 FROM media_assets
             WHERE asset_id = ?1 AND revision = ?2 AND state = 3 ON CONFLICT DO NOTHING",
        )
        .during(what)?;
    let mut purge = tx
        .prepare_cached(
            "UPDATE media_takedowns SET purged_at = ?3 WHERE asset_id = ?1 AND revision = ?2 AND purged_at IS NULL
             AND EXISTS (SELECT 1 FROM media_assets AS asset
                         WHERE asset.asset_id = ?1 AND asset.revision = ?2 AND asset.state = 3)",
        )
        .during(what)?;
    let mut select = tx
        .prepare_cached(&format!(
            "{COLUMNS} JOIN media_assets USING (asset_id, revision) WHERE asset_id = ?1 AND revision = ?2 AND state = 3"
        ))
        .during(what)?;
    // The last request for an asset stands, as in every write but `stage` and `claim`.
    for TakedownRequest { asset_id, revision, reason, actor, at, purge: is_purged } in requests.iter().rev() {
        let (asset, revision, at) = (asset_id.0.as_bytes(), revision.0, sql::time(*at));
        update.execute(params![asset, revision, at]).during(what)?;
        insert.execute(params![asset, revision, reason, actor, at]).during(what)?;
        if *is_purged {
            purge.execute(params![asset, revision, at]).during(what)?;
        }
    }
    let found = requests.iter().map(|TakedownRequest { asset_id, revision, .. }| {
        select.query_row(params![asset_id.0.as_bytes(), revision.0], takedown).optional().during(what)
    });
    found.collect()
}

/// See [`mfctl_core::ports::Catalog::complete_takedowns`].
pub(super) fn complete(tx: &Connection, takedowns: &[(AssetId, Revision)], at: Timestamp) -> Result<()> {
    let what = "complete takedowns";
    let mut update = tx
        .prepare_cached(
            "UPDATE media_takedowns SET completed_at = ?3 WHERE asset_id = ?1 AND revision = ?2 AND completed_at IS NULL",
        )
        .during(what)?;
    for (asset, revision) in takedowns {
        update.execute(params![asset.0.as_bytes(), revision.0, sql::time(at)]).during(what)?;
    }
    Ok(())
}

/// See [`mfctl_core::ports::Catalog::lift`].
pub(super) fn lift(tx: &Connection, requests: &[TakedownRequest]) -> Result<()> {
    let what = "lift takedowns";
    let mut update = tx
        .prepare_cached(
            "UPDATE media_assets SET state = 0, revision = revision + 1, published_at = NULL, ingested_at = NULL,
                 enriched_at = NULL, facts = NULL, staged_at = ?3, updated_at = max(updated_at, ?3)
             WHERE asset_id = ?1 AND revision = ?2 AND state = 3
             AND NOT EXISTS (SELECT 1 FROM media_takedowns AS taken
                             WHERE taken.asset_id = ?1 AND taken.revision = ?2 AND taken.purged_at IS NOT NULL)",
        )
        .during(what)?;
    let mut record = tx
        .prepare_cached(
            "UPDATE media_takedowns SET lifted_at = ?3, lifted_by = ?4, lift_reason = ?5
             WHERE asset_id = ?1 AND revision = ?2",
        )
        .during(what)?;
    let mut insert = tx
        .prepare_cached(
            "INSERT INTO media_revisions (asset_id, revision, cause, created_at) VALUES (?1, ?2 + 1, 'lift', ?3)
             ON CONFLICT DO NOTHING",
        )
        .during(what)?;
    for TakedownRequest { asset_id, revision, reason, actor, at, .. } in requests.iter().rev() {
        let (asset, revision, at) = (asset_id.0.as_bytes(), revision.0, sql::time(*at));
        if update.execute(params![asset, revision, at]).during(what)? > 0 {
            record.execute(params![asset, revision, at, actor, reason]).during(what)?;
            insert.execute(params![asset, revision, at]).during(what)?;
        }
    }
    Ok(())
}

/// See [`mfctl_core::ports::Catalog::takedowns`].
pub(super) fn latest(connection: &Connection, mut assets: Vec<AssetId>) -> Result<Vec<Takedown>> {
    let what = "read takedowns";
    assets.sort_unstable();
    assets.dedup();
    let mut select = connection
        .prepare_cached(&format!("{COLUMNS} WHERE asset_id = ?1 ORDER BY revision DESC LIMIT 1"))
        .during(what)?;
    let mut takedowns = Vec::new();
    for asset in assets {
        takedowns.extend(select.query_row([asset.0.as_bytes()], takedown).optional().during(what)?);
    }
    Ok(takedowns)
}

fn takedown(row: &Row<'_>) -> rusqlite::Result<Takedown> {
    let mut columns = RowReader::new(row);
    Ok(Takedown {
        asset_id: columns.id(AssetId)?,
        revision: Revision(columns.get()?),
        reason: columns.get()?,
        actor: columns.get()?,
        revoked_at: columns.time()?,
        completed_at: columns.maybe_time()?,
        purged_at: columns.maybe_time()?,
        lifted_at: columns.maybe_time()?,
        lifted_by: columns.get()?,
        lift_reason: columns.get()?,
    })
}
