//! The contract of `Catalog`, continued: listings, sources and outcomes.

use std::collections::BTreeMap;

use mfctl_core::domain::asset::AssetState;
use mfctl_core::domain::event::Metadata;
use mfctl_core::domain::job::{FileOutcome, FileRefusal, JobOutcome, RefusalKind};
use mfctl_core::domain::{AssetId, EventId, JobId, MediaTypePattern, NameGlob, Revision, SourcePath, Stage, Tenant};
use mfctl_core::ports::{AssetFilter, AssetOrder, AssetSortKey, DeadLetterFlag, ErrorKind, StagedRow, StateTransition};

use crate::contract::catalog::{CatalogFixture, asset_id, at, job, row};
use crate::contract::harness::fails_as;

async fn listed_ids(f: &CatalogFixture, filter: &AssetFilter, page: usize) -> Vec<AssetId> {
    let mut found = Vec::new();
    let mut cursor = None::<String>;
    loop {
        let got = f.port.list(filter, cursor.as_deref(), page).await.unwrap();
        assert!(got.items.len() <= page);
        found.extend(got.items.iter().map(|asset| asset.asset_id));
        cursor = got.next;
        if cursor.is_none() {
            return found;
        }
    }
}

fn sorted_ids(numbers: impl IntoIterator<Item = u64>) -> Vec<AssetId> {
    let mut ids: Vec<AssetId> = numbers.into_iter().map(asset_id).collect();
    ids.sort_unstable();
    ids
}

pub async fn assets_are_paged_by_id(f: CatalogFixture) {
    f.port.stage((0..30).map(|n| row(n, job(1))).collect()).await.unwrap();
    for page in [1, 7, 30, 31, 1000] {
        assert_eq!(listed_ids(&f, &AssetFilter::default(), page).await, sorted_ids(0..30), "pages of {page}");
    }
    fails_as(f.port.list(&AssetFilter::default(), Some("nonsense"), 1).await, ErrorKind::Invalid);
}

/// Stages assets 0 to 11, which differ in every field that a filter reads.
async fn stage_varied_assets(f: &CatalogFixture) {
    let rows = (0..12).map(|n| StagedRow {
        media_type: ["image/png", "image/jpeg", "text/plain"][n as usize % 3].into(),
        metadata: Metadata {
            collection: (n % 4 == 0).then(|| "poems".to_owned()),
            tags: BTreeMap::from([("even".to_owned(), (n % 2 == 0).to_string()), (format!("t{n}"), String::new())]),
            ..Metadata::default()
        },
        ..row(n, job(1 + u128::from(n % 2)))
    });
    f.port.stage(rows.collect()).await.unwrap();
    let advance = |n: u64| StateTransition {
        asset_id: asset_id(n),
        revision: Revision::FIRST,
        to: AssetState::Ingested,
        at: at(50),
        facts: None,
        stage: Stage::Persist,
    };
    f.port.advance((0..6).map(advance).collect()).await.unwrap();
    let flag =
        |n: u64| DeadLetterFlag { asset_id: asset_id(n), revision: Revision::FIRST, stage: Stage::Enrich, at: at(60) };
    f.port.flag_dead_letters(vec![flag(3), flag(4)]).await.unwrap();
    // Job 9 saw asset 5 again.
    f.port.record_outcomes(None, vec![outcome(9, "/5", Some(5))]).await.unwrap();
}

fn media_type(text: &str) -> Option<MediaTypePattern> {
    Some(text.parse().unwrap())
}

pub async fn each_filter_selects_the_matching_assets(f: CatalogFixture) {
    stage_varied_assets(&f).await;
    let all = AssetFilter::default;
    let image = || (0..12).filter(|n| n % 3 != 2);
    let tag = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
    let cases: Vec<(AssetFilter, Vec<AssetId>)> = vec![
        (AssetFilter { tenant: Some(Tenant::default()), ..all() }, sorted_ids(0..12)),
        (AssetFilter { tenant: Some(Tenant::new("other").unwrap()), ..all() }, vec![]),
        (AssetFilter { state: Some(AssetState::Ingested), ..all() }, sorted_ids(0..6)),
        (AssetFilter { state: Some(AssetState::Enriched), ..all() }, vec![]),
        (AssetFilter { dead_lettered: Some(true), ..all() }, sorted_ids([3, 4])),
        (AssetFilter { dead_lettered: Some(false), ..all() }, sorted_ids((0..12).filter(|n| ![3, 4].contains(n)))),
        (AssetFilter { media_type: media_type("image/*"), ..all() }, sorted_ids(image())),
        (AssetFilter { media_type: media_type("IMAGE/"), ..all() }, sorted_ids(image())),
        (AssetFilter { media_type: media_type("Text/Plain"), ..all() }, sorted_ids([2, 5, 8, 11])),
        (AssetFilter { media_type: media_type("imag/*"), ..all() }, vec![]),
        (AssetFilter { media_type: media_type("im_ge/*"), ..all() }, vec![]),
        (AssetFilter { media_type: media_type("image/p"), ..all() }, vec![]),
        (AssetFilter { collection: Some("poems".into()), ..all() }, sorted_ids([0, 4, 8])),
        (AssetFilter { tag: tag("t7", ""), ..all() }, sorted_ids([7])),
        (AssetFilter { tag: tag("even", "true"), ..all() }, sorted_ids((0..12).step_by(2))),
        (AssetFilter { tag: tag("even", ""), ..all() }, sorted_ids(0..12)),
        (AssetFilter { tag: tag("' OR 1=1 --", ""), ..all() }, vec![]),
        (AssetFilter { job_id: Some(job(2)), ..all() }, sorted_ids((1..12).step_by(2))),
        (AssetFilter { job_id: Some(job(9)), ..all() }, sorted_ids([5])),
        (AssetFilter { since: Some(at(9)), ..all() }, sorted_ids(9..12)),
    ];
    for (filter, expected) in cases {
        for page in [1, 3, 100] {
            assert_eq!(listed_ids(&f, &filter, page).await, expected, "{filter:?} in pages of {page}");
        }
    }
}

pub async fn filters_are_combined_with_and(f: CatalogFixture) {
    stage_varied_assets(&f).await;
    let filter = AssetFilter {
        without_revoked: true,
        tenant: Some(Tenant::default()),
        state: Some(AssetState::Ingested),
        dead_lettered: Some(true),
        media_type: media_type("image/*"),
        collection: Some("poems".into()),
        tag: Some(("even".into(), "true".into())),
        job_id: Some(job(1)),
        since: Some(at(1)),
        name: None,
    };
    assert_eq!(listed_ids(&f, &filter, 1).await, sorted_ids([4]));
}

pub async fn pages_neither_skip_nor_repeat_assets_during_staging(f: CatalogFixture) {
    f.port.stage((0..40).map(|n| row(n, job(1))).collect()).await.unwrap();
    let mut seen = Vec::new();
    let mut cursor = None::<String>;
    for turn in 0.. {
        let page = f.port.list(&AssetFilter::default(), cursor.as_deref(), 5).await.unwrap();
        seen.extend(page.items.iter().map(|asset| asset.asset_id));
        f.port.stage((0..3).map(|n| row(1000 + turn * 3 + n, job(2))).collect()).await.unwrap();
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "in order, none twice");
    assert!(sorted_ids(0..40).iter().all(|id| seen.contains(id)), "none missed");
}

pub async fn sources_are_listed_latest_first(f: CatalogFixture) {
    for n in [2, 1, 3] {
        let source_path = SourcePath::from_text(format!("/seen-{n}"));
        let staged = StagedRow { source_path, staged_at: at(n), ..row(1, job(n as u128)) };
        f.port.stage(vec![staged]).await.unwrap();
    }
    let sources = f.port.sources(asset_id(1), 2).await.unwrap();
    let got: Vec<_> = sources.iter().map(|one| (one.path.as_str(), one.job_id, one.seen_at)).collect();
    assert_eq!(got, [("/seen-3", job(3), at(3)), ("/seen-2", job(2), at(2))]);
    assert!(sources.iter().all(|source| source.asset_id == asset_id(1) && source.host == "host"));
    let again = StagedRow { source_path: SourcePath::from_text("/seen-1"), staged_at: at(9), ..row(1, job(9)) };
    f.port.stage(vec![again]).await.unwrap();
    let sources = f.port.sources(asset_id(1), 10).await.unwrap();
    assert_eq!((sources.len(), sources[0].path.as_str(), sources[0].job_id), (3, "/seen-1", job(9)), "seen again");
}

pub async fn assets_are_found_by_event_and_by_path(f: CatalogFixture) {
    let path = SourcePath::from_text("/report.pdf");
    let first = StagedRow { source_path: path.clone(), ..row(1, job(1)) };
    let changed = StagedRow { source_path: path.clone(), ..row(2, job(2)) };
    f.port.stage(vec![changed.clone(), first.clone()]).await.unwrap();
    assert_eq!(f.port.asset_of_event(first.event_id).await.unwrap(), Some(asset_id(1)));
    assert_eq!(f.port.asset_of_event(EventId::fresh()).await.unwrap(), None);
    assert_eq!(f.port.assets_of_path(&Tenant::default(), &path).await.unwrap(), [asset_id(2), asset_id(1)]);
    assert!(f.port.assets_of_path(&Tenant::new("other").unwrap(), &path).await.unwrap().is_empty());
    assert!(f.port.assets_of_path(&Tenant::default(), &SourcePath::from_text("/r")).await.unwrap().is_empty());
}

fn outcome(job_number: u128, path: &str, asset: Option<u64>) -> JobOutcome {
    let refusal = FileRefusal { kind: RefusalKind::Vanished, reason: "it is gone".into() };
    JobOutcome {
        job_id: job(job_number),
        tenant: Tenant::default(),
        path: SourcePath::from_text(path),
        outcome: if asset.is_some() { FileOutcome::Accepted } else { FileOutcome::Failed },
        asset_id: asset.map(asset_id),
        event_id: asset.map(|n| EventId(asset_id(n).0)),
        size_bytes: asset,
        refusal: asset.is_none().then_some(refusal),
        at: at(job_number as i64),
    }
}

async fn all_latest_outcomes(f: &CatalogFixture, page: usize) -> Vec<JobOutcome> {
    let mut found = Vec::new();
    let mut cursor = None::<String>;
    loop {
        let got = f.port.latest_outcomes(cursor.as_deref(), page).await.unwrap();
        assert!(got.items.len() <= page);
        found.extend(got.items);
        cursor = got.next;
        if cursor.is_none() {
            return found;
        }
    }
}

async fn outcomes_of_job(f: &CatalogFixture, job: JobId) -> Vec<JobOutcome> {
    f.port.job_outcomes(job, None, 100).await.unwrap().items
}

pub async fn last_outcome_of_a_file_in_a_job_wins(f: CatalogFixture) {
    for _ in 0..2 {
        f.port.record_outcomes(None, vec![outcome(1, "/a", None)]).await.unwrap();
        assert_eq!(outcomes_of_job(&f, job(1)).await, [outcome(1, "/a", None)]);
    }
    f.port.record_outcomes(None, vec![outcome(1, "/a", Some(2)), outcome(1, "/a", Some(1))]).await.unwrap();
    assert_eq!(outcomes_of_job(&f, job(1)).await, [outcome(1, "/a", Some(1))]);
}

pub async fn outcome_of_a_file_comes_from_the_latest_job_that_saw_it(f: CatalogFixture) {
    let old = outcome(1, "/a", Some(1));
    let new = outcome(2, "/a", None);
    let only_old = outcome(1, "/b", Some(3));
    let elsewhere = JobOutcome { tenant: Tenant::new("other").unwrap(), ..outcome(1, "/a", Some(4)) };
    // The outcome of the earlier job is recorded last.
    f.port.record_outcomes(None, vec![new.clone(), elsewhere.clone()]).await.unwrap();
    f.port.record_outcomes(None, vec![old, only_old.clone()]).await.unwrap();
    assert_eq!(all_latest_outcomes(&f, 10).await, [new, only_old, elsewhere]);
}

pub async fn outcomes_are_paged_by_tenant_and_path(f: CatalogFixture) {
    let names = ["/", "/a", "/a b", "/a/b", "/a-b", "/z\n", "relative", "ز", "/é", "/e"];
    for job in 1..4 {
        f.port
            .record_outcomes(None, names.iter().map(|path| outcome(job, path, Some(job as u64))).collect())
            .await
            .unwrap();
    }
    let mut expected = names.to_vec();
    expected.sort_unstable();
    for page in [1, 3, 10, 100] {
        let found = all_latest_outcomes(&f, page).await;
        assert_eq!(found.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), expected, "pages of {page}");
        assert!(found.iter().all(|one| one.job_id == job(3)));
        let mut found = Vec::new();
        let mut cursor = None::<String>;
        loop {
            let got = f.port.job_outcomes(job(2), cursor.as_deref(), page).await.unwrap();
            found.extend(got.items.iter().map(|one| one.path.to_string()));
            cursor = got.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "pages of {page}");
    }
    fails_as(f.port.latest_outcomes(Some("no slash"), 1).await, ErrorKind::Invalid);
}

/// The row of content `n` at a path.
fn row_at(n: u64, path: &str, job_id: JobId, seen_at: i64) -> StagedRow {
    StagedRow { source_path: SourcePath::from_text(path), staged_at: at(seen_at), ..row(n, job_id) }
}

fn accepted(n: u64, path: &str, job_number: u128, seen_at: i64) -> JobOutcome {
    JobOutcome { at: at(seen_at), ..outcome(job_number, path, Some(n)) }
}

async fn named_paths(f: &CatalogFixture, n: u64, limit: usize) -> (Vec<String>, u64) {
    let found = f.port.paths(&[asset_id(n)], limit).await.unwrap().remove(0);
    (found.paths.iter().map(|path| path.path.to_string()).collect(), found.count)
}

pub async fn first_job_and_path_name_an_asset_whatever_comes_later(f: CatalogFixture) {
    // Of one job the order of the paths' bytes counts, not that of their staging.
    f.port.stage(vec![row_at(1, "/z", job(1), 1), row_at(1, "/b", job(1), 2)]).await.unwrap();
    f.port.stage(vec![row_at(1, "/ب", job(1), 3), row_at(2, "/only", job(1), 3)]).await.unwrap();
    let expected = |paths: &[&str]| (paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>(), 3);
    assert_eq!(named_paths(&f, 1, 10).await, expected(&["/b", "/z", "/ب"]), "before the outcomes are recorded");
    f.port.record_outcomes(None, vec![accepted(1, "/z", 1, 4), accepted(1, "/b", 1, 4)]).await.unwrap();
    f.port.record_outcomes(None, vec![accepted(1, "/ب", 1, 5), accepted(2, "/only", 1, 5)]).await.unwrap();
    // Job 2 sees two of them again, from another host too, and a new one. Then a file gets other content.
    let elsewhere = StagedRow { host: "other".into(), ..row_at(1, "/b", job(2), 50) };
    f.port.stage(vec![row_at(1, "/z", job(2), 50), elsewhere, row_at(1, "/a", job(2), 50)]).await.unwrap();
    f.port.record_outcomes(None, ["/z", "/b", "/a"].map(|path| accepted(1, path, 2, 51)).into()).await.unwrap();
    f.port.stage(vec![row_at(3, "/b", job(3), 60)]).await.unwrap();
    f.port.record_outcomes(None, vec![accepted(3, "/b", 3, 61)]).await.unwrap();
    let all = ["/b", "/z", "/ب", "/a"].map(str::to_owned).to_vec();
    assert_eq!(named_paths(&f, 1, 10).await, (all.clone(), 4));
    assert_eq!(named_paths(&f, 1, 2).await, (all[..2].to_vec(), 4), "the count is of all");
    let found = f.port.paths(&[asset_id(3), asset_id(99), asset_id(1)], 1).await.unwrap();
    let names: Vec<_> = found.iter().map(|paths| (paths.file_name(), paths.count)).collect();
    assert_eq!(names, [(Some("b"), 1), (None, 0), (Some("b"), 4)]);
    let first = &found[2].paths[0];
    assert_eq!((first.job_id, first.first_seen_at), (job(1), at(4)));
}

pub async fn history_keeps_every_ingest(f: CatalogFixture) {
    let history = async || {
        let found = f.port.sightings(asset_id(1), 10).await.unwrap();
        found.into_iter().map(|one| (one.path.to_string(), one.host, one.job_id, one.at)).collect::<Vec<_>>()
    };
    f.port.stage(vec![row_at(1, "/a", job(1), 1), row_at(1, "/b", job(1), 1)]).await.unwrap();
    let host = || Some("host".to_owned());
    let first = ("/a".to_owned(), host(), job(1), at(2));
    assert_eq!(history().await[1], ("/b".to_owned(), host(), job(1), at(1)), "without an outcome, by its staging");
    f.port.record_outcomes(None, vec![accepted(1, "/a", 1, 2), accepted(1, "/b", 1, 2)]).await.unwrap();
    let before = history().await;
    assert_eq!(before, [first, ("/b".to_owned(), host(), job(1), at(2))]);
    // Another job reads one again, and the other has other content by then.
    f.port.stage(vec![row_at(1, "/a", job(2), 9), row_at(2, "/b", job(2), 9)]).await.unwrap();
    f.port.record_outcomes(None, vec![accepted(1, "/a", 2, 10), accepted(2, "/b", 2, 10)]).await.unwrap();
    let after = history().await;
    assert_eq!(after[..2], before[..], "what was recorded stays");
    assert_eq!(after[2..], [("/a".to_owned(), host(), job(2), at(10))]);
    assert_eq!(f.port.sightings(asset_id(1), 1).await.unwrap().len(), 1);
}

pub async fn assets_are_found_by_a_pattern_of_any_of_their_names(f: CatalogFixture) {
    let paths = [
        (1, "/media/Report 2024.pdf"),
        (1, "/media/copies/a.PDF"),
        (2, "/media/poems/fa/غزل-۱.txt"),
        (3, "/media/poems/cafe\u{301}.txt"),
        (4, "/media/[draft] {1}.txt"),
        (5, "/media/back\\\\slash.txt"),
        (6, "/media/bad\\xff.txt"),
        (7, "/media/line\nbreak.txt"),
        (8, "/media/50%_off.txt"),
    ];
    f.port.stage(paths.iter().map(|(n, path)| row_at(*n, path, job(1), 1)).collect()).await.unwrap();
    for (glob, expected) in [
        ("*", vec![1, 2, 3, 4, 5, 6, 7, 8]),
        ("*.pdf", vec![1]),
        ("*.PDF", vec![1]),
        ("report*", vec![]),
        ("[Rr]eport ????.pdf", vec![1]),
        ("Report [!3-9]*", vec![1]),
        ("غزل-?.txt", vec![2]),
        ("caf\u{e9}.*", vec![3]),
        ("caf?.txt", vec![3]),
        ("{cafe\u{301},غزل*}.txt", vec![2, 3]),
        ("\\[draft\\] \\{1\\}.txt", vec![4]),
        ("[[]draft[]] ?1}.txt", vec![4]),
        ("back\\\\slash.txt", vec![5]),
        ("back?slash.txt", vec![5]),
        ("back[\\\\/]slash.txt", vec![5]),
        ("bad?.txt", vec![6]),
        ("bad[!a].txt", vec![6]),
        ("*xff.txt", vec![]),
        ("bad[[:punct:]]xff.txt", vec![]),
        ("bad[[-_]xff.txt", vec![]),
        ("line?break.txt", vec![7]),
        ("50%_off.txt", vec![8]),
        ("50__off.txt", vec![]),
        ("poems/*.txt", vec![3]),
        ("poems/**/*.txt", vec![2, 3]),
        ("/media/*.pdf", vec![1]),
        ("/poems/**", vec![]),
        ("oems/*.txt", vec![]),
        ("media/**", vec![1, 2, 3, 4, 5, 6, 7, 8]),
        ("{**/*.pdf,x}", vec![1]),
        ("{x,**/poems}/*.txt", vec![3]),
        ("{poems/**,copies}/*", vec![1, 2, 3]),
        ("media/{poems/**,x}", vec![2, 3]),
        ("{/media/*.pdf,/poems/*,cafe?.txt}", vec![1]),
        ("{/media,poems}/*.txt", vec![3, 4, 5, 6, 7, 8]),
        ("{/media/,}{poems,copies}/*", vec![1, 3]),
        ("media{/**,}/*.PDF", vec![1]),
        ("[[:digit:]]*", vec![8]),
        ("*[![:digit:]]-[^[:alpha:]].txt", vec![2]),
        ("[[:alpha:]-]*", vec![1, 3, 5, 6, 7]),
        ("back[[:punct:]]slash.txt", vec![5]),
        ("back[![:punct:]]slash.txt", vec![]),
        ("line[[:space:]]break.*", vec![7]),
        ("[[:upper:]]eport*", vec![1]),
        ("(.*)", vec![]),
        ("a|b$^", vec![]),
    ] {
        let name: NameGlob = glob.parse().unwrap_or_else(|error| panic!("{glob}: {error}"));
        let filter = AssetFilter { name: Some(name), ..AssetFilter::default() };
        for page in [1, 100] {
            assert_eq!(listed_ids(&f, &filter, page).await, sorted_ids(expected.clone()), "{glob} in pages of {page}");
        }
    }
    let elsewhere = AssetFilter {
        name: Some("*".parse().unwrap()),
        tenant: Some(Tenant::new("other").unwrap()),
        ..AssetFilter::default()
    };
    assert_eq!(listed_ids(&f, &elsewhere, 10).await, []);
}

pub async fn assets_are_sorted_by_each_key_in_pages(f: CatalogFixture) {
    let rows = (0..12).map(|n| StagedRow {
        size_bytes: 100 - n / 2,
        media_type: ["text/plain", "image/png"][n as usize % 2].into(),
        ..row_at(n, &format!("/{n}/{}", ["b", "a", "ب", "C"][n as usize % 4]), job(1), (n as i64 * 5) % 12)
    });
    f.port.stage(rows.collect()).await.unwrap();
    let sorted = |key: &dyn Fn(u64) -> String, descending: bool| {
        let mut ids: Vec<(String, AssetId)> = (0..12).map(|n| (key(n), asset_id(n))).collect();
        ids.sort_by(|a, b| {
            let by_key = if descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) };
            by_key.then(a.1.cmp(&b.1))
        });
        ids.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    let keys: [(AssetSortKey, &dyn Fn(u64) -> String); 4] = [
        (AssetSortKey::Name, &|n| ["b", "a", "ب", "C"][n as usize % 4].to_owned()),
        (AssetSortKey::Size, &|n| format!("{:03}", 100 - n / 2)),
        (AssetSortKey::Staged, &|n| format!("{:02}", (n * 5) % 12)),
        (AssetSortKey::MediaType, &|n| ["text/plain", "image/png"][n as usize % 2].to_owned()),
    ];
    for (key, text) in keys {
        for descending in [false, true] {
            let order = AssetOrder { key, descending };
            for page in [1, 5, 12, 100] {
                let mut found = Vec::new();
                let mut cursor = None::<String>;
                loop {
                    let filter = AssetFilter::default();
                    let got = f.port.list_sorted(&filter, order, cursor.as_deref(), page).await.unwrap();
                    assert!(got.items.len() <= page);
                    found.extend(got.items.iter().map(|asset| asset.asset_id));
                    cursor = got.next;
                    if cursor.is_none() {
                        break;
                    }
                }
                assert_eq!(found, sorted(text, descending), "{order:?} in pages of {page}");
            }
        }
    }
    let order = AssetOrder { key: AssetSortKey::Size, descending: true };
    let filter =
        AssetFilter { media_type: media_type("image/png"), name: Some("a".parse().unwrap()), ..AssetFilter::default() };
    let found = f.port.list_sorted(&filter, order, None, 2).await.unwrap();
    assert_eq!(found.items.iter().map(|asset| asset.asset_id).collect::<Vec<_>>(), [asset_id(1), asset_id(5)]);
    assert!(found.next.is_some());
    for cursor in ["nonsense", &asset_id(99).to_string()] {
        fails_as(f.port.list_sorted(&filter, order, Some(cursor), 1).await, ErrorKind::Invalid);
    }
}

pub async fn empty_catalog_returns_nothing(f: CatalogFixture) {
    assert!(f.port.assets(&[asset_id(1)]).await.unwrap().is_empty());
    assert!(f.port.stage(vec![]).await.unwrap().is_empty());
    assert!(f.port.sources(asset_id(1), 1).await.unwrap().is_empty());
    assert!(f.port.sightings(asset_id(1), 1).await.unwrap().is_empty());
    assert_eq!(f.port.paths(&[asset_id(1)], 1).await.unwrap()[0].count, 0);
    assert!(f.port.paths(&[], 1).await.unwrap().is_empty());
    let order = AssetOrder { key: AssetSortKey::Name, descending: false };
    assert!(f.port.list_sorted(&AssetFilter::default(), order, None, 1).await.unwrap().items.is_empty());
    assert!(outcomes_of_job(&f, job(1)).await.is_empty());
    assert_eq!(all_latest_outcomes(&f, 1).await, []);
    let summary = f.port.summary().await.unwrap();
    assert_eq!((summary.assets, summary.bytes, summary.dead_lettered), (0, 0, 0));
    assert_eq!(summary.by_state.values().sum::<u64>(), 0);
}
