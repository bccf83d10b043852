//! The schema registry of a cluster, through the REST API that Confluent's, Apicurio's (ccompat) and Karapace's registries share.
//!
//! JSON Schemas only: a schema of another type counts as not found. Never deletes.

mod exchange;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{Auth, HttpOptions};
use exchange::RegistryExchange;
use mfctl_core::domain::compat::Compatibility;
use mfctl_core::domain::event::SchemaId;
use mfctl_core::ports::{Error, ErrorKind, RegisteredSchema, Result, SchemaRegistry};
use mfctl_core::wait::{Attempts, Backoff};

/// The most schemas in the cache. A schema with an id never changes.
const MAX_CACHED: usize = 1000;
/// A limit on the list of subjects.
const MAX_SUBJECTS: usize = 1_000_000;
const CONCURRENT_READS: usize = 8;
/// How long a node of the registry may lag the one that accepted a write.
const REPLICATION_TIMEOUT: Duration = Duration::from_secs(3);
const REPLICATION_POLL: Backoff = Backoff::constant(Duration::from_millis(250));

/// The address of the registry, and how to authenticate.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// TLS, proxy and timeouts.
    pub http: HttpOptions,
    /// Its address, with the path before `/subjects`.
    pub url: String,
    /// How to authenticate.
    pub auth: Auth,
    /// The prefix of every subject; subjects without it are ignored. Empty except in tests.
    pub subject_prefix: String,
}

/// A client of one registry.
#[derive(Debug)]
pub struct RestRegistry {
    exchange: RegistryExchange,
    prefix: String,
    cache: Mutex<HashMap<SchemaId, Arc<Value>>>,
}

/// A version of a subject, as the registry answers it.
#[derive(Deserialize)]
struct SubjectVersion {
    subject: String,
    version: u32,
    id: u32,
    schema: String,
    #[serde(default, rename = "schemaType")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct SchemaText {
    schema: String,
    #[serde(default, rename = "schemaType")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct SchemaUse {
    subject: String,
    version: u32,
}

#[derive(Deserialize)]
struct CompatibilityLevel {
    #[serde(rename = "compatibilityLevel", alias = "compatibility")]
    level: Option<String>,
}

#[derive(Deserialize)]
struct CompatibilityReport {
    is_compatible: bool,
    #[serde(default)]
    messages: Option<Vec<String>>,
}

impl RestRegistry {
    /// A client of the registry at this address. Sends no request yet.
    ///
    /// # Errors
    /// `Invalid` for an address, a secret or a file that cannot be used.
    pub fn new(config: RegistryConfig) -> Result<Self> {
        let exchange = RegistryExchange::new(config.http, &config.url, &config.auth)?;
        Ok(Self { exchange, prefix: config.subject_prefix, cache: Mutex::default() })
    }

    /// The subject's name in the registry, with the prefix.
    fn prefixed(&self, subject: &str) -> Result<String> {
        let name = format!("{}{subject}", self.prefix);
        if subject.trim().is_empty() || name == "." || name == ".." {
            return Err(Error::new(ErrorKind::Invalid, "a schema's subject cannot be empty or made of dots"));
        }
        Ok(name)
    }

    async fn version(&self, subject: &str, version: &str) -> Result<Option<RegisteredSchema>> {
        let what = format!("read version {version} of {subject}");
        let name = self.prefixed(subject)?;
        let found = self.exchange.get(&["subjects", &name, "versions", version], &what).await;
        existing(found)?.map(|found: SubjectVersion| self.registered(found)).transpose()
    }

    /// A version from the list of versions. If it is missing, the node that answers lags: it must not be taken for deleted.
    async fn listed_version(&self, subject: &str, number: u32) -> Result<RegisteredSchema> {
        let version = number.to_string();
        let found = wait_for_replication(|| self.version(subject, &version)).await?;
        found.ok_or_else(|| not_replicated(&format!("read version {number} of {subject}, which is listed")))
    }

    fn registered(&self, found: SubjectVersion) -> Result<RegisteredSchema> {
        // Some registries omit the type; mfctl's subjects hold JSON Schemas.
        if found.kind.as_deref().is_some_and(|kind| kind != "JSON") {
            let kind = found.kind.unwrap_or_default();
            let what = format!("{} version {} is of type {kind}, not JSON", found.subject, found.version);
            return Err(Error::new(ErrorKind::Invalid, what).hint("mfctl's subjects hold JSON Schemas only"));
        }
        let subject = found.subject.strip_prefix(&self.prefix).unwrap_or(&found.subject).to_owned();
        let id = SchemaId(found.id);
        let schema = self.cached(id, &found.schema)?;
        Ok(RegisteredSchema { id, subject, version: found.version, schema: schema.as_ref().clone() })
    }

    fn cached(&self, id: SchemaId, text: &str) -> Result<Arc<Value>> {
        let unreadable = |error| Error::new(ErrorKind::Corrupt, format!("schema {} is not JSON", id.0)).because(error);
        let schema: Arc<Value> = Arc::new(serde_json::from_str(text).map_err(unreadable)?);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        cache.insert(id, Arc::clone(&schema));
        Ok(schema)
    }

    async fn schema(&self, id: SchemaId) -> Result<Arc<Value>> {
        if let Some(schema) = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Arc::clone(schema));
        }
        let number = id.0.to_string();
        let found: SchemaText =
            self.exchange.get(&["schemas", "ids", &number], &format!("read schema {number}")).await?;
        match found.kind.as_deref() {
            // Confluent's registry omits the type of Avro.
            Some("JSON") => self.cached(id, &found.schema),
            kind => {
                let kind = kind.unwrap_or("AVRO");
                Err(Error::new(
                    ErrorKind::NotFound,
                    format!("schema {number} is of type {kind}: no JSON Schema has that id"),
                ))
            }
        }
    }

    /// The subjects and versions that use this schema, sorted, without the prefix.
    async fn uses(&self, id: SchemaId) -> Result<Vec<SchemaUse>> {
        let number = id.0.to_string();
        let what = format!("look up the uses of schema {number}");
        let mut uses: Vec<SchemaUse> = self.exchange.get(&["schemas", "ids", &number, "versions"], &what).await?;
        uses.retain(|one| one.subject.starts_with(&self.prefix));
        for one in &mut uses {
            one.subject.drain(..self.prefix.len());
        }
        uses.sort_by(|a, b| (&a.subject, a.version).cmp(&(&b.subject, b.version)));
        Ok(uses)
    }

    async fn resolved(&self, id: SchemaId, subject: Option<&str>) -> Result<RegisteredSchema> {
        let schema = self.schema(id).await?;
        let uses = self.uses(id).await?;
        let own = uses.iter().rev().find(|one| Some(one.subject.as_str()) == subject);
        let missing = || Error::new(ErrorKind::NotFound, format!("no subject uses schema {}", id.0));
        let chosen = own.or(uses.first()).ok_or_else(missing)?;
        let schema = schema.as_ref().clone();
        Ok(RegisteredSchema { id, subject: chosen.subject.clone(), version: chosen.version, schema })
    }

    /// The registry's compatibility check of a schema; `None` where the node that answers does not know the subject although
    /// it has versions. The first version of a subject is always compatible.
    async fn compatibility_report(
        &self,
        subject: &str,
        name: &str,
        schema: &Value,
        what: &str,
    ) -> Result<Option<CompatibilityReport>> {
        let path = ["compatibility", "subjects", name, "versions"];
        let body = body(schema);
        let checked = self.exchange.check_compatibility(&path, &body, what).await;
        // Karapace and old registries can only check against one version.
        let report = match checked {
            Err(error) if error.kind() == ErrorKind::Invalid && exchange::no_such_route(&error) => {
                let path = ["compatibility", "subjects", name, "versions", "latest"];
                self.exchange.check_compatibility(&path, &body, what).await
            }
            checked => checked,
        };
        match existing(report)? {
            Some(report) => Ok(Some(report)),
            None if self.latest(subject).await?.is_some() => Ok(None),
            None => Ok(Some(CompatibilityReport { is_compatible: true, messages: None })),
        }
    }

    /// The version of a subject with an equal schema.
    async fn equal_version(&self, subject: &str, schema: &Value) -> Result<Option<RegisteredSchema>> {
        Ok(self.versions(subject).await?.into_iter().find(|version| version.schema == *schema))
    }
}

/// Queries until something is found, for as long as the node that answers may lag; `None` when nothing is found by then.
async fn wait_for_replication<T, F>(query: impl Fn() -> F) -> Result<Option<T>>
where
    F: Future<Output = Result<Option<T>>>,
{
    let mut attempts = Attempts::new(Instant::now() + REPLICATION_TIMEOUT, REPLICATION_POLL);
    let mut found = query().await?;
    while found.is_none() && attempts.pause().await {
        found = query().await?;
    }
    Ok(found)
}

/// The error of an item that one answer lists and later answers do not have.
fn not_replicated(what: &str) -> Error {
    let why = "one node of the registry has it, another does not";
    Error::new(ErrorKind::Unreachable, what).because(why).hint("check that all nodes of the registry are in sync")
}

fn body(schema: &Value) -> Value {
    json!({ "schemaType": "JSON", "schema": schema.to_string() })
}

/// `None` for an item that does not exist.
fn existing<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl SchemaRegistry for RestRegistry {
    async fn register(&self, subject: &str, schema: &Value) -> Result<RegisteredSchema> {
        let name = self.prefixed(subject)?;
        // A registry compares texts: equal JSON in another order would become another version.
        if let Some(version) = self.equal_version(subject, schema).await? {
            return Ok(version);
        }
        let what = format!("register a schema under {subject}");
        let body = body(schema);
        let _: Value = self.exchange.send(Method::POST, &["subjects", &name, "versions"], &body, &what).await?;
        let what = format!("read back the schema registered under {subject}");
        let path = ["subjects", name.as_str()];
        let read_back = || async { existing(self.exchange.send(Method::POST, &path, &body, &what).await) };
        let found: Option<SubjectVersion> = wait_for_replication(read_back).await?;
        self.registered(found.ok_or_else(|| not_replicated(&what))?)
    }

    async fn by_id(&self, id: SchemaId) -> Result<RegisteredSchema> {
        self.resolved(id, None).await
    }

    async fn by_id_in(&self, id: SchemaId, subject: &str) -> Result<RegisteredSchema> {
        self.resolved(id, Some(subject)).await
    }

    async fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>> {
        self.version(subject, "latest").await
    }

    async fn versions(&self, subject: &str) -> Result<Vec<RegisteredSchema>> {
        let name = self.prefixed(subject)?;
        let what = format!("list the versions of {subject}");
        let numbers: Option<Vec<u32>> = existing(self.exchange.get(&["subjects", &name, "versions"], &what).await)?;
        let mut numbers = numbers.unwrap_or_default();
        numbers.sort_unstable();
        let each = numbers.into_iter().map(|number| self.listed_version(subject, number));
        stream::iter(each).buffered(CONCURRENT_READS).try_collect().await
    }

    async fn subjects(&self) -> Result<Vec<String>> {
        // A registry limits its answer (Apicurio 1,000, Confluent's 20,000) and does not say that there are more. One without
        // paging answers all of them again.
        let mut all = BTreeSet::new();
        loop {
            let page = self.exchange.page(&["subjects"], all.len(), MAX_SUBJECTS, "list subjects").await?;
            let before = all.len();
            all.extend::<Vec<String>>(page);
            if all.len() == before {
                break;
            }
            if all.len() > MAX_SUBJECTS {
                let what = format!("the registry has more than {MAX_SUBJECTS} subjects");
                return Err(Error::new(ErrorKind::Invalid, what));
            }
        }
        Ok(all.iter().filter_map(|subject| subject.strip_prefix(&self.prefix)).map(str::to_owned).collect())
    }

    async fn compatibility(&self, subject: &str) -> Result<Compatibility> {
        let name = self.prefixed(subject)?;
        let what = format!("read the compatibility of {subject}");
        let own: Option<CompatibilityLevel> = existing(self.exchange.get(&["config", &name], &what).await)?;
        let level = match own.and_then(|own| own.level) {
            Some(level) => Some(level),
            None => self.exchange.get::<CompatibilityLevel>(&["config"], &what).await?.level,
        };
        let unknown = |error| Error::new(ErrorKind::Invalid, what.clone()).because(error);
        level.unwrap_or_default().parse().map_err(unknown)
    }

    async fn set_compatibility(&self, subject: &str, level: Compatibility) -> Result<()> {
        let name = self.prefixed(subject)?;
        if wait_for_replication(|| self.latest(subject)).await?.is_none() {
            return Err(Error::new(ErrorKind::NotFound, format!("subject {subject} has no version")));
        }
        let what = format!("set the compatibility of {subject}");
        let body = json!({ "compatibility": level.as_str() });
        self.exchange.send::<Value>(Method::PUT, &["config", &name], &body, &what).await.map(drop)
    }

    async fn check_compatibility(&self, subject: &str, schema: &Value) -> Result<Vec<String>> {
        let name = self.prefixed(subject)?;
        let what = format!("check a schema against {subject}");
        let report = wait_for_replication(|| self.compatibility_report(subject, &name, schema, &what)).await?;
        let report = report.ok_or_else(|| not_replicated(&what))?;
        let messages = report.messages.unwrap_or_default();
        Ok(match (report.is_compatible, messages.is_empty()) {
            (true, _) => Vec::new(),
            (false, true) => vec!["the registry reports it as incompatible without a reason".to_owned()],
            (false, false) => messages,
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::State;
    use axum::http::Uri;
    use reqwest::Url;

    use super::*;

    /// A registry with this many subjects that answers at most `page_size` at once, or has no paging.
    async fn serving(subjects: usize, page_size: Option<usize>) -> RestRegistry {
        let all: Vec<String> = (0..subjects).map(|n| format!("s{n:03}-value")).collect();
        let list = async move |uri: Uri, State(all): State<Vec<String>>| {
            let url = Url::parse(&format!("http://registry{uri}")).unwrap();
            let query: HashMap<_, usize> =
                url.query_pairs().map(|(name, number)| (name, number.parse().unwrap())).collect();
            let offset = query["offset"];
            let limit = query["limit"];
            let page: Vec<String> = match page_size {
                Some(most) => all.into_iter().skip(offset).take(limit.min(most)).collect(),
                None => all,
            };
            serde_json::to_string(&page).unwrap()
        };
        let app = axum::Router::new().route("/subjects", axum::routing::get(list)).with_state(all);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let http = HttpOptions::direct("profile.x.schema_registry");
        RestRegistry::new(RegistryConfig { http, url, auth: Auth::None, subject_prefix: String::new() }).unwrap()
    }

    #[tokio::test]
    async fn subjects_are_listed_to_the_end_whatever_the_page_size() {
        for page_size in [None, Some(1), Some(7), Some(25), Some(100)] {
            let listed = serving(25, page_size).await.subjects().await.unwrap();
            assert_eq!(listed.len(), 25, "{page_size:?} at once");
            assert_eq!((listed[0].as_str(), listed[24].as_str()), ("s000-value", "s024-value"));
        }
        assert!(serving(0, Some(7)).await.subjects().await.unwrap().is_empty());
    }
}
