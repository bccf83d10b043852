//! Listing and counting objects, page by page.

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{EncodingType, Object};

use super::ask::QUICK;
use super::fault::Fault;
use super::{Shared, size, time, whole_seconds};
use mfctl_core::domain::{BucketName, ObjectKey};
use mfctl_core::ports::{BucketUsage, ListedObject, Listing, Result};

/// The most that the protocol gives at once.
const PAGE: usize = 1000;

impl Shared {
    pub(super) async fn list(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Listing> {
        let mut listing = Listing::default();
        let mut place = Place::After(after.map(ToString::to_string));
        loop {
            // Of nothing, one is asked for: a bucket that is not there is to be told.
            let wanted = (limit - listing.objects.len()).clamp(1, PAGE);
            let page = self.page(bucket, prefix, &place, wanted).await?;
            gather(&mut listing, &page, limit);
            match next(&page) {
                Some(next) if listing.objects.len() < limit => place = next,
                _ => return Ok(listing),
            }
        }
    }

    pub(super) async fn usage(&self, bucket: &BucketName, limit: u64) -> Result<BucketUsage> {
        let mut usage = BucketUsage::default();
        let mut place = Place::After(None);
        loop {
            let page = self.page(bucket, "", &place, PAGE).await?;
            for object in page.contents() {
                if usage.objects == limit {
                    usage.partial = true;
                    return Ok(usage);
                }
                let stored_at = whole_seconds(time(object.last_modified()));
                usage.objects += 1;
                usage.bytes = usage.bytes.saturating_add(size(object.size()));
                usage.oldest_at = Some(usage.oldest_at.map_or(stored_at, |oldest| oldest.min(stored_at)));
            }
            match next(&page) {
                Some(next) => place = next,
                None => return Ok(usage),
            }
        }
    }

    async fn page(
        &self,
        bucket: &BucketName,
        prefix: &str,
        place: &Place,
        limit: usize,
    ) -> Result<ListObjectsV2Output, Fault> {
        let request = self.clients.quick.list_objects_v2().bucket(self.bucket(bucket)).prefix(prefix);
        // Others may have stored keys with characters that XML cannot hold.
        let request = request.encoding_type(EncodingType::Url).max_keys(i32::try_from(limit).unwrap_or(i32::MAX));
        let request = match place {
            Place::After(key) => request.set_start_after(key.clone()),
            Place::Token(token) => request.continuation_token(token),
        };
        let page = self.ask(|| format!("list objects of bucket {bucket}"), QUICK, request.send()).await?;
        self.saw(bucket);
        Ok(page)
    }
}

/// Where a page begins.
enum Place {
    After(Option<String>),
    Token(String),
}

fn next(page: &ListObjectsV2Output) -> Option<Place> {
    let token = page.next_continuation_token().filter(|_| page.is_truncated() == Some(true));
    token.map(|token| Place::Token(token.to_owned()))
}

/// Adds a page's objects until there are enough. Strange keys after the last of them are left for the next listing.
fn gather(listing: &mut Listing, page: &ListObjectsV2Output, limit: usize) {
    for object in page.contents() {
        if listing.objects.len() >= limit {
            return;
        }
        match known(page, object) {
            Ok(object) => listing.objects.push(object),
            Err(key) => listing.add_strange(key),
        }
    }
}

/// An object as the port has it, or the key under which others stored it.
fn known(page: &ListObjectsV2Output, object: &Object) -> std::result::Result<ListedObject, String> {
    let raw = object.key().unwrap_or_default();
    let encoded = page.encoding_type() == Some(&EncodingType::Url);
    let text = if encoded { decoded(raw).ok_or_else(|| raw.to_owned())? } else { raw.to_owned() };
    Ok(ListedObject {
        key: ObjectKey::new(text.as_str()).map_err(|_| text)?,
        size_bytes: size(object.size()),
        modified_at: whole_seconds(time(object.last_modified())),
    })
}

/// Text as it was before the store encoded it for its answer, in the manner of forms: `+` is a space.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let pair = [rest.next()?, rest.next()?];
                let mut byte = [0];
                hex::decode_to_slice(pair, &mut byte).ok()?;
                byte[0]
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Text as it may stand in a path or a header: everything but unreserved characters and slashes as `%XX`.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte))
            }
            other => {
                encoded.push('%');
                encoded.push_str(&hex::encode_upper([other]));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for text in ["a/b", "a b+c%d", "با/سلام", "t&<>\"'"] {
            assert_eq!(decoded(&encoded(text)).unwrap(), text);
        }
        assert_eq!(decoded("a+b%2Bc").unwrap(), "a b+c");
        assert_eq!((decoded("%"), decoded("%zz"), decoded("%ff")), (None, None, None));
    }

    #[test]
    fn objects_with_strange_keys_are_named_once_however_the_listing_is_paged() {
        let keys = ["%01", "a%2F%2Fb", "a/c", "b%2F", "c", "%ff", "z"];
        let objects = keys.map(|key| Object::builder().key(key).size(1).build());
        let page = |from: usize| {
            let page = ListObjectsV2Output::builder().encoding_type(EncodingType::Url);
            page.set_contents(Some(objects[from..].to_vec())).build()
        };
        let names = |listing: &Listing| -> Vec<String> {
            listing.objects.iter().map(|object| object.key.to_string()).collect()
        };
        let mut whole = Listing::default();
        gather(&mut whole, &page(0), 100);
        assert_eq!(names(&whole), ["a/c", "c", "z"]);
        assert_eq!(
            (whole.strange, whole.strange_keys.as_slice()),
            (4, ["\u{1}", "a//b", "b/", "%ff"].map(String::from).as_slice())
        );

        // A caller goes on after the last object that it got.
        let (mut first, mut second) = (Listing::default(), Listing::default());
        gather(&mut first, &page(0), 1);
        gather(&mut second, &page(3), 100);
        assert_eq!((names(&first), names(&second)), (vec!["a/c".to_owned()], vec!["c".to_owned(), "z".to_owned()]));
        assert_eq!((first.strange, second.strange), (2, 2));
        let mut none = Listing::default();
        gather(&mut none, &page(0), 0);
        assert!(none.is_empty());
    }
}
