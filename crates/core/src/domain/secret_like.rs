//! Detection of values that look like secrets and must not be stored as plain configuration. A heuristic that prefers false
//! positives; the operator can override it.

use super::address;

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
    if address::has_password(value) {
        return Some("the value is an address with a password in it".to_owned());
    }
    if let Some(word) = assigned_word(value, Assignment::Equals) {
        return Some(format!("the value has something after {word}="));
    }
    let key = key.to_ascii_lowercase();
    let word = SECRET_WORDS.iter().find(|word| key.contains(**word))?;
    // Not `token_ttl: 20m` or `password_min_length: 12`.
    (value.len() >= MIN_RANDOM_KEY && value.chars().all(is_token_char) || key.ends_with(word) && value.len() >= 6)
        .then(|| format!("the key is called {word}, and the value could be one"))
}

/// Why a text for people, such as a reason, must not be kept: it holds a password, a token, or an address with credentials.
/// The answer never repeats the text.
#[must_use]
pub fn secret_in_text(text: &str) -> Option<String> {
    let assigned = assigned_word(text, Assignment::Equals).or_else(|| assigned_word(text, Assignment::Colon));
    if let Some(word) = assigned {
        return Some(format!("it has a value after {word}"));
    }
    if has_login(text) {
        return Some("it has credentials in it".to_owned());
    }
    let words = || text.split_whitespace().map(|word| word.trim_matches(|c: char| "'\"`().,:;!?".contains(c)));
    if words().any(|word| address::has_user(word) || address::has_password(word)) {
        return Some("it has an address with credentials in it".to_owned());
    }
    secret_reason("", text)
        .or_else(|| words().find_map(|word| secret_reason("", word)))
        .map(|why| why.replace("the value", "a part of it"))
}

/// What stands between a word and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Assignment {
    /// `password=x`, `password = x`.
    Equals,
    /// `password: x`, where `x` is the last word or is no plain word, and `"password": "x"`.
    Colon,
}

/// The secret word to which a text assigns a value.
fn assigned_word(text: &str, assignment: Assignment) -> Option<&'static str> {
    let lower = text.to_lowercase();
    let mut words = SECRET_WORDS.into_iter().chain(["pwd", "گذرواژه"]);
    words.find(|word| lower.match_indices(word).any(|(at, _)| is_assigned(&lower[at + word.len()..], assignment)))
}

/// Whether what follows a word assigns a value to it.
fn is_assigned(rest: &str, assignment: Assignment) -> bool {
    // `secret_key`, `token-id`: the rest of the name.
    let rest = rest.trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-'));
    let rest = rest.trim_start_matches(['"', '\'']);
    let spaced = rest.trim_start();
    let is_spaced = spaced.len() < rest.len();
    match assignment {
        Assignment::Equals => spaced.strip_prefix('=').is_some_and(|value| {
            let has_value = |value: &str| value.starts_with(|c: char| !c.is_whitespace() && c != '=');
            has_value(value) || is_spaced && has_value(value.trim_start())
        }),
        Assignment::Colon => spaced.strip_prefix(':').is_some_and(|value| {
            let value = value.trim();
            let first = value.split_whitespace().next().unwrap_or_default();
            let is_plain = first.chars().all(char::is_alphabetic);
            !first.is_empty() && (!is_plain || first == value)
        }),
    }
}

/// Whether a text has the credentials of an HTTP request: `Authorization: Bearer x`, or curl's `-u name:x`.
fn has_login(text: &str) -> bool {
    let is_header = text.to_lowercase().contains("authorization");
    let pairs = text.split_whitespace().zip(text.split_whitespace().skip(1));
    pairs.into_iter().any(|(word, next)| match word.to_lowercase().as_str() {
        "bearer" | "basic" => is_header || next.len() >= 16,
        "-u" | "--user" => {
            next.split_once(':').is_some_and(|(name, password)| !name.is_empty() && !password.is_empty())
        }
        _ => false,
    })
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
            ("dsn", "host=h user=u password=hunter2"),
            ("url", "https://h/x?api_key=hunter2"),
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

    #[test]
    fn secrets_in_a_reason_are_found_and_not_repeated() {
        for text in [
            "new password=hunter2 for ops",
            "rotated (Token=hunter2)",
            "as in https://ops:hunter2@db/media",
            "clone https://hunter2@git.example/x first",
            "uses ghp_hunter2hunter2hunter2hunter2hunter2",
            "see \"AKIAIOSFODNN7HUNTER2\".",
            "password: hunter2",
            "passwd : 'hunter2' for now",
            "secret_key = hunter2",
            "{\"password\":\"hunter2\"}",
            "Authorization: Bearer hunter2",
            "curl -u bob:hunter2 https://x",
            "گذرواژه=hunter2",
        ] {
            let why = secret_in_text(text);
            assert!(why.as_ref().is_some_and(|why| !why.to_lowercase().contains("hunter2")), "{text}: {why:?}");
        }
        for text in [
            "save RAM",
            "the password= of the old database is no longer used",
            "see https://wiki.example/a@b?page=1#x",
            "ask mina@example.org",
            "ticket OPS-12: token lifetime",
            "password: see the ticket",
            "secret_key rotation, basic checks done",
        ] {
            assert_eq!(secret_in_text(text), None, "{text}");
        }
    }
}
