//! Reads a folder of manifests for one environment, and says everything that is wrong with it at once.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use serde_saphyr::Spanned;

use super::kinds::{Kind, Spec};
use super::node::{Node, NodeKind, Parsed};
use super::{API_VERSION, Item, Origin, Problem, Problems, Wrong, schema};
use mfctl_core::domain::EnvName;

/// No manifest is larger.
const LARGEST: u64 = 4 << 20;
/// No folder has more files.
const MOST_FILES: usize = 10_000;
/// No folder is deeper.
const DEEPEST: usize = 16;

type Documents = BTreeMap<(Kind, String), Node>;

/// Reads `base/` and what `env/<env>/` makes of it; `check` says what is wrong with an item beyond its form.
///
/// # Errors
/// Everything that is wrong, each with file, line and field.
pub fn load(dir: &Path, env: &EnvName, check: &dyn Fn(&Item) -> Result<(), Wrong>) -> Result<Vec<Item>, Problems> {
    let base = dir.join("base");
    if !base.is_dir() {
        return Err(Problems::whole(
            &dir.display().to_string(),
            "there is no folder base/ in it; `mfctl bootstrap init DIR` writes one that works",
        ));
    }
    let mut problems = Vec::new();
    let mut documents = layer(dir, &base, &mut problems);
    for (key, patch) in layer(dir, &dir.join("env").join(env.as_str()), &mut problems) {
        match documents.get_mut(&key) {
            Some(document) => document.overlay(patch),
            None => {
                documents.insert(key, patch);
            }
        }
    }
    // An overlay takes a resource away by taking its spec away.
    documents.retain(|_, document| document.get("spec").is_some_and(|spec| spec.kind != NodeKind::Scalar(Value::Null)));
    items(dir, documents, problems, check)
}

/// Reads one file by itself, without what an environment makes of it.
///
/// # Errors
/// As [`load`].
pub fn load_file(path: &Path, check: &dyn Fn(&Item) -> Result<(), Wrong>) -> Result<Vec<Item>, Problems> {
    let (name, mut documents, mut problems) = (path.display().to_string(), Documents::new(), Vec::new());
    match read(path, &name.as_str().into()) {
        Ok(found) => found.into_iter().for_each(|document| add(document, &mut documents, &mut problems)),
        Err(problem) => problems.push(problem),
    }
    items(path.parent().unwrap_or(path), documents, problems, check)
}

fn items(
    dir: &Path,
    documents: Documents,
    mut problems: Vec<Problem>,
    check: &dyn Fn(&Item) -> Result<(), Wrong>,
) -> Result<Vec<Item>, Problems> {
    let mut items = Vec::with_capacity(documents.len());
    for ((kind, name), document) in documents {
        match item(dir, kind, name, &document).and_then(|item| checked(item, &document, check)) {
            Ok(item) => items.push(item),
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        problems.sort_by(|a, b| a.at.cmp(&b.at));
        return Err(Problems(problems));
    }
    if items.is_empty() {
        return Err(Problems::whole(&dir.display().to_string(), "declares nothing"));
    }
    Ok(items)
}

fn layer(root: &Path, folder: &Path, problems: &mut Vec<Problem>) -> Documents {
    let mut files = Vec::new();
    if let Err(error) = find(folder, 0, &mut files) {
        problems.extend(Problems::whole(&below(root, folder), error).0);
    }
    files.sort();
    let mut documents = Documents::new();
    for file in files {
        let name: Arc<str> = below(root, &file).into();
        match read(&file, &name) {
            Ok(found) => found.into_iter().for_each(|document| add(document, &mut documents, problems)),
            Err(problem) => problems.push(problem),
        }
    }
    documents
}

/// Every manifest below a folder; a folder that is not there has none.
fn find(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), String> {
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
            if depth == DEEPEST {
                return Err(format!("{} is deeper than {DEEPEST} folders", path.display()));
            }
            find(&path, depth + 1, files)?;
        } else if yaml {
            if files.len() == MOST_FILES {
                return Err(format!("has more than {MOST_FILES} manifests"));
            }
            files.push(path);
        }
    }
    Ok(())
}

fn below(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

fn read(path: &Path, name: &Arc<str>) -> Result<Vec<Node>, Problem> {
    let at = |line: u64| Origin { file: Arc::clone(name), line: line.max(1) };
    let whole = |message: String| Problem { at: at(1), field: String::new(), message };
    let text = text(path).map_err(whole)?;
    let parsed: Result<Vec<Spanned<Parsed>>, _> = serde_saphyr::from_multiple(&text);
    let parsed = parsed.map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        // Its picture of the line is of no use beside the line's number.
        let message = error.without_snippet().to_string();
        Problem { at: at(line), field: String::new(), message }
    })?;
    let nodes = parsed.into_iter().map(|document| Node::of(document, name));
    // Empty documents stand between separators.
    Ok(nodes.filter(|node| node.kind != NodeKind::Scalar(Value::Null)).collect())
}

fn text(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > LARGEST {
        return Err("is larger than 4 MiB".to_owned());
    }
    Ok(text)
}

fn add(document: Node, documents: &mut Documents, problems: &mut Vec<Problem>) {
    match key_of(&document) {
        Ok(key) => match documents.get(&key) {
            Some(other) => {
                let message = format!("{}/{} is declared twice, first at {}", key.0, key.1, other.at);
                problems.push(Problem { at: document.at.clone(), field: "metadata.name".to_owned(), message });
            }
            None => {
                documents.insert(key, document);
            }
        },
        Err(problem) => problems.push(problem),
    }
}

/// What must be there before anything else can be said.
fn key_of(document: &Node) -> Result<(Kind, String), Problem> {
    let problem = |field: &str, message: String| {
        let at = document.origin_of(&format!("/{}", field.replace('.', "/"))).clone();
        Problem { at, field: field.to_owned(), message }
    };
    match document.text("apiVersion") {
        Some(API_VERSION) => {}
        Some(other) => return Err(problem("apiVersion", format!("is {other:?}, and must be {API_VERSION}"))),
        None => return Err(problem("apiVersion", format!("is missing; it is {API_VERSION}"))),
    }
    let kind = document.text("kind").ok_or_else(|| problem("kind", "is missing".to_owned()))?;
    let kind = kind.parse::<Kind>().map_err(|message| problem("kind", message))?;
    let name = document.get("metadata").and_then(|metadata| metadata.text("name"));
    let name = name.ok_or_else(|| problem("metadata.name", "is missing".to_owned()))?;
    Ok((kind, name.to_owned()))
}

fn item(dir: &Path, kind: Kind, name: String, document: &Node) -> Result<Item, Vec<Problem>> {
    let value = document.value();
    let problem = |pointer: &str, message: String| problem(document, pointer, message);
    let found: Vec<Problem> = schema::validator(kind)
        .into_iter()
        .flat_map(|validator| validator.iter_errors(&value))
        .map(|error| problem(error.instance_path().as_str(), error.to_string()))
        .collect();
    if !found.is_empty() {
        return Err(found);
    }
    let spec = kind.read(value["spec"].clone()).map_err(|error| vec![problem("/spec", error.to_string())])?;
    let origin = document.get("metadata").map_or(&document.at, |metadata| &metadata.at).clone();
    let schema = schema_of(dir, document, &spec).map_err(|message| vec![problem("/spec/file", message)])?;
    let places = match &spec {
        Spec::ConsulKeys(spec) => {
            let place = |key: &String| (key.clone(), document.origin_of(&format!("/spec/keys/{key}")).to_string());
            spec.keys.keys().map(place).collect()
        }
        _ => BTreeMap::new(),
    };
    Ok(Item { name, spec, schema, origin: Some(origin), places })
}

fn checked(item: Item, document: &Node, check: &dyn Fn(&Item) -> Result<(), Wrong>) -> Result<Item, Vec<Problem>> {
    match check(&item) {
        Ok(()) => Ok(item),
        Err(wrong) => Err(vec![problem(document, &wrong.pointer, wrong.message)]),
    }
}

fn problem(document: &Node, pointer: &str, message: String) -> Problem {
    let field = pointer.trim_start_matches('/').replace('/', ".");
    Problem { at: document.origin_of(pointer).clone(), field, message }
}

/// The content of the file that a schema names, relative to the manifest that names it.
fn schema_of(dir: &Path, document: &Node, spec: &Spec) -> Result<Option<Value>, String> {
    let Spec::Schema(spec) = spec else { return Ok(None) };
    let Some(file) = &spec.file else { return Ok(None) };
    if file.starts_with('/') || file.split('/').any(|part| part == "..") {
        return Err("must be below the manifest's folder".to_owned());
    }
    let origin = document.origin_of("/spec/file");
    let path = dir.join(&*origin.file).parent().unwrap_or(dir).join(file);
    let text = text(&path).map_err(|error| format!("{}: {error}", path.display()))?;
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

    fn loaded(files: &[(&str, &str)]) -> Result<Vec<Item>, Problems> {
        let check = |item: &Item| match item.name.contains(' ') {
            true => Err(Wrong::name("has a space in it")),
            false => Ok(()),
        };
        load(folder(files).path(), &EnvName::new("dev").unwrap(), &check)
    }

    fn topic(name: &str, spec: &str) -> String {
        format!("apiVersion: mfctl/v1\nkind: KafkaTopic\nmetadata:\n  name: {name}\nspec: {spec}\n")
    }

    #[test]
    fn an_environment_is_the_base_with_its_overlay() {
        let base = [topic("a", "{partitions: 6, settings: {retention.ms: 1000}}"), topic("b", "{partitions: 1}")];
        let items = loaded(&[
            ("base/topics.yaml", &base.join("---\n")),
            ("env/dev/topics.yaml", &topic("a", "{partitions: 3}")),
            ("env/dev/none.yaml", &topic("b", "null")),
            ("env/prod/topics.yaml", &topic("c", "{partitions: 9}")),
        ]);
        let items = items.unwrap();
        assert_eq!(items.len(), 1, "{items:?}");
        let Spec::KafkaTopic(spec) = &items[0].spec else { panic!("{items:?}") };
        assert_eq!((spec.partitions, spec.settings.len()), (3, 1));
        assert_eq!(items[0].origin.as_ref().unwrap().to_string(), "base/topics.yaml:4");
    }

    #[test]
    fn everything_wrong_is_said_with_file_line_and_field() {
        let problems = loaded(&[
            ("base/a.yaml", &topic("a", "\n  partitions: none\n  colour: red")),
            ("base/b.yaml", "apiVersion: mfctl/v1\nkind: Teapot\nmetadata: {name: x}\nspec: {}\n"),
            ("base/c.yaml", "apiVersion: mfctl/v1\nkind: [\n"),
            ("base/d.yaml", &[topic("d", "{partitions: 1}"), topic("d", "{partitions: 2}")].join("---\n")),
            ("base/e.yaml", &topic("'a b'", "{partitions: 1}")),
        ]);
        let said = problems.unwrap_err().to_string();
        for line in [
            "base/a.yaml:6: spec.partitions: \"none\" is not of type \"integer\"",
            "base/b.yaml:2: kind: \"Teapot\" is no kind of resource",
            "base/c.yaml:",
            "base/d.yaml:7: metadata.name: KafkaTopic/d is declared twice, first at base/d.yaml:1",
            "base/e.yaml:4: metadata.name: has a space in it",
        ] {
            assert!(said.contains(line), "{line}\n--\n{said}");
        }
        assert!(said.contains("colour"), "{said}");
    }

    #[test]
    fn a_folder_without_manifests_is_not_an_empty_environment() {
        assert!(loaded(&[("base/readme.md", "x")]).unwrap_err().to_string().contains("declares nothing"));
        assert!(loaded(&[("other/a.yaml", "x")]).unwrap_err().to_string().contains("bootstrap init"));
    }

    #[test]
    fn a_schemas_file_stays_in_the_folder() {
        let schema =
            |file| format!("apiVersion: mfctl/v1\nkind: Schema\nmetadata: {{name: a-value}}\nspec: {{file: {file}}}\n");
        let outside = loaded(&[("base/a.yaml", &schema("../../etc/passwd"))]);
        assert!(outside.unwrap_err().to_string().contains("below the manifest's folder"));
        let inside = loaded(&[("base/a.yaml", &schema("s/a.json")), ("base/s/a.json", "{\"type\": \"object\"}")]);
        assert_eq!(inside.unwrap()[0].schema, Some(serde_json::json!({"type": "object"})));
    }
}
