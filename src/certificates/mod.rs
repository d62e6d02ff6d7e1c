//! Certificates: the files they are read from, when they end, and TLS with the one in use.
//!
//! DNS over TLS and HTTPS share this part: [`Tls`] is the certificate in use of one of them, and [`Handshakes`]
//! bounds the work of TLS handshakes of both together.

mod challenges;
mod files;
mod handshake;
mod library;
mod tls;
mod warning;

pub use self::challenges::Challenges;
pub use self::files::{CertificateError, CertificateFiles};
pub(crate) use self::handshake::HANDSHAKE_TIME;
pub use self::handshake::Handshakes;
pub(crate) use self::tls::Current;
pub use self::tls::{Service, Tls};
pub use self::warning::CertificateWarning;
