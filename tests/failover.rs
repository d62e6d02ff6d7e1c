//! The death of a Redis master: another takes its place, and until then the table answers.

use std::time::{Duration, Instant};

use crate::command_line;
use crate::counts::{self, LINKS, Used, stored, use_once};
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

/// A server with this section in its configuration.
fn cluster_node(emulator: &Emulator, cluster: &RedisCluster, section: &str) -> Server {
    let lines = format!("mode = \"cluster\"\n{LINES}");
    let setup = setup(&emulator.url(), cluster.urls(), &lines);
    followed(setup.section(section).start())
}

/// The master dies that serves this key, while links are changed and asked for.
fn a_shard_fails(of: &str) {
    let emulator = Emulator::start();
    let mut cluster = RedisCluster::start();
    let servers = [(); 2].map(|()| cluster_node(&emulator, &cluster, LONG_MEMORY));
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
    let fresh = cluster_node(&emulator, &cluster, LONG_MEMORY);
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

/// The master dies in which statistics are gathered, while links are used. Nothing counts twice, and what the failover has lost is
/// told.
#[test]
fn the_shard_of_the_statistics_fails_over() {
    let emulator = Emulator::start();
    let mut cluster = RedisCluster::start();
    let section = "[statistics]\ntable = \"sums\"\nflush_every = 1\n";
    let servers = [(); 2].map(|()| cluster_node(&emulator, &cluster, section));
    counts::register(&servers[0]);
    let used = Used::default();
    let use_links = |rounds: usize| {
        for round in 0..rounds * LINKS {
            use_once(&servers[round % 2], round % LINKS, round, &used);
        }
    };
    let all_of = |counts: [u64; 3]| counts.iter().sum::<u64>();
    let in_table = || (0..LINKS).map(|number| all_of(stored(&servers[0], number)));
    let all_used = || {
        used.lock()
            .unwrap()
            .values()
            .map(|uses| all_of(*uses))
            .sum::<u64>()
    };
    let metric = |name: &str| {
        servers
            .iter()
            .map(|server| server.metric(name, &[]))
            .sum::<f64>()
    };
    use_links(10);
    eventually("everything is written", counts::FLUSHED, || {
        in_table().sum::<u64>() == all_used()
    });
    let of_statistics = |key: &String| key.contains("{statistics:");
    let key = cluster.keys().into_iter().find(of_statistics).unwrap();
    use_links(5);
    cluster.kill_master_of(&key);
    use_links(5);
    eventually("there is a new master", FAILOVER, || cluster.serves(&key));
    use_links(5);
    // What was gathered shortly before has perhaps no replica. Of that the servers know only the highest possible number.
    eventually("everything is written or lost", counts::FLUSHED, || {
        let accounted = in_table().sum::<u64>() + metric("tinyns_statistics_dropped_total") as u64;
        accounted >= all_used() && metric("tinyns_statistics_gathered") == 0.0
    });
    for (number, uses) in &*used.lock().unwrap() {
        let stored = stored(&servers[1], *number);
        let is_right = stored.iter().zip(uses).all(|(stored, used)| stored <= used);
        assert!(is_right, "{number}: {stored:?} of {uses:?}");
    }
    let said = command_line::on(&servers[1], &["stats", "n0"]);
    assert!(said.out.starts_with("n0.s.example.com\n"), "{said:?}");
    for server in &servers {
        let log = server.log().text();
        assert!(
            !log.contains("CROSSSLOT") && !log.contains("NOPERM"),
            "{log}"
        );
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
