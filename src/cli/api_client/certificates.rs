//! Calls about the certificates of HTTPS.

use serde::Deserialize;
use ureq::http::StatusCode;

use super::api::Api;
use super::error::ApiError;
use crate::link::Origin;

/// The largest list of certificates, in bytes: more than a thousand zones, each with a failure.
const MAX_LIST_LEN: u64 = 4 * 1024 * 1024;

/// The certificates of all zones.
#[derive(Debug, Deserialize)]
pub(crate) struct Certificates {
    pub(crate) source: String,
    pub(crate) certificates: Vec<Certificate>,
}

/// The certificate of a zone.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) zone: String,
    pub(crate) names: Vec<String>,
    pub(crate) state: String,
    pub(crate) serial: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) not_before: Option<String>,
    pub(crate) not_after: Option<String>,
    pub(crate) ends_soon: bool,
    pub(crate) next_attempt_at: Option<String>,
    pub(crate) failure: Option<Failure>,
}

/// Why the last attempt failed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: String,
    pub(crate) reason: String,
    pub(crate) at: String,
    pub(crate) count: u32,
}

impl Api {
    /// The certificates of all zones, with the body of the answer.
    pub(crate) fn certificates(&self, token: &str) -> Result<(Certificates, String), ApiError> {
        let url = self.url("v1/certificates", None)?;
        self.get_json(token, &url, MAX_LIST_LEN)
    }

    /// Has a certificate ordered now.
    pub(crate) fn order_certificate(&self, token: &str, zone: &Origin) -> Result<(), ApiError> {
        let url = self.url(&format!("v1/certificates/{zone}/order"), None)?;
        self.post_empty(token, &url, StatusCode::ACCEPTED)
    }
}
