//! Consul and Vault servers of a single test, which it may kill, seal and empty.

#![allow(dead_code, reason = "shared by several tests, each of which uses a part")]

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::external_clients::curl;
use crate::support::stack::env;
use crate::support::{Running, Site, eventually};

/// A free port below the range of outgoing connections.
fn free_port() -> u16 {
    (0..1000)
        .map(|_| fastrand::u16(20_000..30_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// A Consul server of a cluster of `expect` servers.
pub struct ConsulServer {
    name: &'static str,
    expect: u8,
    http: u16,
    server: u16,
    pub serf: u16,
    pub join: Option<u16>,
    pub acl: bool,
    process: Option<Running>,
}

impl ConsulServer {
    pub fn new(name: &'static str, expect: u8, join: Option<&Self>) -> Self {
        let http = free_port();
        let server = free_port();
        let serf = free_port();
        Self { name, expect, http, server, serf, join: join.map(|other| other.serf), acl: false, process: None }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    pub fn start(&mut self, site: &Site) {
        let data = site.path(self.name);
        let mut command = Command::new(env("STACK_CONSUL_BIN"));
        command.args(["agent", "-server", "-bind=127.0.0.1", "-client=127.0.0.1", "-datacenter=dc", "-dns-port=-1"]);
        command.args(["-grpc-port=-1", "-grpc-tls-port=-1", "-serf-wan-port=-1", "-log-level=error"]);
        // On a busy machine, one of two servers must not consider the other dead.
        let raft_multiplier = if self.expect > 1 { 3 } else { 1 };
        let performance = format!("performance {{ raft_multiplier = {raft_multiplier} }}");
        command.args(["-hcl", &format!("{performance} disable_update_check = true skip_leave_on_interrupt = true")]);
        command.arg(format!("-node={}", self.name)).arg(format!("-data-dir={}", data.display()));
        command.arg(format!("-bootstrap-expect={}", self.expect)).arg(format!("-http-port={}", self.http));
        command.arg(format!("-server-port={}", self.server)).arg(format!("-serf-lan-port={}", self.serf));
        command.args(self.join.map(|serf| format!("-retry-join=127.0.0.1:{serf}")));
        command.args(["-retry-interval=1s"]);
        if self.acl {
            command.args(["-hcl", "acl { enabled = true default_policy = \"deny\" }"]);
        }
        self.process = Some(Running::logged(command, &site.path(format!("{}.log", self.name))));
    }

    pub fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    pub fn has_leader(&self) -> bool {
        let response = Command::new("curl")
            .args(["-q", "-s", "--noproxy", "*", "--max-time", "2", &format!("{}/v1/status/leader", self.url())])
            .output()
            .unwrap();
        String::from_utf8_lossy(&response.stdout).contains(':')
    }
}

/// A server of Vault's API.
pub struct VaultServer {
    pub url: String,
    pub token: String,
    key: String,
    _process: Running,
}

impl VaultServer {
    /// Starts an uninitialised server; returns its address and process.
    pub fn uninitialised(site: &Site) -> (String, Running) {
        let http = free_port();
        let config = site.path("vault.hcl");
        let text = format!(
            "storage \"inmem\" {{}}\ndisable_mlock = true\n\
             listener \"tcp\" {{\n  address = \"127.0.0.1:{http}\"\n  tls_disable = true\n}}\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(env("STACK_VAULT_BIN"));
        command.arg("server").arg(format!("-config={}", config.display()));
        let process = Running::logged(command, &site.path("vault.log"));
        eventually("the server to listen", || std::net::TcpStream::connect(("127.0.0.1", http)).is_ok());
        (format!("http://127.0.0.1:{http}"), process)
    }

    /// Starts, initialises and unseals a server.
    pub fn start(site: &Site) -> Self {
        let (url, process) = Self::uninitialised(site);
        let init = curl(&[
            "-X",
            "PUT",
            "--data",
            "{\"secret_shares\":1,\"secret_threshold\":1}",
            &format!("{url}/v1/sys/init"),
        ]);
        let init: Value = serde_json::from_slice(&init).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let server =
            Self { url, token: text(&init["root_token"]), key: text(&init["keys_base64"][0]), _process: process };
        server.unseal();
        server
    }

    pub fn ask(&self, path: &str, body: &str) -> Value {
        let token = format!("X-Vault-Token: {}", self.token);
        let answer = curl(&["-X", "PUT", "-H", &token, "--data", body, &format!("{}/v1/{path}", self.url)]);
        serde_json::from_slice(&answer).unwrap_or(Value::Null)
    }

    pub fn unseal(&self) {
        self.ask("sys/unseal", &format!("{{\"key\":\"{}\"}}", self.key));
        let ready = || {
            let status = ["-q", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "*"];
            let response =
                Command::new("curl").args(status).arg(format!("{}/v1/sys/health", self.url)).output().unwrap();
            response.stdout == b"200"
        };
        eventually("the server to be unsealed", ready);
    }
}

pub fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} in {}:\n{text}", path.display());
    std::fs::write(path, text.replace(from, to)).unwrap();
}

/// Starts empty servers for a site: a Vault with a secrets engine, and a Consul whose ACLs are not bootstrapped.
pub fn empty_servers(site: &Site) -> (VaultServer, ConsulServer) {
    let vault = VaultServer::start(site);
    let mut consul = ConsulServer::new("only", 1, None);
    consul.acl = true;
    consul.start(site);
    eventually("a leader", || consul.has_leader());
    let token = site.home().join("secrets/vault");
    std::fs::write(&token, &vault.token).unwrap();
    set_vault(site, &vault.url, &format!("token = \"file:{}\"\n", token.display()));
    vault.ask("sys/mounts/secret", "{\"type\":\"kv\",\"options\":{\"version\":\"2\"}}");
    edit(&settings(site), &env("STACK_CONSUL"), &consul.url());
    (vault, consul)
}

/// Makes the profile read Consul's token from Vault.
pub fn read_consul_token_from_vault(site: &Site) {
    let file = format!("file:{}", site.home().join("secrets/consul").display());
    edit(&settings(site), &file, "vault:consul/management#token");
}

/// The profile's configuration file.
pub fn settings(site: &Site) -> std::path::PathBuf {
    site.home().join(".config/mfctl/mfctl.toml")
}

/// Replaces the profile's Vault and login.
pub fn set_vault(site: &Site, url: &str, login: &str) {
    let path = settings(site);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("[profile.stack.vault]").unwrap();
    let (_, after) = rest.split_once("[profile").unwrap();
    std::fs::write(&path, format!("{before}[profile.stack.vault]\nurl = \"{url}\"\n{login}[profile{after}")).unwrap();
}
