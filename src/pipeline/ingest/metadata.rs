//! The metadata of a file: from flags, its sidecar and its manifest row. All of it is checked against the events' limits
//! here, so that encoding an event never fails on what a user declared.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::read::{self, refusal};
use super::rules::FileRules;
use super::spec::JobSpec;
use mfctl_core::domain::event::Metadata;
use mfctl_core::domain::job::{FileRefusal, RefusalKind};

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
/// are custom fields.
#[derive(Debug, Clone, PartialEq, Default)]
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
        let value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        Self::from_value(value)
    }

    /// Reads a JSON object that is parsed already.
    ///
    /// # Errors
    /// The field that is invalid, and why, for the user.
    pub fn from_value(value: Value) -> Result<Self, String> {
        let Value::Object(fields) = value else { return Err("it is not a JSON object".to_owned()) };
        let mut declared = Self::default();
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
            match name.as_str() {
                "title" => declared.title = Some(text_of(&name, value)?),
                "collection" => declared.collection = Some(text_of(&name, value)?),
                "locale" => declared.locale = Some(parse_locale(&text_of(&name, value)?)?),
                "tags" => declared.tags = tags_of(value)?,
                "custom" => declared.custom.extend(custom_of(value)?),
                // A field beside `custom` overrides the one of its name in it.
                _ => drop(declared.custom.insert(name, value)),
            }
        }
        declared.check()?;
        Ok(declared)
    }

    /// Sets the tags from `k=v` texts.
    pub fn set_tags(&mut self, tags: Vec<String>) {
        self.tags = tags.into_iter().map(|tag| split_tag(&tag)).collect();
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

/// The text of a field.
fn text_of(field: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("{field} is {}, not a text", kind_of(&other))),
    }
}

/// Tags: an object, or a list of `k=v` or bare names.
fn tags_of(value: Value) -> Result<BTreeMap<String, String>, String> {
    match value {
        Value::Object(tags) => {
            let said = tags.into_iter().filter(|(_, value)| !value.is_null());
            said.map(|(name, value)| Ok((name.clone(), text_of(&format!("tags: {name:?}"), value)?))).collect()
        }
        Value::Array(tags) => {
            let said = tags.into_iter().filter(|value| !value.is_null());
            said.map(|value| Ok(split_tag(&text_of("tags: an entry", value)?))).collect()
        }
        other => Err(format!("tags is {}, not an object or a list", kind_of(&other))),
    }
}

fn custom_of(value: Value) -> Result<impl Iterator<Item = (String, Value)>, String> {
    match value {
        Value::Object(custom) => Ok(custom.into_iter().filter(|(_, value)| !value.is_null())),
        other => Err(format!("custom is {}, not an object", kind_of(&other))),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Splits `k=v` into name and value; a bare name has an empty value.
#[must_use]
pub fn split_tag(text: &str) -> (String, String) {
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
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
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
mod tests {
    use super::*;

    fn rules(spec: &JobSpec) -> FileRules {
        FileRules::new(spec.clone(), Vec::new()).unwrap()
    }

    #[test]
    fn locales_have_the_form_of_bcp_47_or_of_posix() {
        for (given, locale) in [
            ("fa-IR", "fa-IR"),
            ("fa", "fa"),
            ("zh-Hant-TW", "zh-Hant-TW"),
            ("fa_IR", "fa-IR"),
            ("fa_ir", "fa-IR"),
            ("fa_IR.UTF-8", "fa-IR"),
            ("fa_IR.utf8", "fa-IR"),
            ("en_GB.ISO8859-15@euro", "en-GB"),
            ("sr_RS@latin", "sr-Latn-RS"),
            ("sr_RS.UTF-8@cyrillic", "sr-Cyrl-RS"),
            ("ca_ES.UTF-8@valencia", "ca-ES-valencia"),
            ("zh_Hant_TW", "zh-Hant-TW"),
            ("es_419", "es-419"),
            ("fa.UTF-8", "fa"),
            ("C", "und"),
            ("C.UTF-8", "und"),
            ("POSIX", "und"),
        ] {
            assert_eq!(parse_locale(given).as_deref(), Ok(locale), "{given}");
        }
        for wrong in [
            "",
            "f",
            "no such",
            "fa_",
            "_IR",
            "fa_IR.",
            "fa_IR@",
            "fa_IR.UTF 8",
            "fa__IR",
            "fa IR",
            "فا",
            "fa_IR.UTF-8\0",
        ] {
            assert!(parse_locale(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn declared_metadata_is_checked_against_limits() {
        let text = r#"{"title":"غزل","tags":["شاعر=حافظ","poem"],"custom":{"shelf":7},"poet":"حافظ"}"#;
        let declared = DeclaredMetadata::from_json(text.as_bytes()).unwrap();
        let marked = format!("\u{feff}{text}");
        assert_eq!(DeclaredMetadata::from_json(marked.as_bytes()).unwrap(), declared, "a byte order mark");
        assert!(DeclaredMetadata::from_json(b"\xff\xfe{\0}\0").unwrap_err().contains("UTF-16"));
        assert_eq!(declared.custom, [("shelf".into(), Value::from(7)), ("poet".into(), Value::from("حافظ"))].into());
        assert_eq!(declared.tags().get("شاعر").map(String::as_str), Some("حافظ"));
        assert_eq!(declared.tags().get("poem").map(String::as_str), Some(""));
        for (wrong, named) in [
            ("", "EOF"),
            ("[]", "object"),
            ("{\"custom\":7}", "custom is a number"),
            ("{\"title\":7}", "title is a number"),
            ("{\"collection\":[\"a\"]}", "collection is a list"),
            ("{\"locale\":true}", "locale is true or false"),
            ("{\"locale\":\"no such locale\"}", "locale"),
            ("{\"tags\":7}", "tags is a number"),
            ("{\"tags\":{\"year\":1999}}", "tags: \"year\" is a number"),
            ("{\"tags\":[\"a\",7]}", "tags: an entry is a number"),
            ("{\"tags\":[\"=v\"]}", "tag"),
            ("{\"collection\":\"\"}", "collection"),
        ] {
            let reason = DeclaredMetadata::from_json(wrong.as_bytes()).unwrap_err();
            assert!(reason.contains(named), "{wrong}: {reason}");
        }
        let long = format!("{{\"title\":\"{}\"}}", "x".repeat(1025));
        assert!(DeclaredMetadata::from_json(long.as_bytes()).unwrap_err().contains("1025"));
    }

    #[test]
    fn manifest_row_overrides_sidecar_and_sidecar_overrides_flags() {
        let spec = JobSpec {
            collection: Some("flags".into()),
            tags: [("a".into(), "1".into()), ("b".into(), "1".into())].into(),
            ..JobSpec::default()
        };
        let sidecar = DeclaredMetadata::from_json(br#"{"title":"side","collection":"side","tags":{"b":"2"}}"#).unwrap();
        let row = DeclaredMetadata::from_json(br#"{"title":"row","locale":"fa-IR"}"#).unwrap();
        let resolved = merge(&spec, Some(&sidecar), Some(&row));
        assert_eq!(resolved.metadata.title.as_deref(), Some("row"));
        assert_eq!(resolved.metadata.collection.as_deref(), Some("side"));
        assert_eq!(resolved.metadata.tags, [("a".into(), "1".into()), ("b".into(), "2".into())].into());
        assert_eq!(resolved.locale, "fa-IR");
        assert_eq!(merge(&JobSpec::default(), None, None).locale, NO_LOCALE);
    }

    #[test]
    fn a_field_that_is_null_says_nothing() {
        let nulls = r#"{"title":null,"collection":null,"locale":null,"tags":null,"custom":null,"shelf":null}"#;
        assert_eq!(DeclaredMetadata::from_json(nulls.as_bytes()), Ok(DeclaredMetadata::default()));
        let inner = r#"{"tags":{"a":null,"b":"1"},"custom":{"c":null,"d":{"e":null}}}"#;
        let declared = DeclaredMetadata::from_json(inner.as_bytes()).unwrap();
        assert_eq!(declared.tags(), [("b".into(), "1".into())].into());
        assert_eq!(declared.custom, [("d".into(), serde_json::json!({"e": null}))].into());
        let listed = DeclaredMetadata::from_json(br#"{"tags":[null,"a=1"]}"#).unwrap();
        assert_eq!(listed.tags(), [("a".into(), "1".into())].into());
    }

    #[test]
    fn parts_that_fit_are_refused_when_the_whole_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.txt");
        std::fs::write(&file, "x").unwrap();
        let tags = |prefix: &str, count: usize| -> BTreeMap<String, String> {
            (0..count).map(|number| (format!("{prefix}{number}"), "v".repeat(1024))).collect()
        };
        let sidecar = |tags: &BTreeMap<String, String>, custom: usize| {
            let custom: BTreeMap<_, _> = (0..custom).map(|number| (number.to_string(), "c".repeat(900))).collect();
            std::fs::write(sidecar_path(&file), serde_json::json!({"tags": tags, "custom": custom}).to_string())
                .unwrap();
        };
        let spec = JobSpec { tags: tags("f", 200), ..JobSpec::default() };
        sidecar(&tags("s", 56), 0);
        assert_eq!(resolve(&rules(&spec), &file, None).unwrap().metadata.tags.len(), 256);
        sidecar(&tags("s", 100), 0);
        let refused = resolve(&rules(&spec), &file, None).unwrap_err();
        assert_eq!(refused.kind, RefusalKind::BadMetadata);
        assert!(refused.reason.contains("together: 300 tags"), "{}", refused.reason);
        // 256 KiB each of tags from options, of a sidecar and of a row.
        let spec = JobSpec { tags: tags("f", 256), ..JobSpec::default() };
        sidecar(&BTreeMap::new(), 250);
        let row: BTreeMap<_, _> =
            (0..100).map(|number| (format!("r{number}"), Value::from("r".repeat(2000)))).collect();
        let row = DeclaredMetadata { custom: row, ..DeclaredMetadata::default() };
        let refused = resolve(&rules(&spec), &file, Some(&row)).unwrap_err();
        assert!(refused.reason.contains("350 custom fields"), "{}", refused.reason);
        let wide: BTreeMap<_, _> = [("w".to_owned(), Value::from("w".repeat(250_000)))].into();
        let row = DeclaredMetadata { custom: wide, ..DeclaredMetadata::default() };
        let refused = resolve(&rules(&spec), &file, Some(&row)).unwrap_err();
        assert!(refused.reason.contains("more than 512 KiB"), "{}", refused.reason);
    }

    #[test]
    fn sidecar_requires_an_existing_media_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pdf");
        std::fs::write(&file, "x").unwrap();
        assert!(is_sidecar(&dir.path().join("a.pdf.json")));
        assert!(!is_sidecar(&dir.path().join("b.pdf.json")) && !is_sidecar(&dir.path().join(".json")));
        assert_eq!(read_sidecar(&file, &rules(&JobSpec::default())), Ok(None));
        std::fs::write(sidecar_path(&file), "{").unwrap();
        assert!(read_sidecar(&file, &rules(&JobSpec::default())).unwrap_err().contains("a.pdf.json"));
        std::fs::write(sidecar_path(&file), "{\"title\":\"t\"}").unwrap();
        assert_eq!(read_sidecar(&file, &rules(&JobSpec::default())).unwrap().unwrap().title.as_deref(), Some("t"));
    }
}
