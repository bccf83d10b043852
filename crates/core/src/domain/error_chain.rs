//! The text of an error and its causes: the one printer of error chains.

use std::error::Error;

/// The error and its causes on one line, joined by `: `. A cause whose text the outer one already ends with is not repeated.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    error_texts(error).join(": ")
}

/// The texts of [`error_chain`], outermost first; never empty.
#[must_use]
pub fn error_texts(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if texts.last().is_none_or(|outer| !outer.ends_with(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct TestError {
        text: &'static str,
        source: Option<Box<TestError>>,
    }

    fn layers(texts: &[&'static str]) -> TestError {
        let (first, rest) = texts.split_first().unwrap();
        TestError { text: first, source: (!rest.is_empty()).then(|| Box::new(layers(rest))) }
    }

    #[test]
    fn causes_are_joined_without_repetition() {
        for (texts, chain) in [
            (&["open the store"][..], "open the store"),
            (&["open the store", "connect", "refused"], "open the store: connect: refused"),
            (&["open the store: refused", "refused", "errno 111"], "open the store: refused: errno 111"),
            (&["refused by the store", "refused"], "refused by the store: refused"),
        ] {
            assert_eq!(error_chain(&layers(texts)), chain);
        }
    }
}
