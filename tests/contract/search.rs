//! The contract of `SearchIndex`.

use std::collections::BTreeMap;

use mfctl_core::domain::text::{matches, query_terms};
use mfctl_core::domain::{AssetId, Revision, Sha256, Tenant};
use mfctl_core::ports::{ErrorKind, SearchDocument, SearchIndex, SearchPage, SearchQuery};

use crate::contract::harness::{Fixture, fails_as};

/// Every case of this suite, for a harness that returns an empty index.
macro_rules! search_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::search:
            document_is_found_by_each_of_its_words,
            persian_spelling_variants_find_one_another,
            all_words_must_occur_and_phrases_must_be_contiguous,
            prefix_and_exclusion_terms_are_supported,
            results_agree_with_the_domains_matching_rules,
            no_query_text_causes_an_internal_error,
            query_without_positive_terms_is_invalid,
            title_ranks_above_tags_and_tags_above_body,
            snippet_is_cut_from_the_original_with_highlights,
            older_revisions_do_not_replace_newer_ones,
            removal_outranks_writes_of_older_revisions,
            late_document_of_a_removed_revision_changes_nothing,
            each_locale_is_a_separate_document,
            results_are_filtered_by_tenant_collection_and_media_type,
            pages_and_totals_agree,
            document_is_found_by_the_names_of_its_files,
        );
    };
}
pub(crate) use search_suite;

type Index = Fixture<dyn SearchIndex>;

fn asset(n: u8) -> AssetId {
    AssetId::of(&Tenant::default(), &Sha256([n; 32]))
}

fn document(n: u8, title: &str, body: &str) -> SearchDocument {
    SearchDocument {
        asset_id: asset(n),
        locale: "und".into(),
        revision: Revision::FIRST,
        tenant: Tenant::default(),
        title: title.into(),
        body: body.into(),
        names: Vec::new(),
        tags: BTreeMap::new(),
        collection: None,
        media_type: "text/plain".into(),
        language: Some("fa".into()),
    }
}

fn query(text: &str) -> SearchQuery {
    let tenant = Tenant::default();
    SearchQuery { text: text.into(), tenant, collection: None, media_type: None, offset: 0, limit: 50 }
}

async fn search(f: &Index, text: &str) -> SearchPage {
    f.port.search(&query(text)).await.unwrap()
}

/// The numbers of the matching assets, in ascending order.
async fn matching_assets(f: &Index, text: &str) -> Vec<u8> {
    let hits = search(f, text).await.hits;
    (0..=255).filter(|n| hits.iter().any(|hit| hit.asset_id == asset(*n))).collect()
}

pub async fn document_is_found_by_each_of_its_words(f: Index) {
    let tags = BTreeMap::from([("poet".to_owned(), "Hāfez".to_owned()), ("bare".to_owned(), String::new())]);
    let collection = Some("Divan".to_owned());
    f.port
        .index(vec![SearchDocument { tags, collection, ..document(1, "Spring Gardens", "roses in Shiraz") }])
        .await
        .unwrap();
    for word in ["spring", "GARDENS", "roses", "shiraz", "poet", "hafez", "bare", "divan", "spring divan shiraz"] {
        assert_eq!(matching_assets(&f, word).await, [1], "{word}");
    }
    assert_eq!(matching_assets(&f, "winter").await, [0u8; 0]);
    assert_eq!(f.port.count().await.unwrap(), 1);
    assert_eq!(f.port.indexed(&[asset(2), asset(1)]).await.unwrap(), [false, true]);
}

pub async fn persian_spelling_variants_find_one_another(f: Index) {
    let spellings = ["كتاب‌هاي علي", "کتاب های علی", "کتابهای علی", "ﻛﺘﺎب‌ﻫﺎﯼ عَلی"];
    for (n, text) in spellings.iter().enumerate() {
        f.port.index(vec![document(n as u8, "", text)]).await.unwrap();
    }
    f.port.index(vec![document(9, "سال ۱۴۰۳", "")]).await.unwrap();
    for text in spellings {
        assert_eq!(matching_assets(&f, text).await, [0, 1, 2, 3], "{text}");
    }
    assert_eq!(matching_assets(&f, "کتاب").await, [0, 1, 2, 3]);
    for text in ["1403", "۱۴۰۳", "١٤٠٣"] {
        assert_eq!(matching_assets(&f, text).await, [9], "{text}");
    }
}

pub async fn all_words_must_occur_and_phrases_must_be_contiguous(f: Index) {
    f.port
        .index(vec![document(1, "tea break", ""), document(2, "break for tea", ""), document(3, "tea", "break")])
        .await
        .unwrap();
    assert_eq!(matching_assets(&f, "tea break").await, [1, 2, 3]);
    assert_eq!(matching_assets(&f, r#""tea break""#).await, [1]);
    assert_eq!(matching_assets(&f, "tea coffee").await, [0u8; 0]);
}

pub async fn prefix_and_exclusion_terms_are_supported(f: Index) {
    f.port
        .index(vec![document(1, "organization", ""), document(2, "organic garden", ""), document(3, "garden", "")])
        .await
        .unwrap();
    assert_eq!(matching_assets(&f, "organ*").await, [1, 2]);
    assert_eq!(matching_assets(&f, "organiza*").await, [1]);
    assert_eq!(matching_assets(&f, "organ").await, [0u8; 0]);
    assert_eq!(matching_assets(&f, "garden -organic").await, [3]);
    assert_eq!(matching_assets(&f, "garden -organ*").await, [3]);
    assert_eq!(matching_assets(&f, r#"garden -"organic garden""#).await, [3]);
}

pub async fn results_agree_with_the_domains_matching_rules(f: Index) {
    let texts = [
        "پیش‌بینی هوا برای فردا",
        "پیش بینی هوا",
        "پیشبینی",
        "می‌روم به خانهٔ او",
        "میروم خانه ی او",
        "Café naïve, e-mail: a@b.ir",
        "کتابخانه",
        "خانه‌ها و باغ‌های ایرانی",
        "v1.2.3 of the ﬁle",
        "ⅷ ² ½",
        "日本語 テスト",
        "हिन्दी",
        "ا",
        "٪۵۰",
        "x\u{301}y",
    ];
    for (n, text) in texts.iter().enumerate() {
        f.port.index(vec![document(n as u8, "", text)]).await.unwrap();
    }
    let queries = texts.iter().flat_map(|text| text.split_whitespace()).chain(texts);
    for typed in queries {
        let terms = query_terms(typed);
        if !terms.iter().any(|term| !term.excluded) {
            continue;
        }
        let expected: Vec<u8> = (0..texts.len() as u8).filter(|n| matches(texts[usize::from(*n)], &terms)).collect();
        assert_eq!(matching_assets(&f, typed).await, expected, "{typed:?} as {terms:?}");
    }
}

pub async fn no_query_text_causes_an_internal_error(f: Index) {
    f.port.index(vec![document(1, "a and b or not near", "")]).await.unwrap();
    let hostile = [
        "AND",
        "OR NOT",
        "NEAR(a b)",
        "a AND",
        "\"",
        "\"\"\"",
        "a\"b",
        "title:a",
        "body : a",
        "a^2",
        "^a",
        "{a b}:c",
        "(a",
        "a)",
        "a + b",
        "-",
        "*",
        "a*b*",
        "--a",
        "'; DROP TABLE search_words; --",
        "\0",
        "a\0b",
        "\\",
        "%",
        "_",
        "\u{200c}",
        "a\n\"b",
    ];
    for text in hostile {
        match f.port.search(&query(text)).await {
            Ok(page) => assert!(page.hits.len() <= 1),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid, "{text:?}: {}", error.full()),
        }
    }
    assert!(f.port.search(&query(&"word ".repeat(50_000))).await.is_ok());
    assert_eq!(matching_assets(&f, "near not or").await, [1]);
}

pub async fn query_without_positive_terms_is_invalid(f: Index) {
    for text in ["", "   ", "!?.", "\"\"", "-only", "-\"only this\""] {
        fails_as(f.port.search(&query(text)).await, ErrorKind::Invalid);
    }
}

pub async fn title_ranks_above_tags_and_tags_above_body(f: Index) {
    let filler = "some other words that fill the text of each document alike";
    let tagged = BTreeMap::from([("theme".to_owned(), "saffron".to_owned())]);
    f.port
        .index(vec![
            document(3, filler, &format!("saffron {filler}")),
            SearchDocument { tags: tagged, ..document(2, filler, filler) },
            document(1, &format!("saffron {filler}"), filler),
        ])
        .await
        .unwrap();
    let hits = search(&f, "saffron").await.hits;
    assert_eq!(hits.iter().map(|hit| hit.asset_id).collect::<Vec<_>>(), [asset(1), asset(2), asset(3)]);
    assert!(hits.windows(2).all(|pair| pair[0].score > pair[1].score));
}

pub async fn snippet_is_cut_from_the_original_with_highlights(f: Index) {
    let before = "متن دیگری که پیش از آن می‌آید. ".repeat(40);
    let body = format!("{before} در باغ‌هاي كاشان گل سرخ می‌روید. {before}");
    f.port.index(vec![document(1, "باغ", &body), document(2, "کاشان", "")]).await.unwrap();
    let hits = search(&f, "کاشان").await.hits;
    let hit = hits.iter().find(|hit| hit.asset_id == asset(1)).unwrap();
    let marked: Vec<&str> = hit.highlights.iter().map(|(from, to)| &hit.snippet[*from..*to]).collect();
    assert_eq!(marked, ["كاشان"], "as the original spells it: {}", hit.snippet);
    assert!(hit.snippet.chars().count() < 400 && hit.snippet.contains("گل سرخ"));
    assert_eq!(
        (hit.title.as_str(), hit.media_type.as_str(), hit.language.as_deref()),
        ("باغ", "text/plain", Some("fa"))
    );
    let title_only = hits.iter().find(|hit| hit.asset_id == asset(2)).unwrap();
    assert!(title_only.highlights.is_empty());
}

pub async fn older_revisions_do_not_replace_newer_ones(f: Index) {
    let revised = |n: u32, text: &str| SearchDocument { revision: Revision(n), ..document(1, text, text) };
    f.port.index(vec![revised(2, "second")]).await.unwrap();
    f.port.index(vec![revised(1, "first")]).await.unwrap();
    assert_eq!((matching_assets(&f, "second").await, matching_assets(&f, "first").await), (vec![1], vec![]));
    f.port.index(vec![revised(2, "again")]).await.unwrap();
    assert_eq!(
        (matching_assets(&f, "again").await, matching_assets(&f, "second").await),
        (vec![1], vec![]),
        "a replay succeeds"
    );
    f.port.index(vec![revised(3, "third"), revised(2, "late")]).await.unwrap();
    assert_eq!(
        (matching_assets(&f, "third").await, matching_assets(&f, "late").await, f.port.count().await.unwrap()),
        (vec![1], vec![], 1)
    );
}

pub async fn removal_outranks_writes_of_older_revisions(f: Index) {
    f.port.index(vec![document(1, "gone", "text"), document(2, "stays", "text")]).await.unwrap();
    for _ in 0..2 {
        f.port.remove(asset(1), Revision(2)).await.unwrap();
        assert_eq!((matching_assets(&f, "text").await, f.port.count().await.unwrap()), (vec![2], 1));
    }
    assert_eq!(f.port.indexed(&[asset(1), asset(2)]).await.unwrap(), [false, true]);
    let zombie = SearchDocument { locale: "en".into(), ..document(1, "gone", "text") };
    f.port.index(vec![document(1, "gone", "text"), zombie]).await.unwrap();
    assert_eq!(matching_assets(&f, "gone").await, [0u8; 0], "in whatever locale");
    f.port.remove(asset(2), Revision(0)).await.unwrap();
    assert_eq!(matching_assets(&f, "stays").await, [2], "an older removal removes nothing");
    f.port.index(vec![SearchDocument { revision: Revision(3), ..document(1, "back", "text") }]).await.unwrap();
    assert_eq!(matching_assets(&f, "back").await, [1]);
    f.port.remove(asset(77), Revision(5)).await.unwrap();
    f.port.index(vec![SearchDocument { revision: Revision(4), ..document(77, "late", "") }]).await.unwrap();
    assert_eq!(matching_assets(&f, "late").await, [0u8; 0], "removed before it was ever written");
}

pub async fn late_document_of_a_removed_revision_changes_nothing(f: Index) {
    let late = document(1, "gone", "text");
    f.port.index(vec![late.clone()]).await.unwrap();
    f.port.remove(asset(1), Revision::FIRST).await.unwrap();
    // Delayed, and a replay of what was written before; each among others that are written.
    for others in [vec![document(2, "stays", "text")], vec![]] {
        f.port.index([vec![late.clone()], others].concat()).await.unwrap();
        assert_eq!((matching_assets(&f, "text").await, f.port.count().await.unwrap()), (vec![2], 1));
        assert_eq!(f.port.indexed(&[asset(1)]).await.unwrap(), [false]);
    }
    let lifted = SearchDocument { revision: Revision(2), ..late };
    for _ in 0..2 {
        f.port.index(vec![lifted.clone()]).await.unwrap();
        f.port.remove(asset(1), Revision::FIRST).await.unwrap();
        assert_eq!(matching_assets(&f, "gone").await, [1], "a late removal of the revision before removes nothing");
    }
}

pub async fn each_locale_is_a_separate_document(f: Index) {
    let english = SearchDocument { locale: "en".into(), ..document(1, "garden", "") };
    let persian = SearchDocument { locale: "fa-IR".into(), ..document(1, "باغ", "") };
    f.port.index(vec![english, persian]).await.unwrap();
    assert_eq!(f.port.count().await.unwrap(), 2);
    assert_eq!(search(&f, "باغ").await.hits[0].locale, "fa-IR");
    assert_eq!(search(&f, "garden").await.hits[0].locale, "en");
    f.port.remove(asset(1), Revision(1)).await.unwrap();
    assert_eq!(f.port.count().await.unwrap(), 0);
}

pub async fn results_are_filtered_by_tenant_collection_and_media_type(f: Index) {
    let other = Tenant::new("other").unwrap();
    let collection = Some("poems".to_owned());
    f.port
        .index(vec![
            SearchDocument { collection: collection.clone(), ..document(1, "word", "") },
            SearchDocument { media_type: "image/png".into(), ..document(2, "word", "") },
            SearchDocument {
                media_type: "image/jpeg".into(),
                collection: Some("poems2".into()),
                ..document(3, "word", "")
            },
            SearchDocument { tenant: other.clone(), ..document(4, "word", "") },
        ])
        .await
        .unwrap();
    let of = async |query: SearchQuery| {
        let page = f.port.search(&query).await.unwrap();
        assert_eq!(page.total, page.hits.len() as u64);
        (1..5).filter(|n| page.hits.iter().any(|hit| hit.asset_id == asset(*n))).collect::<Vec<u8>>()
    };
    assert_eq!(of(query("word")).await, [1, 2, 3]);
    assert_eq!(of(SearchQuery { tenant: other, ..query("word") }).await, [4]);
    assert_eq!(of(SearchQuery { collection, ..query("word") }).await, [1]);
    for (media_type, expected) in
        [("image/*", &[2, 3][..]), ("Image/", &[2, 3]), ("image/png", &[2]), ("IMAGE/PNG", &[2]), ("im_ge/*", &[])]
    {
        let media_type = Some(media_type.parse().unwrap());
        assert_eq!(of(SearchQuery { media_type, ..query("word") }).await, expected);
    }
}

pub async fn pages_and_totals_agree(f: Index) {
    f.port.index((0..25).map(|n| document(n, "same words", "")).collect()).await.unwrap();
    let mut seen = Vec::new();
    for offset in (0..30).step_by(7) {
        let page = f.port.search(&SearchQuery { offset, limit: 7, ..query("same") }).await.unwrap();
        assert_eq!(page.total, 25);
        seen.extend(page.hits.into_iter().map(|hit| hit.asset_id));
    }
    assert_eq!(seen.len(), 25);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 25, "equal scores keep one order");
    let none = f.port.search(&SearchQuery { limit: 0, ..query("same") }).await.unwrap();
    assert_eq!((none.hits.len(), none.total), (0, 25));
}

pub async fn document_is_found_by_the_names_of_its_files(f: Index) {
    let names = vec!["خیام_1402.pdf".to_owned(), "IMG-0042 final.PDF".to_owned()];
    let named = |text: &str| SearchDocument { names: names.clone(), ..document(1, "A title", text) };
    f.port.index(vec![named("garden of roses"), document(2, "final", "garden")]).await.unwrap();
    for words in
        ["img", "IMG-0042", "0042 final", "خيام", "خیام_1402.pdf", "img* final", "title img roses", "\"final pdf\""]
    {
        assert_eq!(matching_assets(&f, words).await, [1], "{words}");
    }
    assert_eq!(matching_assets(&f, "garden final").await, [1, 2]);
    assert_eq!(matching_assets(&f, "garden -img").await, [2], "a word of a name excludes");
    assert_eq!(matching_assets(&f, "final -roses").await, [2]);
    assert_eq!(matching_assets(&f, "img winter").await, [0u8; 0]);
    assert_eq!(search(&f, "final garden").await.total, 2);
    let renamed = SearchDocument { names: vec!["other.pdf".into()], ..document(1, "A title", "garden of roses") };
    f.port.index(vec![SearchDocument { revision: Revision(2), ..renamed }]).await.unwrap();
    assert_eq!((matching_assets(&f, "img").await, matching_assets(&f, "other").await), (vec![], vec![1]));
    f.port.remove(asset(1), Revision(3)).await.unwrap();
    assert_eq!(matching_assets(&f, "other").await, [0u8; 0]);
}
