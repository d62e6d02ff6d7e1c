//! The death of a Redis master: another takes its place, and until then the table answers.

use std::time::{Duration, Instant};

use crate::dynamo::Emulator;
use crate::harness::{Answer, PATIENCE, Server, eventually};
use crate::races::stress;
use crate::redis::{LINES, LONG_MEMORY, MASTER, RedisCluster, Sentinels, followed, key, setup};

/// How long other servers may answer the state before a change that happened while there was no master: until they
/// notice that they receive nothing, and look again.
const BLIP: Duration = Duration::from_secs(5);
/// How long there is stress, the failover in the middle of it.
const STRESS: Duration = Duration::from_secs(9);
/// How long before the master dies.
const CALM: Duration = Duration::from_secs(2);
/// How long a failover may take on a busy machine.
const FAILOVER: Duration = Duration::from_secs(20);

fn cluster_node(emulator: &Emulator, cluster: &RedisCluster) -> Server {
    let lines = format!("mode = \"cluster\"\n{LINES}");
    let setup = setup(&emulator.url(), cluster.urls(), &lines);
    followed(setup.section(LONG_MEMORY).start())
}

/// The master dies that serves this key, while links are changed and asked for.
fn a_shard_fails(of: &str) {
    let emulator = Emulator::start();
    let mut cluster = RedisCluster::start();
    let servers = [(); 2].map(|()| cluster_node(&emulator, &cluster));
    let death = Instant::now() + CALM;
    let mut killed = false;
    stress(&servers, (STRESS, BLIP), || {
        if !killed && Instant::now() >= death {
            cluster.kill_master_of(of);
            killed = true;
        }
        std::thread::sleep(Duration::from_millis(10));
    });
    assert!(killed);
    // Afterwards all is as before, without the dead master.
    eventually("there is a new master", FAILOVER, || cluster.serves(of));
    eventually("no breaker is open", PATIENCE, || {
        servers
            .iter()
            .all(|server| server.metric("tinyns_redis_breakers_open", &[]) == 0.0)
    });
    let [one, two] = servers.map(followed);
    let fresh = cluster_node(&emulator, &cluster);
    for number in 0..20 {
        let (code, url) = (
            format!("after{number}"),
            format!("https://example.net/{number}"),
        );
        let name = one.register(&code, &url);
        for server in [&two, &fresh] {
            server.wait_for_answer(&name, &Answer::url(&url), Duration::from_secs(1));
        }
        assert_eq!(cluster.held(&name).unwrap()["url"], url.as_str());
    }
}

#[test]
fn the_shard_of_a_link_fails_over() {
    a_shard_fails(&key("s0.s.example.com"));
}

#[test]
fn the_shard_of_the_changes_fails_over() {
    a_shard_fails("tinyns:changes");
}

#[test]
fn the_master_of_the_sentinels_fails_over() {
    let emulator = Emulator::start();
    let mut sentinels = Sentinels::start();
    let lines = format!("mode = \"sentinel\"\nsentinel_master = \"{MASTER}\"\n{LINES}");
    let urls = sentinels.urls();
    let node = || {
        let setup = setup(&emulator.url(), &urls, &lines);
        followed(setup.section(LONG_MEMORY).start())
    };
    let servers = [node(), node()];
    let death = Instant::now() + CALM;
    let mut killed = false;
    stress(&servers, (STRESS, BLIP), || {
        if !killed && Instant::now() >= death {
            sentinels.first.kill();
            killed = true;
        }
        std::thread::sleep(Duration::from_millis(10));
    });
    assert!(killed);
    eventually("the replica is the master", FAILOVER, || {
        sentinels.second.cli(&["role"]).starts_with("master")
    });
    let [one, two] = servers.map(followed);
    let fresh = node();
    for number in 0..20 {
        let (code, url) = (
            format!("after{number}"),
            format!("https://example.net/{number}"),
        );
        let name = one.register(&code, &url);
        for server in [&two, &fresh] {
            server.wait_for_answer(&name, &Answer::url(&url), Duration::from_secs(1));
        }
        assert_eq!(sentinels.second.held(&name).unwrap()["url"], url.as_str());
    }
}
