//! What a person typed, as words to look for in every spelling they may have.

use std::collections::{HashMap, VecDeque};
use std::ops::{ControlFlow, Range};

use super::token::{Token, tokens};

/// Words beyond these are not looked for.
pub const MAX_TERMS: usize = 32;
/// The plurals a word may stand in, and may have been typed in.
const PLURALS: &[&str] = &["هایی", "های", "ها"];

/// One thing to look for. A text answers a query that has, for each of its terms, one of the term's spellings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryTerm {
    /// Ways to write it, the one typed first, each in the form of [`normalise`](super::normalise): one word, or several
    /// parted by one space, which then stand side by side.
    pub spellings: Vec<String>,
    /// The last word of each spelling is only how the word begins (typed with a `*`).
    pub prefix: bool,
    /// A text that has it does not answer the query (typed with a `-` before it).
    pub excluded: bool,
}

/// Reads a query: words, `"phrases"`, `begin*`, and `-word` or `-"phrase"` for what must not occur. Never fails; of
/// nothing but punctuation it makes no terms.
#[must_use]
pub fn query_terms(query: &str) -> Vec<QueryTerm> {
    let mut terms = Vec::new();
    let mut phrase_excluded = false;
    for (index, part) in query.split('"').enumerate() {
        let words: Vec<Token> = tokens(part).take(MAX_TERMS).collect();
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

/// Whether the text before a word ends in a `-` that stands at a word's beginning.
fn is_excluding(before: &str) -> bool {
    before.strip_suffix('-').is_some_and(|rest| rest.is_empty() || rest.ends_with(char::is_whitespace))
}

fn phrase_term(words: &[Token], excluded: bool) -> QueryTerm {
    let words: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    QueryTerm { spellings: vec![words.join(" ")], prefix: false, excluded }
}

fn word_term(part: &str, words: &[Token], at: usize) -> QueryTerm {
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
            add(set_apart(word));
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

/// The word with a space for each of its half-spaces.
fn set_apart(word: &Token) -> String {
    let mut parts = Vec::with_capacity(word.half_spaces.len() + 1);
    let mut from = 0;
    for at in word.half_spaces.iter().copied().chain([word.text.len()]) {
        parts.push(&word.text[from..at]);
        from = at;
    }
    parts.join(" ")
}

/// The singular and the plurals of a word of three letters or more.
fn plurals(word: &str) -> impl Iterator<Item = String> {
    let singular = PLURALS.iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(word).to_owned();
    let long_enough = singular.chars().count() >= 3;
    let forms = PLURALS.iter().map({
        let singular = singular.clone();
        move |ending| format!("{singular}{ending}")
    });
    forms.chain([singular]).filter(move |_| long_enough)
}

/// Whether a text answers a query: what a search index is held to.
#[must_use]
pub fn matches(original: &str, terms: &[QueryTerm]) -> bool {
    let mut met = vec![false; terms.len()];
    find(original, terms, |term, _| {
        met[term] = true;
        if terms[term].excluded { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let asked_for = terms.iter().any(|term| !term.excluded);
    asked_for && terms.iter().zip(met).all(|(term, met)| met != term.excluded)
}

/// Calls back with each place of the original that a term is met at, from left to right.
pub(super) fn find(
    original: &str,
    terms: &[QueryTerm],
    mut on_hit: impl FnMut(usize, Range<usize>) -> ControlFlow<()>,
) {
    let patterns = Patterns::new(terms);
    let mut recent: VecDeque<Token> = VecDeque::with_capacity(patterns.longest + 1);
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

/// The spellings of all terms, by their last word.
struct Patterns<'a> {
    exact: HashMap<&'a str, Vec<Pattern<'a>>>,
    begun: Vec<(&'a str, Pattern<'a>)>,
    longest: usize,
}

struct Pattern<'a> {
    term: usize,
    /// The words before the last.
    before: Vec<&'a str>,
}

impl<'a> Patterns<'a> {
    fn new(terms: &'a [QueryTerm]) -> Self {
        let mut patterns = Self { exact: HashMap::new(), begun: Vec::new(), longest: 1 };
        for (term, query) in terms.iter().enumerate() {
            for spelling in &query.spellings {
                let mut before: Vec<&str> = spelling.split(' ').collect();
                let Some(last) = before.pop() else { continue };
                patterns.longest = patterns.longest.max(before.len() + 1);
                let pattern = Pattern { term, before };
                if query.prefix {
                    patterns.begun.push((last, pattern));
                } else {
                    patterns.exact.entry(last).or_default().push(pattern);
                }
            }
        }
        patterns
    }

    /// The terms met by the most recent words, with where each begins.
    fn ending_here(&self, recent: &VecDeque<Token>) -> Vec<(usize, usize)> {
        let Some(last) = recent.back() else { return Vec::new() };
        let exact = self.exact.get(last.text.as_str()).into_iter().flatten();
        let begun = self.begun.iter().filter(|(begin, _)| last.text.starts_with(begin)).map(|(_, pattern)| pattern);
        exact.chain(begun).filter_map(|pattern| Some((pattern.term, pattern.start(recent)?))).collect()
    }
}

impl Pattern<'_> {
    fn start(&self, recent: &VecDeque<Token>) -> Option<usize> {
        let first = recent.len().checked_sub(self.before.len() + 1)?;
        let mut words = recent.iter().skip(first);
        let start = words.clone().next()?.range.start;
        self.before.iter().all(|word| words.next().is_some_and(|token| token.text == *word)).then_some(start)
    }
}
