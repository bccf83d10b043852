//! The addresses of the servers.

/// A variable that `make stack-env` prints.
pub fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run through make test-real"))
}
