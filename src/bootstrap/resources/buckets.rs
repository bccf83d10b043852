//! Buckets: their lifecycle, encryption and policy, and the marker object that assigns the bucket of originals to an
//! environment.

use async_trait::async_trait;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{
    ChangeStrategy, GeneratedManifest, InvalidField, LiveResources, LiveState, ReadScope, Resource, ResourceContext,
    spec,
};
use crate::bootstrap::fields::{FieldChange, ResourceFields};
use crate::bootstrap::manifest::{BucketEncryptionSpec, BucketSpec, ResourceDeclaration, ResourceKind, ResourceSpec};
use crate::bootstrap::normal_form;
use crate::ops::platform;
use mfctl_core::domain::BucketName;
use mfctl_core::ports::{BucketAdmin, BucketEncryption, BucketPolicy, Error, ErrorKind, Result};

/// Field: whether the bucket of originals has its marker object.
const MARKED: &str = "marked";
/// Field: lifecycle rules of mfctl that others changed.
const CHANGED_RULES: &str = "changed_rules";

pub(super) struct BucketResource;

#[async_trait]
impl Resource for BucketResource {
    fn validate(&self, declaration: &ResourceDeclaration) -> Result<(), InvalidField> {
        let ResourceSpec::Bucket(spec) = &declaration.spec else { return Ok(()) };
        let checked = match &spec.bucket {
            Some(bucket) => BucketName::new(bucket).map_err(|error| InvalidField::in_spec(["bucket"], error)),
            None => BucketName::new(format!("myfarsi-x-{}", declaration.name)).map_err(InvalidField::name),
        };
        checked.map(drop)
    }

    fn id(&self, declaration: &ResourceDeclaration, context: &ResourceContext<'_>) -> String {
        let explicit_name = match &declaration.spec {
            ResourceSpec::Bucket(BucketSpec { bucket, .. }) => bucket.clone(),
            _ => None,
        };
        explicit_name.unwrap_or_else(|| format!("{}{}", prefix(context), declaration.name))
    }

    /// A store without bucket administration, a data folder, has its buckets from the start.
    async fn read_live(
        &self,
        context: &ResourceContext<'_>,
        declarations: &[&ResourceDeclaration],
        read_scope: ReadScope<'_>,
    ) -> Result<LiveState> {
        let Some(admin) = context.ports.buckets.as_deref() else { return Ok(LiveState::NotApplicable) };
        let ids = declarations
            .iter()
            .map(|declaration| self.id(declaration, context))
            .chain(read_scope.additional_ids().iter().cloned());
        let names = match read_scope {
            ReadScope::All => admin.buckets().await?,
            _ => ids.map(|id| bucket_name(&id)).collect::<Result<_>>()?,
        };
        let mut live = LiveResources::new();
        for name in names {
            let Some(policy) = admin.describe_bucket(&name).await? else { continue };
            let fields = fields(&policy).with(MARKED, is_marked(context, &name).await?);
            live.insert(name.to_string(), fields);
        }
        Ok(LiveState::Found(live))
    }

    fn desired_fields(
        &self,
        declaration: &ResourceDeclaration,
        live: Option<&ResourceFields>,
        _: &ResourceContext<'_>,
    ) -> Result<ResourceFields> {
        let spec = spec!(declaration, Bucket);
        let live_value = |field: &str| live.and_then(|live| live.get(field)).cloned();
        let encryption = spec.encryption.map(|encryption| json!(encryption)).or_else(|| live_value("encryption"));
        let desired = ResourceFields::default()
            .with("versioned", spec.versioned)
            .with_some("expire_after_days", spec.expire_after_days)
            .with_some("expire_noncurrent_after_days", spec.expire_noncurrent_after_days)
            .with_some("encryption", encryption)
            .with_some("policy", spec.policy.as_ref().map(normal_form::bucket_policy).or_else(|| live_value("policy")))
            .with(MARKED, true);
        // Some stores cannot abort unfinished uploads by a lifecycle rule; workers then do it.
        let cannot_abort = live.is_some_and(|live| live.get("abort_uploads_after_days").is_none());
        match spec.abort_uploads_after_days {
            Some(days) if !cannot_abort => Ok(desired.with("abort_uploads_after_days", days)),
            _ => Ok(desired),
        }
    }

    async fn plan_change(
        &self,
        _: &ResourceContext<'_>,
        _: &ResourceDeclaration,
        _: &ResourceFields,
        changes: &[FieldChange],
    ) -> Result<ChangeStrategy> {
        let disables_versioning = |change: &FieldChange| change.field == "versioned" && change.to == Some(json!(false));
        if changes.iter().any(disables_versioning) {
            let reason = "older versions are needed to restore an overwritten original: suspend versioning by hand if that \
                          is intended";
            return Ok(ChangeStrategy::Refuse(reason.to_owned()));
        }
        Ok(ChangeStrategy::Update)
    }

    async fn create_or_update(
        &self,
        context: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
        _: Option<&ResourceFields>,
    ) -> Result<()> {
        let Some(admin) = context.ports.buckets.as_deref() else { return Ok(()) };
        let name = bucket_name(&self.id(declaration, context))?;
        admin.configure_bucket(&name, &policy(spec!(declaration, Bucket))).await?;
        if !is_marked(context, &name).await? {
            platform::mark(context.ports.objects.as_ref(), context.buckets, context.env).await?;
        }
        Ok(())
    }

    async fn deletion_blocker(&self, context: &ResourceContext<'_>, id: &str) -> Result<Option<String>> {
        let objects = context.ports.objects.list(&bucket_name(id)?, "", None, 1).await?;
        Ok((!objects.is_empty())
            .then(|| "it holds objects; delete them with an S3 client if they are no longer needed".to_owned()))
    }

    async fn delete(&self, context: &ResourceContext<'_>, id: &str) -> Result<()> {
        admin(context)?.delete_bucket(&bucket_name(id)?).await
    }

    async fn generate_manifest(
        &self,
        context: &ResourceContext<'_>,
        id: &str,
        live: &ResourceFields,
    ) -> Result<Option<GeneratedManifest>> {
        let mut spec = json!(live);
        let mut left_out = Vec::new();
        if let Some(fields) = spec.as_object_mut() {
            fields.remove(MARKED);
            if let Some(rules) = fields.remove(CHANGED_RULES) {
                left_out.push(format!("lifecycle rules that others changed: {rules}"));
            }
            let is_unknown = |value: &Value| BucketEncryptionSpec::deserialize(value).is_err();
            if let Some(encryption) = fields.get("encryption").filter(|value| is_unknown(value)).cloned() {
                fields.remove("encryption");
                left_out.push(format!("encryption {encryption}, which no manifest can declare"));
            }
        }
        let name = match id.strip_prefix(&prefix(context)) {
            Some(name) => name.to_owned(),
            None => {
                spec["bucket"] = json!(id);
                id.to_owned()
            }
        };
        Ok(Some(GeneratedManifest { left_out, ..GeneratedManifest::new(name, spec) }))
    }
}

fn prefix(context: &ResourceContext<'_>) -> String {
    format!("myfarsi-{}-", context.env)
}

fn admin<'a>(context: &'a ResourceContext<'_>) -> Result<&'a dyn BucketAdmin> {
    context.ports.buckets.as_deref().ok_or_else(|| super::missing_server(ResourceKind::Bucket, "s3"))
}

fn bucket_name(name: &str) -> Result<BucketName> {
    BucketName::new(name).map_err(|error| Error::new(ErrorKind::Invalid, "parse a bucket's name").because(error))
}

/// Whether a bucket has its marker object or needs none: only the bucket of originals needs one.
async fn is_marked(context: &ResourceContext<'_>, bucket: &BucketName) -> Result<bool> {
    if *bucket != context.buckets.originals {
        return Ok(true);
    }
    platform::is_marked(context.ports.objects.as_ref(), context.buckets).await
}

fn policy(spec: &BucketSpec) -> BucketPolicy {
    BucketPolicy {
        versioned: spec.versioned,
        expire_after_days: spec.expire_after_days,
        expire_noncurrent_after_days: spec.expire_noncurrent_after_days,
        abort_uploads_after_days: spec.abort_uploads_after_days,
        changed_rules: Vec::new(),
        encryption: spec.encryption.map(|encryption| match encryption {
            BucketEncryptionSpec::Aes256 => BucketEncryption::Aes256,
            BucketEncryptionSpec::Kms => BucketEncryption::Kms,
        }),
        // In the form that the plan shows: MinIO refuses a single statement without its list, and an empty condition.
        access: spec.policy.as_ref().map(normal_form::bucket_policy),
    }
}

fn fields(policy: &BucketPolicy) -> ResourceFields {
    let encryption: Option<Value> = policy.encryption.as_ref().map(|encryption| match encryption {
        BucketEncryption::Aes256 => json!(BucketEncryptionSpec::Aes256),
        BucketEncryption::Kms => json!(BucketEncryptionSpec::Kms),
        BucketEncryption::Other(name) => json!(name),
    });
    let changed_rules = (!policy.changed_rules.is_empty()).then(|| json!(policy.changed_rules));
    ResourceFields::default()
        .with("versioned", policy.versioned)
        .with_some("expire_after_days", policy.expire_after_days)
        .with_some("expire_noncurrent_after_days", policy.expire_noncurrent_after_days)
        .with_some("abort_uploads_after_days", policy.abort_uploads_after_days)
        .with_some(CHANGED_RULES, changed_rules)
        .with_some("encryption", encryption)
        .with_some("policy", policy.access.as_ref().map(normal_form::bucket_policy))
}
