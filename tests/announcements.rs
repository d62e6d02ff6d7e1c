//! The announcements of servers in Redis: in a cluster whose master dies, and of servers of other versions.

use serde_json::{Value, json};

use crate::dynamo::Emulator;
use crate::harness::{PATIENCE, Reply, Server, eventually};
use crate::redis::{Fleet, LINES, LONG_MEMORY, RedisCluster, followed, setup};
use crate::servers::know_each_other;

fn make(server: &Server, code: &str) -> Reply {
    let body = json!({ "url": format!("https://example.net/{code}"), "code": code });
    server.api("POST", "/v1/links?wait=servers", Some(&body))
}

/// The key of the announcements.
fn announcements(keys: impl IntoIterator<Item = String>) -> String {
    let mut keys = keys.into_iter();
    let key = keys.find(|key| key.starts_with("tinyns:servers:"));
    key.expect("servers are announced")
}

#[test]
fn servers_of_a_cluster_know_each_other_also_after_a_fail_over() {
    let emulator = Emulator::start();
    let mut cluster = RedisCluster::start();
    let servers = ["one", "two", "three"].map(|name| {
        let lines = format!("mode = \"cluster\"\n{LINES}");
        let setup = setup(&emulator.url(), cluster.urls(), &lines).section(LONG_MEMORY);
        followed(
            setup
                .section(&format!("[server]\nname = \"{name}\"\n"))
                .start(),
        )
    });
    let all = servers.each_ref();
    know_each_other(all);
    let complete = |made: &Reply| made.json()["visible"]["complete"] == true;
    for (number, server) in all.into_iter().enumerate() {
        let made = make(server, &format!("before{number}"));
        assert!(made.status == 201 && complete(&made), "{made:?}");
    }
    // The announcements are on one master, and the stream of changes is on another one.
    let key = announcements(cluster.keys());
    let stream = "tinyns:changes";
    let of_stream = cluster.master_of_key(stream);
    cluster.kill_master_of(&key);
    // A receipt never claims more than is known: without announcements it is not complete.
    let made = make(all[0], "during");
    assert!(made.status == 201 || made.status == 202, "{made:?}");
    if complete(&made) {
        assert_eq!(made.json()["visible"]["servers"], 3, "{made:?}");
    }
    eventually("there is a new master", PATIENCE, || cluster.serves(&key));
    assert!(cluster.serves(stream), "{of_stream}");
    know_each_other(all);
    for (number, server) in all.into_iter().enumerate() {
        eventually("a receipt is complete", PATIENCE, || {
            let made = make(server, &format!("after{number}"));
            let visible = &made.json()["visible"];
            visible["complete"] == true && visible["servers"] == 3
        });
    }
}

#[test]
fn servers_of_other_versions_are_listed_and_waited_for() {
    let fleet = Fleet::start();
    let start = |name: &str| {
        let setup = fleet.setup(LINES).section(LONG_MEMORY);
        followed(
            setup
                .section(&format!("[server]\nname = \"{name}\"\n"))
                .start(),
        )
    };
    let servers = ["one", "two"].map(start);
    know_each_other(servers.each_ref());
    let key = announcements(fleet.redis.keys());
    let announce = |id: &str, text: &str| {
        // Until the year 2100; no announcement counts for longer than its lease from when it is read.
        let value = format!("4102444800000 {text}");
        fleet.redis.cli(&["HSET", &key, id, &value]);
    };
    let names = |server: &Server| -> Vec<String> {
        let list: Value = server.api("GET", "/v1/servers", None).json();
        let list = list["servers"].as_array().unwrap().clone();
        list.iter()
            .map(|server| server["name"].as_str().unwrap().into())
            .collect()
    };
    // A later version says more, and has applied everything.
    let newer = json!({
        "name": "newer", "region": "default", "version": "99.0", "started": 1,
        "applied": "4102444800000-0", "filter_denies": false, "denied": "", "more": { "a": [1] },
    });
    announce("0000000000000001", &newer.to_string());
    for server in &servers {
        eventually("the newer one is known", PATIENCE, || {
            names(server).len() == 3
        });
        assert!(names(server).contains(&"newer".to_owned()));
    }
    let made = make(&servers[0], "first");
    let visible = made.json()["visible"].clone();
    assert_eq!(
        (made.status, &visible["servers"]),
        (201, &json!(3)),
        "{visible}"
    );
    // An earlier one does not say how far it is, and so is waited for.
    let older = json!({ "name": "older", "region": "default", "version": "0.0.9", "started": 1 });
    announce("0000000000000002", &older.to_string());
    // What is no announcement does not count, and disturbs nothing.
    announce("0000000000000003", "no announcement");
    announce("0000000000000004", "{\"name\":\"\"}");
    for server in &servers {
        eventually("the older one is known", PATIENCE, || {
            names(server).len() == 4
        });
    }
    let made = make(&servers[1], "second");
    let visible = made.json()["visible"].clone();
    assert_eq!(made.status, 202, "{visible}");
    assert_eq!(visible["missing"], json!(["older"]));
    assert_eq!(
        (&visible["servers"], &visible["applied"]),
        (&json!(4), &json!(3))
    );
    fleet.redis.cli(&["HDEL", &key, "0000000000000002"]);
    for server in &servers {
        eventually("the older one is gone", PATIENCE, || {
            names(server).len() == 3
        });
    }
    assert_eq!(make(&servers[0], "third").status, 201);
}
