//! Acknowledged links survive: kill -9 in a stream of registrations, restarts, and an orderly stop that finishes the
//! requests that have begun.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::audit::all_entries;
use crate::harness::{PATIENCE, Server, Setup, TOKEN, http};

/// How many lines an endless batch has.
const MAX_BATCH_LINES: u64 = 1_000_000;

/// Waits until something holds, but not for ever.
fn wait_until(holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "it does not come to pass");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One registration over a connection of its own; none if the server went away before it answered.
fn try_add(admin: std::net::SocketAddr, url: &str) -> Option<Value> {
    let body = json!({ "url": url }).to_string();
    let mut stream = TcpStream::connect(admin).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!(
        "POST /v1/links HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len(),
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    let (head, body) = reply.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 201"), "{reply}");
    let mut link: Value = serde_json::from_str(body).ok()?;
    link.as_object_mut()?.remove("visible");
    Some(link)
}

/// Checks that the audit log has an entry for each link, acknowledged or not, and none for anything else. No link was
/// changed or deleted.
fn assert_each_link_has_its_entry(server: &Server) {
    let mut urls = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server
            .api("GET", &format!("/v1/links?limit=1000{cursor}"), None)
            .json();
        let links = page["links"].as_array().unwrap().iter();
        urls.extend(links.map(|link| link["url"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    let entries = all_entries(server);
    let mut noted: Vec<_> = entries
        .iter()
        .map(|entry| entry["after"]["url"].as_str().unwrap().to_owned())
        .collect();
    urls.sort();
    noted.sort();
    assert_eq!(noted, urls);
}

#[test]
fn kill_9_loses_no_acknowledged_link() {
    let mut server = Server::start();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let mut next = 0;
    for round in 0..5 {
        let stop = Arc::new(AtomicBool::new(false));
        let admin = server.admin;
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
                std::thread::spawn(move || {
                    let mut number = 0;
                    while !stop.load(Ordering::SeqCst) {
                        let url = format!("https://example.net/{round}/{writer}/{number}");
                        match try_add(admin, &url) {
                            Some(link) => acknowledged.lock().unwrap().push((link, url)),
                            None => break,
                        }
                        number += 1;
                    }
                })
            })
            .collect();
        // In the middle of the stream, at another place each round.
        std::thread::sleep(Duration::from_millis(150 + 70 * round));
        server = server.crash_and_restart();
        stop.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.join().unwrap();
        }
        let all = acknowledged.lock().unwrap();
        assert!(all.len() > next, "round {round} registered nothing");
        next = all.len();
    }
    let all = acknowledged.lock().unwrap();
    for (link, url) in all.iter() {
        let code = link["code"].as_str().unwrap();
        let reply = server.api("GET", &format!("/v1/links/{code}"), None);
        assert_eq!((reply.status, &reply.json()), (200, link), "{url}");
    }
    assert_each_link_has_its_entry(&server);
    // And one of them by DNS, for good measure.
    let name = format!("{}.", all[0].0["name"].as_str().unwrap());
    assert_eq!(server.ask(&name, RecordType::TXT).answers.len(), 2);
}

/// A limit on the size of files stands for a full disk: it needs no file system of its own.
#[test]
fn a_full_disk_refuses_new_links_and_loses_none() {
    let server = Setup::new().limits("trap '' XFSZ; ulimit -f 600").start();
    let path = "x".repeat(1_500);
    let mut made = Vec::new();
    let refused = loop {
        let request = json!({"url": format!("https://example.net/{}/{path}", made.len())});
        let reply = server.api("POST", "/v1/links", Some(&request));
        match reply.status {
            201 => made.push(reply.json()),
            _ => break reply,
        }
        assert!(made.len() < 1_000, "the limit does not work");
    };
    assert!(!made.is_empty());
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(
        refused.json()["type"],
        "urn:tinyns:problem:store-unavailable"
    );
    let check = |server: &Server| {
        for link in &made {
            let name = format!("{}.", link["name"].as_str().unwrap());
            assert_eq!(server.ask(&name, RecordType::CNAME).answers.len(), 1);
        }
        let absent = server.ask("absent.s.example.com.", RecordType::TXT);
        assert_eq!(absent.metadata.response_code, ResponseCode::NXDomain);
    };
    check(&server);
    let server = server.crash_and_restart();
    check(&server);
    server.add("https://example.net/there-is-room-again");
}

/// Sends the lines of a batch without end, until the server or the reader of its results is gone. Each link of a
/// result with status 201 goes into `acknowledged`; the other statuses are returned. The client disconnects after
/// `patience` results.
fn stream_batch(
    admin: std::net::SocketAddr,
    tag: u64,
    patience: usize,
    acknowledged: &Mutex<Vec<Value>>,
) -> Vec<u64> {
    let stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut sender = stream.try_clone().unwrap();
    let head = format!(
        "POST /v1/links:batch HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    sender.write_all(head.as_bytes()).unwrap();
    let sending = std::thread::spawn(move || {
        for number in 0..MAX_BATCH_LINES {
            let url = format!("https://example.net/batch/{tag}/{number}");
            let line = format!("{}\n", json!({ "url": url }));
            let chunk = format!("{:x}\r\n{line}\r\n", line.len());
            if sender.write_all(chunk.as_bytes()).is_err() {
                return;
            }
        }
    });
    let mut others = Vec::new();
    let results = BufReader::new(&stream).lines().map_while(Result::ok);
    // Heads and sizes of chunks are no JSON; a line that was cut off by the end is none, either.
    let results = results.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    for result in results.filter(Value::is_object).take(patience) {
        match result["status"].as_u64().unwrap() {
            201 => acknowledged.lock().unwrap().push(result["link"].clone()),
            other => others.push(other),
        }
    }
    // Its other half may be waiting for room.
    let _ = stream.shutdown(Shutdown::Both);
    sending.join().unwrap();
    others
}

/// Checks that every acknowledged link is there.
fn assert_all_there(server: &Server, links: &[Value]) {
    for link in links {
        let code = link["code"].as_str().unwrap();
        let reply = server.api("GET", &format!("/v1/links/{code}"), None);
        assert_eq!((reply.status, &reply.json()), (200, link));
    }
}

#[test]
fn kill_9_loses_no_acknowledged_line_of_a_batch() {
    let mut server = Server::start();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for round in 0..3 {
        let before = acknowledged.lock().unwrap().len();
        let client = {
            let (admin, acknowledged) = (server.admin, acknowledged.clone());
            std::thread::spawn(move || stream_batch(admin, round, usize::MAX, &acknowledged))
        };
        wait_until(|| acknowledged.lock().unwrap().len() > before + 100);
        server = server.crash_and_restart();
        assert!(client.join().unwrap().is_empty(), "round {round}");
    }
    assert_all_there(&server, &acknowledged.lock().unwrap());
    assert_each_link_has_its_entry(&server);
}

#[test]
fn a_stop_in_a_batch_refuses_its_further_lines_and_keeps_the_rest() {
    let mut server = Server::start();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let client = {
        let (admin, acknowledged) = (server.admin, acknowledged.clone());
        std::thread::spawn(move || stream_batch(admin, 0, 20_000, &acknowledged))
    };
    wait_until(|| acknowledged.lock().unwrap().len() > 100);
    server.signal(Signal::SIGTERM);
    let others = client.join().unwrap();
    assert!(!others.is_empty());
    assert!(others.iter().all(|status| *status == 503), "{others:?}");
    assert!(server.stop_began().success());
    // It is over already: this only starts it again.
    let server = server.crash_and_restart();
    assert_all_there(&server, &acknowledged.lock().unwrap());
}

#[test]
fn the_log_shows_whether_a_batch_was_complete() {
    let server = Server::start();
    let body = json!({"url": "https://example.net/"}).to_string();
    let body = Some(("application/x-ndjson", body.into_bytes()));
    assert_eq!(
        server.api_raw("POST", "/v1/links:batch", &[], body).status,
        200
    );
    server.log().wait_for("\"complete\":true");
    assert!(!server.log().text().contains("\"complete\":false"));
    // A client that leaves in the middle is not mistaken for one that was served.
    stream_batch(server.admin, 0, 10, &Mutex::default());
    server.log().wait_for("\"complete\":false");
}

#[test]
fn a_restart_keeps_everything() {
    let server = Server::start();
    let first = server.add("https://example.net/first");
    let code = first["code"].as_str().unwrap().to_owned();
    let patch = json!({"url": "https://example.net/second"});
    let second = server
        .api("PATCH", &format!("/v1/links/{code}"), Some(&patch))
        .link();
    let server = server.restart();
    let path = format!("/v1/links/{code}");
    assert_eq!(server.api("GET", &path, None).json(), second);
    // Versions go on growing where they were, also over a delete.
    assert_eq!(server.api("DELETE", &path, None).status, 204);
    let server = server.restart();
    let third = server.add_with(&json!({"url": "https://example.net/third", "code": code}));
    let version = |link: &Value| link["version"].as_u64().unwrap();
    assert!(version(&first) < version(&second) && version(&second) < version(&third));
}

#[test]
fn a_stop_finishes_the_request_that_was_begun() {
    let mut server = Server::start();
    let body = json!({"url": "https://example.net/begun"}).to_string();
    let mut stream = TcpStream::connect(server.admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /v1/links HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let (early, late) = body.split_at(10);
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(early.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    server.signal(Signal::SIGTERM);
    server.log().wait_for("finishing the requests in progress");
    std::thread::sleep(Duration::from_millis(200));
    stream.write_all(late.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
    let status = server.stop_began();
    assert!(status.success(), "{status}");
    // All sockets are closed.
    assert!(TcpStream::connect(server.admin).is_err());
    assert!(TcpStream::connect(server.dns).is_err());
}

/// A connection of another program to the server's store.
fn intruder(server: &Server) -> rusqlite::Connection {
    rusqlite::Connection::open(server.dir().join("data/links.sqlite")).unwrap()
}

#[test]
fn unreadable_links_are_servfail_and_never_nxdomain() {
    let server = Server::start();
    for code in ["good", "damaged"] {
        server.add_with(&json!({"url": format!("https://example.net/{code}"), "code": code}));
    }
    intruder(&server)
        .execute(
            "UPDATE link SET url = 'nonsense' WHERE code = 'damaged'",
            [],
        )
        .unwrap();
    let reply = server.ask("damaged.s.example.com.", RecordType::TXT);
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(reply.answers.is_empty() && reply.authorities.is_empty());
    // RFC 8914: the operator of a resolver learns why.
    let edns = reply.edns.unwrap();
    let error = format!("{:?}", edns.option(15.into()).unwrap());
    assert!(error.contains("[0, 14"), "{error}");
    assert_eq!(server.api("GET", "/v1/links/damaged", None).status, 500);
    let url = format!("http://{}/", server.redirect);
    let reply = http("GET", &url, &[("host", "damaged.s.example.com")], None);
    assert!(
        reply.status >= 500 && reply.header("location").is_none(),
        "{reply:?}"
    );
    // Its neighbours are well.
    assert_eq!(
        server
            .ask("good.s.example.com.", RecordType::TXT)
            .answers
            .len(),
        2
    );
    assert_eq!(server.api("GET", "/v1/links", None).status, 200);
}

#[test]
fn a_store_that_cannot_be_written_is_503_and_answers_go_on() {
    let server = Server::start();
    server.add_with(&json!({"url": "https://example.net/", "code": "abc"}));
    let intruder = intruder(&server);
    intruder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let body = json!({"url": "https://example.net/blocked"});
    let reply = server.api("POST", "/v1/links", Some(&body));
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.header("retry-after").is_some());
    assert_eq!(
        server
            .ask("abc.s.example.com.", RecordType::TXT)
            .answers
            .len(),
        2
    );
    intruder.execute_batch("ROLLBACK").unwrap();
    // Nothing half done, and it heals by itself.
    let reply = server.api("POST", "/v1/links", Some(&body));
    assert!(matches!(reply.status, 200 | 201), "{reply:?}");
}

#[test]
fn memory_serves_on_while_the_store_fails() {
    let zone = crate::harness::ZONE;
    let server = Setup::empty()
        .zone("s.example.com", "redirect_host = \"r\"", zone)
        .section("[cache]\nrefresh = 1\nabsent = 1\n")
        .start();
    server.add_with(&json!({"url": "https://example.net/", "code": "abc"}));
    assert_eq!(
        server
            .ask("abc.s.example.com.", RecordType::TXT)
            .answers
            .len(),
        2
    );
    // The store's entry for it can no longer be read.
    intruder(&server)
        .execute("UPDATE link SET url = 'nonsense'", [])
        .unwrap();
    std::thread::sleep(Duration::from_millis(1_200));
    for _ in 0..3 {
        let reply = server.ask("abc.s.example.com.", RecordType::TXT);
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert!(
            reply.answers[1]
                .data
                .to_string()
                .contains("https://example.net/")
        );
        // RFC 8914 §4.4: every stale answer says so, kept hot or not.
        let error = reply.edns.unwrap();
        let error = format!("{:?}", error.option(15.into()));
        assert!(error.contains("[0, 3, "), "{error}");
    }
    // The first of them asked; its answer was then kept for a second.
    let stale = [("tier", "Memory"), ("result", "Stale")];
    assert!(server.metric("tinyns_link_lookups_total", &stale) >= 1.0);
}
