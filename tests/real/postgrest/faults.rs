//! PostgREST: fault cases of the catalog, tenants, tokens, and errors that name their setting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mfctl_core::domain::asset::AssetState;
use mfctl_core::domain::job::{FileOutcome, FileRefusal, JobOutcome, RefusalKind};
use mfctl_core::domain::{AssetId, EventId, GroupName, Revision, Secret, SourcePath, Stage, Tenant};
use mfctl_core::ports::{AssetFilter, Catalog, ClaimAnswer, ClaimRequest, ErrorKind, StagedRow, StateTransition};
use mfctl_remote::postgrest::{PostgrestAuth, PostgrestCatalog};
use reqwest::Method;
use serde_json::{Value, json};

use super::server::{Database, Server, TIMEOUT, jwt_secret, signed, token};
use super::unfenced_claims::claim_as_before;
use crate::contract::catalog::{asset_id, at, job, row};
use crate::contract::catalog_claims::{Claimant, claim_request, epoch_request};
use crate::contract::harness::{eventually, fails_as};

pub(super) fn group() -> GroupName {
    GroupName::new("mfctl.dev.persist").unwrap()
}

/// A member of the group, in the role of a worker.
pub(super) async fn claimant(server: &Server) -> Claimant {
    let catalog: Arc<dyn Catalog> = Arc::new(server.catalog(server.as_service("default")));
    Claimant::assigned(&catalog, &group(), 1).await
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
pub(super) fn service(tenant: &str) -> String {
    token(&json!({ "role": "mfctl_service", "tenant": tenant, "exp": 4_000_000_000_u64 }))
}

/// A row of the inbox as PostgREST takes it.
pub(super) fn inbox(n: u64, offset: i64) -> Value {
    json!({
        "group_name": "mfctl.dev.persist", "asset_id": asset_id(n), "revision": 1, "owner_topic": "ingest.raw",
        "owner_partition": 0, "owner_offset": offset,
    })
}

pub(super) const UPSERT: &str = "inbox?on_conflict=asset_id,group_name,revision,tenant\
                      &columns=group_name,asset_id,revision,owner_topic,owner_partition,owner_offset";

#[tokio::test]
async fn case_14_duplicate_keys_in_one_upsert_are_collapsed() {
    let server = Server::start().await;
    let service_token = service("default");
    let raw = server
        .request(Method::POST, UPSERT, Some(&service_token))
        .header("prefer", "resolution=merge-duplicates, missing=default")
        .json(&json!([inbox(1, 10), inbox(1, 11)]));
    let (status, body) = server.send(raw).await.unwrap();
    assert!(status >= 400 && body["code"] == "21000", "the database takes no key twice: {status} {body}");
    let catalog = server.catalog(server.as_service("default"));
    let claims = claimant(&server).await;
    let answers = claims.claim(vec![claim_request(1, 10), claim_request(2, 5), claim_request(1, 11)]).await;
    assert!(
        matches!(answers[..], [ClaimAnswer::Granted, ClaimAnswer::Granted, ClaimAnswer::Refused(_)]),
        "{answers:?}"
    );
    let twice = vec![outcome("/a", FileOutcome::Failed), outcome("/a", FileOutcome::Rejected)];
    catalog.record_outcomes(None, twice).await.unwrap();
    let kept = catalog.job_outcomes(job(1), None, 10).await.unwrap().items;
    assert_eq!(kept, [outcome("/a", FileOutcome::Rejected)], "the last one wins");
}

/// Supabase, for example, cuts every answer after 1,000 rows.
#[tokio::test]
async fn answers_cut_short_by_db_max_rows_lose_no_claim_and_no_source() {
    let server = Server::with_settings(Database::migrated().await, &[("PGRST_DB_MAX_ROWS", "5")]).await;
    let catalog = server.catalog(server.as_service("default"));
    eventually(TIMEOUT, "the catalog answers", async || catalog.identity().await.is_ok()).await;
    let claims = claimant(&server).await;
    let requests = |first: i64| (0..23).map(move |n| claim_request(n, first + n as i64)).collect::<Vec<_>>();
    assert_eq!(claims.claim(requests(10)).await, vec![ClaimAnswer::Granted; 23]);
    let refused = claims.claim(requests(50)).await;
    assert_eq!(refused.iter().filter(|answer| matches!(answer, ClaimAnswer::Refused(_))).count(), 23, "{refused:?}");

    let staged: Vec<_> =
        (0..12).map(|n| StagedRow { source_path: SourcePath::from_text(format!("/{n}")), ..row(1, job(1)) }).collect();
    catalog.stage(staged).await.unwrap();
    assert_eq!(catalog.sources(asset_id(1), 100).await.unwrap().len(), 12);
    assert_eq!(catalog.sources(asset_id(1), 7).await.unwrap().len(), 7);
}

#[tokio::test]
async fn case_15_missing_columns_take_their_defaults() {
    let server = Server::start().await;
    claimant(&server).await.claim(vec![claim_request(1, 10)]).await;
    let held = "SELECT tenant || ' ' || done || ' ' || (claimed_at IS NOT NULL) FROM media.inbox";
    assert_eq!(server.database.text(held).await, "default false true");
    // Without the preference, listed columns that a row omits are NULL, which no column accepts.
    let mut bare = inbox(2, 1);
    bare["done"] = json!(false);
    let listed = format!("{UPSERT},done,claimed_at");
    let service_token = service("default");
    let ask = |prefer: &'static str| {
        let request = server.request(Method::POST, &listed, Some(&service_token)).header("prefer", prefer);
        server.send(request.json(&json!([inbox(2, 1)])))
    };
    let (status, _) = ask("resolution=merge-duplicates").await.unwrap();
    assert_eq!(status, 400);
    let (status, body) = ask("resolution=merge-duplicates, missing=default").await.unwrap();
    assert!(status < 300, "{status} {body}");
}

#[tokio::test]
async fn case_16_max_affected_needs_strict_handling() {
    let server = Server::start().await;
    claim_as_before(&server, &(0..4).map(|n| inbox(n, n as i64)).collect()).await;
    let service_token = service("default");
    let remove = |prefer: &'static str| {
        let path = "inbox?group_name=eq.mfctl.dev.persist";
        server.send(server.request(Method::DELETE, path, Some(&service_token)).header("prefer", prefer))
    };
    let (status, body) = remove("handling=strict, max-affected=1").await.unwrap();
    assert_eq!((status, &body["code"]), (400, &json!("PGRST124")));
    assert_eq!(server.database.text("SELECT count(*)::text FROM media.inbox").await, "4", "nothing is deleted");
    // Without strict handling the limit is ignored, so every write of the catalog is strict.
    let (status, _) = remove("max-affected=0").await.unwrap();
    assert!(status < 300);
}

/// `tx=rollback` works only if the server allows it (`db-tx-end`) and commits otherwise, so the catalog does not use it for dry
/// runs. A server lists the preferences that it applied, and the catalog checks the ones it needs.
#[tokio::test]
async fn case_17_unapplied_preference_is_detected() {
    let server = Server::start().await;
    let service_token = service("default");
    let request = server
        .request(Method::POST, UPSERT, Some(&service_token))
        .header("prefer", "resolution=merge-duplicates, missing=default, tx=rollback")
        .json(&json!([inbox(1, 1)]));
    let response = request.send().await.unwrap();
    let applied = response.headers().get("preference-applied").unwrap().to_str().unwrap().to_owned();
    assert!(applied.contains("missing=default") && !applied.contains("tx="), "{applied}");
    assert_eq!(server.database.text("SELECT count(*)::text FROM media.inbox").await, "1", "it was committed");
}

#[tokio::test]
async fn case_18_stale_schema_cache_is_reloaded() {
    let server = Server::for_database(Database::fresh().await).await;
    let catalog = server.catalog(server.as_operator());
    let asked = Instant::now();
    let error = catalog.summary().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unprepared, "{}", error.full());
    assert!(error.hint_text().unwrap().contains("mfctl bootstrap apply"), "{error:?}");
    assert!(asked.elapsed() < Duration::from_secs(10), "the retries are bounded");
    // The migration notifies the server of the new tables; a request right after it succeeds.
    server.database.migrate().await;
    assert_eq!(catalog.summary().await.unwrap().assets, 0);
    assert!(catalog.identity().await.is_ok());
    // Migrating again repeats a lost notification.
    assert!(server.database.migrate().await.is_empty());
}

fn row_of_tenant(n: u64, tenant: &str) -> StagedRow {
    let tenant = Tenant::new(tenant).unwrap();
    StagedRow { asset_id: AssetId::of(&tenant, &row(n, job(1)).sha256), tenant, ..row(n, job(1)) }
}

#[tokio::test]
async fn two_tenants_see_only_their_own_rows() {
    let server = Server::start().await;
    let left = Arc::new(server.catalog(server.as_service("left")));
    let right = Arc::new(server.catalog(server.as_service("right")));
    let step = |asset_id| StateTransition {
        asset_id,
        revision: Revision::FIRST,
        to: AssetState::Enriched,
        at: at(9),
        facts: None,
        stage: Stage::Enrich,
    };
    let ours = row_of_tenant(1, "left");
    let theirs = row_of_tenant(1, "right");
    left.stage(vec![ours.clone()]).await.unwrap();
    right.stage(vec![theirs.clone()]).await.unwrap();
    let mine = |tenant: &str| JobOutcome { tenant: Tenant::new(tenant).unwrap(), ..outcome("/1", FileOutcome::Failed) };
    left.record_outcomes(None, vec![mine("left")]).await.unwrap();
    right.record_outcomes(None, vec![mine("right")]).await.unwrap();

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
        // A write to the other tenant's rows changes nothing or is refused.
        catalog.advance(vec![step(other.asset_id)]).await.unwrap();
        catalog.mark_published(&[(other.asset_id, Revision::FIRST)], at(9)).await.unwrap();
        fails_as(catalog.stage(vec![other.clone()]).await, ErrorKind::Denied);
        fails_as(catalog.record_outcomes(None, vec![mine(other.tenant.as_str())]).await, ErrorKind::Denied);
    }
    // The same claim is separate in each tenant.
    let claim = |offset| vec![ClaimRequest { asset_id: ours.asset_id, ..claim_request(1, offset) }];
    for catalog in [&left, &right] {
        let catalog: Arc<dyn Catalog> = Arc::<PostgrestCatalog>::clone(catalog);
        let member = Claimant::assigned(&catalog, &group(), 1).await;
        assert_eq!(member.claim(claim(1)).await, [ClaimAnswer::Granted]);
        assert!(matches!(member.claim(claim(2)).await[..], [ClaimAnswer::Refused(_)]));
    }

    let states = "SELECT string_agg(tenant || '=' || state || '=' || (published_at IS NULL), ' ' ORDER BY tenant)
                  FROM media.assets";
    assert_eq!(server.database.text(states).await, "left=staged=true right=staged=true");
    let everyone = server.catalog(server.as_operator());
    assert_eq!(everyone.summary().await.unwrap().assets, 2);
    // A token without a tenant sees no rows.
    let no_tenant = server.catalog(PostgrestAuth::Token(Secret::new(token(&json!({ "role": "mfctl_service" })))));
    assert_eq!(no_tenant.summary().await.unwrap().assets, 0);
    fails_as(no_tenant.mint_epochs(&group(), vec![epoch_request()]).await, ErrorKind::Denied);
}

/// A client with a token can write to the tables directly; the tables enforce the same rules.
#[tokio::test]
async fn clients_cannot_regress_assets_or_delete_rows() {
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
        server.send(server.request(Method::PATCH, "assets?revision=eq.2", Some(&service_token)).json(&body))
    };
    patch(json!({ "state": "staged" })).await.unwrap();
    patch(json!({ "revision": 1 })).await.unwrap();
    let (status, body) = patch(json!({ "size_bytes": 7 })).await.unwrap();
    assert_eq!((status, &body["code"]), (400, &json!("23514")));
    assert_eq!(catalog.assets(&[asset_id(1)]).await.unwrap(), before);
    for table in ["assets?revision=gt.0", "job_outcomes?path=neq.x", "totals?slot=gte.0"] {
        let (_, body) = server.send(server.request(Method::DELETE, table, Some(&service_token))).await.unwrap();
        assert_eq!(body["code"], "42501", "{table}");
    }
    let reader = token(&json!({ "role": "mfctl_reader", "tenant": "default" }));
    let (status, rows) = server.get("assets?select=state", Some(&reader)).await.unwrap();
    assert_eq!((status, rows), (200, json!([{ "state": "enriched" }])));
    let (_, body) = server
        .send(server.request(Method::POST, "rpc/stage", Some(&reader)).json(&json!({ "request": { "rows": [] } })))
        .await
        .unwrap();
    assert_eq!(body["code"], "42501");
    let (status, body) = server.get("assets", None).await.unwrap();
    assert_eq!((status, &body["code"]), (401, &json!("42501")), "anonymous clients have no access");
}

#[tokio::test]
async fn rejected_token_names_its_setting() {
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
async fn signed_token_is_renewed_before_it_expires() {
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
async fn address_without_postgrest_is_unprepared_and_without_listener_unreachable() {
    let server = Server::start().await;
    let mut elsewhere = Server::for_database(Database::fresh().await).await;
    elsewhere.url = format!("{}/nowhere/at/all", server.url.trim_end_matches("/api"));
    let error = elsewhere.catalog(server.as_operator()).asset_of_event(EventId::fresh()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unprepared, "{}", error.full());
    elsewhere.url = "http://127.0.0.1:1/api".into();
    fails_as(elsewhere.catalog(server.as_operator()).summary().await, ErrorKind::Unreachable);
}

/// Text that PostgreSQL or an index does not accept as it is.
#[tokio::test]
async fn awkward_text_is_stored() {
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
    catalog.record_outcomes(None, outcomes.collect()).await.unwrap();
    let mut sorted = paths.clone();
    sorted.sort();
    let mut seen = Vec::new();
    let mut cursor = None::<String>;
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

#[tokio::test]
async fn terminated_database_sessions_are_a_transient_outage() {
    let server = Server::start().await;
    let catalog = server.catalog(server.as_service("default"));
    catalog.stage(vec![row(1, job(1))]).await.unwrap();
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND usename = 'authenticator'",
        server.database.name
    );
    server.database.execute(&end).await;
    eventually(TIMEOUT, "the catalog to answer again", async || match catalog.summary().await {
        Ok(summary) => summary.assets == 1,
        Err(error) => {
            assert!(error.kind().is_dependency(), "{}", error.full());
            false
        }
    })
    .await;
}
