//! Questions about many partitions and groups in one call each: ListOffsets, ListConsumerGroups,
//! DescribeConsumerGroups, ListConsumerGroupOffsets; and IncrementalAlterConfigs. They block: not for async threads.

use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::slice;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka_sys::rd_kafka_admin_op_t as Op;
use rdkafka_sys::{self as sys, RDKafkaErrorCode};

use super::event::{Event, Queue};
use super::{millis, text_of};
use crate::context::Context;
use crate::error::Failure;

type Answer<T> = Result<T, Failure>;

/// A partition with an offset, or why there is none.
#[derive(Debug)]
pub(crate) struct PartitionOffset {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// Negative: there is none.
    pub(crate) offset: i64,
    pub(crate) error: Option<RDKafkaErrorCode>,
}

/// A group's member.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) client_id: String,
    pub(crate) host: String,
    pub(crate) partitions: Vec<(String, i32)>,
}

/// Options of one call.
struct Options(NonNull<sys::rd_kafka_AdminOptions_t>);

impl Options {
    fn new(client: &Client<Context>, op: Op, wait: Duration) -> Answer<Self> {
        // SAFETY: the client is alive; the options are ours.
        let options = NonNull::new(unsafe { sys::rd_kafka_AdminOptions_new(client.native_ptr(), op) });
        let options = options.map(Self).ok_or_else(refused)?;
        let mut text = [0; 256];
        // SAFETY: options and buffer are alive, and the size is the buffer's.
        unsafe {
            sys::rd_kafka_AdminOptions_set_request_timeout(options.ptr(), millis(wait), text.as_mut_ptr(), text.len())
        };
        Ok(options)
    }

    fn ptr(&self) -> *mut sys::rd_kafka_AdminOptions_t {
        self.0.as_ptr()
    }

    fn read_committed(&self) {
        let level = sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
        // SAFETY: the options are alive.
        forget(unsafe { sys::rd_kafka_AdminOptions_set_isolation_level(self.ptr(), level) });
    }

    fn stable(&self) {
        // SAFETY: the options are alive.
        forget(unsafe { sys::rd_kafka_AdminOptions_set_require_stable_offsets(self.ptr(), 1) });
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: the options are ours and are not used again.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.ptr()) };
    }
}

/// An option that a call does not have is a defect of ours which the suite would show; not worth an error.
fn forget(error: *mut sys::rd_kafka_error_t) {
    if !error.is_null() {
        // SAFETY: the error is ours.
        unsafe { sys::rd_kafka_error_destroy(error) };
    }
}

fn refused() -> Failure {
    Failure::new(RDKafkaErrorCode::Fail, "librdkafka refused the call")
}

/// The answer to a call, or why there is none.
fn answer(queue: &Queue, wait: Duration) -> Answer<Event> {
    // librdkafka answers every call within the call's own timeout; the grace is for its thread.
    let event = Event::next(queue, wait + Duration::from_secs(2))
        .ok_or_else(|| Failure::new(RDKafkaErrorCode::OperationTimedOut, "no answer"))?;
    match event.failure() {
        Some((code, text)) => Err(Failure::new(code, text)),
        None => Ok(event),
    }
}

/// The offsets that `wanted` asks for: in place of an offset it holds a time in milliseconds, -1 for the end or -2 for
/// the beginning. `committed`: as a read-committed reader sees them.
pub(crate) fn list_offsets(
    client: &Client<Context>,
    wanted: &TopicPartitionList,
    committed: bool,
    wait: Duration,
) -> Answer<Vec<PartitionOffset>> {
    let options = Options::new(client, Op::RD_KAFKA_ADMIN_OP_LISTOFFSETS, wait)?;
    if committed {
        options.read_committed();
    }
    let queue = Queue::new(client).ok_or_else(refused)?;
    // SAFETY: client, list, options and queue live through the call, which copies what it keeps.
    unsafe { sys::rd_kafka_ListOffsets(client.native_ptr(), wanted.ptr(), options.ptr(), queue.ptr()) };
    let event = answer(&queue, wait)?;
    let mut count = 0;
    // SAFETY: the result and all in it live as long as the event.
    unsafe {
        let result = sys::rd_kafka_event_ListOffsets_result(event.ptr());
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        let read = |info: &*const _| partition_offset(sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*info));
        Ok(all(infos, count).iter().map(read).collect())
    }
}

/// The names of all groups. Each broker knows those that it coordinates: if one fails, there is no answer.
pub(crate) fn list_groups(client: &Client<Context>, wait: Duration) -> Answer<Vec<String>> {
    let options = Options::new(client, Op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, wait)?;
    let queue = Queue::new(client).ok_or_else(refused)?;
    // SAFETY: client, options and queue live through the call.
    unsafe { sys::rd_kafka_ListConsumerGroups(client.native_ptr(), options.ptr(), queue.ptr()) };
    let event = answer(&queue, wait)?;
    let (mut count, mut failed) = (0, 0);
    // SAFETY: the result and all in it live as long as the event.
    unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroups_result(event.ptr());
        let groups = all(sys::rd_kafka_ListConsumerGroups_result_valid(result, &raw mut count), count);
        let errors = all(sys::rd_kafka_ListConsumerGroups_result_errors(result, &raw mut failed), failed);
        if let Some(error) = errors.first() {
            return Err(failure(*error));
        }
        Ok(groups.iter().map(|group| text_of(sys::rd_kafka_ConsumerGroupListing_group_id(*group))).collect())
    }
}

/// The members of each of these groups.
pub(crate) fn describe_groups(
    client: &Client<Context>,
    groups: &[String],
    wait: Duration,
) -> Answer<Vec<(String, Answer<Vec<Member>>)>> {
    let names: Vec<CString> = groups.iter().filter_map(|name| CString::new(name.as_str()).ok()).collect();
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let options = Options::new(client, Op::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, wait)?;
    let queue = Queue::new(client).ok_or_else(refused)?;
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
    let event = answer(&queue, wait)?;
    let mut count = 0;
    // SAFETY: the result and all in it live as long as the event.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event.ptr());
        let described = all(sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count), count);
        let named = |group| (text_of(sys::rd_kafka_ConsumerGroupDescription_group_id(group)), members(group));
        Ok(described.iter().map(|group| named(*group)).collect())
    }
}

/// # Safety
/// `group` is alive.
unsafe fn members(group: *const sys::rd_kafka_ConsumerGroupDescription_t) -> Answer<Vec<Member>> {
    // SAFETY: what comes out lives as long as the group.
    unsafe {
        let error = sys::rd_kafka_ConsumerGroupDescription_error(group);
        if !error.is_null() && sys::rd_kafka_error_code(error) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failure(error));
        }
        let count = sys::rd_kafka_ConsumerGroupDescription_member_count(group);
        Ok((0..count).map(|index| member(sys::rd_kafka_ConsumerGroupDescription_member(group, index))).collect())
    }
}

/// # Safety
/// `member` is alive.
unsafe fn member(member: *const sys::rd_kafka_MemberDescription_t) -> Member {
    // SAFETY: what comes out lives as long as the member.
    unsafe {
        let assignment = sys::rd_kafka_MemberDescription_assignment(member);
        let partitions = match assignment.is_null() {
            true => Vec::new(),
            false => list(sys::rd_kafka_MemberAssignment_partitions(assignment)),
        };
        Member {
            id: text_of(sys::rd_kafka_MemberDescription_consumer_id(member)),
            client_id: text_of(sys::rd_kafka_MemberDescription_client_id(member)),
            host: text_of(sys::rd_kafka_MemberDescription_host(member)),
            partitions: partitions.into_iter().map(|at| (at.topic, at.partition)).collect(),
        }
    }
}

/// A group's commits: of these partitions, else of all that have one. While a transaction that holds one of them is being
/// committed, that one is an error (`UnstableOffsetCommit`), or missing if it is its first and it was not asked for.
pub(crate) fn group_offsets(
    asker: &BaseConsumer<Context>,
    group: &str,
    partitions: Option<&TopicPartitionList>,
    wait: Duration,
) -> Answer<Vec<PartitionOffset>> {
    let client = asker.client();
    let options = Options::new(client, Op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, wait)?;
    options.stable();
    let queue = Queue::new(client).ok_or_else(refused)?;
    let name = CString::new(group).map_err(|_| refused())?;
    let wanted = partitions.map_or(ptr::null(), |list| list.ptr().cast_const());
    // SAFETY: name, list, client, options and queue live through the calls; the request is ours and destroyed once.
    unsafe {
        let mut request = sys::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), wanted);
        sys::rd_kafka_ListConsumerGroupOffsets(client.native_ptr(), &raw mut request, 1, options.ptr(), queue.ptr());
        sys::rd_kafka_ListConsumerGroupOffsets_destroy(request);
    }
    let event = answer(&queue, wait)?;
    let mut count = 0;
    // SAFETY: the result and all in it live as long as the event.
    unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.ptr());
        let groups = all(sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count), count);
        let Some(group) = groups.first() else { return Ok(Vec::new()) };
        let error = sys::rd_kafka_group_result_error(*group);
        match error.is_null() {
            true => Ok(list(sys::rd_kafka_group_result_partitions(*group))),
            false => Err(failure(error)),
        }
    }
}

/// A topic's settings that are to be given to it, or taken away.
struct Resource(NonNull<sys::rd_kafka_ConfigResource_t>);

impl Resource {
    fn topic(name: &CString) -> Answer<Self> {
        let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        // SAFETY: the name lives through the call, which copies it; the resource is ours.
        NonNull::new(unsafe { sys::rd_kafka_ConfigResource_new(kind, name.as_ptr()) }).map(Self).ok_or_else(refused)
    }

    fn change(&self, setting: &str, value: Option<&str>) -> Answer<()> {
        use sys::rd_kafka_AlterConfigOpType_t as How;
        let name = CString::new(setting).map_err(|_| refused())?;
        let text = value.map(CString::new).transpose().map_err(|_| refused())?;
        let how = match text {
            Some(_) => How::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET,
            None => How::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE,
        };
        let value = text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
        // SAFETY: resource, name and value live through the call, which copies them; the error is ours.
        unsafe {
            let error = sys::rd_kafka_ConfigResource_add_incremental_config(self.0.as_ptr(), name.as_ptr(), how, value);
            if error.is_null() {
                return Ok(());
            }
            let failure = failure(error);
            sys::rd_kafka_error_destroy(error);
            Err(failure)
        }
    }
}

impl Drop for Resource {
    fn drop(&mut self) {
        // SAFETY: the resource is ours and is not used again.
        unsafe { sys::rd_kafka_ConfigResource_destroy(self.0.as_ptr()) };
    }
}

/// Sets some settings of a topic and takes others away (`None`); those that are not named stay.
pub(crate) fn alter_topic(
    client: &Client<Context>,
    topic: &str,
    settings: &[(String, Option<String>)],
    wait: Duration,
) -> Answer<()> {
    let name = CString::new(topic).map_err(|_| refused())?;
    let resource = Resource::topic(&name)?;
    for (setting, value) in settings {
        resource.change(setting, value.as_deref())?;
    }
    let options = Options::new(client, Op::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS, wait)?;
    let queue = Queue::new(client).ok_or_else(refused)?;
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
    let event = answer(&queue, wait)?;
    let mut count = 0;
    // SAFETY: the result and all in it live as long as the event.
    unsafe {
        let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event.ptr());
        let resources = all(sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count), count);
        for resource in resources {
            let code = sys::rd_kafka_ConfigResource_error(*resource);
            if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                let said = sys::rd_kafka_ConfigResource_error_string(*resource);
                return Err(Failure::new(code.into(), text_of(said)));
            }
        }
    }
    Ok(())
}

/// # Safety
/// `list` is null or alive.
unsafe fn list(list: *const sys::rd_kafka_topic_partition_list_t) -> Vec<PartitionOffset> {
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
unsafe fn partition_offset(at: *const sys::rd_kafka_topic_partition_t) -> PartitionOffset {
    // SAFETY: the caller's promise.
    let fields = unsafe { &*at };
    let failed = fields.err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    PartitionOffset {
        // SAFETY: the name lives as long as the element.
        topic: unsafe { text_of(fields.topic) },
        partition: fields.partition,
        offset: fields.offset,
        error: failed.then(|| fields.err.into()),
    }
}

/// # Safety
/// `error` is alive.
unsafe fn failure(error: *const sys::rd_kafka_error_t) -> Failure {
    // SAFETY: the caller's promise; the text lives as long as the error.
    unsafe { Failure::new(sys::rd_kafka_error_code(error).into(), text_of(sys::rd_kafka_error_string(error))) }
}

/// # Safety
/// `first` is null or the first of `count` elements that live as long as what the answer is used for.
unsafe fn all<'a, T>(first: *mut T, count: usize) -> &'a [T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(first, count) }
}
