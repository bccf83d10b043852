//! A platform matches its manifests once they are applied, whatever form the values are typed in and the servers store.

mod random_manifests;

use std::path::Path;

use crate::contract::harness::random;
use crate::support::{ON_STACK, Site, env_number};
use random_manifests::{Platform, RandomManifest};

fn write(dir: &Path, manifests: &[RandomManifest]) {
    for (number, manifest) in manifests.iter().enumerate() {
        std::fs::write(dir.join(format!("{number:02}-{}.yaml", manifest.kind)), manifest.text()).unwrap();
        if let Some((file, content)) = &manifest.file {
            std::fs::write(dir.join(file), content).unwrap();
        }
    }
}

/// Fails unless applying succeeds and nothing is left to do after it.
#[track_caller]
fn assert_converges(site: &Site, folder: &str, when: &str) {
    let applied = site.run(["bootstrap", "apply", folder, "--yes"]);
    assert_eq!(applied.code, 0, "{when}: {applied}");
    let plan = site.json(["bootstrap", "plan", folder], &[0, 4]);
    let (changes, refused) = (&plan["changes"], &plan["refused"]);
    assert_eq!(plan["settled"], true, "{when}: {changes:#} {refused:#}");
    let drift = site.run(["bootstrap", "drift", folder]);
    assert_eq!(drift.code, 0, "{when}: {drift}");
}

/// `MFCTL_ROUNDS` platforms (2 if it is not set), each created and then changed twice.
#[test]
fn applied_random_manifests_of_every_kind_leave_nothing_to_do() {
    let mut random = random();
    for round in 0..env_number("MFCTL_ROUNDS", 2) {
        let (site, platform) = match ON_STACK {
            true => {
                let site = Site::unprepared();
                let platform = Platform { name: site.env_name().to_owned() };
                // The topic in which every apply is recorded.
                let topic = site.run(["bootstrap", "apply", "--only", "KafkaTopic/mfctl.audit", "--yes"]);
                assert_eq!(topic.code, 0, "{topic}");
                (site, platform)
            }
            false => {
                let site = Site::new();
                assert_eq!(site.run(["init"]).code, 0);
                (site, Platform { name: "dev".to_owned() })
            }
        };
        let mut manifests = platform.random_manifests(&mut random);
        let dir = site.path("platform/base");
        std::fs::create_dir_all(&dir).unwrap();
        write(&dir, &manifests);
        assert_converges(&site, "platform", &format!("round {round}, created"));
        for change in 1..=2 {
            manifests = manifests.into_iter().map(|manifest| platform.changed(&mut random, manifest)).collect();
            write(&dir, &manifests);
            assert_converges(&site, "platform", &format!("round {round}, change {change}"));
        }
        if ON_STACK {
            platform.unmount();
        }
    }
}

#[test]
fn topic_settings_that_a_data_folder_lacks_are_named_in_the_plan() {
    if ON_STACK {
        return;
    }
    let site = Site::new();
    assert_eq!(site.run(["init"]).code, 0);
    let dir = site.path("platform/base");
    std::fs::create_dir_all(&dir).unwrap();
    let topic = "apiVersion: mfctl/v1\nkind: KafkaTopic\nmetadata: {name: a}\n\
                 spec: {partitions: 1, settings: {retention.ms: 1000, retention.bytes: 1, retention.msec: 1}}\n";
    std::fs::write(dir.join("topic.yaml"), topic).unwrap();
    let line = "? declared, but a data folder does not have these settings:\n    \
                KafkaTopic/a: retention.bytes, retention.msec\n";
    let plan = site.run(["bootstrap", "plan", "platform"]);
    assert!(plan.stdout.contains(line), "{plan}");
    assert_converges(&site, "platform", "created");
    let plan = site.run(["bootstrap", "plan", "platform"]);
    assert!(plan.stdout.contains("nothing to do") && plan.stdout.contains(line), "{plan}");
}
