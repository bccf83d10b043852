//! Claims of workers of releases without claim epochs, which claim by an upsert.

use mfctl_core::domain::ClaimState;
use mfctl_core::ports::{ClaimAnswer, ClaimFence};
use reqwest::Method;
use serde_json::{Value, json};

use super::faults::{UPSERT, claimant, inbox, service};
use super::server::Server;
use crate::contract::catalog_claims::claim_request;

/// Claims as such a release does.
pub(super) async fn claim_as_before(server: &Server, rows: &Value) {
    let upsert = server
        .request(Method::POST, UPSERT, Some(&service("default")))
        .header("prefer", "resolution=merge-duplicates, missing=default")
        .json(rows);
    let (status, body) = server.send(upsert).await.unwrap();
    assert!(status < 300, "{status} {body}");
}

/// Such a release expects the claim of a dead letter to be free.
#[tokio::test]
async fn release_without_epochs_claims_what_ended_as_a_dead_letter_and_nothing_else() {
    let server = Server::start().await;
    let member = claimant(&server).await;
    member.claim(vec![claim_request(1, 10), claim_request(2, 11)]).await;
    assert!(!member.end(&claim_request(1, 10), ClaimState::DeadLetterPending).await);
    member.pass(12).await;
    for _ in 0..2 {
        claim_as_before(&server, &json!([inbox(1, 20), inbox(2, 21)])).await;
    }
    let claims = "SELECT string_agg(owner_offset || ' ' || done || ' ' || (epoch IS NULL), ', ' ORDER BY owner_offset)
                  FROM media.inbox";
    assert_eq!(server.database.text(claims).await, "11 true false, 20 false true");
}

/// The commit of such a release completes no claim under an epoch, and says nothing of a pending dead letter.
#[tokio::test]
async fn record_that_a_release_without_epochs_claims_again_holds_its_claim_without_an_epoch() {
    let server = Server::start().await;
    let member = claimant(&server).await;
    member.claim(vec![claim_request(1, 10), claim_request(2, 11)]).await;
    for request in [claim_request(1, 10), claim_request(2, 11)] {
        assert!(!member.end(&request, ClaimState::DeadLetterPending).await);
    }
    claim_as_before(&server, &json!([inbox(1, 10), inbox(2, 21)])).await;
    let claims =
        "SELECT string_agg(owner_offset || ' ' || (epoch IS NULL) || ' ' || coalesce(dead_lettered, false), ', '
                                    ORDER BY owner_offset) FROM media.inbox";
    assert_eq!(server.database.text(claims).await, "10 true false, 11 false true");
    // Without a commit of the release before, the record is delivered to the member again.
    assert_eq!(member.claim(vec![claim_request(1, 10)]).await, [ClaimAnswer::Granted]);
    assert_eq!(server.database.text(claims).await, "10 false false, 11 false true");
}

/// Such a release frees the claim of a dead letter, which another member may have taken since.
#[tokio::test]
async fn release_without_epochs_frees_only_claims_without_an_epoch() {
    let server = Server::start().await;
    claimant(&server).await.claim(vec![claim_request(1, 10)]).await;
    claim_as_before(&server, &json!([inbox(2, 11)])).await;
    let freed = server
        .request(Method::DELETE, "inbox?group_name=eq.mfctl.dev.persist&done=is.false", Some(&service("default")))
        .header("prefer", "return=minimal, handling=strict, max-affected=2");
    let (status, body) = server.send(freed).await.unwrap();
    assert!(status < 300, "{status} {body}");
    assert_eq!(server.database.text("SELECT string_agg(owner_offset::text, ', ') FROM media.inbox").await, "10");
}

#[tokio::test]
async fn claims_are_fenced_since_the_last_one_of_a_release_without_epochs() {
    let server = Server::start().await;
    let since = async || match server.database.migrations().status().await.unwrap().claim_fence {
        ClaimFence::Holds { since } => since,
        other => panic!("{other:?}"),
    };
    let created = since().await;
    server.database.execute("UPDATE media.last_unfenced_claim SET claimed_at = '2020-01-02T03:04:05Z'").await;
    claimant(&server).await.claim(vec![claim_request(1, 10)]).await;
    assert_eq!(since().await, "2020-01-02T03:04:05Z".parse().unwrap(), "a claim under an epoch");
    // It claims what another record holds, and gets nothing.
    claim_as_before(&server, &json!([inbox(1, 20)])).await;
    assert!(since().await >= created);
    server.database.execute("DELETE FROM media.last_unfenced_claim").await;
    assert_eq!(server.database.migrations().status().await.unwrap().claim_fence, ClaimFence::Unknown);
}
