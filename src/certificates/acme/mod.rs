//! ACME (RFC 8555): certificates that the server gets by itself, by the challenge DNS-01, which it answers itself.
//!
//! ```text
//!   engine     the certificates in memory; follows the store        order      one order to its certificate
//!   round      what is due, under the lease                         self_check every name server has the challenge
//!   lease      one server of a fleet orders                         account    registered once for all servers
//!   state      attempts of a zone, kept over restarts               schedule   renewal, delays
//!   documents  what the store keeps                                 seal       private keys in it are encrypted
//!   certificate  checks before a certificate is used                http       the client of the directory
//!   zones      what the caller says about zones                     status     what others show
//! ```
//!
//! Every server of a fleet runs an [`Acme`]. All state that matters is in documents of the store: whichever server
//! takes the lease goes on where another one has stopped, and the others find the certificate by polling. A server that
//! cannot reach the store or the directory goes on with the certificates that it has.
//!
//! All times are those of the [`Clock`](crate::base::clock::Clock), except for waits within one order.

mod account;
mod certificate;
mod documents;
mod engine;
mod failure;
mod http;
mod lease;
mod order;
mod protocol;
mod round;
mod schedule;
mod seal;
mod self_check;
mod settings;
mod state;
mod status;
mod zones;

pub use self::documents::lasting_documents;
pub use self::engine::{Acme, OrderNowError};
pub use self::failure::FailureKind;
pub use self::seal::KeyFileError;
pub use self::self_check::WrongAnswer;
pub use self::settings::{AcmeError, AcmeSettings, ExternalAccount};
pub use self::status::{CertificateFailure, CertificateState, CertificateStatus};
pub use self::zones::{AccountFacts, CertificateZones, NameServer};
