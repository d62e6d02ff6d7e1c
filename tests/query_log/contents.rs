//! What the log says about queries and replies.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{NAME, ask, count, dropped, has_logged, logging, packet, read};
use crate::harness::{PATIENCE, Server, Setup, eventually, query, run};

#[test]
fn dnstap_read_shows_queries_and_replies() {
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
fn queries_that_wait_for_a_link_are_logged_when_answered() {
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
fn dropped_queries_are_logged_without_a_reply() {
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
fn the_server_address_is_logged_and_client_addresses_are_cut_to_networks() {
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
fn queries_by_tcp_are_logged_as_well() {
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
fn without_query_log_section_nothing_is_logged() {
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
