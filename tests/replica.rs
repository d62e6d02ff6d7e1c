//! Servers that read links from a PostgreSQL replica: with Redis and a filter, and while the database is away.

use serde_json::json;

use crate::harness::{Answer, PATIENCE, Reply, Server, Setup, eventually};
use crate::postgres::{Postgres, Wire};
use crate::redis::{LINES, RedisServer, followed};

/// A region whose database is far away.
struct Region {
    writer: Postgres,
    replica: Postgres,
    wire: Wire,
    redis: RedisServer,
}

impl Region {
    fn start() -> Self {
        let writer = Postgres::start();
        let replica = writer.replica();
        let wire = Wire::to(&writer);
        let redis = RedisServer::start();
        Self {
            writer,
            replica,
            wire,
            redis,
        }
    }

    fn setup(&self) -> Setup {
        let (url, near) = (self.wire.url(), self.replica.url());
        Setup::new()
            .store(&format!(
                "kind = \"postgresql\"\nurl = \"{url}\"\nreplica_url = \"{near}\"\nreplica_lag = 3600\n"
            ))
            .section(&format!("[redis]\nurl = {:?}\n{LINES}", self.redis.url()))
            .section("[cache]\nrefresh = 600\nabsent = 600\nfilter = true\n")
    }

    /// A server that reads from the replica and denies by its filter.
    fn node(&self) -> Server {
        let server = followed(self.setup().start());
        complete(&server);
        server
    }

    /// Another program makes a link.
    fn insert(&self, code: &str) {
        self.writer.psql(&format!(
            "INSERT INTO tinyns.link (origin, code, url) VALUES ('s.example.com', '{code}', '{}')",
            url(code)
        ));
    }
}

fn complete(server: &Server) {
    eventually("the filter denies", PATIENCE, || {
        server.metric("tinyns_filter_complete", &[]) == 1.0
    });
}

fn stands_aside(server: &Server) {
    eventually("the filter stands aside", PATIENCE, || {
        server.metric("tinyns_filter_complete", &[]) == 0.0
    });
}

fn url(code: &str) -> String {
    format!("https://example.net/{code}")
}

fn name(code: &str) -> String {
    format!("{code}.s.example.com")
}

fn patch(server: &Server, code: &str, to: &str) -> Reply {
    let body = json!({ "url": url(to) });
    server.api("PATCH", &format!("/v1/links/{code}"), Some(&body))
}

fn seen(server: &Server) -> f64 {
    server.metric("tinyns_changes_seen_total", &[])
}

/// Waits until a server has heard of one more change than this many.
fn hears_of_another(server: &Server, before: f64) {
    eventually("it hears of the change", PATIENCE, || seen(server) > before);
}

#[test]
fn a_change_is_shown_in_its_region_before_the_replica_has_it() {
    let region = Region::start();
    let (one, two) = (region.node(), region.node());
    for code in ["a", "b", "c"] {
        one.register(code, &url(code));
        two.wait_for_answer(&name(code), &Answer::Url(url(code)), PATIENCE);
    }
    eventually("the replica has it", PATIENCE, || {
        one.metric("tinyns_replica_awaited_names", &[]) == 0.0
            && two.metric("tinyns_replica_awaited_names", &[]) == 0.0
    });
    region.replica.pause_replay();
    let before = seen(&two);
    assert_eq!(patch(&one, "a", "new").status, 200);
    assert_eq!(one.answer(&name("a")), Answer::Url(url("new")));
    hears_of_another(&two, before);
    // Without the values in Redis and without the stream.
    region.redis.cli(&["FLUSHALL"]);
    for server in [&one, &two] {
        assert_eq!(server.answer(&name("a")), Answer::Url(url("new")));
    }
    eventually("both follow again", PATIENCE, || {
        [&one, &two].map(|server| server.metric("tinyns_changes_following", &[])) == [1.0, 1.0]
    });
    let before = seen(&two);
    assert_eq!(one.remove("b").status, 204);
    hears_of_another(&two, before);
    region.redis.cli(&["FLUSHALL"]);
    for server in [&one, &two] {
        assert_eq!(server.answer(&name("b")), Answer::Absent);
        assert_eq!(server.answer(&name("a")), Answer::Url(url("new")));
        assert_eq!(server.answer(&name("c")), Answer::Url(url("c")));
    }
    // A server that starts has heard of nothing, and does not believe the replica either.
    let three = followed(region.setup().start());
    assert_eq!(three.answer(&name("a")), Answer::Url(url("new")));
    assert_eq!(three.answer(&name("b")), Answer::Absent);
    region.replica.resume_replay();
    for server in [&one, &two, &three] {
        complete(server);
        assert_eq!(server.answer(&name("a")), Answer::Url(url("new")));
        assert_eq!(server.answer(&name("b")), Answer::Absent);
    }
}

#[test]
fn the_filter_denies_no_link_of_its_region_and_stands_aside_while_the_replica_is_behind() {
    let region = Region::start();
    let servers = [region.node(), region.node()];
    for number in 0..200 {
        let (code, maker) = (format!("c{number}"), number % 2);
        servers[maker].register(&code, &url(&code));
        assert_eq!(
            servers[1 - maker].answer(&name(&code)),
            Answer::Url(url(&code))
        );
    }
    region.replica.pause_replay();
    servers.iter().for_each(stands_aside);
    for number in 0..20 {
        let (code, maker) = (format!("d{number}"), number % 2);
        servers[maker].register(&code, &url(&code));
        assert_eq!(
            servers[1 - maker].answer(&name(&code)),
            Answer::Url(url(&code))
        );
    }
    region.replica.resume_replay();
    servers.iter().for_each(complete);
    // A link of another region is shown once the replica has it.
    region.insert("e");
    for server in &servers {
        server.wait_for_answer(&name("e"), &Answer::Url(url("e")), PATIENCE);
    }
}

#[test]
fn while_the_database_is_cut_off_the_replica_answers_and_changes_fail() {
    let region = Region::start();
    let server = region.node();
    for number in 0..50 {
        region.insert(&format!("c{number}"));
    }
    server.wait_for_answer(&name("c49"), &Answer::Url(url("c49")), PATIENCE);
    region.wire.cut();
    for number in 0..50 {
        let code = format!("c{number}");
        assert_eq!(server.answer(&name(&code)), Answer::Url(url(&code)));
    }
    // Replication goes on: only this server is cut off.
    region.insert("later");
    server.wait_for_answer(&name("later"), &Answer::Url(url("later")), PATIENCE);
    assert_eq!(server.answer(&name("none")), Answer::Absent);
    let body = json!({ "url": url("x"), "code": "x" });
    assert_eq!(server.api("POST", "/v1/links", Some(&body)).status, 503);
    eventually("readiness says so", PATIENCE, || {
        let ready = server.api("GET", "/readyz", None);
        let text = ready.json()["reasons"].to_string();
        ready.status == 200
            && ready.json()["takes_changes"] == false
            && text.contains("links come from the replica")
    });
    region.wire.mend();
    eventually("changes are taken", PATIENCE, || {
        server.api("POST", "/v1/links", Some(&body)).status < 300
    });
    assert_eq!(server.answer(&name("x")), Answer::Url(url("x")));
    complete(&server);
}

#[test]
fn a_server_that_starts_without_the_database_answers_from_the_replica() {
    let mut region = Region::start();
    let first = region.node();
    first.register("a", &url("a"));
    eventually("the replica has it", PATIENCE, || {
        first.metric("tinyns_replica_awaited_names", &[]) == 0.0
    });
    drop(first);
    region.redis.cli(&["FLUSHALL"]);
    region.writer.kill();
    let server = region.setup().start();
    server.wait_for_answer(&name("a"), &Answer::Url(url("a")), PATIENCE);
    assert_eq!(server.answer(&name("none")), Answer::Absent);
    let body = json!({ "url": url("b"), "code": "b" });
    assert_eq!(server.api("POST", "/v1/links", Some(&body)).status, 503);
    region.writer.start_again();
    eventually("changes are taken", PATIENCE, || {
        server.api("POST", "/v1/links", Some(&body)).status < 300
    });
    assert_eq!(server.answer(&name("b")), Answer::Url(url("b")));
    complete(&server);
    eventually("the replica is measured", PATIENCE, || {
        server.metric("tinyns_replica_lag_seconds", &[]) < 3_600.0
    });
}

#[test]
fn what_a_replica_does_not_show_yet_is_not_put_into_redis() {
    let region = Region::start();
    let server = region.node();
    region.replica.pause_replay();
    stands_aside(&server);
    region.insert("a");
    // Another region has made it, so this one may still deny it. A server that reads Redis may not rely on that.
    assert_eq!(server.answer(&name("a")), Answer::Absent);
    eventually("Redis has the link", PATIENCE, || {
        let held = region.redis.held(&name("a")).unwrap_or_default();
        assert!(held.get("absent").is_none(), "{held}");
        held["url"] == url("a")
    });
    region.replica.resume_replay();
    server.wait_for_answer(&name("a"), &Answer::Url(url("a")), PATIENCE);
}
