//! The contract of `OperatorJournal`.

use jiff::Timestamp;
use mfctl_core::ports::{OperatorJournal, OperatorRecord};

use crate::contract::harness::Fixture;

/// Every case of this suite, for a harness that returns an empty journal.
macro_rules! operator_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::operators: records_round_trip_and_are_listed_latest_first);
    };
}
pub(crate) use operator_suite;

pub async fn records_round_trip_and_are_listed_latest_first(f: Fixture<dyn OperatorJournal>) {
    assert!(f.port.latest(10).await.unwrap().is_empty());
    let records: Vec<OperatorRecord> = (0..5)
        .map(|n| OperatorRecord {
            // The journal is ordered by writing, not by the clock.
            at: Timestamp::from_millisecond(1_700_000_000_000 - n).unwrap(),
            actor: "سارا@host".into(),
            profile: "dev".into(),
            verb: "dlq redrive".into(),
            arguments: (0..n).map(|k| format!("--flag-{k}=\"x\ny\"")).collect(),
            result: format!("{n} redriven"),
            undo: (n % 2 == 0).then(|| "mfctl dlq discard".to_owned()),
        })
        .collect();
    for record in &records {
        f.port.append(record).await.unwrap();
    }
    let latest = f.port.latest(3).await.unwrap();
    assert!(latest.iter().eq(records.iter().rev().take(3)), "{latest:?}");
    assert_eq!(f.port.latest(100).await.unwrap().len(), 5);
}
