//! The PEM files of a TLS client. Paths only: each client reads them with its own TLS library.

use std::path::PathBuf;

/// PEM files of a TLS client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Trusted CA certificates; `None`: those of the machine.
    pub ca: Option<PathBuf>,
    /// Client certificate, followed by its issuers.
    pub certificate: Option<PathBuf>,
    /// Private key of the client certificate.
    pub key: Option<PathBuf>,
}
