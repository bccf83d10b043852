//! The contract of each port, as named cases that every backend of the port passes: a behaviour that is not here is not
//! promised. A suite is a file; a backend runs it by giving its harness to the suite's macro.
//!
//! A harness is an async function that answers a fixture: a backend with nothing in it, and whatever must live as long.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so and stop")]

/// One test for each case of a suite, each on a fresh fixture.
macro_rules! cases {
    ($harness:path, $suite:path: $($case:ident),+ $(,)?) => {
        use $suite as suite;
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                suite::$case($harness().await).await;
            }
        )+
    };
}

mod catalog;
mod catalog_lists;
mod embedded;
mod embedded_processes;
mod event_log;
mod event_log_groups;
mod journal;
mod objects;
mod operators;
mod registry;
mod search;

use std::any::Any;
use std::sync::Arc;

/// A backend with nothing in it.
pub struct Fixture<P: ?Sized> {
    /// The port.
    pub port: Arc<P>,
    /// What must live as long, such as its folder.
    pub kept: Box<dyn Any + Send + Sync>,
}

/// A source of random numbers whose seed is printed; `MFCTL_SEED` runs a seed again.
#[expect(clippy::print_stdout, reason = "the test harness shows it when the test fails")]
fn random() -> fastrand::Rng {
    let given = std::env::var("MFCTL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("MFCTL_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// What a test needs of a port's error: that it is one, and of this kind.
#[track_caller]
fn fails_as<T>(result: mfctl::ports::Result<T>, kind: mfctl::ports::ErrorKind) {
    match result {
        Ok(_) => panic!("expected {kind:?}, but it succeeded"),
        Err(error) => assert_eq!(error.kind(), kind, "{}", error.full()),
    }
}
