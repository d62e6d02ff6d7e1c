//! What others show of the engine: the API, the command line, `/readyz`.

use super::certificate::{Certificate, names_of};
use super::failure::FailureKind;
use super::self_check::WrongAnswer;
use super::state::ZoneState;
use crate::base::clock::UnixTime;
use crate::certificates::facts::CertificateFacts;
use crate::link::Origin;

/// Whether a zone has a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateState {
    /// It has none yet.
    None,
    /// It has one, and nothing is wrong.
    Valid,
    /// A server orders one now. There may be an older one that is in use.
    Ordering,
    /// The last attempt has failed. There may be an older certificate that is in use.
    Failing,
}

/// The certificate of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateStatus {
    /// The zone.
    pub origin: Origin,
    /// The names that the certificate has, or will have.
    pub names: [String; 2],
    /// Whether there is one.
    pub state: CertificateState,
    /// The one in use.
    pub certificate: Option<CertificateFacts>,
    /// Whether it ends soon, or has ended: the renewal should have come by now.
    pub ends_soon: bool,
    /// The last failure since the last success.
    pub failure: Option<CertificateFailure>,
    /// When the next order is due; now if it is overdue. Without meaning if the operator provides
    /// certificates.
    pub next_attempt: UnixTime,
}

/// Why the last attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFailure {
    /// What it failed at.
    pub kind: FailureKind,
    /// For the operator, in one line.
    pub reason: String,
    /// When.
    pub at: UnixTime,
    /// How many attempts in succession have failed.
    pub count: u32,
    /// The name servers that do not answer with the challenge.
    pub addresses: Vec<WrongAnswer>,
}

/// The status of a zone.
pub(super) fn status(
    origin: &Origin,
    certificate: Option<&Certificate>,
    state: &ZoneState,
    directory: &str,
    now: UnixTime,
) -> CertificateStatus {
    let facts = certificate.map(|certificate| certificate.facts.clone());
    let failure = state.failure.clone().map(|failure| CertificateFailure {
        kind: failure.kind,
        reason: failure.reason,
        at: UnixTime(failure.at),
        count: state.failures,
        addresses: failure.addresses,
    });
    CertificateStatus {
        origin: origin.clone(),
        names: names_of(origin),
        state: match (&failure, &facts) {
            _ if state.is_under_way(now) => CertificateState::Ordering,
            (Some(_), _) => CertificateState::Failing,
            (None, Some(_)) => CertificateState::Valid,
            (None, None) => CertificateState::None,
        },
        ends_soon: facts.as_ref().is_some_and(|facts| facts.ends_soon(now)),
        certificate: facts,
        failure,
        next_attempt: state
            .next_order(origin, certificate, directory, now)
            .max(now),
    }
}
