//! The namespace: what stands before every name on the wire, and is taken off again in reading.

use mfctl_core::domain::{GroupName, TopicName};

/// Names as they are on the wire.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(super) fn wire(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A topic of ours; `None` for one of another namespace, and for Kafka's own.
    pub(super) fn topic(&self, wire: &str) -> Option<TopicName> {
        let name = wire.strip_prefix(&self.prefix)?;
        (!name.starts_with("__")).then(|| TopicName::new(name).ok().map(TopicName::interned)).flatten()
    }

    /// A group of ours.
    pub(super) fn group(&self, wire: &str) -> Option<GroupName> {
        GroupName::new(wire.strip_prefix(&self.prefix)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_namespace_are_ours() {
        let names = Names::new("a.");
        assert_eq!(names.topic(&names.wire("media.ingested")).unwrap().as_str(), "media.ingested");
        assert_eq!(names.topic("b.media.ingested"), None);
        assert_eq!(Names::new("").topic("__consumer_offsets"), None);
        assert_eq!(names.group("a.mfctl.dev.persist").unwrap().as_str(), "mfctl.dev.persist");
    }
}
