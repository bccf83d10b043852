//! Reading partitions without a group: one client for all of them, which stays where the last page ended.
//!
//! A partition that is read page by page is fetched ahead; one that is not read for a while is let go.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_sys::RDKafkaErrorCode as Code;
use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::cluster::{CALL, Cluster};
use super::context::Context;
use super::error::Failure;
use super::ffi::{Item, PartitionQueue, RawRecord};
use super::offsets::number;
use super::topics::missing;
use mfctl_core::domain::lag::PartitionSpan;
use mfctl_core::domain::{Record, RecordAddress, Timestamp, TopicPartition};
use mfctl_core::ports::{FetchLimits, Fetched, Result};

type Consumer = BaseConsumer<Context>;

/// How long a partition stays open that nobody reads.
const IDLE: Duration = Duration::from_secs(3);
/// Partitions that stay open at most.
const OPEN: usize = 32;
/// How long the sight of a record proves that it is there.
const SEEN: Duration = Duration::from_secs(10);

/// A partition that is open.
struct Reader {
    wire: String,
    bell: Arc<Notify>,
    /// Its records; none before it is assigned first.
    queue: Option<PartitionQueue>,
    kept: VecDeque<Entry>,
    /// The offset that the next entry is at or behind; `None` when a page was cut off and nothing is known.
    next: Option<i64>,
    used: Instant,
}

/// What was taken from a queue and is not given out.
enum Entry {
    Record(Record),
    End(i64),
}

type Slot = Arc<AsyncMutex<Reader>>;

/// The open partitions of one cluster.
#[derive(Default)]
pub(super) struct Readers {
    consumer: Mutex<Option<Arc<Consumer>>>,
    open: Mutex<HashMap<TopicPartition, Slot>>,
    seen: Mutex<HashMap<TopicPartition, (i64, Instant)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Readers {
    /// Serves the client's events and lets go of what nobody reads. Called now and then, off the async threads.
    pub(super) fn look_after(&self) {
        let Some(consumer) = lock(&self.consumer).clone() else { return };
        // Errors are noted by the context; records never come this way.
        while consumer.poll(Duration::ZERO).is_some() {}
        let mut open = lock(&self.open);
        let idle: Vec<TopicPartition> =
            open.iter().filter(|(_, slot)| is_idle(slot, IDLE)).map(|(at, _)| at.clone()).collect();
        idle.iter().for_each(|at| let_go(&consumer, &mut open, at));
        drop(open);
        lock(&self.seen).retain(|_, (_, at)| at.elapsed() < SEEN);
    }

    /// Whether a record at this offset or behind it was seen lately.
    pub(super) fn has_seen_record_at(&self, at: &TopicPartition, from: i64) -> bool {
        lock(&self.seen).get(at).is_some_and(|(offset, when)| *offset >= from && when.elapsed() < SEEN)
    }

    fn slot(&self, consumer: &Consumer, at: &TopicPartition, wire: String) -> Slot {
        let mut open = lock(&self.open);
        if open.len() >= OPEN && !open.contains_key(at) {
            let spare = open.iter().find(|(_, slot)| is_idle(slot, Duration::ZERO)).map(|(at, _)| at.clone());
            spare.iter().for_each(|at| let_go(consumer, &mut open, at));
        }
        let new = || {
            let (bell, kept, used) = (Arc::default(), VecDeque::new(), Instant::now());
            Arc::new(AsyncMutex::new(Reader { wire, bell, queue: None, kept, next: None, used }))
        };
        Arc::clone(open.entry(at.clone()).or_insert_with(new))
    }
}

/// Whether nobody reads it, and has not for so long. Only the map may have a handle.
fn is_idle(slot: &Slot, since: Duration) -> bool {
    Arc::strong_count(slot) == 1 && slot.try_lock().is_ok_and(|reader| reader.used.elapsed() >= since)
}

fn let_go(consumer: &Consumer, open: &mut HashMap<TopicPartition, Slot>, at: &TopicPartition) {
    let Some(slot) = open.remove(at) else { return };
    if let Ok(reader) = slot.try_lock()
        && reader.queue.is_some()
        && let Err(error) = consumer.incremental_unassign(&single(&reader.wire, at.partition, Offset::Invalid))
    {
        tracing::debug!(target: "kafka", %error, %at, "could not let go of a partition");
    }
}

fn single(wire: &str, partition: u32, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    let mut element = list.add_partition(wire, number(partition));
    // Every offset that is asked for is a number or a word of librdkafka's own.
    let _ = element.set_offset(offset);
    list
}

impl Reader {
    /// Goes to an offset, unless it is there.
    fn go_to(&mut self, consumer: &Arc<Consumer>, at: &TopicPartition, from: i64) -> std::result::Result<(), Failure> {
        self.used = Instant::now();
        // Nothing is known until the page is whole.
        if self.next.take() == Some(from) {
            return Ok(());
        }
        self.kept.clear();
        if self.queue.take().is_some() {
            consumer.incremental_unassign(&single(&self.wire, at.partition, Offset::Invalid))?;
        }
        let queue = PartitionQueue::split(consumer, &self.wire, number(at.partition), &self.bell);
        let queue = queue.ok_or_else(|| Failure::of(Code::UnknownPartition))?;
        consumer.incremental_assign(&single(&self.wire, at.partition, Offset::Offset(from)))?;
        self.queue = Some(queue);
        Ok(())
    }

    /// Takes what the queue has.
    fn refill(&mut self, at: &TopicPartition) -> std::result::Result<bool, Failure> {
        let mut failed = None;
        let kept = &mut self.kept;
        let got = self.queue.as_ref().map_or(0, |queue| {
            queue.take(usize::MAX, |item| match item {
                Item::Record(raw) => kept.push_back(Entry::Record(record(at, raw))),
                Item::End(offset) => kept.push_back(Entry::End(offset)),
                Item::Failed(code) => failed = Some(code),
            })
        });
        match failed {
            Some(code) => Err(Failure::of(code)),
            None => Ok(got > 0),
        }
    }
}

/// A record with its address.
pub(super) fn record(at: &TopicPartition, raw: RawRecord) -> Record {
    Record {
        address: RecordAddress { topic: at.topic.clone(), partition: at.partition, offset: raw.offset },
        key: raw.key,
        value: raw.value,
        headers: raw.headers,
        timestamp: Timestamp::from_millisecond(raw.timestamp_ms).unwrap_or(Timestamp::UNIX_EPOCH),
    }
}

/// Records for one answer.
struct Page {
    limits: FetchLimits,
    records: Vec<Record>,
    bytes: usize,
    next: i64,
    /// The end when the question was asked: the page goes no further.
    high: i64,
}

impl Page {
    /// Takes entries until the page is whole; answers whether it is.
    fn fill(&mut self, kept: &mut VecDeque<Entry>) -> bool {
        while let Some(entry) = kept.pop_front() {
            match entry {
                Entry::End(offset) if offset >= self.high => {
                    self.next = self.next.max(offset);
                    return true;
                }
                // An end that was passed since.
                Entry::End(_) => {}
                Entry::Record(record) if record.address.offset >= self.high => {
                    kept.push_front(Entry::Record(record));
                    self.next = self.high;
                    return true;
                }
                Entry::Record(record) => {
                    let bytes = self.bytes + record.size_bytes();
                    if !self.records.is_empty() && bytes > self.limits.max_bytes {
                        kept.push_front(Entry::Record(record));
                        return true;
                    }
                    (self.bytes, self.next) = (bytes, record.address.offset + 1);
                    self.records.push(record);
                    let full = self.records.len() >= self.limits.max_records || bytes >= self.limits.max_bytes;
                    if full || self.next >= self.high {
                        return true;
                    }
                }
            }
        }
        false
    }
}

impl Cluster {
    /// The client that reads without a group. It has the name of one, which nobody is a member of.
    fn reading_client(&self) -> Result<Arc<Consumer>> {
        let mut slot = lock(&self.readers.consumer);
        if let Some(consumer) = &*slot {
            return Ok(Arc::clone(consumer));
        }
        let made = self.config.reader().create_with_context(self.context());
        let consumer: Arc<Consumer> = Arc::new(made.map_err(|error| self.error("make a Kafka reader", error))?);
        *slot = Some(Arc::clone(&consumer));
        Ok(consumer)
    }

    /// Reads from `from`, which is below the end that `span` tells.
    pub(super) async fn read(
        self: &Arc<Self>,
        at: &TopicPartition,
        from: i64,
        limits: FetchLimits,
        span: PartitionSpan,
    ) -> Result<Fetched> {
        let consumer = self.reading_client()?;
        let slot = self.readers.slot(&consumer, at, self.names.wire(at.topic.as_str()));
        let mut reader = slot.lock().await;
        let failed = |failure: Failure| match failure.code {
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => missing(at),
            _ => self.error(format!("read {at}"), failure),
        };
        reader.go_to(&consumer, at, from).map_err(failed)?;
        let mut page = Page { limits, records: Vec::new(), bytes: 0, next: from, high: span.high };
        let end = Instant::now() + CALL;
        while !page.fill(&mut reader.kept) {
            if reader.refill(at).map_err(failed)? {
                continue;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed(Failure::of(Code::OperationTimedOut)));
            }
            let bell = Arc::clone(&reader.bell);
            // A look now and then, should a ring be lost.
            let _ = tokio::time::timeout(left.min(Duration::from_millis(250)), bell.notified()).await;
        }
        reader.next = Some(page.next);
        reader.used = Instant::now();
        if let Some(last) = page.records.last() {
            lock(&self.readers.seen).insert(at.clone(), (last.address.offset, Instant::now()));
        }
        Ok(Fetched { records: page.records, next_offset: page.next, span })
    }

    /// Reads from `from`, wherever that is.
    pub(super) async fn fetch_page(
        self: &Arc<Self>,
        at: &TopicPartition,
        from: i64,
        limits: FetchLimits,
    ) -> Result<Fetched> {
        let span = self.span(at).await?;
        let from = from.max(span.low);
        match from >= span.high {
            true => Ok(Fetched { records: Vec::new(), next_offset: from, span }),
            false => self.read(at, from, limits, span).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfctl_core::domain::{Headers, TopicName};

    fn entry(offset: i64, bytes: usize) -> Entry {
        let value = Some(bytes::Bytes::from(vec![0; bytes]));
        let raw = RawRecord { offset, timestamp_ms: 0, key: None, value, headers: Headers::default() };
        Entry::Record(record(&TopicPartition::new(TopicName::known("t"), 0), raw))
    }

    fn page(max_records: usize, max_bytes: usize, high: i64) -> Page {
        let limits = FetchLimits { max_records, max_bytes };
        Page { limits, records: Vec::new(), bytes: 0, next: 0, high }
    }

    #[test]
    fn an_end_that_was_passed_since_ends_no_page() {
        let mut kept: VecDeque<_> = [Entry::End(3), entry(3, 1), entry(5, 1), Entry::End(8)].into();
        let mut page = page(10, 100, 7);
        assert!(page.fill(&mut kept));
        assert_eq!((page.records.len(), page.next), (2, 8), "behind the markers at the end");
    }

    #[test]
    fn a_page_keeps_its_limits_and_what_is_over() {
        let mut kept: VecDeque<_> = [entry(0, 60), entry(1, 60), entry(4, 1)].into();
        let mut light = page(10, 100, 5);
        assert!(light.fill(&mut kept));
        assert_eq!((light.records.len(), light.next, kept.len()), (1, 1, 2));
        let mut one = page(1, 1, 5);
        assert!(one.fill(&mut kept));
        assert_eq!((one.records.len(), one.next), (1, 2), "one at least, whatever its size");
    }

    #[test]
    fn a_page_goes_no_further_than_the_end_it_was_asked_at() {
        let mut kept: VecDeque<_> = [entry(2, 1), entry(9, 1)].into();
        let mut page = page(10, 100, 5);
        assert!(page.fill(&mut kept));
        assert_eq!((page.records.len(), page.next, kept.len()), (1, 5, 1));
    }
}
