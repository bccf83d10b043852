//! Consul, and on a scripted one what a real one does not do on demand.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use mfctl::backends::consul::{Consul, ConsulConfig};
use mfctl::backends::http::HttpOptions;
use mfctl::domain::Secret;
use mfctl::ports::{ConfigStore, ConsulAccess, ErrorKind};

use crate::Fixture;
use crate::stack::env;

mod config_store {
    crate::config_store::config_store_suite!(super::store);
}
mod access {
    crate::consul_access::consul_access_suite!(super::access_control);
}

fn consul(url: String, token: &str) -> Consul {
    let http = HttpOptions::direct("profile.test.consul");
    Consul::new(ConsulConfig { http, url, token: Some(Secret::new(token)), datacenter: None }).unwrap()
}

fn real() -> Consul {
    consul(env("STACK_CONSUL"), &env("STACK_CONSUL_TOKEN"))
}

async fn store() -> Fixture<dyn ConfigStore> {
    Fixture { port: Arc::new(real()), kept: Box::new(()) }
}

async fn access_control() -> Fixture<dyn ConsulAccess> {
    Fixture { port: Arc::new(real()), kept: Box::new(()) }
}

/// Answers each question with the next of these heads and bodies.
fn scripted(answers: Vec<(&'static str, &'static str)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (head, body) in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let _ = stream.read(&mut [0; 8192]);
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_wrong_token_is_told_and_names_its_setting() {
    let error = consul(env("STACK_CONSUL"), "00000000-1111-2222-3333-444444444444").list("x/").await.unwrap_err();
    let hint = error.hint_text().unwrap_or_default().to_owned();
    assert!(error.kind() == ErrorKind::Denied && hint.contains("profile.test.consul.token"), "{} {hint}", error.full());
}

/// Fault case 20: an answer without a leader, or of something in between, is no empty store.
#[tokio::test]
async fn case_20_a_leaderless_or_foreign_answer_is_an_outage_and_not_an_empty_store() {
    let answers = [
        ("200 OK\r\nx-consul-index: 5\r\nx-consul-knownleader: false", "[]"),
        ("500 Internal Server Error", "No cluster leader"),
        ("404 Not Found", ""),
        ("404 Not Found", "<html>proxy</html>"),
    ];
    for answer in answers {
        let error = consul(scripted(vec![answer]), "t").list("prod/").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{answer:?}: {}", error.full());
    }
    let empty = ("404 Not Found\r\nx-consul-index: 7\r\nx-consul-knownleader: true", "");
    let snapshot = consul(scripted(vec![empty]), "t").list("prod/").await.unwrap();
    assert_eq!((snapshot.entries.len(), snapshot.index), (0, 7));
}

/// Fault case 19: an index that goes backwards says that the store began anew.
#[tokio::test]
async fn case_19_an_index_that_goes_backwards_is_begun_with_anew() {
    let pair = "[{\"Key\":\"prod/s/a\",\"Value\":\"MQ==\",\"ModifyIndex\":3,\"Session\":null}]";
    let head = "200 OK\r\nx-consul-index: 3\r\nx-consul-knownleader: true";
    let url = scripted(vec![(head, pair), (head, pair)]);
    let found = consul(url, "t").changed("prod/", 900, Duration::from_secs(1)).await.unwrap();
    assert_eq!((found.index, found.entries[0].value.as_slice()), (3, b"1".as_slice()));
}
