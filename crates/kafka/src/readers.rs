//! Reading partitions without a group: one client for all of them, whose position stays where the last page ended.
//!
//! A partition that is read page by page is prefetched; one that is not read for a while is closed.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_sys::RDKafkaErrorCode as Code;
use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::blocking::{PeriodicThread, lock};
use super::clients::{KafkaClients, REQUEST_TIMEOUT};
use super::context::RawConsumer;
use super::error::{LibrdkafkaError, unknown_topic};
use super::ffi::{PartitionQueue, QueueItem};
use super::names::partition_number;
use super::offsets::{IsolationLevel, OffsetQueries};
use mfctl_core::domain::lag::PartitionSpan;
use mfctl_core::domain::{Record, TopicPartition};
use mfctl_core::ports::{FetchLimits, FetchedRecords, Result};

/// How long a partition stays open without being read.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);
/// How many partitions stay open at most.
const MAX_OPEN: usize = 32;
/// How long a record that was read proves that it exists.
const SEEN_FOR: Duration = Duration::from_secs(10);
/// How often the client's events are served and idle partitions are closed.
const UPKEEP_INTERVAL: Duration = Duration::from_millis(100);
/// How often a reader that waits checks its queue, should a wake-up be lost.
const QUEUE_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// An open partition.
struct PartitionReader {
    /// The topic's name on the wire.
    topic: String,
    waker: Arc<Notify>,
    /// Its fetched records; `None` until it is assigned first.
    queue: Option<PartitionQueue>,
    buffered: VecDeque<BufferedEntry>,
    /// Where the next page continues; `None` after a page was cancelled, when the position is unknown.
    next: Option<i64>,
    last_read: Instant,
}

/// Taken from a queue, and in no page yet.
enum BufferedEntry {
    Record(Record),
    /// The end of the partition was at this offset.
    End(i64),
}

type SharedReader = Arc<AsyncMutex<PartitionReader>>;

/// The open partitions of one cluster.
#[derive(Default)]
struct OpenPartitions {
    readers: Mutex<HashMap<TopicPartition, SharedReader>>,
    /// The last record read from each partition, and when.
    last_records: Mutex<HashMap<TopicPartition, (i64, Instant)>>,
}

impl OpenPartitions {
    fn reader(&self, consumer: &RawConsumer, at: &TopicPartition, topic: String) -> SharedReader {
        let mut readers = lock(&self.readers);
        if readers.len() >= MAX_OPEN && !readers.contains_key(at) {
            let idle = readers.iter().find(|(_, reader)| is_idle(reader, Duration::ZERO)).map(|(at, _)| at.clone());
            idle.iter().for_each(|at| close(consumer, &mut readers, at));
        }
        Arc::clone(readers.entry(at.clone()).or_insert_with(|| Arc::new(AsyncMutex::new(PartitionReader::new(topic)))))
    }

    fn close_idle(&self, consumer: &RawConsumer) {
        let mut readers = lock(&self.readers);
        let idle: Vec<TopicPartition> =
            readers.iter().filter(|(_, reader)| is_idle(reader, IDLE_TIMEOUT)).map(|(at, _)| at.clone()).collect();
        idle.iter().for_each(|at| close(consumer, &mut readers, at));
        drop(readers);
        lock(&self.last_records).retain(|_, (_, at)| at.elapsed() < SEEN_FOR);
    }
}

/// Whether no call uses the reader, and none has for this long. Only the map may have a handle.
fn is_idle(reader: &SharedReader, time: Duration) -> bool {
    Arc::strong_count(reader) == 1 && reader.try_lock().is_ok_and(|reader| reader.last_read.elapsed() >= time)
}

fn close(consumer: &RawConsumer, readers: &mut HashMap<TopicPartition, SharedReader>, at: &TopicPartition) {
    let Some(reader) = readers.remove(at) else { return };
    if let Ok(reader) = reader.try_lock()
        && reader.queue.is_some()
        && let Err(error) = consumer.incremental_unassign(&reader.list(at, Offset::Invalid))
    {
        tracing::debug!(target: "kafka", %error, %at, "could not close a partition");
    }
}

impl PartitionReader {
    fn new(topic: String) -> Self {
        Self {
            topic,
            waker: Arc::default(),
            queue: None,
            buffered: VecDeque::new(),
            next: None,
            last_read: Instant::now(),
        }
    }

    fn list(&self, at: &TopicPartition, offset: Offset) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(1);
        let mut element = list.add_partition(&self.topic, partition_number(at.partition));
        // Valid for every offset that is set here: a number, or `Invalid` for none.
        let _ = element.set_offset(offset);
        list
    }

    /// Moves to an offset, unless the reader is there already. Its position is unknown until the page is complete.
    fn seek(
        &mut self,
        consumer: &Arc<RawConsumer>,
        at: &TopicPartition,
        from: i64,
    ) -> std::result::Result<(), LibrdkafkaError> {
        self.last_read = Instant::now();
        if self.next.take() == Some(from) {
            return Ok(());
        }
        self.buffered.clear();
        if self.queue.take().is_some() {
            consumer.incremental_unassign(&self.list(at, Offset::Invalid))?;
        }
        let queue = PartitionQueue::split(consumer, &self.topic, partition_number(at.partition), &self.waker);
        let queue = queue.ok_or_else(|| LibrdkafkaError::of(Code::UnknownPartition))?;
        consumer.incremental_assign(&self.list(at, Offset::Offset(from)))?;
        self.queue = Some(queue);
        Ok(())
    }

    /// Buffers what the queue has; false when it is empty.
    fn refill(&mut self, at: &TopicPartition) -> std::result::Result<bool, LibrdkafkaError> {
        let mut failed = None;
        let buffered = &mut self.buffered;
        let taken = self.queue.as_ref().map_or(0, |queue| {
            queue.take(usize::MAX, |item| match item {
                QueueItem::Record(raw) => buffered.push_back(BufferedEntry::Record(raw.into_record(at))),
                QueueItem::End(offset) => buffered.push_back(BufferedEntry::End(offset)),
                QueueItem::Failed(code) => failed = Some(code),
            })
        });
        match failed {
            Some(code) => Err(LibrdkafkaError::of(code)),
            None => Ok(taken > 0),
        }
    }
}

/// The records of one answer.
struct FetchPage {
    limits: FetchLimits,
    records: Vec<Record>,
    bytes: usize,
    next: i64,
    /// The partition's end when the page was requested: the page ends there.
    high: i64,
}

impl FetchPage {
    /// Takes entries until the page is complete; false if it is not.
    fn fill(&mut self, buffered: &mut VecDeque<BufferedEntry>) -> bool {
        while let Some(entry) = buffered.pop_front() {
            match entry {
                BufferedEntry::End(offset) if offset >= self.high => {
                    self.next = self.next.max(offset);
                    return true;
                }
                // The partition has grown since.
                BufferedEntry::End(_) => {}
                BufferedEntry::Record(record) if record.address.offset >= self.high => {
                    buffered.push_front(BufferedEntry::Record(record));
                    self.next = self.high;
                    return true;
                }
                BufferedEntry::Record(record) => {
                    let bytes = self.bytes + record.size_bytes();
                    if !self.records.is_empty() && bytes > self.limits.max_bytes {
                        buffered.push_front(BufferedEntry::Record(record));
                        return true;
                    }
                    self.bytes = bytes;
                    self.next = record.address.offset + 1;
                    self.records.push(record);
                    let is_full = self.records.len() >= self.limits.max_records || bytes >= self.limits.max_bytes;
                    if is_full || self.next >= self.high {
                        return true;
                    }
                }
            }
        }
        false
    }
}

/// The client that reads, and the thread that serves it.
struct ReaderClient {
    consumer: Arc<RawConsumer>,
    /// Dropped after the consumer: the thread then has the last handle, and closing connections blocks no caller.
    _upkeep: PeriodicThread,
}

/// Reads partitions without a group.
pub(super) struct PartitionReaders {
    clients: Arc<KafkaClients>,
    offsets: Arc<OffsetQueries>,
    open: Arc<OpenPartitions>,
    client: Mutex<Option<ReaderClient>>,
    level: IsolationLevel,
}

impl PartitionReaders {
    pub(super) fn new(clients: Arc<KafkaClients>, offsets: Arc<OffsetQueries>, level: IsolationLevel) -> Self {
        Self { clients, offsets, open: Arc::default(), client: Mutex::default(), level }
    }

    /// The client, created on first use. Its `group.id` is that of a group without members.
    fn consumer(&self) -> Result<Arc<RawConsumer>> {
        let mut slot = lock(&self.client);
        if let Some(client) = &*slot {
            return Ok(Arc::clone(&client.consumer));
        }
        let created = self.clients.config.reader(self.level).create_with_context(self.clients.context());
        let consumer: Arc<RawConsumer> =
            Arc::new(created.map_err(|error| self.clients.error("create a Kafka reader", error))?);
        let served = Arc::clone(&consumer);
        let open = Arc::clone(&self.open);
        let upkeep = PeriodicThread::spawn("kafka-reader", UPKEEP_INTERVAL, move || {
            // The context records errors; records are in the partitions' own queues.
            while served.poll(Duration::ZERO).is_some() {}
            open.close_idle(&served);
        })?;
        *slot = Some(ReaderClient { consumer: Arc::clone(&consumer), _upkeep: upkeep });
        Ok(consumer)
    }

    /// Whether a record at this offset or a later one was read within the last ten seconds.
    pub(super) fn has_seen_record_at(&self, at: &TopicPartition, from: i64) -> bool {
        lock(&self.open.last_records).get(at).is_some_and(|(offset, when)| *offset >= from && when.elapsed() < SEEN_FOR)
    }

    /// Reads a page from `from` on, or from the first offset if that is later. At the end the page is empty.
    pub(super) async fn fetch(&self, at: &TopicPartition, from: i64, limits: FetchLimits) -> Result<FetchedRecords> {
        let span = match self.level {
            IsolationLevel::ReadCommitted => self.offsets.span(at).await?,
            IsolationLevel::ReadUncommitted => self.offsets.written_span(at).await?,
        };
        let from = from.max(span.low);
        match from >= span.high {
            true => Ok(FetchedRecords { records: Vec::new(), next_offset: from, span }),
            false => self.read(at, from, limits, span).await,
        }
    }

    /// Reads a page from `from` on, which must be within `span`.
    pub(super) async fn read(
        &self,
        at: &TopicPartition,
        from: i64,
        limits: FetchLimits,
        span: PartitionSpan,
    ) -> Result<FetchedRecords> {
        let consumer = self.consumer()?;
        let reader = self.open.reader(&consumer, at, self.clients.names.wire(at.topic.as_str()));
        let mut reader = reader.lock().await;
        let failed = |error: LibrdkafkaError| match error.code {
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => unknown_topic(at),
            _ => self.clients.error(format!("read {at}"), error),
        };
        reader.seek(&consumer, at, from).map_err(failed)?;
        let mut page = FetchPage { limits, records: Vec::new(), bytes: 0, next: from, high: span.high };
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        while !page.fill(&mut reader.buffered) {
            if reader.refill(at).map_err(failed)? {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed(LibrdkafkaError::of(Code::OperationTimedOut)));
            }
            let waker = Arc::clone(&reader.waker);
            let _ = tokio::time::timeout(left.min(QUEUE_CHECK_INTERVAL), waker.notified()).await;
        }
        reader.next = Some(page.next);
        reader.last_read = Instant::now();
        if let Some(last) = page.records.last() {
            lock(&self.open.last_records).insert(at.clone(), (last.address.offset, Instant::now()));
        }
        Ok(FetchedRecords { records: page.records, next_offset: page.next, span })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::RawRecord;
    use mfctl_core::domain::{Headers, TopicName};

    fn entry(offset: i64, bytes: usize) -> BufferedEntry {
        let value = Some(bytes::Bytes::from(vec![0; bytes]));
        let raw = RawRecord { offset, timestamp_ms: 0, key: None, value, headers: Headers::default() };
        BufferedEntry::Record(raw.into_record(&TopicPartition::new(TopicName::known("t"), 0)))
    }

    fn page(max_records: usize, max_bytes: usize, high: i64) -> FetchPage {
        let limits = FetchLimits { max_records, max_bytes };
        FetchPage { limits, records: Vec::new(), bytes: 0, next: 0, high }
    }

    #[test]
    fn an_outdated_end_does_not_end_the_page() {
        let mut buffered: VecDeque<_> = [BufferedEntry::End(3), entry(3, 1), entry(5, 1), BufferedEntry::End(8)].into();
        let mut page = page(10, 100, 7);
        assert!(page.fill(&mut buffered));
        assert_eq!((page.records.len(), page.next), (2, 8), "past the markers at the end");
    }

    #[test]
    fn a_page_keeps_its_limits_and_leaves_the_rest_buffered() {
        let mut buffered: VecDeque<_> = [entry(0, 60), entry(1, 60), entry(4, 1)].into();
        let mut light = page(10, 100, 5);
        assert!(light.fill(&mut buffered));
        assert_eq!((light.records.len(), light.next, buffered.len()), (1, 1, 2));
        let mut one = page(1, 1, 5);
        assert!(one.fill(&mut buffered));
        assert_eq!((one.records.len(), one.next), (1, 2), "at least one record, whatever its size");
    }

    #[test]
    fn a_page_ends_at_the_end_offset_of_its_request() {
        let mut buffered: VecDeque<_> = [entry(2, 1), entry(9, 1)].into();
        let mut page = page(10, 100, 5);
        assert!(page.fill(&mut buffered));
        assert_eq!((page.records.len(), page.next, buffered.len()), (1, 5, 1));
    }
}
