//! A platform in a temporary folder, and a pipeline step that a test scripts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mfctl::pipeline::enrich::Enrich;
use mfctl::pipeline::persist::{Persist, PersistEffect};
use mfctl::pipeline::scratch::Scratch;
use mfctl::pipeline::store_check::StoreBaseline;
use mfctl::pipeline::worker::{
    self, PipelineStep, RecordContext, StepError, StepOutput, Tuning, Until, WorkerHealth, WorkerOptions,
    WorkerOutcome, WorkerPorts,
};
use mfctl_core::domain::event::{EventEnvelope, IngestRaw, Metadata};
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{
    Asset, AssetId, EnvName, EventId, JobId, NewRecord, ObjectRef, Record, Revision, Sha256, SourcePath, Stage, Tenant,
    TopicName, names::topics,
};
use mfctl_core::events::{EventCodec, schemas, topics as contract};
use mfctl_core::ports::{self, Clock, EventLog, FetchLimits, Ports, PutOptions, StagedRow, SystemClock};
use mfctl_core::retry::RetryPolicy;
use mfctl_core::stop::Stop;
use mfctl_core::telemetry::Metrics;
use mfctl_core::wait::Backoff;
use mfctl_embedded::OpenMode;
use mfctl_extract::parsers::Limits;
use mfctl_extract::sandbox::Parser;
use tokio::sync::watch;

/// The ports and settings of a worker.
pub struct Platform {
    pub ports: Ports,
    pub buckets: Buckets,
    pub codec: Arc<EventCodec>,
    pub metrics: Arc<Metrics>,
    pub env: EnvName,
    data: tempfile::TempDir,
}

impl Platform {
    pub async fn new() -> Self {
        Self::with_topics(|_| true).await
    }

    /// With the topics of the contract that match a predicate.
    pub async fn with_topics(wanted: impl Fn(&TopicName) -> bool) -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::default());
        let ports = mfctl_embedded::open(data.path(), OpenMode::MayCreate, clock).await.unwrap();
        let env = EnvName::new("test").unwrap();
        let buckets = Buckets::of(&env).unwrap();
        let mut specs = contract::contract(3, contract::Retention::default());
        specs.retain(|spec| wanted(&spec.name));
        ports.log.create_topics(&specs).await.unwrap();
        ports.objects.create_buckets(&buckets.all().map(Clone::clone)).await.unwrap();
        schemas::register_all(ports.registry.as_ref()).await.unwrap();
        let codec = Arc::new(EventCodec::new(Arc::clone(&ports.registry), env.clone()));
        Self { ports, buckets, codec, metrics: Arc::new(Metrics::new()), env, data }
    }

    /// A connection of another program to the data folder's file.
    pub fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.data.path().join("mfctl.db")).unwrap()
    }

    /// Stages texts as ingest does, without publishing; returns the asset and the record of each.
    pub async fn stage(&self, texts: &[String]) -> Vec<(AssetId, NewRecord)> {
        self.stage_as(&Tenant::default(), "text/plain", texts).await
    }

    /// As [`Platform::stage`], for a tenant, as files of this media type.
    pub async fn stage_as(&self, tenant: &Tenant, media_type: &str, texts: &[String]) -> Vec<(AssetId, NewRecord)> {
        let job = JobId::fresh();
        let mut staged = Vec::new();
        let mut rows = Vec::new();
        for text in texts {
            let sha256 = Sha256(sha(text));
            let event_id = EventId::fresh();
            let staging =
                ObjectRef { bucket: self.buckets.staging.clone(), key: object_keys::staging(tenant, job, event_id) };
            let bytes = Arc::new(Bytes::from(text.clone()));
            self.ports.objects.put(&staging, bytes, PutOptions::default()).await.unwrap();
            let mut event = self.event(text, sha256, event_id, job, staging);
            event.envelope.tenant = tenant.clone();
            event.envelope.asset_id = AssetId::of(tenant, &sha256);
            event.media_type = media_type.to_owned();
            rows.push(row(&event));
            let now = self.ports.clock.now();
            let record = self.codec.encode(&topics::INGEST_RAW, &event, &event.envelope, event_id, now).await.unwrap();
            staged.push((event.envelope.asset_id, record));
        }
        self.ports.objects.sync().await.unwrap();
        self.ports.catalog.stage(rows).await.unwrap();
        staged
    }

    fn event(&self, text: &str, sha256: Sha256, event_id: EventId, job_id: JobId, staging: ObjectRef) -> IngestRaw {
        let tenant = Tenant::default();
        let now = self.ports.clock.now();
        IngestRaw {
            envelope: EventEnvelope {
                event_id,
                occurred_at: now,
                asset_id: AssetId::of(&tenant, &sha256),
                sha256,
                tenant,
                locale: "und".into(),
                job_id,
                actor: "tester@host".into(),
                staged_at: now,
                revision: Revision::FIRST,
            },
            staging,
            size_bytes: text.len() as u64,
            media_type: "text/plain".into(),
            declared_media_type: None,
            source_path: SourcePath::from_text(format!("/in/{}.txt", &sha256.to_string()[..8])),
            metadata: Metadata::default(),
        }
    }

    /// Stages and publishes `count` texts.
    pub async fn ingest(&self, count: usize) -> Vec<AssetId> {
        let texts: Vec<String> = (0..count).map(|at| format!("text {at}")).collect();
        let (assets, records): (Vec<_>, Vec<_>) = self.stage(&texts).await.into_iter().unzip();
        self.ports.log.publish(records).await.unwrap();
        assets
    }

    /// Stages, publishes and persists texts of a tenant, as files of this media type.
    pub async fn ingest_as(&self, tenant: &Tenant, media_type: &str, texts: &[String]) -> Vec<AssetId> {
        let staged = self.stage_as(tenant, media_type, texts).await;
        let (assets, records): (Vec<_>, Vec<_>) = staged.into_iter().unzip();
        self.ports.log.publish(records).await.unwrap();
        self.drain(self.persist()).await;
        assets
    }

    /// Every record of a topic.
    pub async fn records(&self, topic: &TopicName) -> Vec<Record> {
        let mut found = Vec::new();
        for partition in self.ports.log.offsets(std::slice::from_ref(topic)).await.unwrap() {
            let mut from = partition.span.low;
            while from < partition.span.high {
                let limits = FetchLimits { max_records: 1000, max_bytes: 16 << 20 };
                let fetched = self.ports.log.fetch(&partition.at, from, limits).await.unwrap();
                from = fetched.next_offset;
                found.extend(fetched.records);
            }
        }
        found
    }

    /// How often persist emitted each asset.
    pub async fn emitted(&self) -> BTreeMap<String, usize> {
        let mut emitted = BTreeMap::new();
        for record in self.records(&topics::MEDIA_INGESTED).await {
            let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
            *emitted.entry(key).or_default() += 1;
        }
        emitted
    }

    /// Fails unless each of these assets was emitted once, and nothing else.
    pub async fn assert_each_emitted_once(&self, assets: &[AssetId]) {
        let expected: BTreeMap<String, usize> = assets.iter().map(|asset| (asset.to_string(), 1)).collect();
        assert_eq!(self.emitted().await, expected);
    }

    pub async fn asset(&self, asset: AssetId) -> Asset {
        self.ports.catalog.assets(&[asset]).await.unwrap().pop().unwrap()
    }

    pub async fn dead_letters(&self) -> Vec<Record> {
        self.records(&topics::INGEST_RAW.dead_letters()).await
    }

    pub fn persist(&self) -> Persist {
        Persist {
            objects: Arc::clone(&self.ports.objects),
            catalog: Arc::clone(&self.ports.catalog),
            codec: Arc::clone(&self.codec),
            clock: Arc::clone(&self.ports.clock),
            buckets: self.buckets.clone(),
            baseline: StoreBaseline::default(),
        }
    }

    /// The enrich step with this parser.
    pub fn enrich(&self, parser: Parser) -> Enrich {
        Enrich {
            extractor: Arc::new(parser),
            limits: watch::channel(Limits::default()).1,
            objects: Arc::clone(&self.ports.objects),
            catalog: Arc::clone(&self.ports.catalog),
            search: Arc::clone(&self.ports.search),
            codec: Arc::clone(&self.codec),
            clock: Arc::clone(&self.ports.clock),
            buckets: self.buckets.clone(),
            baseline: StoreBaseline::default(),
            scratch: Scratch::new(self.data.path()),
        }
    }

    pub fn scripted(&self, script: impl Script) -> ScriptedStep {
        ScriptedStep {
            persist: self.persist(),
            script: Box::new(script),
            runs: Mutex::default(),
            writes: Box::new(|_| None),
        }
    }

    pub fn worker_ports(&self) -> WorkerPorts {
        self.worker_ports_on(Arc::clone(&self.ports.log))
    }

    pub fn worker_ports_on(&self, log: Arc<dyn EventLog>) -> WorkerPorts {
        WorkerPorts {
            log,
            catalog: Arc::clone(&self.ports.catalog),
            objects: Arc::clone(&self.ports.objects),
            buckets: self.buckets.clone(),
            codec: Arc::clone(&self.codec),
            clock: Arc::clone(&self.ports.clock) as Arc<dyn Clock>,
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// Runs a step until its topic is drained.
    pub async fn drain<S: PipelineStep>(&self, step: S) -> WorkerOutcome {
        self.run(Arc::new(step), self.worker_ports(), until_drained()).await
    }

    pub async fn run<S: PipelineStep>(
        &self,
        step: Arc<S>,
        ports: WorkerPorts,
        options: WorkerOptions,
    ) -> WorkerOutcome {
        let never = Stop::never();
        let health = WorkerHealth::default();
        let run = worker::run(step, ports, options, health.clone(), &never);
        let ended = tokio::time::timeout(Duration::from_secs(60), run).await;
        ended.unwrap_or_else(|_| panic!("the worker has not ended: {health:?}")).unwrap()
    }
}

/// Options for a worker with short backoffs that ends when drained.
pub fn until_drained() -> WorkerOptions {
    WorkerOptions {
        retry: RetryPolicy {
            attempts: 5,
            backoff: Backoff::exponential(Duration::from_millis(2), Duration::from_millis(20)),
        },
        until: Until::Drained { after: None },
        ..WorkerOptions::default()
    }
}

/// As [`until_drained`], with this tuning.
pub fn tuned(tuning: Tuning) -> WorkerOptions {
    WorkerOptions { tuning: watch::channel(tuning).1, ..until_drained() }
}

fn sha(text: &str) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(text.as_bytes()).into()
}

fn row(event: &IngestRaw) -> StagedRow {
    StagedRow {
        asset_id: event.envelope.asset_id,
        tenant: event.envelope.tenant.clone(),
        sha256: event.envelope.sha256,
        size_bytes: event.size_bytes,
        media_type: event.media_type.clone(),
        event_id: event.envelope.event_id,
        job_id: event.envelope.job_id,
        staging: event.staging.clone(),
        staged_at: event.envelope.staged_at,
        metadata: event.metadata.clone(),
        source_path: event.source_path.clone(),
        host: "host".into(),
    }
}

/// Decides what happens to an asset's record before persist sees it, given the number of its earlier runs.
pub trait Script: Fn(AssetId, u32) -> ScriptedAction + Send + Sync + 'static {}
impl<F: Fn(AssetId, u32) -> ScriptedAction + Send + Sync + 'static> Script for F {}

/// What a scripted step does before persist.
pub enum ScriptedAction {
    Proceed,
    Fail(StepError),
    Panic,
    Sleep(Duration),
    /// Wait until the value is `true`.
    WaitFor(watch::Receiver<bool>),
    /// Persist, and add this many bytes to its output.
    GrowOutput(usize),
}

/// Persist, preceded by a scripted action.
pub struct ScriptedStep {
    persist: Persist,
    script: Box<dyn Script>,
    runs: Mutex<BTreeMap<AssetId, u32>>,
    writes: Box<dyn WriteScript>,
}

/// The error of a bulk write for these assets, if it fails.
pub trait WriteScript: Fn(&[AssetId]) -> Option<ports::ErrorKind> + Send + Sync + 'static {}
impl<F: Fn(&[AssetId]) -> Option<ports::ErrorKind> + Send + Sync + 'static> WriteScript for F {}

/// What persist left for an asset.
pub struct ScriptedEffect {
    asset: AssetId,
    persist: PersistEffect,
}

impl ScriptedStep {
    /// Its bulk writes fail as scripted.
    pub fn writing(self, script: impl WriteScript) -> Self {
        Self { writes: Box::new(script), ..self }
    }
}

#[async_trait]
impl PipelineStep for ScriptedStep {
    type Input = IngestRaw;
    type Effect = ScriptedEffect;

    fn stage(&self) -> Stage {
        Stage::Persist
    }

    fn envelope(input: &IngestRaw) -> &EventEnvelope {
        &input.envelope
    }

    async fn run(&self, cx: RecordContext<'_>, input: &IngestRaw) -> Result<StepOutput<ScriptedEffect>, StepError> {
        let asset = input.envelope.asset_id;
        let runs = {
            let mut runs_by_asset = self.runs.lock().unwrap();
            let runs = runs_by_asset.entry(asset).or_default();
            *runs += 1;
            *runs - 1
        };
        let mut grow = 0;
        match (self.script)(asset, runs) {
            ScriptedAction::Proceed => {}
            ScriptedAction::GrowOutput(bytes) => grow = bytes,
            ScriptedAction::Fail(error) => return Err(error),
            ScriptedAction::Panic => panic!("as scripted"),
            ScriptedAction::Sleep(time) => mfctl_core::wait::pause(time).await,
            ScriptedAction::WaitFor(mut value) => drop(value.wait_for(|value| *value).await.unwrap()),
        }
        let StepOutput { mut records, effect: persist, weight_bytes } = self.persist.run(cx, input).await?;
        if grow > 0 {
            records[0].headers.push("large", vec![b'x'; grow]);
        }
        Ok(StepOutput { records, effect: ScriptedEffect { asset, persist }, weight_bytes })
    }

    async fn finish(&self, effects: &[&ScriptedEffect]) -> ports::Result<()> {
        let assets: Vec<AssetId> = effects.iter().map(|effect| effect.asset).collect();
        if let Some(kind) = (self.writes)(&assets) {
            return Err(ports::Error::new(kind, "advance, as scripted"));
        }
        self.persist.finish(&effects.iter().map(|effect| &effect.persist).collect::<Vec<_>>()).await
    }

    fn staged_object(&self, effect: ScriptedEffect) -> Option<ObjectRef> {
        self.persist.staged_object(effect.persist)
    }
}
