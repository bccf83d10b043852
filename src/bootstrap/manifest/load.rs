//! Loads a folder of manifests for one environment and reports every problem in it at once.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::kinds::{ResourceKind, ResourceSpec};
use super::node::{self, YamlNode, YamlNodeKind};
use super::{
    API_VERSION, InvalidField, ManifestLocation, ManifestProblem, ManifestProblems, ResourceDeclaration, schema,
};
use mfctl_core::domain::EnvName;

/// Maximum size of a manifest or schema file, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// Maximum number of manifests in a layer.
const MAX_FILES: usize = 10_000;
/// Maximum depth of folders below a layer.
const MAX_DEPTH: usize = 16;

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
            &dir.display().to_string(),
            "has no folder base/; `mfctl bootstrap init DIR` writes a folder that works",
        ));
    }
    let mut problems = Vec::new();
    let mut documents = load_layer(dir, &base, &mut problems);
    for (key, patch) in load_layer(dir, &dir.join("env").join(env.as_str()), &mut problems) {
        match documents.get_mut(&key) {
            Some(document) => document.merge_patch(patch),
            None => {
                documents.insert(key, patch);
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
    let name = path.display().to_string();
    let mut documents = Documents::new();
    let mut problems = Vec::new();
    match read_documents(path, &name.as_str().into()) {
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
        return Err(ManifestProblems::in_file(&dir.display().to_string(), "declares nothing"));
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
        match read_documents(&file, &name) {
            Ok(nodes) => nodes.into_iter().for_each(|document| insert(document, &mut documents, problems)),
            Err(problem) => problems.push(problem),
        }
    }
    documents
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
        let yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if hidden {
            continue;
        }
        if path.is_dir() {
            if depth == MAX_DEPTH {
                return Err(format!("{} is deeper than {MAX_DEPTH} folders", path.display()));
            }
            find_manifests(&path, depth + 1, files)?;
        } else if yaml {
            if files.len() == MAX_FILES {
                return Err(format!("has more than {MAX_FILES} manifests"));
            }
            files.push(path);
        }
    }
    Ok(())
}

fn relative_path(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

fn read_documents(path: &Path, name: &Arc<str>) -> Result<Vec<YamlNode>, ManifestProblem> {
    let at = |line: u64| ManifestLocation { file: Arc::clone(name), line: line.max(1) };
    let whole_file = |message: String| ManifestProblem { at: at(1), field: String::new(), message };
    let text = read_text(path).map_err(whole_file)?;
    let nodes = node::parse(&text, name).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        // The file and line are reported already; the parser's snippet would repeat them.
        let message = error.without_snippet().to_string();
        ManifestProblem { at: at(line), field: String::new(), message }
    })?;
    // Two separators in a row enclose an empty document.
    Ok(nodes.into_iter().filter(|node| node.kind != YamlNodeKind::Scalar(Value::Null)).collect())
}

fn read_text(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err("is larger than 4 MiB".to_owned());
    }
    Ok(text)
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
    let problem = |field: &str, message: String| {
        let at = document.location_of(&field.split('.').collect::<Vec<_>>()).clone();
        ManifestProblem { at, field: field.to_owned(), message }
    };
    match document.text("apiVersion") {
        Some(API_VERSION) => {}
        Some(other) => return Err(problem("apiVersion", format!("is {other:?}, and must be {API_VERSION}"))),
        None => return Err(problem("apiVersion", format!("is missing; it is {API_VERSION}"))),
    }
    let kind = document.text("kind").ok_or_else(|| problem("kind", "is missing".to_owned()))?;
    let kind = kind.parse::<ResourceKind>().map_err(|message| problem("kind", message))?;
    let name = document.get("metadata").and_then(|metadata| metadata.text("name"));
    let name = name.ok_or_else(|| problem("metadata.name", "is missing".to_owned()))?;
    Ok((kind, name.to_owned()))
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
        .map(|error| problem_at(document, &names(error.instance_path().as_str()), error.to_string()))
        .collect();
    if !schema_problems.is_empty() {
        return Err(schema_problems);
    }
    let changed = changed_by_json(kind, document);
    if !changed.is_empty() {
        return Err(changed);
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
    let problem = |(path, typed, json): (Vec<String>, String, String)| {
        let message =
            format!("is {typed}, which JSON would have as {json}; put it in quotes to keep it, or write {json}");
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
    let path = dir.join(&*location.file).parent().unwrap_or(dir).join(file);
    let text = read_text(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map(Some).map_err(|error| format!("{} is not JSON: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    fn load_files(files: &[(&str, &str)]) -> Result<Vec<ResourceDeclaration>, ManifestProblems> {
        let validate = |declaration: &ResourceDeclaration| match declaration.name.contains(' ') {
            true => Err(InvalidField::name("has a space in it")),
            false => Ok(()),
        };
        load(folder(files).path(), &EnvName::new("dev").unwrap(), &validate)
    }

    fn topic(name: &str, spec: &str) -> String {
        format!("apiVersion: mfctl/v1\nkind: KafkaTopic\nmetadata:\n  name: {name}\nspec: {spec}\n")
    }

    #[test]
    fn an_environment_is_the_base_with_its_overlay() {
        let base = [topic("a", "{partitions: 6, settings: {retention.ms: 1000}}"), topic("b", "{partitions: 1}")];
        let declarations = load_files(&[
            ("base/topics.yaml", &base.join("---\n")),
            ("env/dev/topics.yaml", &topic("a", "{partitions: 3}")),
            ("env/dev/none.yaml", &topic("b", "null")),
            ("env/prod/topics.yaml", &topic("c", "{partitions: 9}")),
        ]);
        let declarations = declarations.unwrap();
        assert_eq!(declarations.len(), 1, "{declarations:?}");
        let ResourceSpec::KafkaTopic(spec) = &declarations[0].spec else { panic!("{declarations:?}") };
        assert_eq!((spec.partitions, spec.settings.len()), (3, 1));
        assert_eq!(declarations[0].location.as_ref().unwrap().to_string(), "base/topics.yaml:4");
    }

    #[test]
    fn every_problem_is_reported_with_file_line_and_field() {
        let problems = load_files(&[
            ("base/a.yaml", &topic("a", "\n  partitions: none\n  colour: red")),
            ("base/b.yaml", "apiVersion: mfctl/v1\nkind: Teapot\nmetadata: {name: x}\nspec: {}\n"),
            ("base/c.yaml", "apiVersion: mfctl/v1\nkind: [\n"),
            ("base/d.yaml", &[topic("d", "{partitions: 1}"), topic("d", "{partitions: 2}")].join("---\n")),
            ("base/e.yaml", &topic("'a b'", "{partitions: 1}")),
        ]);
        let report = problems.unwrap_err().to_string();
        for line in [
            "base/a.yaml:6: spec.partitions: \"none\" is not of type \"integer\"",
            "base/b.yaml:2: kind: \"Teapot\" is not a kind of resource",
            "base/c.yaml:",
            "base/d.yaml:7: metadata.name: KafkaTopic/d is declared twice, first at base/d.yaml:1",
            "base/e.yaml:4: metadata.name: has a space in it",
        ] {
            assert!(report.contains(line), "{line}\n--\n{report}");
        }
        assert!(report.contains("colour"), "{report}");
    }

    #[test]
    fn settings_are_text_as_typed_and_what_json_would_change_is_refused() {
        let keys = |keys: &str| {
            format!("apiVersion: mfctl/v1\nkind: ConsulKeys\nmetadata: {{name: svc}}\nspec: {{keys: {keys}}}\n")
        };
        let declarations = load_files(&[
            ("base/keys.yaml", &keys("{phone: 09121234567, version: 1.10, limits: {low: 1, high: 2.5}}")),
            ("base/topic.yaml", &topic("a", "{partitions: 6, settings: {retention.ms: 1e3, compression.type: off}}")),
        ]);
        let declarations = declarations.unwrap();
        let ResourceSpec::ConsulKeys(spec) = &declarations[0].spec else { panic!("{declarations:?}") };
        let expected =
            serde_json::json!({"phone": "09121234567", "version": "1.10", "limits": {"low": 1, "high": 2.5}});
        assert_eq!(serde_json::to_value(&spec.keys).unwrap(), expected);
        let ResourceSpec::KafkaTopic(spec) = &declarations[1].spec else { panic!("{declarations:?}") };
        assert_eq!(
            (&spec.settings["retention.ms"], &spec.settings["compression.type"]),
            (&"1e3".into(), &"off".into())
        );
        let refused = load_files(&[("base/keys.yaml", &keys("{limits: {low: 1.10}, list: [0755]}"))]).unwrap_err();
        for line in [
            "base/keys.yaml:4: spec.keys.limits.low: is 1.10, which JSON would have as 1.1; put it in quotes to keep it",
            "base/keys.yaml:4: spec.keys.list.0: is 0755, which JSON would have as 755",
        ] {
            assert!(refused.to_string().contains(line), "{line}\n--\n{refused}");
        }
    }

    #[test]
    fn a_name_with_a_slash_or_a_tilde_has_its_own_line() {
        let keys = "\n    a/b: {v: 1.10}\n    a~1b: {v: 1.20}\n    c/d: [{e~/f: 1.30}]\n    a: {b: 1}\n";
        let text = format!("apiVersion: mfctl/v1\nkind: ConsulKeys\nmetadata: {{name: svc}}\nspec:\n  keys:{keys}");
        let report = load_files(&[("base/keys.yaml", &text)]).unwrap_err().to_string();
        for line in [
            "base/keys.yaml:6: spec.keys.a/b.v: is 1.10",
            "base/keys.yaml:7: spec.keys.a~1b.v: is 1.20",
            "base/keys.yaml:8: spec.keys.c/d.0.e~/f: is 1.30",
        ] {
            assert!(report.contains(line), "{line}\n--\n{report}");
        }
        let text = text.replace("1.10", "1").replace("1.20", "1").replace("1.30", "1");
        let declarations = load_files(&[("base/keys.yaml", &text)]).unwrap();
        let locations: Vec<_> = declarations[0].key_locations.iter().map(|(key, at)| format!("{key} {at}")).collect();
        let expected = ["a base/keys.yaml:9", "a/b base/keys.yaml:6", "a~1b base/keys.yaml:7", "c/d base/keys.yaml:8"];
        assert_eq!(locations, expected);
        let topic = topic("a", "\n  partitions: 1\n  settings:\n    x: 1\n    b/c: [1]");
        let dir = folder(&[("base/keys.yaml", &text), ("base/topic.yaml", &topic)]);
        let problems = load(dir.path(), &EnvName::new("dev").unwrap(), &crate::bootstrap::resources::validate);
        let report = problems.unwrap_err().to_string();
        for line in ["base/keys.yaml:6: spec.keys.a/b: a key's name", "base/topic.yaml:9: spec.settings.b/c: must be"] {
            assert!(report.contains(line), "{line}\n--\n{report}");
        }
    }

    #[test]
    fn a_folder_without_manifests_is_not_an_empty_environment() {
        assert!(load_files(&[("base/readme.md", "x")]).unwrap_err().to_string().contains("declares nothing"));
        assert!(load_files(&[("other/a.yaml", "x")]).unwrap_err().to_string().contains("bootstrap init"));
    }

    #[test]
    fn a_schema_file_must_be_below_the_manifest_folder() {
        let schema =
            |file| format!("apiVersion: mfctl/v1\nkind: Schema\nmetadata: {{name: a-value}}\nspec: {{file: {file}}}\n");
        let outside = load_files(&[("base/a.yaml", &schema("../../etc/passwd"))]);
        assert!(outside.unwrap_err().to_string().contains("below the manifest's folder"));
        let inside = load_files(&[("base/a.yaml", &schema("s/a.json")), ("base/s/a.json", "{\"type\": \"object\"}")]);
        assert_eq!(inside.unwrap()[0].schema, Some(serde_json::json!({"type": "object"})));
    }
}
