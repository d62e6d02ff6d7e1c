//! Health checks of pools: hosts that die, hang, flap, or have a wrong certificate, with real servers.

use std::process::{Command, Stdio};

use hickory_proto::rr::{RData, RecordType};
use serde_json::Value;

use super::targets::{Does, Host, PORT};
use crate::command_line::on;
use crate::harness::{PATIENCE, Process, Server, Setup, eventually, own_host, run};
use crate::page::visitor::Visitor;

const ZONE: &str = "\
$TTL 300
@       3600 IN SOA ns1 hostmaster 1 3600 600 86400 300
@            IN NS  ns1
ns1          IN A    192.0.2.1
www          IN A    192.0.2.10
*.r          IN A    192.0.2.10
";
const UP: Does = Does::Respond(200);

/// A check that ends soon.
fn check(lines: &str) -> String {
    format!(
        "[pool.check]\nport = {PORT}\ninterval = 0.1\ntimeout = 0.3\nfailures = 1\npasses = 1\n{lines}\n"
    )
}

fn pool(name: &str, addresses: &[&Host], lines: &str) -> String {
    let addresses: Vec<_> = addresses
        .iter()
        .map(|host| host.address.to_string())
        .collect();
    format!("[[pool]]\nname = \"{name}\"\naddresses = {addresses:?}\n{lines}\n")
}

/// A server whose links and whose name `www` have these pools.
pub(super) fn setup(names: &[&str], pools: &str) -> Setup {
    let names = format!(
        "redirect_host = \"r\"\npools = {names:?}\n[[zone.route]]\nname = \"www\"\npools = {names:?}\n"
    );
    Setup::empty()
        .zone("s.example.com", &names, ZONE)
        .section(pools)
}

/// The addresses in the answer, sorted.
pub(super) fn addresses(server: &Server, name: &str) -> Vec<String> {
    let reply = server.ask(name, RecordType::A);
    let mut found: Vec<_> = reply
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(a) => Some(a.0.to_string()),
            _ => None,
        })
        .collect();
    found.sort_unstable();
    found
}

fn sorted(hosts: &[&Host]) -> Vec<String> {
    let mut all: Vec<_> = hosts.iter().map(|host| host.address.to_string()).collect();
    all.sort_unstable();
    all
}

/// Waits until both names have the addresses of these hosts.
fn come_to_have(server: &Server, hosts: &[&Host]) {
    let expected = sorted(hosts);
    eventually(&format!("{expected:?}"), PATIENCE, || {
        ["www.s.example.com", "sale.s.example.com"]
            .iter()
            .all(|name| addresses(server, name) == expected)
    });
    // A hot answer is the same.
    assert_eq!(addresses(server, "www.s.example.com"), expected);
}

fn listed(server: &Server, pool: usize) -> Value {
    server.api("GET", "/v1/pools", None).json()["pools"][pool].clone()
}

#[test]
fn hosts_that_die_hang_or_fail_leave_the_answers() {
    let (first, second, reserve) = (Host::new(Does::Refuse), Host::new(UP), Host::new(UP));
    let check = check("path = \"/healthz?a=b\"\nhost = \"www.s.example.com\"");
    let pools = pool("main", &[&first, &second], &check)
        + &pool("reserve", &[&reserve], &format!("weight = 0\n{check}"))
        + &pool("other", &[&reserve], &check);
    let server = setup(&["main", "reserve"], &pools).start();
    // The very first answer does not have the host that is dead.
    assert_eq!(addresses(&server, "www.s.example.com"), sorted(&[&second]));
    server.register("sale", "https://example.net/sale");
    come_to_have(&server, &[&second]);
    first.set(UP);
    come_to_have(&server, &[&first, &second]);
    let request = second.request();
    let host = format!("GET /healthz?a=b HTTP/1.1\r\nHost: www.s.example.com:{PORT}\r\n");
    assert!(request.starts_with(&host), "{request}");

    // A redirect is not followed, and is no success.
    second.set(Does::Respond(301));
    come_to_have(&server, &[&first]);
    let main = listed(&server, 0);
    assert_eq!(
        (&main["state"], &main["health"][1]["up"]),
        (&"up".into(), &false.into())
    );
    assert_eq!(
        main["health"][1]["failure"],
        "the response has the status 301"
    );
    let up = |name: &str, host: &Host| {
        let address = host.address.to_string();
        let labels = [("pool", name), ("address", &*address)];
        server.metric("tinyns_pool_address_up", &labels)
    };
    assert_eq!((up("main", &first), up("main", &second)), (1.0, 0.0));

    first.set(Does::Hang);
    come_to_have(&server, &[&reserve]);
    assert_eq!(listed(&server, 0)["state"], "down");
    assert_eq!(server.metric("tinyns_pool_up", &[("pool", "main")]), 0.0);
    assert_eq!(
        server.metric("tinyns_pool_changes_total", &[("pool", "main")]),
        1.0
    );
    assert!(server.metric("tinyns_pool_checks_total", &[("result", "timeout")]) >= 1.0);
    server
        .log()
        .wait_for("pool down: all its addresses are down");
    server.log().wait_for("no response in time");
    let explained = server
        .api("GET", "/v1/pools/explain?address=192.0.2.1", None)
        .json();
    assert_eq!(
        explained["routes"][0]["passed_over"],
        serde_json::json!(["main"])
    );

    // All die: the pool that clients would get if all were up.
    reserve.set(Does::Refuse);
    come_to_have(&server, &[&first, &second]);
    let said = on(&server, &["pools", "list"]).out;
    assert!(
        said.contains(&format!("{} (down)", reserve.address)),
        "{said}"
    );
    assert!(said.contains("is down: no "), "{said}");
    let said = on(&server, &["pools", "explain", "192.0.2.1"]).out;
    assert!(
        said.contains("all pools that are for 192.0.2.1 are down or drained"),
        "{said}"
    );

    // They return. The TTL of such addresses is a minute at most.
    second.set(UP);
    come_to_have(&server, &[&second]);
    let reply = server.ask("www.s.example.com", RecordType::A);
    assert_eq!(reply.answers[0].ttl, 60);
    server.log().wait_for("pool up");
}

/// Two pools that share a host, and a second name: one check.
#[test]
fn each_host_is_checked_once_and_flapping_is_damped() {
    let (flapping, steady) = (Host::new(UP), Host::new(UP));
    let check = check("");
    let pools = pool("a", &[&flapping, &steady], &check) + &pool("b", &[&flapping], &check);
    let server = setup(&["a", "b"], &pools).start();
    server.register("sale", "https://example.net/sale");
    let (a, b) = (flapping.accepted(), steady.accepted());
    eventually("some more checks", PATIENCE, || {
        flapping.accepted() >= a + 10
    });
    let (a, b) = (flapping.accepted() - a, steady.accepted() - b);
    assert!(
        a < 2 * b && b < 2 * a,
        "{a} checks of one host, {b} of the other"
    );
    let up = || server.metric("tinyns_pool_up", &[("pool", "b")]);
    let mut needed = Vec::new();
    for _ in 0..4 {
        flapping.set(Does::Refuse);
        eventually("it is down", PATIENCE, || up() == 0.0);
        let before = flapping.accepted();
        flapping.set(UP);
        eventually("it is up again", PATIENCE, || up() == 1.0);
        needed.push(flapping.accepted() - before);
    }
    // 1, 2, 4 and 8 passes; the figure may be read some checks later.
    assert!(needed[2] >= 4 && needed[3] >= 8, "{needed:?}");
    assert_eq!(
        server.metric("tinyns_pool_changes_total", &[("pool", "b")]),
        8.0
    );
}

#[test]
fn closed_pools_answer_without_addresses_while_all_are_down() {
    let host = Host::new(UP);
    let pools = pool("only", &[&host], &check(""));
    let server = setup(&["only"], &pools)
        .section("[routing]\nfail = \"closed\"\nttl = 7\n")
        .start();
    server.register("sale", "https://example.net/sale");
    come_to_have(&server, &[&host]);
    host.set(Does::Hang);
    come_to_have(&server, &[]);
    // NODATA (RFC 2308 §2.2), which resolvers keep no longer than the addresses.
    for name in ["www.s.example.com", "sale.r.s.example.com"] {
        let reply = server.ask(name, RecordType::A);
        assert_eq!(u16::from(reply.metadata.response_code), 0, "{name}");
        assert!(reply.answers.is_empty(), "{name}");
        let soa = &reply.authorities[0];
        assert_eq!((soa.record_type(), soa.ttl), (RecordType::SOA, 7), "{name}");
        let text = server.ask(name, RecordType::MX);
        assert_eq!(text.authorities[0].ttl, 300, "other denials are as before");
    }
    assert_eq!(
        server
            .ask("sale.s.example.com", RecordType::TXT)
            .answers
            .len(),
        2
    );
    host.set(UP);
    come_to_have(&server, &[&host]);
}

/// One HTTPS server, and checks that expect different names in its certificate.
#[test]
fn certificates_count_by_choice() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key) = (file("server.pem"), file("server.key"));
    run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            &key,
            "-out",
            &certificate,
            "-days",
            "2",
            "-subj",
            "/CN=good.example",
            "-addext",
            "subjectAltName=DNS:good.example",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ],
    );
    let address = own_host();
    let accept = format!("{address}:{PORT}");
    let mut command = Command::new("openssl");
    command
        .args(["s_server", "-quiet", "-www", "-accept", &accept])
        .args(["-cert", &certificate, "-key", &key])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _server = Process(command.spawn().unwrap());
    eventually("s_server listens", PATIENCE, || {
        std::net::TcpStream::connect(&accept).is_ok()
    });
    let pool = |name: &str, lines: &str| {
        let kind = "kind = \"https\"\ntimeout = 5\n";
        let check = check("").replace("timeout = 0.3\n", kind);
        format!("[[pool]]\nname = \"{name}\"\naddresses = \"{address}\"\n{check}{lines}\n")
    };
    let ca = format!("ca_file = \"{certificate}\"\n");
    let pools = pool("good", &format!("host = \"good.example\"\n{ca}"))
        + &pool("other", &format!("host = \"other.example\"\n{ca}"))
        + &pool("any", "host = \"other.example\"\nverify = false\n")
        + &pool("unknown", "host = \"good.example\"\nverify = true\n");
    let server = setup(&["good", "other", "any", "unknown"], &pools).start();
    let states: Vec<_> = (0..4)
        .map(|at| listed(&server, at)["state"].clone())
        .collect();
    assert_eq!(states, ["up", "down", "up", "down"]);
    for at in [1, 3] {
        let failure = listed(&server, at)["health"][0]["failure"].to_string();
        assert!(
            failure.contains("TLS: invalid peer certificate"),
            "{failure}"
        );
    }
    let missing = pools.replace("server.pem", "missing.pem");
    setup(&["good"], &missing).check_refused(&["pool.check.ca_file", "missing.pem"]);
}

/// By API and command, over a restart, and on the page.
#[test]
fn a_drained_pool_stays_out_until_it_is_restored() {
    let (main, reserve) = (Host::new(UP), Host::new(UP));
    let pools = pool("main", &[&main], &check(""))
        + &pool(
            "reserve",
            &[&reserve],
            &format!("weight = 0\n{}", check("")),
        );
    let server = setup(&["main", "reserve"], &pools).start();
    server.register("sale", "https://example.net/sale");
    come_to_have(&server, &[&main]);
    let command = |server: &Server, args: &[&str]| {
        let said = on(server, &[&["pools"], args].concat());
        (said.code, said.err)
    };
    let (code, said) = command(&server, &["drain", "main"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("main is drained"), "{said}");
    // At once, also from hot answers.
    assert_eq!(addresses(&server, "www.s.example.com"), sorted(&[&reserve]));
    server.log().wait_for("pool drained by an operator");
    let ready = server.api("GET", "/readyz", None);
    assert_eq!(ready.status, 200);
    assert!(
        ready.body.contains("these pools are drained: main"),
        "{}",
        ready.body
    );
    assert_eq!(
        server.metric("tinyns_pool_drained", &[("pool", "main")]),
        1.0
    );

    let server = server.restart();
    // The very first answer.
    assert_eq!(addresses(&server, "www.s.example.com"), sorted(&[&reserve]));
    let drained = listed(&server, 0);
    assert_eq!(
        (&drained["state"], &drained["drained"]["by"]),
        (&"drained".into(), &"admin".into())
    );
    let (code, said) = command(&server, &["drain", "none"]);
    assert!(
        code != Some(0) && said.contains("there is no pool"),
        "{said}"
    );
    assert_eq!(command(&server, &["restore", "main"]).0, Some(0));
    assert_eq!(addresses(&server, "www.s.example.com"), sorted(&[&main]));

    let visitor = Visitor::root(&server);
    let page = visitor.get("/pools");
    for text in [
        ">main<",
        ">up<",
        "links of s.example.com",
        "http on port 8098",
        "Drain",
    ] {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
    assert_eq!(visitor.post("/pools/main/drain", &[]).status, 303);
    assert_eq!(addresses(&server, "www.s.example.com"), sorted(&[&reserve]));
    let page = visitor.get("/pools?drained=main");
    for text in ["is drained. Within two seconds", "Restore", "by admin"] {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
    assert_eq!(visitor.post("/pools/main/restore", &[]).status, 303);
    assert_eq!(visitor.post("/pools/..%2Ftokens/restore", &[]).status, 404);
    assert_eq!(addresses(&server, "www.s.example.com"), sorted(&[&main]));
    assert!(visitor.get("/audit").body.contains("pool restored"));
}
