//! The clients of one cluster that everything but group members and transactions shares.
//!
//! Each is created on first use: creating [`KafkaClients`] opens no connection. Blocking calls run off the async threads.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::admin::AdminClient;
use rdkafka::error::KafkaResult;
use rdkafka::producer::Producer as _;
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::blocking::{PeriodicThread, close_in_background, lock, run_blocking, spawn_thread};
use super::config::KafkaConfig;
use super::connection_status::ConnectionStatus;
use super::context::{KafkaContext, RawClient, RawConsumer, RawProducer};
use super::error::{self, LibrdkafkaError};
use super::ffi;
use super::names::WireNames;
use super::offsets::IsolationLevel;
use mfctl_core::ports::{Error, Result};
use mfctl_core::wait::{Backoff, wait_until_blocking};

/// The timeout of one request.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of the first contact: short, so that a wrong address or password is reported soon.
const FIRST_CONTACT_TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout of one request for the cluster id, after which events are served.
const CLUSTER_ID_TIMEOUT: Duration = Duration::from_millis(250);
const CLUSTER_ID_BACKOFF: Backoff = Backoff::constant(Duration::from_millis(10));
/// How long a group's coordinator may take to move to another broker.
pub(super) const COORDINATOR_MOVE_TIMEOUT: Duration = Duration::from_secs(5);
const COORDINATOR_MOVE_BACKOFF: Backoff = Backoff::constant(Duration::from_millis(250));
/// How often a request is sent whose broker librdkafka removes meanwhile: the bootstrap address, once it knows the
/// advertised ones, and each broker that leaves the cluster.
const ATTEMPTS_PER_REMOVED_BROKER: u32 = 3;
/// How often the events of clients that no caller polls are served.
const EVENT_INTERVAL: Duration = Duration::from_millis(100);

pub(super) type Admin = AdminClient<KafkaContext>;

/// See the module.
pub(super) struct KafkaClients {
    pub(super) config: KafkaConfig,
    pub(super) names: WireNames,
    pub(super) status: Arc<ConnectionStatus>,
    producer: Mutex<Option<Arc<RawProducer>>>,
    admin: Mutex<Option<Arc<Admin>>>,
    /// Sends requests to groups' coordinators.
    coordinator_client: Arc<Mutex<Option<Arc<RawConsumer>>>>,
    /// Dropped after the clients: the thread then has their last handles, and closing connections blocks no caller.
    events_thread: Mutex<Option<PeriodicThread>>,
}

impl KafkaClients {
    pub(super) fn new(config: KafkaConfig) -> Arc<Self> {
        ffi::keep_openssl_until_exit();
        Arc::new(Self {
            names: WireNames::new(&config.namespace),
            status: Arc::default(),
            producer: Mutex::default(),
            admin: Mutex::default(),
            coordinator_client: Arc::default(),
            events_thread: Mutex::default(),
            config,
        })
    }

    pub(super) fn context(&self) -> KafkaContext {
        KafkaContext::new(&self.status, &self.config.metrics)
    }

    /// The port's error of a failed call.
    pub(super) fn error(&self, what: impl Into<String>, error: impl Into<LibrdkafkaError>) -> Error {
        error::port_error(&self.config.settings, &self.status, what, error.into())
    }

    /// The client for metadata and administration.
    pub(super) fn admin(&self) -> Result<Arc<Admin>> {
        let mut slot = lock(&self.admin);
        if let Some(admin) = &*slot {
            return Ok(Arc::clone(admin));
        }
        let created = self.config.client().create_with_context(self.context());
        let admin: Arc<Admin> = Arc::new(created.map_err(|error| self.error("create a Kafka client", error))?);
        *lock(&self.events_thread) = Some(self.serve_events(&admin)?);
        *slot = Some(Arc::clone(&admin));
        Ok(admin)
    }

    fn serve_events(&self, admin: &Arc<Admin>) -> Result<PeriodicThread> {
        let admin = Arc::clone(admin);
        let coordinator_client = Arc::clone(&self.coordinator_client);
        PeriodicThread::spawn("kafka-events", EVENT_INTERVAL, move || {
            ffi::serve_events(admin.inner());
            let coordinator_client = lock(&coordinator_client).clone();
            // The context records errors; this client reads no records.
            while coordinator_client.as_ref().is_some_and(|client| client.poll(Duration::ZERO).is_some()) {}
        })
    }

    /// The producer for everything that is published outside transactions. Replaced after a fatal error.
    pub(super) fn producer(&self) -> Result<Arc<RawProducer>> {
        let mut slot = lock(&self.producer);
        if let Some(producer) = slot.as_ref().filter(|producer| producer.client().fatal_error().is_none()) {
            return Ok(Arc::clone(producer));
        }
        let created = self.config.producer().create_with_context(self.context());
        let producer: Arc<RawProducer> =
            Arc::new(created.map_err(|error| self.error("create a Kafka producer", error))?);
        let polled = Arc::clone(&producer);
        spawn_thread("kafka-producer", move || {
            // Ends when the producer was replaced or these clients were dropped, and no caller waits for a delivery.
            while Arc::strong_count(&polled) > 1 {
                polled.poll(EVENT_INTERVAL);
            }
        })?;
        *slot = Some(Arc::clone(&producer));
        Ok(producer)
    }

    /// The client that sends requests to groups' coordinators. It is a consumer, and a member of no group: when a
    /// coordinator moves, librdkafka makes the client that sent the request look for its own group's coordinator, and
    /// crashes the process if it has no group (confluentinc/librdkafka#5040).
    fn coordinator_client(&self) -> Result<Arc<RawConsumer>> {
        let mut slot = lock(&self.coordinator_client);
        if let Some(client) = &*slot {
            return Ok(Arc::clone(client));
        }
        let created = self.config.reader(IsolationLevel::ReadCommitted).create_with_context(self.context());
        let client: Arc<RawConsumer> = Arc::new(created.map_err(|error| self.error("create a Kafka client", error))?);
        *slot = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Closes the coordinator client, so that the next request creates a new one.
    fn discard_coordinator_client(&self, discarded: &Arc<RawConsumer>) {
        let mut slot = lock(&self.coordinator_client);
        if slot.as_ref().is_some_and(|client| Arc::ptr_eq(client, discarded))
            && let Some(client) = slot.take()
        {
            close_in_background(move || drop(client));
        }
    }

    /// Sends a request to a group's coordinator, off the async threads. Retries until the deadline while the coordinator
    /// moves from one broker to another.
    pub(super) async fn request_coordinator<T: Send + 'static>(
        self: &Arc<Self>,
        what: &'static str,
        deadline: Instant,
        request: impl Fn(&RawConsumer) -> std::result::Result<T, LibrdkafkaError> + Send + 'static,
    ) -> Result<T> {
        self.reach().await?;
        let clients = Arc::clone(self);
        run_blocking(move || {
            wait_until_blocking(deadline, COORDINATOR_MOVE_BACKOFF, || clients.try_coordinator(what, &request))
                .unwrap_or_else(Err)
        })
        .await
    }

    fn try_coordinator<T>(
        &self,
        what: &'static str,
        request: impl Fn(&RawConsumer) -> std::result::Result<T, LibrdkafkaError>,
    ) -> ControlFlow<Result<T>, Error> {
        let client = match self.coordinator_client() {
            Ok(client) => client,
            Err(error) => return ControlFlow::Break(Err(error)),
        };
        let error = match request(&client) {
            Ok(answer) => return ControlFlow::Break(Ok(answer)),
            Err(error) => error,
        };
        // A client that knew a coordinator which left the cluster, or is one no more, keeps sending requests to it for ten
        // minutes (confluentinc/librdkafka#5456, #5511). A new client looks it up.
        let is_moving = is_coordinator_moving(error.code);
        if is_moving || error.code == Code::OperationTimedOut {
            self.discard_coordinator_client(&client);
        }
        let error = self.error(what, error);
        match is_moving {
            true => ControlFlow::Continue(error),
            false => ControlFlow::Break(Err(error)),
        }
    }

    /// Makes sure that the cluster answered once, or reports soon why it does not.
    pub(super) async fn reach(self: &Arc<Self>) -> Result<()> {
        match self.status.was_reached() {
            true => Ok(()),
            false => self.cluster_id().await.map(drop),
        }
    }

    /// The cluster's id.
    pub(super) async fn cluster_id(self: &Arc<Self>) -> Result<String> {
        let clients = Arc::clone(self);
        run_blocking(move || {
            let admin = clients.admin()?;
            let deadline = Instant::now() + FIRST_CONTACT_TIMEOUT;
            let id = wait_until_blocking(deadline, CLUSTER_ID_BACKOFF, || {
                if let Some(id) = admin.inner().fetch_cluster_id(CLUSTER_ID_TIMEOUT) {
                    clients.status.mark_reached();
                    return ControlFlow::Break(Some(id));
                }
                ffi::serve_events(admin.inner());
                match clients.status.auth_error() {
                    Some(_) => ControlFlow::Break(None),
                    None => ControlFlow::Continue(()),
                }
            });
            id.ok().flatten().ok_or_else(|| {
                let error = LibrdkafkaError::new(Code::BrokerTransportFailure, "no broker answers");
                clients.error(format!("reach Kafka at {}", clients.config.brokers), error)
            })
        })
        .await
    }

    /// Sends a request to the cluster, off the async threads.
    pub(super) async fn request<T: Send + 'static>(
        self: &Arc<Self>,
        what: &'static str,
        request: impl Fn(&RawClient) -> std::result::Result<T, LibrdkafkaError> + Send + 'static,
    ) -> Result<T> {
        self.reach().await?;
        let clients = Arc::clone(self);
        run_blocking(move || {
            let admin = clients.admin()?;
            let mut attempts = 1;
            loop {
                match request(admin.inner()) {
                    Err(error) if error.code == Code::DestroyBroker && attempts < ATTEMPTS_PER_REMOVED_BROKER => {
                        attempts += 1;
                    }
                    answer => return answer.map_err(|error| clients.error(what, error)),
                }
            }
        })
        .await
    }

    /// Calls the admin client. The flag is true for a repeated call, since the first may have been executed.
    pub(super) async fn administer<T, F>(&self, call: impl Fn(Arc<Admin>) -> F + Send) -> Result<(KafkaResult<T>, bool)>
    where
        F: Future<Output = KafkaResult<T>> + Send,
    {
        let mut attempts = 1;
        loop {
            match call(self.admin()?).await {
                Err(error)
                    if error.rdkafka_error_code() == Some(Code::DestroyBroker)
                        && attempts < ATTEMPTS_PER_REMOVED_BROKER =>
                {
                    attempts += 1;
                }
                answer => return Ok((answer, attempts > 1)),
            }
        }
    }
}

/// Whether a group's coordinator moves from one broker to another, or is being elected, as at a cluster's first group.
fn is_coordinator_moving(code: Code) -> bool {
    matches!(code, Code::NotCoordinator | Code::CoordinatorLoadInProgress | Code::CoordinatorNotAvailable)
}
