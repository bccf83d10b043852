//! The enrich step with parsers that fail: for one file, or for all.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mfctl::pipeline::enrich::Enrich;
use mfctl::pipeline::worker::{Tuning, WorkerEnd, WorkerOutcome};
use mfctl_core::domain::dead_letter::DeadLetterInfo;
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{AssetState, ObjectRef, Tenant};
use mfctl_extract::parsers::Limits;
use mfctl_extract::sandbox::Parser;
use tokio::sync::watch;

use super::faulty_objects::FaultyObjects;
use super::isolation::impatient;
use super::platform::Platform;
use crate::support::env_number;

/// A parser that ends as the first word of its file says, and parses every other file, the built-in samples too. While the
/// file `broken` exists beside it, it cannot start.
struct ScriptedParser {
    folder: tempfile::TempDir,
}

impl ScriptedParser {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            r#"#!/bin/sh
[ -e '{broken}' ] && {{ echo 'starting its thread: no room' >&2; exit 102; }}
case "$(head -c 16 /proc/self/fd/0)" in
encrypted*) echo '{{"refused":{{"kind":"encrypted","message":"the file needs a password"}}}}' ;;
killed*) kill -KILL $$ ;;
stalled*) exec sleep 3600 ;;
crashed*) kill -SEGV $$ ;;
*) exec '{mfctl}' __extract "$2" ;;
esac
"#,
            broken = folder.path().join("broken").display(),
            mfctl = env!("CARGO_BIN_EXE_mfctl"),
        );
        // Written by another process: a file that is open for writing, here or in a child of another test, is not executed.
        let write = r#"printf '%s' "$1" > "$0""#;
        let program = folder.path().join("parser.sh");
        let status = std::process::Command::new("sh").args(["-c", write]).arg(&program).arg(script).status();
        assert!(status.unwrap().success());
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("parser.sh")
    }

    fn broken(&self) -> PathBuf {
        self.folder.path().join("broken")
    }
}

fn texts(word: &str, count: usize) -> Vec<String> {
    (0..count).map(|at| format!("{word} file number {at}")).collect()
}

async fn enrich(platform: &Platform, program: &Path, tuning: Tuning) -> WorkerOutcome {
    let limits = Limits { timeout_seconds: 2, ..Limits::default() };
    let step = Enrich { limits: watch::channel(limits).1, ..platform.enrich(Parser::of_program(program)) };
    platform.run(Arc::new(step), platform.worker_ports(), impatient(tuning)).await
}

async fn dead_letters(platform: &Platform) -> Vec<DeadLetterInfo> {
    let dead = platform.records(&topics::MEDIA_INGESTED.dead_letters()).await;
    dead.iter().map(DeadLetterInfo::from_record).collect()
}

fn parser_was_down(platform: &Platform) -> bool {
    platform.metrics.text().contains("mfctl_dependency_down{stage=\"enrich\",dependency=\"parser\"}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_files_of_one_tenant_never_stop_the_worker() {
    let platform = Platform::new().await;
    let parser = ScriptedParser::new();
    let count = env_number("MFCTL_TEST_ENCRYPTED", 250);
    platform.ingest_as(&Tenant::default(), "text/plain", &texts("encrypted", count)).await;
    let good = platform.ingest_as(&Tenant::default(), "text/plain", &texts("good", 20)).await;
    let outcome = enrich(&platform, &parser.program(), Tuning::default()).await;
    assert_eq!((&outcome.ended, outcome.summary.emitted), (&WorkerEnd::Drained, 20), "{outcome:?}");
    assert_eq!(outcome.summary.dead_lettered, count as u64);
    assert!(dead_letters(&platform).await.iter().all(|dead| dead.kind == "encrypted"));
    assert_eq!(platform.asset(good[19]).await.state, AssetState::Enriched);
    assert!(!parser_was_down(&platform));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_alone_kill_or_stall_their_parser_are_dead_letters_after_several_attempts() {
    let platform = Platform::new().await;
    let parser = ScriptedParser::new();
    for word in ["killed", "stalled", "crashed"] {
        platform.ingest_as(&Tenant::default(), "text/plain", &texts(word, 1)).await;
    }
    platform.ingest_as(&Tenant::default(), "text/plain", &texts("good", 20)).await;
    let outcome = enrich(&platform, &parser.program(), Tuning::default()).await;
    assert_eq!((&outcome.ended, outcome.summary.emitted), (&WorkerEnd::Drained, 20), "{outcome:?}");
    let dead: BTreeMap<String, Option<u32>> =
        dead_letters(&platform).await.into_iter().map(|dead| (dead.kind, dead.attempts)).collect();
    assert_eq!(dead.keys().collect::<Vec<_>>(), ["parser_crash", "parser_memory", "parser_timeout"], "{dead:?}");
    assert_eq!(dead["parser_crash"], Some(1), "the file's own fault at once, while the samples are parsed");
    assert!(dead["parser_memory"] >= Some(3) && dead["parser_timeout"] >= Some(3), "{dead:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parser_that_cannot_start_pauses_the_worker_and_nothing_is_dead_lettered() {
    let platform = Platform::new().await;
    let parser = ScriptedParser::new();
    std::fs::write(parser.broken(), "").unwrap();
    platform.ingest_as(&Tenant::default(), "text/plain", &texts("good", 30)).await;
    let tuning = Tuning { give_up_after: Duration::from_secs(1), ..Tuning::default() };
    let outcome = enrich(&platform, &parser.program(), tuning).await;
    let WorkerEnd::OutageTooLong { error } = &outcome.ended else { panic!("{outcome:?}") };
    for part in ["parser: ", "--memory 512 MiB", "its thread: no room"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(dead_letters(&platform).await.is_empty() && parser_was_down(&platform));

    // It recovers while a worker waits for it.
    let repaired = async {
        mfctl_core::wait::pause(Duration::from_millis(300)).await;
        std::fs::remove_file(parser.broken()).unwrap();
    };
    let program = parser.program();
    let (outcome, ()) = tokio::join!(enrich(&platform, &program, Tuning::default()), repaired);
    assert_eq!((&outcome.ended, outcome.summary.emitted), (&WorkerEnd::Drained, 30), "{outcome:?}");
    assert!(dead_letters(&platform).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn original_without_an_extractor_is_not_read() {
    let platform = Platform::new().await;
    let parser = ScriptedParser::new();
    let videos = platform.ingest_as(&Tenant::default(), "video/mp4", &texts("video", 5)).await;
    let objects = FaultyObjects::new(&platform.ports.objects, |_, _: Option<&ObjectRef>| None);
    let step = Enrich { objects: Arc::clone(&objects) as _, ..platform.enrich(Parser::of_program(parser.program())) };
    let outcome = platform.run(Arc::new(step), platform.worker_ports(), impatient(Tuning::default())).await;
    assert_eq!((outcome.summary.emitted, objects.reads()), (5, 0), "{outcome:?}");
    let asset = platform.asset(videos[0]).await;
    assert_eq!(asset.facts.notes, ["no extractor for video/mp4"]);
}

/// No more of a text is fetched than can become text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_start_of_a_large_text_is_fetched() {
    let platform = Platform::new().await;
    let parser = ScriptedParser::new();
    let large = vec![format!("good {}", "word ".repeat(20_000))];
    let asset = platform.ingest_as(&Tenant::default(), "text/plain", &large).await[0];
    let limits = Limits { max_text_bytes: 1000, ..Limits::default() };
    let step = Enrich { limits: watch::channel(limits).1, ..platform.enrich(Parser::of_program(parser.program())) };
    let outcome = platform.run(Arc::new(step), platform.worker_ports(), impatient(Tuning::default())).await;
    assert_eq!(outcome.summary.emitted, 1, "{outcome:?}");
    let facts = platform.asset(asset).await.facts;
    assert!(facts.text_truncated && facts.text_chars.unwrap() <= 1000, "{facts:?}");
}
