//! One cluster: its settings, and the clients that everything but group members and transactions shares.
//!
//! Clients are made when they are needed first; making a `Cluster` opens no connection. Blocking calls run off the async
//! threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::AdminClient;
use rdkafka::client::Client;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaResult;
use rdkafka::producer::BaseProducer;
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::config::KafkaConfig;
use super::consumer::off_to_close;
use super::context::{Context, Trouble};
use super::error::{self, Failure};
use super::ffi;
use super::names::Names;
use super::reader::Readers;
use super::topics::Topics;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// How long one question may take.
pub(super) const CALL: Duration = Duration::from_secs(10);
/// How long the first contact may take: a wrong address or password is to be told soon.
const FIRST_CONTACT: Duration = Duration::from_secs(5);
/// How long a group's coordinator may take to be where it is said to be, and how often it is looked for meanwhile.
const MOVING: Duration = Duration::from_secs(5);
const MOVING_AGAIN: Duration = Duration::from_millis(250);
/// How often a question is put again whose broker librdkafka let go: the address that it was given, once it knows the
/// brokers' own, and each broker that leaves.
const LET_GO: u32 = 3;
/// How often clients that nobody polls are looked after.
const ROUND: Duration = Duration::from_millis(100);

pub(super) type Admin = AdminClient<Context>;
type Producer = BaseProducer<Context>;
type Asker = BaseConsumer<Context>;

/// See the module.
pub(super) struct Cluster {
    pub(super) config: KafkaConfig,
    pub(super) names: Names,
    pub(super) topics: Topics,
    pub(super) trouble: Arc<Trouble>,
    admin: Mutex<Option<Arc<Admin>>>,
    producer: Mutex<Option<Arc<Producer>>>,
    /// Asks groups' coordinators.
    asker: Arc<Mutex<Option<Arc<Asker>>>>,
    pub(super) readers: Arc<Readers>,
    stop: Arc<AtomicBool>,
}

impl Cluster {
    pub(super) fn new(config: KafkaConfig) -> Arc<Self> {
        ffi::keep_tls_to_the_end();
        Arc::new(Self {
            names: Names::new(&config.namespace),
            topics: Topics::default(),
            trouble: Arc::default(),
            admin: Mutex::default(),
            producer: Mutex::default(),
            asker: Arc::default(),
            readers: Arc::default(),
            stop: Arc::default(),
            config,
        })
    }

    pub(super) fn context(&self) -> Context {
        Context::new(&self.trouble, &self.config.metrics)
    }

    /// The port's error of a failed call.
    pub(super) fn error(&self, what: impl Into<String>, failure: impl Into<Failure>) -> Error {
        error::error(&self.config.settings, &self.trouble, what, failure.into())
    }

    /// The client that asks questions.
    pub(super) fn admin(&self) -> Result<Arc<Admin>> {
        let mut slot = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(admin) = &*slot {
            return Ok(Arc::clone(admin));
        }
        let made = self.config.client().create_with_context(self.context());
        let admin: Arc<Admin> = Arc::new(made.map_err(|error| self.error("make a Kafka client", error))?);
        let (client, readers, stop) = (Arc::clone(&admin), Arc::clone(&self.readers), Arc::clone(&self.stop));
        let asker = Arc::clone(&self.asker);
        spawn("kafka-events", move || {
            while !stop.load(Ordering::Relaxed) {
                ffi::serve(client.inner());
                readers.look_after();
                let asker = asker.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // Errors are noted by the context; it reads no records.
                while asker.as_ref().is_some_and(|asker| asker.poll(Duration::ZERO).is_some()) {}
                std::thread::sleep(ROUND);
            }
        })?;
        *slot = Some(Arc::clone(&admin));
        Ok(admin)
    }

    /// The producer of everything that is published outside transactions.
    pub(super) fn producer(&self) -> Result<Arc<Producer>> {
        let mut slot = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = &*slot {
            use rdkafka::producer::Producer as _;
            if producer.client().fatal_error().is_none() {
                return Ok(Arc::clone(producer));
            }
        }
        let made = self.config.producer().create_with_context(self.context());
        let producer: Arc<Producer> = Arc::new(made.map_err(|error| self.error("make a Kafka producer", error))?);
        let (polled, stop) = (Arc::clone(&producer), Arc::clone(&self.stop));
        spawn("kafka-producer", move || {
            // The slot's handle goes when the producer is replaced; then whoever still waits has one.
            while !stop.load(Ordering::Relaxed) && Arc::strong_count(&polled) > 1 {
                polled.poll(ROUND);
            }
        })?;
        *slot = Some(Arc::clone(&producer));
        Ok(producer)
    }

    /// The client that asks groups' coordinators: a consumer, for when a coordinator moves, librdkafka makes the client that
    /// asked look for its own group's, and one that has no group takes the process down (confluentinc/librdkafka#5040). It
    /// is a member of none.
    fn asker(&self) -> Result<Arc<Asker>> {
        let mut slot = self.asker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asker) = &*slot {
            return Ok(Arc::clone(asker));
        }
        let made = self.config.reader().create_with_context(self.context());
        let asker: Arc<Asker> = Arc::new(made.map_err(|error| self.error("make a Kafka client", error))?);
        *slot = Some(Arc::clone(&asker));
        Ok(asker)
    }

    /// Does without a client that gets no answer.
    fn forget_asker(&self, silent: &Arc<Asker>) {
        let mut slot = self.asker.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|asker| Arc::ptr_eq(asker, silent))
            && let Some(asker) = slot.take()
        {
            off_to_close(move || drop(asker));
        }
    }

    /// Asks a group's coordinator something, off the async threads. One that is on its way from a broker to another is waited
    /// for.
    pub(super) async fn ask_coordinator<T: Send + 'static>(
        self: &Arc<Self>,
        what: &'static str,
        question: impl Fn(&Asker) -> std::result::Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        self.reach().await?;
        let cluster = Arc::clone(self);
        off_thread(move || {
            let end = Instant::now() + MOVING;
            loop {
                let asker = cluster.asker()?;
                let failure = match question(&asker) {
                    Ok(answer) => return Ok(answer),
                    Err(failure) => failure,
                };
                // A client that knew a coordinator which left the cluster, or is one no more, goes on asking it for ten
                // minutes (confluentinc/librdkafka#5456, #5511). A new one looks for it.
                let is_moving = is_moving(failure.code);
                if is_moving || failure.code == Code::OperationTimedOut {
                    cluster.forget_asker(&asker);
                }
                if !is_moving || Instant::now() >= end {
                    return Err(cluster.error(what, failure));
                }
                std::thread::sleep(MOVING_AGAIN);
            }
        })
        .await
    }

    /// Makes sure that the cluster answers, or says soon why it does not. Answers its id.
    pub(super) async fn reach(self: &Arc<Self>) -> Result<()> {
        match self.trouble.was_reached() {
            true => Ok(()),
            false => self.cluster_id().await.map(drop),
        }
    }

    /// The cluster's id.
    pub(super) async fn cluster_id(self: &Arc<Self>) -> Result<String> {
        let cluster = Arc::clone(self);
        off_thread(move || {
            let admin = cluster.admin()?;
            let end = Instant::now() + FIRST_CONTACT;
            loop {
                if let Some(id) = admin.inner().fetch_cluster_id(Duration::from_millis(250)) {
                    cluster.trouble.over();
                    return Ok(id);
                }
                ffi::serve(admin.inner());
                if cluster.trouble.refusal().is_some() || Instant::now() >= end {
                    let failure = Failure::new(Code::BrokerTransportFailure, "no broker answers");
                    let what = format!("reach Kafka at {}", cluster.config.brokers);
                    return Err(cluster.error(what, failure));
                }
            }
        })
        .await
    }

    /// Asks the cluster something, off the async threads.
    pub(super) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        what: &'static str,
        question: impl Fn(&Client<Context>) -> std::result::Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        self.reach().await?;
        let cluster = Arc::clone(self);
        off_thread(move || {
            let admin = cluster.admin()?;
            let mut asked = 1;
            loop {
                match question(admin.inner()) {
                    Err(failure) if failure.code == Code::DestroyBroker && asked < LET_GO => asked += 1,
                    answered => return answered.map_err(|failure| cluster.error(what, failure)),
                }
            }
        })
        .await
    }

    /// Calls the admin client. Answers also whether it was called again, for then the call before may have been heard.
    pub(super) async fn administer<T, F>(&self, call: impl Fn(Arc<Admin>) -> F + Send) -> Result<(KafkaResult<T>, bool)>
    where
        F: Future<Output = KafkaResult<T>> + Send,
    {
        let mut asked = 1;
        loop {
            match call(self.admin()?).await {
                Err(error) if error.rdkafka_error_code() == Some(Code::DestroyBroker) && asked < LET_GO => asked += 1,
                answered => return Ok((answered, asked > 1)),
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The threads have the last handles, so that closing connections holds up nobody else.
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Whether a group's coordinator is on its way from one broker to another, or has only begun, as at a cluster's first group.
fn is_moving(code: Code) -> bool {
    matches!(code, Code::NotCoordinator | Code::CoordinatorLoadInProgress | Code::CoordinatorNotAvailable)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let made = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    made.map(drop).map_err(|error| Error::new(ErrorKind::Internal, "start a thread for Kafka's events").because(error))
}

/// Runs what blocks off the async threads. What was begun goes on if the caller does not wait for its end.
pub(super) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::new(ErrorKind::Internal, "call Kafka").because(error)))
}
