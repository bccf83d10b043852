//! The contract of `TopicAdmin`.

use std::collections::BTreeMap;

use mfctl_core::domain::TopicName;
use mfctl_core::ports::{ErrorKind, TopicAdmin, TopicState};

use crate::contract::harness::{Fixture, fails_as};

/// Every case of this suite, for a harness that returns an empty log.
macro_rules! topic_admin_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::topic_admin:
            topic_round_trips,
            existing_topic_is_not_created_again,
            altering_one_setting_keeps_the_others,
            unknown_settings_and_invalid_values_are_refused,
            partitions_are_never_removed,
            missing_topic_can_be_deleted_but_not_altered,
        );
    };
}
pub(crate) use topic_admin_suite;

type Admin = Fixture<dyn TopicAdmin>;

fn topic(name: &str, settings: &[(&str, &str)]) -> TopicState {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    TopicState { name: TopicName::new(name).unwrap(), partitions: 3, replication: 1, settings }
}

async fn state(f: &Admin, name: &TopicName) -> TopicState {
    let states = f.port.describe_topics().await.unwrap();
    states.into_iter().find(|state| state.name == *name).unwrap()
}

pub async fn topic_round_trips(f: Admin) {
    assert!(f.port.describe_topics().await.unwrap().is_empty());
    let kept = topic("b.kept", &[("retention.ms", "-1"), ("cleanup.policy", "compact")]);
    let short = topic("a.short", &[("retention.ms", "3600755"), ("cleanup.policy", "delete")]);
    f.port.create_topic(&kept).await.unwrap();
    f.port.create_topic(&short).await.unwrap();
    assert_eq!(f.port.describe_topics().await.unwrap(), [short, kept]);
}

pub async fn existing_topic_is_not_created_again(f: Admin) {
    let one = topic("a", &[("retention.ms", "1000"), ("cleanup.policy", "delete")]);
    f.port.create_topic(&one).await.unwrap();
    fails_as(f.port.create_topic(&topic("a", &[])).await, ErrorKind::Conflict);
    assert_eq!(state(&f, &one.name).await, one);
}

pub async fn altering_one_setting_keeps_the_others(f: Admin) {
    let one = topic("a", &[("retention.ms", "1000"), ("cleanup.policy", "delete")]);
    f.port.create_topic(&one).await.unwrap();
    let change = BTreeMap::from([("retention.ms".to_owned(), Some("2755".to_owned()))]);
    f.port.alter_configs(&one.name, &change).await.unwrap();
    f.port.alter_configs(&one.name, &change).await.unwrap();
    let wanted = topic("a", &[("retention.ms", "2755"), ("cleanup.policy", "delete")]);
    assert_eq!(state(&f, &one.name).await, wanted);
}

pub async fn unknown_settings_and_invalid_values_are_refused(f: Admin) {
    let one = topic("a", &[("retention.ms", "1000"), ("cleanup.policy", "delete")]);
    f.port.create_topic(&one).await.unwrap();
    for (setting, value) in [("no.such.setting", "1"), ("retention.ms", "soon")] {
        let change = BTreeMap::from([(setting.to_owned(), Some(value.to_owned()))]);
        fails_as(f.port.alter_configs(&one.name, &change).await, ErrorKind::Invalid);
        fails_as(f.port.create_topic(&topic("b", &[(setting, value)])).await, ErrorKind::Invalid);
    }
    assert_eq!(f.port.describe_topics().await.unwrap(), [one]);
}

pub async fn partitions_are_never_removed(f: Admin) {
    let one = topic("a", &[("retention.ms", "1000"), ("cleanup.policy", "delete")]);
    f.port.create_topic(&one).await.unwrap();
    f.port.add_partitions(&one.name, 3).await.unwrap();
    fails_as(f.port.add_partitions(&one.name, 2).await, ErrorKind::Invalid);
    assert_eq!(state(&f, &one.name).await, one);
}

pub async fn missing_topic_can_be_deleted_but_not_altered(f: Admin) {
    let name = TopicName::new("nothing").unwrap();
    f.port.delete_topic(&name).await.unwrap();
    let change = BTreeMap::from([("retention.ms".to_owned(), Some("1000".to_owned()))]);
    fails_as(f.port.alter_configs(&name, &change).await, ErrorKind::NotFound);
    fails_as(f.port.add_partitions(&name, 4).await, ErrorKind::NotFound);
}
