//! Layered configuration in which every value knows its origin. Reads files and the environment, independent of any backend.
//!
//! Layers, each overriding the one before: defaults, the configuration store of the environment, the system file, the user
//! file, the project file, environment variables (`MFCTL_…`), flags. A profile's own settings override the general ones of
//! every file, so that a project file cannot change a profile it did not add. One table ([`KEYS`] and [`PROFILE_KEYS`])
//! drives parsing, variables, `config explain`, the file that `init` writes and the reference.
//!
//! Only `cli`, `connect`, `daemon` and `ops` (for the target of a profile) may import this; every other module takes the few
//! values it needs.

mod discover;
pub mod edit;
mod error;
mod file;
mod key;
mod keys;
mod layers;
mod origin;
mod profile;
mod resolver;
mod secret;
mod services;
mod sources;
pub mod stored;
mod suggest;
mod template;
mod value;

pub use discover::{CandidateFile, FileStatus, discover, text_of_file};
pub use error::{Error, SettingsErrorKind};
pub use key::{Bounds, SettingKey};
pub use keys::{
    Enrich, Ingest, KEYS, PROFILE_KEYS, Retention, Settings, Slo, Storage, Worker, all as all_keys, general_key,
};
pub use layers::{Layers, ProfileChoice, ProfileValues};
pub use mfctl_core::humane::parse_duration;
pub use origin::{Layer, LayerValue, RefusedSetting, ResolvedSetting, SourceLocation, ValueOrigin};
pub use profile::{Profile, ProfileKind, ProfileName};
pub use secret::SecretRef;
pub use services::{
    Brokers, ConsulServer, Database, Kafka, KafkaSecurity, Postgrest, Registry, S3, SERVICE_KEYS, SaslMechanism,
    ServiceEndpoint, Services, Url, VaultServer,
};
pub use sources::{Flags, Sources};
pub use suggest::{did_you_mean, nearest};
pub use template::{NewProfile, commented_file, is_protected_name, reference};
pub use value::{Auto, ByteSize, Percent, Ratio, RawValue, SettingValue, ValueKind};

#[cfg(test)]
mod tests;
