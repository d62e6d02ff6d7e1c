//! Pools: which there are, and which one a client gets.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admin, NoQuery, Problem, query};
use crate::access::Caller;
use crate::base::clock::UnixTime;
use crate::base::prefix::Prefix;
use crate::http::problem::Kind;
use crate::routing::{
    AddressStatus, Check, CheckKind, Drain, DrainError, Drains, Fail, Family, Owner, Pool,
    PoolStatus, Route, Routing, Why,
};

/// `GET /v1/pools`
pub(super) async fn list(State(admin): State<Arc<Admin>>, uri: Uri) -> Result<Response, Problem> {
    let NoQuery {} = query(&uri)?;
    let body = match &admin.overviews.pools {
        Some(pools) => all_of(pools),
        None => {
            json!({"pools": [], "routes": [], "ttl": null, "client_subnet": false, "fail": null, "database": null})
        }
    };
    Ok(Json(body).into_response())
}

fn all_of(drains: &Drains) -> Value {
    let routing = drains.routing();
    let config = routing.config();
    let statuses = routing.statuses();
    let pools: Vec<_> = config
        .pools
        .iter()
        .zip(&statuses)
        .map(|(one, status)| pool(one, status, drains.drain_of(&one.name)))
        .collect();
    let routes: Vec<_> = config
        .routes
        .iter()
        .map(|one| route(routing, one))
        .collect();
    let database = routing
        .source()
        .map(|source| json!({"built_at": source.built.rfc3339(), "networks": source.networks}));
    json!({
        "pools": pools,
        "routes": routes,
        "ttl": config.ttl,
        "client_subnet": config.client_subnet,
        "fail": match config.fail {
            Fail::Open => "open",
            Fail::Closed => "closed",
        },
        "database": database,
    })
}

fn pool(pool: &Pool, status: &PoolStatus, drain: Option<Drain>) -> Value {
    let texts = |all: &mut dyn Iterator<Item = String>| all.collect::<Vec<_>>();
    json!({
        "name": pool.name,
        "addresses": texts(&mut pool.addresses().map(|address| address.to_string())),
        "networks": texts(&mut pool.networks.iter().map(Prefix::to_string)),
        "countries": texts(&mut pool.countries.iter().map(ToString::to_string)),
        "continents": texts(&mut pool.continents.iter().map(ToString::to_string)),
        "latitude": pool.location.map(|location| location.latitude),
        "longitude": pool.location.map(|location| location.longitude),
        "weight": pool.weight,
        "default": pool.default,
        "state": status.state.name(),
        "since": status.since.map(UnixTime::rfc3339),
        "drained": drain.map(|drain| json!({"by": drain.by, "at": drain.at})),
        "check": pool.check.as_ref().map(|check| check_of(check)),
        "health": pool
            .addresses()
            .zip(&status.addresses)
            .map(|(address, status)| health(address, status))
            .collect::<Vec<_>>(),
    })
}

fn check_of(check: &Check) -> Value {
    let request = match &check.kind {
        CheckKind::Tcp => None,
        CheckKind::Http(request) | CheckKind::Https { request, .. } => Some(request),
    };
    json!({
        "kind": check.kind.name(),
        "port": check.port,
        "path": request.map(|request| &request.path),
        "host": request.and_then(|request| request.host.as_ref()),
        "status": request.and_then(|request| request.status),
        "interval": check.interval.as_secs_f64(),
        "timeout": check.timeout.as_secs_f64(),
        "failures": check.failures,
        "passes": check.passes,
    })
}

fn health(address: IpAddr, status: &AddressStatus) -> Value {
    let last = status.last.as_ref();
    let failure = last.and_then(|last| last.failure.as_ref());
    json!({
        "address": address.to_string(),
        "up": status.is_up,
        "since": status.since.map(UnixTime::rfc3339),
        "checked_at": last.map(|last| last.at.rfc3339()),
        "failure": failure.map(ToString::to_string),
        "passes_left": status.passes_left,
    })
}

fn route(routing: &Routing, route: &Route) -> Value {
    let mut shown = named(&route.owner);
    shown["pools"] = names(routing, &route.pools);
    shown
}

/// The names that a route is for: a name of a zone file, or all links of a zone.
fn named(owner: &Owner) -> Value {
    match owner {
        Owner::Links(zone) => json!({"name": zone.as_str(), "links": true}),
        Owner::Name(name) => json!({"name": name.as_str(), "links": false}),
    }
}

fn names(routing: &Routing, places: &[u16]) -> Value {
    let pools = &routing.config().pools;
    let named = places
        .iter()
        .filter_map(|place| pools.get(usize::from(*place)));
    named.map(|pool| json!(pool.name)).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainQuery {
    address: Option<String>,
}

/// `GET /v1/pools/explain?address=`
pub(super) async fn explain(
    State(admin): State<Arc<Admin>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let ExplainQuery { address } = query(&uri)?;
    let refused = |detail: String| Problem::new(Kind::InvalidQuery, detail).of("address");
    let text =
        address.ok_or_else(|| refused("the query needs the parameter \"address\"".into()))?;
    let prefix: Prefix = text
        .parse()
        .map_err(|why| refused(format!("{text:?} is not an address or a network: {why}")))?;
    // RFC 7871 §7.2.1: of a prefix, the first address decides.
    let address = Ipv6Addr::from_bits(prefix.bits()).to_canonical();
    let pools = admin.overviews.pools.as_ref();
    let routes = pools.map(|pools| {
        let routing = pools.routing();
        let routes = routing.config().routes.iter();
        routes
            .filter_map(|route| explained(routing, &route.owner, address))
            .collect()
    });
    let routes: Vec<_> = routes.unwrap_or_default();
    Ok(Json(json!({"address": address.to_string(), "routes": routes})).into_response())
}

fn explained(routing: &Routing, owner: &Owner, address: IpAddr) -> Option<Value> {
    let explained = routing.explain(owner, address, Family::Any)?;
    let located = explained.located;
    let pool = located
        .pool
        .and_then(|place| routing.config().pools.get(usize::from(place)));
    let addresses = pool.into_iter().flat_map(Pool::addresses).enumerate();
    let addresses: Vec<_> = addresses
        .filter(|(place, _)| located.served.has(*place))
        .map(|(_, address)| address)
        .collect();
    let (why, value) = match explained.why {
        Why::Network => (
            "network",
            explained.network.map(|network| network.to_string()),
        ),
        Why::Country(country) => ("country", Some(country.to_string())),
        Why::Continent(continent) => ("continent", Some(continent.to_string())),
        Why::Nearest => ("nearest", None),
        Why::Default => ("default", None),
        Why::Nothing => ("none", None),
        Why::AllDown => ("all-down", None),
    };
    let mut shown = named(owner);
    shown["pool"] = json!(pool.map(|pool| &pool.name));
    shown["addresses"] = json!(addresses);
    shown["why"] = json!(why);
    shown["value"] = json!(value);
    shown["candidates"] = names(routing, &explained.candidates);
    shown["passed_over"] = names(routing, &explained.passed_over);
    shown["closed"] = json!(located.closed);
    shown["scope"] = json!(located.scope);
    shown["network"] = json!(Prefix::of(address, located.scope, located.scope).to_string());
    Some(shown)
}

type NameInPath = Result<Path<String>, PathRejection>;

/// `POST /v1/pools/{name}/drain`
pub(super) async fn drain(
    admin: State<Arc<Admin>>,
    caller: Extension<Caller>,
    name: NameInPath,
    uri: Uri,
) -> Result<Response, Problem> {
    set(admin, caller, name, &uri, true).await
}

/// `POST /v1/pools/{name}/restore`
pub(super) async fn restore(
    admin: State<Arc<Admin>>,
    caller: Extension<Caller>,
    name: NameInPath,
    uri: Uri,
) -> Result<Response, Problem> {
    set(admin, caller, name, &uri, false).await
}

async fn set(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    name: NameInPath,
    uri: &Uri,
    is_drained: bool,
) -> Result<Response, Problem> {
    let NoQuery {} = query(uri)?;
    let name = name.map(|Path(name)| name).unwrap_or_default();
    let unknown = |name| Err(DrainError::NoSuchPool(name));
    let set = match &admin.overviews.pools {
        Some(pools) => pools.set(&name, is_drained, &caller.actor()).await,
        None => unknown(name.clone()),
    };
    set.map_err(|error| match error {
        DrainError::NoSuchPool(_) => Problem::new(Kind::NoSuchPool, error.to_string()),
        DrainError::Store(error) => error.into(),
    })?;
    let done = if is_drained { "drained" } else { "restored" };
    tracing::info!(pool = name, by = caller.name(), "pool {done}");
    Ok(StatusCode::NO_CONTENT.into_response())
}
