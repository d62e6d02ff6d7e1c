//! Many links at once: how they come into the store of a server, how all of them are asked for, and what that takes.

use std::net::UdpSocket;

use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;

use super::{PATIENCE, Server, query};

/// How many queries are under way at once.
const WINDOW: u64 = 32;

/// The code of a link by its number.
pub fn code(number: u64) -> String {
    format!("{number:08}")
}

/// Puts links into the store of a server, which is to be restarted: they are made behind its back.
pub fn fill(server: &Server, links: u64) {
    let mut file = rusqlite::Connection::open(server.dir().join("data/links.sqlite")).unwrap();
    let transaction = file.transaction().unwrap();
    let insert = "INSERT INTO link (origin, code, url, created_at, created_by, version) \
                  VALUES ('s.example.com', ?1, ?2, 0, 'admin', 1)";
    let mut statement = transaction.prepare(insert).unwrap();
    for number in 0..links {
        let url = format!("https://example.net/articles/2026/{number:08}/a-title-of-some-words");
        statement.execute((code(number), url)).unwrap();
    }
    drop(statement);
    transaction.commit().unwrap();
}

/// Asks for these links once, each of which has to be there.
pub fn ask_for_each(server: &Server, numbers: impl IntoIterator<Item = u64>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.dns).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = format!("{}.s.example.com", code(0));
    let mut packet = query(&name, RecordType::TXT).to_bytes().unwrap();
    let mut reply = [0; 1_500];
    let mut numbers = numbers.into_iter();
    loop {
        let mut sent = 0;
        for number in numbers.by_ref().take(WINDOW as usize) {
            // Behind the header and the length of the first label.
            packet[13..21].copy_from_slice(code(number).as_bytes());
            socket.send(&packet).unwrap();
            sent += 1;
        }
        if sent == 0 {
            return;
        }
        for _ in 0..sent {
            assert!(socket.recv(&mut reply).unwrap() > packet.len());
            assert_eq!(reply[3] & 0x0F, 0, "the rcode");
        }
    }
}

/// The memory of a server that is no file's, in bytes.
pub fn anonymous(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1_024
}

/// Whether the system uses huge pages for memory without a request. An allocator that takes little from
/// many places then has many of them.
pub fn has_huge_pages_for_all() -> bool {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    std::fs::read_to_string(path).is_ok_and(|modes| modes.contains("[always]"))
}
