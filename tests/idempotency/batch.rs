//! Batches with a key.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::{KEY, check, lasting, table, told};
use crate::audit::all_entries;
use crate::dynamo::Emulator;
use crate::harness::{PATIENCE, Reply, Server, Setup, TOKEN, eventually};

/// Ten lines of a batch a second.
const SLOW: &str = "[admin.rate]\nrequests_per_second = 10\nburst = 10\n";

fn post(server: &Server, key: &str, lines: &str) -> Reply {
    let body = ("application/x-ndjson", lines.as_bytes().to_vec());
    let headers = [("idempotency-key", key)];
    server.api_raw("POST", "/v1/links:batch", &headers, Some(body))
}

fn line(code: &str) -> String {
    let url = format!("https://example.net/{code}");
    json!({"url": url, "code": code}).to_string() + "\n"
}

/// The statuses of the results.
fn statuses(reply: &Reply) -> Vec<u64> {
    let lines = reply.body.lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| line["status"].as_u64().unwrap()).collect()
}

fn a_server(server: &Server) {
    let lines = line("a") + "\n" + &line("b") + "{\"url\": \"ftp://x/\"}\n" + &line("c");
    let first = post(server, KEY, &lines);
    check(&first, 200, false, "");
    assert_eq!(statuses(&first), [201, 201, 422, 201]);
    assert_eq!(server.remove("b").status, 204);
    let again = post(server, KEY, &lines);
    check(&again, 200, true, "");
    assert_eq!(lasting(&again), lasting(&first));
    assert_eq!(server.api("GET", "/v1/links/b", None).status, 404);

    let reused = post(server, KEY, &(lines + &line("d")));
    check(&reused, 422, false, "idempotency-key-reused");
    let new = json!({"url": "https://example.net/a", "code": "a"});
    let reused = super::post(server, KEY, &new);
    check(&reused, 422, false, "idempotency-key-reused");

    // Many results: they are deflated.
    let many: String = (0..1_000).map(|n| line(&format!("m{n}"))).collect();
    let first = post(server, "many", &many);
    assert_eq!(statuses(&first), [201; 1_000]);
    let again = post(server, "many", &many);
    check(&again, 200, true, "");
    assert_eq!(lasting(&again), lasting(&first));
}

#[test]
fn a_batch_with_a_key_is_carried_out_once_with_sqlite() {
    let server = Server::start();
    a_server(&server);
    let entries = all_entries(&server);
    let made = entries
        .iter()
        .filter(|entry| entry["action"] == "link.created");
    assert_eq!(made.count(), 1_003);
}

#[test]
fn a_batch_with_a_key_is_carried_out_once_with_dynamodb() {
    let emulator = Emulator::start();
    a_server(&Setup::new().store(&table(&emulator.url())).start());
}

#[test]
fn a_batch_that_is_too_large_for_a_key_is_refused_whole() {
    let server = Server::start();
    let many: String = (0..1_001).map(|n| line(&format!("m{n}"))).collect();
    check(
        &post(&server, KEY, &many),
        413,
        false,
        "keyed-batch-too-large",
    );
    let large = line("a") + &" ".repeat(1 << 20);
    check(
        &post(&server, KEY, &large),
        413,
        false,
        "keyed-batch-too-large",
    );
    let links = server.api("GET", "/v1/links", None).json();
    assert_eq!(links["links"], json!([]));
    // The key is still free, and blank lines do not count.
    let blank = line("a") + &"\n".repeat(2_000);
    check(&post(&server, KEY, &blank), 200, false, "");
}

/// Sends a batch, and returns the connection once its first result has come.
fn begin(server: &Server, lines: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /v1/links:batch HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {TOKEN}\r\nIdempotency-Key: {KEY}\r\n\
         Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
        lines.len()
    );
    stream.write_all((head + lines).as_bytes()).unwrap();
    let mut begun = Vec::new();
    while !String::from_utf8_lossy(&begun).contains("\"line\":1,") {
        let mut buffer = [0; 4_096];
        let length = stream.read(&mut buffer).unwrap();
        assert_ne!(length, 0, "{}", String::from_utf8_lossy(&begun));
        begun.extend_from_slice(&buffer[..length]);
    }
    stream
}

#[test]
fn a_batch_with_a_key_goes_on_when_its_client_disconnects() {
    let server = Setup::new().section(SLOW).start();
    let lines: String = (0..40).map(|n| line(&format!("c{n}"))).collect();
    drop(begin(&server, &lines));
    check(
        &post(&server, KEY, &lines),
        409,
        false,
        "idempotency-key-in-use",
    );
    eventually("carried out", PATIENCE, || {
        // The rate is for these requests, too.
        std::thread::sleep(std::time::Duration::from_millis(200));
        told(&post(&server, KEY, &lines)).0 == 200
    });
    let repeat = post(&server, KEY, &lines);
    check(&repeat, 200, true, "");
    assert_eq!(statuses(&repeat), [201; 40]);
}

#[test]
fn a_batch_in_which_a_server_dies_is_carried_out_again() {
    let mut server = Setup::new().section(SLOW).start();
    let lines: String = (0..300).map(|n| line(&format!("c{n}"))).collect();
    let stream = begin(&server, &lines);
    server.crash();
    drop(stream);
    let config = std::fs::read_to_string(server.config()).unwrap();
    std::fs::write(server.config(), config.replace(SLOW, "")).unwrap();
    let server = server.crash_and_restart();
    // This server alone had the file, so nobody has to wait for the lease.
    let again = post(&server, KEY, &lines);
    check(&again, 200, false, "");
    let found = statuses(&again);
    assert_eq!(found.len(), 300);
    assert_eq!((found[0], found[299]), (200, 201), "{found:?}");
    let repeat = post(&server, KEY, &lines);
    check(&repeat, 200, true, "");
    assert_eq!(repeat.body, again.body);
    assert_eq!(all_entries(&server).len(), 300);
}
