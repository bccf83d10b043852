//! Each server is killed in its turn while files go through.

use std::time::Duration;

use super::alone;
use super::crew::{Crew, tell};
use super::servers::{BROKERS, Down};
use crate::support::{Site, seed, setting, write_texts};

/// The workers go on by themselves when the server is back; nobody is asked to do anything.
#[test]
fn any_server_may_be_killed_while_thousands_of_files_go_through() {
    let _alone = alone();
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let site = Site::new();
    let mut servers = [BROKERS[rng.usize(..3)], "minio", "postgres", "postgrest", "registry"];
    rng.shuffle(&mut servers);
    let files = setting("MFCTL_TEST_FILES", 2_000) / servers.len();
    let mut crew = Crew::at_work(&site);
    for server in servers {
        let what = format!("seed {seed}: {server}");
        write_texts(&site.path(server), files, &mut rng);
        let upload = crew.upload(server, files);
        std::thread::park_timeout(Duration::from_millis(rng.u64(200..1_500)));
        let down = Down::kill(server);
        std::thread::park_timeout(Duration::from_millis(rng.u64(500..5_000)));
        down.start();
        upload.done(&what);
        crew.catches_up(&what);
    }
    crew.everything_is_there(&format!("seed {seed}"));
    tell(&format!("{} files went through", files * servers.len()));
}

/// Who begins while a server is down waits for it, or says how to go on.
#[test]
fn an_upload_and_a_worker_may_begin_while_a_server_is_down() {
    let _alone = alone();
    let site = Site::new();
    for server in ["registry", "postgrest", "minio"] {
        write_texts(&site.path(server), 20, &mut fastrand::Rng::with_seed(server.len() as u64));
    }
    let mut crew = Crew::at_work(&site);
    for server in ["registry", "postgrest", "minio"] {
        let down = Down::kill(server);
        let upload = crew.upload(server, 20);
        crew.hire();
        std::thread::park_timeout(Duration::from_secs(2));
        down.start();
        upload.done(server);
        crew.catches_up(server);
        crew.dismiss();
    }
    crew.everything_is_there("servers that were down");
}
