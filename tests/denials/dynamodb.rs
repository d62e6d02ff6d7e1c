//! DynamoDB: servers confirm each other's links through Redis, or read of them in the table.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::*;
use crate::dynamo::TABLE;
use crate::harness::Setup;
use crate::redis::{Fault, Fleet, LINES, RedisServer, Wire, setup};

/// A server with a filter, behind the Redis at this URL.
fn filtering(fleet: &Fleet, redis: &str) -> Setup {
    setup(&fleet.emulator.url(), redis, LINES)
        .replace_in_store("feed = false", "feed = true")
        .section("[cache]\nfilter = true\n")
}

fn node(fleet: &Fleet) -> Server {
    filtering(fleet, &fleet.redis.url()).start()
}

fn two_nodes(fleet: &Fleet) -> [Server; 2] {
    let servers = [(); 2].map(|()| node(fleet));
    servers.iter().for_each(complete);
    servers
}

/// Servers behind wires of their own to this Redis.
fn wired(fleet: &Fleet, redis: SocketAddr) -> [(Wire, Server); 2] {
    let servers = [(); 2].map(|()| {
        let wire = Wire::to(redis);
        let server = filtering(fleet, &wire.url()).start();
        (wire, server)
    });
    servers.iter().for_each(|(_, server)| complete(server));
    servers
}

fn wait(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

#[test]
fn a_link_is_answered_by_all_servers_once_it_is_acknowledged() {
    let fleet = Fleet::start();
    let servers = two_nodes(&fleet);
    links_are_there_once_acknowledged(&servers, 1_000);
    // The servers confirm each other's links, and build their filters once.
    let waits: f64 = servers.iter().map(slow).sum();
    assert!(waits < 20.0, "{waits}");
    assert_eq!(servers.each_ref().map(builds), [1.0, 1.0]);
}

#[test]
fn a_server_that_was_stopped_denies_nothing_when_it_continues() {
    let fleet = Fleet::start();
    let servers = two_nodes(&fleet);
    a_server_denies_nothing_when_it_continues(&servers, &[1, 3, 12].map(Duration::from_secs));
    assert!(slow(&servers[0]) > 0.0);
}

#[test]
fn nothing_is_denied_while_a_server_starts() {
    let fleet = Fleet::start();
    // It is some way from Redis, so that it hears of changes after they could be acknowledged.
    let wire = Wire::to(fleet.redis.address());
    wire.suffer(Fault::Delay(Duration::from_millis(30)));
    let start = || filtering(&fleet, &wire.url()).start();
    nothing_is_denied_at_the_start(&node(&fleet), start);
}

#[test]
fn nothing_is_denied_while_redis_fails() {
    let mut fleet = Fleet::start();
    let servers = two_nodes(&fleet);
    nothing_is_denied_while(&servers.each_ref(), || {
        wait(1_000);
        fleet.redis.pause();
        wait(3_000);
        fleet.redis.resume();
        wait(1_000);
        fleet.redis.cli(&["flushall"]);
        wait(3_000);
        fleet.redis.kill();
        wait(2_000);
        fleet.redis.restart_empty();
        wait(8_000);
    });
    servers.iter().for_each(check_random_names);
}

/// The replica stands still from some time on, and takes over when the master dies.
#[test]
fn nothing_is_denied_after_a_fail_over_to_a_replica_that_lacks_the_last_entries() {
    let fleet = Fleet::start();
    let mut master = RedisServer::start();
    let replica = RedisServer::with(&format!(
        "replicaof 127.0.0.1 {}\n",
        master.address().port()
    ));
    let link = || replica.cli(&["info", "replication"]);
    eventually("it replicates", PATIENCE, || {
        link().contains("master_link_status:up")
    });
    let servers = wired(&fleet, master.address());
    let nodes = servers.each_ref().map(|(_, server)| server);
    nothing_is_denied_while(&nodes, || {
        wait(1_000);
        replica.pause();
        // Confirmed by both, and lost by Redis.
        wait(1_000);
        fleet.emulator.insert(&name("theirs"), &url("theirs"));
        wait(1_500);
        master.kill();
        replica.resume();
        replica.cli(&["replicaof", "no", "one"]);
        for (wire, _) in &servers {
            wire.lead_to(replica.address());
        }
        wait(6_000);
    });
    for server in nodes {
        check_random_names(server);
        server.wait_for_answer(&name("theirs"), &Answer::Url(url("theirs")), PATIENCE);
    }
}

/// One server has gone over to a new master, and the other one still talks to the old one.
#[test]
fn nothing_is_denied_in_a_split_brain() {
    let fleet = Fleet::start();
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let servers = wired(&fleet, old.address());
    let nodes = servers.each_ref().map(|(_, server)| server);
    nothing_is_denied_while(&nodes, || {
        wait(1_000);
        servers[0].0.lead_to(new.address());
        wait(6_000);
        servers[1].0.suffer(Fault::Hang);
        wait(1_000);
        servers[1].0.suffer(Fault::None);
        servers[1].0.lead_to(new.address());
        wait(3_000);
    });
    let slow: f64 = nodes.map(slow).iter().sum();
    assert!(slow > 0.0);
    nodes.iter().for_each(|server| check_random_names(server));
}

/// Such a server leaves its names in the table, and waits.
#[test]
fn links_of_a_server_without_redis_are_not_denied() {
    let fleet = Fleet::start();
    let other = node(&fleet);
    complete(&other);
    let without = Setup::new().dynamodb(&fleet.emulator.url()).start();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (without, other) = (&without, &other);
            scope.spawn(move || {
                for number in 0..4 {
                    let code = format!("w{writer}-{number}");
                    assert!(made(without, &code));
                    check(other, &code);
                    check(other, &format!("w{writer}-0"));
                }
            });
        }
    });
    assert_eq!(slow(&without), 16.0);
    check_random_names(&other);
    assert_eq!(builds(&other), 1.0);
}

#[test]
fn a_killed_server_is_waited_for_until_its_lease_is_over() {
    let fleet = Fleet::start();
    let [one, mut two] = two_nodes(&fleet);
    assert!(made(&one, "before"));
    two.crash();
    let number = AtomicUsize::new(0);
    let quick = || {
        let number = number.fetch_add(1, Ordering::SeqCst);
        let before = slow(&one);
        assert!(made(&one, &format!("k{number}")));
        slow(&one) == before
    };
    assert!(!quick(), "the server has died, and its lease counts");
    eventually("its lease is over", PATIENCE, || {
        quick() && quick() && quick()
    });
    check_random_names(&one);
}

#[test]
fn a_server_that_stops_gives_its_lease_back() {
    let fleet = Fleet::start();
    let [_one, mut two] = two_nodes(&fleet);
    let register = || fleet.emulator.item("tinyns:filters:us-east-1").unwrap();
    let leases = || {
        register()
            .keys()
            .filter(|key| key.starts_with("lease:"))
            .count()
    };
    assert_eq!(leases(), 2);
    assert!(two.stop().success());
    assert_eq!(leases(), 1);
}

/// Without the lease a filter is void: the table may be another one, or other servers may not wait for it any more.
#[test]
fn a_filter_whose_lease_is_gone_is_built_anew() {
    let fleet = Fleet::start();
    let one = node(&fleet);
    complete(&one);
    crate::dynamo::once(async {
        let sent = fleet.emulator.foreign().await.delete_item();
        let sent = sent.table_name(TABLE);
        let sent = sent.key("miniUrl", crate::dynamo::s("tinyns:filters:us-east-1"));
        sent.send().await.unwrap();
    });
    eventually("it is void", PATIENCE, || !denies(&one));
    complete(&one);
    assert_eq!(builds(&one), 2.0);
}

#[test]
fn links_of_other_programs_are_answered_soon() {
    let fleet = Fleet::start();
    let servers = two_nodes(&fleet);
    for number in 0..5 {
        let code = format!("theirs{number}");
        for server in &servers {
            assert_eq!(server.answer(&name(&code)), Answer::Absent);
        }
        fleet.emulator.insert(&name(&code), &url(&code));
        for server in &servers {
            server.wait_for_answer(&name(&code), &Answer::Url(url(&code)), PATIENCE);
        }
    }
    servers.iter().for_each(check_random_names);
    assert_eq!(servers.each_ref().map(builds), [1.0, 1.0]);
}

/// A server that cannot reach Redis stands aside, and comes back with all links.
#[test]
fn a_server_that_is_cut_off_stands_aside() {
    let fleet = Fleet::start();
    let [(wire, away), (_wire, one)] = wired(&fleet, fleet.redis.address());
    wire.suffer(Fault::Cut);
    eventually("it stands aside", PATIENCE, || !denies(&away));
    let began = Instant::now();
    for number in 0..20 {
        let (maker, other) = match number % 2 {
            0 => (&one, &away),
            _ => (&away, &one),
        };
        let code = format!("c{number}");
        assert!(made(maker, &code));
        check(other, &code);
    }
    println!("20 links in {:?}", began.elapsed());
    wire.suffer(Fault::None);
    for number in 0..20 {
        check(&away, &format!("c{number}"));
    }
    check_random_names(&away);
    check_random_names(&one);
}

/// A name that the stream of changes has lost is in no filter. So the filter is built anew after a gap.
#[test]
fn links_of_other_programs_are_found_after_a_gap() {
    let fleet = Fleet::start();
    let [(_wire, one), (wire, two)] = wired(&fleet, fleet.redis.address());
    wire.suffer(Fault::Hang);
    eventually("it stands aside", PATIENCE, || !denies(&two));
    fleet.emulator.insert(&name("theirs"), &url("theirs"));
    one.wait_for_answer(&name("theirs"), &Answer::Url(url("theirs")), PATIENCE);
    fleet.redis.cli(&["flushall"]);
    wire.suffer(Fault::Cut);
    wire.suffer(Fault::None);
    complete(&two);
    assert_eq!(two.answer(&name("theirs")), Answer::Url(url("theirs")));
    assert!(builds(&two) >= 2.0);
}
