//! Queries: their terms, each with its possible spellings.

use std::collections::{HashMap, VecDeque};
use std::ops::{ControlFlow, Range};

use super::token::{TextToken, tokens};

/// Maximum number of terms in a query; further words are ignored.
pub const MAX_TERMS: usize = 32;
/// Plural endings, of words in the text and in the query.
const PLURALS: &[&str] = &["هایی", "های", "ها"];

/// A term of a query. A text matches a query if it contains one of the spellings of every term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryTerm {
    /// Spellings, the one in the query first, each in the form of [`normalise`](super::normalise): one word, or a phrase
    /// of words separated by one space.
    pub spellings: Vec<String>,
    /// Prefix match (`word*`): the last word of each spelling is the beginning of a word.
    pub prefix: bool,
    /// Exclusion (`-word`): a text that contains the term does not match.
    pub excluded: bool,
}

/// Parses a query: words, `"phrases"`, `prefix*`, and `-word` or `-"phrase"` for exclusions. Never fails; a query of
/// punctuation alone has no terms.
#[must_use]
pub fn query_terms(query: &str) -> Vec<QueryTerm> {
    let mut terms = Vec::new();
    let mut phrase_excluded = false;
    for (index, part) in query.split('"').enumerate() {
        let words: Vec<TextToken> = tokens(part).take(MAX_TERMS).collect();
        if index % 2 == 0 {
            terms.extend((0..words.len()).map(|at| word_term(part, &words, at)));
            phrase_excluded = is_excluding(part);
        } else if !words.is_empty() {
            terms.push(phrase_term(&words, phrase_excluded));
        }
    }
    terms.truncate(MAX_TERMS);
    terms
}

/// Whether the text before a word ends in a `-` at the beginning of a word.
fn is_excluding(before: &str) -> bool {
    before.strip_suffix('-').is_some_and(|rest| rest.is_empty() || rest.ends_with(char::is_whitespace))
}

fn phrase_term(words: &[TextToken], excluded: bool) -> QueryTerm {
    let words: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    QueryTerm { spellings: vec![words.join(" ")], prefix: false, excluded }
}

fn word_term(part: &str, words: &[TextToken], at: usize) -> QueryTerm {
    let word = &words[at];
    let excluded = is_excluding(&part[..word.range.start]);
    if part[word.range.end..].starts_with('*') {
        return QueryTerm { spellings: vec![word.text.clone()], prefix: true, excluded };
    }
    let mut spellings = vec![word.text.clone()];
    let mut add = |spelling: String| {
        if !spellings.contains(&spelling) {
            spellings.push(spelling);
        }
    };
    if word.is_arabic() {
        if !word.half_spaces.is_empty() {
            add(with_spaces(word));
        }
        if let Some(before) = at.checked_sub(1).and_then(|before| words.get(before)).filter(|_| word.spaced)
            && before.is_arabic()
        {
            add(format!("{}{}", before.text, word.text));
        }
        if let Some(after) = words.get(at + 1).filter(|after| after.spaced && after.is_arabic()) {
            add(format!("{}{}", word.text, after.text));
        }
        plurals(&word.text).for_each(add);
    }
    QueryTerm { spellings, prefix: false, excluded }
}

/// The word with a space in place of each half-space.
fn with_spaces(word: &TextToken) -> String {
    let mut parts = Vec::with_capacity(word.half_spaces.len() + 1);
    let mut from = 0;
    for at in word.half_spaces.iter().copied().chain([word.text.len()]) {
        parts.push(&word.text[from..at]);
        from = at;
    }
    parts.join(" ")
}

/// The singular and the plurals of a word with at least three letters.
fn plurals(word: &str) -> impl Iterator<Item = String> {
    let singular = PLURALS.iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(word).to_owned();
    let long_enough = singular.chars().count() >= 3;
    let forms = PLURALS.iter().map({
        let singular = singular.clone();
        move |ending| format!("{singular}{ending}")
    });
    forms.chain([singular]).filter(move |_| long_enough)
}

/// Whether a text matches a query: the reference that a search index must agree with.
#[must_use]
pub fn matches(original: &str, terms: &[QueryTerm]) -> bool {
    let mut found = vec![false; terms.len()];
    find(original, terms, |term, _| {
        found[term] = true;
        if terms[term].excluded { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let has_required = terms.iter().any(|term| !term.excluded);
    has_required && terms.iter().zip(found).all(|(term, found)| found != term.excluded)
}

/// Calls back with each term and its byte range in the original, from left to right.
pub(super) fn find(
    original: &str,
    terms: &[QueryTerm],
    mut on_hit: impl FnMut(usize, Range<usize>) -> ControlFlow<()>,
) {
    let patterns = Patterns::new(terms);
    let mut recent: VecDeque<TextToken> = VecDeque::with_capacity(patterns.longest + 1);
    for token in tokens(original) {
        recent.push_back(token);
        if recent.len() > patterns.longest {
            recent.pop_front();
        }
        for (term, start) in patterns.ending_here(&recent) {
            let end = recent.back().map_or(start, |last| last.range.end);
            if on_hit(term, start..end).is_break() {
                return;
            }
        }
    }
}

/// The spellings of all terms, indexed by their last word.
struct Patterns<'a> {
    exact: HashMap<&'a str, Vec<Pattern<'a>>>,
    prefixes: Vec<(&'a str, Pattern<'a>)>,
    longest: usize,
}

struct Pattern<'a> {
    term: usize,
    /// Words of the spelling before its last one.
    before: Vec<&'a str>,
}

impl<'a> Patterns<'a> {
    fn new(terms: &'a [QueryTerm]) -> Self {
        let mut patterns = Self { exact: HashMap::new(), prefixes: Vec::new(), longest: 1 };
        for (term, query) in terms.iter().enumerate() {
            for spelling in &query.spellings {
                let mut before: Vec<&str> = spelling.split(' ').collect();
                let Some(last) = before.pop() else { continue };
                patterns.longest = patterns.longest.max(before.len() + 1);
                let pattern = Pattern { term, before };
                if query.prefix {
                    patterns.prefixes.push((last, pattern));
                } else {
                    patterns.exact.entry(last).or_default().push(pattern);
                }
            }
        }
        patterns
    }

    /// The terms whose spelling ends at the most recent word, each with its start.
    fn ending_here(&self, recent: &VecDeque<TextToken>) -> Vec<(usize, usize)> {
        let Some(last) = recent.back() else { return Vec::new() };
        let exact = self.exact.get(last.text.as_str()).into_iter().flatten();
        let prefixes =
            self.prefixes.iter().filter(|(prefix, _)| last.text.starts_with(prefix)).map(|(_, pattern)| pattern);
        exact.chain(prefixes).filter_map(|pattern| Some((pattern.term, pattern.start(recent)?))).collect()
    }
}

impl Pattern<'_> {
    fn start(&self, recent: &VecDeque<TextToken>) -> Option<usize> {
        let first = recent.len().checked_sub(self.before.len() + 1)?;
        let mut words = recent.iter().skip(first);
        let start = words.clone().next()?.range.start;
        self.before.iter().all(|word| words.next().is_some_and(|token| token.text == *word)).then_some(start)
    }
}
