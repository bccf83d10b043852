//! Which files are wanted: globs on paths, patterns on types.

use std::collections::BTreeSet;
use std::path::Path;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::Error;
use super::spec::JobSpec;

/// `--include` and `--exclude`. A pattern without a slash is held against the name, at any depth; one with a slash
/// against the path below the root. `*` stops at a slash, `**` does not; a slash at the end means a folder.
#[derive(Debug, Clone)]
pub struct PathFilter {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl PathFilter {
    /// The filter of a spec.
    ///
    /// # Errors
    /// The pattern that is none.
    pub fn new(spec: &JobSpec) -> Result<Self, Error> {
        let include = if spec.include.is_empty() { None } else { Some(globs(&spec.include)?) };
        Ok(Self { include, exclude: globs(&spec.exclude)? })
    }

    /// Whether a file at this path below its root is wanted.
    #[must_use]
    pub fn wants_file(&self, below_root: &Path) -> bool {
        self.include.as_ref().is_none_or(|include| include.is_match(below_root)) && !self.exclude.is_match(below_root)
    }

    /// Whether a folder at this path below its root is to be looked into.
    #[must_use]
    pub fn wants_folder(&self, below_root: &Path) -> bool {
        !self.exclude.is_match(below_root)
    }
}

fn globs(patterns: &BTreeSet<String>) -> Result<GlobSet, Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        for glob in glob(pattern)? {
            set.add(glob);
        }
    }
    set.build().map_err(|error| Error::Spec(format!("has patterns that cannot be used together: {error}")))
}

/// The globs that a pattern stands for: itself, and everything below a folder it names.
fn glob(pattern: &str) -> Result<Vec<Glob>, Error> {
    let build = |text: &str| {
        GlobBuilder::new(text)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| Error::Spec(format!("has {pattern:?}, which is no glob: {}", error.kind())))
    };
    let bare = pattern.trim_end_matches('/');
    if bare.is_empty() {
        return Err(Error::Spec(format!("has {pattern:?}, which is no glob")));
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
    /// The filter of a spec.
    ///
    /// # Errors
    /// The pattern that is none.
    pub fn new(spec: &JobSpec) -> Result<Self, Error> {
        let read = |patterns: &BTreeSet<String>| -> Result<BTreeSet<String>, Error> {
            patterns.iter().map(|text| family(text)).collect()
        };
        Ok(Self { allow: read(&spec.allow_types)?, deny: read(&spec.deny_types)? })
    }

    /// Why a file of this type is not taken, if so.
    #[must_use]
    pub fn refuses(&self, media_type: &str) -> Option<String> {
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

fn family(text: &str) -> Result<String, Error> {
    let pattern = text.trim().to_ascii_lowercase();
    let pattern = pattern.strip_suffix('*').unwrap_or(&pattern).to_owned();
    match pattern.split_once('/') {
        Some((kind, _)) if !kind.is_empty() && !pattern.contains('*') => Ok(pattern),
        _ => Err(Error::Spec(format!("has {text:?}, which is no type: use application/pdf or image/*"))),
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
    fn a_pattern_without_a_slash_matches_names_at_any_depth() {
        let pdfs = filter(&["*.pdf"], &[]);
        assert!(pdfs.wants_file(Path::new("a.pdf")) && pdfs.wants_file(Path::new("x/y/a.pdf")));
        assert!(!pdfs.wants_file(Path::new("a.txt")));
    }

    #[test]
    fn an_excluded_folder_takes_what_is_in_it_along() {
        let no_tmp = filter(&[], &["tmp/", "/old/*.bak"]);
        assert!(!no_tmp.wants_folder(Path::new("a/tmp")) && !no_tmp.wants_file(Path::new("a/tmp/b/c")));
        assert!(!no_tmp.wants_file(Path::new("old/x.bak")) && no_tmp.wants_file(Path::new("a/old/x.bak")));
        let both = filter(&["*.txt"], &["secret*"]);
        assert!(both.wants_file(Path::new("a.txt")) && !both.wants_file(Path::new("secret.txt")));
    }

    #[test]
    fn types_are_allowed_by_name_or_family_and_a_denial_wins() {
        let spec = JobSpec {
            allow_types: ["image/*".into(), "application/pdf".into()].into(),
            deny_types: ["image/gif".into()].into(),
            ..JobSpec::default()
        };
        let types = TypeFilter::new(&spec).unwrap();
        assert_eq!(types.refuses("image/png"), None);
        assert_eq!(types.refuses("application/pdf"), None);
        assert!(types.refuses("image/gif").unwrap().contains("--deny-type"));
        assert!(types.refuses("text/plain").unwrap().contains("--allow-type"));
        for wrong in ["pdf", "*", "/x", "*/*"] {
            let spec = JobSpec { allow_types: [wrong.to_owned()].into(), ..JobSpec::default() };
            assert!(TypeFilter::new(&spec).is_err(), "{wrong}");
        }
    }
}
