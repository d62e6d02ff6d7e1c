//! How the server is: what `/readyz` says, the servers that share its store, and the certificates.

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

/// The live servers.
#[derive(Deserialize)]
struct Servers {
    servers: Vec<Server>,
    #[serde(default)]
    problem: Option<String>,
}

#[derive(Deserialize)]
struct Server {
    name: String,
    region: String,
    version: String,
    started_at: Moment,
    this: bool,
    lag_seconds: f64,
}

impl Server {
    /// More than servers of one region take to hear of changes, and than the pause between announcements.
    const LATE: f64 = 5.0;

    fn is_late(&self) -> bool {
        self.lag_seconds > Self::LATE
    }

    fn lag(&self) -> String {
        format!("{:.1} s", self.lag_seconds)
    }
}

#[derive(Template)]
#[template(path = "page/templates/health.html")]
struct HealthPage {
    frame: Frame,
    readiness: Readiness,
    /// None for visitors who are no administrators.
    certificates: Option<Certificates>,
    /// The same.
    servers: Option<Servers>,
    now: Moment,
}

impl HealthPage {
    /// Why there may be servers that the page does not show.
    fn unknown(&self) -> Option<String> {
        let problem = self.servers.as_ref()?.problem.as_ref()?;
        Some(sentence(problem))
    }

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
    let (certificates, servers) = match visitor.may(Permission::Administer) {
        true => {
            let certificates = state.api.get(on_behalf, "/v1/certificates").await?;
            let servers = state.api.get(on_behalf, "/v1/servers").await?;
            (Some(certificates.json()?), Some(servers.json()?))
        }
        false => (None, None),
    };
    Ok(HealthPage {
        frame: Frame::new("Health", visitor, Place::Health),
        readiness,
        certificates,
        servers,
        now: Moment(state.clock.now().rfc3339()),
    })
}
