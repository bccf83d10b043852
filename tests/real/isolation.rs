//! One object that fails alone on a real store: its record becomes a dead letter, and all others go through.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use sha2::Digest;

use crate::support::stack::{Endpoints, Platform};
use crate::support::{Running, Site, eventually_within, write_texts};

/// How the store treats the reads of one object.
#[derive(Debug, Clone, Copy)]
enum ReadFault {
    /// Always status 500.
    InternalError,
    /// Never an answer.
    NoAnswer,
}

/// A proxy before the object store that fails the reads of some objects.
struct FaultyStore {
    url: String,
}

impl FaultyStore {
    /// A request to read an object fails if its first line contains this text.
    fn before(upstream: &str, faults: Vec<(String, ReadFault)>) -> Self {
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let faults = Arc::new(faults);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&upstream) else { continue };
                let responses = server.try_clone().unwrap();
                let to_client = client.try_clone().unwrap();
                let faults = Arc::clone(&faults);
                std::thread::spawn(move || requests(client, server, &faults));
                std::thread::spawn(move || forward(responses, to_client));
            }
        });
        Self { url }
    }
}

/// Passes requests on. A client sends the next one only after the response, so that each begins a new read.
fn requests(mut client: TcpStream, mut server: TcpStream, faults: &[(String, ReadFault)]) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        let first = String::from_utf8_lossy(&buffer[..read.min(1024)]).lines().next().unwrap_or_default().to_owned();
        let fault = faults.iter().find(|(text, _)| first.starts_with("GET ") && first.contains(text));
        match fault.map(|(_, fault)| fault) {
            None if server.write_all(&buffer[..read]).is_ok() => {}
            None => break,
            Some(ReadFault::InternalError) => {
                let body = "<Error><Code>InternalError</Code><Message>as scripted</Message></Error>";
                let head = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/xml\r\n";
                let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
                if client.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
            // Until the client has enough.
            Some(ReadFault::NoAnswer) => {}
        }
    }
    let _ = server.shutdown(std::net::Shutdown::Both);
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn objects_that_always_fail_or_never_answer_are_dead_letters_and_all_others_go_through() {
    const GOOD: usize = 60;
    let broken = b"the store cannot read this one\n";
    let stalled = b"the store never answers for this one\n";
    let faults = vec![(sha256(broken), ReadFault::InternalError), (sha256(stalled), ReadFault::NoAnswer)];
    let direct = Endpoints::direct();
    let store = FaultyStore::before(&direct.s3, faults);
    let site = Site::on(Platform::new(), &Endpoints { s3: store.url, ..direct });
    write_texts(&site.path("in"), GOOD, &mut fastrand::Rng::with_seed(15));
    std::fs::write(site.path("in/broken.txt"), broken).unwrap();
    std::fs::write(site.path("in/stalled.txt"), stalled).unwrap();
    site.json(["ingest", "in"], &[0]);

    let log = site.path("worker.log");
    // Fewer slots than it takes to get past two records that hold theirs.
    let mut worker = Running::logged(site.command(["worker", "all", "--concurrency", "2"]), &log);
    // An audit would read the two objects, too.
    let enriched = || site.run(["media", "list", "--state", "enriched", "-o", "name"]).stdout.lines().count();
    eventually_within(Duration::from_secs(120), "the others are enriched", || {
        assert!(worker.is_alive(), "the worker ended");
        enriched() == GOOD
    });
    let mut dead = Vec::new();
    eventually_within(Duration::from_secs(240), "both are named", || {
        assert!(worker.is_alive(), "the worker ended");
        let list = site.json(["dlq", "list"], &[0]);
        let groups = list["groups"].as_array().unwrap();
        dead = groups.iter().map(|group| group["kind"].as_str().unwrap().to_owned()).collect();
        list["unresolved"] == 2
    });
    dead.sort();
    assert_eq!(dead, ["timeout", "unreachable"]);
    let each = site.json(["dlq", "list", "--each"], &[0]).to_string();
    for bytes in [&broken[..], stalled] {
        assert!(each.contains(&sha256(bytes)), "the object is named: {each}");
    }
    assert!(!std::fs::read_to_string(&log).unwrap().contains("intake paused"), "the breaker stayed closed");
    worker.signal(Signal::TERM);
    assert_eq!(worker.code(), 143);
}
