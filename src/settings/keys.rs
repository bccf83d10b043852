//! The table of settings: name, type, default, bounds and purpose of each key.

use std::cmp::Ordering;
use std::path::PathBuf;
use std::time::Duration;

use super::error::Error;
use super::key::{Bounds, SettingKey, canonical, compare};
use super::origin::{Layer, LayerValue, RefusedSetting, ResolvedSetting};
use super::profile::{Profile, ProfileKind};
use super::resolver::Resolver;
use super::services::SERVICE_KEYS;
use super::value::{Auto, ByteSize, Percent, Ratio, RawValue, SettingValue, ValueKind};
use mfctl_core::domain::{EnvName, Tenant};

macro_rules! sections {
    ($(
        #[doc = $about:literal] $section:ident: $Section:ident {
            $( #[doc = $doc:literal] $field:ident: $type:ty = $default:literal in $min:literal..$max:literal, )*
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
            bounds: Some(Bounds { min: $min, max: $max }),
            check: canonical::<$type>,
            compare: compare::<$type>,
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

            /// Checks that every general setting has a value of its type.
            pub(super) fn check_general(resolver: &Resolver) -> Result<(), Error> {
                $( $Section::build(resolver)?; )*
                Ok(())
            }

            /// Puts a value in effect, above every layer; a value that is not of the setting's type changes nothing. A flag's
            /// value hides those of other layers that must not be used.
            pub fn put(&mut self, name: &str, value: LayerValue) {
                $( $( if name == concat!(stringify!($section), ".", stringify!($field)) {
                    let Some(parsed) = <$type as SettingValue>::parse(&value.raw) else { return };
                    self.$section.$field = parsed;
                } )* )*
                self.put_resolved(name, value);
            }
        }
    };
}

sections! {
    /// Bulk uploads.
    ingest: Ingest {
        /// Files that one `ingest` hashes and stages at the same time; more need more memory and open files. `auto` depends on the machine.
        concurrency: Auto = "auto" in "1".."1024",
        /// Bytes of the largest file that `ingest` takes; a larger one is rejected (`too_large`).
        max_size: ByteSize = "50GiB" in "1B".."5TiB",
        /// Share of the disk, in percent, that must stay free: `ingest` refuses to start when it would leave less.
        min_free_percent: Percent = "10" in "0".."100",
    }
    /// The pipeline's daemons.
    worker: Worker {
        /// Records that one worker processes at the same time, each with a parser's process in `enrich`; `auto` depends on the machine.
        concurrency: Auto = "auto" in "1".."1024",
        /// How long a stopping worker may take to finish records in flight.
        drain_timeout: Duration = "25s" in "1s".."1h",
        /// How long a dependency may be down before the worker ends with exit code 5; less than 5s would end it at a restart of a server.
        give_up_after: Duration = "2m" in "5s".."7d",
        /// A worker stops when a larger share of its latest records fails for one reason that points to the worker and not to the files; below 0.05 a few records would stop it.
        dead_letter_ratio: Ratio = "0.5" in "0.05".."1",
    }
    /// Limits of the parser process for one file.
    enrich: Enrich {
        /// Bytes that the parser's process may allocate for one file, beside those of the program itself; a file that needs more is a dead letter (`parser_memory`). Less than 192MiB does not decode every photo of 16 megapixels.
        memory: ByteSize = "512MiB" in "192MiB".."64GiB",
        /// Processor time that the parser's process may use for one file; a file that needs more is a dead letter (`parser_cpu`).
        cpu: Duration = "30s" in "2s".."1h",
        /// Time that the parser's process may take for one file, waiting included; a file that takes longer is a dead letter (`parser_timeout`).
        wall: Duration = "60s" in "5s".."2h",
        /// Pixels, width times height, that an image may declare; a larger one is a dead letter (`parser_limit`). Less than 16 megapixels would refuse photos of ordinary phones.
        max_pixels: u64 = "100000000" in "16000000".."10000000000",
        /// Bytes of text that are kept from one file, for search and `media get --derivative text`; the rest is cut off.
        max_text: ByteSize = "16MiB" in "4KiB".."1GiB",
    }
    /// How long records and objects are kept. Dead letters have no time limit.
    retention: Retention {
        /// Days that `ingest.raw` keeps its records; a worker that is down for longer misses some.
        ingest_raw_days: u32 = "30" in "1".."3650",
        /// Days that the `media.*` topics keep their records; a reader that is down for longer misses some.
        media_days: u32 = "14" in "1".."3650",
        /// Days that a staged object is kept; one that a dead letter still needs after that can no longer be redriven.
        staging_days: u32 = "180" in "1".."3650",
    }
    /// Service levels.
    slo: Slo {
        /// Seconds from staged to enriched that `latency_objective` of all assets keep to.
        latency_seconds: u32 = "60" in "1".."86400",
        /// The share of assets that keep to `latency_seconds`; below 0.01 the objective could hardly be missed.
        latency_objective: Ratio = "0.95" in "0.01".."1",
        /// The share of events that succeed without a dead letter; below 0.01 the objective could hardly be missed.
        success: Ratio = "0.995" in "0.01".."1",
    }
    /// Storage health.
    storage: Storage {
        /// Share of the disk, in percent, above which `status` and `top` warn that it is full.
        warn_percent: Percent = "80" in "1".."100",
    }
}

/// The keys of a profile: `[profile.NAME]`.
pub static PROFILE_KEYS: &[SettingKey] = &[
    profile_key(
        "profile.kind",
        "kind",
        ProfileKind::EXPECTS,
        "embedded",
        "Whether the platform is one data folder on this host (`embedded`) or servers (`cluster`).",
        false,
        Checks { check: canonical::<ProfileKind>, compare: compare::<ProfileKind> },
    ),
    profile_key(
        "profile.environment",
        "environment",
        EnvName::EXPECTS,
        "none: a profile must have one; the built-in `embedded` has dev",
        "The one environment of this profile; it names buckets, groups and transactional ids.",
        false,
        Checks { check: canonical::<EnvName>, compare: compare::<EnvName> },
    ),
    profile_key(
        "profile.data_dir",
        "data_dir",
        <PathBuf as SettingValue>::EXPECTS,
        "mfctl in the platform's data folder for `embedded`, mfctl-NAME for others",
        "The folder with everything of an embedded platform, and with this host's jobs and pin of a cluster. In a file, a relative path starts at the file's folder.",
        true,
        Checks { check: canonical::<PathBuf>, compare: compare::<PathBuf> },
    ),
    profile_key(
        "profile.tenant",
        "tenant",
        Tenant::EXPECTS,
        "default",
        "The tenant whose assets the profile works on: part of every asset's identity, fixed once data exists.",
        true,
        Checks { check: canonical::<Tenant>, compare: compare::<Tenant> },
    ),
    profile_key(
        "profile.protected",
        "protected",
        bool::EXPECTS,
        "false",
        "Whether dangerous verbs require the environment's name to be typed, or --yes --confirm ENV.",
        false,
        Checks { check: canonical::<bool>, compare: compare::<bool> },
    ),
    profile_key(
        "profile.actor",
        "actor",
        String::EXPECTS,
        "user@host",
        "Who changes are recorded as made by, in the history and the operator journal.",
        true,
        Checks { check: canonical::<String>, compare: compare::<String> },
    ),
];

const fn profile_key(
    name: &'static str,
    field: &'static str,
    expects: &'static str,
    default: &'static str,
    doc: &'static str,
    from_env: bool,
    checks: Checks,
) -> SettingKey {
    let kind = if matches!(field.as_bytes(), b"data_dir") { ValueKind::Path } else { ValueKind::Plain };
    let Checks { check, compare } = checks;
    let fallback_env = &[];
    let section = "profile";
    SettingKey {
        name,
        section,
        field,
        expects,
        default,
        doc,
        from_env,
        fallback_env,
        kind,
        bounds: None,
        check,
        compare,
    }
}

/// The functions that check a value of a key's type.
#[derive(Clone, Copy)]
struct Checks {
    check: fn(&RawValue) -> Option<String>,
    compare: fn(&RawValue, &str) -> Option<Ordering>,
}

impl Settings {
    /// The effective value of a key with its origin.
    #[must_use]
    pub fn resolved(&self, key: &str) -> Option<&ResolvedSetting> {
        self.resolved.iter().find(|resolved| resolved.key == key)
    }

    /// The values that would be in effect if they could be used.
    pub fn refused(&self) -> impl Iterator<Item = &RefusedSetting> {
        self.resolved.iter().flat_map(|resolved| &resolved.refused)
    }

    fn put_resolved(&mut self, name: &str, value: LayerValue) {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else { return };
        let Some(shown) = key.canonical(&value.raw) else { return };
        let Some(resolved) = self.resolved.iter_mut().find(|resolved| resolved.key == name) else { return };
        if value.origin.layer == Layer::Flag {
            resolved.refused.clear();
        }
        let below = std::mem::replace(&mut resolved.value, shown);
        let origin = std::mem::replace(&mut resolved.origin, value.origin);
        resolved.hidden.insert(0, (below, origin));
    }
}

/// The general setting with this full name, such as `enrich.memory`.
#[must_use]
pub fn general_key(name: &str) -> Option<&'static SettingKey> {
    KEYS.iter().find(|key| key.name == name)
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
    fn every_default_is_within_its_bounds_and_values_beyond_them_are_refused() {
        for key in all().filter(|key| key.bounds.is_some()) {
            let Bounds { min, max } = key.bounds.unwrap();
            for text in [min, max].into_iter().chain((key.default != super::super::key::NONE).then_some(key.default)) {
                assert_eq!(key.validate(&RawValue::Text(text.to_owned())), Ok(()), "{}", key.name);
            }
            // Bounds that compare are of the key's type and in order.
            assert_eq!((key.compare)(&RawValue::Text(min.to_owned()), max), Some(Ordering::Less), "{}", key.name);
        }
        let memory = general_key("enrich.memory").unwrap();
        assert_eq!(
            memory.validate(&RawValue::Text("24MiB".to_owned())).unwrap_err(),
            "enrich.memory is 24MiB, below its minimum of 192MiB (default 512MiB)"
        );
        for (name, senseless) in [
            ("worker.dead_letter_ratio", "0"),
            ("worker.give_up_after", "1s"),
            ("slo.success", "0"),
            ("slo.success", "1e-400"),
        ] {
            assert!(general_key(name).unwrap().validate(&RawValue::Text(senseless.to_owned())).is_err(), "{name}");
        }
        let secret = memory.validate(&RawValue::Text("hunter2".to_owned())).unwrap_err();
        assert!(secret.contains("from 192MiB to 64GiB (default 512MiB)") && !secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn what_is_expected_is_said_once() {
        for (name, given, message) in [
            ("storage.warn_percent", "170", "storage.warn_percent expects a whole number, from 1 to 100 (default 80)"),
            ("slo.latency_seconds", "abc", "slo.latency_seconds expects a whole number, from 1 to 86400 (default 60)"),
            ("slo.success", "2", "slo.success expects a number such as 0.95, from 0.01 to 1 (default 0.995)"),
            (
                "ingest.concurrency",
                "2000",
                "ingest.concurrency expects \"auto\" or a number, from 1 to 1024 (default auto)",
            ),
        ] {
            let problem = general_key(name).unwrap().validate(&RawValue::Text(given.to_owned())).unwrap_err();
            assert_eq!(problem, message);
        }
        for key in all() {
            assert_eq!(
                key.accepted().matches(" from ").count(),
                usize::from(key.bounds.is_some()),
                "{}",
                key.accepted()
            );
        }
    }

    #[test]
    fn every_general_setting_and_every_number_has_bounds() {
        assert!(KEYS.iter().all(|key| key.bounds.is_some()));
        let numbers = all().filter(|key| (key.compare)(&RawValue::Text("1".to_owned()), "1").is_some());
        assert_eq!(numbers.filter(|key| key.bounds.is_none()).map(|key| key.name).collect::<Vec<_>>(), [""; 0]);
    }

    #[test]
    fn every_description_says_more_than_the_name_of_its_key() {
        const FILLERS: [&str; 12] = ["the", "a", "of", "for", "in", "is", "and", "or", "to", "that", "with", "by"];
        for key in all() {
            let words = |text: &str| -> Vec<String> {
                text.to_lowercase()
                    .split(|c: char| !c.is_alphanumeric())
                    .map(|word| word.trim_end_matches('s').to_owned())
                    .collect()
            };
            let name = words(&key.name.replace('_', " "));
            let says = words(key.doc)
                .into_iter()
                .filter(|word| !word.is_empty() && !name.contains(word) && !FILLERS.contains(&word.as_str()));
            assert!(says.count() >= 4, "{}: {}", key.name, key.doc);
            assert!(key.doc.ends_with('.'), "{}: {}", key.name, key.doc);
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
