//! Addresses as they may be printed: without credentials, whatever characters these have.

/// What replaces a secret.
const HIDDEN: &str = "…";

/// Names of connection parameters with a secret.
const SECRET_PARAMETERS: [&str; 4] = ["password=", "passwd=", "secret=", "token="];

/// The text without the credentials of an address in it. In a URL that is everything between `scheme://` and the last `@`,
/// because a password may have unescaped `@`, `/`, `?` and `#`; and its query and fragment. In `key=value` pairs it is
/// everything after `password=`, because a value may have spaces.
#[must_use]
pub fn without_credentials(text: &str) -> String {
    let shown = match text.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", server_of(rest)),
        None => text.to_owned(),
    };
    let lower = shown.to_ascii_lowercase();
    match SECRET_PARAMETERS.iter().filter_map(|name| lower.find(name).map(|at| at + name.len())).min() {
        Some(end) => format!("{}{HIDDEN}", &shown[..end]),
        None => shown,
    }
}

/// Whether a URL names a user, which may be a token.
#[must_use]
pub fn has_user(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

/// What follows the credentials, up to the query.
fn server_of(rest: &str) -> &str {
    let server = rest.rsplit_once('@').map_or(rest, |(_, server)| server);
    &server[..server.find(['?', '#']).unwrap_or(server.len())]
}

/// Whether a URL has a password in it. A colon before a port is not one: `https://host:8080/a@b`.
#[must_use]
pub fn has_password(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let Some((credentials, _)) = rest.rsplit_once('@') else { return false };
    let Some((_, password)) = credentials.split_once(':') else { return false };
    let is_port = password
        .split_once('/')
        .is_some_and(|(port, _)| !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()));
    !is_port
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn credentials_are_left_out_of_any_address() {
        for (address, shown) in [
            ("http://host:1/path", "http://host:1/path"),
            ("a:9092,b:9092", "a:9092,b:9092"),
            ("aws/eu-north-1", "aws/eu-north-1"),
            ("env:DATABASE_URL", "env:DATABASE_URL"),
            ("postgres://ops:s3cret@db:5432/media", "postgres://db:5432/media"),
            ("postgres://ops:s3@cret@db/media", "postgres://db/media"),
            ("http://ops:s3/cret@db/media?token=s3cret", "http://db/media"),
            ("http://ops:s3?cret#s3@db", "http://db"),
            ("host=db user=ops password=s3 cret dbname=media", "host=db user=ops password=…"),
        ] {
            assert_eq!(without_credentials(address), shown);
        }
    }

    #[test]
    fn passwords_with_special_characters_are_recognised() {
        for address in ["x://u:p@h", "x://u:p/w@h", "x://u:p@w@h", "x://:p@h", "x://u:8080@h"] {
            assert!(has_password(address), "{address}");
        }
        for address in ["x://h", "x://u@h", "https://h:8080/a@b", "https://h/a@b", "u:p@h"] {
            assert!(!has_password(address), "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_part_of_a_password_is_shown(
            password in "[@/%#? :=&.,+!~-]{0,8}S3CRET[@/%#? :=&.,+!~-]{0,8}(T00[@/?#%]{0,3})?"
        ) {
            let shown = without_credentials(&format!("postgres://ops:{password}@db.internal:5432/media"));
            prop_assert_eq!(shown, "postgres://db.internal:5432/media");
            let shown = without_credentials(&format!("host=db password='{password}' user=ops"));
            prop_assert_eq!(shown, "host=db password=…");
        }
    }
}
