//! A database and a PostgREST-compatible server for a single test.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mfctl_core::domain::Secret;
use mfctl_core::ports::{Migration, Migrations};
use mfctl_core::tls_files::TlsFiles;
use mfctl_remote::http::HttpOptions;
use mfctl_remote::postgres::{PostgresAdmin, PostgresConfig};
use mfctl_remote::postgrest::{PostgrestAuth, PostgrestCatalog, PostgrestConfig};
use serde_json::Value;
use tokio_postgres::NoTls;

use crate::contract::harness::eventually;
use crate::stack;

/// How long a server may take to start or to notice a change.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Held while migrating: roles belong to the whole server, so concurrent migrations would conflict.
pub static ROLES: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A database that is dropped with this value.
pub struct Database {
    pub name: String,
    admin: String,
}

impl Database {
    /// Creates an empty database.
    pub async fn fresh() -> Self {
        let admin = stack::env("STACK_POSTGRES");
        let name = format!("mfctl_test_{:016x}", fastrand::u64(..));
        execute(&admin, &format!("CREATE DATABASE {name}")).await;
        Self { name, admin }
    }

    /// Creates a database with the catalog's tables.
    pub async fn migrated() -> Self {
        let database = Self::fresh().await;
        database.migrate().await;
        database
    }

    /// Applies the migrations.
    pub async fn migrate(&self) -> Vec<Migration> {
        let _one_at_a_time = ROLES.lock().await;
        self.migrations().migrate().await.unwrap()
    }

    /// Undoes the last migration, as the restore of an older backup would.
    pub async fn undo_last_migration(&self) {
        self.execute(
            "DROP TABLE media.jobs CASCADE; DROP FUNCTION media.record_jobs() CASCADE;
             DROP FUNCTION media.take_job_lease(json), media.renew_job_lease(json), media.end_job_lease(json),
                 media.read_jobs(json), media.count_outcomes(json), media.record_outcomes(json);
             DELETE FROM media.schema_migrations WHERE name = 'job_leases'",
        )
        .await;
    }

    /// The database's address, with a role that may change its schema.
    pub fn url(&self) -> String {
        with_database(&self.admin, &self.name)
    }

    pub fn migrations(&self) -> PostgresAdmin {
        let settings = "profile.test.database".to_owned();
        PostgresAdmin::new(&PostgresConfig { settings, url: Secret::new(self.url()), tls: TlsFiles::default() })
            .unwrap()
    }

    /// Runs statements as the owner.
    pub async fn execute(&self, sql: &str) {
        execute(&self.url(), sql).await;
    }

    /// The result of a query of one text value.
    pub async fn text(&self, query: &str) -> String {
        let client = connect(&self.url()).await;
        client.query_one(query, &[]).await.unwrap().get(0)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let admin = self.admin.clone();
        let name = self.name.clone();
        // `drop` cannot await in the test's runtime.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(execute(&admin, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")));
        });
        drop(dropped.join());
    }
}

fn with_database(url: &str, name: &str) -> String {
    format!("{}/{name}", url.rsplit_once('/').unwrap().0)
}

pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn execute(url: &str, sql: &str) {
    connect(url).await.batch_execute(sql).await.unwrap();
}

/// A PostgREST-compatible server of a database.
pub struct Server {
    pub url: String,
    child: Process,
    pub database: Database,
}

/// A process that is killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Server {
    /// Starts a server on a migrated database and waits until it has loaded the tables.
    pub async fn start() -> Self {
        let server = Self::for_database(Database::migrated().await).await;
        let catalog = server.catalog(server.as_operator());
        let answers = async || mfctl_core::ports::Catalog::identity(&catalog).await.is_ok();
        eventually(TIMEOUT, "the catalog answers", answers).await;
        server
    }

    /// Starts a server of this database.
    pub async fn for_database(database: Database) -> Self {
        Self::with_settings(database, &[]).await
    }

    /// Starts a server of this database with further settings, as environment variables.
    pub async fn with_settings(mut database: Database, settings: &[(&str, &str)]) -> Self {
        for _ in 0..3 {
            match Self::try_start(database, settings).await {
                Ok(server) => return server,
                // Another process took its port between its choice and its use.
                Err(returned) => database = returned,
            }
        }
        panic!("the server ends as soon as it starts");
    }

    async fn try_start(database: Database, settings: &[(&str, &str)]) -> Result<Self, Database> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let password = secret("postgres-authenticator");
        let (_, address) = database.url().rsplit_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let child = Command::new(program())
            .env_clear()
            .env("PGRST_DB_URI", format!("postgres://authenticator:{password}@{address}"))
            .env("PGRST_DB_SCHEMAS", "media")
            .env("PGRST_DB_ANON_ROLE", "media_anon")
            .env("PGRST_DB_POOL", "6")
            .env("PGRST_JWT_SECRET", jwt_secret().expose())
            .env("PGRST_DB_CHANNEL_ENABLED", "true")
            .env("PGRST_COMPAT_MODE", "true")
            .env("PGRST_SERVER_HOST", "127.0.0.1")
            .env("PGRST_SERVER_PORT", port.to_string())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self { url: format!("http://127.0.0.1:{port}/api"), child: Process(child), database };
        let mut has_ended = false;
        let ready = async || {
            has_ended = server.child.0.try_wait().unwrap().is_some();
            has_ended || server.get("meta", None).await.is_some()
        };
        eventually(TIMEOUT, "the server listens", ready).await;
        if has_ended { Err(server.database) } else { Ok(server) }
    }

    pub fn as_operator(&self) -> PostgrestAuth {
        signed("mfctl_operator", "default")
    }

    pub fn as_service(&self, tenant: &str) -> PostgrestAuth {
        signed("mfctl_service", tenant)
    }

    pub fn catalog(&self, auth: PostgrestAuth) -> PostgrestCatalog {
        let http = HttpOptions::direct("profile.test.postgrest");
        PostgrestCatalog::new(PostgrestConfig { http, url: self.url.clone(), schema: "media".into(), auth }).unwrap()
    }

    /// Sends a plain request; returns its status and body.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let body = response.bytes().await.ok()?;
        Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    pub async fn get(&self, path: &str, token: Option<&str>) -> Option<(u16, Value)> {
        self.send(self.request(reqwest::Method::GET, path, token)).await
    }

    pub fn request(&self, method: reqwest::Method, path: &str, token: Option<&str>) -> reqwest::RequestBuilder {
        let request = HttpOptions::direct("test").client().unwrap().request(method, format!("{}/{path}", self.url));
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }
}

pub fn signed(role: &str, tenant: &str) -> PostgrestAuth {
    PostgrestAuth::Signed {
        secret: jwt_secret(),
        role: role.into(),
        subject: "test".into(),
        tenant: tenant.into(),
        lifetime: Duration::from_secs(600),
    }
}

/// Signs a token independently of mfctl.
pub fn token(claims: &Value) -> String {
    use base64::Engine as _;
    use hmac::{KeyInit, Mac};
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let text = format!("{}.{}", encode(br#"{"alg":"HS256","typ":"JWT"}"#), encode(claims.to_string().as_bytes()));
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(jwt_secret().expose().as_bytes()).unwrap();
    mac.update(text.as_bytes());
    format!("{text}.{}", encode(&mac.finalize().into_bytes()))
}

pub fn jwt_secret() -> Secret {
    Secret::new(std::fs::read_to_string(stack::env("STACK_POSTGREST_JWT_SECRET")).unwrap().trim())
}

fn secret(name: &str) -> String {
    let path = PathBuf::from(stack::env("STACK_RUN")).join("secrets").join(name);
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

/// The server's program: `STACK_POSTGREST_BIN`, or where the stack installs it.
fn program() -> PathBuf {
    if let Ok(path) = std::env::var("STACK_POSTGREST_BIN") {
        return path.into();
    }
    let var = |name: &str| std::env::var(name).ok().map(PathBuf::from);
    let cache = var("MFCTL_STACK_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|cache| cache.join("mfctl-stack")))
        .or_else(|| var("HOME").map(|home| home.join(".cache/mfctl-stack")));
    let found = std::fs::read_dir(cache.unwrap()).unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        entry.file_name().to_str()?.starts_with("postrust-").then(|| entry.path().join("bin/postrust"))
    });
    found.max().unwrap()
}
