//! Detection of values that look like secrets and must not be stored as plain configuration. A heuristic that prefers false
//! positives; the operator can override it.

/// Words in a key that suggest a secret value.
const SECRET_WORDS: [&str; 10] = [
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "private_key",
    "access_key",
    "credential",
    "passphrase",
];
/// Minimum length of a random key, in bytes.
const MIN_RANDOM_KEY: usize = 20;

/// Why a value looks like a secret; `None` if it does not. The text never contains the value.
#[must_use]
pub fn secret_reason(key: &str, value: &str) -> Option<String> {
    let value = value.trim();
    if value.contains("-----BEGIN ") && value.contains("PRIVATE KEY-----") {
        return Some("the value holds a private key".to_owned());
    }
    if is_jwt(value) {
        return Some("the value looks like a signed token (JWT)".to_owned());
    }
    let known = [
        ("AKIA", 20, "an access key of AWS"),
        ("ASIA", 20, "an access key of AWS"),
        ("hvs.", 24, "a token of Vault"),
        ("s.", 26, "a token of Vault"),
        ("ghp_", 36, "a token of GitHub"),
        ("xoxb-", 20, "a token of Slack"),
    ];
    if let Some((.., what)) = known.iter().find(|(start, length, _)| {
        value.starts_with(start) && value.len() >= *length && value.chars().all(is_token_char)
    }) {
        return Some(format!("the value looks like {what}"));
    }
    if super::address::has_password(value) {
        return Some("the value is an address with a password in it".to_owned());
    }
    let key = key.to_ascii_lowercase();
    let word = SECRET_WORDS.iter().find(|word| key.contains(**word))?;
    // Not `token_ttl: 20m` or `password_min_length: 12`.
    (value.len() >= MIN_RANDOM_KEY && value.chars().all(is_token_char) || key.ends_with(word) && value.len() >= 6)
        .then(|| format!("the key is called {word}, and the value could be one"))
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/' | '=')
}

fn is_jwt(value: &str) -> bool {
    let parts: Vec<&str> = value.split('.').collect();
    parts.len() == 3 && value.starts_with("eyJ") && parts.iter().all(|part| part.len() >= 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_detected_and_not_repeated() {
        for (key, value) in [
            ("tls", "-----BEGIN RSA PRIVATE KEY-----\nMIIE"),
            ("x", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"),
            ("id", "AKIAIOSFODNN7EXAMPLE"),
            ("x", "hvs.CAESIJlU9JMYEhOPYv4igdhm9PnZDrabYTobQ4Ymnlq1qY"),
            ("url", "postgres://media:hunter2@db/media"),
            ("url", "postgres://media:hun/ter2@db/media"),
            ("db_password", "hunter2"),
            ("session_token_key", "c2VjcmV0c2VjcmV0c2VjcmV0"),
        ] {
            let reason = secret_reason(key, value).unwrap_or_else(|| panic!("{key}={value}"));
            assert!(!reason.contains(value) && !reason.contains("hunter2"), "{reason}");
        }
    }

    #[test]
    fn ordinary_settings_are_not_secrets() {
        for (key, value) in [
            ("token_ttl", "20m"),
            ("password_min_length", "12"),
            ("url", "https://media.example/a@b"),
            ("greeting", "a sentence of some length that is quite ordinary"),
            ("sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("workers", "16"),
        ] {
            assert_eq!(secret_reason(key, value), None, "{key}={value}");
        }
    }
}
