//! The catalog's tables, by mfctl's numbered migrations.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Also, Declared, Live, Looked, Resource, Verdict, World, Wrong, spec};
use crate::bootstrap::fields::{FieldChange, Fields};
use crate::bootstrap::manifest::Item;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Migrations that are yet to be applied.
const PENDING: &str = "pending_migrations";
/// Whether the catalog's server has seen the tables.
const SERVED: &str = "served";

pub(super) struct Databases;

#[async_trait]
impl Resource for Databases {
    fn check(&self, item: &Item) -> Result<(), Wrong> {
        match item.name.as_str() {
            "media" => Ok(()),
            _ => Err(Wrong::name("the one database of a platform is called media")),
        }
    }

    async fn live(&self, world: &World<'_>, _: &[&Item], _: Also<'_>) -> Result<Looked> {
        let Some(migrations) = &world.ports.migrations else { return unseen(world).await };
        let pending: Vec<Value> = migrations
            .pending()
            .await?
            .into_iter()
            .map(|migration| format!("{:04}_{}", migration.version, migration.name).into())
            .collect();
        // Its server may have missed that they were made. Before there are any, it has nothing to serve.
        let served = !pending.is_empty() || is_served(world).await?;
        let live = Fields::default().with(PENDING, pending).with(SERVED, served);
        Ok(Looked::Live(Live::from([("media".to_owned(), live)])))
    }

    fn wanted(&self, item: &Item, _: Option<&Fields>, _: &World<'_>) -> Result<Fields> {
        let _ = spec!(item, Database);
        Ok(Fields::default().with(PENDING, json!([])).with(SERVED, true))
    }

    async fn judge(&self, _: &World<'_>, _: &Item, _: &Fields, _: &[FieldChange]) -> Result<Verdict> {
        Ok(Verdict::Update)
    }

    async fn put(&self, world: &World<'_>, _: &Item, _: Option<&Fields>) -> Result<()> {
        match &world.ports.migrations {
            Some(migrations) => migrations.migrate().await.map(drop),
            None => Ok(()),
        }
    }

    async fn keeps(&self, _: &World<'_>, _: &str) -> Result<Option<String>> {
        Ok(Some("mfctl removes no database".to_owned()))
    }

    async fn delete(&self, _: &World<'_>, id: &str) -> Result<()> {
        Err(Error::new(ErrorKind::Denied, format!("remove database {id}")))
    }

    async fn declare(&self, _: &World<'_>, id: &str, _: &Fields) -> Result<Option<Declared>> {
        Ok(Some(Declared::plain(id, json!({"migrations": "media"}))))
    }
}

async fn is_served(world: &World<'_>) -> Result<bool> {
    match world.ports.catalog.identity().await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Unprepared => Ok(false),
        Err(error) => Err(error),
    }
}

/// A catalog that answers has its tables; whether they are the latest, only its database could tell.
async fn unseen(world: &World<'_>) -> Result<Looked> {
    world.ports.catalog.identity().await.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::Unprepared => Error::new(ErrorKind::Invalid, "the catalog has no tables")
            .because(error)
            .hint("set `admin_url` in the profile's table `database`, so that they can be made"),
        _ => error,
    })?;
    if world.embedded {
        return Ok(Looked::Nothing);
    }
    Ok(Looked::Skipped("the catalog's tables: the profile has no database.admin_url to look at them with".to_owned()))
}
