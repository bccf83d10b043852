//! The fault cases of PostgREST that touch a catalog, tenants, tokens, and refusals that must name their setting.

use std::time::{Duration, Instant};

use mfctl_core::domain::asset::AssetState;
use mfctl_core::domain::job::{FileOutcome, FileRefusal, JobOutcome, RefusalKind};
use mfctl_core::domain::{
    AssetId, EventId, GroupName, RecordAddress, Revision, Secret, SourcePath, Stage, Tenant, TopicName,
};
use mfctl_core::ports::{AssetFilter, Catalog, ClaimRequest, ErrorKind, StagedRow, StateTransition};
use mfctl_remote::postgrest::PostgrestAuth;
use reqwest::Method;
use serde_json::{Value, json};

use super::server::{Database, PATIENCE, Server, jwt_secret, signed, token};
use crate::contract::catalog::{asset_id, at, job, row};
use crate::contract::harness::{eventually, fails_as};

fn group() -> GroupName {
    GroupName::new("mfctl.dev.persist").unwrap()
}

fn wish(n: u64, offset: i64) -> ClaimRequest {
    let owner = RecordAddress { topic: TopicName::known("ingest.raw"), partition: 0, offset };
    ClaimRequest { asset_id: asset_id(n), revision: Revision::FIRST, owner }
}

fn outcome(path: &str, outcome: FileOutcome) -> JobOutcome {
    JobOutcome {
        job_id: job(1),
        tenant: Tenant::default(),
        path: SourcePath::from_text(path),
        outcome,
        asset_id: None,
        event_id: None,
        size_bytes: None,
        refusal: None,
        at: at(1),
    }
}

/// A token of the service role, as a string.
fn service(tenant: &str) -> String {
    token(&json!({ "role": "mfctl_service", "tenant": tenant, "exp": 4_000_000_000_u64 }))
}

/// A row of the inbox as PostgREST takes it.
fn inbox(n: u64, offset: i64) -> Value {
    json!({
        "group_name": "mfctl.dev.persist", "asset_id": asset_id(n), "revision": 1, "owner_topic": "ingest.raw",
        "owner_partition": 0, "owner_offset": offset,
    })
}

const UPSERT: &str = "inbox?on_conflict=asset_id,group_name,revision,tenant\
                      &columns=group_name,asset_id,revision,owner_topic,owner_partition,owner_offset";

#[tokio::test]
async fn case_14_a_duplicate_key_in_one_upsert_is_collapsed_first() {
    let server = Server::start().await;
    let service_token = service("default");
    let raw = server
        .request(Method::POST, UPSERT, Some(&service_token))
        .header("prefer", "resolution=merge-duplicates, missing=default")
        .json(&json!([inbox(1, 10), inbox(1, 11)]));
    let (status, body) = server.ask(raw).await.unwrap();
    assert!(status >= 400 && body["code"] == "21000", "the database takes no key twice: {status} {body}");
    let catalog = server.catalog(server.as_service("default"));
    let claims = catalog.claim(&group(), vec![wish(1, 10), wish(2, 5), wish(1, 11)]).await.unwrap();
    assert_eq!(claims.iter().map(|claim| claim.owner.offset).collect::<Vec<_>>(), [10, 5, 10]);
    let twice = vec![outcome("/a", FileOutcome::Failed), outcome("/a", FileOutcome::Rejected)];
    catalog.record_outcomes(twice).await.unwrap();
    let kept = catalog.job_outcomes(job(1), None, 10).await.unwrap().items;
    assert_eq!(kept, [outcome("/a", FileOutcome::Rejected)], "the last stands");
}

#[tokio::test]
async fn case_15_missing_columns_take_their_defaults() {
    let server = Server::start().await;
    let catalog = server.catalog(server.as_service("default"));
    catalog.claim(&group(), vec![wish(1, 10)]).await.unwrap();
    let held = "SELECT tenant || ' ' || done || ' ' || (claimed_at IS NOT NULL) FROM media.inbox";
    assert_eq!(server.database.text(held).await, "default false true");
    // Columns that a row leaves out while the request lists them: NULL without the preference, which no column takes.
    let mut bare = inbox(2, 1);
    bare["done"] = json!(false);
    let listed = format!("{UPSERT},done,claimed_at");
    let service_token = service("default");
    let ask = |prefer: &'static str| {
        let request = server.request(Method::POST, &listed, Some(&service_token)).header("prefer", prefer);
        server.ask(request.json(&json!([inbox(2, 1)])))
    };
    let (status, _) = ask("resolution=merge-duplicates").await.unwrap();
    assert_eq!(status, 400);
    let (status, body) = ask("resolution=merge-duplicates, missing=default").await.unwrap();
    assert!(status < 300, "{status} {body}");
}

#[tokio::test]
async fn case_16_max_affected_needs_strict_handling() {
    let server = Server::start().await;
    let catalog = server.catalog(server.as_service("default"));
    catalog.claim(&group(), (0..4).map(|n| wish(n, n as i64)).collect()).await.unwrap();
    let service_token = service("default");
    let remove = |prefer: &'static str| {
        let path = "inbox?group_name=eq.mfctl.dev.persist";
        server.ask(server.request(Method::DELETE, path, Some(&service_token)).header("prefer", prefer))
    };
    let (status, body) = remove("handling=strict, max-affected=1").await.unwrap();
    assert_eq!((status, &body["code"]), (400, &json!("PGRST124")));
    assert_eq!(server.database.text("SELECT count(*)::text FROM media.inbox").await, "4", "and nothing is gone");
    // Many at once, named in several requests.
    let all: Vec<ClaimRequest> = (0..60).map(|n| wish(n, n as i64)).collect();
    catalog.claim(&group(), all.clone()).await.unwrap();
    catalog.release_claims(&group(), all[..59].to_vec()).await.unwrap();
    assert_eq!(server.database.text("SELECT string_agg(owner_offset::text, ',') FROM media.inbox").await, "59");
    // Lenient, the limit is none: which is why every write here is strict.
    let (status, _) = remove("max-affected=0").await.unwrap();
    assert!(status < 300);
}

/// `tx=rollback` is honoured only where the server was told to (`db-tx-end`), and is done for good elsewhere: so no write
/// of this catalog is a rehearsal. What a server does not apply, it does not name; what must be applied is looked for.
#[tokio::test]
async fn case_17_a_preference_that_is_not_applied_is_seen() {
    let server = Server::start().await;
    let service_token = service("default");
    let request = server
        .request(Method::POST, UPSERT, Some(&service_token))
        .header("prefer", "resolution=merge-duplicates, missing=default, tx=rollback")
        .json(&json!([inbox(1, 1)]));
    let response = request.send().await.unwrap();
    let applied = response.headers().get("preference-applied").unwrap().to_str().unwrap().to_owned();
    assert!(applied.contains("missing=default") && !applied.contains("tx="), "{applied}");
    assert_eq!(server.database.text("SELECT count(*)::text FROM media.inbox").await, "1", "it was done for good");
}

#[tokio::test]
async fn case_18_a_stale_schema_cache_is_reloaded() {
    let server = Server::before(Database::fresh().await).await;
    let catalog = server.catalog(server.as_operator());
    let asked = Instant::now();
    let error = catalog.summary().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unprepared, "{}", error.full());
    assert!(error.hint_text().unwrap().contains("mfctl bootstrap apply"), "{error:?}");
    assert!(asked.elapsed() < Duration::from_secs(10), "it waits a little, and not for ever");
    // The server is told of the tables by the migration; what is asked right then is answered all the same.
    server.database.migrate().await;
    assert_eq!(catalog.summary().await.unwrap().assets, 0);
    assert!(catalog.identity().await.is_ok());
    // A notice that was lost is sent again by migrating again.
    assert!(server.database.migrate().await.is_empty());
}

fn of_tenant(n: u64, tenant: &str) -> StagedRow {
    let tenant = Tenant::new(tenant).unwrap();
    StagedRow { asset_id: AssetId::of(&tenant, &row(n, job(1)).sha256), tenant, ..row(n, job(1)) }
}

#[tokio::test]
async fn two_tenants_see_only_their_own_rows() {
    let server = Server::start().await;
    let (left, right) = (server.catalog(server.as_service("left")), server.catalog(server.as_service("right")));
    let step = |asset_id| StateTransition {
        asset_id,
        revision: Revision::FIRST,
        to: AssetState::Enriched,
        at: at(9),
        facts: None,
        stage: Stage::Enrich,
    };
    let (ours, theirs) = (of_tenant(1, "left"), of_tenant(1, "right"));
    left.stage(vec![ours.clone()]).await.unwrap();
    right.stage(vec![theirs.clone()]).await.unwrap();
    let mine = |tenant: &str| JobOutcome { tenant: Tenant::new(tenant).unwrap(), ..outcome("/1", FileOutcome::Failed) };
    left.record_outcomes(vec![mine("left")]).await.unwrap();
    right.record_outcomes(vec![mine("right")]).await.unwrap();

    for (catalog, own, other) in [(&left, &ours, &theirs), (&right, &theirs, &ours)] {
        let listed = catalog.list(&AssetFilter::default(), None, 10).await.unwrap().items;
        assert_eq!(listed.iter().map(|asset| asset.asset_id).collect::<Vec<_>>(), [own.asset_id]);
        assert!(catalog.assets(&[other.asset_id]).await.unwrap().is_empty());
        assert!(catalog.sources(other.asset_id, 10).await.unwrap().is_empty());
        assert!(catalog.assets_of_path(&other.tenant, &other.source_path).await.unwrap().is_empty());
        assert_eq!(catalog.summary().await.unwrap().assets, 1);
        let outcomes = catalog.latest_outcomes(None, 10).await.unwrap().items;
        assert_eq!(outcomes.iter().map(|one| &one.tenant).collect::<Vec<_>>(), [&own.tenant]);
        assert_eq!(catalog.job_outcomes(job(1), None, 10).await.unwrap().items.len(), 1);
        // A write to the other's changes nothing, or is refused.
        catalog.advance(vec![step(other.asset_id)]).await.unwrap();
        catalog.mark_published(&[other.asset_id], at(9)).await.unwrap();
        fails_as(catalog.stage(vec![other.clone()]).await, ErrorKind::Denied);
        fails_as(catalog.record_outcomes(vec![mine(other.tenant.as_str())]).await, ErrorKind::Denied);
    }
    // The same claim in both: each has its own.
    let claim = |offset| ClaimRequest { asset_id: ours.asset_id, ..wish(1, offset) };
    assert_eq!(left.claim(&group(), vec![claim(1)]).await.unwrap()[0].owner.offset, 1);
    assert_eq!(right.claim(&group(), vec![claim(2)]).await.unwrap()[0].owner.offset, 2);
    right.release_claims(&group(), vec![claim(1)]).await.unwrap();
    assert_eq!(left.claim(&group(), vec![claim(3)]).await.unwrap()[0].owner.offset, 1);

    let states = "SELECT string_agg(tenant || '=' || state || '=' || (published_at IS NULL), ' ' ORDER BY tenant)
                  FROM media.assets";
    assert_eq!(server.database.text(states).await, "left=staged=true right=staged=true");
    let everyone = server.catalog(server.as_operator());
    assert_eq!(everyone.summary().await.unwrap().assets, 2);
    // A token that names no tenant is nobody's.
    let nobody = server.catalog(PostgrestAuth::Token(Secret::new(token(&json!({ "role": "mfctl_service" })))));
    assert_eq!(nobody.summary().await.unwrap().assets, 0);
    fails_as(nobody.claim(&group(), vec![wish(9, 1)]).await, ErrorKind::Denied);
}

/// Whoever holds a token can talk to the tables themselves: they have the same rules.
#[tokio::test]
async fn no_client_takes_an_asset_back_or_a_row_away() {
    let server = Server::start().await;
    let catalog = server.catalog(server.as_service("default"));
    catalog.stage(vec![row(1, job(1))]).await.unwrap();
    let step = StateTransition {
        asset_id: asset_id(1),
        revision: Revision(2),
        to: AssetState::Enriched,
        at: at(5),
        facts: None,
        stage: Stage::Enrich,
    };
    catalog.advance(vec![step]).await.unwrap();
    let before = catalog.assets(&[asset_id(1)]).await.unwrap();
    let service_token = service("default");
    let patch = |body: Value| {
        server.ask(server.request(Method::PATCH, "assets?revision=eq.2", Some(&service_token)).json(&body))
    };
    patch(json!({ "state": "staged" })).await.unwrap();
    patch(json!({ "revision": 1 })).await.unwrap();
    let (status, body) = patch(json!({ "size_bytes": 7 })).await.unwrap();
    assert_eq!((status, &body["code"]), (400, &json!("23514")));
    assert_eq!(catalog.assets(&[asset_id(1)]).await.unwrap(), before);
    for table in ["assets?revision=gt.0", "job_outcomes?path=neq.x", "totals?slot=gte.0"] {
        let (_, body) = server.ask(server.request(Method::DELETE, table, Some(&service_token))).await.unwrap();
        assert_eq!(body["code"], "42501", "{table}");
    }
    let reader = token(&json!({ "role": "mfctl_reader", "tenant": "default" }));
    let (status, rows) = server.get("assets?select=state", Some(&reader)).await.unwrap();
    assert_eq!((status, rows), (200, json!([{ "state": "enriched" }])));
    let (_, body) = server
        .ask(server.request(Method::POST, "rpc/stage", Some(&reader)).json(&json!({ "request": { "rows": [] } })))
        .await
        .unwrap();
    assert_eq!(body["code"], "42501");
    let (status, body) = server.get("assets", None).await.unwrap();
    assert_eq!((status, &body["code"]), (401, &json!("42501")), "nobody sees nothing");
}

#[tokio::test]
async fn a_token_that_is_not_accepted_names_its_setting() {
    let server = Server::start().await;
    let hint = async |auth: PostgrestAuth| {
        let error = server.catalog(auth).summary().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.full());
        assert!(!format!("{error:?}").contains(jwt_secret().expose()));
        error.hint_text().unwrap().to_owned()
    };
    let PostgrestAuth::Signed { role, subject, tenant, lifetime, .. } = signed("mfctl_service", "default") else {
        unreachable!()
    };
    let secret = Secret::new("another secret that is as long as it must be");
    let wrong = PostgrestAuth::Signed { secret, role, subject, tenant, lifetime };
    assert!(hint(wrong).await.contains("profile.test.postgrest.jwt_secret"));
    assert!(hint(signed("mfctl_nobody", "default")).await.contains("profile.test.postgrest.role"));
    let expired = token(&json!({ "role": "mfctl_service", "tenant": "default", "exp": 1_000_000_000 }));
    assert!(hint(PostgrestAuth::Token(Secret::new(expired))).await.contains("profile.test.postgrest.token"));
    assert!(hint(PostgrestAuth::None).await.contains("profile.test.postgrest"));
}

#[tokio::test]
async fn a_signed_token_is_renewed_before_it_expires() {
    let server = Server::start().await;
    let PostgrestAuth::Signed { secret, role, subject, tenant, .. } = server.as_service("default") else {
        unreachable!()
    };
    let lifetime = Duration::from_secs(2);
    let catalog = server.catalog(PostgrestAuth::Signed { secret, role, subject, tenant, lifetime });
    let began = Instant::now();
    let mut asked = 0;
    while began.elapsed() < Duration::from_secs(5) {
        catalog.summary().await.unwrap();
        asked += 1;
    }
    assert!(asked > 10);
}

#[tokio::test]
async fn an_address_that_is_not_postgrest_is_told_from_a_missing_table() {
    let server = Server::start().await;
    let mut elsewhere = Server::before(Database::fresh().await).await;
    elsewhere.url = format!("{}/nowhere/at/all", server.url.trim_end_matches("/api"));
    let error = elsewhere.catalog(server.as_operator()).asset_of_event(EventId::fresh()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unprepared, "{}", error.full());
    elsewhere.url = "http://127.0.0.1:1/api".into();
    fails_as(elsewhere.catalog(server.as_operator()).summary().await, ErrorKind::Unreachable);
}

/// Text that PostgreSQL or an index would not take as it is.
#[tokio::test]
async fn awkward_text_is_kept() {
    let server = Server::start().await;
    let catalog = server.catalog(server.as_service("default"));
    let long = format!("/{}", "ب/".repeat(4000));
    let paths: Vec<SourcePath> =
        [&long, &format!("{long}x"), r#"/a"b'c,(d)%&=;\\\x00"#, "/\u{1}\n\t"].map(SourcePath::from_text).to_vec();
    let rows: Vec<StagedRow> = paths
        .iter()
        .map(|path| {
            let mut staged = StagedRow { source_path: path.clone(), ..row(1, job(1)) };
            staged.metadata.title = Some("nul\0 here".into());
            staged
        })
        .collect();
    catalog.stage(rows).await.unwrap();
    assert_eq!(catalog.sources(asset_id(1), 10).await.unwrap().len(), paths.len());
    for path in &paths {
        assert_eq!(catalog.assets_of_path(&Tenant::default(), path).await.unwrap(), [asset_id(1)]);
    }
    let title = catalog.assets(&[asset_id(1)]).await.unwrap().remove(0).metadata.title;
    assert_eq!(title.as_deref(), Some("nul\u{2400} here"));
    let refusal = Some(FileRefusal { kind: RefusalKind::Unreadable, reason: "\0".into() });
    let outcomes = paths.iter().map(|path| {
        let failed = outcome(path.as_str(), FileOutcome::Failed);
        JobOutcome { refusal: refusal.clone(), ..failed }
    });
    catalog.record_outcomes(outcomes.collect()).await.unwrap();
    let mut sorted = paths.clone();
    sorted.sort();
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = catalog.latest_outcomes(cursor.as_deref(), 1).await.unwrap();
        seen.extend(page.items.into_iter().map(|one| one.path));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, sorted);
}

/// A server that goes away is a dependency that is down, and back when it is back.
#[tokio::test]
async fn a_database_that_ends_its_sessions_is_asked_again() {
    let server = Server::start().await;
    let catalog = server.catalog(server.as_service("default"));
    catalog.stage(vec![row(1, job(1))]).await.unwrap();
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND usename = 'authenticator'",
        server.database.name
    );
    server.database.execute(&end).await;
    eventually(PATIENCE, "the catalog is back", async || match catalog.summary().await {
        Ok(summary) => summary.assets == 1,
        Err(error) => {
            assert!(error.kind().is_dependency(), "{}", error.full());
            false
        }
    })
    .await;
}
