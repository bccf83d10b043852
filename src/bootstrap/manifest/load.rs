//! Loads a folder of manifests for one environment and reports every problem in it at once.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use super::kinds::{ResourceKind, ResourceSpec};
use super::node::{self, YamlNode, YamlNodeKind};
use super::{
    API_VERSION, InvalidField, ManifestLocation, ManifestProblem, ManifestProblems, ResourceDeclaration, schema,
};
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::domain::{EnvName, SourcePath};

/// Maximum size of a manifest or schema file, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// Maximum number of manifests in a layer.
const MAX_FILES: usize = 10_000;
/// Maximum depth of folders below a layer.
const MAX_DEPTH: usize = 16;
/// Extensions of manifests, in upper or lower case.
const MANIFEST_EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
/// The fields by which a manifest in JSON is told from other files, such as schemas.
const MANIFEST_FIELDS: [&str; 3] = ["kind", "metadata", "spec"];

/// Checks a parsed declaration before any server is asked.
type Validate<'a> = dyn Fn(&ResourceDeclaration) -> Result<(), InvalidField> + 'a;
type Documents = BTreeMap<(ResourceKind, String), YamlNode>;

/// Loads `base/` with the overlay `env/<env>/` merged into it. `validate` checks what the JSON Schema of a kind cannot.
///
/// # Errors
/// Every problem, each with file, line and field; a folder that declares nothing is one.
pub fn load(dir: &Path, env: &EnvName, validate: &Validate<'_>) -> Result<Vec<ResourceDeclaration>, ManifestProblems> {
    let base = dir.join("base");
    if !base.is_dir() {
        return Err(ManifestProblems::in_file(
            &dir.shown().to_string(),
            "has no folder base/; `mfctl bootstrap init DIR` writes a folder that works",
        ));
    }
    let mut problems = Vec::new();
    let mut documents = load_layer(dir, &base, &mut problems);
    for (key, patch) in load_layer(dir, &dir.join("env").join(env.as_str()), &mut problems) {
        match documents.get_mut(&key) {
            Some(document) => document.merge_patch(patch),
            None => {
                documents.insert(key, patch.without_nulls());
            }
        }
    }
    // An overlay removes a resource by setting its spec to null.
    documents
        .retain(|_, document| document.get("spec").is_some_and(|spec| spec.kind != YamlNodeKind::Scalar(Value::Null)));
    to_declarations(dir, documents, problems, validate)
}

/// Loads one file, without an overlay.
///
/// # Errors
/// As [`load`].
pub fn load_file(path: &Path, validate: &Validate<'_>) -> Result<Vec<ResourceDeclaration>, ManifestProblems> {
    let name = path.shown().to_string();
    let mut documents = Documents::new();
    let mut problems = Vec::new();
    let file: Arc<str> = name.as_str().into();
    let text = read_text(path).map_err(|message| problem_in_file(&file, message));
    match text.and_then(|text| parse_documents(&text, &file)) {
        Ok(nodes) => nodes.into_iter().for_each(|document| insert(document, &mut documents, &mut problems)),
        Err(problem) => problems.push(problem),
    }
    to_declarations(path.parent().unwrap_or(path), documents, problems, validate)
}

fn to_declarations(
    dir: &Path,
    documents: Documents,
    mut problems: Vec<ManifestProblem>,
    validate: &Validate<'_>,
) -> Result<Vec<ResourceDeclaration>, ManifestProblems> {
    let mut declarations = Vec::with_capacity(documents.len());
    for ((kind, name), document) in documents {
        match to_declaration(dir, kind, name, &document, validate) {
            Ok(declaration) => declarations.push(declaration),
            Err(new_problems) => problems.extend(new_problems),
        }
    }
    if !problems.is_empty() {
        problems.sort_by(|a, b| a.at.cmp(&b.at));
        return Err(ManifestProblems(problems));
    }
    if declarations.is_empty() {
        return Err(ManifestProblems::in_file(&dir.shown().to_string(), "declares nothing"));
    }
    Ok(declarations)
}

/// Loads the documents of a layer: `base/` or an overlay.
fn load_layer(root: &Path, folder: &Path, problems: &mut Vec<ManifestProblem>) -> Documents {
    let mut files = Vec::new();
    if let Err(error) = find_manifests(folder, 0, &mut files) {
        problems.extend(ManifestProblems::in_file(&relative_path(root, folder), error).0);
    }
    files.sort();
    let mut documents = Documents::new();
    for file in files {
        let name: Arc<str> = relative_path(root, &file).into();
        let text = match is_other_json(&file) {
            true => continue,
            false => read_regular_file(&file).map_err(|message| problem_in_file(&name, message)),
        };
        match text.and_then(|text| parse_documents(&text, &name)) {
            Ok(nodes) => nodes.into_iter().for_each(|document| insert(document, &mut documents, problems)),
            Err(problem) => problems.push(problem),
        }
    }
    documents
}

/// Whether a file is in JSON and no manifest: it may be the schema that one names, or the file of another program. A file that
/// cannot be read, or is neither JSON nor without the fields of a manifest, is one.
fn is_other_json(path: &Path) -> bool {
    let is_manifest = |value: &Value| MANIFEST_FIELDS.iter().all(|field| value.get(field).is_some());
    has_extension(path, &["json"])
        && std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
        && std::fs::File::open(path).is_ok_and(|file| {
            let mut bytes = Vec::new();
            let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
            let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
            match serde_json::from_slice::<Value>(bytes) {
                Ok(Value::Array(list)) => !list.iter().any(is_manifest),
                Ok(value) => !is_manifest(&value),
                Err(_) => {
                    let has = |field: &&str| {
                        let field = format!("\"{field}\"");
                        bytes.windows(field.len()).any(|window| window == field.as_bytes())
                    };
                    read.is_ok() && !MANIFEST_FIELDS.iter().all(has)
                }
            }
        })
}

/// Finds every manifest below a folder; a folder that does not exist has none.
fn find_manifests(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && depth == 0 => return Ok(()),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    for entry in entries {
        let path = entry.map_err(|error| format!("cannot be read: {error}"))?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if path.is_dir() {
            if depth == MAX_DEPTH {
                return Err(format!("{} is deeper than {MAX_DEPTH} folders", path.shown()));
            }
            find_manifests(&path, depth + 1, files)?;
        } else if has_extension(&path, &MANIFEST_EXTENSIONS) {
            if files.len() == MAX_FILES {
                return Err(format!("has more than {MAX_FILES} manifests"));
            }
            files.push(path);
        }
    }
    Ok(())
}

fn relative_path(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).shown().to_string()
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|end| extensions.iter().any(|extension| end.eq_ignore_ascii_case(extension)))
}

fn problem_in_file(name: &Arc<str>, message: String) -> ManifestProblem {
    let at = ManifestLocation { file: Arc::clone(name), line: 1 };
    ManifestProblem { at, field: String::new(), message }
}

fn parse_documents(text: &str, name: &Arc<str>) -> Result<Vec<YamlNode>, ManifestProblem> {
    let nodes = node::parse(text, name).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line().max(1));
        // The file and line are reported already; the parser's snippet would repeat them.
        let message = match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { key, .. } => match key {
                Some(key) => format!("{key} is given twice"),
                None => "a key is given twice".to_owned(),
            },
            error => error.to_string(),
        };
        ManifestProblem { at: ManifestLocation { file: Arc::clone(name), line }, field: String::new(), message }
    })?;
    // Two separators in a row enclose an empty document.
    Ok(nodes.into_iter().filter(|node| node.kind != YamlNodeKind::Scalar(Value::Null)).collect())
}

/// As [`read_text`], and refuses a pipe or a device, which may never end.
fn read_regular_file(path: &Path) -> Result<String, String> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err("is not a regular file".to_owned()),
        _ => read_text(path),
    }
}

/// The text of a file, without a byte order mark.
fn read_text(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err("is larger than 4 MiB".to_owned());
    }
    match text.strip_prefix('\u{FEFF}') {
        Some(unmarked) => Ok(unmarked.to_owned()),
        None => Ok(text),
    }
}

fn insert(document: YamlNode, documents: &mut Documents, problems: &mut Vec<ManifestProblem>) {
    match document_key(&document) {
        Ok(key) => match documents.get(&key) {
            Some(first) => {
                let message = format!("{}/{} is declared twice, first at {}", key.0, key.1, first.at);
                problems.push(ManifestProblem { at: document.at.clone(), field: "metadata.name".to_owned(), message });
            }
            None => {
                documents.insert(key, document);
            }
        },
        Err(problem) => problems.push(problem),
    }
}

/// Kind and name of a document, which must be valid before the rest can be checked.
fn document_key(document: &YamlNode) -> Result<(ResourceKind, String), ManifestProblem> {
    let text = |path: &[&str], expected: &str| {
        document.text_at(path).map_err(|reason| problem_at(document, path, format!("{reason}{expected}")))
    };
    let version = text(&["apiVersion"], &format!("; it is {API_VERSION}"))?;
    if version != API_VERSION {
        let message = format!("is {version:?}, and must be {API_VERSION}");
        return Err(problem_at(document, &["apiVersion"], message));
    }
    let kind =
        text(&["kind"], "")?.parse::<ResourceKind>().map_err(|message| problem_at(document, &["kind"], message))?;
    Ok((kind, text(&["metadata", "name"], "")?.to_owned()))
}

fn to_declaration(
    dir: &Path,
    kind: ResourceKind,
    name: String,
    document: &YamlNode,
    validate: &Validate<'_>,
) -> Result<ResourceDeclaration, Vec<ManifestProblem>> {
    let value = document.to_value_with_settings(kind.settings_field().unwrap_or_default());
    let problem = |path: &[&str], message: String| problem_at(document, path, message);
    let schema_problems: Vec<ManifestProblem> = schema::validator(kind)
        .into_iter()
        .flat_map(|validator| validator.iter_errors(&value))
        .map(|error| {
            let path = names(error.instance_path().as_str());
            let message = match kind.may_hold_secrets() {
                true => message_without_value(kind, &error),
                false => as_typed(document, &path, error.to_string()),
            };
            problem_at(document, &path, message)
        })
        .collect();
    if !schema_problems.is_empty() {
        return Err(schema_problems);
    }
    let unusable: Vec<_> = [without_value(kind, document), not_whole(kind, document), changed_by_json(kind, document)]
        .into_iter()
        .flatten()
        .collect();
    if !unusable.is_empty() {
        return Err(unusable);
    }
    let spec = kind.parse_spec(value["spec"].clone()).map_err(|error| vec![problem(&["spec"], error.to_string())])?;
    let location = document.get("metadata").map_or(&document.at, |metadata| &metadata.at).clone();
    let schema = read_schema_file(dir, document, &spec).map_err(|message| vec![problem(&["spec", "file"], message)])?;
    let key_locations = match &spec {
        ResourceSpec::ConsulKeys(spec) => {
            let location = |key: &String| (key.clone(), document.location_of(&["spec", "keys", key]).to_string());
            spec.keys.keys().map(location).collect()
        }
        _ => BTreeMap::new(),
    };
    let declaration = ResourceDeclaration { name, spec, schema, location: Some(location), key_locations };
    match validate(&declaration) {
        Ok(()) => Ok(declaration),
        Err(field) => Err(vec![problem_at(document, &field.path, field.message)]),
    }
}

/// A schema's message without the value, which may be a secret that does not belong into a manifest.
fn message_without_value(kind: ResourceKind, error: &ValidationError<'_>) -> String {
    match (kind, error.kind()) {
        (ResourceKind::VaultSecret, ValidationErrorKind::OneOfNotValid { .. }) => {
            "write `given` or `random: {bytes: N}`, with N from 16 to 256; a manifest never holds the value".to_owned()
        }
        _ => error.masked_with("the value").to_string(),
    }
}

/// A message that begins with the JSON of the value at a path, with the value as it is typed.
fn as_typed(document: &YamlNode, path: &[String], message: String) -> String {
    let node = document.at_path(path);
    let typed = node.and_then(|node| Some((node.typed.as_deref()?, node.to_value().to_string())));
    match typed.and_then(|(typed, json)| Some((typed, message.strip_prefix(&json)?))) {
        Some((typed, rest)) => format!("{typed}{rest}"),
        None => message,
    }
}

/// A problem for each setting without a value, which is not the text `null`.
fn without_value(kind: ResourceKind, document: &YamlNode) -> Vec<ManifestProblem> {
    let Some(field) = kind.settings_field() else { return Vec::new() };
    let Some(YamlNodeKind::Map(settings)) = document.at_path(&["spec", field]).map(|node| &node.kind) else {
        return Vec::new();
    };
    let empty = settings.iter().filter(|(_, node)| node.kind == YamlNodeKind::Scalar(Value::Null));
    let message = "has no value: write \"\" for an empty text, or leave the key out";
    empty.map(|(name, _)| problem_at(document, &["spec", field, name], message.to_owned())).collect()
}

/// A problem for each whole number that is typed as another one, such as 06 or 1e1: neither a setting nor JSON.
fn not_whole(kind: ResourceKind, document: &YamlNode) -> Vec<ManifestProblem> {
    let Some(YamlNodeKind::Map(fields)) = document.get("spec").map(|spec| &spec.kind) else { return Vec::new() };
    let is_plain = |name: &str| kind.settings_field() != Some(name) && kind.json_field() != Some(name);
    let found = fields.iter().filter(|(name, _)| is_plain(name)).flat_map(|(name, node)| node.floats(&["spec", name]));
    let problem = |(path, typed): (Vec<String>, String)| {
        problem_at(
            document,
            &path,
            format!("is {typed}, and must be a whole number without a leading zero, a point or an exponent"),
        )
    };
    found.map(problem).collect()
}

/// A problem for each value within a setting that is written as JSON, and that JSON cannot have as it is typed.
fn changed_by_json(kind: ResourceKind, document: &YamlNode) -> Vec<ManifestProblem> {
    let field = kind.settings_field().into_iter().chain(kind.json_field());
    let nodes = field.filter_map(|field| Some((field, document.get("spec")?.get(field)?)));
    let changed = nodes.flat_map(|(field, node)| match &node.kind {
        YamlNodeKind::Map(settings) if kind.settings_field() == Some(field) => settings
            .iter()
            .filter(|(_, node)| !matches!(node.kind, YamlNodeKind::Scalar(_)))
            .flat_map(|(name, node)| node.changed_by_json(&["spec", field, name]))
            .collect(),
        _ => node.changed_by_json(&["spec", field]),
    });
    let problem = |(path, typed, json): (Vec<String>, String, Value)| {
        let message = match json {
            Value::Bool(json) => {
                format!("is {typed}, which JSON would have as {json}: put it in quotes to keep it, or write {json}")
            }
            _ => format!("is {typed}, which a number in JSON would not keep: put it in quotes"),
        };
        problem_at(document, &path, message)
    };
    changed.map(problem).collect()
}

fn problem_at(document: &YamlNode, path: &[impl AsRef<str>], message: String) -> ManifestProblem {
    let field = path.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(".");
    ManifestProblem { at: document.location_of(path).clone(), field, message }
}

/// The names of a JSON pointer (RFC 6901).
fn names(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~")).collect()
}

/// The content of a schema's `file`, whose path is relative to its manifest.
fn read_schema_file(dir: &Path, document: &YamlNode, spec: &ResourceSpec) -> Result<Option<Value>, String> {
    let ResourceSpec::Schema(spec) = spec else { return Ok(None) };
    let Some(file) = &spec.file else { return Ok(None) };
    if file.starts_with('/') || file.split('/').any(|part| part == "..") {
        return Err("must be below the manifest's folder".to_owned());
    }
    let location = document.location_of(&["spec", "file"]);
    let path = dir.join(SourcePath::from_text(&*location.file).to_path()).parent().unwrap_or(dir).join(file);
    let text = read_regular_file(&path).map_err(|error| format!("{}: {error}", path.shown()))?;
    serde_json::from_str(&text).map(Some).map_err(|error| format!("{} is not JSON: {error}", path.shown()))
}

#[cfg(test)]
mod tests;
