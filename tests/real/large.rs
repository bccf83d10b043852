//! The upload of one large file is killed repeatedly.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::external_clients::s3;
use crate::support::stack::{Endpoints, Platform, env};
use crate::support::{Running, Site, env_number, eventually, seed};

const MIB: u64 = 1 << 20;
/// Bytes of a part.
const PART: u64 = 8 * MIB;
/// The most parts that an upload has in flight, limited by its memory budget.
const IN_FLIGHT: usize = 8;
const KILLS: usize = 10;

/// Writes a sparse file whose parts all differ.
fn write_sparse(path: &Path, size: u64, rng: &mut fastrand::Rng) {
    let mut file = File::create(path).unwrap();
    let mut block = vec![0; 64 << 10];
    for at in (0..size).step_by(PART as usize / 2) {
        rng.fill(&mut block);
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&block).unwrap();
    }
    file.set_len(size).unwrap();
}

/// A proxy before the object store that counts the parts sent, including interrupted ones.
struct PartCounter {
    url: String,
    parts: Arc<AtomicUsize>,
}

impl PartCounter {
    fn before(upstream: &str) -> Self {
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let parts = Arc::new(AtomicUsize::new(0));
        let counter = Self { url, parts: Arc::clone(&parts) };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&upstream) else { continue };
                let responses = server.try_clone().unwrap();
                let to_client = client.try_clone().unwrap();
                let parts = Arc::clone(&parts);
                std::thread::spawn(move || forward(client, server, Some(&parts)));
                std::thread::spawn(move || forward(responses, to_client, None));
            }
        });
        counter
    }

    fn parts(&self) -> usize {
        self.parts.load(Ordering::Relaxed)
    }
}

/// Forwards bytes and counts parts. A client sends a request only after the last response, so a read begins with a request.
fn forward(mut from: TcpStream, mut to: TcpStream, parts: Option<&AtomicUsize>) {
    let mut buffer = vec![0; 256 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if let Some(parts) = parts
            && buffer[..read].starts_with(b"PUT ")
            && buffer[..read.min(4096)].windows(11).any(|window| window == b"partNumber=")
        {
            parts.fetch_add(1, Ordering::Relaxed);
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

#[test]
fn upload_killed_ten_times_resends_only_in_flight_parts() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let counter = PartCounter::before(&env("STACK_S3"));
    let site = Site::on(Platform::new(), &Endpoints { s3: counter.url.clone(), ..Endpoints::direct() });
    std::fs::create_dir(site.path("in")).unwrap();
    let size = env_number("MFCTL_TEST_LARGE", 2 << 30) as u64;
    write_sparse(&site.path("in/large.bin"), size, &mut rng);
    let parts = usize::try_from(size.div_ceil(PART)).unwrap();

    for kill in 0..KILLS {
        let mut uploading = Running::captured(site.command(["ingest", "in", "--quiet"]));
        let until = counter.parts() + rng.usize(1..=(parts / (KILLS + 1)).max(1));
        eventually("more parts are sent", || {
            assert!(uploading.is_alive(), "seed {seed}: it ended before kill {kill}");
            counter.parts() >= until
        });
        uploading.kill();
    }
    let done = site.json(["ingest", "in"], &[0]);
    assert_eq!(done["staged"], 1, "seed {seed}: {done:#}");
    let sent = counter.parts();
    let most = parts + KILLS * IN_FLIGHT;
    assert!((parts..=most).contains(&sent), "seed {seed}: {sent} parts were sent of {parts}, {most} at most");

    let job = done["job_id"].as_str().unwrap();
    assert_eq!(site.run(["jobs", "verify", job]).code, 0, "seed {seed}");
    let summary = site.json(["worker", "persist", "--until-drained"], &[0]);
    assert_eq!((&summary["emitted"], &summary["dead_lettered"]), (&1.into(), &0.into()), "seed {seed}: {summary:#}");
    // The audit reads the object.
    let report = site.audit();
    assert_eq!((&report["files"], &report["in_flight"]), (&1.into(), &1.into()), "seed {seed}: {report:#}");
    let left = String::from_utf8(s3("GET", &site.platform().bucket("staging"), "?uploads=", &[])).unwrap();
    assert!(!left.contains("<UploadId>"), "seed {seed}: an unfinished upload remains: {left}");
}
