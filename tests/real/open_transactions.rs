//! Events behind another program's open transaction: no reader sees them until it ends.

use rdkafka::producer::Producer as _;
use serde_json::Value;

use crate::external_clients::{open_transaction, partition_count};
use crate::support::{Site, TIMEOUT, eventually};

#[test]
fn events_behind_an_open_transaction_are_waiting_and_not_lost() {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    std::fs::write(site.path("in/first.txt"), "before the transaction").unwrap();
    site.json(["ingest", "in"], &[0]);
    site.json(["worker", "all", "--until-drained"], &[0]);
    let topic = site.platform().topic("ingest.raw");
    let partitions = partition_count(&topic);
    let producer = open_transaction(&topic, partitions);
    for number in 1..=4 {
        std::fs::write(site.path(format!("in/{number}.txt")), format!("behind the transaction: {number}")).unwrap();
    }
    site.json(["ingest", "in"], &[0]);

    let report = site.audit();
    let hidden = report["behind_open_transactions"].as_array().unwrap();
    assert_eq!(hidden.len(), partitions as usize, "{report:#}");
    assert!(hidden.iter().all(|hidden| hidden["topic"] == "ingest.raw"), "{report:#}");
    let stage = &report["owed"]["stages"][0];
    let waiting = |field: &str| stage[field].as_u64().unwrap();
    assert_eq!((waiting("waiting"), waiting("behind_open_transactions")), (4 + partitions as u64, waiting("waiting")));
    let lag = site.json(["lag"], &[0]);
    assert!(lag["lag"].as_u64().unwrap() >= 4, "{lag:#}");
    let shown = site.run(["lag"]);
    assert!(shown.stdout.contains("wait behind an open transaction of another producer"), "{shown}");
    let said = site.run(["audit"]);
    assert!(said.stdout.contains("behind an open transaction in ingest.raw"), "{said}");

    producer.abort_transaction(TIMEOUT).unwrap();
    eventually("the transaction has ended for readers", || {
        site.audit()["behind_open_transactions"] == Value::Array(vec![])
    });
    site.json(["worker", "all", "--until-drained"], &[0]);
    assert_eq!(site.audit()["enriched"], 5);
}
