//! Backups that are put back while Redis holds what came after them.

use std::fs;

use serde_json::json;

use super::{done, failed, identity, text};
use crate::dynamo::{Emulator, n, once, put, s};
use crate::harness::{Answer, PATIENCE, Setup};
use crate::redis::{LINES, LONG_MEMORY, RedisServer, followed, setup};

fn url(number: usize) -> String {
    format!("https://example.net/{number}")
}

#[test]
fn a_new_epoch_of_a_table_is_seen_by_its_servers_and_nothing_of_the_old_one_is_answered() {
    let emulator = Emulator::start();
    let redis = RedisServer::start();
    let lines = LINES.replace("warm_load = false", "warm_load = true");
    let server = setup(&emulator.url(), redis.url(), &lines).section(LONG_MEMORY);
    let server = followed(server.start());
    let name = server.register("a", &url(2));
    let gone = server.register("b", &url(1));
    assert_eq!(server.answer(&name), Answer::Url(url(2)));
    assert_eq!(server.answer(&gone), Answer::Url(url(1)));
    // Another program copies an older state of the links into the same table, which nothing shows.
    once(async {
        let client = emulator.foreign().await;
        let item = [
            ("miniUrl", s(&name)),
            ("fullUrl", s(&url(1))),
            ("version", n(7)),
        ];
        put(&client, &item).await;
        let delete = client.delete_item().table_name(crate::dynamo::TABLE);
        delete.key("miniUrl", s(&gone)).send().await.unwrap();
    });
    assert_eq!(server.answer(&name), Answer::Url(url(2)));
    let before = identity(server.config());
    let said = done(&["restored", "--config", text(server.config())]);
    assert!(said.contains("epoch 2"), "{said}");
    server.wait_for_answer(&name, &Answer::Url(url(1)), PATIENCE);
    server.wait_for_answer(&gone, &Answer::Absent, PATIENCE);
    // Nor by a server that starts now, with nothing but Redis at first.
    let fresh = followed(setup(&emulator.url(), redis.url(), LINES).start());
    assert_eq!(fresh.answer(&name), Answer::Url(url(1)));
    let after = identity(server.config());
    assert_eq!(after["epoch"], 2);
    assert_eq!(after["id"], before["id"]);
    // Changes work, and are announced in the new epoch.
    assert_eq!(server.redirect_to("a", &url(3)).status, 200);
    fresh.wait_for_answer(&name, &Answer::Url(url(3)), PATIENCE);
}

#[test]
fn a_new_epoch_of_a_file_begins_while_no_server_has_it() {
    let redis = RedisServer::start();
    let setup = Setup::new().section(&format!("[redis]\nurl = \"{}\"\n{LINES}", redis.url()));
    let mut server = setup.start();
    let name = server.register("a", &url(1));
    let config = server.config().to_owned();
    let refused = failed(&["restored", "--config", text(&config)]);
    assert!(
        refused.contains("stop the server that has it open"),
        "{refused}"
    );
    assert_eq!(server.answer(&name), Answer::Url(url(1)));
    assert!(server.stop().success());
    let file = server.dir().join("data/links.sqlite");
    fs::copy(&file, server.dir().join("backup")).unwrap();
    let mut server = server.crash_and_restart();
    assert_eq!(server.redirect_to("a", &url(2)).status, 200);
    assert!(server.stop().success());
    // The seal shows this backup by itself; the epoch is for what no seal shows.
    fs::copy(server.dir().join("backup"), &file).unwrap();
    done(&["restored", "--config", text(&config)]);
    assert_eq!(identity(&config)["epoch"], json!(2));
    let server = server.crash_and_restart();
    assert_eq!(server.answer(&name), Answer::Url(url(1)));
    assert_eq!(identity(&config)["epoch"], json!(2));
}
