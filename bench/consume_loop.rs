//! How many records a second pass through the consume loop on Kafka, beside a plain consumer and producer of librdkafka:
//! `cargo bench --bench consume_loop`, with the stack up and its variables set. BENCH_METRICS=1 also prints what the worker
//! counted.
//!
//! Both read the same topic of 1 KiB events and write each value to another topic: same partitions, same process, same
//! batching and compression, acknowledged by all replicas. The plain one commits its offsets now and then and promises
//! nothing; the loop decodes and validates each event, claims it, keeps the order of keys and commits outputs and offsets
//! in transactions. Its catalog is a double that says yes at once: what PostgREST costs, `bench/real` measures.
//!
//! `BENCH_RECORDS` (100,000), `BENCH_RUNS` (3, interleaved, the median counts).
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement, not part of the program"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use mfctl::pipeline::worker::{
    self, PipelineStep, RecordContext, StepError, StepOutput, Tuning, WorkerHealth, WorkerOptions, WorkerPorts,
};
use mfctl_core::domain::asset::{AssetPaths, AssetSighting, AssetSource};
use mfctl_core::domain::claim::EpochAnswer;
use mfctl_core::domain::claim_folding::FoldLimits;
use mfctl_core::domain::event::{EventEnvelope, IngestRaw, Metadata};
use mfctl_core::domain::job::JobOutcome;
use mfctl_core::domain::names::{Buckets, topics};
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{
    Asset, AssetId, AssetState, ClaimEpoch, EnvName, EventId, GroupName, JobFence, JobId, NewRecord, ObjectRef,
    Revision, Sha256, SourcePath, Stage, Tenant, TopicName, TopicPartition,
};
use mfctl_core::events::{EventCodec, schemas, topics as contract};
use mfctl_core::ports::{
    self, AssetFilter, AssetOrder, Catalog, CatalogSummary, ClaimAnswer, ClaimBatch, ClaimEnd, ClaimedBatch,
    CursorPage, DeadLetterFlag, EpochRequest, EventLog, FetchLimits, FoldedPage, ObjectStore, PartitionEnd,
    PartitionEndSeen, PartitionFence, StagedAsset, StagedRow, StateTransition, SystemClock, Takedown, TakedownRequest,
    UnreadCount,
};
use mfctl_core::stop::{Stop, StopReason, Stopper};
use mfctl_core::telemetry::Metrics;
use mfctl_embedded::OpenMode;
use mfctl_kafka::{KafkaConfig, KafkaLog};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Message as _, Timestamp};
use tokio::sync::watch;

const PARTITIONS: u32 = 6;
/// Key, value and headers of a record together.
const RECORD_BYTES: usize = 1024;
/// What the plain one writes to; the loop writes to its stage's output.
const PLAIN_OUTPUT: TopicName = topics::MEDIA_ENRICHED;
const STAGE: Stage = Stage::Persist;

/// The topics of one run of this program, and what is needed to read and write them.
struct Bench {
    brokers: String,
    namespace: String,
    log: Arc<dyn EventLog>,
    codec: Arc<EventCodec>,
    objects: Arc<dyn ObjectStore>,
    buckets: Buckets,
    records: usize,
    _registry: tempfile::TempDir,
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

impl Bench {
    async fn new() -> Option<Self> {
        let brokers = std::env::var("STACK_KAFKA").ok()?;
        let env = EnvName::new("bench").unwrap();
        let namespace = format!("bench{:08x}.", fastrand::u32(..));
        let mut config = KafkaConfig::new("profile.bench.kafka", &brokers);
        config.namespace.clone_from(&namespace);
        let log = KafkaLog::new(config).unwrap();
        log.create_topics(&contract::contract(PARTITIONS, contract::Retention::default())).await.unwrap();
        // Asked for its schemas at the start and never again.
        let registry = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::default());
        let local = mfctl_embedded::open(registry.path(), OpenMode::MayCreate, clock).await.unwrap();
        schemas::register_all(local.registry.as_ref()).await.unwrap();
        let buckets = Buckets::of(&env).unwrap();
        let codec = Arc::new(EventCodec::new(local.registry, env));
        let objects = local.objects;
        let records = number("BENCH_RECORDS", 100_000);
        Some(Self { brokers, namespace, log: Arc::new(log), codec, objects, buckets, records, _registry: registry })
    }

    fn wire(&self, topic: &TopicName) -> String {
        format!("{}{topic}", self.namespace)
    }

    /// Publishes the events that every run reads.
    async fn fill(&self) {
        for first in (0..self.records).step_by(1000) {
            let mut batch = Vec::with_capacity(1000);
            for n in first..(first + 1000).min(self.records) {
                batch.push(event(&self.codec, n).await);
            }
            self.log.publish(batch).await.unwrap();
        }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    /// Topics cost the brokers memory, so they go.
    async fn clean(&self) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let metadata = admin.inner().fetch_metadata(None, Duration::from_secs(10)).unwrap();
        let all = metadata.topics().iter().map(|topic| topic.name());
        let ours: Vec<&str> = all.filter(|topic| topic.starts_with(&self.namespace)).collect();
        admin.delete_topics(&ours, &AdminOptions::new()).await.unwrap();
    }
}

/// An event that weighs [`RECORD_BYTES`] as a record. Its padding is hexadecimal, about half of which compresses away.
async fn event(codec: &EventCodec, n: usize) -> NewRecord {
    let mut random = fastrand::Rng::with_seed(n as u64);
    let mut sha256 = [0; 32];
    random.fill(&mut sha256);
    let sha256 = Sha256(sha256);
    let (tenant, job_id, event_id) = (Tenant::default(), JobId::fresh(), EventId::fresh());
    let mut event = IngestRaw {
        envelope: EventEnvelope {
            event_id,
            occurred_at: jiff::Timestamp::now(),
            asset_id: AssetId::of(&tenant, &sha256),
            sha256,
            tenant: tenant.clone(),
            locale: "und".into(),
            job_id,
            actor: "bench@host".into(),
            staged_at: jiff::Timestamp::now(),
            revision: Revision::FIRST,
        },
        staging: staging(codec.env(), &tenant, job_id, event_id),
        size_bytes: 65536,
        media_type: "application/octet-stream".into(),
        declared_media_type: None,
        source_path: SourcePath::from_text(format!("/bench/{n}.bin")),
        metadata: Metadata { title: Some(String::new()), ..Metadata::default() },
    };
    let encode = async |event: &IngestRaw| {
        codec.encode(&STAGE.input(), event, &event.envelope, event_id, jiff::Timestamp::now()).await.unwrap()
    };
    let bare = encode(&event).await.size_bytes();
    let padding: String = (bare..RECORD_BYTES).map(|_| random.digit(16)).collect();
    event.metadata.title = Some(padding);
    encode(&event).await
}

fn staging(env: &EnvName, tenant: &Tenant, job: JobId, event: EventId) -> ObjectRef {
    ObjectRef { bucket: Buckets::of(env).unwrap().staging, key: object_keys::staging(tenant, job, event) }
}

/// Reads and writes with librdkafka alone. Answers the seconds from the first record to the last acknowledgement.
fn plain(bench: &Bench, run: usize) -> f64 {
    let consumer: BaseConsumer = bench
        .client()
        .set("group.id", format!("{}plain.{run}", bench.namespace))
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    // As the loop's producer, without its transaction.
    let producer: BaseProducer = bench
        .client()
        .set("acks", "all")
        .set("linger.ms", "1")
        .set("compression.type", "zstd")
        .set("compression.level", "1")
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", "65536")
        .create()
        .unwrap();
    let output = bench.wire(&PLAIN_OUTPUT);
    consumer.subscribe(&[&bench.wire(&STAGE.input())]).unwrap();
    let (mut began, mut done) = (None, 0);
    while done < bench.records {
        let Some(read) = consumer.poll(Duration::from_millis(100)) else { continue };
        let read = read.unwrap();
        began.get_or_insert_with(Instant::now);
        let (key, value) = (read.key().unwrap(), read.payload().unwrap());
        let mut record = BaseRecord::to(&output).key(key).payload(value);
        record.headers = read.headers().map(rdkafka::message::BorrowedHeaders::detach);
        if let Timestamp::CreateTime(at) = read.timestamp() {
            record.timestamp = Some(at);
        }
        while let Err((KafkaError::MessageProduction(_), back)) = producer.send(record) {
            record = back;
            producer.poll(Duration::from_millis(1));
        }
        done += 1;
        if done % 64 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    began.unwrap().elapsed().as_secs_f64()
}

/// Passes each value on, and ends the worker when all are committed.
struct PassOn {
    left: AtomicUsize,
    stopper: Stopper,
    ended: OnceLock<Instant>,
}

#[async_trait]
impl PipelineStep for PassOn {
    type Input = IngestRaw;
    type Effect = ();

    fn stage(&self) -> Stage {
        STAGE
    }

    fn envelope(input: &IngestRaw) -> &EventEnvelope {
        &input.envelope
    }

    async fn run(&self, cx: RecordContext<'_>, _: &IngestRaw) -> Result<StepOutput<()>, StepError> {
        let record = NewRecord {
            topic: STAGE.output(),
            partition: None,
            key: cx.record.key.clone(),
            value: cx.record.value.clone(),
            headers: cx.record.headers.clone(),
            timestamp: cx.record.timestamp,
        };
        Ok(StepOutput { records: vec![record], effect: (), weight_bytes: 0 })
    }

    async fn finish(&self, _: &[&()]) -> ports::Result<()> {
        Ok(())
    }

    fn staged_object(&self, (): ()) -> Option<ObjectRef> {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _ = self.ended.set(Instant::now());
            self.stopper.stop(StopReason::Terminated);
        }
        None
    }
}

/// The loop over the same topic. Answers the seconds from the first claim to the last commit.
async fn through_the_loop(bench: &Bench) -> f64 {
    let (stopper, stop) = Stop::channel();
    let step = Arc::new(PassOn { left: AtomicUsize::new(bench.records), stopper, ended: OnceLock::new() });
    let catalog = Arc::new(SaysYes::default());
    let ports = WorkerPorts {
        log: Arc::clone(&bench.log),
        catalog: Arc::clone(&catalog) as Arc<dyn Catalog>,
        objects: Arc::clone(&bench.objects),
        buckets: bench.buckets.clone(),
        codec: Arc::clone(&bench.codec),
        clock: Arc::new(SystemClock::default()),
        metrics: Arc::new(Metrics::new()),
    };
    let metrics = Arc::clone(&ports.metrics);
    // As `mfctl worker persist` has them.
    let options = WorkerOptions {
        tuning: watch::channel(Tuning { concurrency: number("BENCH_CONCURRENCY", 64), ..Tuning::default() }).1,
        window_records: number("BENCH_WINDOW", 16384),
        batch: FetchLimits { max_records: number("BENCH_BATCH", 2048), max_bytes: 8 << 20 },
        commit_records: number("BENCH_COMMIT", 8192),
        ..WorkerOptions::default()
    };
    let outcome = worker::run(Arc::clone(&step), ports, options, WorkerHealth::default(), &stop).await.unwrap();
    assert_eq!(outcome.summary.emitted as usize, bench.records, "{outcome:?}");
    if std::env::var_os("BENCH_METRICS").is_some() {
        println!("{}", metrics.text());
    }
    bench.log.delete_group(&STAGE.group(bench.codec.env()).unwrap()).await.unwrap();
    let began = catalog.asked.lock().unwrap().unwrap();
    step.ended.get().unwrap().duration_since(began).as_secs_f64()
}

/// A catalog that knows every asset and gives every claim.
#[derive(Default)]
struct SaysYes {
    asked: Mutex<Option<Instant>>,
}

#[async_trait]
impl Catalog for SaysYes {
    async fn mint_epochs(&self, _: &GroupName, requests: Vec<EpochRequest>) -> ports::Result<Vec<EpochAnswer>> {
        Ok(requests.iter().map(|_| EpochAnswer::Minted(ClaimEpoch(1))).collect())
    }
    async fn claim(&self, _: &GroupName, batch: ClaimBatch) -> ports::Result<ClaimedBatch> {
        self.asked.lock().unwrap().get_or_insert_with(Instant::now);
        let answers = batch.requests.iter().map(|_| ClaimAnswer::Granted).collect();
        let assets = batch.requests.iter().map(|request| asset(request.asset_id)).collect();
        Ok(ClaimedBatch { answers, assets })
    }
    async fn assets(&self, ids: &[AssetId]) -> ports::Result<Vec<Asset>> {
        Ok(ids.iter().copied().map(asset).collect())
    }
    async fn fold_claims(
        &self,
        _: &GroupName,
        _: &FoldLimits,
        _: Option<AssetId>,
        _: usize,
    ) -> ports::Result<FoldedPage> {
        unreachable!("no worker asks")
    }
    async fn see_partition_ends(&self, ends: Vec<PartitionEnd>) -> ports::Result<Vec<PartitionEndSeen>> {
        let now = jiff::Timestamp::now();
        Ok(ends.iter().map(|_| PartitionEndSeen { topic_since: now, end_since: now }).collect())
    }
    async fn advance(&self, _: Vec<StateTransition>) -> ports::Result<Vec<AssetId>> {
        Ok(Vec::new())
    }
    async fn revoke(&self, _: Vec<TakedownRequest>) -> ports::Result<Vec<Option<Takedown>>> {
        unreachable!("no worker asks")
    }
    async fn complete_takedowns(&self, _: &[(AssetId, Revision)], _: jiff::Timestamp) -> ports::Result<()> {
        unreachable!("no worker asks")
    }
    async fn lift(&self, _: Vec<TakedownRequest>) -> ports::Result<()> {
        unreachable!("no worker asks")
    }
    async fn takedowns(&self, _: &[AssetId]) -> ports::Result<Vec<Takedown>> {
        unreachable!("no worker asks")
    }
    async fn end_claims(
        &self,
        _: &GroupName,
        _: Vec<PartitionFence>,
        _: Vec<ClaimEnd>,
    ) -> ports::Result<Vec<TopicPartition>> {
        unreachable!("nothing is dead-lettered")
    }
    async fn flag_dead_letters(&self, _: Vec<DeadLetterFlag>) -> ports::Result<()> {
        unreachable!("nothing is dead-lettered")
    }
    async fn identity(&self) -> ports::Result<String> {
        unreachable!("no worker asks")
    }
    async fn stage(&self, _: Vec<StagedRow>) -> ports::Result<Vec<StagedAsset>> {
        unreachable!("no worker asks")
    }
    async fn restage(&self, _: Vec<(AssetId, ObjectRef)>) -> ports::Result<()> {
        unreachable!("no worker asks")
    }
    async fn mark_published(&self, _: &[(AssetId, Revision)], _: jiff::Timestamp) -> ports::Result<()> {
        unreachable!("no worker asks")
    }
    async fn record_outcomes(&self, _: Option<&JobFence>, _: Vec<JobOutcome>) -> ports::Result<()> {
        unreachable!("no worker asks")
    }
    async fn list(&self, _: &AssetFilter, _: Option<&str>, _: usize) -> ports::Result<CursorPage<Asset>> {
        unreachable!("no worker asks")
    }
    async fn list_sorted(
        &self,
        _: &AssetFilter,
        _: AssetOrder,
        _: Option<&str>,
        _: usize,
    ) -> ports::Result<CursorPage<Asset>> {
        unreachable!("no worker asks")
    }
    async fn paths(&self, _: &[AssetId], _: usize) -> ports::Result<Vec<AssetPaths>> {
        unreachable!("no worker asks")
    }
    async fn sightings(&self, _: AssetId, _: usize) -> ports::Result<Vec<AssetSighting>> {
        unreachable!("no worker asks")
    }
    async fn sources(&self, _: AssetId, _: usize) -> ports::Result<Vec<AssetSource>> {
        unreachable!("no worker asks")
    }
    async fn assets_of_path(&self, _: &Tenant, _: &SourcePath) -> ports::Result<Vec<AssetId>> {
        unreachable!("no worker asks")
    }
    async fn asset_of_event(&self, _: EventId) -> ports::Result<Option<AssetId>> {
        unreachable!("no worker asks")
    }
    async fn latest_outcomes(&self, _: Option<&str>, _: usize) -> ports::Result<CursorPage<JobOutcome>> {
        unreachable!("no worker asks")
    }
    async fn job_outcomes(&self, _: JobId, _: Option<&str>, _: usize) -> ports::Result<CursorPage<JobOutcome>> {
        unreachable!("no worker asks")
    }
    async fn summary(&self) -> ports::Result<CatalogSummary> {
        unreachable!("no worker asks")
    }
    async fn unread(&self) -> ports::Result<Vec<UnreadCount>> {
        unreachable!("no worker asks")
    }
}

/// A row as good as any.
fn asset(asset_id: AssetId) -> Asset {
    static ROW: OnceLock<Asset> = OnceLock::new();
    let row = || {
        let (tenant, job_id, event_id) = (Tenant::default(), JobId::fresh(), EventId::fresh());
        Asset {
            asset_id,
            staging: staging(&EnvName::new("bench").unwrap(), &tenant, job_id, event_id),
            tenant,
            sha256: Sha256([0; 32]),
            size_bytes: 65536,
            media_type: "application/octet-stream".into(),
            revision: Revision::FIRST,
            state: AssetState::Staged,
            dead_lettered: None,
            event_id,
            job_id,
            staged_at: jiff::Timestamp::UNIX_EPOCH,
            published_at: None,
            ingested_at: None,
            enriched_at: None,
            updated_at: jiff::Timestamp::UNIX_EPOCH,
            metadata: Metadata::default(),
            facts: mfctl_core::domain::asset::AssetFacts::default(),
        }
    };
    Asset { asset_id, ..ROW.get_or_init(row).clone() }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

#[tokio::main]
async fn main() {
    let Some(bench) = Bench::new().await else {
        eprintln!("STACK_KAFKA is not set: run this through `make bench-real`");
        std::process::exit(2);
    };
    bench.fill().await;
    let rate = |seconds: f64| bench.records as f64 / seconds;
    let (mut plain_rates, mut loop_rates) = (Vec::new(), Vec::new());
    for run in 1..=number("BENCH_RUNS", 3) {
        plain_rates.push(rate(tokio::task::block_in_place(|| plain(&bench, run))));
        loop_rates.push(rate(through_the_loop(&bench).await));
        println!("run {run}: plain {:.0} records/s, loop {:.0} records/s", plain_rates[run - 1], loop_rates[run - 1]);
    }
    bench.clean().await;
    let (plain, through) = (median(plain_rates), median(loop_rates));
    println!("{} records of {RECORD_BYTES} bytes, claims answered by a double of the catalog", bench.records);
    println!("plain {plain:.0}");
    println!("loop {through:.0}");
}
