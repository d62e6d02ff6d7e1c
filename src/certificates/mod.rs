//! Certificates: the files they are read from, or how the server gets them by itself, when they end, and TLS with
//! those in use.
//!
//! DNS over TLS and HTTPS share this part: [`Tls`] is the certificate of one of them from files, [`HostCertificates`]
//! are those of HTTPS from either source, and [`Handshakes`] bounds the work of TLS handshakes of both together.
//! [`TicketKeeper`] has the servers of a store share the keys of session tickets.

pub mod acme;
mod challenges;
mod facts;
mod files;
mod handshake;
mod hosts;
mod issued;
mod library;
mod overview;
mod ticket_keeper;
mod tickets;
mod tls;
mod warning;
mod x509;

pub use self::challenges::Challenges;
pub use self::facts::CertificateFacts;
pub use self::files::{CertificateError, CertificateFiles};
pub(crate) use self::handshake::HANDSHAKE_TIME;
pub use self::handshake::Handshakes;
pub use self::hosts::HostCertificates;
pub use self::issued::Issued;
pub(crate) use self::issued::NoCertificate;
pub use self::overview::{CertificateTrouble, OrderError, Overview, Source};
pub use self::ticket_keeper::TicketKeeper;
pub(crate) use self::tls::Current;
pub use self::tls::{Service, Tls};
pub use self::warning::CertificateWarning;
