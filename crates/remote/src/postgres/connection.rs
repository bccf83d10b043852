//! Connections to the database, and what their failures mean. The URL contains a password: no error shows it.

use std::ops::Deref;
use std::str::FromStr;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PostgresConfig;
use crate::{sqlstate, tls};
use mfctl_core::domain::error_chain;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// The limit of opening a connection, name resolution and handshakes included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How to open a connection to one database.
pub(super) struct ConnectionTarget {
    config: Config,
    tls: MakeRustlsConnect,
    settings: String,
    address: String,
}

impl std::fmt::Debug for ConnectionTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionTarget").field("address", &self.address).finish_non_exhaustive()
    }
}

impl ConnectionTarget {
    pub(super) fn new(config: &PostgresConfig) -> Result<Self> {
        let settings = config.settings.clone();
        check_credentials(config.url.expose(), &settings)?;
        // With TLS, the certificate's authority and name are always checked, which libpq calls verify-full.
        let url = config.url.expose().replace("sslmode=verify-full", "sslmode=require");
        let url = url.replace("sslmode=verify-ca", "sslmode=require");
        // The parser's error can contain parts of the URL.
        let mut parsed = Config::from_str(&url).map_err(|_| {
            Error::new(ErrorKind::Invalid, "the database's address cannot be parsed")
                .hint(format!("`{settings}.admin_url` is postgres://user:password@host:port/database"))
        })?;
        if parsed.get_application_name().is_none() {
            parsed.application_name("mfctl");
        }
        if parsed.get_connect_timeout().is_none() {
            parsed.connect_timeout(Duration::from_secs(5));
        }
        let tls = MakeRustlsConnect::new(tls::client_config(&config.tls)?);
        Ok(Self { address: shown_address(&parsed), config: parsed, tls, settings })
    }

    /// `user@host:port/database`.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Opens a connection, which is closed when it is dropped.
    pub(super) async fn open(&self) -> Result<DatabaseSession> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, self.config.connect(self.tls.clone())).await;
        let what = format!("connect to the database at {}", self.address);
        let (client, connection) = match connected {
            Ok(connected) => connected.map_err(|error| self.error(&error, what))?,
            Err(_) => return Err(Error::new(ErrorKind::Unreachable, what).because("no answer within 15 s")),
        };
        // The next statement reports how the connection ended.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(DatabaseSession { client, driver })
    }

    /// The port's error of a failed statement or connection.
    pub(super) fn error(&self, error: &tokio_postgres::Error, what: impl Into<String>) -> Error {
        let settings = &self.settings;
        let Some(database) = error.as_db_error() else {
            let hint = tls::handshake_hint(error, settings);
            let unreachable = Error::new(ErrorKind::Unreachable, what).because(error_chain(error));
            return match hint {
                Some(hint) => unreachable.hint(hint),
                None => unreachable,
            };
        };
        let code = database.code().code();
        let kind = sqlstate::kind_of(code).unwrap_or(ErrorKind::Internal);
        let message = match database.detail() {
            Some(detail) => format!("{} ({detail})", database.message()),
            None => database.message().to_owned(),
        };
        let failed = Error::new(kind, what).because(format!("{code}: {message}"));
        match code {
            "28P01" | "28000" => failed.hint(format!("check user and password in `{settings}.admin_url`")),
            "3D000" => failed.hint(format!("create the database first, or check its name in `{settings}.admin_url`")),
            "42501" => failed.hint(format!(
                "the user of `{settings}.admin_url` must own the database and may need CREATEROLE; or a superuser creates the \
                 roles media_anon, mfctl_reader, mfctl_service and mfctl_operator first"
            )),
            "55P03" => failed.hint("another session has locked one of the tables; end it, then try again"),
            _ => failed,
        }
    }
}

/// An open connection.
pub(super) struct DatabaseSession {
    client: Client,
    driver: JoinHandle<()>,
}

impl Deref for DatabaseSession {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for DatabaseSession {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Refuses a URL whose password would be taken for a part of the host or of the user's name: it would be printed, and asked
/// of the name server.
///
/// # Errors
/// `Invalid`, without any part of the URL.
fn check_credentials(url: &str, settings: &str) -> Result<()> {
    let Some((_, rest)) = url.split_once("://") else { return Ok(()) };
    let Some(first) = rest.find('@') else { return Ok(()) };
    let why = if rest[first + 1..].contains('@') {
        "more than one @"
    } else if rest[..first].contains('?') {
        "an @ after a ?"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Invalid, format!("the database's address has {why}: where its host begins is not clear"))
        .hint(format!("in the user name and the password of `{settings}.admin_url`, write @ as %40, / as %2F, ? as %3F, # as %23 and % as %25")))
}

/// A part of an address, if it cannot be anything else.
fn plain(part: &str) -> &str {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !part.is_empty() && part.chars().all(is_plain) { part } else { "?" }
}

fn shown_address(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        // An IPv6 address has colons.
        Some(Host::Tcp(host)) if host.parse::<std::net::IpAddr>().is_ok() => host.clone(),
        Some(Host::Tcp(host)) => plain(host).to_owned(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => config.get_hostaddrs().first().map_or_else(|| "?".to_owned(), ToString::to_string),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let user = config.get_user().unwrap_or("?");
    format!("{}@{host}:{port}/{}", plain(user), plain(config.get_dbname().unwrap_or(user)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfctl_core::domain::Secret;

    fn target(url: &str) -> Result<ConnectionTarget> {
        let settings = "profile.prod.database".to_owned();
        ConnectionTarget::new(&PostgresConfig {
            settings,
            url: Secret::new(url),
            tls: mfctl_core::tls_files::TlsFiles::default(),
        })
    }

    #[test]
    fn passwords_are_in_no_address_and_no_error() {
        let address = |url: &str| target(url).unwrap().address().to_owned();
        assert_eq!(
            address("postgres://ops:s3cret@db.internal:6432/media?sslmode=verify-full"),
            "ops@db.internal:6432/media"
        );
        assert_eq!(address("postgres://ops:s3cret@db.internal"), "ops@db.internal:5432/ops");
        assert_eq!(address("postgres://ops:p%40s3cret%2F@db/media"), "ops@db:5432/media");
        assert_eq!(address("postgres://ops:p/s3cret#%@[::1]:1/media"), "ops@::1:1/media");
        assert_eq!(address("host=db user=ops password='s3 cret' dbname=media"), "ops@db:5432/media");
        assert_eq!(address("host=db user='ops s3cret' dbname=media"), "?@db:5432/media");
        assert!(!format!("{:?}", target("postgres://ops:s3cret@db/media")).contains("s3cret"));
        for unclear in [
            "postgres://ops:first@rest-of-s3cret@db/media",
            "postgres://ops:first@rest/of@s3cret@db/media",
            "postgres://db/media?user=ops&password=rest@s3cret",
        ] {
            let error = target(unclear).unwrap_err();
            assert!(error.hint_text().unwrap().contains("%40") && error.full().contains("address"), "{}", error.full());
            assert!(!format!("{error:?} {}", error.full()).contains("s3cret"), "{unclear}");
        }
        for wrong in ["mysql://ops:s3cret@db", "postgres://ops:s3cret@db:s3cret/media", "s3cret=1"] {
            let error = target(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(!format!("{error:?} {}", error.full()).contains("s3cret"), "{wrong}");
            assert!(error.hint_text().unwrap().contains("profile.prod.database.admin_url"));
        }
    }

    #[tokio::test]
    async fn refused_connection_is_unreachable() {
        let error = target("postgres://ops:s3cret@127.0.0.1:1/media").unwrap().open().await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.full().contains("ops@127.0.0.1:1/media") && !error.full().contains("s3cret"), "{}", error.full());
    }
}
