//! `tinyns pools`: the pools of addresses, and which one a client gets.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Args, Subcommand};

use super::access::{AccessArgs, token_environment};
use super::api_client::{Explained, ExplainedRoute, Pool, Pools};
use super::client::Client;
use super::outcome::Exit;
use super::output::{aligned, print, say};
use crate::base::prefix::Prefix;
use crate::base::text::one_line;

pub(super) const POOLS_HELP: &str = concat!(
    "\
Examples:
  tinyns pools list                     each pool, its addresses, and for which clients it is
  tinyns pools explain 192.0.2.77       the pool that this client gets, and why
  tinyns pools explain 2001:db8::/48    the same for the clients of a network
  tinyns pools drain eu                 take a pool out of service, on all servers
  tinyns pools restore eu               take it into service again
  dig +subnet=192.0.2.0/24 A sale.r.s.example.com   what a resolver of this network gets

The commands need a token with the role admin.",
    token_environment!()
);

#[derive(Debug, Subcommand)]
pub(super) enum PoolsCommand {
    /// List the pools, and the names that have them
    List(ListArgs),
    /// Show which pool a client gets, why, and for which network the answer holds
    Explain(ExplainArgs),
    /// Take a pool out of service: no client gets it until it is restored, also after a restart
    Drain(NameArgs),
    /// Take a drained pool into service again
    Restore(NameArgs),
}

#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// The name of the pool
    #[arg(value_name = "NAME")]
    name: String,
    /// Print errors as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Print the JSON of the API, and errors as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The address of the client, or its network, of which the first address decides
    #[arg(value_name = "ADDRESS", value_parser = network)]
    address: String,
    /// Print the JSON of the API, and errors as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

fn network(text: &str) -> Result<String, String> {
    let read = text.parse::<Prefix>().map_err(|error| error.to_string());
    read.map(|_| text.to_owned())
}

impl PoolsCommand {
    /// Whether `--json` was given.
    pub(super) fn is_json(&self) -> bool {
        match self {
            Self::List(args) => args.json,
            Self::Explain(args) => args.json,
            Self::Drain(args) | Self::Restore(args) => args.json,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// The API refuses the call or cannot be reached.
pub(super) fn run(command: &PoolsCommand, config: Option<&Path>) -> anyhow::Result<Exit> {
    match command {
        PoolsCommand::List(args) => list(args, config)?,
        PoolsCommand::Explain(args) => explain(args, config)?,
        PoolsCommand::Drain(args) => set(args, config, "drain", "drained")?,
        PoolsCommand::Restore(args) => set(args, config, "restore", "in service")?,
    }
    Ok(Exit::Done)
}

const NO_ROUTES: &str = "no name has pools: the addresses of the zone files are for all clients";

fn list(args: &ListArgs, config: Option<&Path>) -> anyhow::Result<()> {
    let client = Client::new(&args.access, config)?;
    let (all, json) = client.api.pools(&client.token)?;
    if args.json {
        return print(&format!("{}\n", json.trim_end()));
    }
    if all.routes.is_empty() {
        say(NO_ROUTES);
        return Ok(());
    }
    print(&shown(&all))
}

/// The pools as a table, and the names below it.
fn shown(all: &Pools) -> String {
    let header = ["POOL", "STATE", "WEIGHT", "FOR", "ADDRESSES"].map(String::from);
    let row = |pool: &Pool| {
        [
            one_line(&pool.name),
            one_line(&pool.state),
            pool.weight.to_string(),
            clients_of(pool),
            addresses_of(pool),
        ]
    };
    let mut text = aligned(std::iter::once(header).chain(all.pools.iter().map(row)));
    text.push('\n');
    for (pool, address, failure) in failures(all) {
        let (pool, address) = (one_line(&pool.name), one_line(address));
        let _ = writeln!(text, "{pool}: {address} is down: {}", one_line(failure));
    }
    for route in &all.routes {
        let name = subject(&route.name, route.links);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}: {}", one_line(&route.pools.join(", ")));
    }
    if let Some(database) = &all.database {
        let built = one_line(&database.built_at);
        let _ = writeln!(text, "database of {built}, {} networks", database.networks);
    }
    text
}

fn addresses_of(pool: &Pool) -> String {
    let shown = pool.health.iter().map(|one| match one.up {
        true => one_line(&one.address),
        false => format!("{} (down)", one_line(&one.address)),
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// The addresses that are down, and why.
fn failures(all: &Pools) -> impl Iterator<Item = (&Pool, &str, &str)> {
    all.pools.iter().flat_map(|pool| {
        let down = pool.health.iter().filter(|one| !one.up);
        down.filter_map(move |one| Some((pool, &*one.address, one.failure.as_deref()?)))
    })
}

/// For which clients a pool is, in the order in which that counts.
fn clients_of(pool: &Pool) -> String {
    let mut parts = Vec::new();
    match pool.networks.len() {
        0 => {}
        1..=3 => parts.push(pool.networks.join(" ")),
        more => parts.push(format!("{more} networks")),
    }
    parts.extend(
        [&pool.countries, &pool.continents]
            .into_iter()
            .filter(|all| !all.is_empty())
            .map(|all| all.join(" ")),
    );
    if let (Some(latitude), Some(longitude)) = (pool.latitude, pool.longitude) {
        parts.push(format!("near {latitude},{longitude}"));
    }
    if pool.default {
        parts.push("default".into());
    }
    one_line(&parts.join("; "))
}

fn subject(name: &str, links: bool) -> String {
    match links {
        true => format!("links of {}", one_line(name)),
        false => one_line(name),
    }
}

fn explain(args: &ExplainArgs, config: Option<&Path>) -> anyhow::Result<()> {
    let client = Client::new(&args.access, config)?;
    let (explained, json) = client.api.explain_pools(&client.token, &args.address)?;
    if args.json {
        return print(&format!("{}\n", json.trim_end()));
    }
    if explained.routes.is_empty() {
        say(NO_ROUTES);
        return Ok(());
    }
    print(&explanation(&explained))
}

fn set(args: &NameArgs, config: Option<&Path>, action: &str, state: &str) -> anyhow::Result<()> {
    let client = Client::new(&args.access, config)?;
    client.api.set_pool(&client.token, &args.name, action)?;
    say(&format!(
        "{} is {state}; other servers follow within two seconds",
        one_line(&args.name)
    ));
    Ok(())
}

fn explanation(explained: &Explained) -> String {
    let mut text = String::new();
    for route in &explained.routes {
        let name = subject(&route.name, route.links);
        let pool = route
            .pool
            .as_deref()
            .map_or_else(|| "no pool".into(), one_line);
        let _ = writeln!(text, "{name}: {pool}");
        let addresses = match route.pool {
            Some(_) => one_line(&route.addresses.join(" ")),
            None if route.closed => "none".into(),
            None => "those of the zone file".into(),
        };
        let _ = writeln!(text, "  addresses  {addresses}");
        let _ = writeln!(
            text,
            "  why        {}",
            reason(route, &one_line(&explained.address))
        );
        let _ = writeln!(text, "  holds for  {}", one_line(&route.network));
    }
    text
}

fn reason(route: &ExplainedRoute, address: &str) -> String {
    let value = route.value.as_deref().map(one_line).unwrap_or_default();
    let mut reason = match route.why.as_str() {
        "network" => format!("{address} is in {value}, a network of the pool"),
        "country" => format!("the database has {address} in the country {value}"),
        "continent" => format!("the database has {address} on the continent {value}"),
        "nearest" => format!("no pool is nearer to where the database has {address}"),
        "default" => format!("no other pool is for {address}, and this is the default"),
        "all-down" => format!("all pools that are for {address} are down or drained"),
        _ => format!("no pool is for {address}, and none is the default"),
    };
    if route.candidates.len() > 1 {
        let candidates = one_line(&route.candidates.join(", "));
        let _ = write!(reason, "; chosen among {candidates} by weight");
    }
    if !route.passed_over.is_empty() && route.why != "all-down" {
        let down = one_line(&route.passed_over.join(", "));
        let _ = write!(reason, "; down or drained: {down}");
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_in_a_table() {
        let json = r#"{"pools": [
            {"name": "eu", "state": "up", "health": [{"address": "192.0.2.1", "up": true, "failure": null},
             {"address": "2001:db8::1", "up": false, "failure": "no response in time"}], "networks": ["10.0.0.0/8"], "countries": ["TR"],
             "continents": ["EU", "AF"], "latitude": 50.1, "longitude": 8.7, "weight": 1, "default": true},
            {"name": "us\u001b", "state": "drained", "health": [{"address": "192.0.2.2", "up": true, "failure": null}],
             "networks": ["10.1.0.0/16", "a", "b", "c"],
             "countries": [], "continents": [], "latitude": null, "longitude": null, "weight": 10, "default": false}],
            "routes": [{"name": "s.example.com", "links": true, "pools": ["eu", "us"]},
                       {"name": "www.s.example.com", "links": false, "pools": ["eu"]}],
            "ttl": 60, "client_subnet": true, "database": {"built_at": "2026-01-01T00:00:00Z", "networks": 5}}"#;
        let all: Pools = serde_json::from_str(json).unwrap();
        assert_eq!(
            shown(&all),
            "POOL      STATE    WEIGHT  FOR                                            ADDRESSES\n\
             eu        up       1       10.0.0.0/8; TR; EU AF; near 50.1,8.7; default  192.0.2.1 2001:db8::1 (down)\n\
             us\\u{1b}  drained  10      4 networks                                     192.0.2.2\n\
             \n\
             eu: 2001:db8::1 is down: no response in time\n\
             links of s.example.com: eu, us\n\
             www.s.example.com: eu\n\
             database of 2026-01-01T00:00:00Z, 5 networks\n"
        );
    }

    #[test]
    fn reasons_in_words() {
        let json = r#"{"address": "192.0.2.0", "routes": [
            {"name": "s.example.com", "links": true, "pool": "eu", "addresses": ["192.0.2.1"], "why": "country",
             "value": "DE", "candidates": ["eu", "eu2"], "passed_over": ["de"], "closed": false, "scope": 24, "network": "192.0.2.0/24"},
            {"name": "www.s.example.com", "links": false, "pool": null, "addresses": [], "why": "none",
             "value": null, "candidates": [], "passed_over": [], "closed": false, "scope": 0, "network": "0.0.0.0/0"},
            {"name": "api.s.example.com", "links": false, "pool": null, "addresses": [], "why": "all-down",
             "value": null, "candidates": [], "passed_over": ["eu"], "closed": true, "scope": 0, "network": "0.0.0.0/0"}]}"#;
        let explained: Explained = serde_json::from_str(json).unwrap();
        assert_eq!(
            explanation(&explained),
            "links of s.example.com: eu\n\
             \x20 addresses  192.0.2.1\n\
             \x20 why        the database has 192.0.2.0 in the country DE; chosen among eu, eu2 by weight; down or drained: de\n\
             \x20 holds for  192.0.2.0/24\n\
             www.s.example.com: no pool\n\
             \x20 addresses  those of the zone file\n\
             \x20 why        no pool is for 192.0.2.0, and none is the default\n\
             \x20 holds for  0.0.0.0/0\n\
             api.s.example.com: no pool\n\
             \x20 addresses  none\n\
             \x20 why        all pools that are for 192.0.2.0 are down or drained\n\
             \x20 holds for  0.0.0.0/0\n"
        );
    }
}
