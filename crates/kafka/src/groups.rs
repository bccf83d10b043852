//! Consumer groups seen from outside: their members, commits and progress, and deleting them.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::AdminOptions;
use rdkafka::consumer::Consumer as _;
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::clients::{COORDINATOR_MOVE_TIMEOUT, KafkaClients, REQUEST_TIMEOUT};
use super::config::instance_of;
use super::context::{RawClient, RawConsumer};
use super::error::{LibrdkafkaError, kind_of};
use super::ffi::admin::{self, DescribedMember, ListedOffset};
use super::offsets::{IsolationLevel, LATEST, OFFSETS_BACKOFF, OffsetQueries, offsets_by_partition};
use super::readers::PartitionReaders;
use super::topics::{TopicDirectory, metadata_deadline};
use mfctl_core::domain::lag::PartitionSpan;
use mfctl_core::domain::{ClaimEpoch, GroupName, TopicName, TopicPartition};
use mfctl_core::ports::{
    CommittedOffset, Error, ErrorKind, FetchLimits, GroupCommit, GroupDescription, GroupMember, PartitionProgress,
    Result,
};
use mfctl_core::wait::{Backoff, wait_until, wait_until_blocking};

/// How long the brokers are asked again for their groups while one does not answer. One that died leaves the cluster soon,
/// and others take over its groups.
const LIST_GROUPS_TIMEOUT: Duration = Duration::from_secs(15);
const LIST_GROUPS_BACKOFF: Backoff = Backoff::constant(Duration::from_millis(250));
/// How long a transaction that is being committed may hold back a group's commits.
const UNSTABLE_COMMITS_TIMEOUT: Duration = Duration::from_secs(20);

/// The end of a partition, with and without the records of open transactions.
#[derive(Debug, Clone, Copy)]
struct PartitionEnds {
    span: PartitionSpan,
    written: i64,
}

/// See the module.
pub(super) struct GroupQueries {
    clients: Arc<KafkaClients>,
    topics: Arc<TopicDirectory>,
    offsets: Arc<OffsetQueries>,
    readers: Arc<PartitionReaders>,
}

impl GroupQueries {
    pub(super) fn new(
        clients: Arc<KafkaClients>,
        topics: Arc<TopicDirectory>,
        offsets: Arc<OffsetQueries>,
        readers: Arc<PartitionReaders>,
    ) -> Self {
        Self { clients, topics, offsets, readers }
    }

    /// Every group of the namespace that has members or commits, by name.
    pub(super) async fn groups(&self) -> Result<Vec<GroupDescription>> {
        let names = &self.clients.names;
        let mut groups: Vec<(GroupName, String)> = self
            .clients
            .request("list groups", list_all_groups)
            .await?
            .into_iter()
            .filter_map(|wire| Some((names.group(&wire)?, wire)))
            .collect();
        groups.sort();
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let mut members = self.describe(groups.iter().map(|(_, wire)| wire.clone()).collect()).await?;
        let mut descriptions = Vec::new();
        for (group, wire) in groups {
            // Deleted meanwhile.
            let Some(members) = members.remove(&wire) else { continue };
            let committed = commits(self.committed(&wire, None).await?);
            if !members.is_empty() || !committed.is_empty() {
                descriptions.push(GroupDescription { group, members: self.group_members(members), committed });
            }
        }
        Ok(descriptions)
    }

    /// The members of one group. Only the group's coordinator has to answer.
    pub(super) async fn members(&self, group: &GroupName) -> Result<Vec<GroupMember>> {
        let wire = self.clients.names.wire(group.as_str());
        let mut members = self.describe(vec![wire.clone()]).await?;
        Ok(self.group_members(members.remove(&wire).unwrap_or_default()))
    }

    /// The members of each of these groups that exists, by the group's name on the wire.
    async fn describe(&self, groups: Vec<String>) -> Result<HashMap<String, Vec<DescribedMember>>> {
        let request = move |client: &RawConsumer| {
            let mut described = HashMap::new();
            for (group, members) in admin::describe_groups(client.client(), &groups, REQUEST_TIMEOUT)? {
                match members {
                    Ok(members) => drop(described.insert(group, members)),
                    Err(LibrdkafkaError { code: Code::GroupIdNotFound, .. }) => {}
                    // Repeated while the coordinator moves.
                    Err(error) => return Err(LibrdkafkaError::new(error.code, format!("{group}: {}", error.text))),
                }
            }
            Ok(described)
        };
        self.clients.reach().await?;
        let deadline = Instant::now() + COORDINATOR_MOVE_TIMEOUT;
        self.clients.request_coordinator("describe groups", deadline, request).await
    }

    fn group_members(&self, members: Vec<DescribedMember>) -> Vec<GroupMember> {
        let names = &self.clients.names;
        let group_member = |member: DescribedMember| {
            let mut partitions: Vec<TopicPartition> =
                member.partitions.iter().filter_map(|(topic, partition)| names.partition(topic, *partition)).collect();
            partitions.sort();
            GroupMember {
                instance: instance_of(&member.client_id).to_owned(),
                client: member.host.trim_start_matches('/').to_owned(),
                member_id: member.id,
                partitions,
            }
        };
        let mut members: Vec<GroupMember> = members.into_iter().map(group_member).collect();
        members.sort_by(|a, b| (&a.instance, &a.member_id).cmp(&(&b.instance, &b.member_id)));
        members
    }

    /// A group's commits: in these partitions, or in all that have one. Waits while a transaction that holds some of them is
    /// being committed.
    async fn committed(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<HashMap<TopicPartition, ListedOffset>> {
        let deadline = Instant::now() + UNSTABLE_COMMITS_TIMEOUT;
        let metadata_deadline = metadata_deadline();
        let committed = wait_until(deadline, OFFSETS_BACKOFF, || async {
            let name = group.to_owned();
            let wanted = partitions.map(|partitions| self.clients.names.partition_offsets(partitions, LATEST));
            let request =
                move |client: &RawConsumer| admin::group_offsets(client, &name, wanted.as_ref(), REQUEST_TIMEOUT);
            let what = "read a group's commits";
            let coordinator_deadline = deadline.min(Instant::now() + COORDINATOR_MOVE_TIMEOUT);
            let listed = match self.clients.request_coordinator(what, coordinator_deadline, request).await {
                Ok(listed) => listed,
                Err(error) => return ControlFlow::Break(Err(error)),
            };
            let is_unstable = listed.iter().any(|one| one.error == Some(Code::UnstableOffsetCommit));
            let committed = offsets_by_partition(&self.clients, listed);
            let may_be_new_topic = Instant::now() < metadata_deadline
                && committed.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
            match is_unstable || may_be_new_topic {
                true => ControlFlow::Continue(committed),
                false => ControlFlow::Break(committed),
            }
        });
        let mut committed = committed.await.unwrap_or_else(|pending| pending)?;
        committed.retain(|_, one| one.offset >= 0);
        Ok(committed)
    }

    /// The last commits of a group in these partitions, with one request.
    pub(super) async fn commits_in(
        &self,
        group: &GroupName,
        partitions: &[TopicPartition],
    ) -> Result<Vec<GroupCommit>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let wire = self.clients.names.wire(group.as_str());
        let committed = self.committed(&wire, Some(partitions)).await?;
        let commit = |(at, one): (TopicPartition, ListedOffset)| {
            let epoch = ClaimEpoch::from_metadata(&one.metadata);
            GroupCommit { at, offset: one.offset, epoch }
        };
        let mut commits: Vec<GroupCommit> = committed.into_iter().map(commit).collect();
        commits.sort_by(|a, b| a.at.cmp(&b.at));
        Ok(commits)
    }

    /// How far a group has come in every partition of these topics.
    pub(super) async fn progress(&self, group: &GroupName, topics: &[TopicName]) -> Result<Vec<PartitionProgress>> {
        // Commits first: a commit is then never beyond the end offset.
        let partitions = self.topics.all_partitions(topics).await?;
        let wire = self.clients.names.wire(group.as_str());
        let committed = self.committed(&wire, Some(&partitions)).await?;
        let deadline = metadata_deadline();
        let spans = self.offsets.spans(&partitions, deadline).await?;
        let written = self.offsets.list(&partitions, LATEST, IsolationLevel::ReadUncommitted, deadline).await?;
        let mut progress = Vec::with_capacity(partitions.len());
        for ((at, span), written) in partitions.into_iter().zip(spans).zip(written) {
            let committed = committed.get(&at).map(|one| one.offset);
            let beyond_end = committed.is_some_and(|committed| committed > written);
            let start = committed.filter(|_| !beyond_end);
            let at_end = self.is_at_end(&at, start, PartitionEnds { span, written }).await?;
            let hidden = u64::try_from(written - span.high).unwrap_or(0);
            progress.push(PartitionProgress { at, committed, span, at_end, beyond_end, hidden });
        }
        Ok(progress)
    }

    /// Whether the lag is zero: no transaction is open, and only transaction markers lie between the commit and the end.
    async fn is_at_end(&self, at: &TopicPartition, committed: Option<i64>, ends: PartitionEnds) -> Result<bool> {
        if ends.written > ends.span.high {
            return Ok(false);
        }
        let from = committed.unwrap_or(ends.span.low).max(ends.span.low);
        if from >= ends.span.high {
            return Ok(true);
        }
        if self.readers.has_seen_record_at(at, from) {
            return Ok(false);
        }
        // Only reading distinguishes markers from records.
        let one = FetchLimits { max_records: 1, max_bytes: 1 };
        let fetched = self.readers.read(at, from, one, ends.span).await?;
        Ok(fetched.records.is_empty() && fetched.next_offset >= ends.span.high)
    }

    /// Deletes a group with its commits.
    ///
    /// # Errors
    /// `Conflict` while it has members.
    pub(super) async fn delete_group(&self, group: &GroupName) -> Result<()> {
        self.clients.reach().await?;
        let wire = self.clients.names.wire(group.as_str());
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
        let what = format!("delete group {group}");
        let results = self.clients.admin()?.delete_groups(&[&wire], &options).await;
        let results = results.map_err(|error| self.clients.error(what.clone(), error))?;
        match results.into_iter().next() {
            None | Some(Ok(_)) => Ok(()),
            Some(Err((_, Code::GroupIdNotFound))) => {
                Err(Error::new(ErrorKind::NotFound, format!("group {group} does not exist")))
            }
            Some(Err((_, Code::NonEmptyGroup))) => {
                Err(Error::new(ErrorKind::Conflict, format!("group {group} has members"))
                    .hint("stop its workers first"))
            }
            Some(Err((_, code))) => Err(self.clients.error(what, LibrdkafkaError::of(code))),
        }
    }
}

/// The names of all groups. Retried while a broker does not answer, which then recovers or leaves the cluster.
fn list_all_groups(client: &RawClient) -> std::result::Result<Vec<String>, LibrdkafkaError> {
    let mut is_first = true;
    wait_until_blocking(Instant::now() + LIST_GROUPS_TIMEOUT, LIST_GROUPS_BACKOFF, || {
        // The answer does not matter: with it, librdkafka removes the brokers that have left the cluster.
        if !std::mem::take(&mut is_first)
            && let Err(error) = client.fetch_metadata(None, REQUEST_TIMEOUT)
        {
            return ControlFlow::Break(Err(LibrdkafkaError::from(error)));
        }
        match admin::list_groups(client, REQUEST_TIMEOUT) {
            Err(error) if kind_of(error.code).is_dependency() => {
                tracing::debug!(error = error.text, "a broker does not list its groups; retrying");
                ControlFlow::Continue(error)
            }
            listed => ControlFlow::Break(listed),
        }
    })
    .unwrap_or_else(Err)
}

/// Kafka does not say when a commit was made.
fn commits(offsets: HashMap<TopicPartition, ListedOffset>) -> Vec<CommittedOffset> {
    let commit =
        |(at, one): (TopicPartition, ListedOffset)| CommittedOffset { at, offset: one.offset, committed_at: None };
    let mut commits: Vec<CommittedOffset> = offsets.into_iter().map(commit).collect();
    commits.sort_by(|a, b| a.at.cmp(&b.at));
    commits
}
