//! Pools: which there are, and which one a client gets.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admin, NoQuery, Problem, query};
use crate::base::prefix::Prefix;
use crate::http::problem::Kind;
use crate::routing::{Owner, Pool, Route, Routing, Why};

/// `GET /v1/pools`
pub(super) async fn list(State(admin): State<Arc<Admin>>, uri: Uri) -> Result<Response, Problem> {
    let NoQuery {} = query(&uri)?;
    let body = match &admin.overviews.routing {
        Some(routing) => all_of(routing),
        None => {
            json!({"pools": [], "routes": [], "ttl": null, "client_subnet": false, "database": null})
        }
    };
    Ok(Json(body).into_response())
}

fn all_of(routing: &Routing) -> Value {
    let config = routing.config();
    let pools: Vec<_> = config.pools.iter().map(pool).collect();
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
        "database": database,
    })
}

fn pool(pool: &Pool) -> Value {
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
    let routing = admin.overviews.routing.as_ref();
    let routes = routing.map(|routing| {
        let routes = routing.config().routes.iter();
        routes
            .filter_map(|route| explained(routing, &route.owner, address))
            .collect()
    });
    let routes: Vec<_> = routes.unwrap_or_default();
    Ok(Json(json!({"address": address.to_string(), "routes": routes})).into_response())
}

fn explained(routing: &Routing, owner: &Owner, address: IpAddr) -> Option<Value> {
    let explained = routing.explain(owner, address)?;
    let located = explained.located;
    let pool = located
        .pool
        .and_then(|place| routing.config().pools.get(usize::from(place)));
    let addresses: Vec<_> = pool.into_iter().flat_map(Pool::addresses).collect();
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
    };
    let mut shown = named(owner);
    shown["pool"] = json!(pool.map(|pool| &pool.name));
    shown["addresses"] = json!(addresses);
    shown["why"] = json!(why);
    shown["value"] = json!(value);
    shown["candidates"] = names(routing, &explained.candidates);
    shown["scope"] = json!(located.scope);
    shown["network"] = json!(Prefix::of(address, located.scope, located.scope).to_string());
    Some(shown)
}
