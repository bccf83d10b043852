//! Filters of files: globs on paths, patterns on media types.

use std::collections::BTreeSet;
use std::path::Path;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::error::Error;
use super::spec::JobSpec;

/// `--include` and `--exclude`. A pattern without a slash matches the name at any depth; one with a slash matches the path
/// relative to the root. `*` does not match a slash, `**` does; a trailing slash means a folder.
#[derive(Debug, Clone)]
pub struct PathFilter {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl PathFilter {
    /// Compiles the globs of a spec.
    ///
    /// # Errors
    /// The pattern that is not a glob.
    pub fn new(spec: &JobSpec) -> Result<Self, Error> {
        let include = if spec.include.is_empty() { None } else { Some(glob_set(&spec.include)?) };
        Ok(Self { include, exclude: glob_set(&spec.exclude)? })
    }

    /// Whether the file at this path relative to its root is taken.
    #[must_use]
    pub fn takes_file(&self, relative: &Path) -> bool {
        self.include.as_ref().is_none_or(|include| include.is_match(relative)) && !self.exclude.is_match(relative)
    }

    /// Whether the folder at this path relative to its root is walked.
    #[must_use]
    pub fn walks_folder(&self, relative: &Path) -> bool {
        !self.exclude.is_match(relative)
    }
}

fn glob_set(patterns: &BTreeSet<String>) -> Result<GlobSet, Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        for glob in globs(pattern)? {
            set.add(glob);
        }
    }
    set.build().map_err(|error| Error::Spec(format!("has patterns that cannot be used together: {error}")))
}

/// The globs of a pattern: the pattern itself, and everything below a folder that it names.
fn globs(pattern: &str) -> Result<Vec<Glob>, Error> {
    let build = |text: &str| {
        GlobBuilder::new(text)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| Error::Spec(format!("has {pattern:?}, which is not a glob: {}", error.kind())))
    };
    let bare = pattern.trim_end_matches('/');
    if bare.is_empty() {
        return Err(Error::Spec(format!("has {pattern:?}, which is not a glob")));
    }
    let anchored = match bare.strip_prefix('/') {
        Some(rest) => rest.to_owned(),
        None if bare.contains('/') => bare.to_owned(),
        None => format!("**/{bare}"),
    };
    Ok(vec![build(&anchored)?, build(&format!("{anchored}/**"))?])
}

/// `--allow-type` and `--deny-type`: `application/pdf`, `image/*` or `image/`.
#[derive(Debug, Clone)]
pub struct TypeFilter {
    allow: BTreeSet<String>,
    deny: BTreeSet<String>,
}

impl TypeFilter {
    /// Compiles the type patterns of a spec.
    ///
    /// # Errors
    /// The pattern that is not a media type or a family.
    pub fn new(spec: &JobSpec) -> Result<Self, Error> {
        let read = |patterns: &BTreeSet<String>| -> Result<BTreeSet<String>, Error> {
            patterns.iter().map(|text| type_pattern(text)).collect()
        };
        Ok(Self { allow: read(&spec.allow_types)?, deny: read(&spec.deny_types)? })
    }

    /// Why a file of this type is rejected; `None` if it is taken.
    #[must_use]
    pub fn rejection(&self, media_type: &str) -> Option<String> {
        let matches = |patterns: &BTreeSet<String>| {
            patterns
                .iter()
                .any(|pattern| media_type == pattern || (pattern.ends_with('/') && media_type.starts_with(pattern)))
        };
        if matches(&self.deny) {
            return Some(format!("it is {media_type}, which --deny-type names"));
        }
        if !self.allow.is_empty() && !matches(&self.allow) {
            return Some(format!("it is {media_type}, which no --allow-type names"));
        }
        None
    }
}

/// A type, or a family as its prefix up to the slash.
fn type_pattern(text: &str) -> Result<String, Error> {
    let pattern = text.trim().to_ascii_lowercase();
    let pattern = pattern.strip_suffix('*').unwrap_or(&pattern).to_owned();
    match pattern.split_once('/') {
        Some((kind, _)) if !kind.is_empty() && !pattern.contains('*') => Ok(pattern),
        _ => Err(Error::Spec(format!("has {text:?}, which is not a media type: use application/pdf or image/*"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> PathFilter {
        let set = |patterns: &[&str]| patterns.iter().map(|&p| p.to_owned()).collect();
        PathFilter::new(&JobSpec { include: set(include), exclude: set(exclude), ..JobSpec::default() }).unwrap()
    }

    #[test]
    fn pattern_without_slash_matches_names_at_any_depth() {
        let pdfs = filter(&["*.pdf"], &[]);
        assert!(pdfs.takes_file(Path::new("a.pdf")) && pdfs.takes_file(Path::new("x/y/a.pdf")));
        assert!(!pdfs.takes_file(Path::new("a.txt")));
    }

    #[test]
    fn excluded_folder_excludes_its_contents() {
        let no_tmp = filter(&[], &["tmp/", "/old/*.bak"]);
        assert!(!no_tmp.walks_folder(Path::new("a/tmp")) && !no_tmp.takes_file(Path::new("a/tmp/b/c")));
        assert!(!no_tmp.takes_file(Path::new("old/x.bak")) && no_tmp.takes_file(Path::new("a/old/x.bak")));
        let both = filter(&["*.txt"], &["secret*"]);
        assert!(both.takes_file(Path::new("a.txt")) && !both.takes_file(Path::new("secret.txt")));
    }

    #[test]
    fn deny_type_overrides_allow_type() {
        let spec = JobSpec {
            allow_types: ["image/*".into(), "application/pdf".into()].into(),
            deny_types: ["image/gif".into()].into(),
            ..JobSpec::default()
        };
        let types = TypeFilter::new(&spec).unwrap();
        assert_eq!(types.rejection("image/png"), None);
        assert_eq!(types.rejection("application/pdf"), None);
        assert!(types.rejection("image/gif").unwrap().contains("--deny-type"));
        assert!(types.rejection("text/plain").unwrap().contains("--allow-type"));
        for wrong in ["pdf", "*", "/x", "*/*"] {
            let spec = JobSpec { allow_types: [wrong.to_owned()].into(), ..JobSpec::default() };
            assert!(TypeFilter::new(&spec).is_err(), "{wrong}");
        }
    }
}
