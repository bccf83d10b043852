//! The reason that an operator gives for a change; it is stored with the change.

/// Longest reason, in characters.
const MAX_REASON: usize = 1024;

/// Parses a reason, without the white space around it.
///
/// # Errors
/// When it is empty or longer than 1,024 characters.
pub fn parse(text: &str) -> Result<String, String> {
    let reason = text.trim();
    match reason.chars().count() {
        0 => Err("give a reason: it is recorded with the change".to_owned()),
        1..=MAX_REASON => Ok(reason.to_owned()),
        _ => Err(format!("at most {MAX_REASON} characters")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_neither_empty_nor_too_long() {
        assert_eq!(parse("  test upload ").unwrap(), "test upload");
        assert!(parse("  ").is_err() && parse(&"x".repeat(2000)).is_err());
    }
}
