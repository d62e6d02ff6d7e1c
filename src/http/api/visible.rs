//! Receipts: which servers have a change, and the servers themselves.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Admin, NoQuery, Problem, query};
use crate::access::Caller;
use crate::base::clock::UnixTime;
use crate::link::Origin;
use crate::links::{ServerStatus, Unknown, Visible, Wait};
use crate::store::servers::Label;

/// How many servers without a change are named.
const MAX_MISSING: usize = 100;

/// What `wait` may ask for.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WaitFor {
    Servers,
}

/// The query of calls that make or change links.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeQuery {
    pub(super) zone: Option<String>,
    wait: Option<WaitFor>,
}

impl ChangeQuery {
    /// Whether the caller waits for servers.
    pub(super) fn wait(&self) -> Wait {
        match self.wait {
            Some(WaitFor::Servers) => Wait::Servers,
            None => Wait::No,
        }
    }
}

/// A receipt as the API shows it.
#[derive(Debug, Serialize)]
pub(super) struct VisibleJson {
    servers: usize,
    applied: usize,
    complete: bool,
    missing: Vec<String>,
    at: String,
    resolvers_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'static str>,
}

impl VisibleJson {
    pub(super) fn new(visible: &Visible) -> Self {
        let missing = visible.missing.iter().take(MAX_MISSING);
        Self {
            servers: visible.servers,
            applied: visible.applied,
            complete: visible.is_complete(),
            missing: missing.map(Label::to_string).collect(),
            at: visible.at.rfc3339(),
            resolvers_until: visible.resolvers_until.map(UnixTime::rfc3339),
            problem: visible.unknown.map(Unknown::as_str),
        }
    }

    /// The receipt of a deletion: that there is no such name is the new answer.
    pub(super) fn of_deletion(visible: &Visible) -> Self {
        Self {
            resolvers_until: None,
            ..Self::new(visible)
        }
    }
}

/// The status of a response to a caller that has waited; none if it did not, or if all servers have the change.
pub(super) fn status(wait: Wait, visible: &Visible) -> Option<StatusCode> {
    (wait != Wait::No && !visible.is_complete()).then_some(StatusCode::ACCEPTED)
}

/// `GET /v1/links/{code}/visible`
pub(super) async fn read(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    code: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    let asked: ChangeQuery = query(&uri)?;
    let name = admin.name_in(&caller, code, asked.zone.as_deref())?;
    admin.links.get(&name).await?;
    let wait = match asked.wait() {
        Wait::No => Wait::Look,
        wait => wait,
    };
    let visible = admin.links.visible(&name, wait).await;
    let status = status(wait, &visible).unwrap_or(StatusCode::OK);
    Ok((status, Json(VisibleJson::new(&visible))).into_response())
}

/// A server as the API shows it.
#[derive(Serialize)]
struct ServerJson<'a> {
    id: &'a str,
    name: &'a str,
    region: &'a str,
    version: &'a str,
    started_at: String,
    this: bool,
    lag_seconds: f64,
    filter_denies: bool,
    position: Option<&'a str>,
}

impl<'a> ServerJson<'a> {
    fn new(server: &'a ServerStatus) -> Self {
        let said = &server.announcement;
        Self {
            id: said.id.as_str(),
            name: said.name.as_str(),
            region: said.region.as_str(),
            version: said.version.as_str(),
            started_at: said.started.rfc3339(),
            this: server.is_this,
            // Milliseconds are enough.
            lag_seconds: server.lag.as_millis() as f64 / 1_000.0,
            filter_denies: said.filter_denies,
            position: said.applied.as_ref().map(|position| position.as_str()),
        }
    }
}

/// `GET /v1/servers`
pub(super) async fn servers(
    State(admin): State<Arc<Admin>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let NoQuery {} = query(&uri)?;
    let (servers, unknown) = admin.links.servers();
    let shown: Vec<_> = servers.iter().map(ServerJson::new).collect();
    let mut body = json!({ "servers": shown });
    if let Some(unknown) = unknown {
        body["problem"] = json!(unknown.as_str());
    }
    Ok(Json(body).into_response())
}

/// The receipt of a whole batch.
pub(super) struct BatchReceipt {
    origin: Origin,
    /// Whether this server may have denied one of the names.
    denied: bool,
    is_announced: bool,
}

impl BatchReceipt {
    pub(super) fn new(origin: Origin) -> Self {
        Self {
            origin,
            denied: false,
            is_announced: true,
        }
    }

    /// Notes a link of the batch.
    pub(super) fn note(&mut self, denied: bool, is_announced: bool) {
        self.denied |= denied;
        self.is_announced &= is_announced;
    }

    /// Waits for the servers. The last line of the response.
    pub(super) async fn line(self, admin: &Admin) -> Vec<u8> {
        let visible = admin
            .links
            .all_visible(&self.origin, self.denied, self.is_announced, Wait::Servers)
            .await;
        let mut text = json!({ "visible": VisibleJson::new(&visible) }).to_string();
        text.push('\n');
        text.into_bytes()
    }
}
