//! The pools of names, as they are configured, and what of the zone files they need.

use std::sync::Arc;

use hickory_proto::rr::RecordType;

use crate::base::metrics::Metrics;
use crate::base::name::wire::WireName;
use crate::config::Config;
use crate::routing::{Owner, Route, Routing, RoutingConfig, RoutingError};
use crate::server::blocking::blocking;
use crate::zone::{Lookup, Node, Zones};

/// A name whose addresses are to depend on the client, and whose zone file has no addresses for it. The records of the
/// file say which types the name has, and are for the clients that no pool is for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteFault {
    /// The links of a zone.
    #[error(
        "zone.pools: the zone file of {0} has no addresses at the name \"*\" below the redirect host; add the A and AAAA \
         records for clients that no pool is for"
    )]
    Links(String),
    /// A name.
    #[error(
        "zone.route.name: the zone file has no A or AAAA records at {0}; add those for clients that no pool is for"
    )]
    Name(String),
}

/// What is wrong with the names that have pools.
pub(super) fn faults(config: &RoutingConfig, zones: &Zones) -> Vec<RouteFault> {
    let lacks = |route: &&Route| !node_of(&route.owner, zones).is_some_and(Node::has_addresses);
    let lacking = config.routes.iter().filter(lacks);
    let fault = |route: &Route| match &route.owner {
        Owner::Links(zone) => RouteFault::Links(zone.to_string()),
        Owner::Name(name) => RouteFault::Name(name.to_string()),
    };
    lacking.map(fault).collect()
}

/// Addresses of pools that no client gets, because the zone file has none of their type.
pub(super) fn warnings(config: &RoutingConfig, zones: &Zones) -> Vec<String> {
    let mut found = Vec::new();
    for route in &config.routes {
        let Some(node) = node_of(&route.owner, zones) else {
            continue;
        };
        let pools = || {
            route
                .pools
                .iter()
                .filter_map(|at| config.pools.get(usize::from(*at)))
        };
        let has = [
            (RecordType::A, pools().any(|pool| !pool.ipv4.is_empty())),
            (RecordType::AAAA, pools().any(|pool| !pool.ipv6.is_empty())),
        ];
        for (rtype, _) in has
            .into_iter()
            .filter(|(rtype, has)| *has && node.rrset(*rtype).is_none())
        {
            let name = match &route.owner {
                Owner::Links(zone) => format!("the links of {zone}"),
                Owner::Name(name) => name.to_string(),
            };
            found.push(format!(
                "clients get no {rtype} records of pools for {name}, because the zone file has no {rtype} record there; \
                 add one"
            ));
        }
    }
    found
}

/// The records of the zone file at the names of a route.
fn node_of<'z>(owner: &Owner, zones: &'z Zones) -> Option<&'z Node> {
    let name = match owner {
        Owner::Links(zone) | Owner::Name(zone) => WireName::read(zone.wire())?,
    };
    let zone = zones.find_for(&name, RecordType::A)?;
    match owner {
        Owner::Links(_) => zone.link_template(),
        Owner::Name(_) => match zone.search(&name) {
            Lookup::Exact(node) => Some(node),
            _ => None,
        },
    }
}

/// Why the pools of names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PoolsError {
    /// The database of places.
    #[error(transparent)]
    Routing(#[from] RoutingError),
    /// A name.
    #[error(transparent)]
    Name(#[from] RouteFault),
}

/// Logs what of the zone files keeps clients from getting addresses of pools.
pub(super) fn warn_of_routes(config: &RoutingConfig, zones: &Zones) {
    let faults = faults(config, zones).into_iter();
    for line in faults
        .map(|fault| fault.to_string())
        .chain(warnings(config, zones))
    {
        tracing::warn!("{line}");
    }
}

/// Reads the database of places, if pools are configured.
pub(super) async fn open(
    config: &mut Config,
    zones: &Zones,
    metrics: &Metrics,
) -> Result<Option<Arc<Routing>>, PoolsError> {
    let Some(config) = config.routing.take() else {
        return Ok(None);
    };
    if let Some(fault) = faults(&config, zones).into_iter().next() {
        return Err(fault.into());
    }
    for line in warnings(&config, zones) {
        tracing::warn!("{line}");
    }
    let routing = blocking(move || Routing::open(config)).await?;
    log_database("read", &routing, metrics);
    Ok(Some(Arc::new(routing)))
}

/// Logs and measures the database in use, if there is one.
pub(super) fn log_database(what: &str, routing: &Routing, metrics: &Metrics) {
    let file = routing.config().database.as_deref();
    if let Some((file, source)) = file.zip(routing.source()) {
        tracing::info!(
            file = %file.display(),
            built = source.built.rfc3339(),
            networks = source.networks,
            ranges = routing.ranges(),
            "database of places {what}"
        );
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        metrics.place_database_built.set(gauge(source.built.0));
        metrics.place_database_networks.set(gauge(source.networks));
    }
}
