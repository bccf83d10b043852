//! Filters of files: patterns on paths, patterns on media types.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::Error;
use super::pattern::{Dialect, Pattern, PatternSet, marked_bytes};
use super::skipped::{RuleSource, SkipRule, shown};
use super::spec::{JobSpec, PathPattern};
use mfctl_core::domain::MediaTypePattern;

/// `--include`, `--exclude` and `--no-hidden`. A pattern without a slash matches the name at any depth; one with a slash
/// matches the path relative to the root. `*` does not match a slash, `**` does; a slash at the end means a folder.
#[derive(Debug)]
pub struct PathFilter {
    include: Option<OptionPatterns>,
    exclude: OptionPatterns,
    hidden: Option<SkipRule>,
    /// The rule of a file that no `--include` matches.
    not_included: SkipRule,
}

impl PathFilter {
    /// Compiles the patterns of a spec.
    ///
    /// # Errors
    /// What is not a pattern.
    pub fn new(spec: &JobSpec) -> Result<Self, Error> {
        let include = if spec.include.is_empty() {
            None
        } else {
            Some(OptionPatterns::new(&spec.include, RuleSource::Include, "--include")?)
        };
        Ok(Self {
            include,
            exclude: OptionPatterns::new(&spec.exclude, RuleSource::Exclude, "--exclude")?,
            hidden: spec.no_hidden.then(|| SkipRule::of_option(RuleSource::NoHidden, None)),
            not_included: SkipRule::of_option(RuleSource::Include, None),
        })
    }

    /// Whether there is no rule at all.
    pub(super) fn is_empty(&self) -> bool {
        self.include.is_none() && self.exclude.rules.is_empty() && self.hidden.is_none()
    }

    /// Whether this is the rule of files that no `--include` matches.
    pub(super) fn is_not_included(&self, rule: &SkipRule) -> bool {
        std::ptr::eq(rule, &raw const self.not_included)
    }

    /// The rule that leaves out the file at this path relative to its root; `None` if it is taken.
    pub(super) fn leaves_out_file(&self, relative: &Path) -> Option<&SkipRule> {
        if let Some(rule) = self.hidden.as_ref().filter(|_| is_hidden(relative)) {
            return Some(rule);
        }
        if let Some(rule) = self.exclude.matching(relative, false) {
            return Some(rule);
        }
        let include = self.include.as_ref()?;
        include.matching(relative, false).is_none().then_some(&self.not_included)
    }

    /// The rule for which the folder at this path relative to its root is not walked; `None` if it is walked.
    pub(super) fn leaves_out_folder(&self, relative: &Path) -> Option<&SkipRule> {
        self.hidden.as_ref().filter(|_| is_hidden(relative)).or_else(|| self.exclude.matching(relative, true))
    }

    /// The patterns that have matched nothing so far.
    pub(super) fn unmatched(&self) -> Vec<SkipRule> {
        let all = self.include.iter().chain([&self.exclude]);
        all.flat_map(OptionPatterns::unmatched).cloned().collect()
    }
}

fn is_hidden(relative: &Path) -> bool {
    relative.components().any(|part| matches!(part, Component::Normal(name) if name.as_bytes().starts_with(b".")))
}

/// The patterns of one option.
#[derive(Debug)]
struct OptionPatterns {
    rules: Vec<OptionRule>,
    itself: PatternSet,
    below: PatternSet,
}

#[derive(Debug)]
struct OptionRule {
    rule: SkipRule,
    folders_only: bool,
    matched: AtomicBool,
}

impl OptionPatterns {
    fn new(patterns: &BTreeSet<PathPattern>, source: RuleSource, option: &str) -> Result<Self, Error> {
        let invalid = |pattern: &PathPattern, reason: &str| {
            let pattern = shown(pattern.as_bytes());
            Error::Spec(format!("has {option} '{pattern}', which is not a pattern: {reason}"))
        };
        let mut rules = Vec::new();
        let mut parsed = Vec::new();
        for pattern in patterns {
            // "./a" is what a shell completes, and means "a" in the root.
            let text = pattern.as_bytes();
            let text = text.strip_prefix(b".").filter(|rest| rest.starts_with(b"/")).unwrap_or(text);
            let one = Pattern::parse(text, Dialect::Options).map_err(|reason| invalid(pattern, &reason))?;
            let rule = SkipRule::of_option(source, Some(pattern.as_bytes()));
            rules.push(OptionRule { rule, folders_only: one.folders_only, matched: AtomicBool::new(false) });
            parsed.push(one);
        }
        let compile = |expression: fn(&Pattern) -> &str| {
            let expressions: Vec<_> = parsed.iter().map(expression).collect();
            PatternSet::new(&expressions).map_err(|(index, reason)| {
                let given = patterns.iter().nth(index).cloned().unwrap_or_default();
                invalid(&given, &reason)
            })
        };
        Ok(Self { itself: compile(|one| &one.itself)?, below: compile(|one| &one.below)?, rules })
    }

    /// The first rule that matches a path, or a folder above it. All that match are noted as used.
    fn matching(&self, relative: &Path, is_folder: bool) -> Option<&SkipRule> {
        if self.rules.is_empty() {
            return None;
        }
        let path = marked_bytes(relative.as_os_str().as_bytes());
        let below = self.below.matches(&path);
        let itself = self.itself.matches(&path).filter(|index| is_folder || !self.rules[*index].folders_only);
        let mut first: Option<usize> = None;
        for index in below.chain(itself) {
            self.rules[index].matched.store(true, Ordering::Relaxed);
            first = Some(first.map_or(index, |first| first.min(index)));
        }
        first.map(|index| &self.rules[index].rule)
    }

    fn unmatched(&self) -> impl Iterator<Item = &SkipRule> {
        self.rules.iter().filter(|rule| !rule.matched.load(Ordering::Relaxed)).map(|rule| &rule.rule)
    }
}

/// `--allow-type` and `--deny-type`.
#[derive(Debug, Clone)]
pub struct TypeFilter {
    allow: Vec<MediaTypePattern>,
    deny: Vec<MediaTypePattern>,
}

impl TypeFilter {
    /// Compiles the type patterns of a spec.
    ///
    /// # Errors
    /// The pattern that is not a media type or a family.
    pub fn new(spec: &JobSpec) -> Result<Self, Error> {
        let read = |patterns: &BTreeSet<String>| -> Result<Vec<MediaTypePattern>, Error> {
            let parse = |text: &String| {
                text.parse::<MediaTypePattern>().map_err(|error| Error::Spec(format!("has the type {text:?}: {error}")))
            };
            patterns.iter().map(parse).collect()
        };
        Ok(Self { allow: read(&spec.allow_types)?, deny: read(&spec.deny_types)? })
    }

    /// Why a file of this type is rejected; `None` if it is taken.
    #[must_use]
    pub fn rejection(&self, media_type: &str) -> Option<String> {
        let matches = |patterns: &[MediaTypePattern]| patterns.iter().any(|pattern| pattern.matches(media_type));
        if matches(&self.deny) {
            return Some(format!("it is {media_type}, which --deny-type names"));
        }
        if !self.allow.is_empty() && !matches(&self.allow) {
            return Some(format!("it is {media_type}, which no --allow-type names"));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> PathFilter {
        let set = |patterns: &[&str]| patterns.iter().map(|&p| PathPattern::from(p)).collect();
        PathFilter::new(&JobSpec { include: set(include), exclude: set(exclude), ..JobSpec::default() }).unwrap()
    }

    fn takes(filter: &PathFilter, path: &str) -> bool {
        filter.leaves_out_file(Path::new(path)).is_none()
    }

    fn walks(filter: &PathFilter, path: &str) -> bool {
        filter.leaves_out_folder(Path::new(path)).is_none()
    }

    #[test]
    fn pattern_without_slash_matches_names_at_any_depth() {
        let pdfs = filter(&["*.pdf"], &[]);
        assert!(takes(&pdfs, "a.pdf") && takes(&pdfs, "x/y/a.pdf"));
        assert!(!takes(&pdfs, "a.txt"));
        let here = filter(&["./a.pdf", "docs"], &[]);
        assert!(takes(&here, "a.pdf") && !takes(&here, "x/a.pdf") && takes(&here, "x/docs/y/z"));
    }

    #[test]
    fn excluded_folder_excludes_its_contents_but_not_a_file_of_its_name() {
        let no_tmp = filter(&[], &["tmp/", "/old/*.bak"]);
        assert!(!walks(&no_tmp, "a/tmp") && !takes(&no_tmp, "a/tmp/b/c"));
        assert!(takes(&no_tmp, "a/tmp"), "a file");
        assert!(!takes(&no_tmp, "old/x.bak") && takes(&no_tmp, "a/old/x.bak"));
        let both = filter(&["*.txt"], &["secret*"]);
        assert!(takes(&both, "a.txt") && !takes(&both, "secret.txt"));
    }

    #[test]
    fn the_rule_that_leaves_a_file_out_is_named_and_unused_patterns_are_known() {
        let filter = filter(&["*.txt", "*.pdff"], &["b*", "c*"]);
        assert_eq!(filter.leaves_out_file(Path::new("b.txt")).unwrap().to_string(), "--exclude 'b*'");
        assert_eq!(filter.leaves_out_file(Path::new("x.pdf")).unwrap().to_string(), "--include: no pattern matches");
        assert_eq!(filter.leaves_out_file(Path::new("x.txt")), None);
        let unused: Vec<_> = filter.unmatched().into_iter().map(|rule| (rule.source, rule.pattern.unwrap())).collect();
        assert_eq!(unused, [(RuleSource::Include, "*.pdff".to_owned()), (RuleSource::Exclude, "c*".to_owned())]);
    }

    #[test]
    fn hidden_files_and_files_in_hidden_folders_are_left_out_on_request() {
        let filter = PathFilter::new(&JobSpec { no_hidden: true, ..JobSpec::default() }).unwrap();
        assert!(!takes(&filter, ".a") && !takes(&filter, ".x/a") && !walks(&filter, "x/.git") && takes(&filter, "./a"));
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
