//! The schema registry of a cluster, through the REST API that Confluent's, Apicurio's (ccompat) and Karapace share.
//!
//! Knows JSON Schemas alone: a schema of another kind is as good as not there. Never deletes.

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
use exchange::Exchange;
use mfctl_core::domain::compat::Compatibility;
use mfctl_core::domain::event::SchemaId;
use mfctl_core::ports::{Error, ErrorKind, RegisteredSchema, Result, SchemaRegistry};

/// Schemas kept; they never change under their id.
const MOST_KEPT: usize = 1000;
/// No registry has more subjects.
const MOST_SUBJECTS: usize = 1_000_000;
/// Versions asked for at once.
const AT_ONCE: usize = 8;
/// How long a node of the registry may be behind the one that took a write, and how often it is asked meanwhile.
const BEHIND: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(250);

/// Where the registry is, and who we are.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// How to reach it.
    pub http: HttpOptions,
    /// Its address, the path before `/subjects` included.
    pub url: String,
    /// Who we say we are.
    pub auth: Auth,
    /// Put before every subject; subjects without it are not there. Empty outside of tests.
    pub subject_prefix: String,
}

/// The registry.
#[derive(Debug)]
pub struct RestRegistry {
    exchange: Exchange,
    prefix: String,
    kept: Mutex<HashMap<SchemaId, Arc<Value>>>,
}

/// A version as the registry has it.
#[derive(Deserialize)]
struct Version {
    subject: String,
    version: u32,
    id: u32,
    schema: String,
    #[serde(default, rename = "schemaType")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Text {
    schema: String,
    #[serde(default, rename = "schemaType")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Use {
    subject: String,
    version: u32,
}

#[derive(Deserialize)]
struct Level {
    #[serde(rename = "compatibilityLevel", alias = "compatibility")]
    level: Option<String>,
}

#[derive(Deserialize)]
struct Verdict {
    is_compatible: bool,
    #[serde(default)]
    messages: Option<Vec<String>>,
}

impl RestRegistry {
    /// The registry at this address. Nothing is asked of it yet.
    ///
    /// # Errors
    /// `Invalid` for an address, a secret or a file that cannot be used.
    pub fn new(config: RegistryConfig) -> Result<Self> {
        let exchange = Exchange::new(config.http, &config.url, &config.auth)?;
        Ok(Self { exchange, prefix: config.subject_prefix, kept: Mutex::default() })
    }

    /// A subject as it is called there.
    fn there(&self, subject: &str) -> Result<String> {
        let name = format!("{}{subject}", self.prefix);
        if subject.trim().is_empty() || name == "." || name == ".." {
            return Err(Error::new(ErrorKind::Invalid, "a schema's subject cannot be empty or made of dots"));
        }
        Ok(name)
    }

    async fn version(&self, subject: &str, version: &str) -> Result<Option<RegisteredSchema>> {
        let what = format!("read version {version} of {subject}");
        let there = self.there(subject)?;
        let found = self.exchange.get(&["subjects", &there, "versions", version], &what).await;
        present(found)?.map(|found: Version| self.taken(found)).transpose()
    }

    /// A version that is listed. That it is missing is no answer: whoever took it for deleted would leave out one that
    /// the node that was asked has not heard of.
    async fn listed(&self, subject: &str, number: u32) -> Result<RegisteredSchema> {
        let version = number.to_string();
        let found = once_heard(|| self.version(subject, &version)).await?;
        found.ok_or_else(|| not_heard(&format!("read version {number} of {subject}, which is listed")))
    }

    fn taken(&self, found: Version) -> Result<RegisteredSchema> {
        // The kind is left out by some; then it is read as what it has to be.
        if found.kind.as_deref().is_some_and(|kind| kind != "JSON") {
            let kind = found.kind.unwrap_or_default();
            let what = format!("{} version {} is of kind {kind}, not JSON", found.subject, found.version);
            return Err(Error::new(ErrorKind::Invalid, what).hint("mfctl's subjects hold JSON Schemas alone"));
        }
        let subject = found.subject.strip_prefix(&self.prefix).unwrap_or(&found.subject).to_owned();
        let id = SchemaId(found.id);
        let schema = self.keep(id, &found.schema)?;
        Ok(RegisteredSchema { id, subject, version: found.version, schema: schema.as_ref().clone() })
    }

    fn keep(&self, id: SchemaId, text: &str) -> Result<Arc<Value>> {
        let unreadable = |error| Error::new(ErrorKind::Corrupt, format!("schema {} is not JSON", id.0)).because(error);
        let schema: Arc<Value> = Arc::new(serde_json::from_str(text).map_err(unreadable)?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(id, Arc::clone(&schema));
        Ok(schema)
    }

    async fn text(&self, id: SchemaId) -> Result<Arc<Value>> {
        if let Some(schema) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Arc::clone(schema));
        }
        let number = id.0.to_string();
        let found: Text = self.exchange.get(&["schemas", "ids", &number], &format!("read schema {number}")).await?;
        match found.kind.as_deref() {
            // Without a kind it is AVRO to Confluent's registry.
            Some("JSON") => self.keep(id, &found.schema),
            kind => {
                let kind = kind.unwrap_or("AVRO");
                Err(Error::new(
                    ErrorKind::NotFound,
                    format!("schema {number} is of kind {kind}: no JSON Schema has that id"),
                ))
            }
        }
    }

    /// The subjects and versions that have this schema, by name.
    async fn uses(&self, id: SchemaId) -> Result<Vec<Use>> {
        let number = id.0.to_string();
        let what = format!("read where schema {number} is used");
        let mut uses: Vec<Use> = self.exchange.get(&["schemas", "ids", &number, "versions"], &what).await?;
        uses.retain(|one| one.subject.starts_with(&self.prefix));
        for one in &mut uses {
            one.subject.drain(..self.prefix.len());
        }
        uses.sort_by(|a, b| (&a.subject, a.version).cmp(&(&b.subject, b.version)));
        Ok(uses)
    }

    async fn found(&self, id: SchemaId, subject: Option<&str>) -> Result<RegisteredSchema> {
        let schema = self.text(id).await?;
        let uses = self.uses(id).await?;
        let own = uses.iter().rev().find(|one| Some(one.subject.as_str()) == subject);
        let missing = || Error::new(ErrorKind::NotFound, format!("no subject has schema {}", id.0));
        let chosen = own.or(uses.first()).ok_or_else(missing)?;
        let (subject, version) = (chosen.subject.clone(), chosen.version);
        Ok(RegisteredSchema { id, subject, version, schema: schema.as_ref().clone() })
    }

    /// What the registry thinks of a schema; `None` where the node that was asked does not know the subject, which has
    /// versions. Nothing stands against the first version of a subject.
    async fn verdict(&self, subject: &str, there: &str, schema: &Value, what: &str) -> Result<Option<Verdict>> {
        let (path, body) = (["compatibility", "subjects", there, "versions"], body(schema));
        let asked = self.exchange.verdict(&path, &body, what).await;
        // Karapace and old registries know the check against one version alone.
        let verdict = match asked {
            Err(error) if error.kind() == ErrorKind::Invalid && exchange::no_such_route(&error) => {
                let path = ["compatibility", "subjects", there, "versions", "latest"];
                self.exchange.verdict(&path, &body, what).await
            }
            asked => asked,
        };
        match present(verdict)? {
            Some(verdict) => Ok(Some(verdict)),
            None if self.latest(subject).await?.is_some() => Ok(None),
            None => Ok(Some(Verdict { is_compatible: true, messages: None })),
        }
    }

    /// The version of a subject that has this very schema.
    async fn known(&self, subject: &str, schema: &Value) -> Result<Option<RegisteredSchema>> {
        Ok(self.versions(subject).await?.into_iter().find(|known| known.schema == *schema))
    }
}

/// Asks until something is there, or until no node should be behind any more.
async fn once_heard<T, F>(ask: impl Fn() -> F) -> Result<Option<T>>
where
    F: Future<Output = Result<Option<T>>>,
{
    let end = Instant::now() + BEHIND;
    loop {
        match ask().await? {
            None if Instant::now() < end => tokio::time::sleep(AGAIN).await,
            answer => return Ok(answer),
        }
    }
}

/// The error for what one answer says is there and others never find.
fn not_heard(what: &str) -> Error {
    let why = "one node of the registry has it, another does not know it";
    Error::new(ErrorKind::Unreachable, what).because(why).hint("see whether all nodes of the registry are in step")
}

fn body(schema: &Value) -> Value {
    json!({ "schemaType": "JSON", "schema": schema.to_string() })
}

/// What is not there is no error.
fn present<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl SchemaRegistry for RestRegistry {
    async fn register(&self, subject: &str, schema: &Value) -> Result<RegisteredSchema> {
        let there = self.there(subject)?;
        // A registry compares texts; the same JSON in another order must not become another version.
        if let Some(known) = self.known(subject, schema).await? {
            return Ok(known);
        }
        let (what, body) = (format!("register a schema under {subject}"), body(schema));
        let _: Value = self.exchange.send(Method::POST, &["subjects", &there, "versions"], &body, &what).await?;
        let what = format!("read back the schema registered under {subject}");
        let path = ["subjects", there.as_str()];
        let read_back = || async { present(self.exchange.send(Method::POST, &path, &body, &what).await) };
        let found: Option<Version> = once_heard(read_back).await?;
        self.taken(found.ok_or_else(|| not_heard(&what))?)
    }

    async fn by_id(&self, id: SchemaId) -> Result<RegisteredSchema> {
        self.found(id, None).await
    }

    async fn by_id_in(&self, id: SchemaId, subject: &str) -> Result<RegisteredSchema> {
        self.found(id, Some(subject)).await
    }

    async fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>> {
        self.version(subject, "latest").await
    }

    async fn versions(&self, subject: &str) -> Result<Vec<RegisteredSchema>> {
        let there = self.there(subject)?;
        let what = format!("list the versions of {subject}");
        let numbers: Option<Vec<u32>> = present(self.exchange.get(&["subjects", &there, "versions"], &what).await)?;
        let mut numbers = numbers.unwrap_or_default();
        numbers.sort_unstable();
        let each = numbers.into_iter().map(|number| self.listed(subject, number));
        stream::iter(each).buffered(AT_ONCE).try_collect().await
    }

    async fn subjects(&self) -> Result<Vec<String>> {
        // A registry answers so many at once as it is set to (Apicurio 1,000, Confluent's 20,000), and does not say that there
        // are more. One that knows no pages answers with all of them again.
        let mut all = BTreeSet::new();
        loop {
            let page = self.exchange.page(&["subjects"], all.len(), MOST_SUBJECTS, "list subjects").await?;
            let known = all.len();
            all.extend::<Vec<String>>(page);
            if all.len() == known {
                break;
            }
            if all.len() > MOST_SUBJECTS {
                let what = format!("the registry has more than {MOST_SUBJECTS} subjects");
                return Err(Error::new(ErrorKind::Invalid, what));
            }
        }
        Ok(all.iter().filter_map(|subject| subject.strip_prefix(&self.prefix)).map(str::to_owned).collect())
    }

    async fn compatibility(&self, subject: &str) -> Result<Compatibility> {
        let there = self.there(subject)?;
        let what = format!("read the compatibility of {subject}");
        let own: Option<Level> = present(self.exchange.get(&["config", &there], &what).await)?;
        let word = match own.and_then(|own| own.level) {
            Some(word) => Some(word),
            None => self.exchange.get::<Level>(&["config"], &what).await?.level,
        };
        let unknown = |error| Error::new(ErrorKind::Invalid, what.clone()).because(error);
        word.unwrap_or_default().parse().map_err(unknown)
    }

    async fn set_compatibility(&self, subject: &str, level: Compatibility) -> Result<()> {
        let there = self.there(subject)?;
        if once_heard(|| self.latest(subject)).await?.is_none() {
            return Err(Error::new(ErrorKind::NotFound, format!("subject {subject} has no version")));
        }
        let what = format!("set the compatibility of {subject}");
        let body = json!({ "compatibility": level.as_str() });
        self.exchange.send::<Value>(Method::PUT, &["config", &there], &body, &what).await.map(drop)
    }

    async fn check_compatibility(&self, subject: &str, schema: &Value) -> Result<Vec<String>> {
        let there = self.there(subject)?;
        let what = format!("check a schema against {subject}");
        let verdict = once_heard(|| self.verdict(subject, &there, schema, &what)).await?;
        let verdict = verdict.ok_or_else(|| not_heard(&what))?;
        let messages = verdict.messages.unwrap_or_default();
        Ok(match (verdict.is_compatible, messages.is_empty()) {
            (true, _) => Vec::new(),
            (false, true) => vec!["the registry calls it incompatible and does not say why".to_owned()],
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

    /// A registry of so many subjects that answers with at most so many at once, or knows no pages at all.
    async fn serving(subjects: usize, at_once: Option<usize>) -> RestRegistry {
        let all: Vec<String> = (0..subjects).map(|n| format!("s{n:03}-value")).collect();
        let list = async move |uri: Uri, State(all): State<Vec<String>>| {
            let asked = Url::parse(&format!("http://registry{uri}")).unwrap();
            let asked: HashMap<_, _> =
                asked.query_pairs().map(|(name, number)| (name, number.parse().unwrap())).collect();
            let (offset, limit): (usize, usize) = (asked["offset"], asked["limit"]);
            let page: Vec<String> = match at_once {
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
    async fn all_subjects_are_listed_however_many_a_registry_answers_with_at_once() {
        for at_once in [None, Some(1), Some(7), Some(25), Some(100)] {
            let listed = serving(25, at_once).await.subjects().await.unwrap();
            assert_eq!(listed.len(), 25, "{at_once:?} at once");
            assert_eq!((listed[0].as_str(), listed[24].as_str()), ("s000-value", "s024-value"));
        }
        assert!(serving(0, Some(7)).await.subjects().await.unwrap().is_empty());
    }
}
