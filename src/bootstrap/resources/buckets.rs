//! Buckets: how they keep what they hold, and the marker that says whose the environment's originals are.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Also, Declared, Live, Looked, Resource, Verdict, World, Wrong, spec};
use crate::bootstrap::fields::{FieldChange, Fields};
use crate::bootstrap::manifest::{BucketSpec, Encryption, Item, Kind, Spec};
use crate::ops::platform;
use mfctl_core::domain::BucketName;
use mfctl_core::ports::{BucketAdmin, BucketEncryption, BucketPolicy, Error, ErrorKind, Result};

/// Whether the bucket of originals says whose it is.
const MARKED: &str = "marked";

pub(super) struct BucketsOfEnv;

#[async_trait]
impl Resource for BucketsOfEnv {
    fn check(&self, item: &Item) -> Result<(), Wrong> {
        let Spec::Bucket(spec) = &item.spec else { return Ok(()) };
        let (name, pointer) = match &spec.bucket {
            Some(bucket) => (bucket.clone(), "/spec/bucket"),
            None => (format!("myfarsi-x-{}", item.name), "/metadata/name"),
        };
        BucketName::new(name).map(drop).map_err(|error| Wrong::at(pointer, error))
    }

    fn id(&self, item: &Item, world: &World<'_>) -> String {
        let own = match &item.spec {
            Spec::Bucket(BucketSpec { bucket, .. }) => bucket.clone(),
            _ => None,
        };
        own.unwrap_or_else(|| format!("{}{}", prefix(world), item.name))
    }

    /// A store that cannot be told about its buckets has them from the start: a data folder.
    async fn live(&self, world: &World<'_>, items: &[&Item], also: Also<'_>) -> Result<Looked> {
        let Some(admin) = world.ports.buckets.as_deref() else { return Ok(Looked::Nothing) };
        let ids = items.iter().map(|item| self.id(item, world)).chain(also.ids().iter().cloned());
        let names = match also {
            Also::Everything => admin.buckets().await?,
            _ => ids.map(|id| bucket(&id)).collect::<Result<_>>()?,
        };
        let mut live = Live::new();
        for name in names {
            let Some(policy) = admin.describe_bucket(&name).await? else { continue };
            let fields = fields(&policy).with(MARKED, is_marked(world, &name).await?);
            live.insert(name.to_string(), fields);
        }
        Ok(Looked::Live(live))
    }

    fn wanted(&self, item: &Item, live: Option<&Fields>, _: &World<'_>) -> Result<Fields> {
        let spec = spec!(item, Bucket);
        let kept = |field: &str| live.and_then(|live| live.get(field)).cloned();
        let encryption = spec.encryption.map(|encryption| json!(encryption)).or_else(|| kept("encryption"));
        let wanted = Fields::default()
            .with("versioned", spec.versioned)
            .with_some("expire_after_days", spec.expire_after_days)
            .with_some("expire_noncurrent_after_days", spec.expire_noncurrent_after_days)
            .with_some("encryption", encryption)
            .with_some("policy", spec.policy.clone().or_else(|| kept("policy")))
            .with(MARKED, true);
        // Some stores cannot give up unfinished uploads; workers then do.
        let cannot_abort = live.is_some_and(|live| live.get("abort_uploads_after_days").is_none());
        match spec.abort_uploads_after_days {
            Some(days) if !cannot_abort => Ok(wanted.with("abort_uploads_after_days", days)),
            _ => Ok(wanted),
        }
    }

    async fn judge(&self, _: &World<'_>, _: &Item, _: &Fields, changes: &[FieldChange]) -> Result<Verdict> {
        let unversioned = |change: &FieldChange| change.field == "versioned" && change.to == Some(json!(false));
        if changes.iter().any(unversioned) {
            let reason = "older versions are the way back from an overwritten original: suspend versioning by hand if that \
                          is meant";
            return Ok(Verdict::Refuse(reason.to_owned()));
        }
        Ok(Verdict::Update)
    }

    async fn put(&self, world: &World<'_>, item: &Item, _: Option<&Fields>) -> Result<()> {
        let Some(admin) = world.ports.buckets.as_deref() else { return Ok(()) };
        let name = bucket(&self.id(item, world))?;
        admin.configure_bucket(&name, &policy(spec!(item, Bucket))).await?;
        if !is_marked(world, &name).await? {
            platform::mark(world.ports.objects.as_ref(), world.buckets, world.env).await?;
        }
        Ok(())
    }

    async fn keeps(&self, world: &World<'_>, id: &str) -> Result<Option<String>> {
        let found = world.ports.objects.list(&bucket(id)?, "", None, 1).await?;
        Ok((!found.is_empty()).then(|| "it holds objects; remove them with an S3 client if they may go".to_owned()))
    }

    async fn delete(&self, world: &World<'_>, id: &str) -> Result<()> {
        admin(world)?.delete_bucket(&bucket(id)?).await
    }

    async fn declare(&self, world: &World<'_>, id: &str, live: &Fields) -> Result<Option<Declared>> {
        let mut spec = json!(live);
        if let Some(fields) = spec.as_object_mut() {
            fields.remove(MARKED);
        }
        let name = match id.strip_prefix(&prefix(world)) {
            Some(name) => name.to_owned(),
            None => {
                spec["bucket"] = json!(id);
                id.to_owned()
            }
        };
        Ok(Some(Declared::plain(name, spec)))
    }
}

fn prefix(world: &World<'_>) -> String {
    format!("myfarsi-{}-", world.env)
}

fn admin<'a>(world: &'a World<'_>) -> Result<&'a dyn BucketAdmin> {
    world.ports.buckets.as_deref().ok_or_else(|| super::needs(Kind::Bucket, "s3"))
}

fn bucket(name: &str) -> Result<BucketName> {
    BucketName::new(name).map_err(|error| Error::new(ErrorKind::Invalid, "name a bucket").because(error))
}

/// Whether a bucket has its marker, or needs none: one of an environment's does.
async fn is_marked(world: &World<'_>, bucket: &BucketName) -> Result<bool> {
    if *bucket != world.buckets.originals {
        return Ok(true);
    }
    platform::is_marked(world.ports.objects.as_ref(), world.buckets).await
}

fn policy(spec: &BucketSpec) -> BucketPolicy {
    BucketPolicy {
        versioned: spec.versioned,
        expire_after_days: spec.expire_after_days,
        expire_noncurrent_after_days: spec.expire_noncurrent_after_days,
        abort_uploads_after_days: spec.abort_uploads_after_days,
        encryption: spec.encryption.map(|encryption| match encryption {
            Encryption::Aes256 => BucketEncryption::Aes256,
            Encryption::Kms => BucketEncryption::Kms,
        }),
        access: spec.policy.clone(),
    }
}

fn fields(policy: &BucketPolicy) -> Fields {
    let encryption: Option<Value> = policy.encryption.map(|encryption| match encryption {
        BucketEncryption::Aes256 => json!(Encryption::Aes256),
        BucketEncryption::Kms => json!(Encryption::Kms),
    });
    Fields::default()
        .with("versioned", policy.versioned)
        .with_some("expire_after_days", policy.expire_after_days)
        .with_some("expire_noncurrent_after_days", policy.expire_noncurrent_after_days)
        .with_some("abort_uploads_after_days", policy.abort_uploads_after_days)
        .with_some("encryption", encryption)
        .with_some("policy", policy.access.clone())
}
