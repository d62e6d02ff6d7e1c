//! The audit log: no change without its entry and no entry without its change, also over kill -9; and its bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::dynamo::Emulator;
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

/// Two servers change the same links at the same time. Each acknowledged change has one entry, the entries of a link are in
/// the order of its changes, and pages that are read meanwhile miss none.
#[test]
fn entries_of_two_servers_are_complete_and_in_order() {
    let emulator = Emulator::start();
    let node = || {
        let setup = Setup::new().dynamodb(&emulator.url());
        setup.section("[audit]\ntable = \"audit\"\n").start()
    };
    let servers = [node(), node()];
    const CODES: [&str; 3] = ["a", "b", "c"];
    for code in CODES {
        servers[0].register(code, "https://example.net/0");
    }
    let done: Vec<(String, String)> = std::thread::scope(|scope| {
        let writers = (0..6).map(|writer| {
            let server = &servers[writer % 2];
            scope.spawn(move || write(server, writer, &CODES))
        });
        let writers: Vec<_> = writers.collect();
        let mut seen: Vec<Value> = Vec::new();
        while writers.iter().any(|writer| !writer.is_finished()) {
            let now = all_entries(&servers[1]);
            let ids: BTreeSet<_> = now.iter().map(|entry| entry["id"].to_string()).collect();
            for entry in &seen {
                assert!(ids.contains(&entry["id"].to_string()), "{entry} is gone");
            }
            seen = now;
        }
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect()
    });

    let entries = all_entries(&servers[0]);
    assert_eq!(entries, all_entries(&servers[1]));
    let times: Vec<_> = entries.iter().map(|entry| entry["at"].as_str()).collect();
    assert!(times.is_sorted(), "{times:?}");
    for (id, action) in &done {
        let of_request = entries.iter().filter(|entry| entry["request_id"] == **id);
        let found: Vec<_> = of_request.map(|entry| &entry["action"]).collect();
        assert_eq!(found, [action], "{id}");
    }
    assert_eq!(
        entries.len(),
        done.len() + CODES.len(),
        "entries without a change"
    );
    for code in CODES {
        let of_code = entries.iter().filter(|entry| entry["code"] == code);
        let mut state = Value::Null;
        for entry in of_code {
            assert_eq!(entry["before"], state, "{entry}");
            state = entry["after"].clone();
        }
        let link = servers[1].api("GET", &format!("/v1/links/{code}"), None);
        match link.status {
            404 => assert_eq!(state, Value::Null),
            _ => assert_eq!(link.json()["url"], state["url"]),
        }
    }
}

/// Changes links again and again. Returns the id of each request that has changed something, and the action.
fn write(server: &Server, writer: usize, codes: &[&str]) -> Vec<(String, String)> {
    let mut done = Vec::new();
    for number in 0..30 {
        let code = codes[number % codes.len()];
        let id = format!("w{writer}-{number}");
        let url = format!("https://example.net/{writer}/{number}");
        let path = format!("/v1/links/{code}");
        let (method, path, body, action) = match (number / codes.len()) % 4 {
            2 if writer < 2 => ("DELETE", &*path, None, "link.deleted"),
            3 if writer < 2 => {
                let body = json!({"url": url, "code": code});
                ("POST", "/v1/links", Some(body), "link.created")
            }
            _ => ("PATCH", &*path, Some(json!({ "url": url })), "link.changed"),
        };
        let body = body.map(|body| ("application/json", body.to_string().into_bytes()));
        let reply = server.api_raw(method, path, &[("x-request-id", &id)], body);
        match reply.status {
            200 | 201 | 204 => done.push((id, action.into())),
            404 | 409 => {}
            _ => panic!("{reply:?}"),
        }
    }
    done
}
