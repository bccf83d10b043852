//! A connection to the database, and what its failures mean. An address holds a password: no error has it.

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

/// How long opening a connection may take, name and handshake included.
const OPENING: Duration = Duration::from_secs(15);

/// Where the database is.
pub(super) struct Address {
    config: Config,
    tls: MakeRustlsConnect,
    settings: String,
    place: String,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Address {
    pub(super) fn new(config: &PostgresConfig) -> Result<Self> {
        let settings = config.settings.clone();
        // Whatever TLS there is checks authority and name: what libpq calls verify-full.
        let url = config.url.expose().replace("sslmode=verify-full", "sslmode=require");
        let url = url.replace("sslmode=verify-ca", "sslmode=require");
        // The parser's own words can hold parts of the address.
        let mut parsed = Config::from_str(&url).map_err(|_| {
            Error::new(ErrorKind::Invalid, "the database's address cannot be read")
                .hint(format!("`{settings}.admin_url` is postgres://user:password@host:port/database"))
        })?;
        if parsed.get_application_name().is_none() {
            parsed.application_name("mfctl");
        }
        if parsed.get_connect_timeout().is_none() {
            parsed.connect_timeout(Duration::from_secs(5));
        }
        let tls = MakeRustlsConnect::new(tls::client_config(&config.tls)?);
        Ok(Self { place: place(&parsed), config: parsed, tls, settings })
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Opens a connection; it is closed when it is dropped.
    pub(super) async fn open(&self) -> Result<Session> {
        let opening = tokio::time::timeout(OPENING, self.config.connect(self.tls.clone())).await;
        let what = format!("connect to the database at {}", self.place);
        let (client, connection) = match opening {
            Ok(opened) => opened.map_err(|error| self.failed(&error, what))?,
            Err(_) => return Err(Error::new(ErrorKind::Unreachable, what).because("no answer within 15 s")),
        };
        // Its end is seen by the next statement.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Session { client, driver })
    }

    /// What a failed statement or connection means.
    pub(super) fn failed(&self, error: &tokio_postgres::Error, what: impl Into<String>) -> Error {
        let settings = &self.settings;
        let Some(database) = error.as_db_error() else {
            let hint = tls::handshake_hint(error, settings);
            let failed = Error::new(ErrorKind::Unreachable, what).because(error_chain(error));
            return match hint {
                Some(hint) => failed.hint(hint),
                None => failed,
            };
        };
        let code = database.code().code();
        let kind = sqlstate::kind_of(code).unwrap_or(ErrorKind::Internal);
        let said = match database.detail() {
            Some(detail) => format!("{} ({detail})", database.message()),
            None => database.message().to_owned(),
        };
        let failed = Error::new(kind, what).because(format!("{code}: {said}"));
        match code {
            "28P01" | "28000" => failed.hint(format!("check user and password in `{settings}.admin_url`")),
            "3D000" => failed.hint(format!("make the database first, or check the name in `{settings}.admin_url`")),
            "42501" => failed.hint(format!(
                "the user of `{settings}.admin_url` must own the database and may have to make roles (CREATEROLE); or a \
                 superuser makes the roles media_anon, mfctl_reader, mfctl_service and mfctl_operator first"
            )),
            "55P03" => failed.hint("another session holds one of the tables; end it, then try again"),
            _ => failed,
        }
    }
}

/// An open connection.
pub(super) struct Session {
    client: Client,
    driver: JoinHandle<()>,
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn place(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => config.get_hostaddrs().first().map_or_else(|| "?".to_owned(), ToString::to_string),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let user = config.get_user().unwrap_or("?");
    format!("{user}@{host}:{port}/{}", config.get_dbname().unwrap_or(user))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfctl_core::domain::Secret;

    fn address(url: &str) -> Result<Address> {
        let settings = "profile.prod.database".to_owned();
        Address::new(&PostgresConfig {
            settings,
            url: Secret::new(url),
            tls: mfctl_core::tls_files::TlsFiles::default(),
        })
    }

    #[test]
    fn the_place_has_no_password_and_neither_has_an_error() {
        let place = |url: &str| address(url).unwrap().place().to_owned();
        assert_eq!(
            place("postgres://ops:s3cret@db.internal:6432/media?sslmode=verify-full"),
            "ops@db.internal:6432/media"
        );
        assert_eq!(place("postgres://ops:s3cret@db.internal"), "ops@db.internal:5432/ops");
        assert!(!format!("{:?}", address("postgres://ops:s3cret@db/media")).contains("s3cret"));
        for wrong in ["mysql://ops:s3cret@db", "postgres://ops:s3cret@db:s3cret/media", "s3cret=1"] {
            let error = address(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(!format!("{error:?} {}", error.full()).contains("s3cret"), "{wrong}");
            assert!(error.hint_text().unwrap().contains("profile.prod.database.admin_url"));
        }
    }

    #[tokio::test]
    async fn nobody_there_is_a_dependency_that_cannot_be_reached() {
        let error = address("postgres://ops:s3cret@127.0.0.1:1/media").unwrap().open().await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.full().contains("ops@127.0.0.1:1/media") && !error.full().contains("s3cret"), "{}", error.full());
    }
}
