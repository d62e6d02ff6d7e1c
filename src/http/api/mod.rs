//! The admin API: clients with a token create, read, change and delete links.
//!
//! ```text
//!   observe ── cors ── guard: Host, token, rate, deadline ── routes: role ── links | list | batch | qr | stats | visible | servers | pools | tokens | sessions | audit |
//!                                                                        certificates | health, openapi
//! ```
//!
//! All paths except [`OPEN_PATHS`] need a token, also paths that do not exist. So a new route is closed unless it
//! is listed there. The guard decides by the head of a request alone: without a token, no body is read. Each route says
//! what role its methods need, and the zone of a call is found in one place, which knows the caller.
//!
//! The OpenAPI document is written by hand, for people to read. The tests compare it with all responses that they
//! see, and with the routes.

mod accept;
mod audit;
mod batch;
mod body;
mod certificates;
mod conditions;
mod cors;
mod destinations;
mod guard;
mod idempotency;
mod inside;
mod links;
mod list;
mod members;
mod pools;
mod qr;
mod rate;
mod rules;
mod sessions;
mod stats;
mod tokens;
mod visible;
mod withheld;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use self::cors::cors;
use self::guard::{Route, guard};
pub use self::inside::InsideApi;
pub(super) use self::inside::{OnBehalf, Sent};
use self::rate::Rates;
pub use self::rules::ApiRules;
use super::ShortUrls;
use super::problem::{Kind, Problem};
use super::serve::request_log::{Observer, observe};
use crate::access::{Caller, Gate, Permission};
use crate::base::metrics::Metrics;
use crate::certificates::Overview;
use crate::link::Origin;
use crate::links::{Links, Readiness};
use crate::routing::Drains;

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

/// The header of a response to a change that other servers do not serve yet. Its value is `no`.
const VISIBLE_ELSEWHERE: HeaderName = HeaderName::from_static("tinyns-visible-elsewhere");

/// The OpenAPI document, with this program's version in it.
pub(crate) static OPENAPI: LazyLock<String> = LazyLock::new(|| {
    include_str!("../openapi.json").replace("{{version}}", env!("CARGO_PKG_VERSION"))
});

/// The state of the handlers.
struct Admin {
    links: Arc<Links>,
    gate: Arc<Gate>,
    overviews: Overviews,
    short_urls: ShortUrls,
    metrics: Arc<Metrics>,
    draining: Arc<AtomicBool>,
    rules: ApiRules,
    rates: Rates,
    /// How many lines of all batches may be at the store at once.
    batch_turns: Semaphore,
    /// How many requests with idempotency keys may be in work at once, and how many batches with keys.
    keyed: Arc<Semaphore>,
    keyed_batches: Arc<Semaphore>,
}

/// Parts of the server that the API shows.
pub struct Overviews {
    /// The certificates of HTTPS.
    pub certificates: Overview,
    /// The pools of names; none if no address depends on the client.
    pub pools: Option<Arc<Drains>>,
}

/// The admin API, for clients with a token and for the page. The caller sets `draining` when it shuts down: then
/// `/readyz` says so, and batches take no more lines.
pub fn admin_api(
    links: Arc<Links>,
    gate: Arc<Gate>,
    overviews: Overviews,
    short_urls: ShortUrls,
    metrics: Arc<Metrics>,
    draining: Arc<AtomicBool>,
    rules: ApiRules,
) -> (Router, InsideApi) {
    let observer = Observer::new("admin", metrics.admin_requests.clone());
    let admin = Arc::new(Admin {
        links,
        gate,
        overviews,
        short_urls,
        metrics,
        draining,
        rates: Rates::new(rules.rate),
        rules,
        batch_turns: Semaphore::new(batch::AT_STORE),
        keyed: Arc::new(Semaphore::new(idempotency::MAX_IN_WORK)),
        keyed_batches: Arc::new(Semaphore::new(batch::KEYED_AT_ONCE)),
    });
    let inner = routes()
        .into_iter()
        .fold(Router::new(), |router, route| {
            router.route(route.path, route.guarded())
        })
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Arc::clone(&admin));
    let inside = InsideApi::new(inner.clone());
    // Not a layer of the inner router: axum would add Allow outside of it, and show to clients without a token
    // which paths there are.
    let outer = Router::new()
        .fallback_service(inner)
        .layer(from_fn_with_state(Arc::clone(&admin), guard))
        .layer(from_fn_with_state(admin, cors))
        .layer(from_fn_with_state(observer, observe));
    (outer, inside)
}

/// All routes, as a list, so that tests can compare them with the OpenAPI document and call them with every role.
fn routes() -> [Route; 24] {
    use Permission::{Administer, Read, Write};
    const LINKS: &[(Method, Permission)] = &[(Method::GET, Read), (Method::POST, Write)];
    const LINK: &[(Method, Permission)] = &[
        (Method::GET, Read),
        (Method::PATCH, Write),
        (Method::DELETE, Write),
    ];
    const TOKENS: &[(Method, Permission)] =
        &[(Method::GET, Administer), (Method::POST, Administer)];
    let link = get(links::read).patch(links::change).delete(links::delete);
    let tokens = get(tokens::list).post(tokens::create);
    [
        Route::new("/v1/zones", &[(Method::GET, Read)], get(zones)),
        Route::new("/v1/links", LINKS, post(links::create).get(list::list)),
        Route::new(
            "/v1/links:batch",
            &[(Method::POST, Write)],
            post(batch::create),
        ),
        Route::new("/v1/links/{code}", LINK, link),
        Route::new("/v1/links/{code}/qr", &[(Method::GET, Read)], get(qr::read)),
        Route::new(
            "/v1/links/{code}/stats",
            &[(Method::GET, Read)],
            get(stats::of_link),
        ),
        Route::new("/v1/stats", &[(Method::GET, Read)], get(stats::of_zones)),
        Route::new(
            "/v1/links/{code}/visible",
            &[(Method::GET, Read)],
            get(visible::read),
        ),
        Route::new(
            "/v1/servers",
            &[(Method::GET, Administer)],
            get(visible::servers),
        ),
        Route::new("/v1/pools", &[(Method::GET, Administer)], get(pools::list)),
        Route::new(
            "/v1/pools/explain",
            &[(Method::GET, Administer)],
            get(pools::explain),
        ),
        Route::new(
            "/v1/pools/{name}/drain",
            &[(Method::POST, Administer)],
            post(pools::drain),
        ),
        Route::new(
            "/v1/pools/{name}/restore",
            &[(Method::POST, Administer)],
            post(pools::restore),
        ),
        Route::new("/v1/tokens", TOKENS, tokens),
        Route::new(
            "/v1/tokens/{name}",
            &[(Method::DELETE, Administer)],
            delete(tokens::revoke),
        ),
        Route::new(
            "/v1/sessions",
            &[(Method::DELETE, Administer)],
            delete(sessions::end_all),
        ),
        Route::new("/v1/audit", &[(Method::GET, Administer)], get(audit::list)),
        Route::new(
            "/v1/certificates",
            &[(Method::GET, Administer)],
            get(certificates::list),
        ),
        Route::new(
            "/v1/certificates/{zone}/order",
            &[(Method::POST, Administer)],
            post(certificates::order),
        ),
        Route::open("/openapi.json", get(openapi)),
        Route::open("/healthz", get(healthz)),
        Route::open("/readyz", get(readyz)),
        Route::open("/readyz/changes", get(readyz_changes)),
        Route::open("/metrics", get(metrics)),
    ]
}

/// Whether a path is one of the API, or would be.
pub(super) fn has_path(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/") || OPEN_PATHS.contains(&path)
}

async fn no_such_path() -> Problem {
    Problem::new(Kind::NoSuchPath, "there is nothing at this path")
}

async fn method_not_allowed() -> Problem {
    let detail = "this path does not take this method; Allow says which it takes";
    Problem::new(Kind::MethodNotAllowed, detail)
}

/// `GET /v1/zones`. Each zone is an object, so that it can get more members later.
async fn zones(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, Problem> {
    let NoQuery {} = query(&uri)?;
    let zones: Vec<_> = admin
        .zones_of(&caller)
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
const PARAMETERS: [&str; 23] = [
    "zone",
    "wait",
    "limit",
    "cursor",
    "q",
    "tag",
    "host",
    "state",
    "created_by",
    "sort",
    "format",
    "scale",
    "margin",
    "level",
    "actor",
    "action",
    "code",
    "since",
    "until",
    "from",
    "to",
    "by",
    "address",
];

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

    /// The zones that hold links and that the caller may use, the default first.
    fn zones_of(&self, caller: &Caller) -> impl Iterator<Item = Origin> {
        let origins = self.links.namespace().origins().into_iter();
        origins.filter(|origin| caller.may_use(origin))
    }

    /// The zone that a call is about.
    fn zone(&self, caller: &Caller, asked: Option<&str>) -> Result<Origin, Problem> {
        let asked = asked.map(Origin::parse);
        let found = match &asked {
            None => self.zones_of(caller).next(),
            Some(asked) => self
                .zones_of(caller)
                .find(|origin| asked.as_ref() == Ok(origin)),
        };
        found.ok_or_else(|| match caller.is_of_all_zones() {
            true => Problem::new(Kind::NoSuchZone, "no zone of this origin holds links").of("zone"),
            // The same for zones that do not exist.
            false => {
                let name = caller.name();
                let detail = format!(
                    "the token {name:?} does not allow this zone; GET /v1/zones lists the zones that it allows"
                );
                Problem::new(Kind::Forbidden, detail).of("zone")
            }
        })
    }

    /// Whether this is the zone for calls that name none.
    fn is_default(&self, caller: &Caller, origin: &Origin) -> bool {
        self.zones_of(caller).next().as_ref() == Some(origin)
    }
}

#[cfg(test)]
mod tests;
