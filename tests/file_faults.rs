//! The store's file changes under the server, or cannot be written: what callers, queries and `/readyz` see.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Answer, PATIENCE, Server, Setup, eventually, run};

fn store(server: &Server) -> PathBuf {
    server.dir().join("data/links.sqlite")
}

fn beside(server: &Server, end: &str) -> PathBuf {
    store(server).with_file_name(format!("links.sqlite{end}"))
}

/// A copy of the store as it is now, made as docs/operation.md says.
fn back_up(server: &Server) -> PathBuf {
    let copy = server.dir().join("copy.sqlite");
    let command = format!(".backup '{}'", copy.display());
    run("sqlite3", &[store(server).to_str().unwrap(), &command]);
    copy
}

fn post(server: &Server, code: &str) -> u16 {
    let body = json!({ "url": format!("https://example.net/{code}"), "code": code });
    server.api("POST", "/v1/links", Some(&body)).status
}

fn readiness(server: &Server) -> (u16, Value) {
    let reply = server.api("GET", "/readyz", None);
    (reply.status, reply.json())
}

/// Whether `/readyz` has this status and a reason with this text.
fn tells(server: &Server, status: u16, text: &str) -> bool {
    let (found, body) = readiness(server);
    let reasons = body["reasons"].to_string();
    found == status && reasons.contains(text)
}

/// How many lines of the log have this text.
fn lines(server: &Server, text: &str) -> usize {
    let log = server.log().text();
    log.lines().filter(|line| line.contains(text)).count()
}

/// A server with a link that it has in its log and memory, and a backup from before another one.
fn server_with_backup() -> (Server, PathBuf) {
    let server = Server::start();
    assert_eq!(post(&server, "before"), 201);
    let copy = back_up(&server);
    assert_eq!(post(&server, "after"), 201);
    (server, copy)
}

/// The file is damaged: no change is acknowledged, and the log says so once.
fn refuses(server: &Server, status: u16, reason: &str) {
    // At once, without the look of each second.
    assert_eq!(post(server, "late"), 503);
    assert!(tells(server, status, reason), "{:?}", readiness(server));
    for _ in 0..5 {
        assert_eq!(post(server, "late"), 503);
    }
    std::thread::sleep(Duration::from_millis(2_200));
    let file = format!("\"file\":\"{}\"", store(server).display());
    let log = server.log().text();
    let lines = log
        .lines()
        .filter(|l| l.contains("ERROR") && l.contains(&file))
        .count();
    assert_eq!(lines, 1, "{log}");
}

#[test]
fn another_file_in_the_place_of_the_store() {
    let (server, copy) = server_with_backup();
    fs::rename(store(&server), server.dir().join("old.sqlite")).unwrap();
    fs::copy(&copy, store(&server)).unwrap();
    refuses(&server, 503, "another file is in the place");
    assert_eq!(readiness(&server).1["status"], "not ready");
    // Neither the open file nor the filter is current any more.
    eventually("nothing is denied", PATIENCE, || {
        matches!(server.answer("never.s.example.com"), Answer::Unknown(_))
    });
    let server = server.restart();
    assert_eq!(readiness(&server).0, 200);
    assert_eq!(
        server.answer("before.s.example.com"),
        Answer::url("https://example.net/before")
    );
    assert_eq!(server.answer("after.s.example.com"), Answer::Absent);
    assert_eq!(post(&server, "late"), 201);
    // Acknowledged links are in the file to which they were written.
    let old = server.dir().join("old.sqlite");
    let codes = run(
        "sqlite3",
        &[old.to_str().unwrap(), "SELECT code FROM link ORDER BY code"],
    );
    assert_eq!(codes, "after\nbefore\n");
}

#[test]
fn a_store_that_was_put_back_serves_on() {
    let (server, _) = server_with_backup();
    let aside = server.dir().join("aside.sqlite");
    fs::rename(store(&server), &aside).unwrap();
    refuses(&server, 503, "deleted or renamed");
    // The file that is open has all that was acknowledged.
    assert_eq!(
        server.answer("after.s.example.com"),
        Answer::url("https://example.net/after")
    );
    fs::rename(&aside, store(&server)).unwrap();
    eventually("it is ready", PATIENCE, || {
        readiness(&server).1["serves"] == true
    });
    assert_eq!(post(&server, "late"), 201);
    let server = server.crash_and_restart();
    assert_eq!(
        server.answer("late.s.example.com"),
        Answer::url("https://example.net/late")
    );
}

#[test]
fn a_deleted_store_acknowledges_nothing() {
    let (server, _) = server_with_backup();
    fs::remove_file(store(&server)).unwrap();
    refuses(&server, 503, "deleted or renamed");
}

/// A backup is copied into the file: device and inode stay the same.
fn content_is_replaced(replace: impl Fn(&Server, &Path)) {
    let (server, copy) = server_with_backup();
    // Some of it is in the file and some in the log.
    replace(&server, &copy);
    refuses(&server, 503, "has replaced the content");
    let server = server.restart();
    assert_eq!(
        server.answer("before.s.example.com"),
        Answer::url("https://example.net/before")
    );
    assert_eq!(server.answer("after.s.example.com"), Answer::Absent);
    assert_eq!(post(&server, "late"), 201);
    let sound = run(
        "sqlite3",
        &[store(&server).to_str().unwrap(), "PRAGMA integrity_check"],
    );
    assert_eq!(sound, "ok\n");
}

#[test]
fn a_backup_that_is_copied_into_the_file() {
    content_is_replaced(|server, copy| {
        fs::copy(copy, store(server)).unwrap();
    });
}

#[test]
fn a_backup_that_the_shell_restores() {
    content_is_replaced(|server, copy| {
        let command = format!(".restore '{}'", copy.display());
        run("sqlite3", &[store(server).to_str().unwrap(), &command]);
    });
}

#[test]
fn a_file_whose_times_are_set_is_the_same_file() {
    let (server, _) = server_with_backup();
    for checkpoint in [false, true] {
        if checkpoint {
            let sql = "PRAGMA wal_checkpoint(PASSIVE)";
            run("sqlite3", &[store(&server).to_str().unwrap(), sql]);
            assert_eq!(post(&server, "between"), 201);
        }
        std::thread::sleep(Duration::from_millis(1_500));
        let file = fs::File::open(store(&server)).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        std::thread::sleep(Duration::from_millis(2_200));
        assert_eq!(
            readiness(&server),
            (
                200,
                json!({"status": "ready", "serves": true, "takes_changes": true})
            )
        );
        assert_eq!(post(&server, &format!("late{checkpoint}")), 201);
    }
    assert_eq!(lines(&server, "ERROR"), 0);
    let server = server.restart();
    for code in ["before", "after", "between", "latefalse", "latetrue"] {
        let url = format!("https://example.net/{code}");
        assert_eq!(
            server.answer(&format!("{code}.s.example.com")),
            Answer::Url(url)
        );
    }
}

#[test]
fn a_truncated_file_acknowledges_nothing() {
    let (server, _) = server_with_backup();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(store(&server))
        .unwrap();
    file.set_len(0).unwrap();
    refuses(&server, 503, "has replaced the content");
}

#[test]
fn a_log_that_was_deleted_loses_nothing_and_acknowledges_nothing() {
    for end in ["-wal", "-shm"] {
        let (server, _) = server_with_backup();
        fs::remove_file(beside(&server, end)).unwrap();
        refuses(&server, 200, "log");
        assert_eq!(readiness(&server).1["takes_changes"], false);
        assert_eq!(
            server.answer("after.s.example.com"),
            Answer::url("https://example.net/after")
        );
        // It was saved as soon as that was seen.
        let server = server.crash_and_restart();
        assert_eq!(
            server.answer("after.s.example.com"),
            Answer::url("https://example.net/after")
        );
        assert_eq!(post(&server, "late"), 201);
    }
}

#[test]
fn permitted_actions_of_other_programs_are_no_fault() {
    let (server, _) = server_with_backup();
    let file = store(&server);
    let shell = |sql: &str| run("sqlite3", &[file.to_str().unwrap(), sql]);
    let put = "INSERT INTO link (origin, code, url, created_at, created_by, version) \
               VALUES ('s.example.com', 'shell', 'https://example.net/shell', 1, 'me', 7)";
    for sql in [
        put,
        "VACUUM",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "REINDEX",
        "ANALYZE",
    ] {
        shell(sql);
        std::thread::sleep(Duration::from_millis(1_100));
        assert_eq!(readiness(&server).0, 200, "{sql}");
    }
    assert_eq!(post(&server, "late"), 201);
    assert_eq!(lines(&server, "ERROR"), 0);
}

/// As many lines of a batch as one refused write would be one of.
const BATCH: usize = 20_000;

/// A file system of some MiB; none where this user may not mount one.
struct Small(PathBuf);

impl Small {
    fn mount(server: &Setup) -> Option<Self> {
        let at = server.dir().join("data");
        fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(&at);
        mount.output().ok()?.status.success().then_some(Self(at))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_is_logged_once_and_shown_until_there_is_room() {
    let setup = Setup::new();
    // Without the right to mount, a limit on the size of files stands for it; that one does not end.
    let small = Small::mount(&setup);
    let limits = match small {
        Some(_) => "",
        None => "trap '' XFSZ; ulimit -f 400",
    };
    let server = setup.limits(limits).start();
    let ballast = server.dir().join("data/ballast");
    if small.is_some() {
        fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    }
    let path = "x".repeat(1_000);
    let batch: String = (0..BATCH)
        .map(|n| {
            format!(
                "{}\n",
                json!({ "url": format!("https://example.net/{n}/{path}") })
            )
        })
        .collect();
    let body = Some(("application/x-ndjson", batch.into_bytes()));
    let reply = server.api_raw("POST", "/v1/links:batch", &[], body);
    let refused = reply
        .body
        .lines()
        .filter(|line| line.contains("\"status\":503"))
        .count();
    assert!(
        refused > BATCH / 2,
        "{refused} of {BATCH} lines were refused"
    );

    assert!(
        tells(&server, 200, "the link store cannot be written"),
        "{:?}",
        readiness(&server)
    );
    let (_, body) = readiness(&server);
    assert_eq!(
        (&body["serves"], &body["takes_changes"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(server.api("GET", "/readyz/changes", None).status, 503);
    assert_eq!(server.metric("tinyns_takes_changes", &[]), 0.0);
    let loud = lines(&server, "\"WARN\"") + lines(&server, "\"ERROR\"");
    assert!(loud <= 30, "{loud} lines for {refused} refused writes");
    assert_eq!(
        lines(&server, "the link store cannot be written"),
        1 + lines(&server, "changes of links are refused")
    );

    if small.is_none() {
        return;
    }
    fs::remove_file(&ballast).unwrap();
    // The server notices without any call.
    server.log().wait_for("the link store takes changes again");
    eventually("it takes changes", PATIENCE + PATIENCE, || {
        server.api("GET", "/readyz/changes", None).status == 200
    });
    assert_eq!(post(&server, "room"), 201);
    server.signal(Signal::SIGKILL);
}
