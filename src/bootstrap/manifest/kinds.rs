//! The kinds of resources that a manifest may declare, with the `spec` of each. The JSON Schemas for editors are generated
//! from these types and their doc comments.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use mfctl_core::domain::compat::Compatibility;

macro_rules! kinds {
    ($( #[doc = $doc:literal] $Kind:ident($Spec:ident), )*) => {
        /// Kinds of resources, in the order of creation: a kind comes after those it depends on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum ResourceKind { $( #[doc = $doc] $Kind, )* }

        /// The `spec` of a manifest.
        #[derive(Debug, Clone, PartialEq)]
        pub enum ResourceSpec { $( #[doc = $doc] $Kind($Spec), )* }

        impl ResourceKind {
            /// Every kind, in the order of creation.
            pub const ALL: &'static [Self] = &[ $( Self::$Kind, )* ];

            /// The kind's name in a manifest.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$Kind => stringify!($Kind), )* }
            }

            /// One-line description, for schemas and the head of a generated file.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $( Self::$Kind => $doc.trim_ascii(), )* }
            }

            /// The JSON Schema of the kind's `spec`.
            #[must_use]
            pub fn spec_schema(self) -> Schema {
                match self { $( Self::$Kind => schemars::schema_for!($Spec), )* }
            }

            /// Parses a `spec` of this kind.
            ///
            /// # Errors
            /// The deserializer's, for a missing, unknown or mistyped field.
            pub fn parse_spec(self, spec: Value) -> Result<ResourceSpec, serde_json::Error> {
                match self { $( Self::$Kind => serde_json::from_value(spec).map(ResourceSpec::$Kind), )* }
            }
        }

        impl ResourceSpec {
            /// The kind that the `spec` belongs to.
            #[must_use]
            pub const fn kind(&self) -> ResourceKind {
                match self { $( Self::$Kind(_) => ResourceKind::$Kind, )* }
            }

            /// The `spec` as a manifest has it.
            ///
            /// # Errors
            /// The serializer's; none for a `spec` that was parsed.
            pub fn to_value(&self) -> Result<Value, serde_json::Error> {
                match self { $( Self::$Kind(spec) => serde_json::to_value(spec), )* }
            }
        }
    };
}

kinds! {
    /// The catalog's tables, roles and grants, created by mfctl's numbered migrations.
    Database(DatabaseSpec),
    /// A secrets engine or auth method that is mounted in Vault.
    VaultMount(VaultMountSpec),
    /// A Vault policy.
    VaultPolicy(VaultPolicySpec),
    /// An AppRole with which programs log in to Vault.
    VaultAppRole(VaultAppRoleSpec),
    /// A secret that must exist in Vault, by its field names; never their values.
    VaultSecret(VaultSecretSpec),
    /// A Consul ACL policy.
    ConsulPolicy(ConsulPolicySpec),
    /// A Consul ACL token, whose secret is stored in Vault.
    ConsulToken(ConsulTokenSpec),
    /// Configuration of a service, under `<env>/<service>/`.
    ConsulKeys(ConsulKeysSpec),
    /// A Kafka topic.
    KafkaTopic(KafkaTopicSpec),
    /// An S3 bucket.
    Bucket(BucketSpec),
    /// A JSON Schema in the schema registry, under its subject.
    Schema(SchemaSpec),
}

impl ResourceKind {
    /// The field of the `spec` whose entries are settings: text as it is typed, or JSON where it is a list or a map.
    #[must_use]
    pub const fn settings_field(self) -> Option<&'static str> {
        match self {
            Self::ConsulKeys => Some("keys"),
            Self::KafkaTopic => Some("settings"),
            _ => None,
        }
    }

    /// Whether a value may be a secret that somebody wrote into the manifest by mistake, so that no message repeats it.
    #[must_use]
    pub const fn may_hold_secrets(self) -> bool {
        match self {
            Self::VaultSecret | Self::VaultAppRole | Self::ConsulToken | Self::ConsulKeys => true,
            Self::Database
            | Self::VaultMount
            | Self::VaultPolicy
            | Self::ConsulPolicy
            | Self::KafkaTopic
            | Self::Bucket
            | Self::Schema => false,
        }
    }

    /// The field of the `spec` that is a document in JSON.
    #[must_use]
    pub const fn json_field(self) -> Option<&'static str> {
        match self {
            Self::Bucket => Some("policy"),
            _ => None,
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ResourceKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let kind = Self::ALL.iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text));
        kind.copied().ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
            format!("{text:?} is not a kind of resource; the kinds are {}", all.join(", "))
        })
    }
}

/// A set of migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MigrationSet {
    /// The media catalog.
    #[default]
    Media,
}

/// The catalog's database. The profile's `database.admin_url` names the server and the role.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSpec {
    /// The set of migrations; all of them are applied.
    #[serde(default)]
    pub migrations: MigrationSet,
}

/// A mount; `metadata.name` is its path, which begins with `auth/` for an auth method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultMountSpec {
    /// Type of the engine or method: `kv`, `pki`, `transit`, `approle`, `kubernetes`.
    #[serde(rename = "type")]
    pub kind: String,
    /// KV version, 1 or 2; required for type `kv`, not needed for `kv-v1` and `kv-v2`, not allowed for other types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_version: Option<u8>,
    /// Description for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Maximum lease TTL, such as `72h`; without it, the server's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lease: Option<String>,
}

/// A Vault policy; `metadata.name` is its name, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultPolicySpec {
    /// Rules in HCL.
    pub rules: String,
}

/// An AppRole; `metadata.name` is `<mount>/<role>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultAppRoleSpec {
    /// Policies of the tokens that a login issues.
    pub policies: Vec<String>,
    /// TTL of a token, after which it expires unless renewed, such as `20m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ttl: Option<String>,
    /// Maximum TTL of a token, renewals included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_max_ttl: Option<String>,
    /// TTL of a secret id; without it, unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_id_ttl: Option<String>,
    /// Number of logins with one secret id; without it, unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_id_uses: Option<u64>,
}

/// Where the value of a secret's field comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretFieldSource {
    /// An operator stores it; until then the resource is refused.
    Given,
    /// Generated once, when the field is missing: this many random bytes, as hexadecimal digits.
    Random(RandomBytes),
}

/// Length of a generated value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomBytes {
    /// Number of random bytes, 16 to 256.
    #[schemars(range(min = 16, max = 256))]
    pub bytes: u16,
}

/// A secret; `metadata.name` is `<mount>/<path>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultSecretSpec {
    /// Mount path of the engine, where it is more than the first segment of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// Required fields of the secret, by name.
    pub fields: BTreeMap<String, SecretFieldSource>,
}

fn secret() -> String {
    "secret".to_owned()
}

/// A Consul ACL policy; `metadata.name` is its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsulPolicySpec {
    /// Description for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Rules in HCL.
    pub rules: String,
}

/// A Consul ACL token; `metadata.name` is its description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsulTokenSpec {
    /// Names of the policies that are linked to it.
    pub policies: Vec<String>,
    /// The field in Vault that holds its secret.
    pub store: SecretLocation,
}

/// A field of a secret in Vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretLocation {
    /// Mount path of the engine.
    #[serde(default = "secret")]
    pub mount: String,
    /// Path of the secret below the mount.
    pub path: String,
    /// Name of the field.
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
    /// Values by key. A list or map is written as JSON, any other value as it is typed.
    pub keys: BTreeMap<String, Value>,
}

/// A Kafka topic; `metadata.name` is its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaTopicSpec {
    /// Number of partitions. It can be increased, never decreased.
    #[schemars(range(min = 1))]
    pub partitions: u32,
    /// Replication factor; ignored in a data folder, which has one replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<u16>,
    /// Topic configuration by Kafka's names, as it is typed; a setting that is not named is left unchanged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Value>,
}

/// Default encryption of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BucketEncryptionSpec {
    /// Server-side encryption with the store's own keys.
    #[serde(rename = "AES256")]
    Aes256,
    /// Server-side encryption with the keys of a key management service.
    #[serde(rename = "aws:kms")]
    Kms,
}

/// A bucket, named `myfarsi-<env>-<metadata.name>`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BucketSpec {
    /// Name of the bucket, where it differs from that pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Whether versioning is enabled.
    #[serde(default)]
    pub versioned: bool,
    /// Days after which an object expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub expire_after_days: Option<u32>,
    /// Days after which a noncurrent version expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub expire_noncurrent_after_days: Option<u32>,
    /// Days after which an unfinished multipart upload is aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub abort_uploads_after_days: Option<u32>,
    /// Default encryption; without it, left unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<BucketEncryptionSpec>,
    /// Bucket policy, an S3 policy document; without it, left unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Value>,
}

/// A JSON Schema in the registry; `metadata.name` is its subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemaSpec {
    /// File with the JSON Schema, relative to the manifest; without it, the schema that is built into this mfctl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Compatibility level that the registry enforces on a new version.
    #[serde(default = "backward_transitive")]
    #[schemars(with = "String")]
    pub compatibility: Compatibility,
}

const fn backward_transitive() -> Compatibility {
    Compatibility::BackwardTransitive
}
