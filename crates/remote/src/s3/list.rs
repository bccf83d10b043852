//! Lists and counts objects, page by page.

use std::sync::Arc;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{EncodingType, Object};

use super::buckets::BucketClient;
use super::convert::{size, timestamp, whole_seconds};
use super::encoding::form_decode;
use super::error::S3Error;
use super::requests::{REQUEST_TIMEOUT, Requests};
use mfctl_core::domain::{BucketName, ObjectKey, object_keys};
use mfctl_core::ports::{BucketUsage, ListedObject, ObjectListing, Result};

/// The most objects that the protocol returns in one response.
const MAX_PAGE_OBJECTS: usize = 1000;

/// Lists the objects of a store.
pub(super) struct ObjectLister {
    requests: Arc<Requests>,
    buckets: Arc<BucketClient>,
}

/// Where a page starts.
enum PageStart {
    AfterKey(Option<String>),
    Token(String),
}

impl ObjectLister {
    pub(super) fn new(requests: Arc<Requests>, buckets: Arc<BucketClient>) -> Self {
        Self { requests, buckets }
    }

    pub(super) async fn list(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<ObjectListing> {
        let mut listing = ObjectListing::default();
        let mut start = PageStart::AfterKey(after.map(ToString::to_string));
        loop {
            // At least one object is requested even for a limit of 0, so that a missing bucket is reported.
            let wanted = (limit - listing.objects.len()).clamp(1, MAX_PAGE_OBJECTS);
            let page = self.page(bucket, prefix, &start, wanted).await?;
            append_page(&mut listing, &page, limit);
            match next_page(&page) {
                Some(next) if listing.objects.len() < limit => start = next,
                _ => return Ok(listing),
            }
        }
    }

    pub(super) async fn usage(&self, bucket: &BucketName, limit: u64) -> Result<BucketUsage> {
        let mut usage = BucketUsage::default();
        let mut start = PageStart::AfterKey(None);
        let marker = object_keys::marker();
        loop {
            let page = self.page(bucket, "", &start, MAX_PAGE_OBJECTS).await?;
            let is_marker = |object: &&Object| decoded_key(&page, object).is_ok_and(|key| key == marker.as_str());
            for object in page.contents().iter().filter(|object| !is_marker(object)) {
                if usage.objects == limit {
                    usage.partial = true;
                    return Ok(usage);
                }
                let stored_at = whole_seconds(timestamp(object.last_modified()));
                usage.objects += 1;
                usage.bytes = usage.bytes.saturating_add(size(object.size()));
                usage.oldest_at = Some(usage.oldest_at.map_or(stored_at, |oldest| oldest.min(stored_at)));
            }
            match next_page(&page) {
                Some(next) => start = next,
                None => return Ok(usage),
            }
        }
    }

    async fn page(
        &self,
        bucket: &BucketName,
        prefix: &str,
        start: &PageStart,
        limit: usize,
    ) -> Result<ListObjectsV2Output, S3Error> {
        let name = self.requests.wire_name(bucket);
        let request = self.requests.metadata().list_objects_v2().bucket(name).prefix(prefix);
        // URL encoding, because other clients may have stored keys with characters that XML cannot represent.
        let request = request.encoding_type(EncodingType::Url).max_keys(i32::try_from(limit).unwrap_or(i32::MAX));
        let request = match start {
            PageStart::AfterKey(key) => request.set_start_after(key.clone()),
            PageStart::Token(token) => request.continuation_token(token),
        };
        let what = || format!("list objects of bucket {bucket}");
        let page = self.requests.send(what, REQUEST_TIMEOUT, request.send()).await?;
        self.buckets.remember(bucket);
        Ok(page)
    }
}

fn next_page(page: &ListObjectsV2Output) -> Option<PageStart> {
    let token = page.next_continuation_token().filter(|_| page.is_truncated() == Some(true));
    token.map(|token| PageStart::Token(token.to_owned()))
}

/// Adds a page's objects up to the limit. Strange keys after the last of them are left for the next listing.
fn append_page(listing: &mut ObjectListing, page: &ListObjectsV2Output, limit: usize) {
    for object in page.contents() {
        if listing.objects.len() >= limit {
            return;
        }
        match listed_object(page, object) {
            Ok(object) => listing.objects.push(object),
            Err(key) => listing.add_foreign(key),
        }
    }
}

/// An object's key, or the key as it was sent if it cannot be decoded.
fn decoded_key(page: &ListObjectsV2Output, object: &Object) -> std::result::Result<String, String> {
    let raw = object.key().unwrap_or_default();
    match page.encoding_type() {
        Some(EncodingType::Url) => form_decode(raw).ok_or_else(|| raw.to_owned()),
        _ => Ok(raw.to_owned()),
    }
}

/// The port's object, or the key if it is not valid for mfctl.
fn listed_object(page: &ListObjectsV2Output, object: &Object) -> std::result::Result<ListedObject, String> {
    let key = decoded_key(page, object)?;
    Ok(ListedObject {
        key: ObjectKey::new(key.as_str()).map_err(|_| key)?,
        size_bytes: size(object.size()),
        modified_at: whole_seconds(timestamp(object.last_modified())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_strange_key_is_listed_once_over_all_pages() {
        let keys = ["%01", "a%2F%2Fb", "a/c", "b%2F", "c", "%ff", "z"];
        let objects = keys.map(|key| Object::builder().key(key).size(1).build());
        let page = |from: usize| {
            let page = ListObjectsV2Output::builder().encoding_type(EncodingType::Url);
            page.set_contents(Some(objects[from..].to_vec())).build()
        };
        let names = |listing: &ObjectListing| -> Vec<String> {
            listing.objects.iter().map(|object| object.key.to_string()).collect()
        };
        let mut whole = ObjectListing::default();
        append_page(&mut whole, &page(0), 100);
        assert_eq!(names(&whole), ["a/c", "c", "z"]);
        assert_eq!(
            (whole.foreign, whole.foreign_keys.as_slice()),
            (4, ["\u{1}", "a//b", "b/", "%ff"].map(String::from).as_slice())
        );

        // A caller continues after the last object of the previous listing.
        let mut first = ObjectListing::default();
        let mut second = ObjectListing::default();
        append_page(&mut first, &page(0), 1);
        append_page(&mut second, &page(3), 100);
        assert_eq!((names(&first), names(&second)), (vec!["a/c".to_owned()], vec!["c".to_owned(), "z".to_owned()]));
        assert_eq!((first.foreign, second.foreign), (2, 2));
        let mut none = ObjectListing::default();
        append_page(&mut none, &page(0), 0);
        assert!(none.is_empty());
    }
}
