//! How the server is: what `/readyz` says, and the certificates.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Place};
use super::render;
use super::state::Shared;
use super::values::{Moment, sentence};
use super::visitor::Visitor;
use crate::access::Permission;
use crate::http::problem::Problem;

/// What `/readyz` says.
#[derive(Deserialize)]
struct Readiness {
    status: String,
    serves: bool,
    takes_changes: bool,
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default)]
    redis: Option<String>,
    #[serde(default)]
    warm_load: Option<WarmLoad>,
}

#[derive(Deserialize)]
struct WarmLoad {
    state: String,
    #[serde(default)]
    links: u64,
}

#[derive(Deserialize)]
struct Certificates {
    source: String,
    certificates: Vec<Certificate>,
}

#[derive(Deserialize)]
struct Certificate {
    zone: String,
    state: String,
    issuer: Option<String>,
    not_after: Option<Moment>,
    ends_soon: bool,
    next_attempt_at: Option<Moment>,
    failure: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    reason: String,
}

#[derive(Template)]
#[template(path = "page/templates/health.html")]
struct HealthPage {
    frame: Frame,
    readiness: Readiness,
    /// None for visitors who are no administrators.
    certificates: Option<Certificates>,
    now: Moment,
}

impl HealthPage {
    fn reasons(&self) -> Vec<String> {
        let reasons = self.readiness.reasons.iter();
        reasons.map(|reason| sentence(reason)).collect()
    }
}

/// `GET /health`
pub(super) async fn show(
    State(state): State<Shared>,
    visitor: Visitor,
) -> Result<Response, Response> {
    let page = page(&state, &visitor).await;
    let page = page.map_err(|problem| render::problem(Some(&visitor), &problem))?;
    Ok(render::page(StatusCode::OK, &page))
}

async fn page(state: &Shared, visitor: &Visitor) -> Result<HealthPage, Problem> {
    let on_behalf = &visitor.on_behalf;
    let readiness = state.api.get(on_behalf, "/readyz").await?.json()?;
    let certificates = match visitor.may(Permission::Administer) {
        true => Some(state.api.get(on_behalf, "/v1/certificates").await?.json()?),
        false => None,
    };
    Ok(HealthPage {
        frame: Frame::new("Health", visitor, Place::Health),
        readiness,
        certificates,
        now: Moment(state.clock.now().rfc3339()),
    })
}
