//! Claims that were folded into their assets, and the order of locks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join3;
use mfctl_core::domain::claim_folding::FoldLimits;
use mfctl_core::ports::Catalog;
use reqwest::Method;
use serde_json::{Value, json};

use super::faults::{UPSERT, claimant, group, inbox, service};
use super::server::{Database, Server, TIMEOUT, connect};
use crate::contract::catalog::{asset_id, job, row};
use crate::contract::catalog_claims::{INPUT, claim_request};
use crate::contract::harness::eventually;

/// A worker of the release before finds a folded claim done.
#[tokio::test]
async fn release_without_epochs_does_not_claim_what_was_folded() {
    let server = Server::start().await;
    let catalog = server.catalog(server.as_service("default"));
    catalog.stage(vec![row(1, job(1)), row(2, job(1))]).await.unwrap();
    let member = claimant(&server).await;
    member.claim(vec![claim_request(1, 10), claim_request(2, 30)]).await;
    member.pass(11).await;
    let limits =
        FoldLimits { topic: INPUT, topic_id: None, retained_from: BTreeMap::from([(0, 11)]), claimed_before: None };
    let fold = async || catalog.fold_claims(&group(), &limits, None, 10).await.unwrap().folded;
    assert_eq!(fold().await, 1);
    let second = |offset: i64| {
        let mut row = inbox(1, offset);
        row["revision"] = json!(2);
        row
    };
    let service_token = service("default");
    for _ in 0..2 {
        let upsert = server
            .request(Method::POST, UPSERT, Some(&service_token))
            .header("prefer", "resolution=merge-duplicates, missing=default, return=representation")
            .json(&json!([inbox(1, 5), second(21)]));
        let (status, body) = server.send(upsert).await.unwrap();
        assert!(status < 300, "{status} {body}");
        assert_eq!((&body[0]["done"], &body[1]["done"]), (&json!(true), &json!(false)), "{body}");
    }
    assert_eq!(fold().await, 1, "the claim that it added");
    let claims = "SELECT string_agg(owner_offset || ' ' || done, ', ' ORDER BY owner_offset) FROM media.inbox";
    assert_eq!(server.database.text(claims).await, "21 false, 30 false");
}

/// One batch completes a claim and asks for a new one, while another asks for both. Without PostgREST, whose client
/// repeats what a deadlock has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_lock_claims_in_one_order() {
    let database = Database::migrated().await;
    let mut by_id: Vec<u64> = (1..=3).collect();
    by_id.sort_unstable_by_key(|n| asset_id(*n));
    let [new, held, last] = by_id[..] else { panic!("{by_id:?}") };
    let in_topic = json!({ "topic": "ingest.raw", "topic_id": "topic-1", "partition": 0, "epoch": 1 });
    let with = |more: Value| {
        let mut object = in_topic.clone();
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    let call = async |function: &str, request: Value| {
        let sql = format!("SELECT media.{function}('{request}')::text");
        database.text(&sql).await.parse::<Value>().unwrap()
    };
    let claim = async |below: Option<i64>, claims: &[(u64, i64)]| {
        let row =
            |(n, offset): &(u64, i64)| with(json!({ "asset_id": asset_id(*n), "revision": 1, "owner_offset": offset }));
        let passed: Vec<Value> = below.iter().map(|below| with(json!({ "below": below }))).collect();
        let rows: Vec<Value> = claims.iter().map(row).collect();
        let request = json!({ "group_name": "g", "passed": passed, "fences": [in_topic], "rows": rows });
        call("claim_batch", request).await["refused"].as_array().unwrap().len()
    };
    let assigned = with(json!({ "generation": 1, "member_id": "m1", "is_position_of_member": true }));
    call("mint_claim_epochs", json!({ "group_name": "g", "rows": [assigned] })).await;
    for (n, offset) in [(last, 10), (held, 11)] {
        assert_eq!(claim(None, &[(n, offset)]).await, 0);
    }
    let holder = connect(&database.url()).await;
    let hold = format!("BEGIN; SELECT FROM media.inbox WHERE asset_id = '{}' FOR UPDATE", asset_id(held));
    holder.batch_execute(&hold).await.unwrap();
    let is_waiting = async |sessions: &str| {
        let sql = "SELECT count(*)::text FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
        database.text(sql).await == sessions
    };
    let is_answered = AtomicBool::new(false);
    let claims = [(new, 40)];
    let completes = claim(Some(12), &claims);
    let asks = async {
        eventually(TIMEOUT, "the first batch waits", async || is_waiting("1").await).await;
        let refused = claim(None, &[(new, 50), (last, 51)]).await;
        is_answered.store(true, Ordering::Relaxed);
        refused
    };
    let releases = async {
        let is_blocked = async || is_answered.load(Ordering::Relaxed) || is_waiting("2").await;
        eventually(TIMEOUT, "the second batch waits or is answered", is_blocked).await;
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let (first, second, ()) = join3(completes, asks, releases).await;
    assert_eq!(first + second, 2, "one of them has the new claim, and the other one stays");
}

/// A worker of a release that claims by epochs and does not know of folding.
#[tokio::test]
async fn folded_claim_is_refused_as_done_by_the_call_of_the_release_before() {
    let server = Server::start().await;
    let catalog = server.catalog(server.as_service("default"));
    catalog.stage(vec![row(1, job(1))]).await.unwrap();
    let member = claimant(&server).await;
    member.claim(vec![claim_request(1, 10)]).await;
    member.pass(11).await;
    let limits =
        FoldLimits { topic: INPUT, topic_id: None, retained_from: BTreeMap::from([(0, 11)]), claimed_before: None };
    assert_eq!(catalog.fold_claims(&group(), &limits, None, 10).await.unwrap().folded, 1);
    let request = json!({ "request": {
        "group_name": group().as_str(), "passed": [],
        "fences": [{ "topic": "ingest.raw", "topic_id": "topic-1", "partition": 0, "epoch": 1 }],
        "rows": [{ "asset_id": asset_id(1), "revision": 1, "topic": "ingest.raw", "partition": 0, "owner_offset": 50 }],
    }});
    let call = server.request(Method::POST, "rpc/claim_batch", Some(&service("default"))).json(&request);
    let (status, body) = server.send(call).await.unwrap();
    assert!(status < 300, "{status} {body}");
    let refused = &body["refused"][0];
    assert_eq!((&refused["place"], &refused["done"], &refused["owner_offset"]), (&json!(1), &json!(true), &json!(50)));
    assert!(refused["claimed_at"].is_string(), "{body}");
}
