//! Calls about the certificates of HTTPS.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::{Admin, NoQuery, query};
use crate::access::Caller;
use crate::base::clock::UnixTime;
use crate::certificates::acme::{CertificateState, CertificateStatus, OrderNowError};
use crate::certificates::{CertificateFacts, OrderError};
use crate::http::problem::{Kind, Problem};
use crate::link::Origin;

/// The certificate of a zone as the API shows it.
#[derive(Serialize)]
struct CertificateJson<'a> {
    zone: &'a str,
    names: &'a [String; 2],
    state: &'static str,
    serial: Option<&'a str>,
    issuer: Option<&'a str>,
    not_before: Option<String>,
    not_after: Option<String>,
    ends_soon: bool,
    next_attempt_at: Option<String>,
    failure: Option<FailureJson<'a>>,
}

/// Why the last attempt to get a certificate failed.
#[derive(Serialize)]
struct FailureJson<'a> {
    kind: &'static str,
    reason: &'a str,
    at: String,
    count: u32,
    name_servers: Vec<NameServerJson<'a>>,
}

/// A name server that does not answer with the challenge.
#[derive(Serialize)]
struct NameServerJson<'a> {
    name: &'a str,
    address: Option<IpAddr>,
    answer: &'a str,
}

impl<'a> CertificateJson<'a> {
    fn new(status: &'a CertificateStatus, is_ordered: bool) -> Self {
        let facts = status.certificate.as_ref();
        let time = |time: fn(&CertificateFacts) -> UnixTime| facts.map(|f| time(f).rfc3339());
        Self {
            zone: status.origin.as_str(),
            names: &status.names,
            state: match status.state {
                CertificateState::None => "none",
                CertificateState::Valid => "valid",
                CertificateState::Ordering => "ordering",
                CertificateState::Failing => "failing",
            },
            serial: facts.map(|facts| &*facts.serial),
            issuer: facts.map(|facts| &*facts.issuer),
            not_before: time(|facts| facts.not_before),
            not_after: time(|facts| facts.not_after),
            ends_soon: status.ends_soon,
            next_attempt_at: is_ordered.then(|| status.next_attempt.rfc3339()),
            failure: status.failure.as_ref().map(|failure| FailureJson {
                kind: failure.kind.name(),
                reason: &failure.reason,
                at: failure.at.rfc3339(),
                count: failure.count,
                name_servers: failure
                    .addresses
                    .iter()
                    .map(|wrong| NameServerJson {
                        name: &wrong.server,
                        address: wrong.address,
                        answer: &wrong.answer,
                    })
                    .collect(),
            }),
        }
    }
}

/// `GET /v1/certificates`
pub(super) async fn list(State(admin): State<Arc<Admin>>, uri: Uri) -> Result<Response, Problem> {
    let NoQuery {} = query(&uri)?;
    let listed = admin
        .overviews
        .certificates
        .list(&admin.links.namespace().origins());
    let source = admin.overviews.certificates.source();
    let shown = |status| CertificateJson::new(status, source == "acme");
    let certificates: Vec<_> = listed.iter().map(shown).collect();
    Ok(Json(json!({"source": source, "certificates": certificates})).into_response())
}

/// `POST /v1/certificates/{zone}/order`
pub(super) async fn order(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    zone: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    let NoQuery {} = query(&uri)?;
    let no_zone = || Problem::new(Kind::NoSuchZone, "no zone of this origin holds links");
    let origin = zone.ok().and_then(|Path(zone)| Origin::parse(&zone).ok());
    let origin = origin.ok_or_else(no_zone)?;
    let ordered = admin
        .overviews
        .certificates
        .order_now(&origin, &caller.actor())
        .await;
    ordered.map_err(|error| {
        let detail = error.to_string();
        match error {
            OrderError::NoAcme => Problem::new(Kind::NoAcme, detail),
            OrderError::Refused(OrderNowError::UnknownZone(_)) => no_zone(),
            OrderError::Refused(OrderNowError::Store(_)) => {
                Problem::new(Kind::StoreUnavailable, detail)
            }
        }
    })?;
    tracing::info!(zone = %origin, by = caller.name(), "certificate ordered");
    Ok(StatusCode::ACCEPTED.into_response())
}
