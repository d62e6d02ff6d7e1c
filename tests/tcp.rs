//! TCP as resolvers and attackers use it (RFC 7766, RFC 9210): raw sockets against the real program.
//!
//! Most of this has unit tests, too, over a pipe in memory and with simulated time (`src/dns/transport/tcp/tests`).
//! These tests need sockets, a process and other programs.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};

use crate::dynamo::{Emulator, Fate, Gate, Proxy};
use crate::harness::{PATIENCE, Server, Setup, eventually, http, parse, query, run};

const STATIC: &str = "ns1.s.example.com.";

/// A query by TCP with this id: its length and the message.
fn framed(id: u16, name: &str) -> Vec<u8> {
    let mut message = query(name, RecordType::A);
    message.metadata.id = id;
    let message = message.to_bytes().unwrap();
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    [&length[..], &message].concat()
}

/// A connection to a server.
struct Connection(TcpStream);

impl Connection {
    fn to(server: &Server) -> Self {
        let stream = TcpStream::connect(server.dns).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The id and rcode of the next reply; none at the end of the connection.
    fn next_reply(&mut self) -> Option<(u16, ResponseCode)> {
        let mut length = [0; 2];
        match self.0.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if is_end(&error) => return None,
            Err(error) => panic!("{error}"),
        }
        let mut reply = vec![0; u16::from_be_bytes(length).into()];
        self.0.read_exact(&mut reply).unwrap();
        let reply = parse(&reply);
        Some((reply.metadata.id, reply.metadata.response_code))
    }

    fn expect_reply(&mut self, id: u16) {
        assert_eq!(self.next_reply(), Some((id, ResponseCode::NoError)));
    }

    /// Whether the server still serves it.
    fn is_served(&mut self) -> bool {
        let asked = self.0.write_all(&framed(7, STATIC)).is_ok();
        asked && self.next_reply().is_some()
    }
}

/// Whether a connection has ended, one way or the other.
fn is_end(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

fn closed(server: &Server, reason: &str) -> f64 {
    server.metric("tinyns_dns_tcp_closed_total", &[("reason", reason)])
}

fn open(server: &Server) -> f64 {
    server.metric("tinyns_dns_tcp_connections", &[])
}

/// Waits until so many were closed for a reason, which is counted a moment after the client sees it.
fn has_closed(server: &Server, reason: &str, number: f64) {
    let what = format!("{number} closed for {reason}");
    eventually(&what, PATIENCE, || closed(server, reason) == number);
}

fn has_open(server: &Server, number: f64) {
    let what = format!("{number} are open");
    eventually(&what, PATIENCE, || open(server) == number);
}

fn limited(lines: &str) -> Setup {
    Setup::new().section(&format!("[dns.tcp]\n{lines}"))
}

/// A server with its links in a table that waits on command.
fn slow() -> (Emulator, Proxy, Server) {
    let emulator = Emulator::start();
    let proxy = Proxy::spawn(&emulator);
    let url = proxy.url();
    let store = format!("kind = \"dynamodb\"\nendpoint_url = \"{url}\"\ncreate_table = true\n");
    let server = Setup::new().store(&store).start();
    emulator.insert("here.s.example.com", "https://example.net/");
    (emulator, proxy, server)
}

const LINK: &str = "here.s.example.com.";

#[test]
fn rfc7766_7_a_query_that_waits_delays_no_other() {
    let (_emulator, proxy, server) = slow();
    let gate = Gate::new();
    proxy.on_reads(&Fate::Hold(gate.clone()));
    let mut connection = Connection::to(&server);
    connection.send(&[framed(1, LINK), framed(2, STATIC)].concat());
    connection.expect_reply(2);
    gate.wait(1);
    connection.send(&framed(3, STATIC));
    connection.expect_reply(3);
    gate.open();
    connection.expect_reply(1);
}

#[test]
fn rfc7766_8_messages_in_any_pieces() {
    let server = Server::start();
    let mut connection = Connection::to(&server);
    for byte in framed(1, STATIC) {
        connection.send(&[byte]);
    }
    connection.expect_reply(1);
    let many: Vec<_> = (0..1_000).map(|id| framed(id, STATIC)).collect();
    connection.send(&many.concat());
    for id in 0..1_000 {
        connection.expect_reply(id);
    }
}

#[test]
fn rfc7766_6_2_4_a_half_closed_connection_is_answered() {
    let (_emulator, proxy, server) = slow();
    proxy.on_reads(&Fate::Delay(Duration::from_millis(300)));
    let mut connection = Connection::to(&server);
    connection.send(&[framed(1, LINK), framed(2, STATIC)].concat());
    connection.0.shutdown(Shutdown::Write).unwrap();
    connection.expect_reply(2);
    connection.expect_reply(1);
    assert_eq!(connection.next_reply(), None);
}

#[test]
fn a_message_that_is_no_query_closes_the_connection() {
    let server = Server::start();
    let mut reply = framed(9, STATIC);
    reply[4] |= 0x80;
    let bad = [
        vec![0, 0],
        vec![0, 11, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0],
        reply,
        b"\0\x0AGET / HTTP/1.1\r\n\r\n".to_vec(),
    ];
    for bad in bad {
        let mut connection = Connection::to(&server);
        connection.send(&[framed(1, STATIC), bad, framed(2, STATIC)].concat());
        connection.expect_reply(1);
        assert_eq!(connection.next_reply(), None);
    }
    eventually("they are counted", PATIENCE, || {
        closed(&server, "NotAQuery") == 4.0
    });
    assert_eq!(
        server.metric("tinyns_dns_dropped_total", &[("reason", "NotAQuery")]),
        4.0
    );
}

/// If a socket is closed while it has unread data, the system resets the connection, and replies that are not yet
/// sent are lost.
#[test]
fn a_stop_loses_no_reply_in_progress() {
    let server = Server::start();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // Much less than the replies, and less than the server's buffer holds.
    socket.set_recv_buffer_size(2_048).unwrap();
    socket.connect(&server.dns.into()).unwrap();
    let mut connection = Connection(socket.into());
    connection.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut all: Vec<_> = (0..400).flat_map(|id| framed(id, STATIC)).collect();
    all.extend([0, 0]);
    // More than is read at once.
    all.resize(all.len() + (40 << 10), 0);
    connection.send(&all);
    for id in 0..400 {
        connection.expect_reply(id);
    }
    assert_eq!(connection.next_reply(), None);
}

/// RFC 7766 §6.2.3, and the rule for messages that never end. Neither is cut off before its time, which the
/// tests beside the code measure.
#[test]
fn rfc7766_6_2_3_idle_and_slow_connections_are_closed() {
    let server = limited("idle = 1\n").start();
    let mut idle = Connection::to(&server);
    let mut slow = Connection::to(&server);
    slow.send(&framed(1, STATIC)[..20]);
    assert_eq!(idle.next_reply(), None);
    has_closed(&server, "Idle", 1.0);
    assert_eq!(slow.next_reply(), None);
    has_closed(&server, "SlowMessage", 1.0);
    has_open(&server, 0.0);
}

#[test]
fn clients_that_do_not_read_are_disconnected() {
    let server = Server::start();
    let mut deaf = TcpStream::connect(server.dns).unwrap();
    deaf.set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let many: Vec<_> = (0..1_000).map(|id| framed(id, STATIC)).collect();
    let many = many.concat();
    let mut sent = 0;
    // Until the system has no more room, on both sides: some megabytes. A program that read on would take
    // all of it.
    while let Ok(length) = deaf.write(&many) {
        sent += length;
        assert!(sent < 256 << 20, "there is no end");
    }
    assert!(Connection::to(&server).is_served());
    eventually("it is cut off", PATIENCE + PATIENCE, || {
        closed(&server, "SlowReader") == 1.0
    });
    assert!(Connection::to(&server).is_served());
}

#[test]
fn rfc9210_4_2_the_longest_idle_connection_is_closed_for_a_new_one() {
    let server = limited("connections = 4\n").start();
    let mut first: Vec<_> = (0..4).map(|_| Connection::to(&server)).collect();
    for (id, connection) in (0..).zip(&mut first) {
        connection.send(&framed(id, STATIC));
        connection.expect_reply(id);
        sleep(Duration::from_millis(20));
    }
    // The first of them is no longer the one that was idle longest.
    assert!(first[0].is_served());
    sleep(Duration::from_millis(20));
    let mut new = Connection::to(&server);
    assert!(new.is_served());
    assert_eq!(first[1].next_reply(), None);
    for number in [0, 2, 3] {
        assert!(first[number].is_served(), "{number}");
    }
    has_closed(&server, "Limit", 1.0);
    has_open(&server, 4.0);
    assert_eq!(server.metric("tinyns_dns_tcp_accepted_total", &[]), 5.0);
}

#[test]
fn rfc9210_4_2_the_connections_of_a_client_are_limited() {
    let server = limited("connections_per_client = 2\n").start();
    let connect_from = |address: [u8; 4]| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let own = SocketAddr::from((Ipv4Addr::from(address), 0));
        socket.bind(&own.into()).unwrap();
        socket.connect(&server.dns.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Connection(stream)
    };
    let mut other = connect_from([127, 0, 0, 2]);
    assert!(other.is_served());
    let mut own: Vec<_> = (0..5)
        .map(|_| {
            sleep(Duration::from_millis(20));
            let mut connection = connect_from([127, 0, 0, 1]);
            assert!(connection.is_served());
            connection
        })
        .collect();
    for connection in &mut own[..3] {
        assert_eq!(connection.next_reply(), None);
    }
    for connection in own[3..].iter_mut().chain([&mut other]) {
        assert!(connection.is_served());
    }
    has_closed(&server, "ClientLimit", 3.0);
}

#[test]
fn without_an_idle_connection_a_new_one_is_refused() {
    let (emulator, proxy, server) = slow();
    drop(server);
    let url = proxy.url();
    let store = format!("kind = \"dynamodb\"\nendpoint_url = \"{url}\"\n");
    let server = limited("connections = 2\n").store(&store).start();
    let gate = Gate::new();
    proxy.on_reads(&Fate::Hold(gate.clone()));
    let mut busy: Vec<_> = (0..2).map(|_| Connection::to(&server)).collect();
    for connection in &mut busy {
        connection.send(&framed(1, LINK));
    }
    gate.wait(1);
    // They wait for one look-up; until the second has been read as well, it is at rest, and would leave.
    sleep(Duration::from_millis(300));
    eventually("both are at work", PATIENCE, || {
        let mut new = Connection::to(&server);
        !new.is_served()
    });
    let refused = closed(&server, "Refused");
    assert!(refused >= 1.0);
    gate.open();
    for connection in &mut busy {
        connection.expect_reply(1);
    }
    assert!(Connection::to(&server).is_served());
    drop(emulator);
}

/// Thousands of idle and slow connections take little memory and nothing from UDP.
#[test]
fn thousands_of_connections_do_not_harm_udp() {
    const CROWD: usize = 2_000;
    raise_descriptors();
    let lines = "connections = 4000\nconnections_per_client = 4000\nidle = 600\n";
    let server = limited(lines).start();
    assert!(Connection::to(&server).is_served());
    let before = server.resident();
    let mut crowd: Vec<_> = (0..CROWD).map(|_| Connection::to(&server)).collect();
    for connection in &mut crowd {
        assert!(connection.is_served());
    }
    let grown = server.resident().saturating_sub(before);
    eprintln!(
        "{} bytes for each of {CROWD} idle connections",
        grown / CROWD as u64
    );
    assert!(grown < CROWD as u64 * 16_384, "{grown} bytes");
    assert!(open(&server) >= CROWD as f64);
    // Half of them begin a message; and each goes on for a byte a round.
    let message = framed(1, STATIC);
    for byte in &message[..10] {
        for connection in &mut crowd[..CROWD / 2] {
            // Those that were cut off in the meantime do not take it.
            let _ = connection.0.write_all(&[*byte]);
        }
        for _ in 0..100 {
            assert_eq!(server.ask(STATIC, RecordType::A).answers.len(), 1);
        }
    }
    // Those that have said nothing meanwhile are still there, and the slow ones do not stay.
    for connection in &mut crowd[CROWD / 2..] {
        assert!(connection.is_served());
    }
    let slow = (CROWD / 2) as f64;
    eventually("the slow ones are closed", PATIENCE, || {
        closed(&server, "SlowMessage") == slow
    });
    assert_eq!(server.metric("tinyns_dns_dropped_total", &[]), 0.0);
}

/// As many descriptors for this process as it may have.
fn raise_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// accept(2): EMFILE leaves the connection in the queue.
#[test]
fn without_descriptors_the_listener_keeps_running_without_a_busy_loop() {
    let server = Server::start();
    let mut early: Vec<_> = (0..5).map(|_| Connection::to(&server)).collect();
    for connection in &mut early {
        assert!(connection.is_served());
    }
    let descriptors = |soft: &str| {
        let limit = format!("--nofile={soft}:");
        run("prlimit", &["--pid", &server.pid().to_string(), &limit]);
    };
    // Fewer than it has open.
    descriptors("8");
    let mut late = Connection::to(&server);
    let _browser = TcpStream::connect(server.redirect).unwrap();
    for service in ["DNS over TCP", "the redirect host"] {
        let said = || said(&server, "cannot accept connections", service);
        eventually("it is said", PATIENCE, || said() == 1);
    }
    // Time that its process spends, in ticks of 10 ms: a loop that spins takes all there is.
    let spent = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = spent();
    for _ in 0..20 {
        assert_eq!(server.ask(STATIC, RecordType::A).answers.len(), 1);
        sleep(Duration::from_millis(100));
    }
    let spent = spent() - before;
    assert!(spent < 100, "{spent} ticks in 200");
    descriptors("4096");
    assert!(late.is_served());
    assert!(Connection::to(&server).is_served());
    let url = format!("http://{}/", server.redirect);
    assert_eq!(http("GET", &url, &[], None).status, 421);
    assert!(server.metric("tinyns_dns_tcp_accept_errors_total", &[]) >= 1.0);
    assert!(closed(&server, "Descriptors") >= 1.0);
    for service in ["DNS over TCP", "the redirect host"] {
        let said = |text| said(&server, text, service);
        eventually("it is over", PATIENCE, || {
            said("connections are accepted again") == 1
        });
        assert_eq!(said("cannot accept connections"), 1);
    }
}

/// How many lines of the log have this message about a service.
fn said(server: &Server, text: &str, service: &str) -> usize {
    let service = format!("\"service\":\"{service}\"");
    let log = server.log().text();
    let lines = log.lines();
    lines
        .filter(|line| line.contains(text) && line.contains(&service))
        .count()
}

#[test]
fn a_low_soft_limit_on_open_files_is_raised() {
    let server = Setup::new().limits("ulimit -S -n 100").start();
    let mut crowd: Vec<_> = (0..64).map(|_| Connection::to(&server)).collect();
    for connection in &mut crowd {
        assert!(connection.is_served());
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = files.unwrap().split_whitespace().nth(3).unwrap();
    assert!(soft.parse::<u64>().unwrap() >= 2_048, "{soft}");
    assert!(!server.log().text().contains("fewer connections"));
}

#[test]
fn a_stop_answers_queries_in_progress_and_a_start_does_not_wait_for_old_connections() {
    let (_emulator, proxy, mut server) = slow();
    let gate = Gate::new();
    proxy.on_reads(&Fate::Hold(gate.clone()));
    let mut busy = Connection::to(&server);
    let mut idle = Connection::to(&server);
    assert!(idle.is_served());
    busy.send(&framed(1, LINK));
    gate.wait(1);
    server.signal(Signal::SIGTERM);
    assert_eq!(idle.next_reply(), None);
    // The listener is closed before, so a new client is refused at once.
    eventually("nobody is let in", PATIENCE, || {
        TcpStream::connect(server.dns).is_err()
    });
    gate.open();
    busy.expect_reply(1);
    assert_eq!(busy.next_reply(), None);
    assert!(server.stop_began().success());
    assert!(!server.log().text().contains("unanswered"));

    // Both ends of `idle` were closed by the server first: its port is in TIME_WAIT.
    let port = server.dns.port();
    drop((busy, idle));
    let again = Setup::new()
        .listen(&format!("[\"127.0.0.1:{port}\"]"))
        .start();
    assert!(Connection::to(&again).is_served());
}

#[test]
fn a_client_that_does_not_read_does_not_delay_a_stop() {
    let mut server = Server::start();
    let mut deaf = TcpStream::connect(server.dns).unwrap();
    deaf.set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let many: Vec<_> = (0..1_000).map(|id| framed(id, STATIC)).collect();
    while deaf.write(&many.concat()).is_ok() {}
    let begin = Instant::now();
    assert!(server.stop().success());
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
}

/// RFC 7766 §6.2.1: several queries by one connection, as the usual programs do it.
#[test]
fn rfc7766_6_2_1_programs_use_one_connection_for_several_queries() {
    let server = Server::start();
    server.register("abc", "https://example.net/abc");
    let (at, port) = (
        format!("@{}", server.dns.ip()),
        server.dns.port().to_string(),
    );
    let names = [
        "abc.s.example.com",
        "ns1.s.example.com",
        "none.s.example.com",
    ];
    let accepted = || server.metric("tinyns_dns_tcp_accepted_total", &[]);
    for (program, args) in [
        ("dig", vec!["+tcp", "+keepopen"]),
        ("kdig", vec!["+tcp", "+keepopen"]),
    ] {
        let before = accepted();
        let mut args = [vec![&*at, "-p", &port], args].concat();
        args.extend(names);
        let text = run(program, &args);
        assert_eq!(accepted() - before, 1.0, "{program}");
        assert_eq!(
            text.matches("status: NOERROR").count(),
            2,
            "{program}: {text}"
        );
        assert_eq!(
            text.matches("status: NXDOMAIN").count(),
            1,
            "{program}: {text}"
        );
    }
    let text = run(
        "drill",
        &["-t", "-p", &port, &at, "abc.s.example.com", "TXT"],
    );
    assert!(text.contains("https://example.net/abc"), "{text}");
    eventually("all are closed", PATIENCE, || open(&server) == 0.0);
    has_closed(&server, "Client", accepted());
}
