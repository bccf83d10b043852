//! An isolated platform on the real servers: unique names, in a profile that only its test sees.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

/// A variable that `make stack-env` prints.
pub fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run this through `make test-real`"))
}

/// Where a profile finds the servers; a test that puts something in between changes them.
#[derive(Clone)]
pub struct Endpoints {
    pub kafka: String,
    pub s3: String,
    pub postgrest: String,
    pub registry: String,
    /// The catalog's database, with a role that may migrate it.
    pub database: String,
    /// Further lines of `[profile.stack.kafka]`.
    pub kafka_lines: String,
}

impl Endpoints {
    pub fn direct() -> Self {
        Self {
            kafka: env("STACK_KAFKA"),
            s3: env("STACK_S3"),
            postgrest: env("STACK_POSTGREST"),
            registry: env("STACK_REGISTRY"),
            database: env("STACK_POSTGRES"),
            kafka_lines: String::new(),
        }
    }

    /// Through the proxies, on which a test can cause network faults.
    pub fn behind_proxies() -> Self {
        Self {
            kafka: env("STACK_KAFKA_TOXIC"),
            s3: env("STACK_S3_TOXIC"),
            postgrest: env("STACK_POSTGREST_TOXIC"),
            registry: env("STACK_REGISTRY_TOXIC"),
            database: env("STACK_POSTGRES"),
            kafka_lines: String::new(),
        }
    }
}

/// One environment with its own tenant, topics, buckets and subjects.
#[derive(Clone)]
pub struct Platform {
    /// The environment.
    pub name: String,
    pub tenant: String,
    /// The prefix of every topic, group and subject.
    pub namespace: String,
    topics: Arc<Topics>,
}

impl Platform {
    pub fn new() -> Self {
        let name = format!("t{:08x}", fastrand::u32(..));
        let namespace = format!("{name}.");
        let topics = Arc::new(Topics(namespace.clone()));
        Self { tenant: name.clone(), namespace, name, topics }
    }

    /// Another tenant of the same environment, with topics of its own and everything else shared.
    pub fn tenant(&self, name: &str) -> Self {
        let namespace = format!("{}{name}.", self.namespace);
        Self { tenant: format!("{}-{name}", self.name), namespace, ..self.clone() }
    }

    /// A topic as it is called on the brokers.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.namespace)
    }

    /// A stage's group as it is called on the brokers.
    pub fn group(&self, stage: &str) -> String {
        format!("{}mfctl.{}.{stage}", self.namespace, self.name)
    }

    pub fn bucket(&self, purpose: &str) -> String {
        format!("myfarsi-{}-media-{purpose}", self.name)
    }

    /// Writes the profile into a home folder, with the servers at these addresses.
    pub fn write(&self, home: &Path, at: &Endpoints) {
        let secrets = home.join("secrets");
        std::fs::create_dir_all(&secrets).unwrap();
        let secret = |name: &str, text: &str| {
            let path = secrets.join(name);
            std::fs::write(&path, text).unwrap();
            format!("file:{}", path.display())
        };
        let s3_key = secret("s3", &env("STACK_S3_SECRET_KEY"));
        let jwt = format!("file:{}", env("STACK_POSTGREST_JWT_SECRET"));
        let admin = secret("database", &at.database);
        let consul = secret("consul", &env("STACK_CONSUL_TOKEN"));
        let vault = secret("vault", &env("STACK_VAULT_TOKEN"));
        let name = &self.name;
        let tenant = &self.tenant;
        let namespace = &self.namespace;
        let text = format!(
            "default_profile = \"stack\"\n[profile.stack]\nkind = \"cluster\"\nenvironment = \"{name}\"\ntenant = \"{tenant}\"\n\
             [profile.stack.kafka]\nbrokers = \"{}\"\nnamespace = \"{namespace}\"\npartitions = 3\n{}\
             [profile.stack.s3]\nendpoint = \"{}\"\naccess_key = \"{}\"\nsecret_key = \"{s3_key}\"\n\
             [profile.stack.postgrest]\nurl = \"{}\"\njwt_secret = \"{jwt}\"\n\
             [profile.stack.schema_registry]\nurl = \"{}\"\nsubject_prefix = \"{namespace}\"\n\
             [profile.stack.consul]\nurl = \"{}\"\ntoken = \"{consul}\"\n\
             [profile.stack.vault]\nurl = \"{}\"\ntoken = \"{vault}\"\n\
             [profile.stack.database]\nadmin_url = \"{admin}\"\n",
            at.kafka,
            at.kafka_lines,
            at.s3,
            env("STACK_S3_ACCESS_KEY"),
            at.postgrest,
            at.registry,
            env("STACK_CONSUL"),
            env("STACK_VAULT"),
        );
        let dir = home.join(".config/mfctl");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("mfctl.toml"), text).unwrap();
    }
}

/// The topics of a namespace.
struct Topics(String);

/// Topics cost the brokers memory, so they are deleted with their test. A failure here fails no test.
impl Drop for Topics {
    fn drop(&mut self) {
        let namespace = self.0.clone();
        // A test's own runtime must not block, so the deletion runs on a thread.
        drop(std::thread::spawn(move || delete(&namespace)).join());
    }
}

fn delete(namespace: &str) -> Option<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", env("STACK_KAFKA"));
    let admin: AdminClient<DefaultClientContext> = config.create().ok()?;
    let metadata = admin.inner().fetch_metadata(None, Duration::from_secs(5)).ok()?;
    let topics = metadata.topics().iter().map(|topic| topic.name());
    let ours: Vec<&str> = topics.filter(|topic| topic.starts_with(namespace)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(admin.delete_topics(&ours, &AdminOptions::new())).ok().map(drop)
}
