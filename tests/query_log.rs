//! The query log: what was sent is found in it by the programs that people read it with, and whatever
//! befalls the file or the collector, queries are answered and the log can be read.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;
use nix::sys::signal::{Signal, kill};
use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::harness::{PATIENCE, Process, Server, Setup, eventually, query, run, wait};

const NAME: &str = "ns1.s.example.com.";
/// The control frame that ends a stream.
const STOP: &[u8] = b"\0\0\0\0\0\0\0\x04\0\0\0\x03";
/// The one that begins it.
const START: &[u8] = b"\0\0\0\0\0\0\0\x22\0\0\0\x02\0\0\0\x01\0\0\0\x16protobuf:dnstap.Dnstap";

/// A server that logs to a file, with further lines of the section.
fn logging(setup: Setup, lines: &str) -> (Server, PathBuf, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("q.dnstap");
    let section = format!("[query_log]\nfile = \"{}\"\n{lines}\n", path.display());
    (setup.section(&section).start(), path, dir)
}

/// Sends a packet and returns the port that it came from, and the reply.
fn ask(to: SocketAddr, packet: &[u8]) -> (u16, Vec<u8>) {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(packet).unwrap();
    let mut reply = vec![0; 65_535];
    let len = socket.recv(&mut reply).expect("no reply");
    reply.truncate(len);
    (socket.local_addr().unwrap().port(), reply)
}

fn packet() -> Vec<u8> {
    query(NAME, RecordType::A).to_bytes().unwrap()
}

/// A query with as much padding as a packet takes (RFC 7830).
fn large_packet() -> Vec<u8> {
    const LEN: usize = 4_000;
    let mut packet = packet();
    let padding = LEN - packet.len() - 4;
    // The OPT record is the last thing in it, and has no options yet.
    let rdata_len = packet.len() - 2;
    packet[rdata_len..].copy_from_slice(&u16::try_from(padding + 4).unwrap().to_be_bytes());
    packet.extend([0, 12]);
    packet.extend(u16::try_from(padding).unwrap().to_be_bytes());
    packet.resize(LEN, 0);
    packet
}

/// Waits until so many queries are in the log of a server.
fn has_logged(server: &Server, queries: u32) {
    eventually("the queries are logged", PATIENCE, || {
        server.metric("tinyns_query_log_queries_total", &[]) == f64::from(queries)
    });
}

fn dropped(server: &Server) -> f64 {
    server.metric("tinyns_query_log_dropped_total", &[])
}

/// A message as `dnstap-read` shows it: its fields, the first of each name.
type Shown = HashMap<String, String>;

fn read(path: &Path) -> Vec<Shown> {
    let text = run("dnstap-read", &["-y", path.to_str().unwrap()]);
    let messages = text.split("---\n").filter(|text| !text.trim().is_empty());
    let shown = messages.map(|text| {
        let mut shown = Shown::new();
        // There is no other type around a message.
        let text = text.strip_prefix("type: MESSAGE\n").unwrap();
        for line in text.lines() {
            if let Some((key, value)) = line.trim().split_once(": ") {
                let value = value.trim_matches('"').to_owned();
                shown.entry(key.into()).or_insert(value);
            }
        }
        shown.insert("text".into(), text.into());
        shown
    });
    shown.collect()
}

/// How many queries and how many replies there are in a file.
fn count(path: &Path) -> (usize, usize) {
    let messages = read(path);
    let of = |kind| {
        messages
            .iter()
            .filter(|shown| shown["type"] == kind)
            .count()
    };
    let (queries, replies) = (of("AUTH_QUERY"), of("AUTH_RESPONSE"));
    assert_eq!(queries + replies, messages.len());
    (queries, replies)
}

#[test]
fn dnstap_read_shows_what_was_asked_and_replied() {
    let (server, path, _dir) = logging(Setup::new(), "identity = \"ns one\"");
    let packet = packet();
    let before = OffsetDateTime::now_utc() - Duration::from_secs(1);
    let (port, reply) = ask(server.dns, &packet);
    let after = OffsetDateTime::now_utc();
    has_logged(&server, 1);
    let messages = read(&path);
    assert_eq!(messages.len(), 2);
    for (shown, len, kind, time) in [
        (&messages[0], packet.len(), "AUTH_QUERY", "query_time"),
        (&messages[1], reply.len(), "AUTH_RESPONSE", "response_time"),
    ] {
        for (key, value) in [
            ("type", kind),
            ("identity", "ns one"),
            ("version", concat!("tinyns ", env!("CARGO_PKG_VERSION"))),
            ("socket_family", "INET"),
            ("socket_protocol", "UDP"),
            ("query_address", "127.0.0.1"),
            ("query_port", &port.to_string()),
            ("response_address", "127.0.0.1"),
            ("response_port", &server.dns.port().to_string()),
            ("message_size", &format!("{len}b")),
            ("id", &0x5A17.to_string()),
        ] {
            assert_eq!(shown[key], value, "{key}: {}", shown["text"]);
        }
        let time = shown[time].strip_prefix("!!timestamp ").unwrap();
        let time = OffsetDateTime::parse(time, &Rfc3339).unwrap();
        assert!(before <= time && time <= after, "{time}");
    }
    let (query, reply) = (&messages[0]["text"], &messages[1]["text"]);
    assert!(query.contains(&format!("'{NAME} IN A'")), "{query}");
    assert!(
        reply.contains(&format!("'{NAME} 300 IN A 192.0.2.1'")),
        "{reply}"
    );
    assert_eq!(messages[1]["flags"], "qr aa");
    // The host's name is the default.
    let (server, path, _dir) = logging(Setup::new(), "");
    ask(server.dns, &packet);
    has_logged(&server, 1);
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(read(&path)[0]["identity"], name.trim());
}

#[test]
fn kdig_reads_it_as_well() {
    let (server, path, _dir) = logging(Setup::new(), "messages = \"responses\"");
    ask(server.dns, &packet());
    has_logged(&server, 1);
    let text = run("kdig", &["-G", path.to_str().unwrap()]);
    assert!(text.contains("192.0.2.1"), "{text}");
    assert!(text.contains("To 127.0.0.1@"), "{text}");
    assert_eq!(count(&path), (0, 1));
}

#[test]
fn what_waits_for_its_link_is_logged_when_it_is_answered() {
    let (server, path, _dir) = logging(Setup::new(), "");
    server.register("abc", "https://example.net/far");
    // The link is not in memory then.
    let server = server.restart();
    let packet = query("abc.s.example.com.", RecordType::TXT)
        .to_bytes()
        .unwrap();
    let lookups = || server.metric("tinyns_link_lookups_total", &[("tier", "Store")]);
    let before = lookups();
    let (port, _) = ask(server.dns, &packet);
    assert_eq!(lookups(), before + 1.0, "it has waited");
    has_logged(&server, 1);
    let messages = read(&path);
    let [asked, replied] = &messages[..] else {
        panic!("{messages:?}");
    };
    assert_eq!(asked["query_port"], port.to_string());
    assert_eq!(replied["query_port"], port.to_string());
    assert!(replied["text"].contains("https://example.net/far"));
}

#[test]
fn what_is_dropped_is_logged_without_a_reply() {
    let (server, path, _dir) = logging(Setup::new(), "");
    let mut reply = packet();
    reply[2] |= 0x80;
    // Among others of one batch, as far as that can be had.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for number in 0..30_u8 {
        let mut packet = if number % 3 == 0 {
            reply.clone()
        } else {
            packet()
        };
        packet[..2].copy_from_slice(&[0, number]);
        socket.send_to(&packet, server.dns).unwrap();
    }
    for _ in 0..20 {
        socket.recv(&mut [0; 512]).unwrap();
    }
    has_logged(&server, 30);
    let messages = read(&path);
    let ids = |kind: &str| {
        let of_kind = messages.iter().filter(|shown| shown["type"] == kind);
        let mut ids: Vec<u8> = of_kind.map(|shown| shown["id"].parse().unwrap()).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids("AUTH_QUERY"), (0..30).collect::<Vec<_>>());
    let answered: Vec<_> = (0..30).filter(|number| number % 3 != 0).collect();
    assert_eq!(ids("AUTH_RESPONSE"), answered);
    let drops = server.metric("tinyns_dns_dropped_total", &[("reason", "NotAQuery")]);
    assert_eq!(drops, 10.0);
}

#[test]
fn any_packet_can_be_logged_and_the_next_one_read() {
    let (server, path, _dir) = logging(Setup::new(), "");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for packet in [
        &b""[..],
        b"x",
        &[0xFF; 600],
        &[0; 12],
        b"\0\0\0\0\0\x01\0\0\0\0\0\0\xC0",
    ] {
        socket.send_to(packet, server.dns).unwrap();
    }
    has_logged(&server, 5);
    ask(server.dns, &packet());
    has_logged(&server, 6);
    let messages = read(&path);
    let last = messages.last().unwrap();
    assert_eq!(last["type"], "AUTH_RESPONSE");
    assert!(last["text"].contains("192.0.2.1"), "{last:?}");
}

#[test]
fn the_address_that_was_asked_is_told_and_clients_are_cut_to_networks() {
    let setup = Setup::new().listen("[\"0.0.0.0:0\"]");
    let (server, path, _dir) = logging(setup, "anonymise = true");
    let asked = SocketAddr::new("127.0.0.3".parse().unwrap(), server.dns.port());
    ask(asked, &packet());
    has_logged(&server, 1);
    for shown in read(&path) {
        assert_eq!(shown["response_address"], "127.0.0.3");
        assert_eq!(shown["response_port"], asked.port().to_string());
        assert_eq!(shown["query_address"], "127.0.0.0");
    }
    let setup = Setup::new().listen("[\"[::1]:0\"]");
    let (server, path, _dir) = logging(setup, "anonymise = true\nmessages = \"queries\"");
    ask(server.dns, &packet());
    has_logged(&server, 1);
    assert_eq!(count(&path), (1, 0));
    let shown = &read(&path)[0];
    assert_eq!(shown["socket_family"], "INET6");
    assert_eq!(shown["response_address"], "::1");
    assert_eq!(shown["query_address"], "::");
}

/// Messages as they go over TCP (RFC 1035 §4.2.2).
fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    let framed = messages.iter().map(|message| {
        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
        [&length[..], message].concat()
    });
    framed.collect::<Vec<_>>().concat()
}

#[test]
fn what_comes_by_tcp_is_logged_as_well() {
    let setup = Setup::new().listen("[\"0.0.0.0:0\"]");
    let (server, path, _dir) = logging(setup, "");
    server.register("abc", "https://example.net/far");
    // The link is not in memory then.
    let server = server.restart();
    let link = query("abc.s.example.com.", RecordType::TXT);
    let mut no_query = packet();
    no_query[2] |= 0x80;
    let asked = SocketAddr::new("127.0.0.4".parse().unwrap(), server.dns.port());
    let mut stream = TcpStream::connect(asked).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = stream.local_addr().unwrap().port().to_string();
    // One that is answered at once, one that waits, one that is dropped and ends the connection.
    let messages = [packet(), link.to_bytes().unwrap(), no_query];
    stream.write_all(&framed(&messages)).unwrap();
    let mut replies = Vec::new();
    stream.read_to_end(&mut replies).unwrap();
    has_logged(&server, 3);
    let messages = read(&path);
    assert_eq!(messages.len(), 5);
    let mut bytes = 0;
    for shown in &messages {
        assert_eq!(shown["socket_protocol"], "TCP");
        assert_eq!(shown["query_port"], port);
        assert_eq!(shown["response_address"], "127.0.0.4");
        assert_eq!(shown["response_port"], asked.port().to_string());
        if shown["type"] == "AUTH_RESPONSE" {
            bytes += 2 + shown["message_size"]
                .trim_end_matches('b')
                .parse::<usize>()
                .unwrap();
        }
    }
    assert_eq!(count(&path), (3, 2));
    assert_eq!(bytes, replies.len());
    let text = run("dnstap-read", &["-p", path.to_str().unwrap()]);
    assert!(text.contains("https://example.net/far"), "{text}");
}

#[test]
fn one_in_so_many_is_logged() {
    const QUERIES: u32 = 3_000;
    let (server, path, _dir) = logging(Setup::new(), "sample = 10");
    let packet = packet();
    for _ in 0..QUERIES {
        ask(server.dns, &packet);
    }
    let logged = || server.metric("tinyns_query_log_queries_total", &[]);
    // The standard deviation is 16; it is nine of them.
    eventually("a tenth is logged", PATIENCE, || logged() > 150.0);
    std::thread::sleep(Duration::from_secs(1));
    assert!(logged() < 450.0, "{}", logged());
    assert_eq!(dropped(&server), 0.0);
    let (queries, replies) = count(&path);
    assert_eq!(queries, replies);
    assert_eq!(queries as f64, logged());
}

#[test]
fn without_the_section_nothing_is_logged() {
    let server = Server::start();
    ask(server.dns, &packet());
    assert_eq!(server.metric("tinyns_query_log_queries_total", &[]), 0.0);
    assert_eq!(server.metric("tinyns_query_log_up", &[]), 0.0);
    assert!(!server.log().text().contains("query log"));
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let names = threads.map(|entry| fs::read_to_string(entry.unwrap().path().join("comm")));
    let names: Vec<_> = names.map(Result::unwrap).collect();
    assert!(names.iter().any(|name| name.trim() == "udp-0"), "{names:?}");
    assert!(
        names.iter().all(|name| name.trim() != "query-log"),
        "{names:?}"
    );
}

#[test]
fn sighup_begins_a_new_file_after_a_rename() {
    let (server, path, _dir) = logging(Setup::new(), "");
    let old = path.with_extension("old");
    let packet = packet();
    let ask = |times| (0..times).for_each(|_| drop(ask(server.dns, &packet)));
    ask(3);
    has_logged(&server, 3);
    fs::rename(&path, &old).unwrap();
    ask(2);
    has_logged(&server, 5);
    assert!(!path.exists());
    server.signal(Signal::SIGHUP);
    eventually("a new file", PATIENCE, || path.exists());
    ask(4);
    has_logged(&server, 9);
    assert_eq!(count(&old), (5, 5));
    assert!(fs::read(&old).unwrap().ends_with(STOP));
    assert_eq!(count(&path), (4, 4));
    // Without a rename it goes on where it was.
    server.signal(Signal::SIGHUP);
    ask(1);
    has_logged(&server, 10);
    assert_eq!(count(&path), (5, 5));
    assert_eq!(dropped(&server), 0.0);
}

#[test]
fn a_file_is_gone_on_with_after_kills_and_restarts() {
    let (mut server, path, _dir) = logging(Setup::new(), "");
    let packet = packet();
    for _ in 0..3 {
        ask(server.dns, &packet);
    }
    has_logged(&server, 3);
    server.crash();
    assert_eq!(count(&path), (3, 3), "it can be read as it is");
    let whole = fs::read(&path).unwrap();
    // What a crash in the midst of a write leaves.
    fs::write(
        &path,
        [&whole[..], &whole[START.len()..START.len() + 50]].concat(),
    )
    .unwrap();
    let server = server.crash_and_restart();
    ask(server.dns, &packet);
    has_logged(&server, 1);
    assert_eq!(count(&path), (4, 4));
    let mut server = server.restart();
    ask(server.dns, &packet);
    // Not waited for: the end is.
    assert!(server.stop().success());
    assert_eq!(count(&path), (5, 5));
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.starts_with(&whole));
    assert!(bytes.ends_with(STOP));
    let starts = bytes.windows(START.len()).filter(|part| *part == START);
    assert_eq!(starts.count(), 1);
}

#[test]
fn at_its_bound_a_file_is_put_aside() {
    const BOUND: u64 = 1 << 20;
    const QUERIES: u32 = 600;
    let (server, path, dir) = logging(Setup::new(), "max_file_mib = 1\nmessages = \"queries\"");
    let packet = large_packet();
    for _ in 0..QUERIES {
        ask(server.dns, &packet);
    }
    has_logged(&server, QUERIES);
    let aside = dir.path().join("q.dnstap.1");
    let (older, newer) = (count(&aside).0, count(&path).0);
    // More than two files hold.
    assert!(older + newer < QUERIES as usize, "{older} {newer}");
    assert!(older > 200, "{older}");
    assert!(fs::read(&aside).unwrap().ends_with(STOP));
    for file in fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        assert!(file.metadata().unwrap().len() <= BOUND, "{file:?}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    assert_eq!(dropped(&server), 0.0);
}

#[test]
fn a_full_disk_stops_no_answer_and_loses_nothing_that_has_room_in_the_queue() {
    const QUERIES: u32 = 100;
    // A file may have 96 KiB, as if the disk were full then. In blocks of 512 bytes.
    let setup = Setup::new().limits("ulimit -S -f 192");
    let (server, path, _dir) = logging(setup, "");
    let packet = large_packet();
    for _ in 0..QUERIES {
        ask(server.dns, &packet);
    }
    server.log().wait_for("nothing can be written");
    assert_eq!(server.metric("tinyns_query_log_up", &[]), 0.0);
    // Whole frames, as far as there is room.
    let (queries, _) = count(&path);
    assert!(queries < QUERIES as usize, "{queries}");
    ask(server.dns, &packet);
    let pid = server.pid().to_string();
    run("prlimit", &["--pid", &pid, "--fsize=unlimited:unlimited"]);
    has_logged(&server, QUERIES + 1);
    assert_eq!(server.metric("tinyns_query_log_up", &[]), 1.0);
    assert_eq!(dropped(&server), 0.0);
    let all = QUERIES as usize + 1;
    assert_eq!(count(&path), (all, all));
}

/// A server that logs to a socket in this directory.
fn streaming(dir: &TempDir) -> (Server, PathBuf) {
    let path = dir.path().join("s");
    let section = format!("[query_log]\nsocket = \"{}\"\n", path.display());
    (Setup::new().section(&section).start(), path)
}

/// The collector that comes with Frame Streams, writing to a file.
struct Collector(Process);

impl Collector {
    fn start(socket: &Path, out: &Path) -> Self {
        let mut command = Command::new("fstrm_capture");
        command.args(["-t", "protobuf:dnstap.Dnstap", "-u"]);
        let child = command.arg(socket).arg("-w").arg(out).spawn();
        Self(Process(
            child.expect("tests/run.sh installs what tests need"),
        ))
    }

    /// Has it write what it has.
    fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.0.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        wait(&mut self.0.0);
    }
}

#[test]
fn a_collector_may_come_late_and_go_and_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, socket) = streaming(&dir);
    let outs = [1, 2].map(|number| dir.path().join(number.to_string()));
    let packet = packet();
    server.log().wait_for("nothing can be written");
    ask(server.dns, &packet);
    assert_eq!(server.metric("tinyns_query_log_up", &[]), 0.0);
    let collector = Collector::start(&socket, &outs[0]);
    has_logged(&server, 1);
    assert_eq!(server.metric("tinyns_query_log_up", &[]), 1.0);
    ask(server.dns, &packet);
    has_logged(&server, 2);
    collector.stop();
    assert_eq!(count(&outs[0]), (2, 2));
    for _ in 0..3 {
        ask(server.dns, &packet);
    }
    let collector = Collector::start(&socket, &outs[1]);
    has_logged(&server, 5);
    // With the collector there, the end is told and acknowledged.
    ask(server.dns, &packet);
    assert!(server.stop().success());
    collector.stop();
    assert_eq!(count(&outs[1]), (4, 4));
    let log = server.log().text();
    assert!(!log.contains("does not say"), "{log}");
    assert!(!log.contains("could not be written"), "{log}");
}

/// Accepts a connection as a collector does.
fn accept(listener: &UnixListener) -> UnixStream {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut frame = [0; START.len()];
    let control = |kind: u8| {
        let mut frame = START.to_vec();
        frame[11] = kind;
        frame
    };
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame, control(4)[..], "READY");
    stream.write_all(&control(1)).unwrap();
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame, START);
    stream
}

#[test]
fn a_collector_that_stalls_holds_up_nobody() {
    // Some more than the queue has room for: 16 MiB, and what the sockets hold.
    const QUERIES: u32 = 5_000;
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let (server, _) = streaming(&dir);
    let mut stalled = accept(&listener);
    let packet = large_packet();
    for _ in 0..QUERIES {
        ask(server.dns, &packet);
    }
    let slow = server.metric("tinyns_query_log_dropped_total", &[("reason", "TooSlow")]);
    assert!(slow > 0.0);
    assert_eq!(slow, dropped(&server), "for no other reason");
    assert_eq!(server.metric("tinyns_query_log_up", &[]), 1.0);
    assert_eq!(server.ask(NAME, RecordType::A).answers.len(), 1);
    // It reads on: what is left is there, and nothing but whole frames.
    let reader = std::thread::spawn(move || {
        let mut frames = 0_u32;
        loop {
            let mut number = [0; 4];
            stalled.read_exact(&mut number).unwrap();
            let length = u32::from_be_bytes(number) as usize;
            if length == 0 {
                let mut rest = [0; 8];
                stalled.read_exact(&mut rest).unwrap();
                assert_eq!(rest, STOP[4..]);
                stalled.write_all(&[&STOP[..11], &[5]].concat()).unwrap();
                return frames;
            }
            stalled.read_exact(&mut vec![0; length]).unwrap();
            frames += 1;
        }
    });
    let logged = || server.metric("tinyns_query_log_queries_total", &[]);
    let sent = || f64::from(QUERIES) + 1.0 - dropped(&server);
    eventually("the rest is written", PATIENCE, || logged() == sent());
    let logged = logged();
    let mut server = server;
    assert!(server.stop().success());
    assert_eq!(f64::from(reader.join().unwrap()), 2.0 * logged);
}

#[test]
fn a_stop_does_not_wait_for_a_collector_that_stalls() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let (mut server, _) = streaming(&dir);
    let _stalled = accept(&listener);
    let packet = large_packet();
    // More than the sockets hold.
    for _ in 0..500 {
        ask(server.dns, &packet);
    }
    assert!(server.stop().success());
    server.log().wait_for("could not be written");
}

#[test]
fn sighup_calls_a_collector_again() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let (server, _) = streaming(&dir);
    let mut first = accept(&listener);
    ask(server.dns, &packet());
    has_logged(&server, 1);
    server.signal(Signal::SIGHUP);
    let mut all = Vec::new();
    while !all.ends_with(STOP) {
        let mut byte = [0];
        first.read_exact(&mut byte).unwrap();
        all.extend(byte);
    }
    first.write_all(&[&STOP[..11], &[5]].concat()).unwrap();
    let mut second = accept(&listener);
    ask(server.dns, &packet());
    let mut number = [0; 4];
    second.read_exact(&mut number).unwrap();
    assert!(u32::from_be_bytes(number) > 0);
    assert_eq!(dropped(&server), 0.0);
}
