//! The files that a TLS client is configured with: paths alone. Each client reads them with its own TLS library.

use std::path::PathBuf;

/// Files of PEM text. What is `None` is the machine's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that are trusted; else those that the machine trusts.
    pub ca: Option<PathBuf>,
    /// The certificate that says who we are, its issuers behind it.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}
