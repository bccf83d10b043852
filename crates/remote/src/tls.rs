//! TLS trust and client certificates: one rustls configuration for every HTTP and SQL client. Independent of any server.
//!
//! Kafka's client uses OpenSSL instead and reads the same files.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use mfctl_core::domain::error_chain;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports::{Error, ErrorKind, Result};
use mfctl_core::tls_files::TlsFiles;

/// The TLS configuration of a client that trusts the authorities of `files.ca`, or those of the system.
///
/// # Errors
/// `Invalid`, naming the file, when one cannot be read or is not PEM; or when a certificate is given without its key.
pub fn client_config(files: &TlsFiles) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Internal, "select the TLS versions").because(error))?
        .with_root_certificates(roots(files)?);
    match (&files.certificate, &files.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, "private key", error))?;
            builder.with_client_auth_cert(chain, secret).map_err(|error| unusable(certificate, "certificate", error))
        }
        _ => Err(Error::new(
            ErrorKind::Invalid,
            "a client certificate needs its private key, and the key its certificate",
        )
        .hint("set both `certificate` and `key`, or neither")),
    }
}

fn roots(files: &TlsFiles) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match &files.ca {
        Some(ca) => {
            for certificate in certificates(ca)? {
                roots.add(certificate).map_err(|error| unusable(ca, "authority", error))?;
            }
        }
        // An unparsable certificate in the system store does not disable the others.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unusable(path, "certificate", error))?;
    let found: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| unusable(path, "certificate", error))?;
    if found.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, format!("{} holds no certificate", path.shown()))
            .hint("give a file of PEM text with at least one BEGIN CERTIFICATE"));
    }
    Ok(found)
}

fn unusable(path: &Path, what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Invalid, format!("{} cannot be used as a {what}", path.shown())).because(error)
}

/// How to fix a failed TLS handshake, by the messages of rustls and OpenSSL; `None` when the cause is not a handshake.
///
/// `settings` is the table that names the TLS files, e.g. `profile.prod.s3`.
#[must_use]
pub fn handshake_hint(error: &(dyn std::error::Error + 'static), settings: &str) -> Option<String> {
    let text = error_chain(error);
    if text.contains("UnknownIssuer") || text.contains("unable to get local issuer") {
        return Some(format!("the server's certificate is signed by an untrusted authority: set `{settings}.ca`"));
    }
    if text.contains("certificate expired") || text.contains("Expired") {
        return Some(format!("a certificate has expired: the server's, or the one at `{settings}.certificate`"));
    }
    if text.contains("CertificateRequired") || text.contains("certificate required") {
        return Some(format!(
            "the server requires a client certificate: set `{settings}.certificate` and `{settings}.key`"
        ));
    }
    if text.contains("NotValidForName") || text.contains("not valid for name") {
        return Some(format!(
            "the server's certificate is valid for another host name: check the address in `{settings}`"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_the_file_that_is_not_pem() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, "no pem").unwrap();
        let files = TlsFiles { ca: Some(ca), ..TlsFiles::default() };
        assert!(client_config(&files).unwrap_err().full().contains("ca.pem"));
        let missing = TlsFiles { ca: Some(dir.path().join("none.pem")), ..TlsFiles::default() };
        assert!(client_config(&missing).unwrap_err().full().contains("none.pem"));
    }

    #[test]
    fn certificate_without_its_key_is_invalid() {
        let files = TlsFiles { certificate: Some("/c.pem".into()), ..TlsFiles::default() };
        assert_eq!(client_config(&files).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
