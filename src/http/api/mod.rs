//! The admin API: clients with the token create, read, change and delete links.
//!
//! ```text
//!   observe ── guard: Host, token, deadline ── routes ── links | batch | health, openapi
//! ```
//!
//! All paths except [`OPEN_PATHS`] need the token, also paths that do not exist. So a new route is closed unless it
//! is listed there. The guard decides by the head of a request alone: without the token, no body is read.
//!
//! The OpenAPI document is written by hand, for people to read. The tests compare it with all responses that they
//! see, and with the routes.

mod batch;
mod body;
mod conditions;
mod links;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use axum::http::{StatusCode, Uri, Version};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::ShortUrls;
use super::host::{self, HostError};
use super::problem::{Kind, Problem};
use super::serve::request_log::{Observer, observe};
use crate::access::AdminToken;
use crate::access::token::{Access, access};
use crate::base::metrics::Metrics;
use crate::link::Origin;
use crate::links::{Links, Readiness};
use crate::store::StoreError;

/// The paths that need no token.
const OPEN_PATHS: [&str; 5] = [
    "/healthz",
    "/readyz",
    "/readyz/changes",
    "/metrics",
    "/openapi.json",
];
/// How long a request may take until its response begins. One call of the store may take 10 s, and to create a link
/// whose code collides takes several calls.
const ANSWER_DEADLINE: Duration = Duration::from_secs(25);

/// The OpenAPI document, with this program's version in it.
pub(crate) static OPENAPI: LazyLock<String> = LazyLock::new(|| {
    include_str!("../openapi.json").replace("{{version}}", env!("CARGO_PKG_VERSION"))
});

/// The state of the handlers.
struct Admin {
    links: Arc<Links>,
    token: AdminToken,
    short_urls: ShortUrls,
    metrics: Arc<Metrics>,
    draining: Arc<AtomicBool>,
    /// How many lines of all batches may be at the store at once.
    batch_turns: Semaphore,
}

/// The admin API. The caller sets `draining` when it shuts down: then `/readyz` says so, and batches take no more
/// lines.
pub fn admin_router(
    links: Arc<Links>,
    token: AdminToken,
    short_urls: ShortUrls,
    metrics: Arc<Metrics>,
    draining: Arc<AtomicBool>,
) -> Router {
    let observer = Observer {
        part: "admin",
        requests: metrics.admin_requests.clone(),
    };
    let admin = Arc::new(Admin {
        links,
        token,
        short_urls,
        metrics,
        draining,
        batch_turns: Semaphore::new(batch::AT_STORE),
    });
    let inner = routes()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| {
            router.route(path, methods)
        })
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Arc::clone(&admin));
    // Not a layer of the inner router: axum would add Allow outside of it, and show to clients without the token
    // which paths there are.
    Router::new()
        .fallback_service(inner)
        .layer(from_fn_with_state(admin, guard))
        .layer(from_fn_with_state(observer, observe))
}

/// All routes, as a list, so that a test can compare them with the OpenAPI document.
fn routes() -> [(&'static str, MethodRouter<Arc<Admin>>); 9] {
    [
        ("/v1/zones", get(zones)),
        ("/v1/links", post(links::create).get(links::list)),
        ("/v1/links:batch", post(batch::create)),
        (
            "/v1/links/{code}",
            get(links::read).patch(links::change).delete(links::delete),
        ),
        ("/openapi.json", get(openapi)),
        ("/healthz", get(healthz)),
        ("/readyz", get(readyz)),
        ("/readyz/changes", get(readyz_changes)),
        ("/metrics", get(metrics)),
    ]
}

/// Refuses requests with a bad Host or without the token. It reads the head alone.
async fn guard(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let (uri, headers) = (request.uri(), request.headers());
    match host::requested(request.version(), uri, headers) {
        Ok(_) => {}
        // HTTP/1.0 has no Host, and some health checks still use it.
        Err(HostError::Missing) if request.version() < Version::HTTP_11 => {}
        Err(error) => {
            let problem = Problem::new(Kind::InvalidHost, error.to_string());
            return problem.of("Host").into_response();
        }
    }
    if !OPEN_PATHS.contains(&uri.path()) {
        match access(headers, &admin.token) {
            Access::Granted => {}
            // RFC 6750 §3.1: without a token the challenge has no error code.
            Access::NoToken => return unauthorized("Bearer realm=\"tinyns\""),
            Access::WrongToken => {
                return unauthorized("Bearer realm=\"tinyns\", error=\"invalid_token\"");
            }
        }
    }
    match tokio::time::timeout(ANSWER_DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::from(StoreError::DeadlineExceeded).into_response(),
    }
}

/// The same body in all cases: it does not say what is wrong with the token.
fn unauthorized(challenge: &'static str) -> Response {
    let problem = Problem::new(Kind::Unauthorized, "this needs the admin token");
    let challenge = HeaderValue::from_static(challenge);
    ([(WWW_AUTHENTICATE, challenge)], problem).into_response()
}

async fn no_such_path() -> Problem {
    Problem::new(Kind::NoSuchPath, "there is nothing at this path")
}

async fn method_not_allowed() -> Problem {
    let detail = "this path does not take this method; Allow says which it takes";
    Problem::new(Kind::MethodNotAllowed, detail)
}

/// `GET /v1/zones`. Each zone is an object, so that it can get more members later.
async fn zones(State(admin): State<Arc<Admin>>, uri: Uri) -> Result<Response, Problem> {
    let NoQuery {} = query(&uri)?;
    let origins = admin.links.namespace().origins();
    let zones: Vec<_> = origins
        .iter()
        .map(|origin| json!({"origin": origin.as_str()}))
        .collect();
    Ok(Json(json!({"zones": zones})).into_response())
}

async fn openapi() -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, content_type)], OPENAPI.as_str()).into_response()
}

async fn healthz() -> &'static str {
    "ok"
}

/// `GET /readyz`: 200 while queries are answered.
async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let readiness = admin.readiness().await;
    admin.show_readiness(&readiness, readiness.serves)
}

/// `GET /readyz/changes`: 200 while changes of links are accepted, too.
async fn readyz_changes(State(admin): State<Arc<Admin>>) -> Response {
    let readiness = admin.readiness().await;
    admin.show_readiness(&readiness, readiness.takes_changes)
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let content_type = HeaderValue::from_static(content_type);
    admin.links.measure();
    let metrics = admin.metrics.clone();
    // It lists the open files of the process, which are many with many connections.
    match tokio::task::spawn_blocking(move || metrics.render()).await {
        Ok(text) => ([(CONTENT_TYPE, content_type)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The query of calls that have no parameter except the zone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ZoneQuery {
    zone: Option<String>,
}

/// The query of calls without parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoQuery {}

/// The parameters of all calls.
const PARAMETERS: [&str; 3] = ["zone", "limit", "cursor"];

/// Reads a query. Unknown and doubled parameters are errors: most likely they are typing errors.
fn query<T: for<'de> Deserialize<'de>>(uri: &Uri) -> Result<T, Problem> {
    let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let mut counts = PARAMETERS.map(|name| (name, 0_usize));
    for (name, _) in pairs {
        for (_, count) in counts.iter_mut().filter(|(known, _)| *known == name) {
            *count += 1;
        }
    }
    if let Some((name, count)) = counts.into_iter().find(|(_, count)| *count > 1) {
        let detail = format!("the query has the parameter {name:?} {count} times; send it once");
        return Err(Problem::new(Kind::InvalidQuery, detail).of(name));
    }
    axum::extract::Query::try_from_uri(uri)
        .map(|query| query.0)
        .map_err(|error| {
            let text = std::error::Error::source(&error)
                .map_or_else(|| error.body_text(), ToString::to_string);
            let detail = format!(
                "the query is not as expected: {}",
                text.replace("unknown field", "unknown parameter")
            );
            Problem::new(Kind::InvalidQuery, detail)
        })
}

impl Admin {
    async fn readiness(&self) -> Readiness {
        let stopping = self.draining.load(Ordering::Relaxed);
        self.links.readiness(stopping).await
    }

    /// Shows the server's state, with status 200 or 503. The reasons name the kind of trouble only, because this
    /// needs no token.
    fn show_readiness(&self, readiness: &Readiness, is_well: bool) -> Response {
        let mut body = json!({
            "status": readiness.status(),
            "serves": readiness.serves,
            "takes_changes": readiness.takes_changes,
        });
        if !readiness.reasons.is_empty() {
            body["reasons"] = json!(readiness.reasons);
        }
        if let Some(redis) = self.links.redis_status() {
            body["redis"] = json!(match redis.down {
                0 => "up",
                down if down < redis.parts => "partly down",
                _ => "down",
            });
            body["warm_load"] = json!(redis.warm_load);
        }
        match is_well {
            true => Json(body).into_response(),
            false => (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response(),
        }
    }

    /// The zone that a call is about.
    fn zone(&self, asked: Option<&str>) -> Result<Origin, Problem> {
        let mut origins = self.links.namespace().origins().into_iter();
        let found = match asked {
            None => origins.next(),
            Some(text) => {
                let asked = Origin::parse(text).ok();
                origins.find(|origin| Some(origin) == asked.as_ref())
            }
        };
        found.ok_or_else(|| {
            Problem::new(Kind::NoSuchZone, "no zone of this origin holds links").of("zone")
        })
    }

    /// The same, from a query that may have no other parameter.
    fn zone_of(&self, uri: &Uri) -> Result<Origin, Problem> {
        self.zone(query::<ZoneQuery>(uri)?.zone.as_deref())
    }

    /// Whether this is the zone for calls that name none.
    fn is_default(&self, origin: &Origin) -> bool {
        self.links.namespace().origins().first() == Some(origin)
    }
}

#[cfg(test)]
mod tests;
