//! Turns query terms into an FTS5 expression. Every term is quoted, so that no text can inject syntax.

use mfctl_core::domain::text::QueryTerm;

/// A query as FTS5 expressions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueryExpressions {
    /// Every term that must occur.
    pub(super) included: Vec<String>,
    /// Any of the excluded terms; `None` if there is none.
    pub(super) excluded: Option<String>,
}

impl QueryExpressions {
    /// The expressions for these terms; `None` if no term is to be included.
    pub(super) fn new(terms: &[QueryTerm]) -> Option<Self> {
        let of = |excluded: bool| -> Vec<String> {
            terms.iter().filter(|term| term.excluded == excluded).map(any_spelling).collect()
        };
        let included = of(false);
        let excluded = of(true);
        let excluded = (!excluded.is_empty()).then(|| excluded.join(" OR "));
        (!included.is_empty()).then_some(Self { included, excluded })
    }

    /// The whole query: for what has all terms in one row.
    pub(super) fn all(&self) -> String {
        let included = self.included.join(" AND ");
        match &self.excluded {
            Some(excluded) => format!("({included}) NOT ({excluded})"),
            None => included,
        }
    }

    /// Any of the terms that must occur.
    pub(super) fn any(&self) -> String {
        self.included.join(" OR ")
    }
}

/// Any of the term's spellings.
fn any_spelling(term: &QueryTerm) -> String {
    let spellings: Vec<String> = term.spellings.iter().map(|spelling| quoted(spelling, term.prefix)).collect();
    format!("({})", spellings.join(" OR "))
}

/// An FTS5 string: only a quote ends it, and two quotes are one in the text.
fn quoted(words: &str, prefix: bool) -> String {
    format!("\"{}\"{}", words.replace('"', "\"\""), if prefix { " *" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfctl_core::domain::text::query_terms;

    fn expression(typed: &str) -> Option<String> {
        QueryExpressions::new(&query_terms(typed)).map(|query| query.all())
    }

    #[test]
    fn words_phrases_prefixes_and_exclusions_become_one_expression() {
        assert_eq!(expression("tea break").as_deref(), Some(r#"("tea") AND ("break")"#));
        assert_eq!(
            expression(r#""tea break" arch* -draft"#).as_deref(),
            Some(r#"(("tea break") AND ("arch" *)) NOT (("draft"))"#)
        );
        assert_eq!(expression("-draft"), None);
        assert_eq!(expression("*** ?!"), None);
    }
}
