//! What the suites of contracts need of the crate that runs them.

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

/// A backend with nothing in it.
pub struct Fixture<P: ?Sized> {
    /// The port.
    pub port: Arc<P>,
    _kept: Box<dyn Any + Send + Sync>,
}

impl<P: ?Sized> Fixture<P> {
    /// A port, and what must live as long, such as its folder.
    pub fn new(port: Arc<P>, kept: impl Any + Send + Sync) -> Self {
        Self { port, _kept: Box::new(kept) }
    }
}

/// Waits until a condition holds; fails with `what` when it never does.
pub async fn eventually(patience: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < patience, "never happened: {what}");
        mfctl_core::wait::pause(Duration::from_millis(5)).await;
    }
}

/// A source of random numbers whose seed is printed; `MFCTL_SEED` runs a seed again.
#[expect(clippy::print_stdout, reason = "the test harness shows it when the test fails")]
pub fn random() -> fastrand::Rng {
    let given = std::env::var("MFCTL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("MFCTL_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// What a test needs of a port's error: that it is one, and of this kind.
#[track_caller]
pub fn fails_as<T>(result: mfctl_core::ports::Result<T>, kind: mfctl_core::ports::ErrorKind) {
    match result {
        Ok(_) => panic!("expected {kind:?}, but it succeeded"),
        Err(error) => assert_eq!(error.kind(), kind, "{}", error.full()),
    }
}
