//! The environment's buckets, how they keep what they hold, and the marker that says whose they are.

use crate::bootstrap::{Action, Change, Desired, Kind, Plan};
use crate::domain::BucketName;
use crate::ops::platform;
use crate::ports::{BucketPolicy, Ports, Result};

/// Days that older versions of originals are kept.
const NONCURRENT_DAYS: u32 = 180;
/// Days after which an upload that was never finished is given up. A killed ingest goes on with it before that.
const ABANDONED_DAYS: u32 = 7;

/// A store that cannot be told about its buckets has them from the start: a data folder.
pub(in crate::bootstrap) async fn plan(ports: &Ports, desired: &Desired, plan: &mut Plan) -> Result<()> {
    let policies = policies(desired);
    let Some(admin) = &ports.buckets else {
        plan.unchanged += policies.len() as u64;
        return Ok(());
    };
    for (bucket, wanted) in policies {
        let (action, detail) = match admin.describe_bucket(&bucket).await? {
            None => (Action::Create, told(wanted)),
            Some(has) if !keeps(has, wanted) => (Action::Update, format!("{}; was {}", told(wanted), told(has))),
            Some(_) if !is_marked(ports, desired, &bucket).await? => {
                (Action::Update, format!("mark it as environment {}'s", desired.env))
            }
            Some(_) => {
                plan.unchanged += 1;
                continue;
            }
        };
        plan.changes.push(Change { kind: Kind::Bucket, name: bucket.to_string(), action, detail });
    }
    Ok(())
}

pub(in crate::bootstrap) async fn make(ports: &Ports, desired: &Desired, change: &Change) -> Result<()> {
    let found = policies(desired).into_iter().find(|(bucket, _)| bucket.as_str() == change.name);
    let (Some((bucket, wanted)), Some(admin)) = (found, &ports.buckets) else { return Ok(()) };
    admin.configure_bucket(&bucket, &wanted).await?;
    if !is_marked(ports, desired, &bucket).await? {
        platform::mark(ports.objects.as_ref(), &desired.buckets, &desired.env).await?;
    }
    Ok(())
}

/// Whether a bucket does what is wanted of it. Some stores cannot give up unfinished uploads; workers then do.
fn keeps(has: BucketPolicy, wanted: BucketPolicy) -> bool {
    let abort_uploads_after_days = has.abort_uploads_after_days.or(wanted.abort_uploads_after_days);
    BucketPolicy { abort_uploads_after_days, ..has } == wanted
}

/// Whether a bucket has its marker, or needs none: one of an environment's three does.
async fn is_marked(ports: &Ports, desired: &Desired, bucket: &BucketName) -> Result<bool> {
    if *bucket != desired.buckets.originals {
        return Ok(true);
    }
    platform::is_marked(ports.objects.as_ref(), &desired.buckets).await
}

fn policies(desired: &Desired) -> [(BucketName, BucketPolicy); 3] {
    let plain = BucketPolicy { abort_uploads_after_days: Some(ABANDONED_DAYS), ..BucketPolicy::default() };
    let staging = BucketPolicy { expire_after_days: Some(desired.staging_days), ..plain };
    let originals = BucketPolicy { versioned: true, expire_noncurrent_after_days: Some(NONCURRENT_DAYS), ..plain };
    let buckets = desired.buckets.clone();
    [(buckets.staging, staging), (buckets.originals, originals), (buckets.derived, plain)]
}

fn told(policy: BucketPolicy) -> String {
    let mut told = vec![if policy.versioned { "versioned" } else { "not versioned" }.to_owned()];
    told.extend(policy.expire_after_days.map(|days| format!("objects go after {days} days")));
    told.extend(policy.expire_noncurrent_after_days.map(|days| format!("older versions after {days}")));
    told.extend(policy.abort_uploads_after_days.map(|days| format!("unfinished uploads after {days}")));
    told.join(", ")
}
