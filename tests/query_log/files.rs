//! The log in a file: renames, kills, its bound, a full disk.

use std::fs;

use nix::sys::signal::Signal;

use super::{START, STOP, ask, count, dropped, has_logged, large_packet, logging, packet};
use crate::harness::{PATIENCE, Setup, eventually, run};

#[test]
fn sighup_opens_a_new_file_after_a_rename() {
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
fn the_same_file_is_continued_after_kills_and_restarts() {
    let (mut server, path, _dir) = logging(Setup::new(), "");
    let packet = packet();
    for _ in 0..3 {
        ask(server.dns, &packet);
    }
    has_logged(&server, 3);
    server.crash();
    assert_eq!(count(&path), (3, 3), "it can be read as it is");
    let whole = fs::read(&path).unwrap();
    // The result of a crash during a write.
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
fn a_full_file_is_rotated() {
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
    // A file may have 224 KiB, as if the disk were full then. In blocks of 512 bytes. The store's files fit.
    let setup = Setup::new().limits("ulimit -S -f 448");
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
