//! The contract of each port, as named cases that every backend of the port passes: a behaviour that is not here is not
//! promised. A suite is a file; a backend runs it by giving its harness to the suite's macro.
//!
//! A harness is an async function that answers a fixture: a backend with nothing in it, and whatever must live as long.

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

/// What a test needs of a port's error: that it is one, and of this kind.
#[track_caller]
fn fails_as<T>(result: mfctl::ports::Result<T>, kind: mfctl::ports::ErrorKind) {
    match result {
        Ok(_) => panic!("expected {kind:?}, but it succeeded"),
        Err(error) => assert_eq!(error.kind(), kind, "{}", error.full()),
    }
}
