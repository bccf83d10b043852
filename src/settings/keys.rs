//! The table of settings: name, type, default and purpose of each key.

use std::path::PathBuf;
use std::time::Duration;

use super::error::Error;
use super::key::{SettingKey, canonical};
use super::origin::ResolvedSetting;
use super::profile::{Profile, ProfileKind};
use super::resolver::Resolver;
use super::services::SERVICE_KEYS;
use super::value::{Auto, ByteSize, Percent, Ratio, RawValue, SettingValue, ValueKind};
use mfctl_core::domain::{EnvName, Tenant};

macro_rules! sections {
    ($(
        #[doc = $about:literal] $section:ident: $Section:ident {
            $( #[doc = $doc:literal] $field:ident: $type:ty = $default:literal, )*
        }
    )*) => {
        $(
            #[doc = $about]
            #[derive(Debug, Clone, PartialEq)]
            pub struct $Section {
                $( #[doc = $doc] pub $field: $type, )*
            }

            impl $Section {
                fn build(resolver: &Resolver) -> Result<Self, Error> {
                    Ok(Self { $( $field: resolver.typed(concat!(stringify!($section), ".", stringify!($field)))?, )* })
                }
            }
        )*

        /// Every general setting, in display order.
        pub static KEYS: &[SettingKey] = &[ $( $( SettingKey {
            name: concat!(stringify!($section), ".", stringify!($field)),
            section: stringify!($section),
            field: stringify!($field),
            expects: <$type as SettingValue>::EXPECTS,
            default: $default,
            doc: $doc.trim_ascii(),
            from_env: true,
            fallback_env: &[],
            kind: <$type as SettingValue>::KIND,
            check: canonical::<$type>,
        }, )* )* ];

        /// Sections with their descriptions, in display order.
        pub(super) static SECTIONS: &[(&str, &str)] = &[ $( (stringify!($section), $about.trim_ascii()), )* ];

        /// The effective settings, parsed and validated.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Settings {
            /// Profile that the command works on.
            pub profile: Profile,
            $( #[doc = $about] pub $section: $Section, )*
            /// Effective value of every key with its origin and the values it overrides.
            pub resolved: Vec<ResolvedSetting>,
        }

        impl Settings {
            pub(super) fn build(profile: Profile, resolver: &Resolver) -> Result<Self, Error> {
                Ok(Self { profile, $( $section: $Section::build(resolver)?, )* resolved: resolver.resolved() })
            }
        }
    };
}

sections! {
    /// Bulk uploads.
    ingest: Ingest {
        /// Files hashed and staged at the same time; `auto` depends on the machine.
        concurrency: Auto = "auto",
        /// Larger files are rejected.
        max_size: ByteSize = "50GiB",
        /// Ingest refuses to start when it would leave less than this of the disk free.
        min_free_percent: Percent = "10",
    }
    /// The pipeline's daemons.
    worker: Worker {
        /// Records processed at the same time; `auto` depends on the machine.
        concurrency: Auto = "auto",
        /// How long a stopping worker may take to finish records in flight.
        drain_timeout: Duration = "25s",
        /// How long a dependency may be down before the worker ends with exit code 5.
        give_up_after: Duration = "2m",
        /// A worker that sends a larger share of its latest records to dead letters stops: something else is wrong.
        dead_letter_ratio: Ratio = "0.5",
    }
    /// Limits of the parser process for one file.
    enrich: Enrich {
        /// Memory.
        memory: ByteSize = "512MiB",
        /// Processor time.
        cpu: Duration = "30s",
        /// Elapsed time.
        wall: Duration = "60s",
        /// Pixels that an image may declare.
        max_pixels: u64 = "100000000",
        /// Text that is kept from one file.
        max_text: ByteSize = "16MiB",
    }
    /// How long records and objects are kept. Dead letters have no time limit.
    retention: Retention {
        /// Days that `ingest.raw` keeps its records.
        ingest_raw_days: u32 = "30",
        /// Days that the `media.*` topics keep their records.
        media_days: u32 = "14",
        /// Days that a staged object is kept.
        staging_days: u32 = "180",
    }
    /// Service levels.
    slo: Slo {
        /// Seconds from staged to enriched that `latency_objective` of all assets keep to.
        latency_seconds: u32 = "60",
        /// The share of assets that keep to `latency_seconds`.
        latency_objective: Ratio = "0.95",
        /// The share of events that succeed without a dead letter.
        success: Ratio = "0.995",
    }
    /// Storage health.
    storage: Storage {
        /// Storage that is fuller than this causes a warning.
        warn_percent: Percent = "80",
    }
}

/// The keys of a profile: `[profile.NAME]`.
pub static PROFILE_KEYS: &[SettingKey] = &[
    profile_key(
        "profile.kind",
        "kind",
        ProfileKind::EXPECTS,
        "embedded",
        "The kind of platform: on this host, or on servers.",
        false,
        canonical::<ProfileKind>,
    ),
    profile_key(
        "profile.environment",
        "environment",
        EnvName::EXPECTS,
        "none: a profile must have one; the built-in `embedded` has dev",
        "The one environment of this profile; it names buckets, groups and transactional ids.",
        false,
        canonical::<EnvName>,
    ),
    profile_key(
        "profile.data_dir",
        "data_dir",
        <PathBuf as SettingValue>::EXPECTS,
        "mfctl in the platform's data folder for `embedded`, mfctl-NAME for others",
        "The data folder. In a file, a relative path starts at the file's folder.",
        true,
        canonical::<PathBuf>,
    ),
    profile_key(
        "profile.tenant",
        "tenant",
        Tenant::EXPECTS,
        "default",
        "The tenant whose assets the profile works on: part of every asset's identity, fixed once data exists.",
        true,
        canonical::<Tenant>,
    ),
    profile_key(
        "profile.protected",
        "protected",
        bool::EXPECTS,
        "false",
        "Whether dangerous verbs require the environment's name to be typed, or --yes --confirm ENV.",
        false,
        canonical::<bool>,
    ),
    profile_key(
        "profile.actor",
        "actor",
        String::EXPECTS,
        "user@host",
        "The actor that is recorded with changes.",
        true,
        canonical::<String>,
    ),
];

const fn profile_key(
    name: &'static str,
    field: &'static str,
    expects: &'static str,
    default: &'static str,
    doc: &'static str,
    from_env: bool,
    check: fn(&RawValue) -> Option<String>,
) -> SettingKey {
    let kind = if matches!(field.as_bytes(), b"data_dir") { ValueKind::Path } else { ValueKind::Plain };
    SettingKey { name, section: "profile", field, expects, default, doc, from_env, fallback_env: &[], kind, check }
}

/// Every key: of profiles, of their services, and general.
pub fn all() -> impl Iterator<Item = &'static SettingKey> {
    PROFILE_KEYS.iter().chain(SERVICE_KEYS).chain(KEYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_valid_and_canonical() {
        for key in KEYS {
            let raw = key.default_raw().unwrap();
            let shown = key.canonical(&raw).unwrap_or_else(|| panic!("{}: {}", key.name, key.default));
            assert_eq!(key.canonical(&RawValue::Text(shown.clone())), Some(shown), "{}", key.name);
        }
    }

    #[test]
    fn every_key_has_a_unique_variable() {
        let mut names: Vec<String> = KEYS.iter().chain(PROFILE_KEYS).filter_map(SettingKey::variable).collect();
        assert!(names.contains(&"MFCTL_WORKER_DRAIN_TIMEOUT".to_owned()));
        assert!(names.contains(&"MFCTL_DATA_DIR".to_owned()));
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
