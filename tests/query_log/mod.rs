//! The query log. The tools that people read it with find what was sent, and whatever happens to the file or the
//! collector, the server answers queries and the log stays readable.

mod collectors;
mod contents;
mod files;

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;
use tempfile::TempDir;

use crate::harness::{PATIENCE, Server, Setup, eventually, query, run};

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
