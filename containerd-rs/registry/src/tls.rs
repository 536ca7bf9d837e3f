//! Trust: the system's certificate bundle, and per host the directory that Docker keeps.
//!
//! `<certs_dir>/<host>/*.crt` are further authorities, `NAME.cert` with `NAME.key` is a client certificate. The
//! directory is read whenever a client for the host is made, so that a new certificate needs no restart of the daemon.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::RegistryError;

/// The TLS configuration for one host.
pub(crate) fn client_config(certs_dir: &Path, host: &str, verify: bool) -> Result<ClientConfig, RegistryError> {
    let wrong = |reason: String| RegistryError::Certificates {
        host: host.to_owned(),
        reason,
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(e.to_string()))?;
    let directory = certs_dir.join(host);
    let builder = if verify {
        builder.with_root_certificates(roots(&directory, host)?)
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    };
    match client_certificate(&directory, host)? {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|e| wrong(e.to_string())),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// The system's roots and those of the host's directory. Unusable system certificates are skipped: others may do.
fn roots(directory: &Path, host: &str) -> Result<RootCertStore, RegistryError> {
    let mut store = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(%error, "system certificate bundle");
    }
    store.add_parsable_certificates(system.certs);
    for path in files(directory, "crt") {
        let wrong = |e: String| RegistryError::Certificates {
            host: host.to_owned(),
            reason: format!("{}: {e}", path.display()),
        };
        for certificate in CertificateDer::pem_file_iter(&path).map_err(|e| wrong(e.to_string()))? {
            let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
            store.add(certificate).map_err(|e| wrong(e.to_string()))?;
        }
    }
    Ok(store)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The first `NAME.cert` with its `NAME.key`. One without the other is an error, as it is for Docker.
fn client_certificate(directory: &Path, host: &str) -> Result<Option<Identity>, RegistryError> {
    let wrong = |reason: String| RegistryError::Certificates {
        host: host.to_owned(),
        reason,
    };
    let Some(path) = files(directory, "cert").into_iter().next() else {
        return Ok(None);
    };
    let key_path = path.with_extension("key");
    if !key_path.exists() {
        return Err(wrong(format!(
            "missing key {} for client certificate {}",
            key_path.display(),
            path.display()
        )));
    }
    let chain = CertificateDer::pem_file_iter(&path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| wrong(format!("{}: {e}", path.display())))?;
    let key = PrivateKeyDer::from_pem_file(&key_path).map_err(|e| wrong(format!("{}: {e}", key_path.display())))?;
    Ok(Some((chain, key)))
}

/// The files of a directory with an extension, sorted; none when there is no such directory.
fn files(directory: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    found.sort();
    found
}

/// Accepts any certificate: for hosts that the administrator has listed as insecure, and only for them.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
