//! One backlog has one number, whichever verb shows it.

use serde_json::Value;

use crate::support::Site;

#[test]
fn lag_status_jobs_and_audit_show_the_same_number_of_waiting_records() {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    for number in 0..37 {
        std::fs::write(site.path(format!("in/{number}.txt")), format!("text number {number}")).unwrap();
    }
    let job = site.json(["ingest", "in"], &[0])["job_id"].as_str().unwrap().to_owned();
    site.json(["worker", "persist", "--until-drained"], &[0]);

    let lag = site.json(["lag"], &[0]);
    let of = |stage: &str, field: &str| -> Value {
        let is_of_stage = |group: &&Value| group["group"].as_str().unwrap().ends_with(stage);
        lag["groups"].as_array().unwrap().iter().find(is_of_stage).unwrap()[field].clone()
    };
    assert_eq!((of("persist", "lag"), of("enrich", "lag")), (0.into(), 37.into()), "{lag:#}");
    assert_eq!(of("enrich", "lag_is_estimate"), false, "{lag:#}");
    let status = site.json(["status"], &[0]);
    assert_eq!(status["owed"]["stages"][1]["waiting"], 37, "{status:#}");
    let workers = status["parts"].as_array().unwrap().iter().find(|part| part["part"] == "workers").unwrap();
    assert!(workers["detail"].as_str().unwrap().contains("enrich: 0 members, lag 37"), "{workers:#}");
    let shown = site.json(["jobs", "show", &job], &[0]);
    assert!(shown["owed"]["summary"].as_str().unwrap().starts_with("37 records wait"), "{shown:#}");
    let audit = site.json(["audit"], &[0]);
    assert_eq!((&audit["in_flight"], &audit["owed"]["stages"][1]["waiting"]), (&37.into(), &37.into()), "{audit:#}");
}
