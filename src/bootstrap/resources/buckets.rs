//! The environment's buckets, what they do by themselves, and the marker that says whose they are.

use crate::bootstrap::{Action, Change, Desired, Kind, Plan};
use crate::domain::BucketName;
use crate::ops::platform;
use crate::ports::{BucketRules, ErrorKind, Ports, Result};

/// Days that older versions of originals are kept.
const NONCURRENT_DAYS: u32 = 180;
/// Days after which an upload that was never finished is given up. A killed ingest goes on with it before that.
const ABANDONED_DAYS: u32 = 7;

pub(in crate::bootstrap) async fn plan(ports: &Ports, desired: &Desired, plan: &mut Plan) -> Result<()> {
    for (bucket, wanted) in rules(desired) {
        let name = bucket.to_string();
        if !ports.objects.has_bucket(&bucket).await? {
            plan.changes.push(Change { kind: Kind::Bucket, name, action: Action::Create, detail: told(wanted) });
            continue;
        }
        let has = ports.objects.bucket_rules(&bucket).await?;
        let marked = bucket != desired.buckets.originals || is_marked(ports, desired).await?;
        match has.filter(|has| *has != wanted) {
            Some(has) => {
                let detail = format!("{}; was {}", told(wanted), told(has));
                plan.changes.push(Change { kind: Kind::Bucket, name, action: Action::Update, detail });
            }
            None if !marked => {
                let detail = "mark it as this environment's".to_owned();
                plan.changes.push(Change { kind: Kind::Bucket, name, action: Action::Update, detail });
            }
            None => plan.unchanged += 1,
        }
    }
    Ok(())
}

pub(in crate::bootstrap) async fn make(ports: &Ports, desired: &Desired, change: &Change) -> Result<()> {
    let Some((bucket, wanted)) = rules(desired).into_iter().find(|(bucket, _)| bucket.as_str() == change.name) else {
        return Ok(());
    };
    ports.objects.create_buckets(std::slice::from_ref(&bucket)).await?;
    if ports.objects.bucket_rules(&bucket).await?.is_some_and(|has| has != wanted) {
        ports.objects.set_bucket_rules(&bucket, wanted).await?;
    }
    // Last, and on a cluster alone: a data folder says itself whose it is.
    if bucket == desired.buckets.originals && ports.objects.bucket_rules(&bucket).await?.is_some() {
        platform::mark(ports.objects.as_ref(), &desired.buckets, &desired.env).await?;
    }
    Ok(())
}

async fn is_marked(ports: &Ports, desired: &Desired) -> Result<bool> {
    if ports.objects.bucket_rules(&desired.buckets.originals).await?.is_none() {
        return Ok(true);
    }
    match platform::is_marked(ports.objects.as_ref(), &desired.buckets).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        marked => marked,
    }
}

fn rules(desired: &Desired) -> [(BucketName, BucketRules); 3] {
    let plain = BucketRules { abort_uploads_days: Some(ABANDONED_DAYS), ..BucketRules::default() };
    let staging = BucketRules { expire_days: Some(desired.staging_days), ..plain };
    let originals = BucketRules { versioned: true, expire_noncurrent_days: Some(NONCURRENT_DAYS), ..plain };
    let buckets = desired.buckets.clone();
    [(buckets.staging, staging), (buckets.originals, originals), (buckets.derived, plain)]
}

fn told(rules: BucketRules) -> String {
    let mut told = vec![if rules.versioned { "versioned" } else { "not versioned" }.to_owned()];
    told.extend(rules.expire_days.map(|days| format!("objects go after {days} days")));
    told.extend(rules.expire_noncurrent_days.map(|days| format!("older versions after {days}")));
    told.extend(rules.abort_uploads_days.map(|days| format!("unfinished uploads after {days}")));
    told.join(", ")
}
