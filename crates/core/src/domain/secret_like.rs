//! Detection of values that look like secrets and must not be stored as plain configuration. A heuristic that prefers false
//! positives; the operator can override it.

use serde_json::Value;

use super::address;

/// Words in a key that suggest a secret value.
const SECRET_WORDS: [&str; 13] = [
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "private_key",
    "access_key",
    "account_key",
    "accountkey",
    "accesskey",
    "credential",
    "passphrase",
];
/// Words that suggest a secret value where they are the last part of a key: `db_pass`, not `bypass` or `pass_rate`.
const SHORT_SECRET_WORDS: [&str; 2] = ["pass", "pwd"];
/// Last parts of keys that say where a secret is, or what it is called.
const LOCATION_WORDS: [&str; 9] = ["file", "path", "dir", "name", "url", "uri", "ref", "mount", "header"];
/// Beginnings of values that say where a secret is.
const REFERENCES: [&str; 3] = ["vault:", "env:", "file:"];
/// Values that say whether there is a secret.
const STATES: [&str; 4] = ["enabled", "disabled", "required", "optional"];
/// Beginnings of secrets, the shortest length of one in bytes, and what it is.
const KNOWN_FORMS: [(&str, usize, &str); 18] = [
    ("AKIA", 20, "an access key of AWS"),
    ("ASIA", 20, "an access key of AWS"),
    ("hvs.", 24, "a token of Vault"),
    ("s.", 26, "a token of Vault"),
    ("ghp_", 36, "a token of GitHub"),
    ("gho_", 36, "a token of GitHub"),
    ("ghu_", 36, "a token of GitHub"),
    ("ghs_", 36, "a token of GitHub"),
    ("ghr_", 36, "a token of GitHub"),
    ("github_pat_", 36, "a token of GitHub"),
    ("glpat-", 26, "a token of GitLab"),
    ("sk_live_", 20, "a key of Stripe"),
    ("rk_live_", 20, "a key of Stripe"),
    ("xoxa-", 20, "a token of Slack"),
    ("xoxb-", 20, "a token of Slack"),
    ("xoxp-", 20, "a token of Slack"),
    ("xoxr-", 20, "a token of Slack"),
    ("xoxs-", 20, "a token of Slack"),
];
/// Minimum length of a random key, in bytes.
const MIN_RANDOM_KEY: usize = 20;
/// Minimum length of a password, in bytes: `token: 20m` has none.
const MIN_PASSWORD: usize = 6;

/// Why a value looks like a secret; `None` if it does not. Of a value in JSON, each name and value is checked. The text
/// never contains the value.
#[must_use]
pub fn secret_reason(key: &str, value: &str) -> Option<String> {
    let value = value.trim();
    if let Some(json) = serde_json::from_str(value).ok().filter(|json: &Value| json.is_object() || json.is_array()) {
        // The parts of the text too: of a name that is given twice, the value in JSON has the last one only.
        return secret_in_json(key, &json).or_else(|| assigned_secret(value));
    }
    if value.contains("-----BEGIN ") && value.contains("PRIVATE KEY") {
        return Some("the value holds a private key".to_owned());
    }
    let ends_word = |c: char| c.is_whitespace() || "=,;&?".contains(c);
    let words = || value.split(ends_word).map(|word| word.trim_matches(|c: char| "'\"`(){}[]:!".contains(c)));
    if words().any(is_jwt) {
        return Some("the value looks like a signed token (JWT)".to_owned());
    }
    let is_known = |word: &str, start: &str, length: usize| {
        word.starts_with(start) && word.len() >= length && word.chars().all(is_token_char)
    };
    let known = KNOWN_FORMS.iter().find(|(start, length, _)| words().any(|word| is_known(word, start, *length)));
    if let Some((.., what)) = known {
        return Some(format!("the value looks like {what}"));
    }
    if has_login(value) {
        return Some("the value has credentials in it".to_owned());
    }
    if address::has_password(value) || words().any(is_go_address_with_password) {
        return Some("the value is an address with a password in it".to_owned());
    }
    if let Some(word) = assigned_word(value, Assignment::Equals) {
        return Some(format!("the value has something after {word}="));
    }
    assigned_secret(value).or_else(|| secret_of_key(key, value))
}

/// The reason if a text assigns a value to a secret word.
fn assigned_secret(text: &str) -> Option<String> {
    let word = assignments(text).find_map(|(name, value)| secret_word(name, value))?;
    Some(format!("the value has something after {word}"))
}

/// The reason if the key has a word for which its value could be a secret.
fn secret_of_key(key: &str, value: &str) -> Option<String> {
    secret_word(key, value).map(|word| format!("the key is called {word}, and the value could be one"))
}

/// [`secret_reason`] of the names and values in a list or a map. Each value has its own name, and a text that of its map
/// too; the values of a list have the list's. A value called `value` has the name beside it as well, as in
/// `{"name": "DB_PASSWORD", "value": …}`.
fn secret_in_json(key: &str, json: &Value) -> Option<String> {
    match json {
        Value::Null | Value::Bool(_) => None,
        Value::Number(number) => secret_reason(key, &number.to_string()),
        Value::String(text) => secret_reason(key, text),
        Value::Array(list) => list.iter().find_map(|part| secret_in_json(key, part)),
        Value::Object(map) => {
            let given_name = map.get("name").and_then(Value::as_str).unwrap_or(key);
            map.iter().find_map(|(name, part)| {
                let own_name = if name == "value" { given_name } else { name };
                let text = part.as_str().filter(|_| !is_location(name));
                secret_reason("", name).or_else(|| secret_in_json(own_name, part)).or_else(|| secret_of_key(key, text?))
            })
        }
    }
}

/// The word in a key for which its value could be a secret.
fn secret_word(key: &str, value: &str) -> Option<&'static str> {
    if is_location(key) || STATES.contains(&value) || is_reference(value) {
        return None;
    }
    let last = words_of_key(key).pop().unwrap_or_default();
    if let Some(word) = SHORT_SECRET_WORDS.iter().find(|word| **word == last && value.len() >= MIN_PASSWORD) {
        return Some(word);
    }
    let key = key.to_ascii_lowercase().replace('-', "_");
    let word = SECRET_WORDS.iter().find(|word| key.contains(**word))?;
    // Not `token_ttl: 20m` or `password_min_length: 12`.
    let is_random_key = value.len() >= MIN_RANDOM_KEY && value.chars().all(is_token_char);
    (is_random_key || key.ends_with(word) && value.len() >= MIN_PASSWORD).then_some(*word)
}

/// Whether a key says where something is, or what it is called.
fn is_location(key: &str) -> bool {
    words_of_key(key).last().is_some_and(|last| LOCATION_WORDS.contains(&last.as_str()))
}

/// The words of a key, in lower case: `db_pass`, `db-pass` and `dbPass` have two.
fn words_of_key(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut previous = ' ';
    for c in key.chars() {
        let begins = c.is_ascii_uppercase() && previous.is_ascii_lowercase();
        if begins || !c.is_alphanumeric() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
        previous = c;
    }
    words
}

/// Whether a value says where a secret is: a reference, a template's variable, or a path of a file.
fn is_reference(value: &str) -> bool {
    let is_path = ["./", "../", "~/"].iter().any(|start| value.starts_with(start))
        || value.strip_prefix('/').is_some_and(|rest| rest.contains('/'));
    REFERENCES.iter().any(|start| value.starts_with(start))
        || value.starts_with("${") && value.ends_with('}')
        || is_path && !value.contains(['+', '='])
}

/// Names and values in a text such as `user=a pass=b`, `user = a` or `user: a`, on one or more lines.
fn assignments(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let words = text.split(|c: char| c.is_whitespace() || ",;&?{}".contains(c));
    let entries = text.split(['\n', ',', ';', '{', '}']);
    let of_words = words.filter_map(|word| assignment(word, '='));
    // A text in several lines, in YAML, begins on the next line.
    let lines = text.lines().zip(text.lines().skip(1));
    let of_blocks = lines.filter_map(|(line, next)| {
        let (name, value) = assignment(line, ':')?;
        matches!(value, "|" | ">" | "|-" | ">-" | "|+" | ">+").then(|| (name, next.trim()))
    });
    of_words
        .chain(of_blocks)
        .chain(entries.flat_map(|entry| [assignment(entry, '='), assignment(entry, ':')].into_iter().flatten()))
}

/// The name and the value of `name=value`, with this sign between them.
fn assignment(text: &str, sign: char) -> Option<(&str, &str)> {
    let quotes = ['"', '\''];
    let (name, value) = text.split_once(sign)?;
    let name = name.trim().trim_start_matches("- ").trim_start_matches("export ").trim().trim_matches(quotes);
    // YAML's comment.
    let value = value.split_once(" #").map_or(value, |(value, _)| value).trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    // Several words without quotes are a sentence.
    let is_value = value.starts_with(quotes) || !value.contains(char::is_whitespace);
    (is_name && is_value).then(|| (name, value.trim_matches(quotes)))
}

/// Whether a word is an address with a password as Go's drivers take it: `user:password@tcp(host:3306)/database`.
fn is_go_address_with_password(word: &str) -> bool {
    let credentials = ["@tcp(", "@unix(", "@udp("].iter().find_map(|network| word.split_once(network));
    credentials
        .and_then(|(credentials, _)| credentials.split_once(':'))
        .is_some_and(|(_, password)| !password.is_empty())
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
        "bearer" | "basic" => is_header || next.len() >= 16 && next.chars().all(is_token_char),
        "-u" | "--user" => {
            // Not the numbers of a user and a group.
            let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
            next.split_once(':').is_some_and(|(name, password)| {
                let has_both = !name.is_empty() && !password.is_empty();
                has_both && !(is_number(name) && is_number(password))
            })
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
            ("db_pass", "hunter2x"),
            ("db_password", "/hunter2xhunter2x"),
            ("db_password", "{\"current\": \"hunter2x\"}"),
            ("x", "{\"password\": {\"name\": \"main\", \"value\": \"hunter2x\"}}"),
            ("x", "{\"postgres://media:hunter2@db/media\": 1}"),
            ("x", "{\"password\": \"hunter2x\", \"password\": null}"),
            ("x", "password: |\n  hunter2x\n"),
            ("x", "GITHUB=gho_hunter2hunter2hunter2hunter2hunter2x"),
            ("x", "https://h/?t=glpat-hunter2hunter2hunter"),
            ("smtp_pwd", "hunter2x"),
            ("dbPass", "hunter2x"),
            ("db-password", "hunter2x"),
            ("x", "{\"password\":\"hunter2x\"}"),
            ("x", "{\"db\": {\"smtp_pwd\": \"hunter2x\"}}"),
            ("x", "[{\"passphrase\": [\"hunter2x\"]}]"),
            ("x", "{\"password\": {\"value\": \"hunter2x\"}}"),
            ("x", "{\"a\": [\"postgres://media:hunter2@db/media\"]}"),
            ("db_password", "[\"hunter2x\"]"),
            ("x", "password: hunter2x"),
            ("x", "db:\n  user: media\n  password: 'hunter2x y'\n"),
            ("x", "{user: media, password: hunter2x}"),
            ("x", "- token: hunter2x"),
            ("x", "host=h user=u pass=hunter2x"),
            ("x", "password: hunter2x # of the database"),
            ("x", "user = media\npass = hunter2x\n"),
            ("x", "export SMTP_PWD='hunter2x y'"),
            ("x", "[{\"name\": \"DB_PASSWORD\", \"value\": \"hunter2x\"}]"),
            ("x", "{\"db\": \"{\\\"password\\\": \\\"hunter2x\\\"}\"}"),
            ("x", "github_pat_11AAAAAAA0hunter2hunter2hunter2hunter2"),
            ("x", "gho_hunter2hunter2hunter2hunter2hunter2x"),
            ("x", "glpat-hunter2hunter2hunter"),
            ("x", "sk_live_hunter2hunter2hunter2"),
            ("x", "xoxp-1234567890-hunter2"),
            ("x", "use xoxp-1234567890-hunter2, please"),
            ("x", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=hunter2hunter2=="),
            ("x", "-----BEGIN PGP PRIVATE KEY BLOCK-----\nhunter2"),
            ("dsn", "media:hunter2@tcp(db:3306)/media"),
            ("header", "Bearer eyJhbGciOiJub25lIn0.hunter2"),
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
            ("password_min_length", "123456"),
            ("password_required", "true"),
            ("x", "docker run --user 1000:1000 media"),
            ("db_password", "vault:media/db#password"),
            ("db_pass", "env:DB_PASSWORD"),
            ("db_password", "file:/run/secrets/db"),
            ("db_password", "/run/secrets/media-api/db"),
            ("db_password", "${DB_PASSWORD}"),
            ("password_file", "run/secrets/media-api/db.txt"),
            ("secret_path", "media/production/database"),
            ("bypass", "enabled-for-all"),
            ("pass_rate", "0.123456"),
            ("compass", "north-east"),
            ("password", "required"),
            ("x", "{\"password\": \"optional\", \"name\": \"media\"}"),
            (
                "x",
                "{\"password\": {\"min_length\": 12, \"required\": true, \"max_age\": null}, \"token_ttl\": \"20m\"}",
            ),
            ("x", "{\"password\": \"vault:media/db#password\", \"secret_name\": \"media-api-database-login\"}"),
            ("x", "password_min_length: 123456\npassword_required: false\n"),
            ("x", "password: vault:media/db#password"),
            ("x", "Forgot your password: ask an administrator"),
            ("x", "Password: at least twelve letters"),
            ("x", "12:30:45"),
            ("x", "media@tcp(db:3306)/media"),
            ("x", "basic authentication, bearer tokens"),
            ("x", "{not json"),
            ("x", "[1, 2, 3]"),
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
