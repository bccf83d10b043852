//! Independent clients read what mfctl wrote: kcat, curl as an S3 client, psql.

use serde_json::Value;

use crate::external_clients::{psql, run_program, s3};
use crate::support::Site;
use crate::support::stack::env;

const TEXT: &str = "one file, seen from outside: سلام\n";

fn site() -> (Site, Value) {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    std::fs::write(site.path("in/one.txt"), TEXT).unwrap();
    site.json(["ingest", "in"], &[0]);
    site.json(["worker", "all", "--until-drained"], &[0]);
    let listed = site.json(["media", "list"], &[0]);
    let asset = listed["assets"][0].clone();
    (site, asset)
}

#[test]
fn kcat_reads_topics_keys_headers_and_wire_format() {
    let (site, asset) = site();
    for topic in ["ingest.raw", "media.ingested", "media.enriched"] {
        let wire = site.platform().topic(topic);
        let format = "%k\n%h\n%S\n%s";
        let read = run_program(
            "kcat",
            &["-q", "-b", &env("STACK_KAFKA"), "-C", "-t", &wire, "-e", "-o", "beginning", "-f", format],
        );
        let mut parts = read.splitn(4, |byte| *byte == b'\n');
        let mut line = || parts.next().unwrap();
        let key = line().to_vec();
        let headers = line().to_vec();
        let size = line().to_vec();
        let value = line();
        assert_eq!(String::from_utf8_lossy(&key), asset["asset_id"].as_str().unwrap());
        let headers = String::from_utf8(headers).unwrap();
        for header in ["service.name=mfctl", &format!("deployment.env={}", site.env_name()), "schema.version=1"] {
            assert!(headers.split(',').any(|found| found == header), "{topic}: {header} is not in {headers}");
        }
        assert!(headers.contains("traceparent=00-") && headers.contains("event.id="), "{topic}: {headers}");
        assert_eq!(String::from_utf8_lossy(&size), value.len().to_string(), "{topic} has one record");
        let id = u32::from_be_bytes(value[1..5].try_into().unwrap());
        assert_eq!(value[0], 0);
        let registered = crate::external_clients::curl(&[&format!("{}/schemas/ids/{id}", env("STACK_REGISTRY"))]);
        let registered: Value = serde_json::from_slice(&registered).unwrap();
        assert!(registered["schema"].as_str().unwrap().contains(&format!("urn:mfctl:event:{topic}")), "{registered}");
        let event: Value = serde_json::from_slice(&value[5..]).unwrap();
        assert_eq!(event["asset_id"], asset["asset_id"], "{event:#}");
    }
}

#[test]
fn plain_s3_client_reads_objects_byte_for_byte() {
    let (site, asset) = site();
    let sha = asset["sha256"].as_str().unwrap();
    let key = format!("{}/sha256/{}/{}/{sha}", site.platform().tenant, &sha[..2], &sha[2..4]);
    assert_eq!(s3("GET", &site.platform().bucket("originals"), &key, &[]), TEXT.as_bytes());
    let derived = asset["facts"]["text_key"].as_str().unwrap();
    let text = String::from_utf8(s3("GET", &site.platform().bucket("derived"), derived, &[])).unwrap();
    assert!(text.contains("سلام"), "{text:?}");
    let listed = String::from_utf8(s3("GET", &site.platform().bucket("staging"), "?list-type=2", &[])).unwrap();
    assert!(listed.contains("<KeyCount>0</KeyCount>"), "staging is empty again: {listed}");
}

#[test]
fn psql_reads_catalog_rows() {
    let (site, asset) = site();
    let id = asset["asset_id"].as_str().unwrap();
    let tenant = &site.platform().tenant;
    let as_owner = |query: &str| psql(query);
    assert_eq!(
        as_owner(&format!(
            "select tenant || ' ' || state || ' ' || size_bytes from media.assets where asset_id = '{id}'"
        )),
        format!("{tenant} enriched {}", TEXT.len())
    );
    for (table, rows) in [("sources", "1"), ("revisions", "0"), ("inbox", "2")] {
        assert_eq!(as_owner(&format!("select count(*) from media.{table} where asset_id = '{id}'")), rows, "{table}");
    }
    assert_eq!(as_owner(&format!("select count(*) from media.job_outcomes where tenant = '{tenant}'")), "1");
}
