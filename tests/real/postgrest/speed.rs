//! How long batches take. The bounds are wide: they catch a bad query plan, not a slow machine.

use std::time::{Duration, Instant};

use mfctl_core::domain::asset::{AssetState, Stage};
use mfctl_core::domain::claim::{EpochAnswer, MintRequest};
use mfctl_core::domain::{ClaimGround, GroupGeneration, GroupName, RecordAddress, Revision, TopicName, TopicPartition};
use mfctl_core::ports::{
    Catalog, ClaimBatch, ClaimRequest, EpochRequest, GroupCommit, PartitionFence, PassedRecords, StateTransition,
};

use super::server::Server;
use crate::contract::catalog::{asset_id, at, job, row};

const ASSETS: u64 = 20_000;
const BATCH: u64 = 500;

#[tokio::test]
async fn batches_stay_fast_up_to_twenty_thousand_assets() {
    let server = Server::start().await;
    let catalog = server.catalog(server.as_service("default"));
    let group = GroupName::new("mfctl.dev.persist").unwrap();
    let topic = TopicName::known("ingest.raw");
    let mut spent: Vec<(&str, Vec<Duration>)> = Vec::new();
    macro_rules! timed {
        ($name:literal, $call:expr) => {{
            let began = Instant::now();
            $call.await.unwrap();
            match spent.iter_mut().find(|(name, _)| *name == $name) {
                Some((_, times)) => times.push(began.elapsed()),
                None => spent.push(($name, vec![began.elapsed()])),
            }
        }};
    }
    let request = |n| EpochRequest {
        at: TopicPartition::new(topic.clone(), n),
        topic_id: None,
        request: MintRequest {
            member: GroupGeneration { generation: 1, member_id: "member".into() },
            is_position_of_member: true,
            replaces: None,
        },
    };
    let epochs = catalog.mint_epochs(&group, (0..6).map(request).collect()).await.unwrap();
    let fence = |(n, answer): (usize, &EpochAnswer)| {
        let EpochAnswer::Minted(epoch) = answer else { panic!("{answer:?}") };
        PartitionFence { at: TopicPartition::new(topic.clone(), n as u32), topic_id: None, epoch: *epoch }
    };
    let fences: Vec<PartitionFence> = epochs.iter().enumerate().map(fence).collect();
    let passed = |offset: u64| -> Vec<PassedRecords> {
        let passed = |fence: &PartitionFence| PassedRecords {
            commit: GroupCommit { at: fence.at.clone(), offset: offset as i64, epoch: Some(fence.epoch) },
            topic_id: None,
        };
        fences.iter().map(passed).collect()
    };
    for start in (0..ASSETS).step_by(BATCH as usize) {
        let numbers: Vec<u64> = (start..start + BATCH).collect();
        let ids: Vec<_> = numbers.iter().map(|n| asset_id(*n)).collect();
        timed!("stage", catalog.stage(numbers.iter().map(|n| row(*n, job(1))).collect()));
        let published: Vec<_> = ids.iter().map(|id| (*id, Revision::FIRST)).collect();
        timed!("mark_published", catalog.mark_published(&published, at(1)));
        timed!("assets", catalog.assets(&ids));
        let claim = |n: &u64| ClaimRequest {
            asset_id: asset_id(*n),
            revision: Revision::FIRST,
            owner: RecordAddress { topic: topic.clone(), partition: (*n % 6) as u32, offset: *n as i64 },
            ground: ClaimGround::Delivered,
        };
        let batch = ClaimBatch {
            passed: if start > 0 { passed(start) } else { Vec::new() },
            fences: fences.clone(),
            requests: numbers.iter().map(claim).collect(),
        };
        timed!("claim", catalog.claim(&group, batch));
        let step = |n: &u64| StateTransition {
            asset_id: asset_id(*n),
            revision: Revision::FIRST,
            to: AssetState::Ingested,
            at: at(2),
            facts: None,
            stage: Stage::Persist,
        };
        timed!("advance", catalog.advance(numbers.iter().map(step).collect()));
        timed!("summary", catalog.summary());
    }
    for (name, mut times) in spent {
        times.sort_unstable();
        let median = times[times.len() / 2];
        let worst = times[times.len() - 1];
        println!("{name:16} median {median:>10.1?}  worst {worst:>10.1?}");
        assert!(median < Duration::from_secs(1), "{name} takes {median:?}");
    }
}
