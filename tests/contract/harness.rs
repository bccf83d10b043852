//! Fixtures and assertions that the contract suites share.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// An empty backend.
pub struct Fixture<P: ?Sized> {
    /// The port.
    pub port: Arc<P>,
    _guard: Box<dyn Any + Send + Sync>,
}

impl<P: ?Sized> Fixture<P> {
    /// A port, and a guard that must live as long, such as its folder.
    pub fn new(port: Arc<P>, guard: impl Any + Send + Sync) -> Self {
        Self { port, _guard: Box::new(guard) }
    }
}

/// Waits until a condition holds; fails with `what` when it never does.
pub async fn eventually(timeout: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < timeout, "never happened: {what}");
        mfctl_core::wait::pause(Duration::from_millis(5)).await;
    }
}

/// A random number generator whose seed is printed; `MFCTL_SEED` repeats a seed.
#[expect(clippy::print_stdout, reason = "the test harness shows it when the test fails")]
pub fn random() -> fastrand::Rng {
    let given = std::env::var("MFCTL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("MFCTL_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Fails unless the result is an error of this kind.
#[track_caller]
pub fn fails_as<T>(result: mfctl_core::ports::Result<T>, kind: mfctl_core::ports::ErrorKind) {
    match result {
        Ok(_) => panic!("expected {kind:?}, but it succeeded"),
        Err(error) => assert_eq!(error.kind(), kind, "{}", error.full()),
    }
}
