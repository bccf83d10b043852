//! Consumer groups as anybody sees them: members, commits, forgetting them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::AdminOptions;
use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::cluster::{CALL, Cluster};
use super::config::instance_of;
use super::context::Context;
use super::error::{Failure, kind};
use super::ffi::admin::{self, Member};
use mfctl_core::domain::{GroupName, TopicPartition};
use mfctl_core::ports::{CommittedOffset, Error, ErrorKind, GroupDescription, GroupMember, Result};

/// How long brokers that give no list of their groups are asked again. One that died is soon none of the cluster's any
/// more, and others have its groups.
const LISTING: Duration = Duration::from_secs(15);
const LISTING_AGAIN: Duration = Duration::from_millis(250);

impl Cluster {
    /// Every group of the namespace that has members or commits, by name.
    pub(super) async fn list_groups(self: &Arc<Self>) -> Result<Vec<GroupDescription>> {
        let mut groups: Vec<(GroupName, String)> = self
            .ask("list groups", names_of_all)
            .await?
            .into_iter()
            .filter_map(|wire| Some((self.names.group(&wire)?, wire)))
            .collect();
        groups.sort();
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let mut described = self.describe(groups.iter().map(|(_, wire)| wire.clone()).collect()).await?;
        let mut found = Vec::new();
        for (group, wire) in groups {
            // It went meanwhile.
            let Some(members) = described.remove(&wire) else { continue };
            let committed = commits(self.committed(&wire, None).await?);
            if !members.is_empty() || !committed.is_empty() {
                found.push(GroupDescription { group, members: self.living(members), committed });
            }
        }
        Ok(found)
    }

    /// The members of a group, which is asked for by its name: its coordinator alone has to answer.
    pub(super) async fn members_of(self: &Arc<Self>, group: &GroupName) -> Result<Vec<GroupMember>> {
        let wire = self.names.wire(group.as_str());
        let mut described = self.describe(vec![wire.clone()]).await?;
        Ok(self.living(described.remove(&wire).unwrap_or_default()))
    }

    /// The members of each of these groups that are there.
    async fn describe(self: &Arc<Self>, groups: Vec<String>) -> Result<HashMap<String, Vec<Member>>> {
        let question = move |asker: &BaseConsumer<Context>| {
            let mut found = HashMap::new();
            for (group, members) in admin::describe_groups(asker.client(), &groups, CALL)? {
                match members {
                    Ok(members) => drop(found.insert(group, members)),
                    Err(Failure { code: Code::GroupIdNotFound, .. }) => {}
                    // A coordinator that is on its way is looked for again.
                    Err(failure) => return Err(Failure::new(failure.code, format!("{group}: {}", failure.text))),
                }
            }
            Ok(found)
        };
        self.ask_coordinator("describe groups", question).await
    }

    fn living(&self, members: Vec<Member>) -> Vec<GroupMember> {
        let member = |member: Member| {
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
        let mut members: Vec<GroupMember> = members.into_iter().map(member).collect();
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

/// The names of all groups. A broker that does not answer is asked again, unless the cluster has given it up meanwhile.
fn names_of_all(client: &Client<Context>) -> Result<Vec<String>, Failure> {
    let end = Instant::now() + LISTING;
    loop {
        let failure = match admin::list_groups(client, CALL) {
            Err(failure) if kind(failure.code).is_dependency() && Instant::now() < end => failure,
            answered => return answered,
        };
        tracing::debug!(error = failure.text, "a broker does not list its groups; asking again");
        std::thread::sleep(LISTING_AGAIN);
        // Whatever it brings: with it, librdkafka forgets the brokers that the cluster has not any more.
        client.fetch_metadata(None, CALL)?;
    }
}

/// Kafka does not say when a commit was made.
fn commits(offsets: HashMap<TopicPartition, i64>) -> Vec<CommittedOffset> {
    let commit = |(at, offset)| CommittedOffset { at, offset, committed_at: None };
    let mut commits: Vec<CommittedOffset> = offsets.into_iter().map(commit).collect();
    commits.sort_by(|a, b| a.at.cmp(&b.at));
    commits
}
