//! Rebalances: what was given, asked for and lost, and answering it.
//!
//! librdkafka waits for the answer to each decision, and rejoins the group by itself after it. What is asked for it wants
//! back all at once: after the first answer it tells the group that all of it is free.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;

use super::{Member, Owned};
use crate::context::Rebalance;
use crate::ffi::{Membership, PartitionQueue};
use crate::offsets::number;
use mfctl_core::domain::TopicPartition;
use mfctl_core::ports::{Poll, Result};

/// How long the second question may take to come.
const HAND_OVER: Duration = Duration::from_millis(500);

type Wire = Vec<(String, i32)>;

impl Member {
    /// Takes note of a decision, and answers it unless work in flight has to be settled first.
    pub(super) fn rebalance(&mut self, rebalance: Rebalance) {
        match rebalance {
            Rebalance::Assign(partitions) => self.given(&partitions),
            Rebalance::Revoke { partitions, lost: true } => self.lost(&partitions),
            Rebalance::Revoke { partitions, lost: false } => self.asked_for(&partitions),
        }
    }

    fn given(&mut self, partitions: &Wire) {
        let member_id = self.member_id_now();
        // As another member than before, what it kept may have been another's meanwhile.
        if self.member_id != member_id {
            self.void_everything();
        }
        self.member_id = member_id;
        let mut news = self.take_out_of_limbo();
        for (topic, partition) in partitions {
            let Some(at) = self.cluster.named(topic, *partition) else { continue };
            let Some(queue) = PartitionQueue::split(&self.consumer, topic, *partition, &self.bell) else { continue };
            self.consumer.context().fetched_anew(&(topic.clone(), *partition));
            self.owned.insert(at.clone(), Owned::new(queue));
            news.push(at);
        }
        self.answer(self.consumer.incremental_assign(&list(partitions)), "take partitions");
        self.answered_since_release = true;
        if !news.is_empty() || (!self.told && self.owned.is_empty()) {
            self.told = true;
            self.news.push_back(Poll::Assigned(news));
        }
    }

    /// Gives partitions back to librdkafka and takes them again; the group hears nothing of it. Nothing of them may be out.
    pub(super) fn take_anew(&mut self, partitions: &[TopicPartition]) {
        let wire: Wire = partitions.iter().map(|at| self.wire(at)).collect();
        // The old queue's bell is gone before the new one is hung.
        partitions.iter().for_each(|at| drop(self.owned.remove(at)));
        self.answer(self.consumer.incremental_unassign(&list(&wire)), "give partitions back to take them anew");
        for (at, (topic, partition)) in partitions.iter().zip(&wire) {
            self.consumer.context().fetched_anew(&(topic.clone(), *partition));
            if let Some(queue) = PartitionQueue::split(&self.consumer, topic, *partition, &self.bell) {
                self.owned.insert(at.clone(), Owned::new(queue));
            }
        }
        self.answer(self.consumer.incremental_assign(&list(&wire)), "take partitions anew");
    }

    fn member_id_now(&self) -> Option<String> {
        Membership::of(&self.consumer).and_then(|membership| membership.member_id())
    }

    /// This member was put out, and librdkafka does not say so because it was waiting for an answer: all it has is void.
    /// Partitions that are not asked for stay in limbo until it is in its group again.
    fn void_everything(&mut self) {
        if !self.owned.is_empty() {
            self.news.push_back(Poll::Lost(self.owned.keys().cloned().collect()));
        }
        self.paused.clear();
        self.told = false;
        self.unreleased.clear();
        if !self.asked.is_empty() {
            self.give_back_what_was_asked_for();
        }
        for (at, mut owned) in std::mem::take(&mut self.owned) {
            if !owned.revoking {
                owned.forget();
                self.limbo.insert(at, owned);
            }
        }
    }

    /// What is in limbo when partitions are given is this member's again, from the commits.
    fn take_out_of_limbo(&mut self) -> Vec<TopicPartition> {
        let back: Vec<TopicPartition> = self.limbo.keys().cloned().collect();
        for (at, mut owned) in std::mem::take(&mut self.limbo) {
            owned.taken = true;
            self.owned.insert(at, owned);
        }
        self.rewind_due |= !back.is_empty();
        back
    }

    fn lost(&mut self, partitions: &Wire) {
        let lost: Vec<TopicPartition> = self.ours(partitions);
        for at in &lost {
            self.owned.remove(at);
            self.paused.remove(at);
        }
        self.limbo.clear();
        (self.asked, self.unreleased, self.told) = Default::default();
        self.answer(self.consumer.incremental_unassign(&list(partitions)), "give up lost partitions");
        if !lost.is_empty() {
            self.news.push_back(Poll::Lost(lost));
        }
    }

    fn asked_for(&mut self, partitions: &Wire) {
        if self.member_id != self.member_id_now() {
            self.void_everything();
        }
        self.limbo
            .retain(|at, _| !partitions.contains(&(self.cluster.names.wire(at.topic.as_str()), number(at.partition))));
        let asked = self.ours(partitions);
        if asked.is_empty() {
            return self.answer(self.consumer.incremental_unassign(&list(partitions)), "give partitions back");
        }
        for at in &asked {
            if let Some(owned) = self.owned.get_mut(at) {
                owned.revoking = true;
                owned.forget();
            }
        }
        self.asked.extend(asked.iter().cloned());
        self.unreleased.extend(asked.iter().cloned());
        self.news.push_back(Poll::Revoking(asked));
    }

    /// Gives up partitions that were asked for; the last of them answers the question. librdkafka tells the group when a
    /// second question is answered as well, which is waited for here rather than until the next poll.
    pub(super) async fn release(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        for at in partitions {
            if self.unreleased.remove(at) {
                self.owned.remove(at);
                self.paused.remove(at);
            }
        }
        if self.unreleased.is_empty() && !self.asked.is_empty() {
            self.give_back_what_was_asked_for();
            self.answered_since_release = false;
            let end = Instant::now() + HAND_OVER;
            while !self.answered_since_release && Instant::now() < end {
                let _ = tokio::time::timeout(Duration::from_millis(50), self.bell.notified()).await;
                self.serve();
            }
        }
        Ok(())
    }

    fn give_back_what_was_asked_for(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        let wire: Wire = asked.iter().map(|at| self.wire(at)).collect();
        self.answer(self.consumer.incremental_unassign(&list(&wire)), "give partitions back");
    }

    /// Answers every open question by giving everything back: this member ends.
    pub(super) fn answer_what_waits(&mut self) {
        if !self.asked.is_empty() {
            self.give_back_what_was_asked_for();
        }
        while let Some(rebalance) = self.consumer.context().next_rebalance() {
            let answered = match rebalance {
                Rebalance::Assign(_) => self.consumer.incremental_assign(&TopicPartitionList::new()),
                Rebalance::Revoke { partitions, .. } => self.consumer.incremental_unassign(&list(&partitions)),
            };
            self.answer(answered, "answer a rebalance in closing");
        }
        self.owned.clear();
        self.limbo.clear();
    }

    /// An answer that librdkafka does not take: it has given up waiting for it, and tells what it made of it.
    fn answer(&self, answered: rdkafka::error::KafkaResult<()>, doing: &str) {
        if let Err(error) = answered {
            tracing::warn!(target: "kafka", group = %self.subscription.group, %error, "could not {doing}");
        }
    }

    fn ours(&self, partitions: &Wire) -> Vec<TopicPartition> {
        let named = partitions.iter().filter_map(|(topic, partition)| self.cluster.named(topic, *partition));
        named.filter(|at| self.owned.contains_key(at)).collect()
    }

    pub(super) fn wire(&self, at: &TopicPartition) -> (String, i32) {
        (self.cluster.names.wire(at.topic.as_str()), number(at.partition))
    }
}

pub(super) fn list(partitions: &Wire) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    list
}
