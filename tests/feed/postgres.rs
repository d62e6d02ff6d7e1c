//! PostgreSQL: each server follows the feed of the database, and its filter denies no link that was acknowledged.

use crate::harness::{Answer, PATIENCE, Server, Setup, eventually};
use crate::postgres::Postgres;

fn node(database: &Postgres) -> Server {
    let url = database.url();
    Setup::new()
        .store(&format!("kind = \"postgresql\"\nurl = \"{url}\"\n"))
        .section("[cache]\nfilter = true\n")
        .start()
}

/// Waits until the filter of a server denies.
fn complete(server: &Server) {
    eventually("complete", PATIENCE, || {
        server.metric("tinyns_filter_complete", &[]) == 1.0
    });
}

fn lookups(server: &Server, tier: &str) -> u64 {
    server.metric("tinyns_link_lookups_total", &[("tier", tier)]) as u64
}

#[test]
fn a_link_is_answered_by_all_servers_once_it_is_acknowledged() {
    let database = Postgres::start();
    let servers = [node(&database), node(&database)];
    servers.iter().for_each(complete);
    for number in 0..1_000 {
        let code = format!("c{number}");
        let url = format!("https://example.net/{number}");
        let (maker, other) = (&servers[number % 2], &servers[1 - number % 2]);
        let name = maker.register(&code, &url);
        assert_eq!(other.answer(&name), Answer::Url(url), "{name}");
    }
    for server in &servers {
        complete(server);
        let before = lookups(server, "Store") + lookups(server, "Memory");
        for number in 0..200 {
            let name = format!("random{number}.s.example.com");
            assert_eq!(server.answer(&name), Answer::Absent);
        }
        // One name in 180 passes the filter.
        let after = lookups(server, "Store") + lookups(server, "Memory");
        assert!(after - before < 40, "{}", after - before);
        assert!(lookups(server, "Filter") >= 160);
    }
}
