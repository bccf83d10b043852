//! The one form in which a declared value and the server's are compared. Servers rewrite what they are given: they trim and
//! reorder lists, fill in defaults and wrap single values. What is not in a table here is compared as it is, so that an unknown
//! form of a server is reported as drift, never overlooked.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

/// How Kafka reads the text of a topic's setting (`ConfigDef.Type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SettingType {
    Text,
    /// Items separated by commas, whose order says nothing.
    List,
    Integer,
    Decimal,
    Boolean,
}

/// The settings that are not `Text`: <https://kafka.apache.org/documentation/#topicconfigs>.
const TOPIC_SETTINGS: &[(&str, SettingType)] = &[
    ("cleanup.policy", SettingType::List),
    ("compression.gzip.level", SettingType::Integer),
    ("compression.lz4.level", SettingType::Integer),
    ("compression.zstd.level", SettingType::Integer),
    ("delete.retention.ms", SettingType::Integer),
    ("file.delete.delay.ms", SettingType::Integer),
    ("flush.messages", SettingType::Integer),
    ("flush.ms", SettingType::Integer),
    ("follower.replication.throttled.replicas", SettingType::List),
    ("index.interval.bytes", SettingType::Integer),
    ("leader.replication.throttled.replicas", SettingType::List),
    ("local.retention.bytes", SettingType::Integer),
    ("local.retention.ms", SettingType::Integer),
    ("max.compaction.lag.ms", SettingType::Integer),
    ("max.message.bytes", SettingType::Integer),
    ("message.downconversion.enable", SettingType::Boolean),
    ("message.timestamp.after.max.ms", SettingType::Integer),
    ("message.timestamp.before.max.ms", SettingType::Integer),
    ("message.timestamp.difference.max.ms", SettingType::Integer),
    ("min.cleanable.dirty.ratio", SettingType::Decimal),
    ("min.compaction.lag.ms", SettingType::Integer),
    ("min.insync.replicas", SettingType::Integer),
    ("preallocate", SettingType::Boolean),
    ("remote.log.copy.disable", SettingType::Boolean),
    ("remote.log.delete.on.disable", SettingType::Boolean),
    ("remote.storage.enable", SettingType::Boolean),
    ("retention.bytes", SettingType::Integer),
    ("retention.ms", SettingType::Integer),
    ("segment.bytes", SettingType::Integer),
    ("segment.index.bytes", SettingType::Integer),
    ("segment.jitter.ms", SettingType::Integer),
    ("segment.ms", SettingType::Integer),
    ("unclean.leader.election.enable", SettingType::Boolean),
];

/// The reason why Kafka would refuse the text of a topic's setting, as far as its type tells.
#[must_use]
pub fn topic_setting_refusal(name: &str, text: &str) -> Option<&'static str> {
    let text = text.trim();
    match setting_type(name) {
        SettingType::Integer if text.parse::<i64>().is_err() => Some("must be a whole number"),
        SettingType::Boolean if text.to_ascii_lowercase().parse::<bool>().is_err() => Some("must be true or false"),
        _ => None,
    }
}

fn setting_type(name: &str) -> SettingType {
    TOPIC_SETTINGS.iter().find(|(setting, _)| *setting == name).map_or(SettingType::Text, |(_, kind)| *kind)
}

/// The text of a topic's setting as Kafka stores it. Kafka trims all of them.
#[must_use]
pub fn topic_setting(name: &str, text: &str) -> String {
    let text = text.trim();
    let normal = match setting_type(name) {
        SettingType::Text => None,
        SettingType::List => Some(sorted_list(text)),
        SettingType::Integer => text.parse::<i64>().ok().map(|number| number.to_string()),
        SettingType::Decimal => text.parse::<f64>().ok().map(|number| number.to_string()),
        SettingType::Boolean => text.to_ascii_lowercase().parse::<bool>().ok().map(|flag| flag.to_string()),
    };
    normal.unwrap_or_else(|| text.to_owned())
}

fn sorted_list(text: &str) -> String {
    let mut items: Vec<&str> = text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    items.sort_unstable();
    items.dedup();
    items.join(",")
}

/// The policies of a Vault role as Vault stores them: trimmed, in lower case, each once, and `root` alone where it is among
/// them (`policyutil.SanitizePolicies`).
#[must_use]
pub fn vault_policies<'a>(names: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    let names = names.into_iter().map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty());
    let names: BTreeSet<String> = names.collect();
    if names.contains("root") { BTreeSet::from(["root".to_owned()]) } else { names }
}

/// A bucket's policy in one form. A single value means the list of it; the order of lists and of statements says nothing; every
/// principal (`"*"`) is `{"AWS": ["*"]}`; an empty `Sid`, `Id` or `Condition` is left out:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>.
#[must_use]
pub fn bucket_policy(policy: &Value) -> Value {
    let Value::Object(fields) = policy else { return policy.clone() };
    let normal = fields.iter().filter(|(name, value)| !is_unset(name, value)).map(|(name, value)| {
        match name.as_str() {
            "Statement" => (name.clone(), statements(value)),
            // As MinIO spells it.
            "ID" => ("Id".to_owned(), value.clone()),
            _ => (name.clone(), value.clone()),
        }
    });
    Value::Object(normal.collect())
}

fn statements(value: &Value) -> Value {
    let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let mut kept: Vec<Value> = Vec::new();
    for statement in all.iter().map(statement) {
        // MinIO keeps the first of statements that say the same under several labels.
        if !kept.iter().any(|earlier| without_label(earlier) == without_label(&statement)) {
            kept.push(statement);
        }
    }
    sorted(kept)
}

fn without_label(statement: &Value) -> Value {
    let mut statement = statement.clone();
    if let Value::Object(fields) = &mut statement {
        fields.remove("Sid");
    }
    statement
}

fn statement(value: &Value) -> Value {
    let Value::Object(fields) = value else { return value.clone() };
    let normal = fields.iter().filter(|(name, value)| !is_unset(name, value)).map(|(name, value)| {
        let value = match name.as_str() {
            "Action" | "NotAction" | "Resource" | "NotResource" => list(value, Value::clone),
            "Principal" | "NotPrincipal" => principals(value),
            "Condition" => conditions(value),
            _ => value.clone(),
        };
        (name.clone(), value)
    });
    Value::Object(normal.collect())
}

/// Whether a field says as much as its absence.
fn is_unset(name: &str, value: &Value) -> bool {
    match name {
        "Id" | "ID" | "Sid" => value == "",
        "Condition" => value.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

fn principals(value: &Value) -> Value {
    match value {
        Value::String(all) if all == "*" => json!({"AWS": ["*"]}),
        Value::Object(kinds) => {
            let normal = kinds.iter().map(|(kind, named)| {
                let aws = kind == "AWS";
                (kind.clone(), list(named, |one| if aws { account_root(one) } else { one.clone() }))
            });
            Value::Object(normal.collect())
        }
        other => other.clone(),
    }
}

/// The number of an account means its root user.
fn account_root(principal: &Value) -> Value {
    match principal.as_str() {
        Some(account) if account.len() == 12 && account.bytes().all(|digit| digit.is_ascii_digit()) => {
            json!(format!("arn:aws:iam::{account}:root"))
        }
        _ => principal.clone(),
    }
}

/// `{operator: {key: values}}`, where each value is text: `true` and 3600 are sent back as `"true"` and `"3600"`, and an
/// address as its network.
fn conditions(value: &Value) -> Value {
    let Value::Object(operators) = value else { return value.clone() };
    let of_operator = |operator: &str, keys: &Value| {
        let Value::Object(keys) = keys else { return keys.clone() };
        let one = if operator.contains("IpAddress") { network } else { text };
        let normal = keys.iter().map(|(key, values)| (key.clone(), list(values, one)));
        Value::Object(normal.collect())
    };
    Value::Object(operators.iter().map(|(operator, keys)| (operator.clone(), of_operator(operator, keys))).collect())
}

/// An address alone is the network of it; the bits behind the prefix say nothing.
fn network(value: &Value) -> Value {
    let address = value.as_str().map(str::trim).unwrap_or_default();
    let network = address.parse::<IpNet>().or_else(|_| address.parse::<IpAddr>().map(IpNet::from));
    network.map_or_else(|_| value.clone(), |network| json!(network.trunc().to_string()))
}

fn text(value: &Value) -> Value {
    match value {
        Value::Bool(_) | Value::Number(_) => Value::String(value.to_string()),
        other => other.clone(),
    }
}

fn list(value: &Value, one: impl Fn(&Value) -> Value) -> Value {
    let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    sorted(all.iter().map(one).collect())
}

fn sorted(mut values: Vec<Value>) -> Value {
    values.sort_by_cached_key(Value::to_string);
    values.dedup();
    Value::Array(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_settings_are_compared_as_kafka_reads_them() {
        for (name, declared, stored) in [
            ("cleanup.policy", " delete, compact ", "compact,delete"),
            ("retention.ms", " 0604800000", "604800000"),
            ("min.cleanable.dirty.ratio", "0.50", "0.5"),
            ("unclean.leader.election.enable", "FALSE", "false"),
            ("compression.type", " zstd", "zstd"),
            ("retention.ms", "a week", "a week"),
            ("setting.of.a.later.version", "a, b", "a, b"),
        ] {
            assert_eq!(topic_setting(name, declared), stored, "{name}");
            assert_eq!(topic_setting(name, stored), stored, "{name}");
        }
    }

    #[test]
    fn only_topic_settings_of_another_type_are_refused() {
        for (name, text, refused) in [
            ("retention.ms", "a week", true),
            ("retention.ms", "1.0", true),
            ("retention.ms", " +60000 ", false),
            ("preallocate", "yes", true),
            ("preallocate", "TRUE", false),
            ("min.cleanable.dirty.ratio", "1e-1", false),
            ("setting.of.a.later.version", "a, b", false),
        ] {
            assert_eq!(topic_setting_refusal(name, text).is_some(), refused, "{name} = {text}");
        }
    }

    #[test]
    fn addresses_are_compared_as_networks() {
        let stored = |address: &str| {
            bucket_policy(&json!({"Statement": {"Condition": {"NotIpAddress": {"aws:SourceIp": address}}}}))
        };
        assert_eq!(stored("10.1.2.3/8"), stored("10.0.0.0/8"));
        assert_eq!(stored("192.0.2.1"), stored("192.0.2.1/32"));
        assert_eq!(stored("2001:DB8:0::1/64"), stored("2001:db8::/64"));
        assert_ne!(stored("10.0.0.0/8"), stored("10.0.0.0/9"));
        assert_ne!(stored("elsewhere"), stored("10.0.0.0/9"));
    }

    #[test]
    fn policies_of_a_vault_role_are_compared_as_vault_stores_them() {
        let stored = |names: &[&str]| vault_policies(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(stored(&[" Worker", "worker", "", "a"]), stored(&["a", "worker"]));
        assert_eq!(stored(&["a", "root"]), stored(&["root"]));
        assert_ne!(stored(&["a"]), stored(&["a", "b"]));
    }

    #[test]
    fn policy_in_the_forms_of_servers_is_the_same() {
        let declared = json!({
            "Version": "2012-10-17",
            "Statement": {
                "Sid": "", "Effect": "Allow", "Principal": "*", "Action": ["s3:ListBucket", "s3:GetObject"],
                "Resource": "arn:aws:s3:::a/*", "Condition": {"Bool": {"aws:SecureTransport": true}},
            },
        });
        let stored = json!({
            "ID": "",
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject", "s3:ListBucket"],
                "Resource": ["arn:aws:s3:::a/*"], "Condition": {"Bool": {"aws:SecureTransport": ["true"]}},
            }],
        });
        assert_eq!(bucket_policy(&declared), bucket_policy(&stored));
        assert_eq!(bucket_policy(&bucket_policy(&stored)), bucket_policy(&stored));
        let labelled = |labels: &[&str]| {
            let statements: Vec<Value> = labels.iter().map(|sid| json!({"Sid": sid, "Effect": "Deny"})).collect();
            bucket_policy(&json!({"Statement": statements}))
        };
        assert_eq!(labelled(&["b", "a"]), labelled(&["b"]));
        assert_ne!(labelled(&["b"]), labelled(&["a"]));
        let account = |principal: &str| json!({"Statement": [{"Principal": {"AWS": principal}}]});
        assert_eq!(bucket_policy(&account("123456789012")), bucket_policy(&account("arn:aws:iam::123456789012:root")));
    }

    #[test]
    fn policies_that_allow_something_else_differ() {
        let policy = |field: &str, value: Value| {
            let mut policy = json!({"Statement": [{
                "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::a/*",
            }]});
            policy["Statement"][0][field] = value;
            bucket_policy(&policy)
        };
        let base = policy("Effect", json!("Allow"));
        for (field, value) in [
            ("Effect", json!("Deny")),
            ("Principal", json!({"AWS": "arn:aws:iam::123456789012:root"})),
            ("Principal", json!({"CanonicalUser": "*"})),
            ("Action", json!(["s3:GetObject", "s3:PutObject"])),
            ("Resource", json!("arn:aws:s3:::b/*")),
            ("Condition", json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})),
            ("Unknown", json!("x")),
        ] {
            assert_ne!(policy(field, value), base, "{field}");
        }
    }
}
