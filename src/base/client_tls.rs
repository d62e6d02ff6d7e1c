//! TLS of connections in which this program is the client.

use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt as _;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::base::client_files::{ClientCertificate, ClientSecrets};

/// The settings of a connection. With `checks`, the server needs a certificate for its name that one of the CAs has
/// signed: those of the file, or else those that the system trusts. Blocks while the system's are read.
///
/// # Errors
/// What is wrong, in one line.
pub(crate) fn tls_config(secrets: &ClientSecrets, checks: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let failed = |error: &dyn std::fmt::Display| format!("TLS: {error}");
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    let builder = match (&secrets.authorities, checks) {
        (_, false) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(&provider))),
        (Some(authorities), true) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(authorities) {
                let certificate = certificate.map_err(|error| failed(&error))?;
                roots.add(certificate).map_err(|error| failed(&error))?;
            }
            builder.with_root_certificates(roots)
        }
        (None, true) => builder
            .try_with_platform_verifier()
            .map_err(|error| failed(&error))?,
    };
    match &secrets.certificate {
        None => Ok(builder.with_no_client_auth()),
        Some(ClientCertificate { certificate, key }) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
            let chain = chain.map_err(|error| failed(&error))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| failed(&error))?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|error| failed(&error))
        }
    }
}

/// Accepts every certificate whose key the server has. PostgreSQL's `sslmode=prefer` wants that: it also goes on without any TLS, so a
/// check would keep no attacker away. So do health checks that only ask whether a service runs.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl AnyCertificate {
    fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

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
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
