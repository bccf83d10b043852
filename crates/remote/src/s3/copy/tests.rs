use std::collections::{BTreeMap, HashMap};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use sha2::{Digest as _, Sha256 as Hasher};
use tokio::sync::watch;

use super::*;
use crate::s3::S3Config;
use crate::s3::buckets::BucketClient;
use mfctl_core::domain::{BucketName, ObjectKey, Secret, Sha256, Tenant};
use mfctl_core::telemetry::Metrics;
use mfctl_core::tls_files::TlsFiles;

const CONTENT: &[u8; 38] = b"a large object, copied in parts of ten";
const PART_BYTES: u64 = 10;
const PARTS: usize = 4;

/// What the store holds beside the source.
#[derive(Debug, Clone, Default)]
struct StoreState {
    /// Sizes of the parts of each unfinished upload.
    uploads: BTreeMap<String, BTreeMap<i32, usize>>,
    created: usize,
    /// The parts that were copied, in that order.
    copied: Vec<i32>,
    target_exists: bool,
    /// Parts after this one are not answered.
    last_answered: Option<i32>,
    /// The upload is completed by another client first.
    is_completed_elsewhere: bool,
}

type SharedState = watch::Sender<StoreState>;

fn answer(status: StatusCode, body: String) -> Response {
    Response::builder().status(status).header("content-type", "application/xml").body(Body::from(body)).unwrap()
}

fn missing(code: &str) -> Response {
    answer(StatusCode::NOT_FOUND, format!("<Error><Code>{code}</Code></Error>"))
}

fn head() -> Response {
    let checksum = base64::prelude::BASE64_STANDARD.encode(Hasher::digest(CONTENT));
    let response = Response::builder().header("content-length", CONTENT.len()).header("etag", "\"source\"");
    response.header("x-amz-checksum-sha256", checksum).body(Body::empty()).unwrap()
}

fn range_bytes(request: &Request) -> usize {
    let range = request.headers()["x-amz-copy-source-range"].to_str().unwrap();
    let (first, last) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).unwrap();
    last.parse::<usize>().unwrap() + 1 - first.parse::<usize>().unwrap()
}

/// A value of a query, in which the SDK encodes no more than the slashes of keys.
fn decoded(value: &str) -> String {
    value.replace("%2F", "/")
}

/// The part of S3's protocol that a copy uses, for one source and one target.
async fn serve(State(state): State<SharedState>, request: Request) -> Response {
    let pairs = request.uri().query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let query: HashMap<String, String> = pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
    let path: Vec<&str> = request.uri().path().trim_matches('/').splitn(2, '/').collect();
    let key = path.get(1).copied();
    let upload = query.get("uploadId").cloned();
    match (request.method(), key, upload) {
        (&Method::HEAD, Some("source"), _) => head(),
        (&Method::HEAD, Some(_), _) if state.borrow().target_exists => head(),
        (&Method::HEAD, Some(_), _) => missing("NoSuchKey"),
        (&Method::HEAD, None, _) => answer(StatusCode::OK, String::new()),
        (&Method::GET, None, _) => {
            let entry =
                |id: &String| format!("<Upload><UploadId>{id}</UploadId><Key>{}</Key></Upload>", query["prefix"]);
            let uploads: String = state.borrow().uploads.keys().map(entry).collect();
            answer(StatusCode::OK, format!("<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>"))
        }
        (&Method::GET, Some(_), Some(id)) => {
            let entry = |(number, bytes): (&i32, &usize)| {
                format!("<Part><PartNumber>{number}</PartNumber><Size>{bytes}</Size><ETag>\"{number}\"</ETag></Part>")
            };
            let parts: String = state.borrow().uploads[&id].iter().map(entry).collect();
            answer(StatusCode::OK, format!("<ListPartsResult>{parts}</ListPartsResult>"))
        }
        (&Method::POST, Some(_), None) => {
            let mut id = String::new();
            state.send_modify(|state| {
                state.created += 1;
                id = format!("upload-{}", state.created);
                state.uploads.insert(id.clone(), BTreeMap::new());
            });
            let body = format!("<UploadId>{id}</UploadId>");
            answer(StatusCode::OK, format!("<InitiateMultipartUploadResult>{body}</InitiateMultipartUploadResult>"))
        }
        (&Method::PUT, Some(_), Some(id)) => {
            let number: i32 = query["partNumber"].parse().unwrap();
            let last_answered = state.borrow().last_answered;
            if last_answered.is_some_and(|last| number > last) {
                std::future::pending::<()>().await;
            }
            state.send_modify(|state| {
                state.copied.push(number);
                state.uploads.get_mut(&id).unwrap().insert(number, range_bytes(&request));
            });
            answer(StatusCode::OK, format!("<CopyPartResult><ETag>\"{number}\"</ETag></CopyPartResult>"))
        }
        (&Method::POST, Some(_), Some(id)) => {
            let mut parts = None;
            state.send_modify(|state| {
                parts = state.uploads.remove(&id).filter(|_| !state.is_completed_elsewhere);
                state.target_exists = true;
            });
            match parts {
                Some(parts) => {
                    assert_eq!(parts.values().sum::<usize>(), CONTENT.len(), "{parts:?}");
                    answer(StatusCode::OK, "<CompleteMultipartUploadResult/>".to_owned())
                }
                None => missing("NoSuchUpload"),
            }
        }
        (&Method::DELETE, Some(_), Some(id)) => {
            state.send_modify(|state| drop(state.uploads.remove(&id)));
            answer(StatusCode::NO_CONTENT, String::new())
        }
        (method, ..) => panic!("{method} {}", request.uri()),
    }
}

/// A store with one object, and the address of its target.
struct CopyBench {
    state: SharedState,
    endpoint: String,
    to: ObjectRef,
}

impl CopyBench {
    async fn new(state: StoreState, key: ObjectKey) -> Self {
        let state = watch::Sender::new(state);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(serve).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { state, endpoint, to: at("originals", key) }
    }

    /// A client as another process has it.
    fn copier(&self) -> ObjectCopier {
        let config = S3Config {
            settings: "profile.test.s3".into(),
            endpoint: Some(self.endpoint.clone()),
            instances: None,
            region: "us-east-1".into(),
            path_style: true,
            access_key: "key".into(),
            secret_key: Secret::new("secret"),
            session_token: None,
            tls: TlsFiles::default(),
            proxy: None,
            no_proxy: None,
            bucket_prefix: String::new(),
            part_size: None,
            concurrency: 4,
            metrics: Arc::new(Metrics::new()),
        };
        let requests = Arc::new(Requests::new(&config).unwrap());
        let buckets = Arc::new(BucketClient::new(requests.clone(), &config.region));
        let uploads = Arc::new(UploadClient::new(requests.clone()));
        let reader = ObjectReader::new(requests.clone(), buckets);
        let sizes = CopySizes { max_single_bytes: 20, part_bytes: PART_BYTES };
        ObjectCopier { requests, reader, uploads, sizes }
    }

    async fn copy(&self) -> Result<CopyOutcome> {
        let from = at("staging", ObjectKey::new("source").unwrap());
        self.copier().copy(&from, &self.to, &expected()).await
    }

    /// Drops a copy once the store has its first two parts, and answers all requests from then on.
    async fn drop_copy_after_two_parts(&self) {
        let mut seen = self.state.subscribe();
        tokio::select! {
            copied = self.copy() => panic!("not held: {copied:?}"),
            state = seen.wait_for(|state| state.copied.len() == 2) => drop(state.unwrap()),
        }
        self.state.send_modify(|state| state.last_answered = None);
    }
}

fn at(bucket: &str, key: ObjectKey) -> ObjectRef {
    ObjectRef { bucket: BucketName::new(bucket).unwrap(), key }
}

fn expected() -> ContentDigest {
    ContentDigest { size_bytes: CONTENT.len() as u64, sha256: Sha256::of(CONTENT) }
}

fn original() -> ObjectKey {
    object_keys::original(&Tenant::default(), &expected().sha256)
}

fn two_parts_answered() -> StoreState {
    StoreState { last_answered: Some(2), ..StoreState::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_copy_is_continued_by_the_next_one() {
    let bench = CopyBench::new(two_parts_answered(), original()).await;
    bench.drop_copy_after_two_parts().await;
    assert_eq!(bench.copy().await.unwrap(), CopyOutcome::Copied);
    let mut state = bench.state.borrow().clone();
    state.copied.sort_unstable();
    assert_eq!((state.copied, state.created), (vec![1, 2, 3, 4], 1));
    assert!(state.uploads.is_empty() && state.target_exists);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_copy_to_a_key_without_a_digest_is_aborted() {
    let bench = CopyBench::new(two_parts_answered(), ObjectKey::new("target").unwrap()).await;
    bench.drop_copy_after_two_parts().await;
    bench.state.subscribe().wait_for(|state| state.uploads.is_empty()).await.unwrap();
    assert_eq!(bench.copy().await.unwrap(), CopyOutcome::Copied);
    assert!(bench.state.borrow().uploads.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_another_size_are_not_continued_and_are_removed_after_the_copy() {
    let uploads = BTreeMap::from([
        ("empty".to_owned(), BTreeMap::new()),
        ("other-size".to_owned(), BTreeMap::from([(1, 19), (2, 19)])),
        ("one-part".to_owned(), BTreeMap::from([(4, 8)])),
        ("two-parts".to_owned(), BTreeMap::from([(1, 10), (4, 8)])),
    ]);
    let bench = CopyBench::new(StoreState { uploads, ..StoreState::default() }, original()).await;
    assert_eq!(bench.copy().await.unwrap(), CopyOutcome::Copied);
    let mut state = bench.state.borrow().clone();
    state.copied.sort_unstable();
    assert_eq!((state.copied, state.created), (vec![2, 3], 0));
    assert!(state.uploads.is_empty(), "{:?}", state.uploads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_that_another_process_completes_is_compared_with_its_result() {
    let state = StoreState { is_completed_elsewhere: true, ..StoreState::default() };
    let bench = CopyBench::new(state, original()).await;
    assert_eq!(bench.copy().await.unwrap(), CopyOutcome::AlreadyThere);
    assert_eq!(bench.state.borrow().copied.len(), PARTS);
}
