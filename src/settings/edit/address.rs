//! A setting as an operator names it, where it is in a file, and the value of its type that a word of the command line
//! means.

use toml_edit::{Array, Value};

use super::super::error::{Error, SettingsErrorKind};
use super::super::key::SettingKey;
use super::super::keys;
use super::super::profile::ProfileName;
use super::super::secret::SecretRef;
use super::super::suggest::nearest;
use super::super::value::{RawValue, ValueKind};
use mfctl_core::domain::secret_like::secret_in_text;

/// The name of the setting that chooses the profile; it is no key of the table of settings.
pub const DEFAULT_PROFILE: &str = "default_profile";

/// How many near keys an unknown one is answered with.
const MAX_SUGGESTIONS: usize = 3;

/// A key as it was named, with the profile if the name contains one.
#[derive(Debug, Clone)]
pub struct NamedKey {
    /// The key.
    pub key: &'static SettingKey,
    /// The profile in `profile.NAME.…`.
    pub profile: Option<ProfileName>,
}

/// Finds a key by its full name (`slo.success`, `profile.data_dir`), its name within a profile (`data_dir`, `kafka.brokers`),
/// the same after `profile.NAME.`, or its variable.
///
/// # Errors
/// `NotFound` with the nearest keys.
pub fn find_key(given: &str) -> Result<NamedKey, Error> {
    let named = |name: &str| {
        let is_named = |key: &&SettingKey| key.name == name || key.variable().as_deref() == Some(name);
        let in_profile = |key: &&SettingKey| key.name.strip_prefix("profile.") == Some(name);
        keys::all().find(is_named).or_else(|| keys::all().find(in_profile))
    };
    if let Some(key) = named(given) {
        return Ok(NamedKey { key, profile: None });
    }
    let in_profile = given.strip_prefix("profile.").and_then(|rest| rest.split_once('.'));
    if let Some((profile, field)) = in_profile {
        let is_field = |key: &&SettingKey| key.name.strip_prefix("profile.").unwrap_or(key.name) == field;
        if let (Ok(profile), Some(key)) = (profile.parse(), keys::all().find(is_field)) {
            return Ok(NamedKey { key, profile: Some(profile) });
        }
    }
    Err(unknown(given, in_profile.map_or(given, |(_, field)| field)))
}

fn unknown(given: &str, field: &str) -> Error {
    let known =
        || keys::all().map(|key| key.name.strip_prefix("profile.").unwrap_or(key.name)).chain([DEFAULT_PROFILE]);
    let near = nearest(field.strip_prefix("profile.").unwrap_or(field), known(), MAX_SUGGESTIONS);
    let shown: String = given.chars().take(80).collect();
    let error = Error::new(SettingsErrorKind::NotFound, format!("there is no setting `{shown}`"));
    match near.as_slice() {
        [] => error.hint("`mfctl config show` lists every key"),
        names => {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            error.hint(format!("did you mean {}?", names.join(" or ")))
        }
    }
}

/// The tables and the name of a key in a file: outside the profiles without one, else in the profile's table.
///
/// # Errors
/// `Usage` for a key of a profile without a profile.
pub fn path_in_file<'a>(key: &'static SettingKey, profile: Option<&'a ProfileName>) -> Result<Vec<&'a str>, Error> {
    let mut path = match profile {
        Some(profile) => vec!["profile", profile.as_str()],
        None if key.name.starts_with("profile.") => {
            return Err(Error::new(
                SettingsErrorKind::Usage,
                format!("{} is a setting of a profile, and no profile is chosen", key.name),
            )
            .hint("name it with --profile NAME"));
        }
        None => Vec::new(),
    };
    if key.section != "profile" {
        path.push(key.section);
    }
    path.push(key.field);
    Ok(path)
}

/// The value that a word of the command line means for this key: a boolean, number or text, or a list in TOML's brackets. The
/// value itself is checked like one in a file.
///
/// # Errors
/// `Refused` for a secret, which a file may only refer to; `Invalid` for a value that is not of the key's type or beyond its
/// bounds. Neither repeats a value that could be a secret.
pub fn parse_value(key: &SettingKey, text: &str) -> Result<Value, Error> {
    refuse_secret(key, text)?;
    if let Some(list) = list(text) {
        let joined = list.join(",");
        return match key.validate(&RawValue::Text(joined)) {
            Ok(()) => Ok(Value::Array(list.iter().map(String::as_str).collect::<Array>())),
            Err(problem) => Err(Error::invalid(problem)),
        };
    }
    let typed = typed(key, text);
    key.validate(&typed).map_err(Error::invalid)?;
    Ok(match typed {
        RawValue::Bool(value) => value.into(),
        RawValue::Integer(value) => value.into(),
        RawValue::Float(value) => value.into(),
        RawValue::Text(value) => value.into(),
        RawValue::Path(_) => return Err(Error::invalid(format!("{} is not UTF-8", key.name))),
    })
}

/// The most specific form of the text that the key accepts, and that means the same as the text.
fn typed(key: &SettingKey, text: &str) -> RawValue {
    let word = text.trim();
    let plain = RawValue::Text(text.to_owned());
    let candidates = [
        word.parse().ok().map(RawValue::Bool),
        word.parse().ok().map(RawValue::Integer),
        word.parse::<f64>().ok().filter(|number| number.is_finite()).map(RawValue::Float),
    ];
    let means_same = |candidate: &RawValue| key.canonical(candidate).is_some() && key.is_same(candidate, &plain);
    candidates.into_iter().flatten().find(means_same).unwrap_or(plain)
}

/// The texts of a list in TOML's brackets; `None` for anything else, such as an IPv6 address.
fn list(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    let Value::Array(items) = text.starts_with('[').then(|| text.parse::<Value>().ok())?? else { return None };
    items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

fn refuse_secret(key: &SettingKey, text: &str) -> Result<(), Error> {
    const TYPED: &str = "nothing was written; a secret that was typed is in the shell's history and should be replaced";
    if key.kind == ValueKind::Secret {
        return SecretRef::parse(text.trim()).map(drop).map_err(|error| {
            let is_reference = ["env:", "file:", "vault:"].iter().any(|start| text.trim().starts_with(start));
            let kind = if is_reference { SettingsErrorKind::Invalid } else { SettingsErrorKind::Refused };
            Error::new(kind, format!("{}: {error}", key.name)).hint(format!(
                "refer to it: env:NAME (a variable), file:/path (a file) or vault:PATH#FIELD (a secret in Vault); {TYPED}"
            ))
        });
    }
    // The id of an access key is no secret, though it looks like one.
    let may_look_like_one = key.kind == ValueKind::Path || key.field == "access_key";
    match secret_in_text(text).filter(|_| !may_look_like_one) {
        Some(why) => {
            let message = format!("the value of {} is kept in clear, and {why}", key.name);
            Err(Error::new(SettingsErrorKind::Refused, message).hint(format!("leave the secret out; {TYPED}")))
        }
        None => Ok(()),
    }
}

/// A file's text for people: the lines of a value that is a secret in the wrong place say `…` after the name. A text that is no
/// TOML is left as it is; see [`shown_line`].
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let Ok(document) = toml_edit::Document::parse(text) else { return text.to_owned() };
    let mut secret = Vec::new();
    find_secrets(document.as_table(), &mut secret);
    let mut at = 0;
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        let of_line = secret.iter().find(|span| span.start < end && span.end > at);
        match of_line {
            None => shown.push_str(line),
            Some(span) => {
                let name = if span.start >= at { line.split('=').next() } else { None };
                shown.push_str(&name.map_or_else(String::new, |name| format!("{name}= ")));
                shown.push('…');
                shown.push_str(&line[line.trim_end_matches(['\r', '\n']).len()..]);
            }
        }
        at = end;
    }
    shown
}

/// The places of values that are kept in clear though they are secret, or look like it.
fn find_secrets(table: &dyn toml_edit::TableLike, found: &mut Vec<std::ops::Range<usize>>) {
    for (name, item) in table.iter() {
        if let Some(below) = item.as_table_like() {
            find_secrets(below, found);
            continue;
        }
        let tables = item.as_array_of_tables().into_iter().flat_map(toml_edit::ArrayOfTables::iter);
        tables.for_each(|below| find_secrets(below, found));
        let text = item.as_str().map_or_else(|| item.to_string(), str::to_owned);
        let is_secret = keys::all().any(|key| key.field == name && key.kind == ValueKind::Secret);
        let is_clear = is_secret && SecretRef::parse(text.trim()).is_err();
        if is_clear || name != "access_key" && secret_in_text(&text).is_some() {
            found.extend(item.span());
        }
    }
}

/// A line of a file for people: a value that is a secret in the wrong place is not shown.
#[must_use]
pub fn shown_line(line: &str) -> String {
    let Some((name, value)) = line.split_once('=') else {
        return if secret_in_text(line).is_some() { "…".to_owned() } else { line.to_owned() };
    };
    let field = name.trim_start_matches([' ', '+', '-', '#']).trim();
    let is_secret = keys::all().any(|key| key.field == field && key.kind == ValueKind::Secret);
    let text = value.trim().parse::<Value>().ok().and_then(|value| value.as_str().map(str::to_owned));
    let is_reference = text.is_some_and(|text| SecretRef::parse(&text).is_ok());
    match is_secret && is_reference || field == "access_key" || !is_secret && secret_in_text(line).is_none() {
        true => line.to_owned(),
        false => format!("{name}= …"),
    }
}

/// A value as text for people, without the quotes of a string. A secret in the wrong place is not shown.
#[must_use]
pub fn shown(key: &SettingKey, value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string().trim().to_owned(), str::to_owned);
    let is_literal = key.kind == ValueKind::Secret && SecretRef::parse(&text).is_err();
    if is_literal || key.field != "access_key" && secret_in_text(&text).is_some() { "…".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(given: &str) -> (&'static str, Option<String>) {
        let found = find_key(given).unwrap();
        (found.key.name, found.profile.map(|profile| profile.to_string()))
    }

    #[test]
    fn a_key_is_found_by_each_of_its_names() {
        let in_prod = Some("prod".to_owned());
        assert_eq!(found("slo.success"), ("slo.success", None));
        assert_eq!(found("MFCTL_SLO_SUCCESS"), ("slo.success", None));
        assert_eq!(found("profile.prod.slo.success"), ("slo.success", in_prod.clone()));
        assert_eq!(found("tenant"), ("profile.tenant", None));
        assert_eq!(found("profile.tenant"), ("profile.tenant", None));
        assert_eq!(found("profile.prod.tenant"), ("profile.tenant", in_prod.clone()));
        assert_eq!(found("kafka.brokers"), ("profile.kafka.brokers", None));
        assert_eq!(found("profile.prod.kafka.brokers"), ("profile.kafka.brokers", in_prod));
        for unknown in ["", "profile.prod", "profile.prod.profile.tenant", "profile.a b.tenant", "profile", "slo"] {
            assert!(find_key(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_shown() {
        for line in
            ["+password = \"env:P\"", " # a comment", "-brokers = \"a:1\"", "+access_key = \"AKIAIOSFODNN7EXAMPLE\""]
        {
            assert_eq!(shown_line(line), line);
        }
        for line in [
            "-password = \"hunter2\"",
            " token=\"hunter2\"",
            "-kafka = { password = \"hunter2\" }",
            "# password: hunter2",
        ] {
            assert!(!shown_line(line).contains("hunter2"), "{line}");
        }
    }

    #[test]
    fn secret_in_any_form_of_a_file_is_not_shown() {
        for text in [
            "[profile.p.kafka]\npassword = \"\"\"\nhunter2\n\"\"\"\nbrokers = \"a:1\"\n",
            "[profile.p]\nvault.role_id = \"hunter2\"\nkafka.brokers = \"a:1\"\n",
            "[profile.p]\nkafka = { password = \"hunter2\" }\n",
            "[profile.p.kafka]\n\"password\" = 'hunter2'\r\nbrokers = \"a:1\"\r\n",
            "profile.p.database.admin_url = \"postgres://a:hunter2@b/c\"\n",
        ] {
            let shown = without_secrets(text);
            assert!(!shown.contains("hunter2") && shown.contains('…'), "{shown}");
            assert!(!text.contains("brokers") || shown.contains("a:1"), "{shown}");
            assert_eq!(shown.lines().count(), text.lines().count(), "{shown}");
        }
        let harmless = "[profile.p.kafka]\n# why\npassword = \"env:P\"\nusername = \"x\"\n";
        assert_eq!(without_secrets(harmless), harmless);
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_ones() {
        let hint = |given: &str| find_key(given).unwrap_err().hint_text().unwrap().to_owned();
        assert_eq!(hint("slo.latency_second"), "did you mean `slo.latency_seconds`?");
        assert_eq!(hint("latency_seconds"), "did you mean `slo.latency_seconds`?");
        assert_eq!(hint("profile.prod.kafka.broker"), "did you mean `kafka.brokers`?");
        assert!(
            hint("concurrency").contains("`ingest.concurrency` or `worker.concurrency`"),
            "{}",
            hint("concurrency")
        );
        assert_eq!(hint("nothing.like.it"), "`mfctl config show` lists every key");
    }

    #[test]
    fn a_value_has_the_type_of_its_key() {
        let value =
            |key: &str, text: &str| parse_value(find_key(key).unwrap().key, text).map(|value| value.to_string());
        for (key, text, expected) in [
            ("slo.latency_seconds", "30", "30"),
            ("slo.success", "0.99", "0.99"),
            ("slo.success", "1", "1"),
            ("protected", "true", "true"),
            ("tenant", "2024", "\"2024\""),
            ("worker.drain_timeout", "10s", "\"10s\""),
            ("worker.drain_timeout", "10", "10"),
            ("worker.concurrency", "auto", "\"auto\""),
            ("worker.concurrency", "8", "8"),
            ("ingest.max_size", "2GiB", "\"2GiB\""),
            ("actor", "a \"quoted\" one", "'a \"quoted\" one'"),
            ("kafka.brokers", "a:1,b:2", "\"a:1,b:2\""),
            ("kafka.brokers", "[\"a:1\", \"b:2\"]", "[\"a:1\", \"b:2\"]"),
            ("kafka.brokers", "[::1]:9092", "\"[::1]:9092\""),
            ("kafka.password", "vault:media/kafka#password", "\"vault:media/kafka#password\""),
            ("s3.access_key", "AKIAIOSFODNN7EXAMPLE", "\"AKIAIOSFODNN7EXAMPLE\""),
        ] {
            assert_eq!(value(key, text).unwrap(), expected, "{key} {text}");
        }
        for (key, text) in [
            ("slo.latency_seconds", "0"),
            ("slo.latency_seconds", "1.5"),
            ("slo.success", "1.1"),
            ("slo.success", "NaN"),
            ("protected", "yes"),
            ("worker.drain_timeout", "10 fortnights"),
            ("enrich.memory", "24MiB"),
            ("kafka.brokers", "[\"a\"]"),
            ("kafka.brokers", "a"),
            ("tenant", ""),
        ] {
            let error = value(key, text).unwrap_err();
            assert_eq!(error.kind(), SettingsErrorKind::Invalid, "{key} {text}: {error}");
        }
    }

    #[test]
    fn a_literal_secret_is_refused_with_how_to_refer_to_one_and_not_repeated() {
        for (key, text) in [
            ("kafka.password", "hunter2"),
            ("postgrest.token", "hunter2.hunter2"),
            ("s3.secret_key", "hunter2+hunter2/hunter2"),
            ("database.admin_url", "postgres://u:hunter2@h/db"),
            ("actor", "password=hunter2"),
            ("kafka.username", "https://u:hunter2@host"),
        ] {
            let error = parse_value(find_key(key).unwrap().key, text).unwrap_err();
            assert_eq!(error.kind(), SettingsErrorKind::Refused, "{key}: {error}");
            let all = format!("{error} {}", error.hint_text().unwrap_or_default());
            assert!(!all.contains("hunter2") && all.contains("history"), "{key}: {all}");
        }
        let error = parse_value(find_key("s3.endpoint").unwrap().key, "https://u:hunter2@h").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
