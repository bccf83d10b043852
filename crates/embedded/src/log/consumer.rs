//! A member of a consumer group.
//!
//! What it has is what the group's rows say; each poll compares them with what this member believes and tells the
//! difference. Every step may be cut off at any await (a caller's `select!`): nothing is believed before it is known.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::task::JoinHandle;

use super::fetch::Page;
use super::liveness::{self, Sign, boot_ms};
use super::membership::{self, Held, Joining, fenced};
use super::topics::{self, Topic};
use super::{Shared, append};
use crate::db::CommitCursor;
use mfctl_core::domain::{Record, TopicPartition};
use mfctl_core::ports::{Error, ErrorKind, FetchLimits, GroupConsumer, Poll, Result, Settlement, Subscription};

/// How often a member looks whether the others live.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// A partition this member has.
#[derive(Debug)]
struct Owned {
    at: TopicPartition,
    epoch: i64,
    /// The next offset to fetch.
    position: i64,
    /// Asked for by another; no more records of it come.
    revoking: bool,
}

/// Who this member is, until it is put out.
struct Member {
    id: String,
    /// Kept for its lock.
    _sign: Sign,
    /// The group's row, once joined.
    group_id: Option<i64>,
    /// The generation this member last compared itself with.
    generation: Option<i64>,
    /// Whether it was told what it has, be it nothing.
    told: bool,
    heartbeat: Instant,
    sweep: Instant,
}

impl Member {
    fn new(log: &Shared) -> Result<Self> {
        let id = uuid::Uuid::now_v7().to_string();
        let sign = Sign::of(&log.members_dir, &id)?;
        let now = Instant::now();
        Ok(Self { id, _sign: sign, group_id: None, generation: None, told: false, heartbeat: now, sweep: now })
    }
}

/// See the module.
pub(super) struct Consumer {
    log: Shared,
    subscription: Subscription,
    topics: Vec<Arc<Topic>>,
    member: Member,
    owned: BTreeMap<i64, Owned>,
    paused: HashSet<TopicPartition>,
    news: VecDeque<Poll>,
    seen: CommitCursor,
    /// Which partition is read first; moves on, so that none waits behind another.
    turn: usize,
    /// A settlement that is under way, and what became of the last one, until somebody asks.
    settling: Option<JoinHandle<Result<()>>>,
    outcome: Option<Result<()>>,
}

/// Partitions with the next offset to fetch of each.
type Positions = Vec<(i64, i64)>;

/// What one look at the log brings.
enum Look {
    /// This member is not in the group.
    Gone,
    /// The group changed.
    Changed { generation: i64, held: Vec<Held> },
    /// Records, and where each partition goes on.
    Records { records: Vec<Record>, positions: Positions },
}

impl Consumer {
    /// Joins the group.
    pub(super) async fn join(log: Shared, subscription: Subscription) -> Result<Self> {
        if subscription.topics.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, format!("group {} names no topic", subscription.group)));
        }
        let topics = log.topics.all(&log.db, &subscription.topics).await?;
        let member = Member::new(&log)?;
        let seen = log.db.commit_cursor();
        let (owned, paused, news) = Default::default();
        let mut consumer = Self {
            log,
            subscription,
            topics,
            member,
            owned,
            paused,
            news,
            seen,
            turn: 0,
            settling: None,
            outcome: None,
        };
        consumer.enter().await?;
        Ok(consumer)
    }

    /// Adds this member to the group, putting out those that died.
    async fn enter(&mut self) -> Result<()> {
        let joining = Joining {
            group: self.subscription.group.to_string(),
            member_id: self.member.id.clone(),
            instance: self.subscription.instance.clone(),
            client: client(),
            topic_ids: self.topics.iter().map(|topic| topic.id).collect(),
            session_ms: i64::try_from(self.subscription.session_timeout.as_millis()).unwrap_or(i64::MAX),
        };
        let dir = self.log.members_dir.clone();
        let join = move |tx: &Connection| {
            liveness::remove_leftovers(&dir, &liveness::members(tx, None)?);
            let group_id = membership::join(tx, &joining, boot_ms())?;
            membership::evict(tx, group_id, &liveness::dead(tx, group_id, &dir)?)?;
            membership::claim(tx, group_id, &joining.member_id)?;
            Ok(group_id)
        };
        let group_id = self.log.db.write("join a group", join).await?;
        self.member.group_id = Some(group_id);
        self.member.heartbeat = Instant::now();
        Ok(())
    }

    /// One round: what is new of the group, else records, else nothing.
    async fn round(&mut self, limits: FetchLimits) -> Result<Option<Poll>> {
        let Some(group_id) = self.member.group_id else {
            self.enter().await?;
            return Ok(None);
        };
        if !self.heartbeat_if_due().await? {
            return self.put_out().map(|()| None);
        }
        self.sweep_if_due(group_id).await?;
        match self.look(group_id, limits).await? {
            Look::Gone => self.put_out()?,
            Look::Changed { generation, held } => {
                if held.iter().any(|part| part.free && part.meant_for_me) {
                    let id = self.member.id.clone();
                    self.log.db.write("take partitions", move |tx| membership::claim(tx, group_id, &id)).await?;
                } else {
                    self.compare(generation, &held);
                }
            }
            Look::Records { records, positions } => {
                for (part_id, position) in positions {
                    if let Some(owned) = self.owned.get_mut(&part_id) {
                        owned.position = position;
                    }
                }
                self.turn = self.turn.wrapping_add(1);
                return Ok((!records.is_empty()).then_some(Poll::Records(records)));
            }
        }
        Ok(None)
    }

    /// Writes a heartbeat if it is time. Whether this member is still in the group, as far as it knows.
    async fn heartbeat_if_due(&mut self) -> Result<bool> {
        if self.member.heartbeat.elapsed() < self.subscription.session_timeout / 4 {
            return Ok(true);
        }
        let id = self.member.id.clone();
        let beat = move |tx: &Connection| membership::heartbeat(tx, &id, boot_ms());
        let alive = self.log.db.write("send a heartbeat", beat).await?;
        self.member.heartbeat = Instant::now();
        Ok(alive)
    }

    /// Puts out members that died, if it is time to look.
    async fn sweep_if_due(&mut self, group_id: i64) -> Result<()> {
        if self.member.sweep.elapsed() < SWEEP_EVERY {
            return Ok(());
        }
        let (me, dir) = (self.member.id.clone(), self.log.members_dir.clone());
        let mut gone =
            self.log.db.read("look after a group's members", move |c| liveness::dead(c, group_id, &dir)).await?;
        gone.retain(|member| member.member_id != me);
        if !gone.is_empty() {
            let names: Vec<&str> = gone.iter().map(|member| member.member_id.as_str()).collect();
            tracing::info!(group = %self.subscription.group, members = ?names, "putting out members that are gone");
            self.log.db.write("put members out of a group", move |tx| membership::evict(tx, group_id, &gone)).await?;
        }
        self.member.sweep = Instant::now();
        Ok(())
    }

    async fn look(&self, group_id: i64, limits: FetchLimits) -> Result<Look> {
        let (id, known) = (self.member.id.clone(), self.member.generation);
        let wanted = self.wanted();
        let look = move |c: &Connection| {
            let Some(generation) = membership::generation(c, &id)? else { return Ok(Look::Gone) };
            if Some(generation) != known {
                return Ok(Look::Changed { generation, held: membership::held(c, group_id, &id)? });
            }
            let (records, positions) = read(c, &wanted, limits)?;
            Ok(Look::Records { records, positions })
        };
        self.log.db.read("poll", look).await
    }

    /// What to read, in this round's order.
    fn wanted(&self) -> Vec<(i64, TopicPartition, i64)> {
        let open = |owned: &Owned| !owned.revoking && !self.paused.contains(&owned.at);
        let mut wanted: Vec<_> = self
            .owned
            .iter()
            .filter(|(_, owned)| open(owned))
            .map(|(part_id, owned)| (*part_id, owned.at.clone(), owned.position))
            .collect();
        if !wanted.is_empty() {
            let first = self.turn % wanted.len();
            wanted.rotate_left(first);
        }
        wanted
    }

    /// Brings this member's belief in line with the group's rows.
    fn compare(&mut self, generation: i64, held: &[Held]) {
        let mine: BTreeMap<i64, &Held> =
            held.iter().filter(|part| part.mine).map(|part| (part.part_id, part)).collect();
        let is_lost = |part_id: &i64, owned: &Owned| mine.get(part_id).is_none_or(|part| part.epoch != owned.epoch);
        let lost: Vec<i64> = self.owned.iter().filter(|(id, owned)| is_lost(id, owned)).map(|(id, _)| *id).collect();
        let lost = lost.iter().filter_map(|part_id| self.owned.remove(part_id)).map(|owned| owned.at).collect();
        self.tell_lost(lost);

        let new: Vec<(i64, Owned)> = mine
            .values()
            .filter(|part| !self.owned.contains_key(&part.part_id))
            .filter_map(|part| {
                let at = self.at(part.part_id)?;
                Some((part.part_id, Owned { at, epoch: part.epoch, position: part.begin, revoking: false }))
            })
            .collect();
        let nothing_to_come = !held.iter().any(|part| part.meant_for_me);
        if !new.is_empty() || (!self.member.told && nothing_to_come) {
            self.member.told = true;
            self.news.push_back(Poll::Assigned(new.iter().map(|(_, owned)| owned.at.clone()).collect()));
        }
        self.owned.extend(new);

        let mut asked_for = Vec::new();
        for (part_id, owned) in &mut self.owned {
            if !owned.revoking && mine.get(part_id).is_some_and(|part| !part.meant_for_me) {
                owned.revoking = true;
                asked_for.push(owned.at.clone());
            }
        }
        if !asked_for.is_empty() {
            self.news.push_back(Poll::Revoking(asked_for));
        }
        self.member.generation = Some(generation);
    }

    /// This member was put out: it loses all and comes back as a new one.
    fn put_out(&mut self) -> Result<()> {
        let member = Member::new(&self.log)?;
        tracing::warn!(group = %self.subscription.group, instance = %self.subscription.instance,
            "was put out of its group for not polling in time, and joins again");
        self.member = member;
        let lost = std::mem::take(&mut self.owned).into_values().map(|owned| owned.at).collect();
        self.tell_lost(lost);
        Ok(())
    }

    fn tell_lost(&mut self, lost: Vec<TopicPartition>) {
        if !lost.is_empty() {
            self.paused.retain(|at| !lost.contains(at));
            self.news.push_back(Poll::Lost(lost));
        }
    }

    fn at(&self, part_id: i64) -> Option<TopicPartition> {
        self.topics.iter().flat_map(|topic| topic.parts()).find(|(id, _)| *id == part_id).map(|(_, at)| at)
    }

    fn part_ids(&self, partitions: &[TopicPartition]) -> Vec<i64> {
        let wanted: BTreeSet<&TopicPartition> = partitions.iter().collect();
        self.owned.iter().filter(|(_, owned)| wanted.contains(&owned.at)).map(|(id, _)| *id).collect()
    }

    /// The owned partition's row, its epoch and the offset to commit.
    fn claims(&self, settlement: &Settlement) -> Result<Vec<(i64, i64, i64)>> {
        let mut claims = Vec::with_capacity(settlement.offsets.len());
        for (at, offset) in &settlement.offsets {
            let owned = self.owned.iter().find(|(_, owned)| owned.at == *at);
            let (part_id, owned) =
                owned.ok_or_else(|| fenced(&format!("settle {at}: this member does not have it")))?;
            claims.push((*part_id, owned.epoch, *offset));
        }
        Ok(claims)
    }

    /// Waits for a settlement that is under way. May be cut off.
    async fn finish_settling(&mut self) {
        let Some(settling) = self.settling.as_mut() else { return };
        let done = settling.await;
        self.settling = None;
        let defect = |error| Err(Error::new(ErrorKind::Internal, "settle").because(error));
        let outcome = done.unwrap_or_else(defect);
        if outcome.is_ok() {
            // It was a heartbeat as well.
            self.member.heartbeat = Instant::now();
        }
        self.outcome = Some(outcome);
    }
}

#[async_trait]
impl GroupConsumer for Consumer {
    async fn poll(&mut self, limits: FetchLimits, wait: Duration) -> Result<Poll> {
        let end = Instant::now() + wait;
        loop {
            if let Some(news) = self.news.pop_front() {
                return Ok(news);
            }
            let before = (self.member.group_id, self.member.generation);
            if let Some(records) = self.round(limits).await? {
                return Ok(records);
            }
            if !self.news.is_empty() || before != (self.member.group_id, self.member.generation) {
                continue;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Poll::Idle);
            }
            let pause = left.min(SWEEP_EVERY).min(self.subscription.session_timeout / 4);
            self.log.db.wait_for_commit(&mut self.seen, pause.max(Duration::from_millis(1))).await;
        }
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        let owned = self.part_ids(partitions);
        self.paused.extend(owned.iter().filter_map(|part_id| self.owned.get(part_id)).map(|owned| owned.at.clone()));
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            self.paused.remove(at);
        }
    }

    async fn begin_settling(&mut self, settlement: Settlement) -> Result<()> {
        self.finish_settling().await;
        self.outcome = None;
        let claims = self.claims(&settlement)?;
        let group_id = self.member.group_id.ok_or_else(|| fenced("settle: this member is not in its group"))?;
        if settlement.is_empty() {
            return Ok(());
        }
        let mut records = settlement.outputs;
        records.extend(settlement.dead_letters);
        let rows = append::route(&self.log, records).await?;
        let (id, now_ms) = (self.member.id.clone(), self.log.clock.now().as_millisecond());
        let settle = move |tx: &Connection| {
            // Also its heartbeat: one write for both.
            if !membership::heartbeat(tx, &id, boot_ms())? {
                return Err(fenced("settle: this member was put out of its group"));
            }
            for (part_id, epoch, offset) in claims {
                membership::check_owner(tx, group_id, &id, part_id, epoch)?;
                membership::commit(tx, group_id, part_id, offset, now_ms)?;
            }
            append::insert(tx, &rows).map(drop)
        };
        let db = self.log.db.clone();
        self.settling = Some(tokio::spawn(async move { db.write("settle", settle).await }));
        Ok(())
    }

    async fn settled(&mut self) -> Result<()> {
        self.finish_settling().await;
        self.outcome.take().unwrap_or(Ok(()))
    }

    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.finish_settling().await;
        let parts = self.part_ids(partitions);
        let Some(group_id) = self.member.group_id.filter(|_| !parts.is_empty()) else { return Ok(()) };
        let (id, released) = (self.member.id.clone(), parts.clone());
        let release = move |tx: &Connection| membership::release(tx, group_id, &id, &released);
        self.log.db.write("release partitions", release).await?;
        for owned in parts.iter().filter_map(|part_id| self.owned.remove(part_id)) {
            self.paused.remove(&owned.at);
        }
        Ok(())
    }

    async fn rewind(&mut self) -> Result<()> {
        self.finish_settling().await;
        let Some(group_id) = self.member.group_id else { return Ok(()) };
        let id = self.member.id.clone();
        let held = self.log.db.read("rewind", move |c| membership::held(c, group_id, &id)).await?;
        for part in held {
            if let Some(owned) = self.owned.get_mut(&part.part_id) {
                owned.position = part.begin;
            }
        }
        Ok(())
    }

    async fn leave(mut self: Box<Self>) -> Result<()> {
        self.finish_settling().await;
        let Some(group_id) = self.member.group_id else { return Ok(()) };
        let id = self.member.id.clone();
        self.log.db.write("leave a group", move |tx| membership::leave(tx, group_id, &id)).await
    }
}

/// Reads from each partition that has something, in even parts.
fn read(
    c: &Connection,
    wanted: &[(i64, TopicPartition, i64)],
    limits: FetchLimits,
) -> Result<(Vec<Record>, Positions)> {
    let mut behind = Vec::new();
    for (part_id, at, position) in wanted {
        let span = topics::span(c, *part_id)?;
        let from = (*position).max(span.low);
        if from < span.high {
            behind.push((*part_id, at, from, span.high));
        }
    }
    let quota = limits.max_records.max(1).div_ceil(behind.len().max(1));
    let mut page = Page::new(limits);
    let mut positions = Vec::with_capacity(behind.len());
    for (part_id, at, from, high) in behind {
        if page.is_full() {
            break;
        }
        positions.push((part_id, page.read(c, (part_id, at), from, high, quota)?));
    }
    Ok((page.records, positions))
}

/// This process, for people.
fn client() -> String {
    let name = rustix::system::uname();
    format!("{} pid {}", name.nodename().to_string_lossy(), std::process::id())
}
