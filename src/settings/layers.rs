//! The combination of the layers: the chosen profile and its effective values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::discover::{CandidateFile, FileStatus, discover};
use super::edit::{FileToChange, Protection, no_such_profile};
use super::error::{Error, SettingsErrorKind};
use super::file::{self, FileLayer, ProfileTable};
use super::key::SettingKey;
use super::keys::{KEYS, PROFILE_KEYS, Settings};
use super::origin::{Layer, LayerValue, ResolvedSetting, SourceLocation, ValueOrigin};
use super::profile::{Profile, ProfileKind, ProfileName};
use super::resolver::Resolver;
use super::services::{SERVICE_KEYS, Services};
use super::sources::Sources;
use super::stored::{self, StoredSettings};
use super::suggest::did_you_mean;
use super::value::{RawValue, ValueKind};
use mfctl_core::domain::{EnvName, Tenant};

/// Variables that are not settings.
const OTHER_VARIABLES: [&str; 6] =
    ["MFCTL_PROFILE", "MFCTL_CONFIG", "MFCTL_ENV", "MFCTL_OUTPUT", "MFCTL_COLOR", "MFCTL_LOG"];

/// All layers, read and validated.
#[derive(Debug, Clone)]
pub struct Layers {
    sources: Sources,
    files: Vec<FileLayer>,
    variables: BTreeMap<&'static str, LayerValue>,
    stored: StoredSettings,
    warnings: Vec<String>,
    /// Whether a value of a file that must not be used leaves the value below it in effect, instead of being an error.
    is_tolerant: bool,
}

/// The chosen profile and the origin of the choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileChoice {
    /// Profile name.
    pub profile: ProfileName,
    /// Origin of the choice; the default layer when it is implied.
    pub origin: ValueOrigin,
}

/// What files give a profile.
#[derive(Debug, Clone, Default)]
pub struct ProfileValues {
    /// The value of each key, by the key's full name.
    pub values: BTreeMap<&'static str, (&'static SettingKey, RawValue)>,
    /// The services with a table.
    pub services: BTreeSet<&'static str>,
}

impl Layers {
    /// Reads every layer.
    ///
    /// # Errors
    /// The first invalid value, with its location.
    pub fn read(sources: &Sources) -> Result<Self, Error> {
        let layers = Self::read_tolerant(sources)?;
        layers.files.iter().try_for_each(FileLayer::check_values)?;
        Ok(Self { is_tolerant: false, ..layers })
    }

    /// Reads every layer for a worker, which works on where a general setting of a file must not be used: the value below it
    /// stays in effect, and [`Settings::refused`] lists it.
    ///
    /// # Errors
    /// A file that cannot be parsed, an unknown key, an invalid value of a profile or a variable, with its location.
    pub fn read_tolerant(sources: &Sources) -> Result<Self, Error> {
        Self::read_candidates(sources, discover(sources))
    }

    /// Reads every layer as [`Layers::read`] does, with this text in the place of a file.
    ///
    /// # Errors
    /// The first invalid value, with its location.
    pub(super) fn read_replacing(sources: &Sources, file: &FileToChange, text: &str) -> Result<Self, Error> {
        let mut candidates = discover(sources);
        let status = FileStatus::Read(text.to_owned());
        let is_file = |candidate: &&mut CandidateFile| {
            candidate.path == file.path && !matches!(candidate.status, FileStatus::Skipped(_))
        };
        match candidates.iter_mut().rev().find(is_file) {
            Some(candidate) => candidate.status = status,
            None => candidates.push(CandidateFile { layer: file.layer, path: file.path.clone(), status }),
        }
        let layers = Self::read_candidates(sources, candidates)?;
        layers.files.iter().try_for_each(FileLayer::check_values)?;
        Ok(Self { is_tolerant: false, ..layers })
    }

    fn read_candidates(sources: &Sources, candidates: Vec<CandidateFile>) -> Result<Self, Error> {
        let mut files: Vec<FileLayer> = Vec::new();
        for considered in candidates {
            match considered.status {
                FileStatus::Read(text) => {
                    let file = file::parse(considered.layer, &considered.path, &text)?;
                    check_project_profiles(&file, &files)?;
                    files.push(file);
                }
                FileStatus::Refused(error) => return Err(error),
                FileStatus::Absent | FileStatus::Skipped(_) => {}
            }
        }
        let (variables, warnings) = variables(sources)?;
        Ok(Self {
            sources: sources.clone(),
            files,
            variables,
            stored: StoredSettings::default(),
            warnings,
            is_tolerant: true,
        })
    }

    /// Adds mfctl's own settings of the configuration store of `env`: names below `<env>/mfctl/` with their values. They
    /// apply to every host, so they override the defaults and are overridden by every other layer. A value that must not be
    /// used leaves the one below it in effect, for any command: [`Settings::refused`] lists it.
    #[must_use]
    pub fn above_stored<'a>(mut self, env: &EnvName, found: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        self.stored = stored::read(env, found);
        self
    }

    /// Whether they were read by [`Layers::read_tolerant`].
    #[must_use]
    pub const fn is_tolerant(&self) -> bool {
        self.is_tolerant
    }

    /// Warnings about the entries of the configuration store.
    #[must_use]
    pub fn stored_warnings(&self) -> &[String] {
        &self.stored.warnings
    }

    /// Warnings, such as an unknown `MFCTL_…` variable.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The profiles that files define, each with the origin of its first definition.
    #[must_use]
    pub fn profiles(&self) -> Vec<(ProfileName, ValueOrigin)> {
        let mut defined: BTreeMap<ProfileName, ValueOrigin> = BTreeMap::new();
        for (name, table) in self.files.iter().flat_map(|file| &file.profiles) {
            defined.entry(name.clone()).or_insert_with(|| table.origin.clone());
        }
        defined.into_iter().collect()
    }

    /// Chooses the profile: `--profile`, else `MFCTL_PROFILE`, else `default_profile` of the user file; `embedded` is
    /// implied only when no file defines another profile, or by `--data-dir`.
    ///
    /// # Errors
    /// `Usage` when profiles are defined and none is chosen; `NotFound` when the chosen one is not defined.
    pub fn choose(&self) -> Result<ProfileChoice, Error> {
        let chosen = self.named_by_flag()?.or(self.named_by_variable()?).or_else(|| self.named_by_file());
        let Some(choice) = chosen else { return self.implied() };
        let defined = self.profiles();
        let name = &choice.profile;
        if name.as_str() == ProfileName::EMBEDDED || defined.iter().any(|(known, _)| known == name) {
            return Ok(choice);
        }
        let names: Vec<&str> = defined.iter().map(|(name, _)| name.as_str()).chain([ProfileName::EMBEDDED]).collect();
        let mut error = Error::new(SettingsErrorKind::NotFound, format!("there is no profile `{name}`"));
        if let Some(place) = choice.origin.location {
            error = error.at(place);
        }
        let meant = did_you_mean(name.as_str(), names.iter().copied()).map(|meant| format!("did you mean `{meant}`?"));
        Err(error.hint(format!("profiles: {}; `mfctl init` makes one", names.join(", "))).maybe_hint(meant))
    }

    fn named_by_flag(&self) -> Result<Option<ProfileChoice>, Error> {
        let Some(text) = &self.sources.flags.profile else { return Ok(None) };
        let location = SourceLocation::Flag("--profile");
        let profile = text.parse().map_err(|error: Error| error.at(location))?;
        Ok(Some(ProfileChoice { profile, origin: ValueOrigin::flag("--profile") }))
    }

    fn named_by_variable(&self) -> Result<Option<ProfileChoice>, Error> {
        let Some(text) = self.sources.env.get("MFCTL_PROFILE") else { return Ok(None) };
        let origin = ValueOrigin::variable("MFCTL_PROFILE");
        let profile =
            text.parse().map_err(|error: Error| error.at(SourceLocation::Variable("MFCTL_PROFILE".to_owned())))?;
        Ok(Some(ProfileChoice { profile, origin }))
    }

    fn named_by_file(&self) -> Option<ProfileChoice> {
        let (profile, origin) = self.files.iter().find_map(|file| file.default_profile.clone())?;
        Some(ProfileChoice { profile, origin })
    }

    fn implied(&self) -> Result<ProfileChoice, Error> {
        let defined = self.profiles();
        // Settings of the built-in profile add no other one to choose.
        let only_embedded = defined.iter().all(|(name, _)| name.as_str() == ProfileName::EMBEDDED);
        if only_embedded || self.sources.flags.data_dir.is_some() {
            let origin = if only_embedded { ValueOrigin::default_layer() } else { ValueOrigin::flag("--data-dir") };
            return Ok(ProfileChoice { profile: ProfileName::embedded(), origin });
        }
        let names: Vec<&str> =
            defined.iter().map(|(name, _)| name.as_str()).filter(|name| *name != ProfileName::EMBEDDED).collect();
        Err(Error::new(SettingsErrorKind::Usage, format!("profiles are defined and none is chosen: {}", join(&names)))
            .hint("choose with --profile NAME or MFCTL_PROFILE, or set default_profile in your own file"))
    }

    /// The effective settings of the chosen profile.
    ///
    /// # Errors
    /// As [`Layers::choose`]; a profile without an environment; an `--env` that differs from the profile's.
    pub fn settings(&self) -> Result<Settings, Error> {
        let choice = self.choose()?;
        self.settings_of(&choice.profile)
    }

    /// The effective settings of this profile.
    ///
    /// # Errors
    /// As [`Layers::settings`].
    pub fn settings_of(&self, name: &ProfileName) -> Result<Settings, Error> {
        let resolver = self.resolver(Some(name))?;
        let profile = self.profile(name, &resolver)?;
        self.assert_environment(&profile)?;
        Settings::build(profile, &resolver)
    }

    /// Effective value of every key; without a profile, of the general settings only.
    ///
    /// # Errors
    /// A profile without an environment.
    pub fn resolved(&self, profile: Option<&ProfileName>) -> Result<Vec<ResolvedSetting>, Error> {
        self.resolver(profile).map(|resolver| resolver.resolved())
    }

    /// Checks every profile that the file at `path` defines, and that the default one is defined. What was wrong in `before`
    /// already is no error: another change may mend it.
    ///
    /// # Errors
    /// The first problem, with its location where it has one.
    pub(super) fn check_profiles(&self, path: &Path, before: Option<&Self>) -> Result<(), Error> {
        for (name, _) in self.profiles() {
            if self.tables(&name).any(|(file, _)| file.path == path)
                && before.is_none_or(|before| before.is_sound(&name))
            {
                self.check_profile(&name)?;
            }
        }
        let is_known = before.is_some_and(|before| before.check_default().is_err());
        if is_known { Ok(()) } else { self.check_default() }
    }

    /// Whether the profile can be used, or is not defined.
    fn is_sound(&self, name: &ProfileName) -> bool {
        self.tables(name).next().is_none() || self.check_profile(name).is_ok()
    }

    fn check_default(&self) -> Result<(), Error> {
        let Some(ProfileChoice { profile, origin }) = self.named_by_file() else { return Ok(()) };
        if profile.as_str() == ProfileName::EMBEDDED || self.tables(&profile).next().is_some() {
            return Ok(());
        }
        let error = no_such_profile(self, &profile);
        Err(match origin.location {
            Some(place) => error.at(place),
            None => error,
        })
    }

    fn check_profile(&self, name: &ProfileName) -> Result<(), Error> {
        let resolver = self.resolver(Some(name))?;
        Settings::check_general(&resolver)?;
        Services::build(&resolver, |service| self.has_service(name, service))?;
        if resolver.typed::<ProfileKind>("profile.kind")? == ProfileKind::Embedded {
            self.tables(name).try_for_each(|(_, table)| table.check_embedded())?;
        }
        resolver.typed::<EnvName>("profile.environment")?;
        resolver.typed::<Tenant>("profile.tenant")?;
        resolver.typed::<bool>("profile.protected")?;
        resolver.typed::<String>("profile.actor").map(drop)
    }

    /// The protection of each profile that a file defines. One that cannot be resolved is left out.
    #[must_use]
    pub fn protections(&self) -> BTreeMap<ProfileName, Protection> {
        let protection = |name: &ProfileName| {
            let resolver = self.resolver(Some(name)).ok()?;
            let environment = resolver.typed::<EnvName>("profile.environment").ok()?;
            Some(Protection { environment, protected: resolver.typed::<bool>("profile.protected").ok()? })
        };
        self.profiles().into_iter().filter_map(|(name, _)| Some((name.clone(), protection(&name)?))).collect()
    }

    /// The layers of the files that define a profile, lowest first.
    #[must_use]
    pub fn files_with_profile(&self, name: &ProfileName) -> Vec<(Layer, PathBuf)> {
        self.tables(name).map(|(file, _)| (file.layer, file.path.clone())).collect()
    }

    /// The values that files give a profile, each with its key; paths are absolute. A service with an empty table has none.
    #[must_use]
    pub fn values_of_profile(&self, name: &ProfileName) -> ProfileValues {
        let mut values = ProfileValues::default();
        for (file, table) in self.tables(name) {
            values.services.extend(&table.services);
            for key in PROFILE_KEYS.iter().chain(SERVICE_KEYS).chain(KEYS) {
                if let Some(value) = table.values.get(key.name) {
                    let value = self.absolute_in(file.path.parent(), key, value.clone());
                    values.values.insert(key.name, (key, value.raw));
                }
            }
        }
        values
    }

    fn tables<'a>(&'a self, name: &'a ProfileName) -> impl Iterator<Item = (&'a FileLayer, &'a ProfileTable)> {
        self.files.iter().filter_map(move |file| file.profiles.get(name).map(|table| (file, table)))
    }

    fn resolver(&self, profile: Option<&ProfileName>) -> Result<Resolver, Error> {
        let mut resolver = Resolver::default();
        for key in KEYS {
            let default = key.default_raw().map(|raw| LayerValue::valid(raw, ValueOrigin::default_layer()));
            let stored = self.stored.values.get(key.name).cloned();
            let general = self.files.iter().filter_map(|file| file.general.get(key.name).cloned());
            let own = profile
                .into_iter()
                .flat_map(|name| self.tables(name))
                .filter_map(|(_, table)| table.values.get(key.name).cloned());
            let variable = self.variables.get(key.name).cloned();
            resolver.add(key, default.into_iter().chain(stored).chain(general).chain(own).chain(variable));
        }
        let Some(name) = profile else { return Ok(resolver) };
        for key in PROFILE_KEYS {
            let default =
                self.profile_default(name, key)?.map(|raw| LayerValue::valid(raw, ValueOrigin::default_layer()));
            let own = self.tables(name).filter_map(|(file, table)| {
                let candidate = table.values.get(key.name)?;
                Some(self.absolute_in(file.path.parent(), key, candidate.clone()))
            });
            let variable = self.variables.get(key.name).cloned();
            let variable = variable.map(|candidate| self.absolute_in(Some(&self.sources.cwd), key, candidate));
            resolver.add(key, default.into_iter().chain(own).chain(variable).chain(self.flag(key)));
        }
        for key in SERVICE_KEYS.iter().filter(|key| self.has_service(name, key.section)) {
            let default = key.default_raw().map(|raw| LayerValue::valid(raw, ValueOrigin::default_layer()));
            let own = self.tables(name).filter_map(|(file, table)| {
                let candidate = table.values.get(key.name)?;
                Some(self.absolute_in(file.path.parent(), key, candidate.clone()))
            });
            resolver.add(key, default.into_iter().chain(self.fallback_value(key)).chain(own));
        }
        Ok(resolver)
    }

    fn has_service(&self, profile: &ProfileName, service: &str) -> bool {
        self.tables(profile).any(|(_, table)| table.services.contains(service))
    }

    /// The value of another tool's variable; an invalid one counts as not set. A secret becomes a reference to it.
    fn fallback_value(&self, key: &SettingKey) -> Option<LayerValue> {
        let of_variable = |name: &'static str| match key.kind {
            ValueKind::Path => self.sources.path_in(name).map(RawValue::of_path),
            _ => self.sources.env.get(name).cloned().map(RawValue::Text),
        };
        let is_set = |raw: &RawValue| *raw != RawValue::Text(String::new());
        let set = |name: &&'static str| Some((*name, of_variable(name).filter(is_set)?));
        let (name, value) = key.fallback_env.iter().find_map(set)?;
        let raw = if key.kind == ValueKind::Secret { RawValue::Text(format!("env:{name}")) } else { value };
        key.canonical(&raw)?;
        Some(self.absolute_in(Some(&self.sources.cwd), key, LayerValue::valid(raw, ValueOrigin::variable(name))))
    }

    fn flag(&self, key: &SettingKey) -> Option<LayerValue> {
        let dir = self.sources.flags.data_dir.as_ref().filter(|_| key.name == "profile.data_dir")?;
        let path = self.sources.absolute(dir, &self.sources.cwd);
        Some(LayerValue::valid(RawValue::of_path(path), ValueOrigin::flag("--data-dir")))
    }

    fn absolute_in(&self, base: Option<&Path>, key: &SettingKey, candidate: LayerValue) -> LayerValue {
        let path = match &candidate.raw {
            RawValue::Text(text) if key.kind == ValueKind::Path => Path::new(text),
            RawValue::Path(path) => path.as_path(),
            _ => return candidate,
        };
        let Some(base) = base else { return candidate };
        LayerValue { raw: RawValue::of_path(self.sources.absolute(path, base)), ..candidate }
    }

    /// Default of a profile's key: the built-in profile has an environment, others must specify theirs.
    fn profile_default(&self, name: &ProfileName, key: &SettingKey) -> Result<Option<RawValue>, Error> {
        let embedded = name.as_str() == ProfileName::EMBEDDED;
        let text = match key.field {
            "environment" if embedded => "dev".to_owned(),
            "environment" => {
                self.has_environment(name)?;
                return Ok(None);
            }
            "data_dir" => {
                let folder = if embedded { "mfctl".to_owned() } else { format!("mfctl-{name}") };
                let Some(base) = self.sources.platform_data() else { return Ok(None) };
                return Ok(Some(RawValue::of_path(base.join(folder))));
            }
            "actor" => format!("{}@{}", self.sources.user, self.sources.host),
            _ => key.default.to_owned(),
        };
        Ok(Some(RawValue::Text(text)))
    }

    fn has_environment(&self, name: &ProfileName) -> Result<(), Error> {
        if self.tables(name).any(|(_, table)| table.values.contains_key("profile.environment")) {
            return Ok(());
        }
        let place = self.tables(name).next().and_then(|(_, table)| table.origin.location.clone());
        let error = Error::invalid(format!("profile `{name}` has no environment"))
            .hint("add environment = \"dev\" (or prod, …) to its table");
        Err(match place {
            Some(place) => error.at(place),
            None => error,
        })
    }

    fn profile(&self, name: &ProfileName, resolver: &Resolver) -> Result<Profile, Error> {
        let services = Services::build(resolver, |service| self.has_service(name, service))?;
        let kind = resolver.typed::<ProfileKind>("profile.kind")?;
        if kind == ProfileKind::Embedded {
            // Also where no file sets the kind: its servers would be announced, but its data folder used.
            self.tables(name).try_for_each(|(_, table)| table.check_embedded())?;
        }
        Ok(Profile {
            name: name.clone(),
            kind,
            environment: resolver.typed::<EnvName>("profile.environment")?,
            data_dir: self.data_dir(resolver)?,
            tenant: resolver.typed::<Tenant>("profile.tenant")?,
            protected: resolver.typed::<bool>("profile.protected")?,
            actor: resolver.typed::<String>("profile.actor")?,
            services,
        })
    }

    /// The path of the flag is used as it is, so that it need not be UTF-8.
    fn data_dir(&self, resolver: &Resolver) -> Result<PathBuf, Error> {
        if let Some(dir) = &self.sources.flags.data_dir {
            return Ok(self.sources.absolute(dir, &self.sources.cwd));
        }
        match resolver.winner("profile.data_dir") {
            Some(_) => resolver.typed::<PathBuf>("profile.data_dir"),
            None => {
                Err(Error::invalid("there is no home folder to keep data in").hint("give --data-dir or MFCTL_DATA_DIR"))
            }
        }
    }

    fn assert_environment(&self, profile: &Profile) -> Result<(), Error> {
        let by_flag = self.sources.flags.env.as_ref().map(|env| (env.to_string(), "--env"));
        let asserted = by_flag.or_else(|| self.sources.env.get("MFCTL_ENV").map(|env| (env.clone(), "MFCTL_ENV")));
        match asserted {
            Some((env, by)) if env != profile.environment.as_str() => {
                let message =
                    format!("profile `{}` is environment {}, but {by} says {env}", profile.name, profile.environment);
                Err(Error::new(SettingsErrorKind::Refused, message)
                    .hint("--env only asserts; choose another profile with --profile"))
            }
            _ => Ok(()),
        }
    }
}

fn join(names: &[&str]) -> String {
    if names.is_empty() { ProfileName::EMBEDDED.to_owned() } else { names.join(", ") }
}

/// A project file may add a profile but never change one that exists without it.
fn check_project_profiles(file: &FileLayer, below: &[FileLayer]) -> Result<(), Error> {
    if file.layer != Layer::Project {
        return Ok(());
    }
    let known: BTreeSet<&str> = below.iter().flat_map(|file| file.profiles.keys()).map(ProfileName::as_str).collect();
    for (name, table) in &file.profiles {
        if name.as_str() == ProfileName::EMBEDDED || known.contains(name.as_str()) {
            let error = Error::invalid(format!("the project file redefines profile `{name}`"))
                .hint("a project may add profiles under new names only");
            return Err(match &table.origin.location {
                Some(place) => error.at(place.clone()),
                None => error,
            });
        }
    }
    Ok(())
}

/// The settings of environment variables, with warnings.
fn variables(sources: &Sources) -> Result<(BTreeMap<&'static str, LayerValue>, Vec<String>), Error> {
    let known: BTreeMap<String, &'static SettingKey> =
        KEYS.iter().chain(PROFILE_KEYS).filter_map(|key| key.variable().map(|name| (name, key))).collect();
    let mut values = BTreeMap::new();
    let mut warnings = Vec::new();
    for (name, value) in sources.env_bytes.iter().filter(|(name, _)| name.starts_with("MFCTL_")) {
        match known.get(name) {
            Some(key) if key.kind == ValueKind::Path => {
                let raw = RawValue::of_path(value.into());
                values.insert(key.name, LayerValue::valid(raw, ValueOrigin::variable(name)));
            }
            _ if name == "MFCTL_CONFIG" => {}
            _ => return Err(Error::invalid("the value is not UTF-8").at(SourceLocation::Variable(name.clone()))),
        }
    }
    for (name, value) in sources.env.iter().filter(|(name, _)| name.starts_with("MFCTL_")) {
        let place = || SourceLocation::Variable(name.clone());
        let key = known.get(name);
        if value.is_empty() && (key.is_some() || OTHER_VARIABLES[..3].contains(&name.as_str())) {
            return Err(Error::invalid("the variable is empty").at(place()).hint("unset it, or give it a value"));
        }
        if let Some(key) = key {
            let raw = RawValue::Text(value.clone());
            key.validate(&raw).map_err(|problem| Error::invalid(problem).at(place()))?;
            values.insert(key.name, LayerValue::valid(raw, ValueOrigin::variable(name)));
        } else if let Some(warning) = unknown_variable(name, &known) {
            warnings.push(warning);
        }
    }
    Ok((values, warnings))
}

/// An unknown variable is probably a typo, unless a test or Kubernetes set it (for a service named mfctl).
fn unknown_variable(name: &str, known: &BTreeMap<String, &'static SettingKey>) -> Option<String> {
    let kubernetes = name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || name.contains("_PORT");
    if OTHER_VARIABLES.contains(&name) || name.starts_with("MFCTL_TEST_") || kubernetes {
        return None;
    }
    let names = known.keys().map(String::as_str).chain(OTHER_VARIABLES);
    let meant = did_you_mean(name, names).map(|meant| format!("; did you mean {meant}?"));
    Some(format!("the variable {name} is no setting of mfctl{}", meant.unwrap_or_default()))
}
