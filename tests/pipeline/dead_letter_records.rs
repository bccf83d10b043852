//! Dead letters for tests of redrive and discard.

use mfctl_core::domain::dead_letter::{self, FailureClass, FailureContext};
use mfctl_core::domain::names::topics::MEDIA_INGESTED;
use mfctl_core::domain::{Headers, NewRecord, Record, RecordAddress, event};
use mfctl_core::ports::{Clock, SystemClock};

pub fn stored_record(new: NewRecord, address: RecordAddress) -> Record {
    Record { address, key: new.key, value: new.value, headers: new.headers, timestamp: new.timestamp }
}

/// The dead letter that a worker makes of a record.
pub fn dead_letter_of(record: &Record) -> NewRecord {
    dead_letter::dead_letter(record, &failure_of(record))
}

/// Why a worker makes a dead letter of it.
pub fn failure_of(record: &Record) -> FailureContext<'static> {
    FailureContext {
        topic_id: None,
        claim_holder: None,
        group: "mfctl.dev.enrich",
        kind: "parser_limit",
        class: FailureClass::Permanent,
        message: "page 17 of the file is broken",
        attempts: 1,
        first_failed_at: record.timestamp,
        last_failed_at: record.timestamp,
        worker: "host/0",
    }
}

pub fn ingested_event(number: usize, env: &str) -> NewRecord {
    let mut headers = Headers::default();
    headers.push(event::header::DEPLOYMENT_ENV, env.as_bytes().to_vec());
    headers.push("x-binary", vec![0xff, 0x00]);
    NewRecord {
        topic: MEDIA_INGESTED,
        partition: None,
        key: Some(format!("key-{number}").into()),
        value: Some(format!("value {number}").into()),
        headers,
        timestamp: SystemClock::default().now(),
    }
}
