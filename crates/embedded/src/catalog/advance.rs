//! Advances assets to later states, and flags those that a stage sent to its dead-letter topic.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use crate::db::SqlContext;
use crate::sql;
use mfctl_core::domain::asset::Stage;
use mfctl_core::domain::{AssetId, AssetState};
use mfctl_core::ports::{DeadLetterFlag, Result, StateTransition};

/// Forward only: a row changes if it is not revoked, the step is of its revision or a later one, and the step has new
/// information. So a replay, in any order, writes nothing.
const ADVANCE: &str = "
    UPDATE media_assets SET
        state = iif(?2 > revision, ?3, max(state, ?3)),
        ingested_at = iif(?3 = 1, coalesce(ingested_at, ?4), ingested_at),
        enriched_at = iif(?3 = 2, iif(?2 > revision, ?4, coalesce(enriched_at, ?4)), enriched_at),
        facts = coalesce(?5, facts),
        dead_lettered = nullif(dead_lettered, ?6),
        revision = max(revision, ?2),
        updated_at = max(updated_at, ?4)
    WHERE asset_id = ?1 AND state <> 3 AND ?2 >= revision
      AND (?2 > revision OR ?3 > state OR dead_lettered IS ?6 OR facts IS NOT coalesce(?5, facts)
           OR (?3 = 1 AND ingested_at IS NULL) OR (?3 = 2 AND enriched_at IS NULL))";

/// See [`mfctl_core::ports::Catalog::advance`].
pub(super) fn advance(tx: &Connection, steps: &[StateTransition]) -> Result<Vec<AssetId>> {
    let what = "advance assets";
    let mut update = tx.prepare_cached(ADVANCE).during(what)?;
    let mut is_revoked =
        tx.prepare_cached("SELECT 1 FROM media_assets WHERE asset_id = ?1 AND state = 3").during(what)?;
    let mut revoked = BTreeSet::new();
    for step in steps {
        // `None` keeps the stored facts; empty facts replace them.
        let facts = match &step.facts {
            Some(facts) => Some(sql::json(facts)?.unwrap_or_else(|| "{}".to_owned())),
            None => None,
        };
        let changed = update
            .execute(params![
                step.asset_id.0.as_bytes(),
                step.revision.0,
                sql::variant_index(AssetState::ALL, &step.to),
                sql::time(step.at),
                facts,
                sql::variant_index(Stage::ALL, &step.stage),
            ])
            .during(what)?;
        // Also after a step of this batch that took the asset down.
        if (changed == 0 || step.to == AssetState::Revoked)
            && is_revoked.exists([step.asset_id.0.as_bytes()]).during(what)?
        {
            revoked.insert(step.asset_id);
        }
    }
    Ok(revoked.into_iter().collect())
}

/// See [`mfctl_core::ports::Catalog::flag_dead_letters`].
pub(super) fn flag_dead_letters(tx: &Connection, flags: &[DeadLetterFlag]) -> Result<()> {
    let what = "flag dead-lettered assets";
    let mut update = tx
        .prepare_cached(
            "UPDATE media_assets SET dead_lettered = ?3, updated_at = max(updated_at, ?4)
             WHERE asset_id = ?1 AND revision = ?2 AND state <> 3 AND dead_lettered IS NOT ?3",
        )
        .during(what)?;
    for flag in flags {
        let stage = sql::variant_index(Stage::ALL, &flag.stage);
        update.execute(params![flag.asset_id.0.as_bytes(), flag.revision.0, stage, sql::time(flag.at)]).during(what)?;
    }
    Ok(())
}
