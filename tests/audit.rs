//! The audit log: no change without its entry and no entry without its change, also over kill -9; and its bounds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, Setup, try_api};

/// All entries, the oldest first.
pub fn all_entries(server: &Server) -> Vec<Value> {
    let mut entries = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/audit?limit=1000{cursor}");
        let reply = server.api("GET", &path, None);
        assert_eq!(reply.status, 200, "{reply:?}");
        let page = reply.json();
        entries.extend(page["entries"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else {
            entries.reverse();
            return entries;
        };
        cursor = format!("&cursor={next}");
    }
}

/// Makes, changes and deletes links again and again, until the server is gone.
fn churn(admin: std::net::SocketAddr, writer: u64, stop: &AtomicBool) {
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let code = format!("w{writer}-{}", number % 5);
        let url = format!("https://example.net/{writer}/{number}");
        let path = format!("/v1/links/{code}");
        let done = match number % 3 {
            0 => try_api(
                admin,
                "POST",
                "/v1/links",
                Some(&json!({"url": url, "code": code})),
            ),
            1 => try_api(
                admin,
                "PATCH",
                &path,
                Some(&json!({"url": url, "ttl": number % 9})),
            ),
            _ => try_api(admin, "DELETE", &path, None),
        };
        if done.is_none() {
            return;
        }
    }
}

/// Follows the entries of each link, and compares where they lead with the links that are there.
fn assert_entries_tell_the_whole_story(server: &Server) -> usize {
    let entries = all_entries(server);
    let mut states: BTreeMap<String, Value> = BTreeMap::new();
    for entry in &entries {
        let code = entry["code"].as_str().unwrap().to_owned();
        let before = states.get(&code).cloned().unwrap_or(Value::Null);
        assert_eq!(entry["before"], before, "{entry}");
        states.insert(code, entry["after"].clone());
    }
    states.retain(|_, state| !state.is_null());
    let listed = server.api("GET", "/v1/links?limit=1000", None).json();
    let links = listed["links"].as_array().unwrap().iter().map(|link| {
        let code = link["code"].as_str().unwrap().to_owned();
        let state =
            json!({"url": link["url"], "ttl": link["ttl"], "expires_at": link["expires_at"]});
        (code, state)
    });
    assert_eq!(links.collect::<BTreeMap<_, _>>(), states);
    entries.len()
}

#[test]
fn kill_9_separates_no_change_from_its_entry() {
    let mut server = Server::start();
    let mut entries = 0;
    for round in 0..4 {
        let stop = Arc::new(AtomicBool::new(false));
        let admin = server.admin;
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let stop = stop.clone();
                std::thread::spawn(move || churn(admin, writer, &stop))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(200 + 70 * round));
        server = server.crash_and_restart();
        stop.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.join().unwrap();
        }
        let now = assert_entries_tell_the_whole_story(&server);
        assert!(now > entries, "round {round} changed nothing");
        entries = now;
    }
}

#[test]
fn no_entries_are_kept_if_the_configuration_says_so() {
    let server = Setup::new().section("[audit]\nenabled = false\n").start();
    server.add("https://example.net/");
    assert_eq!(all_entries(&server), Vec::<Value>::new());
}
