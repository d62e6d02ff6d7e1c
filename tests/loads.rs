//! Loads of known size, by dnsperf and h2load over all transports, which two servers of one database count exactly while their
//! Redis dies.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clicks::{COUNTRIES, FIREFOX, load};
use crate::harness::{Server, Setup, eventually, output, parse, plain_query, query};
use crate::postgres::Postgres;
use crate::redis::{RedisServer, make_certificates_for};
use crate::{https, tls};

const LINKS: u64 = 20;
/// How long it may take until all counts are in the store.
const FLUSHED: Duration = Duration::from_secs(60);
/// Longer than the time between two flushes.
const ONE_MORE_FLUSH: Duration = Duration::from_secs(7);

/// A server, and where it listens for DNS over TLS and for HTTPS.
struct Node {
    server: Server,
    dot: SocketAddr,
    https: SocketAddr,
}

impl Node {
    fn start(postgres: &Postgres, redis: &RedisServer, certificates: &Path) -> Self {
        let url = postgres.url();
        let server = Setup::new()
            .store(&format!("kind = \"postgresql\"\nurl = \"{url}\"\n"))
            .section(&format!("[redis]\nurl = \"{}\"\n", redis.url()))
            .section(&tls::section(certificates))
            .section(&https::section(certificates))
            .section(&format!(
                "[statistics]\ncountry_database = \"{COUNTRIES}loopback.mmdb\"\n"
            ))
            .start();
        let address = |what: &str| {
            let line: Value = serde_json::from_str(&server.log().wait_for(what)).unwrap();
            line["address"].as_str().unwrap().parse().unwrap()
        };
        Self {
            dot: address("\"DNS over TLS\""),
            https: address("\"redirect host by HTTPS\""),
            server,
        }
    }
}

/// The queries of one run: four kinds for each link, in both cases of letters, and names that have no link.
fn queries() -> String {
    let of_link = |link: u64| {
        format!(
            "n{link}.s.example.com TXT\nN{link}.S.Example.COM A\nn{link}.r.s.example.com AAAA\n\
             n{link}.s.example.com URI\nn{link}.s.example.com MX\n\
             x.n{link}.s.example.com TXT\nabsent{link}.s.example.com A\n*.s.example.com TXT\n"
        )
    };
    (0..LINKS).map(of_link).collect()
}
const FOUND: u64 = 5;
const NOT_FOUND: u64 = 3;

/// Sends the queries so many times with dnsperf, and checks that each has got its reply.
fn ask(address: SocketAddr, mode: &str, file: &Path, runs: u64) {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let (runs_text, file) = (runs.to_string(), file.display().to_string());
    let arguments = [
        "-s", &host, "-p", &port, "-m", mode, "-d", &file, "-n", &runs_text, "-c", "2", "-q", "20",
        "-t", "30", "-W",
    ];
    let done = output("dnsperf", &arguments);
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let [found, not_found] = [FOUND, NOT_FOUND].map(|each| each * LINKS * runs);
    let sent = found + not_found;
    for (what, number) in [
        ("Queries sent: ", sent),
        ("Queries completed: ", sent),
        ("NOERROR ", found),
        ("NXDOMAIN ", not_found),
    ] {
        let is_there = text.lines().any(|line| {
            let rest = line.split_once(what).map(|(_, rest)| rest.trim_start());
            rest.and_then(|rest| rest.split(' ').next()) == Some(&number.to_string())
        });
        assert!(is_there, "{mode}: {what}{number}\n{text}");
    }
}

fn code(link: u64) -> String {
    format!("n{link}")
}

/// What the API says of a link, without the units of time.
fn stored(server: &Server, code: &str) -> Value {
    let reply = server.api("GET", &format!("/v1/links/{code}/stats?by=month"), None);
    assert_eq!(reply.status, 200, "{reply:?}");
    let mut json = reply.json();
    let all = json.as_object_mut().unwrap();
    all.retain(|key, _| !["series", "from", "to", "by", "zone"].contains(&&**key));
    json
}

#[test]
fn loads_of_known_size_are_counted_exactly() {
    let (postgres, mut redis) = (Postgres::start(), RedisServer::start());
    let dir = tempfile::tempdir().unwrap();
    make_certificates_for(dir.path(), https::NAMES);
    let nodes = [(); 2].map(|()| Node::start(&postgres, &redis, dir.path()));
    for link in 0..LINKS {
        let url = format!("https://example.net/{link}");
        nodes[0].server.register(&code(link), &url);
    }
    let file = dir.path().join("queries");
    fs::write(&file, queries()).unwrap();
    std::thread::scope(|scope| {
        for node in &nodes {
            let file = &file;
            scope.spawn(move || {
                ask(node.server.dns, "udp", file, 20);
                ask(node.server.dns, "tcp", file, 20);
                ask(node.dot, "dot", file, 20);
            });
            scope.spawn(move || {
                let person = format!("user-agent: {FIREFOX}");
                let from = "referer: https://news.example:8443/a?b";
                let host = "n0.s.example.com";
                let redirect = node.server.redirect;
                let h1 = ["--h1", "-c", "4", "-H", &person];
                load(("http", host), redirect, 2_000, &h1);
                load(
                    ("http", host),
                    redirect,
                    1_000,
                    &["-c", "2", "-m", "10", "-H", &person],
                );
                let h1 = ["--h1", "-c", "2", "-H", &person, "-H", from];
                load(("https", host), node.https, 500, &h1);
                let h2 = ["-c", "2", "-m", "10", "-H", &person, "-H", from];
                load(("https", host), node.https, 700, &h2);
                let bot = [
                    "-c",
                    "2",
                    "-H",
                    "user-agent: Go-http-client/2.0",
                    "-H",
                    from,
                ];
                load(("https", host), node.https, 300, &bot);
            });
        }
        // In the middle.
        std::thread::sleep(Duration::from_millis(300));
        redis.kill();
    });
    let each = 2 * 3 * 20;
    let expected = |link: u64| {
        let of = |count: u64| if link == 0 { 2 * count } else { 0 };
        let person = of(2_000 + 1_000 + 500 + 700);
        let some = |list: Value| if link == 0 { list } else { json!([]) };
        json!({
            "code": code(link),
            "lookups": {"all": 5 * each, "address": 2 * each, "txt": each, "uri": each, "other": each},
            "clicks": {"person": person, "bot": of(300), "preview": 0, "head": 0, "prefetch": 0},
            "all_time": {"lookups": 5 * each, "clicks": person},
            "referrers": some(json!([{"host": "news.example", "clicks": of(1_200)}])),
            "other_referrers": 0,
            "countries": some(json!([{"country": "NZ", "clicks": person}])),
        })
    };
    let are_equal =
        |server: &Server| (0..LINKS).all(|link| stored(server, &code(link)) == expected(link));
    eventually("everything is counted", FLUSHED, || {
        nodes.iter().all(|node| are_equal(&node.server))
    });
    std::thread::sleep(ONE_MORE_FLUSH);
    for link in 0..LINKS {
        assert_eq!(stored(&nodes[1].server, &code(link)), expected(link));
    }
    let names =
        postgres.psql("SELECT count(DISTINCT code) FROM tinyns.statistics WHERE code <> ''");
    assert_eq!(names, LINKS.to_string(), "names without links have no rows");
}

/// Sends a request as it is, and returns the status of the response.
fn status_of(server: &Server, request: &str) -> u16 {
    let mut stream = TcpStream::connect(server.redirect).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let status = response.split(' ').nth(1).unwrap();
    status.parse().unwrap()
}

/// Requests of a person that do and do not lead to the destination of a link, with headers that clients make up.
fn send_requests(server: &Server) {
    let check = |first: &str, host: &str, more: &str, status: u16| {
        let request =
            format!("{first}\r\n{host}User-Agent: {FIREFOX}\r\nConnection: close\r\n{more}\r\n");
        assert_eq!(status_of(server, &request), status, "{request}");
    };
    let (get, host) = ("GET / HTTP/1.1", "Host: a.s.example.com\r\n");
    let long = "x".repeat(10_000);
    // These are clicks: 9 of persons, 1 of a robot, 1 HEAD, 2 prefetched.
    check(get, host, "", 302);
    check("GET / HTTP/1.0", host, "", 302);
    check(
        "GET http://A.r.s.example.com./?a=b HTTP/1.1",
        "Host: x\r\n",
        "",
        302,
    );
    check(
        get,
        host,
        &format!("Referer: https://long.example/{long}\r\n"),
        302,
    );
    check(
        get,
        host,
        "Referer: https://user:password@a.example/\r\n",
        302,
    );
    check(
        get,
        host,
        "Referer: https://b.example.:8443/\r\nReferer: https://c.example/\r\n",
        302,
    );
    check(get, host, "Referer: http://[2001:DB8::1]:80/\r\n", 302);
    check(get, host, "Referer: https://b\u{fc}cher.example/\r\n", 302);
    check(get, host, "Referer: https://=1+1.example/\r\n", 302);
    check(get, host, "Sec-Purpose: prefetch;prerender\r\n", 302);
    check(
        get,
        host,
        "Sec-Purpose: x\r\nSec-Purpose: prefetch\r\n",
        302,
    );
    check("HEAD / HTTP/1.1", host, "", 302);
    let robot = format!("{get}\r\n{host}User-Agent: curl/8 {long}\r\nConnection: close\r\n\r\n");
    assert_eq!(status_of(server, &robot), 302);
    // These are not.
    for (first, status) in [
        ("OPTIONS / HTTP/1.1", 405),
        ("GET /x HTTP/1.1", 404),
        ("GET /+ HTTP/1.1", 200),
    ] {
        check(first, host, "", status);
    }
    check("GET / HTTP/1.1", "", "", 400);
    check(get, &format!("{host}Host: b.s.example.com\r\n"), "", 400);
    for (host, status) in [
        ("x.a.s.example.com", 404),
        ("held.s.example.com", 403),
        ("absent.s.example.com", 404),
        ("*.s.example.com", 400),
        ("s.example.com", 200),
    ] {
        check(get, &format!("Host: {host}\r\n"), "", status);
    }
}

/// Neither random names nor names beside links get rows, and requests with unusual headers count as documented.
#[test]
fn what_is_no_use_of_a_link_has_no_row() {
    let postgres = Postgres::start();
    let server = Setup::new()
        .store(&format!(
            "kind = \"postgresql\"\nurl = \"{}\"\n",
            postgres.url()
        ))
        .section("[rate_limit]\nresponses_per_second = 0\nnxdomains_per_second = 1\n")
        .start();
    for code in ["a", "gone", "again"] {
        server.register(code, "https://example.net/");
    }
    let end = OffsetDateTime::now_utc() + Duration::from_secs(3);
    let end_text = end.format(&Rfc3339).unwrap();
    server
        .add_with(&json!({"url": "https://example.net/", "code": "ended", "expires_at": end_text}));
    server.add_with(&json!({"url": "https://example.net/", "code": "held",
                            "withheld": {"kind": "abuse", "reason": "Phishing"}}));
    for _ in 0..3 {
        server.ask("again.s.example.com", RecordType::TXT);
        server.ask("gone.s.example.com", RecordType::TXT);
    }
    send_requests(&server);
    eventually("clicks are in the store", FLUSHED, || {
        stored(&server, "a")["clicks"]["person"] == 9
            && stored(&server, "again")["lookups"]["all"] == 3
    });
    // A new link of the same code begins with sums of its own.
    for code in ["gone", "again"] {
        assert_eq!(server.remove(code).status, 204);
    }
    server.register("again", "https://example.net/");
    server.ask("again.s.example.com", RecordType::A);
    let mut random = fastrand::Rng::with_seed(17);
    let mut invented = || {
        let letters =
            (0..random.usize(1..30)).map(|_| random.choice(b"aZ0-_*").map(|b| char::from(*b)));
        let label: String = letters.flatten().collect();
        let below = ["", ".a", ".r", ".a.r", ".held", ".www"][random.usize(..6)];
        format!("z{label}z{below}.s.example.com")
    };
    for number in 0..3_000 {
        let name = invented();
        let qtype = [RecordType::TXT, RecordType::A, RecordType::ANY][number % 3];
        // Most replies fall to the rate limit.
        server.udp_within(
            &query(&name.replace('*', "x"), qtype).to_bytes().unwrap(),
            Duration::from_millis(1),
        );
        if number % 20 == 0 {
            let request = format!(
                "GET / HTTP/1.1\r\nHost: {name}\r\nUser-Agent: {FIREFOX}\r\nConnection: close\r\n\r\n"
            );
            // A host with an asterisk is malformed.
            let status = if name.contains('*') { 400 } else { 404 };
            assert_eq!(status_of(&server, &request), status, "{name}");
        }
    }
    while OffsetDateTime::now_utc() <= end {
        std::thread::sleep(Duration::from_millis(50));
    }
    for (name, qtype) in [
        ("ended.s.example.com", RecordType::TXT),
        ("ended.r.s.example.com", RecordType::A),
        ("held.s.example.com", RecordType::TXT),
        ("held.s.example.com", RecordType::A),
        ("gone.s.example.com", RecordType::A),
        ("www.s.example.com", RecordType::A),
        ("*.r.s.example.com", RecordType::A),
    ] {
        server.udp_within(
            &query(name, qtype).to_bytes().unwrap(),
            Duration::from_millis(100),
        );
    }
    let request = format!(
        "GET / HTTP/1.1\r\nHost: ended.s.example.com\r\nUser-Agent: {FIREFOX}\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(status_of(&server, &request), 410);
    let again = || stored(&server, "again")["lookups"].clone();
    eventually("the new link is counted", FLUSHED, || again()["all"] != 0);
    std::thread::sleep(ONE_MORE_FLUSH);
    assert_eq!(again()["all"], 1);
    assert_eq!(again()["address"], 1);
    let a = stored(&server, "a");
    assert_eq!(
        a["clicks"],
        json!({"person": 9, "bot": 1, "preview": 0, "head": 1, "prefetch": 2})
    );
    let hosts = [
        "2001:db8::1",
        "b.example",
        "long.example",
        "xn--bcher-kva.example",
    ];
    let hosts = hosts.map(|host| json!({"host": host, "clicks": 1}));
    assert_eq!(a["referrers"], json!(hosts));
    let rows = "SELECT string_agg(DISTINCT code, ' ' ORDER BY code) FROM tinyns.statistics WHERE code <> ''";
    assert_eq!(postgres.psql(rows), "a again");
}

/// A client that gets a truncated reply asks again by TCP, which counts once, whatever has truncated the reply.
#[test]
fn what_is_asked_again_by_tcp_counts_once() {
    const TIMES: u64 = 20;
    let server = Setup::new()
        .section("[rate_limit]\nresponses_per_second = 1\nburst = 1\nslip = 1\n")
        .start();
    server.register(
        "long",
        &format!("https://example.net/{}", "x".repeat(1_500)),
    );
    server.register("short", "https://example.net/");
    let ask = |packet: &[u8]| {
        let by_udp = parse(&server.udp(packet));
        let is_cut = by_udp.metadata.truncation;
        if is_cut {
            assert!(by_udp.answers.is_empty(), "{by_udp:?}");
            let by_tcp = parse(&server.tcp(packet));
            assert!(!by_tcp.metadata.truncation && !by_tcp.answers.is_empty());
        }
        is_cut
    };
    for _ in 0..TIMES {
        for query in [query, plain_query] {
            let packet = query("long.s.example.com", RecordType::TXT).to_bytes();
            assert!(ask(&packet.unwrap()));
        }
    }
    // The rate limit truncates most replies, and the others have come whole.
    let packet = query("short.s.example.com", RecordType::TXT).to_bytes();
    let cut = (0..TIMES).filter(|_| ask(packet.as_ref().unwrap())).count();
    assert!(cut > 0);
    // A truncated reply alone does not count.
    for _ in 0..TIMES {
        server.udp(
            &plain_query("long.s.example.com", RecordType::TXT)
                .to_bytes()
                .unwrap(),
        );
    }
    let lookups = |code: &str| stored(&server, code)["lookups"].clone();
    let expected =
        |times: u64| json!({"all": times, "address": 0, "txt": times, "uri": 0, "other": 0});
    let are_equal =
        || [lookups("long"), lookups("short")] == [expected(2 * TIMES), expected(TIMES)];
    eventually("everything is counted", FLUSHED, are_equal);
    std::thread::sleep(ONE_MORE_FLUSH);
    assert!(are_equal(), "{} {}", lookups("long"), lookups("short"));
}
