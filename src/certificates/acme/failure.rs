//! Why there is no new certificate.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::seal::UnsealError;
use super::self_check::WrongAnswer;
use crate::store::StoreError;

/// What an order fails at. The words are interface: they are labels of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The directory cannot be reached, or answers with something that is no ACME.
    Directory,
    /// The directory refuses the account.
    Account,
    /// The directory limits requests.
    RateLimit,
    /// A name server of the zone does not answer with the challenge, or a CAA record forbids the issuer.
    SelfCheck,
    /// The directory refuses the order, or the validation fails.
    Challenge,
    /// The directory does not issue the certificate.
    Finalize,
    /// The store does not keep the state of the engine.
    Store,
    /// The certificate is not one for the order.
    Certificate,
}

impl FailureKind {
    /// Its name in metrics, state and API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Account => "account",
            Self::RateLimit => "rate_limit",
            Self::SelfCheck => "self_check",
            Self::Challenge => "challenge",
            Self::Finalize => "finalize",
            Self::Store => "store",
            Self::Certificate => "certificate",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why an attempt to get a certificate ended without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    /// For the operator, in one line.
    pub(super) reason: String,
    /// The name servers that stopped the order.
    pub(super) addresses: Vec<WrongAnswer>,
    /// For how many seconds the directory wants no further request.
    pub(super) retry_after: Option<u64>,
    pub(super) cause: Cause,
}

/// Causes that the engine treats in a way of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Cause {
    #[default]
    Other,
    /// The directory does not know the account.
    UnknownAccount,
    /// Another key file has sealed a document.
    OtherKey,
}

impl Failure {
    pub(super) fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            addresses: Vec::new(),
            retry_after: None,
            cause: Cause::Other,
        }
    }

    pub(super) fn sealed(error: &UnsealError) -> Self {
        Self {
            cause: match error {
                UnsealError::OtherKey { .. } => Cause::OtherKey,
                UnsealError::Damaged(_) | UnsealError::Unknown(_) => Cause::Other,
            },
            ..Self::new(FailureKind::Store, error.to_string())
        }
    }

    pub(super) fn store(error: &StoreError) -> Self {
        Self::new(FailureKind::Store, error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
