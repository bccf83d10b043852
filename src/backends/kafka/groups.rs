//! Consumer groups as anybody sees them: members, commits, forgetting them.

use std::collections::HashMap;
use std::sync::Arc;

use rdkafka::admin::AdminOptions;
use rdkafka::consumer::Consumer as _;
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::cluster::{CALL, Cluster};
use super::config::instance_of;
use super::error::Failure;
use super::ffi::admin::{self, Member};
use crate::domain::{GroupName, TopicPartition};
use crate::ports::{CommittedOffset, Error, ErrorKind, GroupDescription, GroupMember, Result};

impl Cluster {
    /// Every group of the namespace that has members or commits, by name.
    pub(super) async fn list_groups(self: &Arc<Self>) -> Result<Vec<GroupDescription>> {
        let mut groups: Vec<(GroupName, String)> = self
            .ask("list groups", |client| admin::list_groups(client, CALL))
            .await?
            .into_iter()
            .filter_map(|wire| Some((self.names.group(&wire)?, wire)))
            .collect();
        groups.sort();
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let wire: Vec<String> = groups.iter().map(|(_, wire)| wire.clone()).collect();
        let described = self
            .ask_coordinator("describe groups", move |asker| admin::describe_groups(asker.client(), &wire, CALL))
            .await?;
        let mut described: HashMap<String, _> = described.into_iter().collect();
        let mut found = Vec::new();
        for (group, wire) in groups {
            let members = match described.remove(&wire) {
                Some(Ok(members)) => members,
                // It went meanwhile.
                None | Some(Err(Failure { code: Code::GroupIdNotFound, .. })) => continue,
                Some(Err(failure)) => return Err(self.error(format!("describe group {group}"), failure)),
            };
            let committed = commits(self.committed(&wire, None).await?);
            if !members.is_empty() || !committed.is_empty() {
                found.push(GroupDescription { group, members: self.members(members), committed });
            }
        }
        Ok(found)
    }

    fn members(&self, members: Vec<Member>) -> Vec<GroupMember> {
        let read = |member: Member| {
            let mut partitions: Vec<TopicPartition> =
                member.partitions.iter().filter_map(|(topic, partition)| self.named(topic, *partition)).collect();
            partitions.sort();
            GroupMember {
                instance: instance_of(&member.client_id).to_owned(),
                client: member.host.trim_start_matches('/').to_owned(),
                member_id: member.id,
                partitions,
            }
        };
        let mut members: Vec<GroupMember> = members.into_iter().map(read).collect();
        members.sort_by(|a, b| (&a.instance, &a.member_id).cmp(&(&b.instance, &b.member_id)));
        members
    }

    /// Forgets a group's commits.
    pub(super) async fn forget_group(self: &Arc<Self>, group: &GroupName) -> Result<()> {
        self.reach().await?;
        let wire = self.names.wire(group.as_str());
        let options = AdminOptions::new().request_timeout(Some(CALL));
        let what = format!("delete group {group}");
        let deleted = self.admin()?.delete_groups(&[&wire], &options).await;
        let deleted = deleted.map_err(|error| self.error(what.clone(), error))?;
        match deleted.into_iter().next() {
            None | Some(Ok(_)) => Ok(()),
            Some(Err((_, Code::GroupIdNotFound))) => {
                Err(Error::new(ErrorKind::NotFound, format!("group {group} does not exist")))
            }
            Some(Err((_, Code::NonEmptyGroup))) => {
                Err(Error::new(ErrorKind::Conflict, format!("group {group} has members"))
                    .hint("stop its workers first"))
            }
            Some(Err((_, code))) => Err(self.error(what, Failure::of(code))),
        }
    }
}

/// Kafka does not say when a commit was made.
fn commits(offsets: HashMap<TopicPartition, i64>) -> Vec<CommittedOffset> {
    let commit = |(at, offset)| CommittedOffset { at, offset, committed_at: None };
    let mut commits: Vec<CommittedOffset> = offsets.into_iter().map(commit).collect();
    commits.sort_by(|a, b| a.at.cmp(&b.at));
    commits
}
