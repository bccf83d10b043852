//! The metadata of a file: from flags, its sidecar and its manifest row. All of it is checked against the events' limits
//! here, so that encoding an event never fails on what a user declared.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::json_fields::{self, JsonFields, JsonKind, reason_in_line, value_as_typed};
use super::read::{self, refusal};
use super::rules::FileRules;
use super::spec::JobSpec;
use mfctl_core::domain::event::Metadata;
use mfctl_core::domain::job::{FileRefusal, RefusalKind};
use mfctl_core::domain::path::ShownPath as _;

/// The largest sidecar or manifest row, in bytes.
pub const MAX_BYTES: u64 = 256 * 1024;
/// The locale of files for which none is declared: "undetermined" in BCP 47.
pub const NO_LOCALE: &str = "und";

const MAX_TITLE: usize = 1024;
const MAX_COLLECTION: usize = 256;
const MAX_ENTRIES: usize = 256;
const MAX_TAG: usize = 1024;
const MAX_TAG_NAME: usize = 256;

/// The largest metadata of one file after everything said of it is merged, in bytes of JSON: with it, an event still fits
/// into a record.
const MAX_MERGED_BYTES: usize = 512 * 1024;

/// The metadata in a sidecar or a manifest row. A field that is null says nothing; fields without a meaning of their own
/// are custom fields. In those, a number that JSON would have as another text is its text as it is typed.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct DeclaredMetadata {
    /// The title, of at most 1024 characters.
    pub title: Option<String>,
    /// The collection, of at most 256 characters.
    pub collection: Option<String>,
    /// The locale, in the form of BCP 47.
    pub locale: Option<String>,
    /// Tags by name; a bare name has an empty value.
    tags: BTreeMap<String, String>,
    /// Custom fields.
    pub custom: BTreeMap<String, Value>,
}

impl DeclaredMetadata {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// Why the text is invalid, for the user.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
            return Err("it is UTF-16; save it as UTF-8".to_owned());
        }
        let text = text.strip_prefix(super::entries::BOM).unwrap_or(text);
        Self::from_fields(json_fields::fields(text).map_err(|error| error.to_string())?)
    }

    /// Reads the fields of a JSON object.
    ///
    /// # Errors
    /// The field that is invalid, and why, for the user.
    pub(super) fn from_fields(fields: JsonFields<'_>) -> Result<Self, String> {
        let mut declared = Self::default();
        for (name, value) in fields.into_iter().filter(|(_, value)| is_said(value)) {
            match name.as_str() {
                "title" => declared.title = Some(text_of(&name, value)?),
                "collection" => declared.collection = Some(text_of(&name, value)?),
                "locale" => declared.locale = Some(parse_locale(&text_of(&name, value)?)?),
                "tags" => declared.tags = tags_of(value)?,
                // A field beside `custom` overrides the one of its name in it.
                "custom" => {
                    for (name, value) in custom_of(value)? {
                        declared.custom.entry(name).or_insert(value);
                    }
                }
                _ => {
                    let value = custom_value(&name, value)?;
                    declared.custom.insert(name, value);
                }
            }
        }
        declared.check()?;
        Ok(declared)
    }

    /// Sets the tags from `k=v` texts.
    ///
    /// # Errors
    /// The tag that has two values, for the user.
    pub fn set_tags(&mut self, tags: Vec<String>) -> Result<(), String> {
        self.tags = tags_by_name(tags)?;
        Ok(())
    }

    /// The tags by name; a bare name has an empty value.
    #[must_use]
    pub fn tags(&self) -> BTreeMap<String, String> {
        self.tags.clone()
    }

    /// Checks the limits of events.
    ///
    /// # Errors
    /// The limit that is exceeded, for the user.
    pub fn check(&self) -> Result<(), String> {
        if let Some(title) = &self.title {
            check_length("the title", title, MAX_TITLE)?;
        }
        if let Some(collection) = &self.collection {
            check_collection(collection)?;
        }
        if let Some(locale) = &self.locale {
            check_locale(locale)?;
        }
        check_tags(&self.tags)?;
        check_custom(&self.custom)
    }
}

/// Whether a value says anything.
fn is_said(value: &RawValue) -> bool {
    JsonKind::of(value) != JsonKind::Null
}

/// The text of a field.
pub(super) fn text_of(field: &str, value: &RawValue) -> Result<String, String> {
    match JsonKind::of(value) {
        JsonKind::Text => {
            serde_json::from_str(value.get()).map_err(|error| format!("{field}: {}", reason_in_line(&error)))
        }
        other => Err(format!("{field} is {other}, not a text")),
    }
}

/// Tags: an object, or a list of `k=v` or bare names.
fn tags_of(value: &RawValue) -> Result<BTreeMap<String, String>, String> {
    let unreadable = |error: serde_json::Error| format!("tags: {}", reason_in_line(&error));
    match JsonKind::of(value) {
        JsonKind::Object => {
            let tags = json_fields::fields(value.get().as_bytes()).map_err(unreadable)?;
            let said = tags.into_iter().filter(|(_, value)| is_said(value));
            said.map(|(name, value)| Ok((name.clone(), text_of(&format!("tags: {name:?}"), value)?))).collect()
        }
        JsonKind::List => {
            let tags: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(unreadable)?;
            let said = tags.into_iter().filter(|value| is_said(value));
            let tags = said.map(|value| text_of("tags: an entry", value)).collect::<Result<Vec<_>, _>>()?;
            tags_by_name(tags).map_err(|error| format!("tags: {error}"))
        }
        other => Err(format!("tags is {other}, not an object or a list")),
    }
}

fn custom_of(value: &RawValue) -> Result<BTreeMap<String, Value>, String> {
    match JsonKind::of(value) {
        JsonKind::Object => {
            let fields = json_fields::fields(value.get().as_bytes()).map_err(|error| format!("custom: {error}"))?;
            let said = fields.into_iter().filter(|(_, value)| is_said(value));
            said.map(|(name, value)| Ok((name.clone(), custom_value(&name, value)?))).collect()
        }
        other => Err(format!("custom is {other}, not an object")),
    }
}

/// The value of a custom field, with numbers as they are typed.
fn custom_value(name: &str, value: &RawValue) -> Result<Value, String> {
    value_as_typed(value).map_err(|error| format!("{name}: {}", reason_in_line(&error)))
}

/// The tags of `k=v` texts by name.
///
/// # Errors
/// The tag that has two values, for the user.
pub fn tags_by_name(tags: impl IntoIterator<Item = impl AsRef<str>>) -> Result<BTreeMap<String, String>, String> {
    let mut by_name = BTreeMap::new();
    for (name, value) in tags.into_iter().map(|tag| split_tag(tag.as_ref())) {
        match by_name.get(&name) {
            Some(other) if *other != value => {
                return Err(format!("{name} is given twice, with the values {other:?} and {value:?}"));
            }
            _ => by_name.insert(name, value),
        };
    }
    Ok(by_name)
}

/// Splits `k=v` into name and value; a bare name has an empty value.
fn split_tag(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.trim().to_owned(), value.to_owned())
}

/// Checks a tag against the limits of events.
///
/// # Errors
/// Why it is invalid, for the user.
pub fn check_tag(name: &str, value: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a tag has no name".to_owned());
    }
    check_length("a tag's name", name, MAX_TAG_NAME)?;
    check_length("a tag's value", value, MAX_TAG)
}

/// Checks all tags of a file against the limits of events.
///
/// # Errors
/// Why they are invalid, for the user.
pub fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), String> {
    if tags.len() > MAX_ENTRIES {
        return Err(format!("{} tags, more than {MAX_ENTRIES}", tags.len()));
    }
    tags.iter().try_for_each(|(name, value)| check_tag(name, value))
}

fn check_custom(custom: &BTreeMap<String, Value>) -> Result<(), String> {
    if custom.len() > MAX_ENTRIES {
        return Err(format!("{} custom fields, more than {MAX_ENTRIES}", custom.len()));
    }
    Ok(())
}

/// Checks a collection's name against the limits of events.
///
/// # Errors
/// Why it is invalid, for the user.
pub fn check_collection(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("the collection's name is empty".to_owned());
    }
    check_length("the collection's name", name, MAX_COLLECTION)
}

/// Reads a locale in the form of BCP 47 (`fa-IR`), or of POSIX (`fa_IR`, `fa_IR.UTF-8`, `sr_RS@latin`; XBD 8.2), as `LANG` has
/// it. The result has the form of BCP 47: without the encoding, which says nothing of the language. `C` and `POSIX` are
/// [`NO_LOCALE`].
///
/// # Errors
/// That it has neither form, for the user.
pub fn parse_locale(given: &str) -> Result<String, String> {
    let invalid = |_| {
        let shown: String = given.chars().take(40).collect();
        format!("{shown:?} is not a locale, such as fa-IR or fa_IR.UTF-8")
    };
    let (rest, modifier) = given.split_once('@').map_or((given, None), |(rest, modifier)| (rest, Some(modifier)));
    let (name, encoding) = rest.split_once('.').map_or((rest, None), |(name, encoding)| (name, Some(encoding)));
    if matches!(name, "C" | "POSIX") {
        return Ok(NO_LOCALE.to_owned());
    }
    if modifier.is_none() && encoding.is_none() && !name.contains('_') {
        check_locale(name).map_err(invalid)?;
        return Ok(name.to_owned());
    }
    let is_encoding = |text: &str| {
        !text.is_empty()
            && text.len() <= 32
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if encoding.is_some_and(|encoding| !is_encoding(encoding)) {
        return Err(invalid(String::new()));
    }
    let mut parts: Vec<String> = name.split(['_', '-']).map(str::to_owned).collect();
    for (index, part) in parts.iter_mut().enumerate() {
        // ISO 639 in lower case, ISO 3166 in upper case (RFC 5646, 2.1.1).
        match (index, part.len()) {
            (0, _) => part.make_ascii_lowercase(),
            (_, 2) => part.make_ascii_uppercase(),
            _ => {}
        }
    }
    match modifier.map(str::to_ascii_lowercase).as_deref() {
        // A currency, which the language does not depend on.
        None | Some("euro") => {}
        Some("latin") => parts.insert(1, "Latn".to_owned()),
        Some("cyrillic") => parts.insert(1, "Cyrl".to_owned()),
        Some("devanagari") => parts.insert(1, "Deva".to_owned()),
        Some(variant) => parts.push(variant.to_owned()),
    }
    let locale = parts.join("-");
    check_locale(&locale).map_err(invalid)?;
    Ok(locale)
}

/// Checks that a locale has the form of BCP 47.
///
/// # Errors
/// That it has not, for the user.
pub fn check_locale(locale: &str) -> Result<(), String> {
    let mut parts = locale.split('-');
    let language =
        parts.next().is_some_and(|part| (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphabetic()));
    let rest = parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()));
    if language && rest && locale.len() <= 35 {
        return Ok(());
    }
    let shown: String = locale.chars().take(40).collect();
    Err(format!("{shown:?} is not a BCP 47 locale, such as fa-IR"))
}

fn check_length(what: &str, text: &str, max: usize) -> Result<(), String> {
    let chars = text.chars().count();
    if chars > max { Err(format!("{what} has {chars} characters, more than {max}")) } else { Ok(()) }
}

/// The metadata that a file's event carries.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ResolvedMetadata {
    /// Title, collection, tags and custom fields.
    pub metadata: Metadata,
    /// The locale; [`NO_LOCALE`] where none is declared.
    pub locale: String,
}

/// Resolves a file's metadata: its manifest row overrides its sidecar, which overrides the flags.
///
/// # Errors
/// The refusal of a file whose sidecar cannot be used, or whose metadata is too large when all of it is merged.
pub(super) fn resolve(
    rules: &FileRules,
    file: &Path,
    row: Option<&DeclaredMetadata>,
) -> Result<ResolvedMetadata, FileRefusal> {
    let spec = &rules.spec;
    let sidecar = if spec.no_sidecars { Ok(None) } else { read_sidecar(file, rules) };
    let merged = sidecar.and_then(|sidecar| {
        let merged = merge(spec, sidecar.as_ref(), row);
        let whole = "its metadata from options, sidecar and manifest row together";
        check_merged(&merged.metadata).map_err(|reason| format!("{whole}: {reason}"))?;
        Ok(merged)
    });
    merged.map_err(|reason| refusal(RefusalKind::BadMetadata, reason))
}

/// Checks what each part may keep to and the whole exceed.
fn check_merged(metadata: &Metadata) -> Result<(), String> {
    check_tags(&metadata.tags)?;
    check_custom(&metadata.custom)?;
    let bytes = serde_json::to_vec(metadata).map_err(|error| error.to_string())?.len();
    if bytes > MAX_MERGED_BYTES {
        return Err(format!("{} KiB, more than {} KiB", bytes.div_ceil(1024), MAX_MERGED_BYTES / 1024));
    }
    Ok(())
}

fn merge(spec: &JobSpec, sidecar: Option<&DeclaredMetadata>, row: Option<&DeclaredMetadata>) -> ResolvedMetadata {
    let mut resolved = ResolvedMetadata {
        metadata: Metadata { collection: spec.collection.clone(), tags: spec.tags.clone(), ..Metadata::default() },
        locale: spec.locale.clone().unwrap_or_else(|| NO_LOCALE.to_owned()),
    };
    for declared in sidecar.into_iter().chain(row) {
        let metadata = &mut resolved.metadata;
        metadata.title = declared.title.clone().or(metadata.title.take());
        metadata.collection = declared.collection.clone().or(metadata.collection.take());
        metadata.tags.extend(declared.tags());
        metadata.custom.extend(declared.custom.clone());
        if let Some(locale) = &declared.locale {
            resolved.locale.clone_from(locale);
        }
    }
    resolved
}

/// The path of a file's sidecar: `<file>.json`.
fn sidecar_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// Whether this is the path of an existing file's sidecar.
pub(super) fn is_sidecar(path: &Path) -> bool {
    media_of_sidecar(path).is_some()
}

/// The existing file whose sidecar has this path; `None` if there is no such file.
pub(super) fn media_of_sidecar(path: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let media = path.as_os_str().as_bytes().strip_suffix(b".json")?;
    if media.is_empty() || media.ends_with(b"/") {
        return None;
    }
    let media = PathBuf::from(std::ffi::OsString::from_vec(media.to_vec()));
    std::fs::metadata(&media).is_ok_and(|metadata| metadata.is_file()).then_some(media)
}

/// Reads a file's sidecar, if it has one that no rule leaves out.
///
/// # Errors
/// Names the sidecar and why it is invalid, for the user.
fn read_sidecar(file: &Path, rules: &FileRules) -> Result<Option<DeclaredMetadata>, String> {
    let path = sidecar_path(file);
    let name = Path::new(path.file_name().unwrap_or_default()).shown();
    let invalid = |reason: String| format!("its sidecar {name}: {reason}");
    match read::open(&path) {
        Ok(opened) => {
            if rules
                .leaves_out_sidecar(&path)
                .map_err(|error| invalid(format!("whether to read it is not known: {error}")))?
            {
                return Ok(None);
            }
            let text = read_limited(&opened).map_err(invalid)?;
            DeclaredMetadata::from_json(&text).map(Some).map_err(invalid)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // With `.json` added the name is too long, so there is no sidecar.
        Err(error) if error.kind() == ErrorKind::InvalidFilename => Ok(None),
        Err(error) => Err(invalid(format!("cannot be opened: {error}"))),
    }
}

fn read_limited(file: &File) -> Result<Vec<u8>, String> {
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err("is not a regular file".to_owned());
    }
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("is larger than {} KiB", MAX_BYTES / 1024));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
