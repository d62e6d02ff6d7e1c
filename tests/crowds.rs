//! Clients that open more connections than they may have. All other clients are served, on the same listener and on
//! the others.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;
use socket2::{Domain, Socket, Type};

use crate::dynamo::{Emulator, Fate, Gate, Proxy};
use crate::harness::{PATIENCE, Server, Setup, eventually, query};

/// One client, and another.
const CROWD: Ipv4Addr = Ipv4Addr::LOCALHOST;
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// More than any default lets one client have.
const MANY: usize = 300;
const HALF: &[u8] = b"GET / HTTP/1.1\r\nHost: a.s.example.com\r\nX: ";

fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Connections to which something was sent, though not all of them may take it.
fn crowd(
    from: impl Fn(usize) -> Ipv4Addr,
    to: SocketAddr,
    number: usize,
    bytes: &[u8],
) -> Vec<TcpStream> {
    let open = |number| {
        let mut stream = connect(from(number), to);
        let _ = stream.write_all(bytes);
        stream
    };
    (0..number).map(open).collect()
}

/// The status of a reply by HTTP.
fn get(from: Ipv4Addr, to: SocketAddr, path: &str) -> String {
    let mut stream = connect(from, to);
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: a.s.example.com\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn dns_by_tcp(from: Ipv4Addr, server: &Server) {
    let query = query("ns1.s.example.com.", RecordType::A)
        .to_bytes()
        .unwrap();
    let length = u16::try_from(query.len()).unwrap().to_be_bytes();
    let mut stream = connect(from, server.dns);
    stream.write_all(&[&length[..], &query].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    assert!(u16::from_be_bytes(length) > 12);
}

fn closed(server: &Server, part: &str, reason: &str) -> f64 {
    let labels = [("part", part), ("reason", reason)];
    server.metric("tinyns_http_closed_total", &labels)
}

fn open(server: &Server, part: &str) -> f64 {
    server.metric("tinyns_http_connections", &[("part", part)])
}

/// The lines of the log with both texts.
fn lines(server: &Server, text: &str, other: &str) -> Vec<String> {
    let log = server.log().text();
    let found = log
        .lines()
        .filter(|line| line.contains(text) && line.contains(other));
    found.map(str::to_owned).collect()
}

#[test]
fn unfinished_requests_of_one_client_keep_no_other_client_out() {
    let server = Server::start();
    for (listener, part, service, limit) in [
        (server.redirect, "Redirect", "the redirect host", 64.0),
        (server.admin, "Admin", "the admin API", 128.0),
    ] {
        let held = crowd(|_| CROWD, listener, MANY, HALF);
        for from in [OTHER, CROWD] {
            assert_eq!(get(from, server.redirect, "/nothing"), "404");
            assert_eq!(get(from, server.admin, "/healthz"), "200");
            dns_by_tcp(from, &server);
        }
        // The test's own request for the figures is one of them.
        eventually("the others have left", PATIENCE, || {
            open(&server, part) <= limit + 1.0
        });
        let gone =
            ["ClientLimit", "ClientRefused", "Refused"].map(|reason| closed(&server, part, reason));
        assert!(gone.iter().sum::<f64>() >= MANY as f64 - limit, "{gone:?}");
        assert!(gone[0] > 0.0);
        assert_eq!(closed(&server, part, "Limit"), 0.0);
        let logged = lines(&server, "has reached connections_per_client", service);
        assert_eq!(logged.len(), 1, "{logged:?}");
        assert!(
            logged[0].contains("\"network\":\"127.0.0.1/32\""),
            "{logged:?}"
        );
        drop(held);
        eventually("all have left", PATIENCE, || open(&server, part) <= 1.0);
    }
}

/// A request that the server works on is not cut off; the next ones of the client are refused at once.
#[test]
fn requests_in_progress_of_one_client_keep_no_other_client_out() {
    let emulator = Emulator::start();
    let proxy = Proxy::spawn(&emulator);
    let store = format!(
        "kind = \"dynamodb\"\nendpoint_url = \"{}\"\ncreate_table = true\n",
        proxy.url()
    );
    let server = Setup::new()
        .store(&store)
        .section("connections = 40\nconnections_per_client = 10\n")
        .start();
    let gate = Gate::new();
    proxy.on_reads(&Fate::Hold(gate.clone()));
    let request = b"GET / HTTP/1.1\r\nHost: a.s.example.com\r\nConnection: close\r\n\r\n";
    let mut busy = crowd(|_| CROWD, server.redirect, 10, request);
    gate.wait(1);
    let mut refused = crowd(|_| CROWD, server.redirect, 10, b"");
    for stream in &mut refused {
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(closed(&server, "Redirect", "ClientRefused"), 10.0);
    assert_eq!(get(OTHER, server.redirect, "/nothing"), "404");
    gate.open();
    for stream in &mut busy {
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        // Not there, or not known in time.
        assert!(
            reply.starts_with("HTTP/1.1 404 ") || reply.starts_with("HTTP/1.1 503 "),
            "{reply}"
        );
    }
}

/// Where descriptors are few, each part has its own.
#[test]
fn many_http_connections_take_no_descriptors_from_dns_over_tcp() {
    let server = Setup::new().limits("ulimit -n 256").start();
    server.log().wait_for("fewer connections than configured");
    let fewer = |service| lines(&server, "fewer connections than configured", service).len();
    for service in ["DNS over TCP", "the admin API", "the redirect host"] {
        assert_eq!(fewer(service), 1, "{service}");
    }
    // From many addresses, so that no limit of one client is in their way.
    let client = |number: usize| Ipv4Addr::new(127, 0, 1, u8::try_from(number % 50).unwrap());
    let redirect = crowd(client, server.redirect, MANY, HALF);
    let admin = crowd(client, server.admin, MANY, HALF);
    for _ in 0..3 {
        assert_eq!(get(OTHER, server.redirect, "/nothing"), "404");
        assert_eq!(get(OTHER, server.admin, "/healthz"), "200");
        dns_by_tcp(OTHER, &server);
    }
    assert_eq!(
        server
            .ask("ns1.s.example.com.", RecordType::A)
            .answers
            .len(),
        1
    );
    assert!(closed(&server, "Redirect", "Limit") > 0.0);
    assert!(closed(&server, "Admin", "Limit") > 0.0);
    let open: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .unwrap()
        .collect();
    assert!(open.len() < 256, "{}", open.len());
    assert!(lines(&server, "cannot accept connections", "").is_empty());
    for service in ["the admin API", "the redirect host"] {
        assert_eq!(
            lines(&server, "all connections are taken", service).len(),
            1
        );
    }
    drop((redirect, admin));
}

/// The HTTP/2 library would log a line for each frame that answers a PING which was never sent.
#[test]
fn frames_of_a_client_do_not_fill_the_log() {
    const ANSWER_TO_PING: &[u8] = b"\0\0\x08\x06\x01\0\0\0\0unasked!";
    const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0the last";
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    let server = Server::start();
    let mut stream = connect(CROWD, server.redirect);
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SETTINGS].concat();
    let sent = [&preface[..], &ANSWER_TO_PING.repeat(500), PING].concat();
    stream.write_all(&sent).unwrap();
    // Once the last one is answered, all those before it were read.
    let mut read = Vec::new();
    while !read.windows(8).any(|bytes: &[u8]| bytes == b"the last") {
        let mut buffer = [0; 512];
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "the connection is closed");
        read.extend(&buffer[..length]);
    }
    assert_eq!(get(OTHER, server.redirect, "/nothing"), "404");
    let logged = lines(&server, "PING", "");
    assert!(logged.is_empty(), "{} lines", logged.len());
}
