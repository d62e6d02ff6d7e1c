//! Which certificates of servers are trusted: those of the authorities that the system trusts, so that a private
//! authority works as in other programs. Built-in roots would know the public authorities only.

use tokio_rustls::rustls::{CertificateError, Error};
use ureq::tls::{RootCerts, TlsConfig};

/// What to do where the system does not know the authority.
const REMEDY: &str =
    "add the authority's certificate to those of the system, or name its file in SSL_CERT_FILE";

/// TLS with the authorities of the system; `SSL_CERT_FILE` and `SSL_CERT_DIR` replace them.
pub(super) fn of_the_system() -> TlsConfig {
    TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .build()
}

/// Why a certificate was refused, and what to do; none for any other error.
pub(super) fn refusal(error: &ureq::Error) -> Option<String> {
    let error = match error {
        ureq::Error::Rustls(error) => error,
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref::<Error>()?,
        _ => return None,
    };
    match error {
        Error::InvalidCertificate(why) => Some(explain(why)),
        // The only such error before the handshake: the list of authorities is empty.
        Error::General(_) => Some(format!(
            "this system has no certificates of authorities; {REMEDY}"
        )),
        _ => None,
    }
}

fn explain(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            format!("this system does not trust the authority that issued it; {REMEDY}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired; renew it".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; check the clocks of both machines".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another name; use a name of the certificate in the URL".into()
        }
        other => other.to_string(),
    }
}
