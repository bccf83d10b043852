//! Random manifests of every kind, with values in the forms in which operators type them.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use crate::support::ON_STACK;
use crate::support::stack::env;

/// Texts that formats may misread.
const AWKWARD_TEXTS: [&str; 17] = [
    "",
    "null",
    "~",
    "yes",
    "No",
    "1e3",
    "0x1F",
    "012",
    "1_000",
    "a: b",
    "# no comment",
    "{x: [1, 2]}",
    "سلام",
    "👩‍👩‍👧",
    "  spaces  ",
    "\ttab\r\n",
    "line\n\n  and line\n",
];
/// Scalars that are typed without quotes.
const PLAIN_SCALARS: [&str; 13] =
    ["0755", "1.10", "09121234567", "+98", "1e3", "0x1F", "true", "Off", "1_000", "12:30:45", ".5", "2026-11-30", "-0"];
/// Marks a text that is written into the file without quotes.
const PLAIN: char = '\u{e000}';

/// A manifest as it is typed.
pub struct RandomManifest {
    pub kind: &'static str,
    pub name: String,
    spec: Value,
    /// A file that the spec refers to: name and content.
    pub file: Option<(String, String)>,
}

impl RandomManifest {
    /// The document in YAML, whose flow style is that of JSON.
    pub fn text(&self) -> String {
        let (kind, name) = (self.kind, json!(self.name));
        let spec = self.spec.to_string().replace(&format!("\"{PLAIN}"), "").replace(&format!("{PLAIN}\""), "");
        format!("apiVersion: mfctl/v1\nkind: {kind}\nmetadata:\n  name: {name}\nspec: {spec}\n")
    }
}

/// The platform whose manifests are made up.
pub struct Platform {
    /// Prefix of everything that has to be unique on shared servers; the environment.
    pub name: String,
}

impl Platform {
    /// One or more manifests of every kind.
    pub fn random_manifests(&self, random: &mut Rng) -> Vec<RandomManifest> {
        let own = &self.name;
        let kv = format!("{own}-kv");
        let mut made = vec![
            ("Database", "media".to_owned()),
            ("VaultMount", format!("auth/{own}-approle")),
            ("VaultMount", kv.clone()),
            ("VaultMount", format!("{own}-more/m{}", random.u16(..))),
        ];
        for number in 0..random.usize(1..4) {
            made.push(("VaultPolicy", format!("{own}-p{number}")));
            made.push(("VaultAppRole", format!("{own}-approle/role.{number}")));
            made.push(("VaultSecret", format!("{kv}/some/Where-{number}")));
            made.push(("ConsulPolicy", format!("{own}-P{number}")));
            made.push(("ConsulToken", format!("{own}-token-{number}")));
            made.push(("ConsulKeys", format!("svc-{number}")));
            made.push(("KafkaTopic", format!("others.{number}")));
            made.push(("Bucket", format!("others-{number}")));
            made.push(("Schema", format!("others.{number}-value")));
        }
        made.into_iter().map(|(kind, name)| self.manifest(random, kind, name, None)).collect()
    }

    /// The same resource with another spec that the servers accept as a change.
    pub fn changed(&self, random: &mut Rng, manifest: RandomManifest) -> RandomManifest {
        self.manifest(random, manifest.kind, manifest.name, Some(&manifest.spec))
    }

    /// Removes what would stay on the shared Vault.
    pub fn unmount(&self) {
        let own = &self.name;
        for mount in [format!("mounts/{own}-kv"), format!("auth/{own}-approle")] {
            let url = format!("{}/v1/sys/{mount}", env("STACK_VAULT"));
            let token = format!("X-Vault-Token: {}", env("STACK_VAULT_TOKEN"));
            let removed = std::process::Command::new("curl").args(["-sf", "-X", "DELETE", "-H", &token, &url]).status();
            assert!(removed.unwrap().success(), "{url}");
        }
    }

    fn manifest(&self, random: &mut Rng, kind: &'static str, name: String, before: Option<&Value>) -> RandomManifest {
        let mut file = None;
        let spec = match kind {
            "Database" => optional(random, json!({}), "migrations", json!("media")),
            "VaultMount" => mount(random, &name, before),
            "VaultPolicy" => json!({"rules": vault_rules(random, &self.name)}),
            "VaultAppRole" => app_role(random, &self.name),
            "VaultSecret" => json!({"fields": secret_fields(random)}),
            "ConsulPolicy" => consul_policy(random, &self.name),
            "ConsulToken" => json!({
                "policies": repeated(random, &format!("{}-P0", self.name)),
                "store": {"mount": format!("{}-kv", self.name), "path": format!("consul/{name}")},
            }),
            "ConsulKeys" => json!({"keys": settings(random)}),
            "KafkaTopic" => topic(random, before),
            "Bucket" => bucket(random, &format!("myfarsi-{}-{name}", self.name), before),
            "Schema" => {
                let schema = schema(random);
                file = Some((format!("{name}.json"), schema));
                json!({"file": format!("{name}.json"), "compatibility": one_of(random, &["NONE", "BACKWARD", "FULL_TRANSITIVE"])})
            }
            other => panic!("no manifest of kind {other} is made up"),
        };
        RandomManifest { kind, name, spec, file }
    }
}

fn one_of<'a>(random: &mut Rng, choices: &[&'a str]) -> &'a str {
    choices[random.usize(..choices.len())]
}

/// The scalar without quotes.
fn plain(scalar: impl std::fmt::Display) -> Value {
    json!(format!("{PLAIN}{scalar}{PLAIN}"))
}

fn optional(random: &mut Rng, mut spec: Value, field: &str, value: Value) -> Value {
    if random.bool() {
        spec[field] = value;
    }
    spec
}

/// The value alone, or in a list in which it is repeated.
fn repeated(random: &mut Rng, value: &str) -> Value {
    let count = random.usize(1..3);
    json!(vec![value; count])
}

/// A list of one to all of the choices in any order.
fn some_of(random: &mut Rng, choices: &[&str]) -> Vec<Value> {
    let mut choices: Vec<Value> = choices.iter().map(|choice| json!(choice)).collect();
    random.shuffle(&mut choices);
    choices.truncate(random.usize(1..=choices.len()));
    choices
}

/// A single value, or a list.
fn one_or_list(random: &mut Rng, values: Vec<Value>) -> Value {
    match values.as_slice() {
        [one] if random.bool() => one.clone(),
        _ => Value::Array(values),
    }
}

fn text(random: &mut Rng) -> String {
    match random.u8(0..4) {
        0 => (0..random.usize(1..40)).map(|_| random.char(' '..='~')).collect(),
        1 => random.u64(..).to_string(),
        _ => one_of(random, &AWKWARD_TEXTS).to_owned(),
    }
}

fn duration(random: &mut Rng) -> String {
    let number = random.u32(1..90);
    let unit = one_of(random, &["s", "m", "h"]);
    format!("{number}{unit}")
}

fn mount(random: &mut Rng, name: &str, before: Option<&Value>) -> Value {
    let mut spec = match before {
        Some(before) => json!({"type": before["type"]}),
        None if name.starts_with("auth/") => json!({"type": "approle"}),
        None if name.ends_with("-kv") => json!({"type": "kv", "kv_version": 2}),
        None => json!({"type": one_of(random, &["kv", "transit", "pki"])}),
    };
    if let Some(version) = before.and_then(|before| before.get("kv_version")) {
        spec["kv_version"] = version.clone();
    } else if spec["type"] == "kv" && spec.get("kv_version").is_none() {
        spec["kv_version"] = json!(random.u8(1..3));
    }
    let (description, lease) = (text(random), duration(random));
    let spec = optional(random, spec, "description", json!(description));
    optional(random, spec, "max_lease", json!(lease))
}

fn vault_rules(random: &mut Rng, own: &str) -> String {
    let rules = format!("path \"{own}/{}/*\" {{\n  capabilities = [\"read\", \"list\"]\n}}", random.u16(..));
    awkward_rules(random, &rules)
}

/// Rules with comments, white space and line ends as editors leave them.
fn awkward_rules(random: &mut Rng, rules: &str) -> String {
    let comment = one_of(random, &["", "# خواندن\n", "\n\n", "# a\r\n", "\t"]);
    let end = one_of(random, &["", "\n", "\n\n", "  \n", "\r\n"]);
    let rules = format!("{comment}{rules}{end}");
    if random.bool() { rules.replace('\n', "\r\n") } else { rules }
}

fn app_role(random: &mut Rng, own: &str) -> Value {
    let own_policies = [format!("{own}-p0"), format!(" {own}-p1"), format!("{own}-P0"), "default".to_owned()];
    let own_policies: Vec<&str> = own_policies.iter().map(String::as_str).collect();
    let spec = json!({"policies": some_of(random, &own_policies)});
    let (token_ttl, secret_id_ttl) = (duration(random), duration(random));
    let spec = optional(random, spec, "token_ttl", json!(token_ttl));
    let spec = optional(random, spec, "token_max_ttl", json!("2160h"));
    let spec = optional(random, spec, "secret_id_ttl", json!(secret_id_ttl));
    let uses = random.u32(0..9);
    optional(random, spec, "secret_id_uses", json!(uses))
}

fn secret_fields(random: &mut Rng) -> Value {
    let names = some_of(random, &["key", "a b", "a/b", "a.b", "~x", "کلید", "Key", "0755", "fields.key"]);
    let fields = names.into_iter().map(|name| {
        let bytes = random.u16(16..=256);
        (name.as_str().unwrap_or_default().to_owned(), json!({"random": {"bytes": bytes}}))
    });
    Value::Object(fields.collect())
}

fn consul_policy(random: &mut Rng, own: &str) -> Value {
    let rules = format!("key_prefix \"{own}/{}\" {{ policy = \"read\" }}", random.u16(..));
    let (rules, description) = (awkward_rules(random, &rules), text(random));
    optional(random, json!({"rules": rules}), "description", json!(description))
}

/// Settings of a service, typed in every way.
fn settings(random: &mut Rng) -> Value {
    let mut keys = Map::new();
    for _ in 0..random.usize(0..12) {
        let value = match random.u8(0..5) {
            0 => plain(one_of(random, &PLAIN_SCALARS)),
            1 => json!([text(random), random.i32(..), 1.5, null, true]),
            2 => json!({"b": text(random), "a": {"z": [], "y": {}}}),
            3 => json!(random.i64(..)),
            _ => json!(text(random)),
        };
        keys.insert(format!("k_{}", random.u8(0..30)), value);
    }
    Value::Object(keys)
}

fn topic(random: &mut Rng, before: Option<&Value>) -> Value {
    // Partitions can be added, and the clean-up changed, on Kafka alone.
    let partitions = match before {
        Some(before) if ON_STACK => before["partitions"].as_u64().unwrap_or(1) + random.u64(0..3),
        Some(before) => before["partitions"].as_u64().unwrap_or(1),
        None => random.u64(1..4),
    };
    let replication = before.map_or_else(|| json!(random.u8(1..4)), |before| before["replication"].clone());
    let mut settings = Map::new();
    let forms: [(&str, Vec<Value>); 11] = [
        (
            "cleanup.policy",
            match ON_STACK {
                true => vec![json!(" compact , delete "), json!("delete,compact"), json!(" compact"), json!("delete")],
                false => vec![json!(" compact"), json!("delete ")],
            },
        ),
        ("retention.ms", vec![plain("060000"), json!(" 60000 "), json!(-1), json!(86_400_000_u64), plain("+70000")]),
        ("retention.bytes", vec![json!(-1), json!("1048576 "), plain("9223372036854775807")]),
        ("min.cleanable.dirty.ratio", vec![json!(0.50), json!("0.50"), json!(1), plain("1e-1"), plain(".25")]),
        ("unclean.leader.election.enable", vec![json!("FALSE"), json!(true), json!(" true ")]),
        ("compression.type", vec![json!("zstd"), json!(" lz4"), json!("producer")]),
        ("max.message.bytes", vec![json!(1_048_588), plain("01048588")]),
        ("message.timestamp.type", vec![json!("LogAppendTime"), json!("CreateTime ")]),
        ("min.insync.replicas", vec![json!(1), plain("01")]),
        ("leader.replication.throttled.replicas", vec![json!("*"), json!("0:1, 1:2"), json!("1:2,0:1"), json!("")]),
        ("segment.bytes", vec![json!(1_073_741_824), json!("0104857600")]),
    ];
    for (setting, values) in forms {
        if random.bool() {
            settings.insert(setting.to_owned(), values[random.usize(..values.len())].clone());
        }
    }
    if let Some(before) = before.filter(|_| !ON_STACK) {
        settings.remove("cleanup.policy");
        settings
            .extend(before["settings"].get("cleanup.policy").map(|kept| ("cleanup.policy".to_owned(), kept.clone())));
    }
    let spec = json!({"partitions": partitions, "replication": replication});
    optional(random, spec, "settings", Value::Object(settings))
}

fn bucket(random: &mut Rng, bucket: &str, before: Option<&Value>) -> Value {
    let versioned = before.is_some_and(|before| before["versioned"] == true) || random.bool();
    let mut spec = json!({"versioned": versioned});
    for field in ["expire_after_days", "expire_noncurrent_after_days", "abort_uploads_after_days"] {
        let days = random.u32(1..4000);
        spec = optional(random, spec, field, json!(days));
    }
    let policy = policy(random, bucket);
    optional(random, spec, "policy", policy)
}

fn policy(random: &mut Rng, bucket: &str) -> Value {
    let mut statements: Vec<Value> = (0..random.usize(1..4)).map(|_| statement(random, bucket)).collect();
    if random.bool() {
        let mut again = statements[0].clone();
        again["Sid"] = json!(one_of(random, &["", "again"]));
        statements.push(again);
    }
    let policy = json!({"Version": "2012-10-17", "Statement": one_or_list(random, statements)});
    let id = text(random);
    optional(random, policy, "Id", json!(id))
}

fn statement(random: &mut Rng, bucket: &str) -> Value {
    let of_bucket = random.bool();
    let (actions, resource) = match of_bucket {
        true => (["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"], "".to_owned()),
        false => (
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            format!("/{}", one_of(random, &["*", "a/*", "سلام/?"])),
        ),
    };
    let principal = [json!("*"), json!({"AWS": "*"}), json!({"AWS": ["*"]})];
    let actions = some_of(random, &actions);
    let lists_only = actions == [json!("s3:ListBucket")];
    let resource = vec![json!(format!("arn:aws:s3:::{bucket}{resource}"))];
    let statement = json!({
        "Effect": one_of(random, &["Allow", "Deny"]), "Principal": principal[random.usize(..principal.len())],
        "Action": one_or_list(random, actions), "Resource": one_or_list(random, resource),
    });
    let sid = one_of(random, &["", "one", "two"]);
    let statement = optional(random, statement, "Sid", json!(sid));
    let mut conditions = vec![
        json!({}),
        json!({"IpAddress": {"aws:SourceIp": ["10.1.2.3/8", "192.0.2.1"]}, "Bool": {"aws:SecureTransport": true}}),
        json!({"NotIpAddress": {"aws:SourceIp": "2001:DB8::1/64"}}),
        json!({"Bool": {"aws:SecureTransport": "false"}}),
        json!({"StringLike": {"aws:Referer": ["https://b.example/*", "https://a.example/*"]}}),
        json!({"StringEquals": {"aws:Referer": one_of(random, &["x", "سلام"])}}),
        json!({"Null": {"aws:Referer": [true]}}),
        json!({"DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}),
    ];
    if lists_only {
        conditions.push(json!({"StringNotEquals": {"s3:prefix": "a"}, "NumericLessThanEquals": {"s3:max-keys": 10}}));
    }
    let condition = conditions.swap_remove(random.usize(..conditions.len()));
    optional(random, statement, "Condition", condition)
}

/// A JSON Schema whose versions differ in what compatibility does not depend on.
fn schema(random: &mut Rng) -> String {
    let title = json!(text(random));
    let number = one_of(random, &["1", "1.0", "1e3", "0.1", "12345678901234567890", "1.7976931348623157e308", "-0.0"]);
    let end = one_of(random, &["", "\n", "\r\n"]);
    format!(
        "{{\"type\": \"object\",  \"title\": {title}, \"$schema\": \"http://json-schema.org/draft-07/schema#\", \
         \"properties\": {{\"b\": {{\"type\": \"number\", \"default\": {number}}}, \"a\": {{\"type\": \"string\"}}}}}}{end}"
    )
}
