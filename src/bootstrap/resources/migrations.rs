//! The catalog's tables, by their numbered migrations.

use crate::bootstrap::{Action, Change, Kind, Plan};
use crate::ports::{Error, ErrorKind, Ports, Result};

pub(in crate::bootstrap) async fn plan(ports: &Ports, plan: &mut Plan) -> Result<()> {
    let Some(migrations) = &ports.migrations else {
        // A catalog that answers has its tables; whether they are the latest, only its database could tell.
        ports.catalog.identity().await.map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::Unprepared => Error::new(ErrorKind::Invalid, "the catalog has no tables")
                .because(error)
                .hint("set `admin_url` in the profile's table `database`, so that they can be made"),
            _ => error,
        })?;
        plan.skipped
            .push("the catalog's tables: the profile has no database.admin_url to look at them with".to_owned());
        return Ok(());
    };
    let pending = migrations.pending().await?.into_iter().map(|migration| Change {
        kind: Kind::Migration,
        name: format!("{:04}_{}", migration.version, migration.name),
        action: Action::Create,
        detail: "tables, roles and rights of the catalog".to_owned(),
    });
    let pending: Vec<Change> = pending.collect();
    if pending.is_empty() {
        return look_through_the_catalog(ports, plan).await;
    }
    plan.changes.extend(pending);
    Ok(())
}

/// The tables are there. Whether the catalog serves them, and to us, only it can say: its server may have missed that they
/// were made, and is told again by migrating again.
async fn look_through_the_catalog(ports: &Ports, plan: &mut Plan) -> Result<()> {
    match ports.catalog.identity().await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::Unprepared => {
            plan.changes.push(Change {
                kind: Kind::Migration,
                name: "schema_cache".to_owned(),
                action: Action::Update,
                detail: "have the catalog's server look at its schema again".to_owned(),
            });
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// All that are pending are applied under one lock, so the first of them is all of them.
pub(in crate::bootstrap) async fn make(ports: &Ports, _: &Change) -> Result<()> {
    match &ports.migrations {
        Some(migrations) => migrations.migrate().await.map(drop),
        None => Ok(()),
    }
}
