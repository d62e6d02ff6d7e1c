//! PostgreSQL: each server follows the feed of the database.

use std::time::Duration;

use super::*;
use crate::harness::Setup;
use crate::postgres::Postgres;
use crate::redis::{LINES, RedisServer};

fn setup(database: &Postgres) -> Setup {
    let url = database.url();
    Setup::new()
        .store(&format!("kind = \"postgresql\"\nurl = \"{url}\"\n"))
        .section("[cache]\nfilter = true\n")
}

fn with_redis(database: &Postgres, redis: &RedisServer) -> Server {
    let lines = format!("[redis]\nurl = {:?}\n{LINES}", redis.url());
    setup(database).section(&lines).start()
}

#[test]
fn a_link_is_answered_by_all_servers_once_it_is_acknowledged() {
    let database = Postgres::start();
    let servers = [(); 2].map(|()| setup(&database).start());
    links_are_there_once_acknowledged(&servers, 1_000);
}

#[test]
fn a_server_that_was_stopped_denies_nothing_when_it_continues() {
    let database = Postgres::start();
    let servers = [(); 2].map(|()| setup(&database).start());
    a_server_denies_nothing_when_it_continues(&servers, &[3, 9].map(Duration::from_secs));
}

#[test]
fn nothing_is_denied_while_a_server_starts() {
    let database = Postgres::start();
    let start = || setup(&database).start();
    nothing_is_denied_at_the_start(&start(), start);
}

/// The announcements of servers are on the replica as well. A commit waits for the replica, so that it has all that was
/// acknowledged.
#[test]
fn nothing_is_denied_while_a_replica_takes_the_place_of_the_database() {
    let mut first = Postgres::start();
    let second = first.replica();
    let wait_for_replica = "ALTER SYSTEM SET synchronous_standby_names = '*'";
    first.psql_as("postgres", "postgres", wait_for_replica);
    first.reload();
    let url = format!(
        "postgresql://tinyns@{},{}/tinyns",
        first.host(),
        second.host()
    );
    let start = || {
        Setup::new()
            .store(&format!("kind = \"postgresql\"\nurl = \"{url}\"\n"))
            .section("[cache]\nfilter = true\n")
            .start()
    };
    let servers = [start(), start()];
    servers.iter().for_each(complete);
    nothing_is_denied_while(&servers.each_ref(), || {
        std::thread::sleep(Duration::from_secs(2));
        first.kill();
        second.promote();
        std::thread::sleep(Duration::from_secs(6));
    });
    servers.iter().for_each(check_random_names);
}

#[test]
fn nothing_is_denied_while_redis_and_the_database_fail() {
    let mut database = Postgres::start();
    let mut redis = RedisServer::start();
    let servers = [(); 2].map(|()| with_redis(&database, &redis));
    servers.iter().for_each(complete);
    nothing_is_denied_while(&servers.each_ref(), || {
        let wait = || std::thread::sleep(Duration::from_secs(2));
        wait();
        redis.pause();
        wait();
        redis.resume();
        wait();
        redis.kill();
        wait();
        redis.restart_empty();
        wait();
        redis.cli(&["flushall"]);
        wait();
        database.freeze();
        wait();
        database.thaw();
        wait();
        database.kill();
        database.start_again();
        wait();
    });
    servers.iter().for_each(check_random_names);
}
