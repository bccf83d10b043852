//! The catalog's tables, created by mfctl's numbered migrations.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    ChangeStrategy, GeneratedManifest, InvalidField, LiveResources, LiveState, ReadScope, Resource, ResourceContext,
    spec,
};
use crate::bootstrap::fields::{FieldChange, ResourceFields};
use crate::bootstrap::manifest::ResourceDeclaration;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Field: names of the pending migrations.
const PENDING: &str = "pending_migrations";
/// Field: whether the catalog's server has loaded the tables into its schema cache.
const SERVED: &str = "served";

pub(super) struct DatabaseResource;

#[async_trait]
impl Resource for DatabaseResource {
    fn validate(&self, declaration: &ResourceDeclaration) -> Result<(), InvalidField> {
        match declaration.name.as_str() {
            "media" => Ok(()),
            _ => Err(InvalidField::name("the only database of a platform is named media")),
        }
    }

    async fn read_live(
        &self,
        context: &ResourceContext<'_>,
        _: &[&ResourceDeclaration],
        _: ReadScope<'_>,
    ) -> Result<LiveState> {
        let Some(migrations) = &context.ports.migrations else { return read_through_catalog(context).await };
        let pending: Vec<Value> = migrations
            .pending()
            .await?
            .into_iter()
            .map(|migration| format!("{:04}_{}", migration.version, migration.name).into())
            .collect();
        // The server may have missed the reload of its schema cache. While migrations are pending, it is not asked: the
        // tables may not exist yet.
        let served = !pending.is_empty() || is_served(context).await?;
        let live = ResourceFields::default().with(PENDING, pending).with(SERVED, served);
        Ok(LiveState::Found(LiveResources::from([("media".to_owned(), live)])))
    }

    fn desired_fields(
        &self,
        declaration: &ResourceDeclaration,
        _: Option<&ResourceFields>,
        _: &ResourceContext<'_>,
    ) -> Result<ResourceFields> {
        let _ = spec!(declaration, Database);
        Ok(ResourceFields::default().with(PENDING, json!([])).with(SERVED, true))
    }

    async fn plan_change(
        &self,
        _: &ResourceContext<'_>,
        _: &ResourceDeclaration,
        _: &ResourceFields,
        _: &[FieldChange],
    ) -> Result<ChangeStrategy> {
        Ok(ChangeStrategy::Update)
    }

    async fn create_or_update(
        &self,
        context: &ResourceContext<'_>,
        _: &ResourceDeclaration,
        _: Option<&ResourceFields>,
    ) -> Result<()> {
        match &context.ports.migrations {
            Some(migrations) => migrations.migrate().await.map(drop),
            None => Ok(()),
        }
    }

    async fn deletion_blocker(&self, _: &ResourceContext<'_>, _: &str) -> Result<Option<String>> {
        Ok(Some("mfctl does not delete databases".to_owned()))
    }

    async fn delete(&self, _: &ResourceContext<'_>, id: &str) -> Result<()> {
        Err(Error::new(ErrorKind::Denied, format!("delete database {id}")))
    }

    async fn generate_manifest(
        &self,
        _: &ResourceContext<'_>,
        id: &str,
        _: &ResourceFields,
    ) -> Result<Option<GeneratedManifest>> {
        Ok(Some(GeneratedManifest::new(id, json!({"migrations": "media"}))))
    }
}

async fn is_served(context: &ResourceContext<'_>) -> Result<bool> {
    match context.ports.catalog.identity().await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Unprepared => Ok(false),
        Err(error) => Err(error),
    }
}

/// Without a connection to the database: a catalog that answers has its tables, and their version remains unknown.
async fn read_through_catalog(context: &ResourceContext<'_>) -> Result<LiveState> {
    context.ports.catalog.identity().await.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::Unprepared => Error::new(ErrorKind::Invalid, "the catalog has no tables")
            .because(error)
            .hint("set `admin_url` in the profile's table `database`, so that mfctl can create them"),
        _ => error,
    })?;
    if context.embedded {
        return Ok(LiveState::NotApplicable);
    }
    Ok(LiveState::Skipped("the catalog's tables: the profile has no database.admin_url to read them with".to_owned()))
}
