//! How much memory a server takes, as the system counts it: an empty one, and one with hot links. What links take of
//! the heap is counted to the byte in `allocations`.

use hickory_proto::rr::RecordType;

use crate::harness::Server;
use crate::harness::many::{anonymous, ask_for_each, fill, has_huge_pages_for_all};

/// What an empty server may take, in bytes; about 13 MiB are usual, half of them for statistics.
const EMPTY: u64 = 16 << 20;
/// How many links are made hot.
const LINKS: u64 = 50_000;
/// What a hot link may take, in bytes, with a share of the page cache of SQLite and of the huge pages that are begun;
/// some 500 are usual, of which 100 are texts, and up to 300 while its count and its rankings wait.
const LINK: u64 = 950;

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

    fill(&server, LINKS);
    let server = server.restart();
    ask_for_each(&server, 0..LINKS);
    ask_for_each(&server, 0..LINKS);
    let held = server.metric("tinyns_memory_entries", &[("set", "Links")]);
    assert_eq!(held, LINKS as f64);
    let full = anonymous(&server);
    let each = full.saturating_sub(EMPTY) / LINKS;
    assert!(each <= LINK, "{each} bytes for each link, {full} in all");
    println!("{empty} bytes without a link, {full} with {LINKS}");
}
