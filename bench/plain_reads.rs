//! How long it takes to read what a plan has to look at, with plain concurrent requests and nothing else: what
//! `mfctl bootstrap plan` is measured beside. Run by `bench/real`.
//!
//! Consul's keys in one request for the whole environment; Kafka's topics and all their settings in one request each; Vault's
//! policies one by one, 16 at a time, for its API has no other way.
//!
//! `BENCH_ENV`, the environment; `BENCH_NAMESPACE`, what its topics' names begin with. Prints what was read, and the seconds.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, not part of the program")]

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use mfctl_remote::http::HttpOptions;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use serde_json::Value;

/// Policies read at once.
const AT_ONCE: usize = 16;

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run this through `make bench-real`"))
}

async fn keys(http: &reqwest::Client) -> usize {
    let url = format!("{}/v1/kv/{}/?recurse&consistent", env("STACK_CONSUL"), env("BENCH_ENV"));
    let read = http.get(url).header("x-consul-token", env("STACK_CONSUL_TOKEN")).send().await.unwrap();
    serde_json::from_slice::<Vec<Value>>(&read.bytes().await.unwrap()).unwrap().len()
}

async fn policies(http: &reqwest::Client) -> usize {
    let (vault, token) = (env("STACK_VAULT"), env("STACK_VAULT_TOKEN"));
    let read = async |path: String| {
        let read = http.get(format!("{vault}/v1/{path}")).header("x-vault-token", &token).send().await.unwrap();
        serde_json::from_slice::<Value>(&read.bytes().await.unwrap()).unwrap()
    };
    let all = read("sys/policies/acl?list=true".to_owned()).await;
    let names = all["data"]["keys"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    let read = stream::iter(names).map(|name| read(format!("sys/policies/acl/{name}"))).buffer_unordered(AT_ONCE);
    read.filter(|policy| std::future::ready(policy["data"]["policy"].is_string())).count().await
}

async fn topics() -> usize {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", env("STACK_KAFKA"));
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let (admin, names) = tokio::task::spawn_blocking(move || {
        let metadata = admin.inner().fetch_metadata(None, Duration::from_secs(30)).unwrap();
        let namespace = env("BENCH_NAMESPACE");
        let all = metadata.topics().iter().map(|topic| topic.name().to_owned());
        (admin, all.filter(|name| name.starts_with(&namespace)).collect::<Vec<String>>())
    })
    .await
    .unwrap();
    let of: Vec<ResourceSpecifier<'_>> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    admin.describe_configs(&of, &AdminOptions::new()).await.unwrap().into_iter().map(Result::unwrap).count()
}

#[tokio::main]
async fn main() {
    let began = Instant::now();
    let http = HttpOptions::direct("bench").client().unwrap();
    let (keys, policies, topics) = tokio::join!(keys(&http), policies(&http), topics());
    let took = began.elapsed();
    println!("{keys} keys, {topics} topics, {policies} policies");
    println!("seconds {:.3}", took.as_secs_f64());
}
