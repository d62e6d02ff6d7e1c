//! Which certificate a client of HTTPS gets: by the host that it expects (RFC 6066 §3).

use std::sync::Arc;

use super::issued::{Issued, NoCertificate};
use super::tickets::TicketKeys;
use super::tls::{Current, Tls};

/// The certificates of HTTPS.
#[derive(Clone, Debug)]
pub enum HostCertificates {
    /// One for all zones, from files of the operator.
    Own(Arc<Tls>),
    /// One for each zone, which the server gets by itself.
    Issued(Arc<Issued>),
}

impl HostCertificates {
    /// The keys of session tickets of all certificates.
    pub(super) fn tickets(&self) -> Vec<Arc<TicketKeys>> {
        match self {
            Self::Own(tls) => vec![tls.tickets()],
            Self::Issued(issued) => issued.tickets(),
        }
    }

    /// The certificate for a new connection of a client that expects this host.
    pub(crate) fn current_for(&self, host: &str) -> Result<Arc<Current>, NoCertificate> {
        match self {
            Self::Own(tls) => tls.current_for(host).ok_or(NoCertificate::OtherHost),
            Self::Issued(issued) => issued.current_for(host),
        }
    }
}
