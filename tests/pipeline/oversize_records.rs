//! Records that other programs wrote and that are larger than mfctl writes: each gets a dead letter, none stops the worker.

use std::collections::BTreeMap;

use bytes::Bytes;
use mfctl_core::domain::dead_letter::RedriveMark;
use mfctl_core::domain::dead_letter_stub::DeadLetterStub;
use mfctl_core::domain::names::topics::INGEST_RAW;
use mfctl_core::domain::record_limits::MAX_RECORD_BYTES;
use mfctl_core::domain::{Headers, Record, RecordAddress, Timestamp, TopicName};
use mfctl_core::events::pager::Pager;
use mfctl_core::ports::Ports;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{CommandOutput, ON_STACK, Running, Site, eventually};

/// A record by its name, as another program writes it. It is no event: persist cannot decode it.
#[derive(Clone)]
struct ForeignRecord {
    name: &'static str,
    key: Bytes,
    value: Bytes,
    headers: Headers,
    /// Whether it is too large for the dead-letter topic.
    is_kept: bool,
}

fn foreign(name: &'static str, value_bytes: usize, is_kept: bool) -> ForeignRecord {
    let key = Bytes::from(name);
    ForeignRecord { name, key, value: Bytes::from(vec![b'x'; value_bytes]), headers: Headers::default(), is_kept }
}

/// With this many bytes of key and value.
fn of_size(name: &'static str, bytes: usize, is_kept: bool) -> ForeignRecord {
    foreign(name, bytes - name.len(), is_kept)
}

fn foreign_records() -> Vec<ForeignRecord> {
    let mut huge_key = foreign("huge key", 10, true);
    huge_key.key = Bytes::from(vec![b'k'; 2 << 20]);
    let mut huge_header = foreign("huge header", 10, true);
    huge_header.headers.push("note", vec![b'h'; 3 << 19]);
    let mut many_headers = foreign("many headers", 10, true);
    (0..90_000).for_each(|_| many_headers.headers.push("a", "fourteen bytes"));
    vec![
        of_size("limit - 1", MAX_RECORD_BYTES - 1, false),
        of_size("limit", MAX_RECORD_BYTES, false),
        of_size("limit + 1", MAX_RECORD_BYTES + 1, false),
        of_size("limit + 64 KiB", MAX_RECORD_BYTES + (64 << 10), true),
        of_size("3 MB", 3_000_000, true),
        huge_key,
        huge_header,
        many_headers,
    ]
}

/// Appends records to partition 0 of `ingest.raw` past the checks of mfctl's own producers.
fn append(site: &Site, records: Vec<ForeignRecord>) {
    if ON_STACK { produce(site, &records) } else { insert(site, records) }
}

/// With a producer that compresses: the brokers limit the compressed size.
fn produce(site: &Site, records: &[ForeignRecord]) {
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
    let mut config = rdkafka::ClientConfig::new();
    config
        .set("bootstrap.servers", crate::support::stack::env("STACK_KAFKA"))
        .set("compression.type", "gzip")
        .set("message.max.bytes", "20000000");
    let producer: BaseProducer = config.create().unwrap();
    let topic = site.platform().topic("ingest.raw");
    for record in records {
        let add = |headers: OwnedHeaders, header: &mfctl_core::domain::Header| {
            headers.insert(Header { key: &header.name, value: header.value.as_deref() })
        };
        let headers = record.headers.0.iter().fold(OwnedHeaders::new(), add);
        let new = BaseRecord::to(&topic).partition(0).key(record.key.as_ref()).payload(record.value.as_ref());
        producer.send(new.headers(headers)).unwrap();
        producer.flush(crate::support::TIMEOUT).unwrap();
    }
}

/// Into the table of records.
fn insert(site: &Site, records: Vec<ForeignRecord>) {
    let folder = mfctl_embedded::DataFolder::open(&site.data(), mfctl_embedded::OpenMode::MustExist).unwrap();
    let append = folder.db().write("append foreign records", move |tx| {
        for record in records {
            let now = Timestamp::now().as_millisecond();
            let headers = header_blob(&record.headers);
            let partition = "SELECT part_id FROM partitions JOIN topics USING (topic_id) \
                             WHERE name = 'ingest.raw' AND partition = 0";
            let insert = format!(
                "INSERT INTO records SELECT part_id, next_offset, ?1, ?2, ?3, ?4 FROM partitions \
                 WHERE part_id = ({partition})"
            );
            tx.execute(&insert, (now, record.key.as_ref(), record.value.as_ref(), headers)).unwrap();
            let advance = format!("UPDATE partitions SET next_offset = next_offset + 1 WHERE part_id = ({partition})");
            tx.execute(&advance, []).unwrap();
        }
        Ok(())
    });
    tokio::runtime::Runtime::new().unwrap().block_on(append).unwrap();
}

/// Headers as the data folder stores them: the count, then the lengths and bytes of names and values.
fn header_blob(headers: &Headers) -> Option<Vec<u8>> {
    fn number(blob: &mut Vec<u8>, mut number: usize) {
        while number >= 0x80 {
            blob.push(number as u8 | 0x80);
            number >>= 7;
        }
        blob.push(number as u8);
    }
    let mut blob = Vec::new();
    number(&mut blob, headers.0.len());
    for header in &headers.0 {
        let value = header.value.as_deref().unwrap_or_default();
        number(&mut blob, header.name.len());
        blob.extend_from_slice(header.name.as_bytes());
        number(&mut blob, value.len() + 1);
        blob.extend_from_slice(value);
    }
    (!headers.0.is_empty()).then_some(blob)
}

/// Runs `work` on the site's ports in this process.
fn with_ports<T>(site: &Site, work: impl AsyncFnOnce(Ports) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { work(site.ports().await).await })
}

fn all_records(site: &Site, topic: &TopicName) -> Vec<Record> {
    with_ports(site, async |ports| {
        let mut found = Vec::new();
        for partition in ports.log.offsets(std::slice::from_ref(topic)).await.unwrap() {
            let mut pager = Pager::whole(&partition);
            while let Some(records) = pager.next_page(ports.log.as_ref()).await.unwrap() {
                found.extend(records);
            }
        }
        found
    })
}

fn dead_letters(site: &Site) -> Vec<Record> {
    all_records(site, &INGEST_RAW.dead_letters())
}

fn object_exists(site: &Site, stub: &DeadLetterStub) -> bool {
    with_ports(site, async |ports| ports.objects.head(&stub.object).await.unwrap().is_some())
}

fn write_file(site: &Site, folder: &str, text: &str) {
    std::fs::create_dir_all(site.path(folder)).unwrap();
    std::fs::write(site.path(folder).join("text.txt"), text).unwrap();
}

/// A site on which a worker has met these records, and gone on; the stubs of those that were kept, by their offsets.
fn dead_lettered(records: Vec<ForeignRecord>) -> (Site, Vec<Record>) {
    let site = Site::new();
    write_file(&site, "before", "what stands before the large records");
    site.json(["ingest", "before"], &[0]);
    let mut worker = Running::logged(site.command(["worker", "all", "--quiet"]), &site.path("worker.log"));
    let expected = records.len();
    append(&site, records);
    write_file(&site, "behind", "what stands behind the large records");
    site.json(["ingest", "behind"], &[0]);
    eventually("every record is committed", || {
        let lag = site.json(["lag"], &[0]);
        lag["groups"].as_array().unwrap().iter().all(|group| group["lag"] == 0)
    });
    eventually("both files are enriched", || {
        let status = site.json(["media", "list"], &[0]);
        status["assets"].as_array().unwrap().iter().filter(|asset| asset["state"] == "enriched").count() == 2
    });
    assert!(worker.is_alive(), "the same process goes on");
    worker.signal(Signal::TERM);
    assert_eq!(worker.code(), 143);
    let mut dead = dead_letters(&site);
    assert_eq!(dead.len(), expected, "one dead letter each");
    dead.sort_by_key(offset_of);
    (site, dead)
}

/// The offset of the record that a dead letter is about.
fn offset_of(dead: &Record) -> i64 {
    dead.headers.text("__dlq.errors.offset").unwrap().parse().unwrap()
}

#[test]
fn records_of_any_size_become_dead_letters_and_the_worker_goes_on() {
    let records = foreign_records();
    let (site, dead) = dead_lettered(records.clone());
    let listed: Value = site.json(["dlq", "list", "--each"], &[0]);
    let listed: BTreeMap<&str, &Value> = listed["dead_letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| (letter["id"].as_str().unwrap(), letter))
        .collect();
    for (record, dead) in records.iter().zip(&dead) {
        let name = record.name;
        let stub = DeadLetterStub::of(dead);
        assert_eq!(stub.is_some(), record.is_kept, "{name}: {} bytes", dead.size_bytes());
        let letter = listed[dead.address.to_string().as_str()];
        assert_eq!(letter["error"]["kind"], "not_wire_format", "{name}: {letter:#}");
        assert_eq!(letter["error"]["source"], format!("ingest.raw:0:{}", offset_of(dead)), "{name}: {letter:#}");
        match stub {
            None => assert_eq!((&dead.key, &dead.value), (&Some(record.key.clone()), &Some(record.value.clone()))),
            Some(stub) => {
                assert!(dead.size_bytes() < 64 << 10, "{name}: {} bytes", dead.size_bytes());
                assert_eq!(stub.value_bytes, Some(record.value.len() as u64), "{name}");
                assert_eq!(letter["kept_record"]["object_bytes"], stub.object_bytes, "{name}: {letter:#}");
                assert!(object_exists(&site, &stub), "{name}");
            }
        }
        let raw = site.run(["dlq", "show", &dead.address.to_string(), "--raw"]);
        assert_eq!((raw.code, raw.stdout.as_bytes() == record.value), (0, true), "{name}: {}", raw.stderr);
    }
    site.audit();
}

#[test]
fn redrive_restores_large_records_byte_for_byte_or_says_why_not() {
    let records = foreign_records();
    let (site, dead) = dead_lettered(records.clone());
    // Kafka took the large ones compressed, and takes them again; a data folder takes no record over 1 MiB.
    let is_redriven = |record: &ForeignRecord| ON_STACK || !record.is_kept;
    let expected = records.iter().filter(|record| is_redriven(record)).count();
    let code = if expected == records.len() { 0 } else { 3 };
    let planned = site.json(["dlq", "redrive", "--all", "--dry-run"], &[0]);
    let report = site.json(["dlq", "redrive", "--all", "--yes"], &[code]);
    assert_eq!((&planned["redriven"], &report["redriven"]), (&expected.into(), &expected.into()), "{report:#}");
    let skipped: BTreeMap<&str, &str> = report["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|skipped| (skipped["id"].as_str().unwrap(), skipped["reason"].as_str().unwrap()))
        .collect();
    let sent: BTreeMap<String, Record> = all_records(&site, &INGEST_RAW)
        .into_iter()
        .filter_map(|record| Some((RedriveMark::of(&record.headers)?.source, record)))
        .collect();
    assert_eq!(sent.len(), expected);
    for (record, dead) in records.iter().zip(&dead) {
        let name = record.name;
        let id = dead.address.to_string();
        if is_redriven(record) {
            let mut sent = sent[&id].clone();
            sent.headers.0.pop();
            assert!(sent.key.as_ref() == Some(&record.key) && sent.value.as_ref() == Some(&record.value), "{name}");
            assert!(sent.headers == record.headers, "{name}");
        } else {
            assert_eq!(skipped[id.as_str()], "too_large", "{name}: {report:#}");
        }
        if let Some(stub) = DeadLetterStub::of(dead) {
            assert_eq!(object_exists(&site, &stub), !is_redriven(record), "{name}: kept until its redrive succeeded");
        }
    }
    let left = site.json(["dlq", "list"], &[0]);
    assert_eq!(left["unresolved"], records.len() - expected, "{left:#}");
}

#[test]
fn missing_or_damaged_kept_records_are_reported_and_stay_unresolved() {
    let (site, dead) = dead_lettered(vec![foreign("first", 3_000_000, true), foreign("second", 3_000_000, true)]);
    let stubs: Vec<DeadLetterStub> = dead.iter().map(|dead| DeadLetterStub::of(dead).unwrap()).collect();
    with_ports(&site, async |ports| {
        ports.objects.delete(&[stubs[0].object.clone()]).await.unwrap();
        let damaged = Bytes::from(vec![b'?'; usize::try_from(stubs[1].object_bytes).unwrap()]);
        ports.objects.put(&stubs[1].object, std::sync::Arc::new(damaged), Default::default()).await.unwrap();
        ports.objects.sync().await.unwrap();
    });
    let report = site.json(["dlq", "redrive", "--all", "--yes"], &[3]);
    let reasons: Vec<&str> =
        report["skipped"].as_array().unwrap().iter().map(|skipped| skipped["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["kept_record_missing", "kept_record_damaged"], "{report:#}");
    assert_eq!(site.json(["dlq", "list"], &[0])["unresolved"], 2);
    let ids: Vec<String> = dead.iter().map(|dead| dead.address.to_string()).collect();
    let raw = site.run(["dlq", "show", &ids[1], "--raw"]);
    assert!(raw.code == 6 && raw.stdout.is_empty() && raw.stderr.contains("damaged"), "{raw}");
    let shown = site.json(["dlq", "show", &ids[0]], &[0]);
    assert!(shown["kept_record"]["unavailable"].as_str().unwrap().contains("missing"), "{shown:#}");
    assert_eq!(shown["value"]["size_bytes"], 16 << 10, "the head of the value: {shown:#}");

    let audit = site.json(["audit"], &[10]);
    let violations: Vec<(&str, &str)> = audit["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| (found["kind"].as_str().unwrap(), found["subject"].as_str().unwrap()))
        .collect();
    assert_eq!(violations, [("missing_object", ids[0].as_str()), ("wrong_object", ids[1].as_str())], "{audit:#}");

    let discarded = site.json(["dlq", "discard", "--all", "--reason", "lost", "--yes"], &[0]);
    assert_eq!(discarded["discarded"], 2, "{discarded:#}");
    assert!(!object_exists(&site, &stubs[1]), "a discarded dead letter needs no object");
    site.audit();
}

/// A worker that dies between the object and the commit leaves an object that nothing needs, and no dead letter without one.
#[test]
fn worker_killed_before_its_commit_leaves_no_dead_letter_without_its_record() {
    let site = Site::new();
    write_file(&site, "in", "an ordinary file");
    site.json(["ingest", "in"], &[0]);
    site.json(["worker", "all", "--until-drained"], &[0]);
    append(&site, vec![foreign("large", 3_000_000, true)]);
    let words = ["worker", "persist", "--until-drained", "--quiet"];
    let killed = Running::start(site.command_with_failpoint("before_settle", words));
    assert_eq!(killed.code(), -6, "it dies at the failpoint");
    assert!(dead_letters(&site).is_empty());
    site.json(["worker", "all", "--until-drained"], &[3]);
    let dead: Vec<Record> = dead_letters(&site);
    let stub = DeadLetterStub::of(&dead[0]).unwrap();
    assert!(dead.len() == 1 && object_exists(&site, &stub));
    let report = site.audit();
    assert_eq!(report["garbage"], 1, "what the killed worker left: {report:#}");
}

/// Another tool copies a dead-letter topic: a copy of a stub must not lose its record when the original is resolved.
#[test]
fn object_of_a_copied_stub_stays_until_every_copy_is_resolved() {
    let (site, dead) = dead_lettered(vec![foreign("large", 3_000_000, true)]);
    let stub = DeadLetterStub::of(&dead[0]).unwrap();
    let copy: RecordAddress = with_ports(&site, async |ports| {
        let Record { address, key, value, headers, timestamp } = dead[0].clone();
        let topic = address.topic;
        let copy = mfctl_core::domain::NewRecord { topic, partition: None, key, value, headers, timestamp };
        ports.log.publish(vec![copy]).await.unwrap().remove(0)
    });
    let discard = |id: String| site.json(["dlq", "discard", &id, "--reason", "a test", "--yes"], &[0]);
    discard(dead[0].address.to_string());
    assert!(object_exists(&site, &stub));
    discard(copy.to_string());
    assert!(!object_exists(&site, &stub));
}

#[test]
fn parked_stub_keeps_its_object_until_it_is_resolved_itself() {
    let (site, dead) = dead_lettered(vec![foreign("large", 3_000_000, true)]);
    let stub = DeadLetterStub::of(&dead[0]).unwrap();
    let parked = site.json(["dlq", "redrive", "--all", "--max-redrives", "0", "--yes"], &[0]);
    assert_eq!(parked["parked"], 1, "{parked:#}");
    site.json(["dlq", "redrive", "--all", "--yes"], &[0]);
    assert!(object_exists(&site, &stub));
    site.audit();
    let parked = all_records(&site, &INGEST_RAW.parked()).remove(0);
    assert_eq!(DeadLetterStub::of(&parked), Some(stub.clone()));
    let raw = site.run(["dlq", "show", &parked.address.to_string(), "--raw"]);
    assert_eq!((raw.code, raw.stdout.len()), (0, 3_000_000));
    let (code, action) = if ON_STACK { (0, "redriven") } else { (3, "selected") };
    let sent = site.json(["dlq", "redrive", &parked.address.to_string(), "--from-parked", "--yes"], &[code]);
    assert_eq!(sent[action], 1, "{sent:#}");
    if !ON_STACK {
        site.json(["dlq", "discard", &parked.address.to_string(), "--reason", "too large", "--yes"], &[0]);
    }
    assert!(!object_exists(&site, &stub));
}

/// The release before knows nothing of stubs. It must skip them, and do no harm to what is kept.
#[test]
fn release_before_skips_stubs_and_sends_none() {
    let Some(before) = release_before() else { return };
    let run = |site: &Site, words: &[&str]| {
        let mut command = std::process::Command::new(&before);
        command.args(words).args(["-o", "json"]).env_clear().env("HOME", site.home()).env("PATH", "/usr/bin:/bin");
        CommandOutput::run({
            // On a cluster it runs on another host, whose data folder no later release has migrated.
            let data = if ON_STACK { site.path("data-of-release-before") } else { site.data() };
            command.env("USER", "operator").env("MFCTL_DATA_DIR", data).current_dir(site.path(""));
            command
        })
    };
    let (site, dead) = dead_lettered(vec![foreign("large", 3_000_000, true), foreign("larger", 4_000_000, true)]);
    let records = all_records(&site, &INGEST_RAW).len();
    let ids: Vec<String> = dead.iter().map(|dead| dead.address.to_string()).collect();
    let stubs: Vec<DeadLetterStub> = dead.iter().map(|dead| DeadLetterStub::of(dead).unwrap()).collect();

    let opened = run(&site, &["dlq", "list"]);
    if !ON_STACK && opened.code == 6 && opened.stderr.contains("supports formats up to") {
        // It refuses the whole folder since this release has migrated it: nothing can be sent.
        return skip("the release before does not open a data folder of this release");
    }
    let reasons = |ran: &CommandOutput| -> Vec<String> {
        let report = ran.json();
        let skipped = report["skipped"].as_array().unwrap().iter();
        skipped.map(|skipped| skipped["reason"].as_str().unwrap().to_owned()).collect()
    };
    for words in
        [&["dlq", "redrive", "--all", "--yes"][..], &["dlq", "redrive", &ids[0], "--max-redrives", "0", "--yes"]]
    {
        let ran = run(&site, words);
        assert_eq!(ran.code, 3, "{words:?}: {ran}");
        assert!(reasons(&ran).iter().all(|reason| reason == "source_mismatch"), "{words:?}: {ran}");
    }
    for words in [&["dlq", "list"][..], &["dlq", "list", "--each"], &["dlq", "show", &ids[0]]] {
        let ran = run(&site, words);
        assert_eq!(ran.code, 0, "{words:?}: {ran}");
    }
    assert_eq!(all_records(&site, &INGEST_RAW).len(), records, "nothing was sent");

    // Parked by this release, and sent back with force by the one before.
    let parked = site.json(["dlq", "redrive", &ids[0], "--max-redrives", "0", "--yes"], &[0]);
    assert_eq!(parked["parked"], 1, "{parked:#}");
    let parked = all_records(&site, &INGEST_RAW.parked()).remove(0).address.to_string();
    for (words, reason) in [
        (&["dlq", "redrive", &parked, "--yes"][..], "parked"),
        (&["dlq", "redrive", &parked, "--from-parked", "--yes"], "source_mismatch"),
    ] {
        let ran = run(&site, words);
        assert_eq!((ran.code, reasons(&ran)), (3, vec![reason.to_owned()]), "{ran}");
    }
    assert_eq!(all_records(&site, &INGEST_RAW).len(), records, "nothing was sent");

    // Discarded by the release before: the object is left, which is no violation, and the next run here deletes it.
    let ran = run(&site, &["dlq", "discard", &ids[1], "--reason", "a test", "--yes"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(object_exists(&site, &stubs[0]) && object_exists(&site, &stubs[1]));
    assert_eq!(site.audit()["garbage"], 1);
    site.json(["dlq", "discard", &ids[1], &parked, "--reason", "again", "--yes"], &[0]);
    assert!(!object_exists(&site, &stubs[0]) && !object_exists(&site, &stubs[1]));
    assert_eq!(site.audit()["garbage"], 0);
}

/// The program of the release before, from `MFCTL_RELEASE_BEFORE`; prints a line when it is not set.
fn release_before() -> Option<std::path::PathBuf> {
    let path = std::env::var_os("MFCTL_RELEASE_BEFORE");
    if path.is_none() {
        skip("MFCTL_RELEASE_BEFORE does not name the program of the release before");
    }
    path.map(std::path::PathBuf::from)
}

#[expect(clippy::print_stdout, reason = "a skipped test must be seen")]
fn skip(reason: &str) {
    println!("skipped: {reason}");
}
