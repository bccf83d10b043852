//! What a person typed, as an FTS5 expression that no text can break out of.

use mfctl_core::domain::text::QueryTerm;

/// The expression for these terms; `None` if there is nothing to look for.
pub(super) fn words(terms: &[QueryTerm]) -> Option<String> {
    let join = |excluded: bool, by: &str| {
        let wanted: Vec<String> = terms.iter().filter(|term| term.excluded == excluded).map(term_of).collect();
        (!wanted.is_empty()).then(|| wanted.join(by))
    };
    let asked_for = join(false, " AND ")?;
    Some(match join(true, " OR ") {
        Some(unwanted) => format!("({asked_for}) NOT ({unwanted})"),
        None => asked_for,
    })
}

/// One of the term's spellings.
fn term_of(term: &QueryTerm) -> String {
    let spellings: Vec<String> = term.spellings.iter().map(|spelling| string(spelling, term.prefix)).collect();
    format!("({})", spellings.join(" OR "))
}

/// An FTS5 string holds anything: only a quote ends it, and two stand for one.
fn string(words: &str, prefix: bool) -> String {
    format!("\"{}\"{}", words.replace('"', "\"\""), if prefix { " *" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfctl_core::domain::text::query_terms;

    fn expression(typed: &str) -> Option<String> {
        words(&query_terms(typed))
    }

    #[test]
    fn words_phrases_beginnings_and_exclusions_become_one_expression() {
        assert_eq!(expression("tea break").as_deref(), Some(r#"("tea") AND ("break")"#));
        assert_eq!(
            expression(r#""tea break" arch* -draft"#).as_deref(),
            Some(r#"(("tea break") AND ("arch" *)) NOT (("draft"))"#)
        );
        assert_eq!(expression("-draft"), None);
        assert_eq!(expression("*** ?!"), None);
    }
}
