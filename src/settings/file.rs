//! Parsing of a configuration file: unknown keys and invalid values of a profile are errors with their line; a general setting
//! with an invalid value is kept with the reason, and [`FileLayer::check_values`] makes it an error.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Error;
use super::key::SettingKey;
use super::keys::{KEYS, PROFILE_KEYS, SECTIONS};
use super::origin::{Layer, LayerValue, SourceLocation, ValueOrigin};
use super::profile::{ProfileKind, ProfileName};
use super::secret::SecretRef;
use super::services::{SERVICE_KEYS, SERVICES};
use super::suggest::did_you_mean;
use super::value::{RawValue, SettingValue, ValueKind};

/// The settings of one file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FileLayer {
    pub(super) layer: Layer,
    pub(super) path: PathBuf,
    /// Settings outside the profiles, by their full name.
    pub(super) general: BTreeMap<&'static str, LayerValue>,
    pub(super) profiles: BTreeMap<ProfileName, ProfileTable>,
    pub(super) default_profile: Option<(ProfileName, ValueOrigin)>,
}

impl FileLayer {
    /// The error of the first general setting whose value must not be used.
    ///
    /// # Errors
    /// The reason, with the location of the value.
    pub(super) fn check_values(&self) -> Result<(), Error> {
        let all = self.general.values().chain(self.profiles.values().flat_map(|table| table.values.values()));
        for value in all {
            if let (Some(problem), Some(place)) = (&value.problem, &value.origin.location) {
                return Err(Error::invalid(problem).at(place.clone()));
            }
        }
        Ok(())
    }
}

/// The table of one profile in a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ProfileTable {
    pub(super) origin: ValueOrigin,
    /// The profile's keys, its services' and its own settings, by their full name.
    pub(super) values: BTreeMap<&'static str, LayerValue>,
    /// Services with a table, even an empty one.
    pub(super) services: BTreeSet<&'static str>,
}

impl ProfileTable {
    /// An embedded profile must not configure a service, which would never be used.
    ///
    /// # Errors
    /// The first service, with the location of the profile.
    pub(super) fn check_embedded(&self) -> Result<(), Error> {
        match (self.services.first(), &self.origin.location) {
            (Some(service), Some(place)) => {
                Err(Error::invalid(format!("an embedded profile has no {service}: everything is in its data folder"))
                    .at(place.clone())
                    .hint("set kind = \"cluster\", or take the service out"))
            }
            _ => Ok(()),
        }
    }
}

type TableEntry<'a, 'i> = (&'a Spanned<toml::de::DeString<'i>>, &'a Spanned<DeValue<'i>>);

/// Checks that a file is TOML.
///
/// # Errors
/// `Invalid` with the line.
pub(super) fn check_syntax(path: &Path, text: &str) -> Result<(), Error> {
    FileParser { layer: Layer::User, path, text }.document().map(drop)
}

/// Parses a file. Unknown keys are errors.
pub(super) fn parse(layer: Layer, path: &Path, text: &str) -> Result<FileLayer, Error> {
    let parser = FileParser { layer, path, text };
    let document = parser.document()?;
    let mut file = FileLayer {
        layer,
        path: path.to_path_buf(),
        general: BTreeMap::new(),
        profiles: BTreeMap::new(),
        default_profile: None,
    };
    for entry in document.get_ref() {
        parser.top_level(entry, &mut file)?;
    }
    Ok(file)
}

struct FileParser<'a> {
    layer: Layer,
    path: &'a Path,
    text: &'a str,
}

impl<'a> FileParser<'a> {
    fn document(&self) -> Result<Spanned<DeTable<'a>>, Error> {
        DeTable::parse(self.text).map_err(|error| {
            let message = error.message().replace('\n', ", ");
            Error::invalid(message).at(self.location(error.span().unwrap_or(0..0)))
        })
    }

    fn location(&self, span: Range<usize>) -> SourceLocation {
        let before = self.text.get(..span.start.min(self.text.len())).unwrap_or(self.text);
        SourceLocation::File { path: self.path.to_path_buf(), line: before.matches('\n').count() + 1 }
    }

    fn origin(&self, span: Range<usize>) -> ValueOrigin {
        ValueOrigin { layer: self.layer, location: Some(self.location(span)) }
    }

    fn top_level(&self, (name, value): TableEntry<'_, '_>, file: &mut FileLayer) -> Result<(), Error> {
        let word: &str = name.get_ref();
        match word {
            "default_profile" => {
                file.default_profile = Some(self.default_profile(name.span(), value)?);
                Ok(())
            }
            "profile" => {
                for (name, table) in self.table(word, value)? {
                    let profile =
                        name.get_ref().parse::<ProfileName>().map_err(|error| error.at(self.location(name.span())))?;
                    file.profiles.insert(profile, self.profile(name, table)?);
                }
                Ok(())
            }
            section if SECTIONS.iter().any(|(known, _)| *known == section) => {
                self.section(KEYS, section, value, &mut file.general)
            }
            unknown => {
                let known = SECTIONS.iter().map(|(name, _)| *name).chain(["default_profile", "profile"]);
                Err(self.unknown(unknown, name.span(), known))
            }
        }
    }

    fn default_profile(
        &self,
        span: Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(ProfileName, ValueOrigin), Error> {
        if self.layer != Layer::User {
            return Err(Error::invalid(format!("the {} file may not choose the default profile", self.layer.as_str()))
                .at(self.location(span))
                .hint("set default_profile in your own file (`mfctl config path` says where), or use --profile or MFCTL_PROFILE"));
        }
        let text = value.get_ref().as_str().ok_or_else(|| self.wrong("default_profile", "a profile's name", value))?;
        let name = text.parse::<ProfileName>().map_err(|error| error.at(self.location(span.clone())))?;
        Ok((name, self.origin(span)))
    }

    fn profile(
        &self,
        name: &Spanned<toml::de::DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<ProfileTable, Error> {
        let mut table =
            ProfileTable { origin: self.origin(name.span()), values: BTreeMap::new(), services: BTreeSet::new() };
        for (key, value) in self.table(name.get_ref(), value)? {
            let word: &str = key.get_ref();
            if let Some(known) = PROFILE_KEYS.iter().find(|known| known.field == word) {
                table.values.insert(known.name, self.candidate(known, key.span(), value)?);
            } else if SECTIONS.iter().any(|(section, _)| *section == word) {
                self.section(KEYS, word, value, &mut table.values)?;
            } else if let Some((service, _)) = SERVICES.iter().find(|(service, _)| *service == word) {
                table.services.insert(service);
                self.section(SERVICE_KEYS, word, value, &mut table.values)?;
            } else {
                let fields = PROFILE_KEYS.iter().map(|key| key.field);
                let known = fields.chain(SECTIONS.iter().chain(SERVICES).map(|(name, _)| *name));
                return Err(self.unknown(word, key.span(), known));
            }
        }
        self.services_fit(&table)?;
        Ok(table)
    }

    fn services_fit(&self, table: &ProfileTable) -> Result<(), Error> {
        let kind = table.values.get("profile.kind").and_then(|candidate| ProfileKind::parse(&candidate.raw));
        if kind == Some(ProfileKind::Embedded) { table.check_embedded() } else { Ok(()) }
    }

    fn section(
        &self,
        keys: &'static [SettingKey],
        section: &str,
        value: &Spanned<DeValue<'_>>,
        into: &mut BTreeMap<&'static str, LayerValue>,
    ) -> Result<(), Error> {
        for (name, value) in self.table(section, value)? {
            let word: &str = name.get_ref();
            let Some(key) = keys.iter().find(|key| key.section == section && key.field == word) else {
                let known = keys.iter().filter(|key| key.section == section).map(|key| key.field);
                return Err(self.unknown(&format!("{section}.{word}"), name.span(), known));
            };
            into.insert(key.name, self.candidate(key, name.span(), value)?);
        }
        Ok(())
    }

    fn candidate(
        &self,
        key: &SettingKey,
        span: Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<LayerValue, Error> {
        let parsed = raw(value.get_ref());
        if let (ValueKind::Secret, Some(RawValue::Text(text))) = (key.kind, &parsed) {
            SecretRef::parse(text).map_err(|error| error.at(self.location(value.span())))?;
        }
        // A value that is no scalar is of no setting's type, as the empty text.
        let raw = parsed.unwrap_or_else(|| RawValue::Text(String::new()));
        let candidate = LayerValue::checked(key, raw, self.origin(span));
        match &candidate.problem {
            // Without a valid profile there is no platform to work on.
            Some(problem) if key.name.starts_with("profile.") => {
                Err(Error::invalid(problem).at(self.location(value.span())))
            }
            _ => Ok(candidate),
        }
    }

    fn table<'v, 'i>(&self, name: &str, value: &'v Spanned<DeValue<'i>>) -> Result<&'v DeTable<'i>, Error> {
        value.get_ref().as_table().ok_or_else(|| self.wrong(name, "a table", value))
    }

    /// The value is not repeated: it may be a secret in the wrong place.
    fn wrong(&self, name: &str, expects: &str, value: &Spanned<DeValue<'_>>) -> Error {
        Error::invalid(format!("{name} expects {expects}")).at(self.location(value.span()))
    }

    fn unknown<'k>(&self, name: &str, span: Range<usize>, known: impl Iterator<Item = &'k str>) -> Error {
        let word = name.rsplit('.').next().unwrap_or(name);
        let meant = did_you_mean(word, known).map(|meant| format!("did you mean `{meant}`?"));
        Error::invalid(format!("unknown key `{name}`"))
            .at(self.location(span))
            .hint("`mfctl config show` lists every key")
            .maybe_hint(meant)
    }
}

/// A scalar value; an array of strings becomes one string, joined by commas (a list of brokers).
fn raw(value: &DeValue<'_>) -> Option<RawValue> {
    match value {
        DeValue::String(text) => Some(RawValue::Text(text.to_string())),
        DeValue::Boolean(value) => Some(RawValue::Bool(*value)),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(RawValue::Integer),
        DeValue::Float(number) => number.as_str().parse().ok().map(RawValue::Float),
        DeValue::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            texts.map(|texts| RawValue::Text(texts.join(",")))
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}
