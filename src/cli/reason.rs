//! The reason that an operator gives for a change; it is stored with the change.

use mfctl_core::domain::secret_like::secret_in_text;

/// Longest reason, in characters.
const MAX_REASON: usize = 1024;

/// Parses a reason, without the white space around it.
///
/// # Errors
/// When it is empty, longer than 1,024 characters, or holds what looks like a secret: the history can be read by every
/// operator, and is never deleted.
pub fn parse(text: &str) -> Result<String, String> {
    let reason = text.trim();
    if let Some(why) = secret_in_text(reason) {
        return Err(format!("it is kept in clear, and {why}: leave the secret out"));
    }
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
    fn a_reason_is_neither_empty_nor_too_long_nor_a_secret() {
        assert_eq!(parse("  test upload ").unwrap(), "test upload");
        let secret = parse("new password=hunter2").unwrap_err();
        assert!(secret.contains("leave the secret out") && !secret.contains("hunter2"), "{secret}");
        assert!(parse("  ").is_err() && parse(&"x".repeat(2000)).is_err());
    }
}
