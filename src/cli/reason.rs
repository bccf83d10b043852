//! Why somebody changes something, in words that are kept.

/// The longest reason, in characters.
const MAX_REASON: usize = 1024;

/// Reads a reason.
///
/// # Errors
/// When it says nothing, or too much.
pub fn parse(text: &str) -> Result<String, String> {
    let reason = text.trim();
    match reason.chars().count() {
        0 => Err("say why: whoever looks at this later will want to know".to_owned()),
        1..=MAX_REASON => Ok(reason.to_owned()),
        _ => Err(format!("at most {MAX_REASON} characters")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_something() {
        assert_eq!(parse("  test upload ").unwrap(), "test upload");
        assert!(parse("  ").is_err() && parse(&"x".repeat(2000)).is_err());
    }
}
