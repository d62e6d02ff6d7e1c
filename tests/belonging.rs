//! Redis may hold entries of another store, or of an undone state of this one: restored backups, kills, two stores
//! with one prefix, a Redis of unknown age.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::dynamo::{Emulator, TABLE, once};
use crate::harness::{Answer, PATIENCE, Server, Setup, eventually, run};
use crate::redis::{Fleet, LINES, LONG_MEMORY, RedisServer, followed, key, setup};

/// A server with a store in a file and this Redis before it.
fn on_file(redis: &RedisServer, lines: &str) -> Setup {
    let url = redis.url();
    let section = format!("[redis]\nurl = \"{url}\"\n{lines}");
    Setup::new().section(&section).section(LONG_MEMORY)
}

/// Waits until a server uses Redis.
fn connected(server: Server) -> Server {
    eventually("it is connected", PATIENCE, || {
        server.metric("tinyns_redis_breakers_open", &[]) == 0.0
    });
    followed(server)
}

fn store(server: &Server) -> PathBuf {
    server.dir().join("data/links.sqlite")
}

fn shell(file: &Path, command: &str) -> String {
    run("sqlite3", &[file.to_str().unwrap(), command])
}

fn url(text: &str) -> String {
    format!("https://example.net/{text}")
}

fn name(code: &str) -> String {
    format!("{code}.s.example.com")
}

fn tells(server: &Server, code: &str, text: &str) {
    assert_eq!(server.answer(&name(code)), Answer::Url(url(text)), "{code}");
}

/// How many look-ups a tier has answered.
fn hits(server: &Server, tier: &str) -> f64 {
    let labels = [("tier", tier), ("result", "Hit")];
    server.metric("tinyns_link_lookups_total", &labels)
}

/// The reasons in `/readyz`.
fn reasons(server: &Server) -> String {
    server.api("GET", "/readyz", None).json()["reasons"].to_string()
}

#[test]
fn a_clean_restart_keeps_redis_warm() {
    const LINKS: usize = 20;
    let redis = RedisServer::start();
    let mut server = connected(on_file(&redis, LINES).start());
    let codes: Vec<String> = (0..LINKS).map(|n| format!("c{n}")).collect();
    for code in &codes {
        server.register(code, &url(code));
    }
    for round in 1..=2 {
        server.remove("c0");
        server.register("c0", &url(&format!("round-{round}")));
        let held = redis.held(&name("c1")).unwrap();
        server = connected(server.restart());
        tells(&server, "c0", &format!("round-{round}"));
        for code in &codes[1..] {
            tells(&server, code, code);
        }
        assert_eq!(hits(&server, "Redis"), LINKS as f64, "round {round}");
        assert_eq!(hits(&server, "Store"), 0.0, "round {round}");
        assert_eq!(redis.held(&name("c1")).unwrap(), held);
    }
}

#[test]
fn after_a_kill_entries_of_redis_are_not_used() {
    let redis = RedisServer::start();
    let server = connected(on_file(&redis, LINES).start());
    server.register("a", &url("a"));
    let held = redis.held(&name("a")).unwrap();
    let server = connected(server.crash_and_restart());
    tells(&server, "a", "a");
    assert_eq!((hits(&server, "Redis"), hits(&server, "Store")), (0.0, 1.0));
    eventually("it is put again", PATIENCE, || {
        let now = redis.held(&name("a")).unwrap();
        now["of"] != held["of"] && now["url"] == held["url"]
    });
    // The word that was left at a stop is taken once: a kill after it is one, too.
    let server = connected(server.restart());
    tells(&server, "a", "a");
    assert_eq!(hits(&server, "Redis"), 1.0);
    let server = connected(server.crash_and_restart());
    tells(&server, "a", "a");
    assert_eq!(hits(&server, "Redis"), 0.0);
}

/// A link that is changed, one that is deleted and one that is made after a backup: `restore` puts the
/// backup, which `back_up` has made, back while the server is down.
fn restored(
    lines: &str,
    back_up: impl Fn(&mut Server, &Path),
    restore: impl Fn(&mut Server, &Path),
) {
    let redis = RedisServer::start();
    let mut server = connected(on_file(&redis, lines).start());
    let copy = server.dir().join("copy.sqlite");
    server.register("changed", &url("old"));
    server.register("deleted", &url("deleted"));
    back_up(&mut server, &copy);
    let mut server = connected(server.crash_and_restart());
    assert_eq!(server.redirect_to("changed", &url("new")).status, 200);
    assert_eq!(server.remove("deleted").status, 204);
    server.register("made", &url("made"));
    assert_eq!(redis.held(&name("changed")).unwrap()["url"], url("new"));
    restore(&mut server, &copy);
    let server = connected(server.crash_and_restart());
    let check = || {
        tells(&server, "changed", "old");
        tells(&server, "deleted", "deleted");
        assert_eq!(server.answer(&name("made")), Answer::Absent);
    };
    check();
    // A change reaches Redis, although Redis holds a higher version of an undone one.
    assert_eq!(server.redirect_to("changed", &url("newer")).status, 200);
    let server = connected(server.restart());
    tells(&server, "changed", "newer");
    assert_eq!(server.answer(&name("made")), Answer::Absent);
}

fn copy(from: &Path, to: &Path) {
    // With all times, as a careful operator copies.
    run("cp", &["-p", from.to_str().unwrap(), to.to_str().unwrap()]);
}

#[test]
fn a_restored_backup_invalidates_the_contents_of_redis() {
    for lines in [LINES, "timeout_ms = 500\n"] {
        let back_up = |server: &mut Server, file: &Path| {
            shell(&store(server), &format!(".backup '{}'", file.display()));
        };
        restored(lines, back_up, |server, file| {
            assert!(server.stop().success());
            copy(file, &store(server));
        });
    }
}

#[test]
fn a_copy_restored_while_the_server_was_down_invalidates_the_contents_of_redis() {
    let back_up = |server: &mut Server, file: &Path| {
        assert!(server.stop().success());
        copy(&store(server), file);
    };
    restored(LINES, back_up, |server, file| {
        server.crash();
        let log = store(server).with_file_name("links.sqlite-wal");
        let _ = fs::remove_file(log);
        copy(file, &store(server));
    });
}

#[test]
fn changes_by_another_program_while_the_server_is_down_show_at_once() {
    let redis = RedisServer::start();
    let mut server = connected(on_file(&redis, LINES).start());
    server.register("a", &url("old"));
    assert!(server.stop().success());
    shell(
        &store(&server),
        "UPDATE link SET url = 'https://example.net/new'",
    );
    // It is over already: this only starts it again.
    let server = connected(server.crash_and_restart());
    tells(&server, "a", "new");
}

#[test]
fn two_stores_with_one_prefix_answer_their_own_links() {
    let redis = RedisServer::start();
    let first = Emulator::start();
    let file = connected(on_file(&redis, LINES).start());
    let other = connected(on_file(&redis, "timeout_ms = 500\n").start());
    let table = setup(&first.url(), redis.url(), LINES).section(LONG_MEMORY);
    let table = followed(table.start());
    let servers = [("file", &file), ("other", &other), ("table", &table)];
    for (who, server) in servers {
        server.register("same", &url(who));
        server.register(who, &url(who));
    }
    for round in 0..5 {
        for (who, server) in servers {
            let text = format!("{who}-{round}");
            assert_eq!(server.redirect_to("same", &url(&text)).status, 200);
            tells(server, "same", &text);
        }
        for (who, server) in servers {
            tells(server, "same", &format!("{who}-{round}"));
            for (stranger, _) in servers.iter().filter(|(other, _)| *other != who) {
                assert_eq!(server.answer(&name(stranger)), Answer::Absent);
            }
        }
        redis.cli(&["del", &key(&name("other"))]);
    }
    for (who, server) in servers {
        eventually("it says so", PATIENCE, || {
            reasons(server).contains("same prefix")
        });
        assert_eq!(server.api("GET", "/readyz", None).status, 200, "{who}");
        server.log().wait_for("another link store uses this Redis");
    }
    // With memory that is empty as well.
    let file = connected(file.restart());
    tells(&file, "same", "file-4");
    assert_eq!(file.answer(&name("table")), Answer::Absent);
}

#[test]
fn a_table_that_was_made_anew_has_none_of_the_links_before() {
    let fleet = Fleet::start();
    let server = fleet.node();
    server.register("a", &url("a"));
    assert!(redis_holds(&fleet, "a"));
    let list = server.api("GET", "/v1/links", None).json();
    assert_eq!(list["links"].as_array().unwrap().len(), 1, "{list}");
    drop(server);
    once(async {
        let client = fleet.emulator.foreign().await;
        client
            .delete_table()
            .table_name(TABLE)
            .send()
            .await
            .unwrap();
    });
    let server = fleet.node();
    assert_eq!(server.answer(&name("a")), Answer::Absent);
    server.register("a", &url("b"));
    // All servers of it agree.
    let second = fleet.node();
    tells(&second, "a", "b");
    assert_eq!(hits(&second, "Redis"), 1.0);
}

fn redis_holds(fleet: &Fleet, code: &str) -> bool {
    fleet.redis.held(&name(code)).is_some()
}

/// A user without INFO, as managed services have it.
const WITHOUT_INFO: &str = "user tiny on >word ~* &* +@all -@dangerous\n";

#[test]
fn entries_of_a_redis_of_unknown_age_are_not_used() {
    let mut fleet = Fleet::with(RedisServer::with(WITHOUT_INFO));
    let url_with_user = format!("redis://tiny:word@{}", fleet.redis.address());
    let node = || {
        let setup = setup(&fleet.emulator.url(), &url_with_user, LINES);
        followed(setup.section(LONG_MEMORY).start())
    };
    let one = node();
    one.register("a", &url("old"));
    fleet.redis.save();
    assert_eq!(one.redirect_to("a", &url("new")).status, 200);
    drop(one);
    fleet.redis.restart_with_saved();
    assert_eq!(fleet.redis.held(&name("a")).unwrap()["url"], url("old"));
    let setup = setup(&fleet.emulator.url(), &url_with_user, "timeout_ms = 500\n");
    let two = followed(setup.section(LONG_MEMORY).start());
    tells(&two, "a", "new");
    assert_eq!(hits(&two, "Redis"), 0.0);
    assert!(reasons(&two).contains("+info"), "{}", reasons(&two));
    two.log().wait_for("Redis refuses INFO");
    // It still receives changes, and announces its own.
    let ready = two.api("GET", "/readyz", None).json();
    assert_eq!(ready["takes_changes"], json!(true));
    // As soon as it may, it looks again.
    fleet.redis.cli(&["acl", "setuser", "tiny", "+info"]);
    eventually("Redis is used", PATIENCE, || {
        !reasons(&two).contains("+info")
    });
    std::thread::sleep(Duration::from_millis(100));
    tells(&two, "a", "new");
}
