//! Endpoints found through Consul, `consul:SERVICE` instead of an address: work continues while instances change.

use serde_json::{Value, json};

use crate::dedicated_servers::{edit, settings};
use crate::external_clients::curl;
use crate::proxy::Proxy;
use crate::support::stack::env;
use crate::support::{Running, Site, eventually, seed, write_texts};

/// A service of one test, deregistered when dropped.
struct Service {
    name: String,
    ids: Vec<String>,
}

fn consul_request(method: &str, path: &str, body: &Value) {
    let token = format!("X-Consul-Token: {}", env("STACK_CONSUL_TOKEN"));
    let body = body.to_string();
    let url = format!("{}/v1/{path}", env("STACK_CONSUL"));
    curl(&["-X", method, "-H", &token, "--data", &body, &url]);
}

impl Service {
    fn new(name: &str) -> Self {
        Self { name: format!("{name}-{:08x}", fastrand::u32(..)), ids: Vec::new() }
    }

    /// Registers an instance at `host:port`, healthy as long as it accepts connections.
    fn register(&mut self, address: &str) {
        let (host, port) = address.rsplit_once(':').unwrap();
        let id = format!("{}-{port}", self.name);
        let check = json!({"TCP": address, "Interval": "1s", "Timeout": "1s", "Status": "passing"});
        let body = json!({
            "Name": self.name, "ID": id, "Address": host, "Port": port.parse::<u16>().unwrap(), "Check": check,
        });
        consul_request("PUT", "agent/service/register", &body);
        self.ids.push(id);
    }

    fn healthy(&self) -> usize {
        let token = format!("X-Consul-Token: {}", env("STACK_CONSUL_TOKEN"));
        let url = format!("{}/v1/health/service/{}?passing", env("STACK_CONSUL"), self.name);
        serde_json::from_slice::<Vec<Value>>(&curl(&["-H", &token, &url])).unwrap().len()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for id in &self.ids {
            consul_request("PUT", &format!("agent/service/deregister/{id}"), &Value::Null);
        }
    }
}

fn host_and_port(url: &str) -> String {
    url.trim_start_matches("http://").split('/').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_service_instance_is_replaced_by_another() {
    let site = Site::new();
    let mut proxies = Vec::new();
    let mut services = Vec::new();
    for (name, variable) in [("postgrest", "STACK_POSTGREST"), ("objects", "STACK_S3"), ("registry", "STACK_REGISTRY")]
    {
        let server = host_and_port(&env(variable));
        let mut service = Service::new(name);
        let proxy = Proxy::before(&format!("http://{server}")).await;
        service.register(&host_and_port(&proxy.url));
        service.register(&server);
        let with = env(variable).replace(&format!("http://{server}"), &format!("consul:{}", service.name));
        edit(&settings(&site), &format!("\"{}\"", env(variable)), &format!("\"{with}\""));
        proxies.push(proxy);
        services.push(service);
    }
    let mut brokers = Service::new("kafka");
    env("STACK_KAFKA").split(',').for_each(|broker| brokers.register(broker));
    edit(&settings(&site), &format!("\"{}\"", env("STACK_KAFKA")), &format!("\"consul:{}\"", brokers.name));

    let status = site.run(["status"]);
    assert!(status.code == 0 && status.stderr.contains("consul:") || status.stdout.contains("consul:"), "{status}");
    write_texts(&site.path("in"), 300, &mut fastrand::Rng::with_seed(seed()));
    let log = site.path("worker.log");
    let worker = Running::logged(site.command(["worker", "all"]), &log);
    let log_text = || std::fs::read_to_string(&log).unwrap_or_default();
    let ingest = Running::captured(site.command(["ingest", "in"]));
    eventually("the first file to be enriched", || site.audit()["enriched"].as_u64() > Some(0));
    // Open connections break, and new ones are refused.
    proxies.into_iter().for_each(Proxy::kill);
    let ingested = ingest.finish();
    assert_eq!(ingested.code, 0, "{ingested}");
    for service in &services {
        eventually("the other instance to be the only one", || service.healthy() == 1);
        eventually("the worker to log the change", || {
            log_text().lines().any(|line| line.contains("its instances changed") && line.contains(&service.name))
        });
    }
    eventually("all to be enriched", || site.audit()["enriched"].as_u64() == Some(300));
    worker.signal(rustix::process::Signal::TERM);
    assert_eq!(worker.code(), 143);
}

#[test]
fn unknown_service_is_named_in_the_error() {
    let site = Site::new();
    edit(&settings(&site), &format!("\"{}\"", env("STACK_POSTGREST")), "\"consul:nobody-has-this\"");
    let ran = site.run(["status"]);
    assert!(ran.code == 5 && ran.stderr.contains("no healthy instance of nobody-has-this"), "{ran}");
    let text = std::fs::read_to_string(settings(&site)).unwrap();
    let (before, rest) = text.split_once("[profile.stack.consul]").unwrap();
    let after = &rest[rest.find("[profile").unwrap()..];
    std::fs::write(settings(&site), format!("{before}{after}")).unwrap();
    let ran = site.run(["status"]);
    assert!(ran.code == 6 && ran.stderr.contains("has no Consul in which to look up nobody-has-this"), "{ran}");
}
