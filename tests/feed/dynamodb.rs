//! DynamoDB Streams: changes by other programs show on all servers, although memory and Redis hold the links.
//!
//! The servers of these tests keep links in memory for ten minutes, and Redis keeps them for a day.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use serde_json::json;

use crate::dynamo::{self, Emulator, TABLE, s};
use crate::harness::{Answer, PATIENCE, Server, Setup, eventually};
use crate::redis::{Fleet, LINES, LONG_MEMORY, followed};

const NAME: &str = "theirs.s.example.com";

fn url(number: u32) -> String {
    format!("https://example.net/{number}")
}

/// A server of the fleet that reads the stream of the table.
fn node(fleet: &Fleet) -> Server {
    followed(reading(fleet.setup(LINES)).section(LONG_MEMORY).start())
}

/// Has a server read the stream.
fn reading(setup: Setup) -> Setup {
    setup.replace_in_store("feed = false", "feed = true")
}

/// Waits until a server follows the feed.
fn fed(server: Server) -> Server {
    eventually("it follows the feed", PATIENCE, || {
        server.metric("tinyns_feed_following", &[]) == 1.0
    });
    server
}

fn entries(server: &Server) -> f64 {
    server.metric("tinyns_feed_entries_total", &[])
}

fn gaps(server: &Server) -> f64 {
    server.metric("tinyns_feed_gaps_total", &[])
}

/// Waits until Redis keeps a position after a change.
fn kept(fleet: &Fleet) {
    let place = || fleet.redis.cli(&["GET", "tinyns:feed"]);
    eventually("the position is kept", PATIENCE, || place().contains("~="));
}

/// Waits until Redis has the link again, which the feed has dropped from there.
fn refilled(fleet: &Fleet, server: &Server) {
    eventually("Redis has it", PATIENCE, || {
        server.answer(NAME);
        let held = fleet.redis.held(NAME);
        held.is_some_and(|held| held["url"] == json!(url(0)))
    });
}

fn delete(emulator: &Emulator, name: &str) {
    dynamo::once(async {
        let sent = emulator.foreign().await.delete_item().table_name(TABLE);
        sent.key("miniUrl", s(name)).send().await.unwrap();
    });
}

/// Changes the destination as `aws dynamodb update-item` does, without a new version.
fn update(emulator: &Emulator, name: &str, url: &str) {
    dynamo::once(async {
        let sent = emulator.foreign().await.update_item().table_name(TABLE);
        let sent = sent
            .key("miniUrl", s(name))
            .update_expression("SET fullUrl = :url");
        let sent = sent.expression_attribute_values(":url", s(url));
        sent.send().await.unwrap();
    });
}

#[test]
fn changes_by_another_program_show_on_all_servers() {
    let fleet = Fleet::start();
    let servers = [fed(node(&fleet)), fed(node(&fleet))];
    let show = |answer: &Answer| {
        for server in &servers {
            server.wait_for_answer(NAME, answer, PATIENCE);
        }
    };
    show(&Answer::Absent);
    for number in 0..3 {
        fleet.emulator.insert(NAME, &url(number));
        show(&Answer::Url(url(number)));
    }
    delete(&fleet.emulator, NAME);
    show(&Answer::Absent);
    // A link of the servers, changed without a new version.
    let ours = servers[0].register("ours", &url(0));
    for server in &servers {
        server.wait_for_answer(&ours, &Answer::Url(url(0)), PATIENCE);
    }
    for number in 1..3 {
        update(&fleet.emulator, &ours, &url(number));
        for server in &servers {
            server.wait_for_answer(&ours, &Answer::Url(url(number)), PATIENCE);
        }
    }
    assert_eq!(servers.iter().map(gaps).sum::<f64>(), 0.0);
}

#[test]
fn changes_by_a_server_leave_redis_as_it_is() {
    let fleet = Fleet::start();
    let servers = [fed(node(&fleet)), fed(node(&fleet))];
    let mut names = Vec::new();
    for number in 0..20 {
        names.push(servers[number % 2].register(&format!("c{number}"), &url(0)));
        assert_eq!(
            servers[0]
                .redirect_to(&format!("c{number}"), &url(1))
                .status,
            200
        );
    }
    let read = || servers.iter().map(entries).sum::<f64>() >= 40.0;
    eventually("the stream was read", PATIENCE, read);
    for name in &names {
        let held = fleet.redis.held(name);
        assert_eq!(held.unwrap_or_default()["url"], json!(url(1)), "{name}");
    }
    for server in &servers {
        assert_eq!(server.metric("tinyns_redis_repairs_pending", &[]), 0.0);
    }
}

#[test]
fn another_server_takes_over_when_the_reader_dies() {
    let fleet = Fleet::start();
    let mut servers = vec![fed(node(&fleet)), fed(node(&fleet))];
    fleet.emulator.insert(NAME, &url(0));
    let reads = |server: &Server| entries(server) > 0.0;
    eventually("one reads", PATIENCE, || servers.iter().any(reads));
    let reader = usize::from(reads(&servers[1]));
    let other = servers.remove(1 - reader);
    let mut reader = servers.remove(0);
    other.wait_for_answer(NAME, &Answer::Url(url(0)), PATIENCE);
    kept(&fleet);
    reader.crash();
    fleet.emulator.insert(NAME, &url(1));
    other.wait_for_answer(NAME, &Answer::Url(url(1)), PATIENCE);
    assert_eq!(gaps(&other), 0.0, "it reads on where the other one was");
}

#[test]
fn changes_from_a_time_without_servers_show_after_the_start() {
    let fleet = Fleet::start();
    let mut server = fed(node(&fleet));
    fleet.emulator.insert(NAME, &url(0));
    server.wait_for_answer(NAME, &Answer::Url(url(0)), PATIENCE);
    kept(&fleet);
    refilled(&fleet, &server);
    server.stop();
    fleet.emulator.insert(NAME, &url(1));
    let server = node(&fleet);
    server.wait_for_answer(NAME, &Answer::Url(url(1)), PATIENCE);
    assert_eq!(gaps(&server), 0.0);
}

#[test]
fn values_are_ignored_if_it_is_not_known_what_redis_lacks() {
    let fleet = Fleet::start();
    let mut server = fed(node(&fleet));
    fleet.emulator.insert(NAME, &url(0));
    server.wait_for_answer(NAME, &Answer::Url(url(0)), PATIENCE);
    kept(&fleet);
    refilled(&fleet, &server);
    server.stop();
    fleet.emulator.insert(NAME, &url(1));
    assert_eq!(fleet.redis.cli(&["DEL", "tinyns:feed"]), "1");
    let server = node(&fleet);
    server.wait_for_answer(NAME, &Answer::Url(url(1)), PATIENCE);
}

#[test]
fn the_feed_goes_on_when_redis_has_lost_everything() {
    let mut fleet = Fleet::start();
    let servers = [fed(node(&fleet)), fed(node(&fleet))];
    fleet.emulator.insert(NAME, &url(0));
    for server in &servers {
        server.wait_for_answer(NAME, &Answer::Url(url(0)), PATIENCE);
    }
    fleet.redis.kill();
    fleet.emulator.insert(NAME, &url(1));
    for server in &servers {
        // Without Redis they look links up each second.
        server.wait_for_answer(NAME, &Answer::Url(url(1)), PATIENCE);
    }
    fleet.redis.restart_empty();
    let servers = servers.map(followed);
    for server in &servers {
        server.wait_for_answer(NAME, &Answer::Url(url(1)), PATIENCE);
    }
    fleet.emulator.insert(NAME, &url(2));
    for server in &servers {
        server.wait_for_answer(NAME, &Answer::Url(url(2)), PATIENCE);
    }
}

#[test]
fn a_server_without_redis_reads_the_stream_for_itself() {
    let emulator = Emulator::start();
    let setup = Setup::new().dynamodb(&emulator.url()).section(LONG_MEMORY);
    let server = fed(setup.start());
    for number in 0..3 {
        emulator.insert(NAME, &url(number));
        server.wait_for_answer(NAME, &Answer::Url(url(number)), PATIENCE);
    }
}

#[test]
fn a_table_without_a_stream_works_as_before() {
    let emulator = Emulator::start();
    dynamo::once(async {
        let name = AttributeDefinition::builder().attribute_name("miniUrl");
        let name = name.attribute_type(ScalarAttributeType::S).build().unwrap();
        let key = KeySchemaElement::builder().attribute_name("miniUrl");
        let key = key.key_type(KeyType::Hash).build().unwrap();
        let client = emulator.foreign().await;
        let sent = client.create_table().table_name(TABLE);
        let sent = sent.attribute_definitions(name).key_schema(key);
        let sent = sent.billing_mode(BillingMode::PayPerRequest);
        sent.send().await.unwrap();
    });
    let redis = crate::redis::RedisServer::start();
    let setup = reading(crate::redis::setup(&emulator.url(), redis.url(), LINES));
    let setup = setup.section(LONG_MEMORY);
    let server = followed(setup.start());
    let name = server.register("ours", &url(0));
    assert_eq!(server.answer(&name), Answer::Url(url(0)));
    assert_eq!(server.metric("tinyns_feed_following", &[]), 0.0);
    let ready = server.api("GET", "/readyz", None).json();
    assert_eq!(ready["status"], "ready", "{ready}");
}
