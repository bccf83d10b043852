//! Admin calls for many partitions, groups or topics at once: ListOffsets, ListConsumerGroups, DescribeConsumerGroups,
//! ListConsumerGroupOffsets, DescribeTopics; and IncrementalAlterConfigs. They block: never on async threads.

use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::slice;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka_sys::rd_kafka_admin_op_t as Op;
use rdkafka_sys::{self as sys, RDKafkaErrorCode};

use super::convert::{millis, text_of};
use super::event::{EventQueue, QueueEvent};
use crate::context::{RawClient, RawConsumer};
use crate::error::LibrdkafkaError;

type AdminResult<T> = Result<T, LibrdkafkaError>;

/// A partition's offset in the answer to ListOffsets or ListConsumerGroupOffsets.
#[derive(Debug)]
pub(crate) struct ListedOffset {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// Negative where there is none.
    pub(crate) offset: i64,
    /// What a commit says beside its offset.
    pub(crate) metadata: String,
    pub(crate) error: Option<RDKafkaErrorCode>,
}

/// A member of a group in the answer to DescribeConsumerGroups.
#[derive(Debug)]
pub(crate) struct DescribedMember {
    pub(crate) id: String,
    pub(crate) client_id: String,
    pub(crate) host: String,
    pub(crate) partitions: Vec<(String, i32)>,
}

/// The options of one admin call.
struct AdminCallOptions(NonNull<sys::rd_kafka_AdminOptions_t>);

impl AdminCallOptions {
    fn new(client: &RawClient, op: Op, timeout: Duration) -> AdminResult<Self> {
        // SAFETY: the client is alive; the options are ours.
        let options = NonNull::new(unsafe { sys::rd_kafka_AdminOptions_new(client.native_ptr(), op) });
        let options = options.map(Self).ok_or_else(rejected)?;
        let mut text = [0; 256];
        // SAFETY: options and buffer are alive, and the size is the buffer's.
        unsafe {
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options.ptr(),
                millis(timeout),
                text.as_mut_ptr(),
                text.len(),
            )
        };
        Ok(options)
    }

    fn ptr(&self) -> *mut sys::rd_kafka_AdminOptions_t {
        self.0.as_ptr()
    }

    fn read_committed(&self) {
        let level = sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
        // SAFETY: the options are alive.
        ignore(unsafe { sys::rd_kafka_AdminOptions_set_isolation_level(self.ptr(), level) });
    }

    fn require_stable(&self) {
        // SAFETY: the options are alive.
        ignore(unsafe { sys::rd_kafka_AdminOptions_set_require_stable_offsets(self.ptr(), 1) });
    }
}

impl Drop for AdminCallOptions {
    fn drop(&mut self) {
        // SAFETY: the options are ours and are not used again.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.ptr()) };
    }
}

/// Frees an error. An option that a call does not have is a bug that the tests on real Kafka show.
fn ignore(error: *mut sys::rd_kafka_error_t) {
    if !error.is_null() {
        // SAFETY: the error is ours.
        unsafe { sys::rd_kafka_error_destroy(error) };
    }
}

fn rejected() -> LibrdkafkaError {
    LibrdkafkaError::new(RDKafkaErrorCode::Fail, "librdkafka rejected the call")
}

/// Waits for the answer to a call.
fn answer(queue: &EventQueue, timeout: Duration) -> AdminResult<QueueEvent> {
    // librdkafka answers every call within the call's own timeout; two seconds more are for its thread.
    let event = QueueEvent::next(queue, timeout + Duration::from_secs(2))
        .ok_or_else(|| LibrdkafkaError::new(RDKafkaErrorCode::OperationTimedOut, "no answer"))?;
    match event.error() {
        Some((code, text)) => Err(LibrdkafkaError::new(code, text)),
        None => Ok(event),
    }
}

/// ListOffsets. In place of its offset, each of the `wanted` partitions has a time in milliseconds, -1 for the end or -2 for
/// the beginning.
pub(crate) fn list_offsets(
    client: &RawClient,
    wanted: &TopicPartitionList,
    read_committed: bool,
    timeout: Duration,
) -> AdminResult<Vec<ListedOffset>> {
    let options = AdminCallOptions::new(client, Op::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout)?;
    if read_committed {
        options.read_committed();
    }
    let queue = EventQueue::new(client).ok_or_else(rejected)?;
    // SAFETY: client, list, options and queue live through the call, which copies what it keeps.
    unsafe { sys::rd_kafka_ListOffsets(client.native_ptr(), wanted.ptr(), options.ptr(), queue.ptr()) };
    let event = answer(&queue, timeout)?;
    let mut count = 0;
    // SAFETY: the result and all in it live as long as the event.
    unsafe {
        let result = sys::rd_kafka_event_ListOffsets_result(event.ptr());
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        let read = |info: &*const _| partition_offset(sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*info));
        Ok(as_slice(infos, count).iter().map(read).collect())
    }
}

/// The names of all groups. Each broker lists those that it coordinates: if one fails, the call fails.
pub(crate) fn list_groups(client: &RawClient, timeout: Duration) -> AdminResult<Vec<String>> {
    let options = AdminCallOptions::new(client, Op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, timeout)?;
    let queue = EventQueue::new(client).ok_or_else(rejected)?;
    // SAFETY: client, options and queue live through the call.
    unsafe { sys::rd_kafka_ListConsumerGroups(client.native_ptr(), options.ptr(), queue.ptr()) };
    let event = answer(&queue, timeout)?;
    let mut count = 0;
    let mut failed = 0;
    // SAFETY: the result and all in it live as long as the event.
    unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroups_result(event.ptr());
        let groups = as_slice(sys::rd_kafka_ListConsumerGroups_result_valid(result, &raw mut count), count);
        let errors = as_slice(sys::rd_kafka_ListConsumerGroups_result_errors(result, &raw mut failed), failed);
        if let Some(error) = errors.first() {
            return Err(error_of(*error));
        }
        Ok(groups.iter().map(|group| text_of(sys::rd_kafka_ConsumerGroupListing_group_id(*group))).collect())
    }
}

/// The members of each of these groups.
pub(crate) fn describe_groups(
    client: &RawClient,
    groups: &[String],
    timeout: Duration,
) -> AdminResult<Vec<(String, AdminResult<Vec<DescribedMember>>)>> {
    let names: Vec<CString> = groups.iter().filter_map(|name| CString::new(name.as_str()).ok()).collect();
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let options = AdminCallOptions::new(client, Op::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, timeout)?;
    let queue = EventQueue::new(client).ok_or_else(rejected)?;
    // SAFETY: client, names, options and queue live through the call, which copies what it keeps.
    unsafe {
        sys::rd_kafka_DescribeConsumerGroups(
            client.native_ptr(),
            pointers.as_mut_ptr(),
            pointers.len(),
            options.ptr(),
            queue.ptr(),
        )
    };
    let event = answer(&queue, timeout)?;
    let mut count = 0;
    // SAFETY: the result and all in it live as long as the event.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event.ptr());
        let described = as_slice(sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count), count);
        let described_group = |group| (text_of(sys::rd_kafka_ConsumerGroupDescription_group_id(group)), members(group));
        Ok(described.iter().map(|group| described_group(*group)).collect())
    }
}

/// # Safety
/// `group` is alive.
unsafe fn members(group: *const sys::rd_kafka_ConsumerGroupDescription_t) -> AdminResult<Vec<DescribedMember>> {
    // SAFETY: error and members live as long as the group.
    unsafe {
        let error = sys::rd_kafka_ConsumerGroupDescription_error(group);
        if !error.is_null() && sys::rd_kafka_error_code(error) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(error_of(error));
        }
        let count = sys::rd_kafka_ConsumerGroupDescription_member_count(group);
        Ok((0..count).map(|index| member(sys::rd_kafka_ConsumerGroupDescription_member(group, index))).collect())
    }
}

/// # Safety
/// `member` is alive.
unsafe fn member(member: *const sys::rd_kafka_MemberDescription_t) -> DescribedMember {
    // SAFETY: assignment and texts live as long as the member.
    unsafe {
        let assignment = sys::rd_kafka_MemberDescription_assignment(member);
        let partitions = match assignment.is_null() {
            true => Vec::new(),
            false => list(sys::rd_kafka_MemberAssignment_partitions(assignment)),
        };
        DescribedMember {
            id: text_of(sys::rd_kafka_MemberDescription_consumer_id(member)),
            client_id: text_of(sys::rd_kafka_MemberDescription_client_id(member)),
            host: text_of(sys::rd_kafka_MemberDescription_host(member)),
            partitions: partitions.into_iter().map(|at| (at.topic, at.partition)).collect(),
        }
    }
}

/// A group's commits: in these partitions, or in all that have one. While a transaction that holds one of them is being
/// committed, that one is an error (`UnstableOffsetCommit`); or missing, if it is the partition's first and `partitions` is
/// `None`.
pub(crate) fn group_offsets(
    consumer: &RawConsumer,
    group: &str,
    partitions: Option<&TopicPartitionList>,
    timeout: Duration,
) -> AdminResult<Vec<ListedOffset>> {
    let client = consumer.client();
    let options = AdminCallOptions::new(client, Op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, timeout)?;
    options.require_stable();
    let queue = EventQueue::new(client).ok_or_else(rejected)?;
    let name = CString::new(group).map_err(|_| rejected())?;
    let wanted = partitions.map_or(ptr::null(), |list| list.ptr().cast_const());
    // SAFETY: name, list, client, options and queue live through the calls; the request is ours and destroyed once.
    unsafe {
        let mut request = sys::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), wanted);
        sys::rd_kafka_ListConsumerGroupOffsets(client.native_ptr(), &raw mut request, 1, options.ptr(), queue.ptr());
        sys::rd_kafka_ListConsumerGroupOffsets_destroy(request);
    }
    let event = answer(&queue, timeout)?;
    let mut count = 0;
    // SAFETY: the result and all in it live as long as the event.
    unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.ptr());
        let groups = as_slice(sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count), count);
        let Some(group) = groups.first() else { return Ok(Vec::new()) };
        let error = sys::rd_kafka_group_result_error(*group);
        match error.is_null() {
            true => Ok(list(sys::rd_kafka_group_result_partitions(*group))),
            false => Err(error_of(error)),
        }
    }
}

/// The ids of these topics as Kafka writes them, by name; an empty one where the broker has no ids.
pub(crate) fn topic_ids(
    client: &RawClient,
    topics: &[String],
    timeout: Duration,
) -> AdminResult<Vec<(String, AdminResult<String>)>> {
    let names: Vec<CString> = topics.iter().filter_map(|name| CString::new(name.as_str()).ok()).collect();
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let options = AdminCallOptions::new(client, Op::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout)?;
    let queue = EventQueue::new(client).ok_or_else(rejected)?;
    // SAFETY: client, names, options and queue live through the calls, which copy what they keep; the collection is
    // ours and destroyed once.
    unsafe {
        let wanted = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        sys::rd_kafka_DescribeTopics(client.native_ptr(), wanted, options.ptr(), queue.ptr());
        sys::rd_kafka_TopicCollection_destroy(wanted);
    }
    let event = answer(&queue, timeout)?;
    let mut count = 0;
    // SAFETY: the result and all in it live as long as the event.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event.ptr());
        let described = as_slice(sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count), count);
        let described_topic = |topic| (text_of(sys::rd_kafka_TopicDescription_name(topic)), topic_id(topic));
        Ok(described.iter().map(|topic| described_topic(*topic)).collect())
    }
}

/// # Safety
/// `topic` is alive.
unsafe fn topic_id(topic: *const sys::rd_kafka_TopicDescription_t) -> AdminResult<String> {
    // SAFETY: error and id live as long as the topic.
    unsafe {
        let error = sys::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() && sys::rd_kafka_error_code(error) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(error_of(error));
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let is_unknown = id.is_null()
            || (sys::rd_kafka_Uuid_most_significant_bits(id), sys::rd_kafka_Uuid_least_significant_bits(id)) == (0, 0);
        match is_unknown {
            true => Ok(String::new()),
            // Kafka writes the alphabet that is safe in URLs.
            false => Ok(text_of(sys::rd_kafka_Uuid_base64str(id)).replace('+', "-").replace('/', "_")),
        }
    }
}

/// Changes of a topic's settings.
struct TopicConfigResource(NonNull<sys::rd_kafka_ConfigResource_t>);

impl TopicConfigResource {
    fn new(name: &CString) -> AdminResult<Self> {
        let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        // SAFETY: the name lives through the call, which copies it; the resource is ours.
        NonNull::new(unsafe { sys::rd_kafka_ConfigResource_new(kind, name.as_ptr()) }).map(Self).ok_or_else(rejected)
    }

    fn change(&self, setting: &str, value: Option<&str>) -> AdminResult<()> {
        use sys::rd_kafka_AlterConfigOpType_t as OpType;
        let name = CString::new(setting).map_err(|_| rejected())?;
        let text = value.map(CString::new).transpose().map_err(|_| rejected())?;
        let op = match text {
            Some(_) => OpType::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET,
            None => OpType::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE,
        };
        let value = text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
        // SAFETY: resource, name and value live through the call, which copies them; the error is ours.
        unsafe {
            let error = sys::rd_kafka_ConfigResource_add_incremental_config(self.0.as_ptr(), name.as_ptr(), op, value);
            if error.is_null() {
                return Ok(());
            }
            let reason = error_of(error);
            sys::rd_kafka_error_destroy(error);
            Err(reason)
        }
    }
}

impl Drop for TopicConfigResource {
    fn drop(&mut self) {
        // SAFETY: the resource is ours and is not used again.
        unsafe { sys::rd_kafka_ConfigResource_destroy(self.0.as_ptr()) };
    }
}

/// Sets settings of a topic, or removes them (`None`). Those that are not named keep their value.
pub(crate) fn alter_topic(
    client: &RawClient,
    topic: &str,
    settings: &[(String, Option<String>)],
    timeout: Duration,
) -> AdminResult<()> {
    let name = CString::new(topic).map_err(|_| rejected())?;
    let resource = TopicConfigResource::new(&name)?;
    for (setting, value) in settings {
        resource.change(setting, value.as_deref())?;
    }
    let options = AdminCallOptions::new(client, Op::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS, timeout)?;
    let queue = EventQueue::new(client).ok_or_else(rejected)?;
    let mut resources = [resource.0.as_ptr()];
    // SAFETY: client, resource, options and queue live through the call, which copies what it keeps.
    unsafe {
        sys::rd_kafka_IncrementalAlterConfigs(
            client.native_ptr(),
            resources.as_mut_ptr(),
            resources.len(),
            options.ptr(),
            queue.ptr(),
        )
    };
    let event = answer(&queue, timeout)?;
    let mut count = 0;
    // SAFETY: the result and all in it live as long as the event.
    unsafe {
        let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event.ptr());
        let resources = as_slice(sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count), count);
        for resource in resources {
            let code = sys::rd_kafka_ConfigResource_error(*resource);
            if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                let text = sys::rd_kafka_ConfigResource_error_string(*resource);
                return Err(LibrdkafkaError::new(code.into(), text_of(text)));
            }
        }
    }
    Ok(())
}

/// # Safety
/// `list` is null or alive.
unsafe fn list(list: *const sys::rd_kafka_topic_partition_list_t) -> Vec<ListedOffset> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise; the list holds `cnt` elements.
    unsafe {
        let count = usize::try_from((*list).cnt).unwrap_or(0);
        let first = (*list).elems.cast_const();
        (0..count).map(|index| partition_offset(first.add(index))).collect()
    }
}

/// # Safety
/// `at` is alive.
unsafe fn partition_offset(at: *const sys::rd_kafka_topic_partition_t) -> ListedOffset {
    // SAFETY: the caller's promise.
    let fields = unsafe { &*at };
    let is_error = fields.err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    ListedOffset {
        // SAFETY: the name lives as long as the element.
        topic: unsafe { text_of(fields.topic) },
        partition: fields.partition,
        offset: fields.offset,
        // SAFETY: the size is that of the metadata, which lives as long as the element.
        metadata: String::from_utf8_lossy(unsafe { as_slice(fields.metadata.cast::<u8>(), fields.metadata_size) })
            .into_owned(),
        error: is_error.then(|| fields.err.into()),
    }
}

/// # Safety
/// `error` is alive.
unsafe fn error_of(error: *const sys::rd_kafka_error_t) -> LibrdkafkaError {
    // SAFETY: the caller's promise; the text lives as long as the error.
    unsafe { LibrdkafkaError::new(sys::rd_kafka_error_code(error).into(), text_of(sys::rd_kafka_error_string(error))) }
}

/// # Safety
/// `first` is null or the first of `count` elements that live as long as the result is used.
unsafe fn as_slice<'a, T>(first: *mut T, count: usize) -> &'a [T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(first, count) }
}
