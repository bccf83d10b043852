//! Nothing of an asset that was taken down is shown anywhere, with workers running and with an enrich in flight.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::damaged_objects::buckets;
use super::media_verbs::{PAGE, page_asset};
use super::takedown::{stopped_worker, takedown};
use crate::support::{Running, Site, eventually};

/// Within this time nothing may be left.
const LIMIT: Duration = Duration::from_secs(60);

/// Words of the asset's text and title.
const CONTENT: [&str; 3] = ["gardens", "Water", "ایرانی"];

/// The first place that shows the asset or a word of its content, with what it says.
async fn shown_at(site: &Site, asset: &str) -> Option<String> {
    for word in CONTENT {
        let found = site.json(["media", "search", word], &[0]);
        if found["total"] != 0 {
            return Some(format!("media search: {found:#}"));
        }
    }
    let listed = site.run(["media", "list", "-o", "json"]);
    if listed.code != 0 || listed.stdout.contains(asset) {
        return Some(format!("media list: {listed}"));
    }
    for words in [&["media", "get", asset][..], &["media", "get", asset, "--derivative", "text"]] {
        let got = site.run(words);
        if got.code != 6 || !got.stdout.is_empty() {
            return Some(format!("{words:?}: {got}"));
        }
    }
    for words in [["media", "show", asset], ["media", "trace", asset]] {
        let ran = site.run(words);
        if ran.code != 0 || CONTENT.iter().any(|word| ran.stdout.contains(word)) {
            return Some(format!("{words:?}: {ran}"));
        }
    }
    let ports = site.ports().await;
    let derived = ports.objects.list(&buckets(site).derived, &format!("{asset}/"), None, 10).await.unwrap();
    (!derived.objects.is_empty()).then(|| format!("{derived:?}"))
}

async fn assert_hidden_within_the_limit(site: &Site, asset: &str) {
    let began = Instant::now();
    while let Some(shown) = shown_at(site, asset).await {
        assert!(began.elapsed() < LIMIT, "{shown}");
    }
}

fn page_site() -> Site {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    std::fs::write(site.path("in/page.html"), PAGE).unwrap();
    site.json(["ingest", "in"], &[0]);
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn asset_taken_down_beside_running_workers_is_shown_nowhere() {
    let site = page_site();
    let worker = Running::start(site.command(["worker", "all"]));
    eventually("the page is found", || site.json(["media", "search", "gardens"], &[0])["total"] == 1);
    let asset = page_asset(&site);
    site.json(takedown(&asset, &[]), &[0]);
    assert_hidden_within_the_limit(&site, &asset).await;
    worker.signal(Signal::TERM);
    worker.code();
    assert_eq!(shown_at(&site, &asset).await, None);
    site.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn asset_taken_down_while_it_is_enriched_is_shown_nowhere() {
    let site = page_site();
    site.json(["worker", "persist", "--until-drained"], &[0]);
    let asset = page_asset(&site);
    let worker = stopped_worker(&site, "enrich", "before_upsert");
    site.json(takedown(&asset, &[]), &[0]);
    worker.signal(Signal::CONT);
    assert_eq!(worker.code(), 0);
    assert_hidden_within_the_limit(&site, &asset).await;
    site.audit();
}
