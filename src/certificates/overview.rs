//! The certificates of HTTPS as operators see them: in the API, on the command line and in `/readyz`.

use std::fmt;
use std::sync::Arc;

use super::acme::{Acme, CertificateState, CertificateStatus, OrderNowError};
use super::facts::CertificateFacts;
use super::tls::Tls;
use crate::base::clock::{Clock, UnixTime};
use crate::link::Origin;
use crate::store::audit::Actor;

/// Where the certificates of HTTPS come from, and what is known of them. Clones share them.
#[derive(Clone)]
pub struct Overview {
    source: Source,
    clock: Clock,
}

/// Where certificates come from.
#[derive(Clone)]
pub enum Source {
    /// There is no HTTPS.
    None,
    /// From files of the operator.
    Files(Arc<Tls>),
    /// The server gets them by itself.
    Acme(Arc<Acme>),
}

/// Why no certificate can be ordered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The server does not get certificates by itself.
    #[error(
        "this server gets no certificates by itself: there is no [https.acme] in its configuration"
    )]
    NoAcme,
    /// There is no such zone, or the store does not take the request.
    #[error(transparent)]
    Refused(#[from] OrderNowError),
}

/// What an operator should know about the certificates of HTTPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateTrouble {
    /// A zone has no certificate, so that browsers cannot open its links.
    Missing,
    /// A certificate has ended.
    Ended,
    /// A certificate ends soon, and its successor should have come.
    EndsSoon,
}

impl CertificateTrouble {
    /// The trouble in words that anybody may read.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => {
                "a zone has no certificate for HTTPS: `tinyns certificates` has the reason"
            }
            Self::Ended => "a certificate of HTTPS has ended: `tinyns certificates` has the reason",
            Self::EndsSoon => {
                "a certificate of HTTPS ends soon: `tinyns certificates` has the reason"
            }
        }
    }
}

impl Overview {
    /// The certificates from this source.
    pub fn new(source: Source, clock: Clock) -> Self {
        Self { source, clock }
    }

    /// The source's name in the API: `none`, `files` or `acme`.
    pub fn source(&self) -> &'static str {
        match &self.source {
            Source::None => "none",
            Source::Files(_) => "files",
            Source::Acme(_) => "acme",
        }
    }

    /// The certificates of these zones, in this order. Empty without HTTPS.
    pub fn list(&self, origins: &[Origin]) -> Vec<CertificateStatus> {
        match &self.source {
            Source::None => Vec::new(),
            Source::Files(tls) => {
                let now = self.clock.now();
                let facts = tls.facts();
                let status = |origin: &Origin| {
                    let covers = tls.covers(origin.as_str()) && tls.covers_links(origin.as_str());
                    let facts = facts.clone().filter(|_| covers);
                    CertificateStatus {
                        origin: origin.clone(),
                        names: [origin.to_string(), format!("*.{origin}")],
                        state: match &facts {
                            Some(_) => CertificateState::Valid,
                            None => CertificateState::None,
                        },
                        ends_soon: facts.as_ref().is_some_and(|facts| facts.ends_soon(now)),
                        certificate: facts,
                        failure: None,
                        next_attempt: UnixTime::MAX,
                    }
                };
                origins.iter().map(status).collect()
            }
            Source::Acme(acme) => {
                let mut known = acme.status();
                // The order of the configuration, in which the other calls show zones.
                let place = |status: &CertificateStatus| {
                    origins.iter().position(|origin| *origin == status.origin)
                };
                known.retain(|status| place(status).is_some());
                known.sort_by_key(place);
                known
            }
        }
    }

    /// Has a certificate ordered at once.
    ///
    /// # Errors
    /// [`OrderError`] says why that is not possible.
    pub async fn order_now(&self, origin: &Origin, by: &Actor) -> Result<(), OrderError> {
        match &self.source {
            Source::None | Source::Files(_) => Err(OrderError::NoAcme),
            Source::Acme(acme) => Ok(acme.order_now(origin, by).await?),
        }
    }

    /// What an operator should know, each at most once.
    pub fn troubles(&self, origins: &[Origin]) -> Vec<CertificateTrouble> {
        let now = self.clock.now();
        let trouble = |status: &CertificateStatus| {
            let has_ended = |facts: &CertificateFacts| facts.not_after <= now;
            match &status.certificate {
                // An operator's certificate need not be for all zones; the log says so at the start.
                None if matches!(self.source, Source::Files(_)) => None,
                None => Some(CertificateTrouble::Missing),
                Some(facts) if has_ended(facts) => Some(CertificateTrouble::Ended),
                Some(_) if status.ends_soon => Some(CertificateTrouble::EndsSoon),
                Some(_) => None,
            }
        };
        let mut troubles: Vec<_> = self.list(origins).iter().filter_map(trouble).collect();
        troubles.sort_by_key(|trouble| *trouble as u8);
        troubles.dedup();
        troubles
    }
}

impl fmt::Debug for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Overview").field(&self.source()).finish()
    }
}
