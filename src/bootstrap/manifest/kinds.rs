//! The kinds of resources a manifest may declare, and what each may say. The JSON Schemas for editors are made from these.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use mfctl_core::domain::compat::Compatibility;

macro_rules! kinds {
    ($( #[doc = $doc:literal] $Kind:ident($Spec:ident), )*) => {
        /// Kinds of resources, in the order in which they are made: what one needs comes before it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Kind { $( #[doc = $doc] $Kind, )* }

        /// What a manifest says of a resource.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Spec { $( #[doc = $doc] $Kind($Spec), )* }

        impl Kind {
            /// Every kind, in order.
            pub const ALL: &'static [Self] = &[ $( Self::$Kind, )* ];

            /// The kind as manifests write it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$Kind => stringify!($Kind), )* }
            }

            /// What it is, in a line.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $( Self::$Kind => $doc.trim_ascii(), )* }
            }

            /// The JSON Schema of its `spec`.
            #[must_use]
            pub fn spec_schema(self) -> Schema {
                match self { $( Self::$Kind => schemars::schema_for!($Spec), )* }
            }

            /// Reads a `spec` of this kind.
            ///
            /// # Errors
            /// The reader's words.
            pub fn read(self, spec: Value) -> Result<Spec, serde_json::Error> {
                match self { $( Self::$Kind => serde_json::from_value(spec).map(Spec::$Kind), )* }
            }
        }

        impl Spec {
            /// Its kind.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self { $( Self::$Kind(_) => Kind::$Kind, )* }
            }

            /// As a manifest would say it.
            ///
            /// # Errors
            /// Never for what a manifest can say.
            pub fn value(&self) -> Result<Value, serde_json::Error> {
                match self { $( Self::$Kind(spec) => serde_json::to_value(spec), )* }
            }
        }
    };
}

kinds! {
    /// The catalog's tables, roles and rights, by mfctl's numbered migrations.
    Database(DatabaseSpec),
    /// An engine of secrets, or a way to log in, mounted in Vault.
    VaultMount(VaultMountSpec),
    /// A policy of Vault.
    VaultPolicy(VaultPolicySpec),
    /// A role that programs log in to Vault as.
    VaultAppRole(VaultAppRoleSpec),
    /// A secret that must exist in Vault, with its fields; never what they say.
    VaultSecret(VaultSecretSpec),
    /// A policy of Consul.
    ConsulPolicy(ConsulPolicySpec),
    /// A token of Consul, whose secret goes into Vault.
    ConsulToken(ConsulTokenSpec),
    /// Configuration of a service, under `<env>/<service>/`.
    ConsulKeys(ConsulKeysSpec),
    /// A topic of Kafka.
    KafkaTopic(KafkaTopicSpec),
    /// A bucket.
    Bucket(BucketSpec),
    /// A JSON Schema under its subject.
    Schema(SchemaSpec),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text));
        found.copied().ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
            format!("{text:?} is no kind of resource; they are {}", all.join(", "))
        })
    }
}

/// Which set of migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MigrationSet {
    /// The media catalog.
    #[default]
    Media,
}

/// The catalog's database. Where it is, and with which role, is the profile's `database.admin_url`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSpec {
    /// The set of migrations that is to be applied whole.
    #[serde(default)]
    pub migrations: MigrationSet,
}

/// A mount; `metadata.name` is its path, which begins with `auth/` for a way to log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultMountSpec {
    /// Its type: `kv`, `pki`, `transit`, `approle`, `kubernetes`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The version of a `kv` engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_version: Option<u8>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// How long its leases last at most, such as `72h`; without it, as long as the server says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lease: Option<String>,
}

/// A policy of Vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultPolicySpec {
    /// What it allows, in Vault's language.
    pub rules: String,
}

/// A role that programs log in as; `metadata.name` is `<mount>/<role>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultAppRoleSpec {
    /// The policies of its tokens.
    pub policies: Vec<String>,
    /// How long a token lives before it must be renewed, such as `20m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ttl: Option<String>,
    /// How long a token lives in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_max_ttl: Option<String>,
    /// How long a secret id is good for; without it, for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_id_ttl: Option<String>,
    /// How often a secret id may be used; without it, without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_id_uses: Option<u64>,
}

/// Where a field's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FieldSource {
    /// Somebody puts it there; until then it is missing, and that is an error.
    Given,
    /// Made at random, once, when it is not there: this many bytes, written as hexadecimal digits.
    Random(RandomBytes),
}

/// How many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomBytes {
    /// From 16 to 256.
    #[schemars(range(min = 16, max = 256))]
    pub bytes: u16,
}

/// A secret; `metadata.name` is `<mount>/<path>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultSecretSpec {
    /// The engine it is in, where that is more than the name's first part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// Its fields.
    pub fields: BTreeMap<String, FieldSource>,
}

fn secret() -> String {
    "secret".to_owned()
}

/// A policy of Consul.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsulPolicySpec {
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it allows, in Consul's language.
    pub rules: String,
}

/// A token of Consul; `metadata.name` is its description, by which it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsulTokenSpec {
    /// The policies it has.
    pub policies: Vec<String>,
    /// Where its secret is kept: a field in Vault.
    pub store: SecretPlace,
}

/// A field in Vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretPlace {
    /// The engine.
    #[serde(default = "secret")]
    pub mount: String,
    /// The path below it.
    pub path: String,
    /// The field.
    #[serde(default = "token")]
    pub field: String,
}

fn token() -> String {
    "token".to_owned()
}

/// Configuration of a service; `metadata.name` is the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsulKeysSpec {
    /// Key and value. Text is written as it is, everything else as JSON.
    pub keys: BTreeMap<String, Value>,
}

/// A topic; `metadata.name` is its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaTopicSpec {
    /// How many partitions. There may come more, never fewer.
    #[schemars(range(min = 1))]
    pub partitions: u32,
    /// Replicas of each partition; a data folder has one whatever this says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<u16>,
    /// Settings of its own, by Kafka's names; one that is not named is left alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Value>,
}

/// How a bucket encrypts what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Encryption {
    /// With the store's own keys.
    #[serde(rename = "AES256")]
    Aes256,
    /// With a key service's.
    #[serde(rename = "aws:kms")]
    Kms,
}

/// A bucket; it is called `myfarsi-<env>-<metadata.name>`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BucketSpec {
    /// Its name where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Whether older versions are kept.
    #[serde(default)]
    pub versioned: bool,
    /// Days after which an object goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_after_days: Option<u32>,
    /// Days after which an older version goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_noncurrent_after_days: Option<u32>,
    /// Days after which an upload that was never finished is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_uploads_after_days: Option<u32>,
    /// How it encrypts what it is given; without it, as it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Its policy, a document of S3's; without it, the one it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Value>,
}

/// A schema; `metadata.name` is its subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemaSpec {
    /// The JSON Schema's file, beside the manifest; without it, the one of this mfctl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What a version must keep to towards those before it.
    #[serde(default = "backward_transitive")]
    #[schemars(with = "String")]
    pub compatibility: Compatibility,
}

const fn backward_transitive() -> Compatibility {
    Compatibility::BackwardTransitive
}
