//! Applies that end between two writes: what mfctl did not create is never pruned.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mfctl::bootstrap::apply::{self, ApplyOutcome};
use mfctl::bootstrap::manifest::{ConsulKeysSpec, KafkaTopicSpec, ResourceDeclaration, ResourceKind, ResourceSpec};
use mfctl::bootstrap::owner_marks::OwnerMarks;
use mfctl::bootstrap::pending_marks;
use mfctl::bootstrap::plan::{self, BootstrapPlan, PlanScope};
use mfctl::bootstrap::resources::ResourceContext;
use mfctl::kv::break_glass::BreakGlassExceptions;
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::{EnvName, TopicName};
use mfctl_core::ports::{
    ConfigChange, ConfigEntry, ConfigLock, ConfigSnapshot, ConfigStore, Error, ErrorKind, Ports, Result, SystemClock,
    TopicAdmin, TopicSpec, TopicState,
};
use mfctl_embedded::OpenMode;

/// The topic that applies create and delete.
const TOPIC: &str = "a";
/// The key that applies create and delete.
const KEY: &str = "dev/media-api/a";
/// Partitions of the topic as it is declared.
const DECLARED: u32 = 3;

/// The number of writes until the process has crashed: later ones have no effect.
#[derive(Clone)]
struct WritesLeft(Arc<AtomicUsize>);

impl WritesLeft {
    fn take(&self) -> Result<()> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| Error::new(ErrorKind::Unreachable, "write, as scripted"))
    }
}

/// Topics in memory.
struct MemoryTopics {
    topics: Mutex<BTreeMap<TopicName, TopicState>>,
    writes: WritesLeft,
}

#[async_trait]
impl TopicAdmin for MemoryTopics {
    async fn describe_topics(&self) -> Result<Vec<TopicState>> {
        Ok(self.topics.lock().unwrap().values().cloned().collect())
    }

    async fn create_topic(&self, topic: &TopicState) -> Result<()> {
        self.writes.take()?;
        match self.topics.lock().unwrap().insert(topic.name.clone(), topic.clone()) {
            None => Ok(()),
            Some(_) => Err(Error::new(ErrorKind::Conflict, "create a topic")),
        }
    }

    async fn alter_configs(&self, _: &TopicName, _: &BTreeMap<String, Option<String>>) -> Result<()> {
        unreachable!("no declaration changes a topic")
    }

    async fn add_partitions(&self, _: &TopicName, _: u32) -> Result<()> {
        unreachable!("no declaration changes a topic")
    }

    async fn delete_topic(&self, topic: &TopicName) -> Result<()> {
        self.writes.take()?;
        self.topics.lock().unwrap().remove(topic);
        Ok(())
    }
}

/// A configuration store that crashes.
struct CrashingStore {
    inner: Arc<dyn ConfigStore>,
    writes: WritesLeft,
}

#[async_trait]
impl ConfigStore for CrashingStore {
    async fn identity(&self) -> Result<String> {
        self.inner.identity().await
    }

    async fn get(&self, key: &str) -> Result<Option<ConfigEntry>> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<ConfigSnapshot> {
        self.inner.list(prefix).await
    }

    async fn wait_for_change(&self, prefix: &str, after: u64, timeout: Duration) -> Result<ConfigSnapshot> {
        self.inner.wait_for_change(prefix, after, timeout).await
    }

    async fn apply(&self, change: &[ConfigChange]) -> Result<()> {
        self.writes.take()?;
        self.inner.apply(change).await
    }

    async fn lock(&self, key: &str, holder: &str, lifetime: Duration) -> Result<Box<dyn ConfigLock>> {
        self.inner.lock(key, holder, lifetime).await
    }
}

struct Platform {
    ports: Ports,
    store: Arc<dyn ConfigStore>,
    topics: Arc<MemoryTopics>,
    writes: WritesLeft,
    env: EnvName,
    buckets: Buckets,
    _data: tempfile::TempDir,
}

impl Platform {
    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::default());
        let mut ports = mfctl_embedded::open(data.path(), OpenMode::MayCreate, clock).await.unwrap();
        // The log is asked how many records a topic has before it is deleted.
        let spec = |name| TopicSpec { name, partitions: 1, retention: None, compacted: false };
        ports.log.create_topics(&[spec(TopicName::new(TOPIC).unwrap())]).await.unwrap();
        let writes = WritesLeft(Arc::new(AtomicUsize::new(usize::MAX)));
        let topics = Arc::new(MemoryTopics { topics: Mutex::default(), writes: writes.clone() });
        let store = ports.config.take().unwrap();
        ports.config = Some(Arc::new(CrashingStore { inner: Arc::clone(&store), writes: writes.clone() }));
        ports.topics = Some(Arc::clone(&topics) as Arc<dyn TopicAdmin>);
        let env = EnvName::new("dev").unwrap();
        let buckets = Buckets::of(&env).unwrap();
        let platform = Self { ports, store, topics, writes, env, buckets, _data: data };
        platform.apply(&[], false).await;
        platform
    }

    async fn context(&self, prune: bool) -> ResourceContext<'_> {
        let mut context = ResourceContext {
            ports: &self.ports,
            env: &self.env,
            buckets: &self.buckets,
            embedded: false,
            prune,
            owner_marks: OwnerMarks::read(&self.ports, &self.env).await.unwrap(),
            break_glass: BreakGlassExceptions::default(),
            now: self.ports.clock.now(),
            actor: "operator@host",
        };
        pending_marks::resolve(&mut context).await.unwrap();
        context
    }

    async fn lock(&self) -> Box<dyn ConfigLock> {
        self.store.lock("dev/mfctl/lock", "operator@host", Duration::from_secs(60)).await.unwrap()
    }

    /// Applies these declarations and that of a topic which is never undeclared. Returns the plan too.
    async fn try_apply(&self, declared: &[ResourceSpec], prune: bool) -> (BootstrapPlan, Result<ApplyOutcome>) {
        let declarations = declarations(declared);
        let lock = self.lock().await;
        let mut context = self.context(prune).await;
        let settled = pending_marks::settle(&mut context, Some(lock.as_ref())).await;
        let plan = plan::plan(&context, &declarations, &PlanScope::default()).await.unwrap();
        if let Err(error) = settled {
            lock.release().await.unwrap();
            return (plan, Err(error));
        }
        let outcome = apply::apply(&context, &declarations, plan.clone(), Some(lock.as_ref()), &|_| (), &|| true).await;
        lock.release().await.unwrap();
        (plan, Ok(outcome))
    }

    /// As [`Platform::try_apply`], without a failure.
    async fn apply(&self, declared: &[ResourceSpec], prune: bool) -> BootstrapPlan {
        let (plan, outcome) = self.try_apply(declared, prune).await;
        let outcome = outcome.unwrap();
        assert!(outcome.failure.is_none() && outcome.remaining.is_empty(), "{outcome:?}");
        plan
    }

    /// As [`Platform::try_apply`], by a process that crashes after this many writes.
    async fn crash(&self, declared: &[ResourceSpec], prune: bool, writes: usize) {
        self.writes.0.store(writes, Ordering::SeqCst);
        drop(self.try_apply(declared, prune).await);
        self.writes.0.store(usize::MAX, Ordering::SeqCst);
    }

    fn has_topic(&self) -> bool {
        self.topics.topics.lock().unwrap().contains_key(TOPIC.parse::<TopicName>().as_ref().unwrap())
    }

    /// Creates the topic by hand, other than it was declared.
    async fn create_topic(&self) {
        let name = TopicName::new(TOPIC).unwrap();
        let topic = TopicState { name, partitions: DECLARED + 2, replication: 1, settings: BTreeMap::new() };
        self.topics.create_topic(&topic).await.unwrap();
    }

    async fn has_key(&self) -> bool {
        self.store.get(KEY).await.unwrap().is_some()
    }

    /// The keys of the owner marks.
    async fn marks(&self) -> Vec<String> {
        let marks = self.store.list("dev/mfctl-owned/").await.unwrap().entries;
        marks.into_iter().map(|mark| mark.key).collect()
    }

    async fn set(&self, key: &str, value: &str) {
        let set = ConfigChange::Set { key: key.to_owned(), value: value.into(), if_version: None };
        self.store.apply(&[set]).await.unwrap();
    }
}

fn declarations(declared: &[ResourceSpec]) -> Vec<ResourceDeclaration> {
    let declaration = |name: &str, spec| ResourceDeclaration {
        name: name.to_owned(),
        spec,
        schema: None,
        location: None,
        key_locations: BTreeMap::new(),
    };
    let declared = declared.iter().map(|spec| match spec.kind() {
        ResourceKind::ConsulKeys => declaration("media-api", spec.clone()),
        _ => declaration(TOPIC, spec.clone()),
    });
    std::iter::once(declaration("other", topic())).chain(declared).collect()
}

fn topic() -> ResourceSpec {
    let spec = KafkaTopicSpec { partitions: DECLARED, replication: Some(1), settings: BTreeMap::new() };
    ResourceSpec::KafkaTopic(spec)
}

fn key() -> ResourceSpec {
    ResourceSpec::ConsulKeys(ConsulKeysSpec { keys: BTreeMap::from([("a".to_owned(), "declared".into())]) })
}

#[tokio::test(flavor = "multi_thread")]
async fn topic_created_by_hand_after_an_interrupted_creation_is_not_pruned() {
    for writes in 0..=3 {
        let platform = Platform::new().await;
        platform.crash(&[topic()], false, writes).await;
        let is_ours = platform.has_topic();
        assert_eq!(is_ours, writes >= 2, "writes: the mark, the topic, the mark");
        if !is_ours {
            platform.create_topic().await;
        }
        let plan = platform.apply(&[], true).await;
        assert_eq!(platform.has_topic(), !is_ours, "after {writes} writes: {plan:?}");
        let named = plan.unconfirmed.iter().map(|named| (named.name.as_str(), named.fields.join(" ")));
        let named: Vec<_> = named.collect();
        assert_eq!(named, if writes == 1 { vec![(TOPIC, "partitions".to_owned())] } else { vec![] });
        assert_eq!(platform.apply(&[], true).await.unconfirmed, [], "it is named until the mark is removed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topic_created_by_hand_after_an_interrupted_deletion_is_not_pruned() {
    for writes in 0..=3 {
        let platform = Platform::new().await;
        platform.apply(&[topic()], false).await;
        platform.crash(&[], true, writes).await;
        let is_ours = platform.has_topic();
        assert_eq!(is_ours, writes < 2, "writes: the mark, the topic, the mark");
        if !is_ours {
            platform.create_topic().await;
        }
        let plan = platform.apply(&[], true).await;
        assert_eq!(platform.has_topic(), !is_ours, "after {writes} writes: {plan:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn key_set_by_hand_after_an_interrupted_creation_is_not_pruned() {
    for writes in 0..=3 {
        let platform = Platform::new().await;
        platform.crash(&[key()], false, writes).await;
        let is_ours = platform.has_key().await;
        assert_eq!(is_ours, writes >= 2, "writes: the mark, the key, the mark");
        if !is_ours {
            platform.set(KEY, "by hand").await;
        }
        let plan = platform.apply(&[], true).await;
        assert_eq!(platform.has_key().await, !is_ours, "after {writes} writes: {plan:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_creation_is_completed_by_the_next_apply() {
    for writes in 0..=3 {
        let platform = Platform::new().await;
        platform.crash(&[topic(), key()], false, writes).await;
        platform.apply(&[topic(), key()], false).await;
        assert!(platform.has_topic() && platform.has_key().await);
        platform.apply(&[], true).await;
        assert!(!platform.has_topic() && !platform.has_key().await, "after {writes} writes they are mfctl's");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_created_when_the_mark_has_changed_since_it_was_read() {
    let platform = Platform::new().await;
    platform.crash(&[topic()], false, 1).await;
    let pending: Vec<_> = platform.marks().await;
    let lock = platform.lock().await;
    let mut context = platform.context(false).await;
    for mark in &pending {
        let value = platform.store.get(mark).await.unwrap().unwrap().value;
        platform.set(mark, &String::from_utf8(value).unwrap()).await;
    }
    let settled = pending_marks::settle(&mut context, Some(lock.as_ref())).await;
    assert_eq!(settled.unwrap_err().kind(), ErrorKind::Conflict);
    let declarations = declarations(&[topic()]);
    let plan = plan::plan(&context, &declarations, &PlanScope::default()).await.unwrap();
    let applied = apply::apply(&context, &declarations, plan, Some(lock.as_ref()), &|_| (), &|| true).await;
    assert_eq!(applied.failure.unwrap().kind(), ErrorKind::Conflict);
    assert!(!platform.has_topic());
}

/// A lock that was lost after it was checked.
struct LostLock(ConfigChange);

#[async_trait]
impl ConfigLock for LostLock {
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    fn lock_check(&self) -> ConfigChange {
        self.0.clone()
    }

    async fn release(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_created_or_marked_when_the_lock_is_lost() {
    let platform = Platform::new().await;
    let marks = platform.marks().await;
    let held = platform.lock().await;
    let lost = LostLock(held.lock_check());
    held.release().await.unwrap();
    let declarations = declarations(&[topic()]);
    let context = platform.context(false).await;
    let plan = plan::plan(&context, &declarations, &PlanScope::default()).await.unwrap();
    let applied = apply::apply(&context, &declarations, plan, Some(&lost), &|_| (), &|| true).await;
    assert_eq!(applied.failure.unwrap().kind(), ErrorKind::Locked);
    assert!(!platform.has_topic());
    assert_eq!(platform.marks().await, marks);
}
