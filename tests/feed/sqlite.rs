//! SQLite: a write of another program makes the server look everything up again.

use crate::filter::{foreign, insert};
use crate::harness::{Answer, PATIENCE, Setup, eventually};

#[test]
fn changes_by_another_program_show_although_memory_holds_the_link() {
    let server = Setup::new()
        .section("[cache]\nrefresh = 86400\nabsent = 3600\nfilter = false\n")
        .start();
    foreign(&server, &insert("theirs"));
    let name = "theirs.s.example.com";
    server.wait_for_answer(name, &Answer::url("https://example.net/theirs"), PATIENCE);
    let update = "UPDATE link SET url = 'https://example.net/new' WHERE code = 'theirs'";
    foreign(&server, update);
    server.wait_for_answer(name, &Answer::url("https://example.net/new"), PATIENCE);
    foreign(&server, "DELETE FROM link WHERE code = 'theirs'");
    server.wait_for_answer(name, &Answer::Absent, PATIENCE);
    foreign(&server, &insert("theirs"));
    server.wait_for_answer(name, &Answer::url("https://example.net/theirs"), PATIENCE);
    assert!(server.metric("tinyns_feed_gaps_total", &[]) >= 3.0);
}

#[test]
fn changes_by_the_server_are_no_gaps() {
    let server = Setup::new().start();
    for number in 0..50 {
        server.add(&format!("https://example.net/{number}"));
    }
    eventually("fed", PATIENCE, || {
        server.metric("tinyns_feed_entries_total", &[]) == 50.0
    });
    assert_eq!(server.metric("tinyns_feed_gaps_total", &[]), 0.0);
    assert_eq!(server.metric("tinyns_feed_following", &[]), 1.0);
    assert!(server.metric("tinyns_feed_lag_seconds", &[]) < 1.0);
}
