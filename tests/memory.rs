//! How much memory a server takes, as the system counts it: an empty one, and one with hot links. What links take of
//! the heap is counted to the byte in `allocations`.

use std::net::UdpSocket;

use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;

use crate::harness::{PATIENCE, Server, query};

/// What an empty server may take, in bytes; about 13 MiB are usual, half of them for statistics.
const EMPTY: u64 = 16 << 20;
/// How many links are made hot.
const LINKS: u64 = 50_000;
/// What a hot link may take, in bytes, with a share of the page cache of SQLite and of the huge pages that are begun;
/// some 500 are usual, of which 100 are texts.
const LINK: u64 = 800;
/// How many queries are under way at once.
const WINDOW: u64 = 32;

/// Whether the system uses huge pages for memory without a request. An allocator that takes little from
/// many places then has many of them.
fn has_huge_pages_for_all() -> bool {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    std::fs::read_to_string(path).is_ok_and(|modes| modes.contains("[always]"))
}

/// The memory of a server that is no file's, in bytes.
fn anonymous(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1_024
}

fn code(number: u64) -> String {
    format!("{number:08}")
}

/// Puts links into the store of a server, which is to be restarted: they are made behind its back.
fn fill(server: &Server) {
    let mut file = rusqlite::Connection::open(server.dir().join("data/links.sqlite")).unwrap();
    let transaction = file.transaction().unwrap();
    let insert = "INSERT INTO link (origin, code, url, created_at, created_by, version) \
                  VALUES ('s.example.com', ?1, ?2, 0, 'admin', 1)";
    let mut statement = transaction.prepare(insert).unwrap();
    for number in 0..LINKS {
        let url = format!("https://example.net/articles/2026/{number:08}/a-title-of-some-words");
        statement.execute((code(number), url)).unwrap();
    }
    drop(statement);
    transaction.commit().unwrap();
}

/// Asks for all links, each of which has to be there.
fn ask_for_all(server: &Server) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.dns).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = |number| format!("{}.s.example.com", code(number));
    let mut packet = query(&name(0), RecordType::TXT).to_bytes().unwrap();
    let mut reply = [0; 1_500];
    for first in (0..LINKS).step_by(WINDOW as usize) {
        let window = first..LINKS.min(first + WINDOW);
        for number in window.clone() {
            // Behind the header and the length of the first label.
            packet[13..21].copy_from_slice(code(number).as_bytes());
            socket.send(&packet).unwrap();
        }
        for _ in window {
            assert!(socket.recv(&mut reply).unwrap() > packet.len());
            assert_eq!(reply[3] & 0x0F, 0, "the rcode");
        }
    }
}

#[test]
fn a_server_takes_little_memory_until_it_has_links() {
    if has_huge_pages_for_all() {
        println!("skipped: the system gives huge pages to all memory");
        return;
    }
    let server = Server::start();
    for _ in 0..10 {
        server.ask("absent.s.example.com.", RecordType::TXT);
    }
    let empty = anonymous(&server);
    assert!(empty <= EMPTY, "{empty} bytes without a link");

    fill(&server);
    let server = server.restart();
    ask_for_all(&server);
    ask_for_all(&server);
    let held = server.metric("tinyns_memory_entries", &[("set", "Links")]);
    assert_eq!(held, LINKS as f64);
    let full = anonymous(&server);
    let each = full.saturating_sub(EMPTY) / LINKS;
    assert!(each <= LINK, "{each} bytes for each link, {full} in all");
    println!("{empty} bytes without a link, {full} with {LINKS}");
}
