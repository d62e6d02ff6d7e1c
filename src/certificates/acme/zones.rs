//! What the engine needs to know about the zones. The caller implements it, because this part does not use `zone`.

use std::fmt;
use std::net::IpAddr;

use crate::link::Origin;

/// A name server of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameServer {
    /// Its name in the NS set, without the last dot.
    pub name: Box<str>,
    /// Its addresses, if they are in a zone of this server; else the system's resolver finds them.
    pub addresses: Vec<IpAddr>,
}

/// What others need to know of the account, for CAA records (RFC 8659, RFC 8657).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFacts {
    /// Its URI (RFC 8555 §7.1.2).
    pub uri: String,
    /// The names of the certificate authority in CAA records, as the directory states them.
    pub issuers: Vec<String>,
}

/// The zones that need certificates. A reload may change the answers at any time.
pub trait CertificateZones: Send + Sync + fmt::Debug {
    /// The origins of the zones that hold links. No reload changes them.
    fn origins(&self) -> Vec<Origin>;

    /// The name servers of a zone: those in the NS set at its origin.
    fn name_servers(&self, origin: &Origin) -> Vec<NameServer>;

    /// The reason, for the operator, why the CAA records of the zone forbid certificates for this account (RFC 8659 §4,
    /// RFC 8657 §3); none if they allow them.
    fn forbids(&self, origin: &Origin, account: &AccountFacts) -> Option<String>;
}
