//! Turns query terms into an FTS5 expression. Every term is quoted, so that no text can inject syntax.

use mfctl_core::domain::text::QueryTerm;

/// The expression for these terms; `None` if no term is to be included.
pub(super) fn fts5_expression(terms: &[QueryTerm]) -> Option<String> {
    let join = |excluded: bool, by: &str| {
        let selected: Vec<String> = terms.iter().filter(|term| term.excluded == excluded).map(any_spelling).collect();
        (!selected.is_empty()).then(|| selected.join(by))
    };
    let included = join(false, " AND ")?;
    Some(match join(true, " OR ") {
        Some(excluded) => format!("({included}) NOT ({excluded})"),
        None => included,
    })
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
        fts5_expression(&query_terms(typed))
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
