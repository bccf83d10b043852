//! The contract of `JobJournal`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mfctl_core::domain::job::{FileRefusal, FileStep, InputKind, JobInput, JobStatus, JournalFile, RefusalKind};
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{AssetId, EventId, JobId, ObjectKey, Sha256, SourcePath, Tenant};
use mfctl_core::ports::{ErrorKind, FileUpdate, JobFilter, JobJournal, NewJob, PlannedFile};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::contract::harness::{Fixture, fails_as, random};

/// Every case of this suite, for a harness that returns an empty journal.
macro_rules! journal_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::journal:
            job_round_trips,
            job_cannot_begin_twice,
            jobs_are_listed_latest_first_in_pages,
            latest_unfinished_job_of_a_spec_is_found,
            ended_job_has_its_time_and_reason,
            inputs_are_those_of_the_job_by_kind_and_part,
            file_that_is_planned_again_keeps_its_event,
            file_update_keeps_fields_it_does_not_set,
            refusal_is_cleared_when_the_file_is_staged,
            retry_plans_failed_files_again_with_their_events,
            counts_match_the_files_after_random_updates,
            files_are_filtered_by_step_and_paged_by_path,
            pages_neither_skip_nor_repeat_files_during_planning,
            existing_paths_are_those_of_the_job,
            unknown_jobs_and_files_are_not_found,
            lease_has_one_holder_at_a_time,
        );
    };
}
pub(crate) use journal_suite;

type Journal = Fixture<dyn JobJournal>;

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).unwrap()
}

/// A job id; ids are ordered by their number.
fn job(n: u128) -> JobId {
    JobId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + n))
}

fn spec(n: u64) -> Value {
    json!({ "roots": ["/media"], "options": { "number": n } })
}

async fn begin(f: &Journal, n: u128, spec: Value) -> JobId {
    let job_id = job(n);
    let tenant = Tenant::default();
    let new = NewJob { job_id, tenant, actor: "me@host".into(), host: "host".into(), spec, at: at(n as i64) };
    f.port.begin(new).await.unwrap();
    job_id
}

fn planned_file(job: JobId, path: &str) -> PlannedFile {
    let event_id = EventId::fresh();
    PlannedFile {
        path: SourcePath::from_text(path),
        event_id,
        staging_key: object_keys::staging(&Tenant::default(), job, event_id),
    }
}

fn update_to(path: &str, step: FileStep) -> FileUpdate {
    FileUpdate {
        path: SourcePath::from_text(path),
        step,
        size_bytes: None,
        modified_ns: None,
        changed_ns: None,
        device: None,
        inode: None,
        sha256: None,
        media_type: None,
        asset_id: None,
        refusal: None,
        staged_at: None,
    }
}

async fn all_files(f: &Journal, job: JobId, steps: &[FileStep], page: usize) -> Vec<JournalFile> {
    let filter = JobFilter { steps: steps.to_vec() };
    let mut files = Vec::new();
    let mut cursor = None::<String>;
    loop {
        let got = f.port.files(job, &filter, cursor.as_deref(), page).await.unwrap();
        assert!(got.items.len() <= page);
        files.extend(got.items);
        cursor = got.next;
        if cursor.is_none() {
            return files;
        }
    }
}

fn paths(files: &[JournalFile]) -> Vec<&str> {
    files.iter().map(|file| file.path.as_str()).collect()
}

pub async fn job_round_trips(f: Journal) {
    let id = begin(&f, 1, spec(1)).await;
    let stored = f.port.job(id).await.unwrap().unwrap();
    assert_eq!((stored.job_id, stored.tenant, stored.status), (id, Tenant::default(), JobStatus::Running));
    assert_eq!((stored.actor.as_str(), stored.host.as_str(), stored.spec), ("me@host", "host", spec(1)));
    assert_eq!((stored.started_at, stored.updated_at, stored.finished_at), (at(1), at(1), None));
    assert_eq!((stored.reason, stored.walk_complete), (None, false));
    f.port.set_walk_complete(id, at(5)).await.unwrap();
    assert!(f.port.job(id).await.unwrap().unwrap().walk_complete);
}

pub async fn job_cannot_begin_twice(f: Journal) {
    let job_id = begin(&f, 1, spec(1)).await;
    let tenant = Tenant::default();
    let again = NewJob { job_id, tenant, actor: "other".into(), host: "other".into(), spec: spec(2), at: at(9) };
    fails_as(f.port.begin(again).await, ErrorKind::Conflict);
    assert_eq!(f.port.job(job_id).await.unwrap().unwrap().actor, "me@host");
}

pub async fn jobs_are_listed_latest_first_in_pages(f: Journal) {
    for n in [3, 1, 5, 2, 4] {
        begin(&f, n, spec(n as u64)).await;
    }
    let first = f.port.jobs(None, 2).await.unwrap();
    assert_eq!(first.items.iter().map(|job| job.job_id).collect::<Vec<_>>(), [job(5), job(4)]);
    begin(&f, 6, spec(6)).await;
    let second = f.port.jobs(first.next.as_deref(), 10).await.unwrap();
    assert_eq!(second.items.iter().map(|job| job.job_id).collect::<Vec<_>>(), [job(3), job(2), job(1)]);
    assert_eq!(second.next, None);
    fails_as(f.port.jobs(Some("nonsense"), 1).await, ErrorKind::Invalid);
}

pub async fn latest_unfinished_job_of_a_spec_is_found(f: Journal) {
    let tenant = Tenant::default();
    assert_eq!(f.port.unfinished(&tenant, &spec(1)).await.unwrap(), None);
    for n in [1, 2, 3] {
        begin(&f, n, spec(1)).await;
    }
    begin(&f, 4, spec(2)).await;
    let same: Value = serde_json::from_str(r#"{"options": {"number": 1}, "roots": ["/media"]}"#).unwrap();
    assert_eq!(f.port.unfinished(&tenant, &same).await.unwrap().unwrap().job_id, job(3));
    f.port.set_status(job(3), JobStatus::Finished, None, at(9)).await.unwrap();
    f.port.set_status(job(2), JobStatus::Interrupted, Some("interrupted"), at(9)).await.unwrap();
    assert_eq!(f.port.unfinished(&tenant, &spec(1)).await.unwrap().unwrap().job_id, job(2));
    assert_eq!(f.port.unfinished(&Tenant::new("other").unwrap(), &spec(1)).await.unwrap(), None);
}

pub async fn ended_job_has_its_time_and_reason(f: Journal) {
    let id = begin(&f, 1, spec(1)).await;
    f.port.set_status(id, JobStatus::Interrupted, Some("SIGTERM"), at(5)).await.unwrap();
    let stopped = f.port.job(id).await.unwrap().unwrap();
    assert_eq!((stopped.status, stopped.reason.as_deref()), (JobStatus::Interrupted, Some("SIGTERM")));
    assert_eq!((stopped.updated_at, stopped.finished_at), (at(5), None));
    f.port.set_status(id, JobStatus::Finished, None, at(7)).await.unwrap();
    let ended = f.port.job(id).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.reason, ended.finished_at), (JobStatus::Finished, None, Some(at(7))));
    f.port.set_status(id, JobStatus::Running, None, at(8)).await.unwrap();
    assert_eq!(f.port.job(id).await.unwrap().unwrap().finished_at, None, "a resumed job has not finished");
}

pub async fn inputs_are_those_of_the_job_by_kind_and_part(f: Journal) {
    let id = begin(&f, 1, spec(1)).await;
    let other = begin(&f, 2, spec(2)).await;
    assert_eq!(f.port.inputs(id).await.unwrap(), []);
    let input = |kind, part, entries, ended| JobInput { kind, part, bytes: entries * 7, entries, ended };
    let manifest = input(InputKind::Manifest, 1, 3, true);
    let second = input(InputKind::List, 2, 9, false);
    for put in [manifest.clone(), second.clone(), input(InputKind::List, 1, 0, false)] {
        f.port.put_input(id, put, at(1)).await.unwrap();
    }
    f.port.put_input(other, input(InputKind::List, 1, 1, true), at(1)).await.unwrap();
    let first = input(InputKind::List, 1, 5, false);
    f.port.put_input(id, first.clone(), at(7)).await.unwrap();
    assert_eq!(f.port.inputs(id).await.unwrap(), [first.clone(), second, manifest.clone()]);
    assert_eq!(f.port.job(id).await.unwrap().unwrap().updated_at, at(7));
    for _ in 0..2 {
        f.port.remove_input(id, InputKind::List, 2, at(8)).await.unwrap();
        assert_eq!(f.port.inputs(id).await.unwrap(), [first.clone(), manifest.clone()]);
    }
    assert_eq!(f.port.inputs(other).await.unwrap().len(), 1);
    fails_as(f.port.inputs(job(9)).await, ErrorKind::NotFound);
    fails_as(f.port.put_input(job(9), manifest, at(1)).await, ErrorKind::NotFound);
}

pub async fn file_that_is_planned_again_keeps_its_event(f: Journal) {
    let id = begin(&f, 1, spec(1)).await;
    let mut first = vec![planned_file(id, "/b"), planned_file(id, "/a\n☃")];
    first[1].staging_key = ObjectKey::new("somewhere/else").unwrap();
    let rows = f.port.plan(id, first.clone()).await.unwrap();
    assert_eq!(paths(&rows), ["/b", "/a\n☃"], "returned in the order of the request");
    for (row, file) in rows.iter().zip(&first) {
        assert_eq!((row.step, row.event_id, &row.staging_key), (FileStep::Planned, file.event_id, &file.staging_key));
    }
    f.port.update(id, vec![update_to("/b", FileStep::Staged)], at(3)).await.unwrap();
    let again = vec![planned_file(id, "/a\n☃"), planned_file(id, "/c"), planned_file(id, "/b"), planned_file(id, "/c")];
    let rows = f.port.plan(id, again.clone()).await.unwrap();
    assert_eq!(rows[0].event_id, first[1].event_id);
    assert_eq!(rows[0].staging_key, first[1].staging_key);
    assert_eq!((rows[2].event_id, rows[2].step), (first[0].event_id, FileStep::Staged));
    assert_eq!((rows[1].event_id, rows[3].event_id), (again[1].event_id, again[1].event_id), "the first of a batch");
    let other = begin(&f, 2, spec(1)).await;
    let rows = f.port.plan(other, vec![planned_file(other, "/b")]).await.unwrap();
    assert_ne!(rows[0].event_id, first[0].event_id, "another job's file has another event");
}

pub async fn file_update_keeps_fields_it_does_not_set(f: Journal) {
    let id = begin(&f, 1, spec(1)).await;
    f.port.plan(id, vec![planned_file(id, "/a")]).await.unwrap();
    let sha256 = Sha256([7; 32]);
    let asset_id = AssetId::of(&Tenant::default(), &sha256);
    let mut staged = update_to("/a", FileStep::Staged);
    staged.size_bytes = Some(10);
    staged.modified_ns = Some(-5);
    staged.changed_ns = Some(-4);
    staged.device = Some(u64::MAX);
    staged.inode = Some(u64::MAX - 1);
    staged.sha256 = Some(sha256);
    staged.media_type = Some("image/png".into());
    staged.asset_id = Some(asset_id);
    staged.staged_at = Some(at(2));
    f.port.update(id, vec![staged], at(2)).await.unwrap();
    f.port.update(id, vec![update_to("/a", FileStep::Published)], at(3)).await.unwrap();
    let file = all_files(&f, id, &[], 10).await.remove(0);
    assert_eq!((file.step, file.size_bytes, file.modified_ns), (FileStep::Published, Some(10), Some(-5)));
    assert_eq!((file.changed_ns, file.device, file.inode), (Some(-4), Some(u64::MAX), Some(u64::MAX - 1)));
    assert_eq!((file.sha256, file.asset_id, file.staged_at), (Some(sha256), Some(asset_id), Some(at(2))));
    assert_eq!(file.media_type.as_deref(), Some("image/png"));
    let mut read_again = update_to("/a", FileStep::Published);
    read_again.modified_ns = Some(7);
    f.port.update(id, vec![read_again], at(3)).await.unwrap();
    let file = all_files(&f, id, &[], 10).await.remove(0);
    assert_eq!((file.modified_ns, file.changed_ns), (Some(7), None), "the change time of an earlier read");
    assert_eq!(f.port.job(id).await.unwrap().unwrap().updated_at, at(3));
}

fn refused_update(path: &str, kind: RefusalKind) -> FileUpdate {
    let step = match kind.outcome() {
        mfctl_core::domain::job::FileOutcome::Rejected => FileStep::Rejected,
        _ => FileStep::Failed,
    };
    FileUpdate { refusal: Some(FileRefusal { kind, reason: format!("because {kind}") }), ..update_to(path, step) }
}

pub async fn refusal_is_cleared_when_the_file_is_staged(f: Journal) {
    let id = begin(&f, 1, spec(1)).await;
    f.port.plan(id, vec![planned_file(id, "/a")]).await.unwrap();
    f.port.update(id, vec![refused_update("/a", RefusalKind::Vanished)], at(2)).await.unwrap();
    let file = all_files(&f, id, &[], 10).await.remove(0);
    let refusal = file.refusal.unwrap();
    assert_eq!((refusal.kind, refusal.reason.as_str()), (RefusalKind::Vanished, "because vanished"));
    f.port.update(id, vec![update_to("/a", FileStep::Staged)], at(3)).await.unwrap();
    assert_eq!(all_files(&f, id, &[], 10).await[0].refusal, None);
}

pub async fn retry_plans_failed_files_again_with_their_events(f: Journal) {
    let id = begin(&f, 1, spec(1)).await;
    let rows = f.port.plan(id, ["/a", "/b", "/c", "/d"].map(|path| planned_file(id, path)).to_vec()).await.unwrap();
    let updates = vec![
        refused_update("/a", RefusalKind::Unreadable),
        refused_update("/d", RefusalKind::CutOff),
        refused_update("/b", RefusalKind::Empty),
        update_to("/c", FileStep::Published),
    ];
    f.port.update(id, updates, at(2)).await.unwrap();
    assert_eq!(f.port.retry_failed(id, at(3)).await.unwrap(), 1);
    assert_eq!(f.port.retry_failed(id, at(4)).await.unwrap(), 0);
    let again = all_files(&f, id, &[FileStep::Planned], 10).await;
    assert_eq!((paths(&again), again[0].event_id, &again[0].refusal), (vec!["/a"], rows[0].event_id, &None));
}

pub async fn counts_match_the_files_after_random_updates(f: Journal) {
    let mut random = random();
    let id = begin(&f, 1, spec(1)).await;
    let mut model: BTreeMap<String, (FileStep, u64, bool)> = BTreeMap::new();
    for _ in 0..200 {
        let path = format!("/{}", random.u8(0..30));
        if random.bool() || !model.contains_key(&path) {
            f.port.plan(id, vec![planned_file(id, &path)]).await.unwrap();
            model.entry(path).or_insert((FileStep::Planned, 0, false));
            continue;
        }
        if random.u8(0..6) == 0 {
            // Only planned files are forgotten.
            f.port.forget_planned(id, vec![SourcePath::from_text(&path)], at(2)).await.unwrap();
            model.retain(|name, (step, ..)| *name != path || *step != FileStep::Planned);
            continue;
        }
        let step = *random.choice(FileStep::ALL).unwrap();
        let size = random.u64(0..1000);
        let read = random.bool();
        let update =
            FileUpdate { size_bytes: Some(size), sha256: read.then_some(Sha256([1; 32])), ..update_to(&path, step) };
        f.port.update(id, vec![update], at(2)).await.unwrap();
        let entry = model.get_mut(&path).unwrap();
        *entry = (step, size, entry.2 || read);
    }
    let counts = f.port.counts(id).await.unwrap();
    let of = |steps: &[FileStep]| model.values().filter(|(step, ..)| steps.contains(step)).count() as u64;
    assert_eq!(counts.discovered, model.len() as u64);
    assert_eq!(counts.staged, of(&[FileStep::Staged, FileStep::Published]));
    assert_eq!(counts.published, of(&[FileStep::Published]));
    assert_eq!(counts.deduplicated, of(&[FileStep::Deduplicated]));
    assert_eq!((counts.rejected, counts.failed), (of(&[FileStep::Rejected]), of(&[FileStep::Failed])));
    assert_eq!(counts.bytes, model.values().filter(|(.., read)| *read).map(|(_, size, _)| size).sum::<u64>());
}

pub async fn files_are_filtered_by_step_and_paged_by_path(f: Journal) {
    let id = begin(&f, 1, spec(1)).await;
    let names: Vec<String> = (0..25).map(|n| format!("/dir/{n:02}")).collect();
    f.port.plan(id, names.iter().rev().map(|path| planned_file(id, path)).collect()).await.unwrap();
    let updates = names.iter().step_by(3).map(|path| update_to(path, FileStep::Published));
    let failed = names.iter().skip(1).step_by(3).map(|path| refused_update(path, RefusalKind::Changed));
    f.port.update(id, updates.chain(failed).collect(), at(2)).await.unwrap();
    for page in [1, 4, 100] {
        assert_eq!(paths(&all_files(&f, id, &[], page).await), names);
        let wanted: Vec<&String> = names.iter().step_by(3).collect();
        assert_eq!(paths(&all_files(&f, id, &[FileStep::Published], page).await), wanted);
        let wanted: Vec<&String> = names.iter().skip(1).step_by(3).collect();
        assert_eq!(paths(&all_files(&f, id, &[FileStep::Failed, FileStep::Rejected], page).await), wanted);
        let wanted: Vec<&String> = names.iter().enumerate().filter(|(n, _)| n % 3 != 0).map(|(_, name)| name).collect();
        assert_eq!(paths(&all_files(&f, id, &[FileStep::Failed, FileStep::Planned], page).await), wanted);
    }
    assert!(all_files(&f, id, &[FileStep::Deduplicated], 4).await.is_empty());
}

pub async fn pages_neither_skip_nor_repeat_files_during_planning(f: Journal) {
    let id = begin(&f, 1, spec(1)).await;
    f.port.plan(id, (0..20).map(|n| planned_file(id, &format!("/{n:02}"))).collect()).await.unwrap();
    let filter = JobFilter::default();
    let mut seen = Vec::new();
    let mut cursor = None::<String>;
    for turn in 0.. {
        let page = f.port.files(id, &filter, cursor.as_deref(), 3).await.unwrap();
        seen.extend(page.items.iter().map(|file| file.path.to_string()));
        f.port.plan(id, vec![planned_file(id, &format!("/{turn:02}-new"))]).await.unwrap();
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let old: Vec<&String> = seen.iter().filter(|path| !path.ends_with("-new")).collect();
    assert_eq!(old, (0..20).map(|n| format!("/{n:02}")).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    assert!(seen.is_sorted() && seen.windows(2).all(|pair| pair[0] != pair[1]), "{seen:?}");
}

pub async fn existing_paths_are_those_of_the_job(f: Journal) {
    let id = begin(&f, 1, spec(1)).await;
    let other = begin(&f, 2, spec(2)).await;
    f.port.plan(id, ["/a", "/b\\xff", "/c\n☃"].map(|path| planned_file(id, path)).to_vec()).await.unwrap();
    f.port.plan(other, vec![planned_file(other, "/d")]).await.unwrap();
    f.port.update(id, vec![refused_update("/a", RefusalKind::Empty)], at(2)).await.unwrap();
    let asked = ["/a", "/A", "/b\\xff", "/c\n☃", "/d", "/a/", "/a"].map(SourcePath::from_text);
    let held = f.port.existing_paths(id, asked.to_vec()).await.unwrap();
    assert_eq!(held, ["/a", "/b\\xff", "/c\n☃"].map(SourcePath::from_text).into());
    assert!(f.port.existing_paths(id, Vec::new()).await.unwrap().is_empty());
}

pub async fn unknown_jobs_and_files_are_not_found(f: Journal) {
    let unknown = job(77);
    assert_eq!(f.port.job(unknown).await.unwrap(), None);
    assert!(!f.port.is_leased(unknown).await.unwrap());
    fails_as(f.port.plan(unknown, vec![planned_file(unknown, "/a")]).await, ErrorKind::NotFound);
    fails_as(f.port.update(unknown, vec![update_to("/a", FileStep::Staged)], at(1)).await, ErrorKind::NotFound);
    fails_as(f.port.counts(unknown).await, ErrorKind::NotFound);
    fails_as(f.port.files(unknown, &JobFilter::default(), None, 1).await, ErrorKind::NotFound);
    fails_as(f.port.existing_paths(unknown, vec![SourcePath::from_text("/a")]).await, ErrorKind::NotFound);
    fails_as(f.port.set_status(unknown, JobStatus::Finished, None, at(1)).await, ErrorKind::NotFound);
    let known = begin(&f, 1, spec(1)).await;
    let update = f.port.update(known, vec![update_to("/never-planned", FileStep::Staged)], at(1)).await;
    fails_as(update, ErrorKind::NotFound);
}

pub async fn lease_has_one_holder_at_a_time(f: Journal) {
    let id = begin(&f, 1, spec(1)).await;
    assert!(!f.port.is_leased(id).await.unwrap());
    let lease = f.port.lease(id).await.unwrap();
    assert!(f.port.is_leased(id).await.unwrap());
    let Err(error) = f.port.lease(id).await else { panic!("two leases of one job") };
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.full().contains(&std::process::id().to_string()), "names the holder: {}", error.full());
    let _other = f.port.lease(job(2)).await.unwrap();
    drop(lease);
    assert!(!f.port.is_leased(id).await.unwrap());
    let _again = f.port.lease(id).await.unwrap();
}
