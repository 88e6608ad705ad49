//! TLS: whom to trust, and who we are. Files are read once, at the start, while there is the
//! privilege to do so.

use std::path::{Path, PathBuf};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::options::TlsFiles;

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file with certificates or a key.
    #[error("cannot use `{path}`: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No certificate to trust.
    #[error(
        "the system has no certificate authorities; name some with OTEL_EXPORTER_OTLP_CERTIFICATE"
    )]
    NoRoots,
    /// What TLS itself says.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// How connections by `https://` are made.
pub(super) fn client_config(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let builder = builder()?.with_root_certificates(roots(files.ca.as_deref())?);
    Ok(match &files.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let reason = |error| unusable(key, error);
            let parsed = PrivateKeyDer::from_pem_file(key).map_err(reason)?;
            let certificates = certificates(certificate)?;
            let reason = |error| unusable(certificate, error);
            builder.with_client_auth_cert(certificates, parsed).map_err(reason)?
        }
    })
}

/// For `http://`, which trusts nobody and needs nothing.
pub(super) fn unused_config() -> Result<ClientConfig, TlsError> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TlsError> {
    let provider = rustls::crypto::ring::default_provider();
    Ok(ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()?)
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| unusable(path, error))?;
        }
        return Ok(roots);
    }
    // A few that cannot be read are none of our business, as long as there are others.
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 { Err(TlsError::NoRoots) } else { Ok(roots) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match all {
        Ok(all) if all.is_empty() => Err(unusable(path, "it holds no certificate")),
        Ok(all) => Ok(all),
        Err(error) => Err(unusable(path, error)),
    }
}

fn unusable(path: &Path, reason: impl std::fmt::Display) -> TlsError {
    TlsError::File { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_certificates_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let message = |files: &TlsFiles| client_config(files).unwrap_err().to_string();
        let files = TlsFiles { ca: Some(path.clone()), client: None };
        assert!(message(&files).contains("ca.pem"), "{}", message(&files));
        std::fs::write(&path, "no PEM").unwrap();
        assert!(message(&files).contains("holds no certificate"), "{}", message(&files));
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .unwrap();
        assert!(message(&files).contains("ca.pem"), "{}", message(&files));
    }

    #[test]
    fn plain_connections_need_no_certificates() {
        unused_config().unwrap();
    }
}
