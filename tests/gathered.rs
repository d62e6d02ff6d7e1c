//! Statistics with DynamoDB: two servers gather what they count in one Redis, and one of them writes it to the table.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::counts::{FLUSHED, LINKS, Used, code, register, stored, use_once};
use crate::dynamo::{Emulator, Fate, Gate, Proxy, s};
use crate::harness::{Server, Setup, eventually};
use crate::redis::RedisServer;

/// The time between two flushes of a server that is not to flush.
const NEVER: u32 = 3_600;

/// Two servers that share a table and a Redis server.
struct Fleet {
    emulator: Emulator,
    proxy: Proxy,
    redis: RedisServer,
    servers: Vec<Server>,
    used: Used,
}

impl Fleet {
    /// It writes what it has counted so often, in seconds.
    fn start(flush_every: u32) -> Self {
        Self::with(&format!("flush_every = {flush_every}\n"))
    }

    /// With these lines in `[statistics]`.
    fn with(lines: &str) -> Self {
        let emulator = Emulator::start();
        let (proxy, redis) = (Proxy::spawn(&emulator), RedisServer::start());
        let servers = [(); 2].map(|()| {
            let setup = Setup::new().dynamodb(&proxy.url()).section(&format!(
                "[redis]\nurl = \"{}\"\n[statistics]\ntable = \"sums\"\n{lines}",
                redis.url()
            ));
            setup.start()
        });
        register(&servers[0]);
        Self {
            emulator,
            proxy,
            redis,
            servers: servers.into(),
            used: Used::default(),
        }
    }

    /// Uses links so many times.
    fn use_links(&self, times: usize) {
        for round in 0..times {
            use_once(&self.servers[round % 2], round % LINKS, round, &self.used);
        }
    }

    /// Uses links with several threads during the work.
    fn use_links_during(&self, work: impl FnOnce()) {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (server, is_over) = (&self.servers[thread % 2], &is_over);
                scope.spawn(move || {
                    for round in 0.. {
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                        use_once(server, fastrand::usize(..LINKS), round, &self.used);
                    }
                });
            }
            work();
            is_over.store(true, Ordering::Relaxed);
        });
    }

    fn uses(&self) -> HashMap<usize, [u64; 3]> {
        self.used.lock().unwrap().clone()
    }

    fn all_uses(&self) -> u64 {
        self.uses().values().flatten().sum()
    }

    /// The sum of a metric of all servers.
    fn metric(&self, name: &str) -> f64 {
        let servers = self.servers.iter();
        servers.map(|server| server.metric(name, &[])).sum()
    }

    /// Waits until Redis has everything that was counted in the life of these servers.
    fn wait_until_gathered(&self, uses: u64) {
        eventually("Redis has all counts", FLUSHED, || {
            self.metric("tinyns_statistics_flushed_total") >= uses as f64
        });
    }

    fn check_uses(&self) {
        for server in &self.servers {
            for (number, uses) in &self.uses() {
                assert_eq!(stored(server, *number), *uses, "{}", code(*number));
            }
        }
    }

    fn wait_until_written(&self) {
        let uses = self.uses();
        eventually("the table has all counts", FLUSHED, || {
            let mut uses = uses.iter();
            uses.all(|(number, uses)| stored(&self.servers[0], *number) == *uses)
        });
        self.check_uses();
    }

    /// Whether Redis has no counts that are not written.
    fn is_empty(&self) -> bool {
        self.redis.cli(&["keys", "*:open"]).is_empty()
            && self.redis.cli(&["keys", "*:closed"]).is_empty()
    }
}

/// While links are used, the replies of the table are lost, it throttles, and it is away. Then all servers stop and start.
#[test]
fn all_uses_are_counted_once_while_the_table_fails() {
    let mut fleet = Fleet::start(1);
    let pause = |millis| std::thread::sleep(Duration::from_millis(millis));
    fleet.use_links_during(|| {
        pause(3_000);
        fleet.proxy.on("PutItem", Fate::LoseReply);
        pause(3_000);
        let throttled = Fate::error(400, "ProvisionedThroughputExceededException");
        fleet.proxy.on("PutItem", throttled);
        pause(2_000);
        fleet.proxy.all(Fate::Cut);
        pause(3_000);
        fleet.proxy.all(Fate::Pass);
        pause(2_000);
    });
    assert!(fleet.all_uses() > 500, "{} uses", fleet.all_uses());
    fleet.wait_until_written();
    assert_eq!(fleet.metric("tinyns_statistics_dropped_total"), 0.0);
    fleet.use_links(200);
    fleet.servers = fleet.servers.into_iter().map(Server::restart).collect();
    fleet.check_uses();
    fleet.use_links(100);
    fleet.wait_until_written();
    // A name without a link has no item.
    let items = crate::dynamo::once(async {
        let client = fleet.emulator.foreign().await;
        let scan = client.scan().table_name("sums").send();
        scan.await.unwrap().items.unwrap()
    });
    // Four for each link and for the zone, and perhaps those of another hour.
    let hours = items
        .iter()
        .filter(|item| item["id"].as_s().unwrap().contains("#0#"));
    assert!((LINKS + 1..=2 * (LINKS + 1)).contains(&hours.count()));
}

/// Whichever server flushes is killed while it writes the items of one link.
#[test]
fn a_flush_whose_server_is_killed_is_finished_by_another_one() {
    let mut fleet = Fleet::start(1);
    let gate = Gate::new();
    fleet
        .proxy
        .on_text(&format!("\"{}#", code(7)), Fate::Hold(gate.clone()));
    fleet.use_links(600);
    fleet.wait_until_gathered(fleet.all_uses());
    gate.wait(1);
    fleet.servers = fleet
        .servers
        .into_iter()
        .map(Server::crash_and_restart)
        .collect();
    gate.open();
    fleet.wait_until_written();
    eventually("nothing waits", FLUSHED, || fleet.is_empty());
    fleet.check_uses();
    fleet.use_links(60);
    fleet.wait_until_written();
}

/// A Redis server that dies takes the counts with it that are not written. The servers tell how many.
#[test]
fn what_redis_loses_is_told_and_nothing_counts_twice() {
    let mut fleet = Fleet::start(NEVER);
    fleet.use_links(300);
    let lost = fleet.all_uses();
    fleet.wait_until_gathered(lost);
    fleet.redis.restart_empty();
    fleet.used.lock().unwrap().clear();
    eventually("the loss is counted", FLUSHED, || {
        fleet.metric("tinyns_statistics_dropped_total") == lost as f64
    });
    fleet.servers[0].log().wait_for("Redis has lost counts");
    fleet.use_links(200);
    fleet.wait_until_gathered(lost + fleet.all_uses());
    assert_eq!(fleet.metric("tinyns_statistics_dropped_total"), lost as f64);
    // A stop writes what waits.
    fleet.servers = fleet.servers.into_iter().map(Server::restart).collect();
    fleet.check_uses();
}

/// A Redis server that comes back with an earlier state has the accumulator open again that was written. What is counted next is
/// added to another one, also by a server that has added nothing in between.
#[test]
fn nothing_is_added_to_counts_that_come_back() {
    let mut fleet = Fleet::start(NEVER);
    fleet.use_links(300);
    fleet.wait_until_gathered(fleet.all_uses());
    let gathered = |fleet: &Fleet| fleet.servers[1].metric("tinyns_statistics_gathered", &[]);
    eventually("it is seen", FLUSHED, || gathered(&fleet) > 0.0);
    fleet.redis.save();
    // The stop writes what waits.
    let first = fleet.servers.remove(0).restart();
    fleet.servers.insert(0, first);
    fleet.check_uses();
    assert!(fleet.is_empty());
    eventually("the end is seen", FLUSHED, || gathered(&fleet) == 0.0);
    fleet.redis.restart_with_saved();
    assert!(!fleet.is_empty());
    let (flushed, uses) = (
        fleet.metric("tinyns_statistics_flushed_total"),
        fleet.all_uses(),
    );
    fleet.use_links(200);
    let more = fleet.all_uses() - uses;
    fleet.wait_until_gathered(flushed as u64 + more);
    assert_eq!(fleet.metric("tinyns_statistics_dropped_total"), 0.0);
    fleet.servers = fleet.servers.into_iter().map(Server::restart).collect();
    fleet.check_uses();
}

/// A Redis server that comes back with an earlier state brings counts back that were written.
#[test]
fn counts_that_come_back_are_not_written_again() {
    let mut fleet = Fleet::start(1);
    let gate = Gate::new();
    fleet.proxy.on("PutItem", Fate::Hold(gate.clone()));
    fleet.use_links(300);
    fleet.wait_until_gathered(fleet.all_uses());
    gate.wait(1);
    fleet.redis.save();
    gate.open();
    fleet.wait_until_written();
    eventually("nothing waits", FLUSHED, || fleet.is_empty());
    fleet.redis.restart_with_saved();
    assert!(!fleet.is_empty());
    eventually("nothing waits", FLUSHED, || fleet.is_empty());
    fleet.check_uses();
    assert_eq!(fleet.metric("tinyns_statistics_dropped_total"), 0.0);
    fleet.use_links(100);
    fleet.wait_until_written();
}

/// The table is away when servers start. What they count goes to Redis, and waits there.
#[test]
fn counts_wait_in_redis_while_the_table_is_away_at_the_start() {
    let mut fleet = Fleet::start(1);
    fleet.use_links(60);
    fleet.wait_until_written();
    fleet.proxy.on_text("\"sums\"", Fate::Cut);
    let uses = fleet.all_uses();
    fleet.servers = fleet.servers.into_iter().map(Server::restart).collect();
    fleet.use_links(200);
    fleet.wait_until_gathered(fleet.all_uses() - uses);
    assert!(!fleet.is_empty());
    fleet.proxy.all(Fate::Pass);
    fleet.wait_until_written();
    assert_eq!(fleet.metric("tinyns_statistics_dropped_total"), 0.0);
}

/// So many sums that the others would soon have no room are written before it is time.
#[test]
fn many_sums_make_a_flush_due() {
    let fleet = Fleet::start(NEVER);
    fleet.use_links(30);
    fleet.wait_until_gathered(fleet.all_uses());
    let open = fleet.redis.cli(&["keys", "*:open"]);
    // Of names that have no link, so that little is written.
    let script = "local hour = math.floor(redis.call('TIME')[1] / 3600) * 3600 \
                  for i = 1, 100000 do \
                    redis.call('HSET', KEYS[1], hour .. ' x' .. i .. '.s.example.com lookup:txt', 1) \
                  end";
    fleet.redis.cli(&["eval", script, "1", &open]);
    fleet.wait_until_written();
}

/// While a flush is slow, the metrics go on showing what waits.
#[test]
fn what_waits_is_shown_while_sums_are_written() {
    // One item a second: the flush takes longer than anything that is awaited here.
    let fleet = Fleet::with("flush_every = 1\nwrites_per_second = 1\n");
    fleet.proxy.count("PutItem");
    fleet.use_links(LINKS);
    fleet.wait_until_gathered(fleet.all_uses());
    eventually("it is being written", FLUSHED, || fleet.proxy.counted() > 0);
    let gathered = |server: &Server| server.metric("tinyns_statistics_gathered", &[]);
    let both = || fleet.servers.iter().map(gathered);
    eventually("it is shown", FLUSHED, || both().all(|sums| sums > 0.0));
    let before: Vec<f64> = both().collect();
    // Every kind of use of every link.
    fleet.use_links(10 * LINKS);
    fleet.wait_until_gathered(fleet.all_uses());
    eventually("the others are shown", FLUSHED, || {
        both().zip(&before).all(|(now, before)| now > *before)
    });
}

/// A table of statistics that replies slowly does not make changes of links fail.
#[test]
fn links_are_deleted_while_the_table_of_statistics_is_slow() {
    let fleet = Fleet::start(NEVER);
    let zone = s("s.example.com");
    crate::dynamo::once(async {
        let client = fleet.emulator.foreign().await;
        // So many that they are not removed by one request.
        for hour in 0..40 {
            let day = 1 + hour / 24;
            let id = format!("{}#0#2026-01-{day:02}T{:02}:00:00Z", code(0), hour % 24);
            let put = client.put_item().table_name("sums");
            let put = put.item("zone", zone.clone()).item("id", s(&id));
            put.send().await.unwrap();
        }
    });
    // Two to read and two to remove take longer than a change of a link may.
    let slow = Fate::Delay(Duration::from_millis(2_200));
    fleet.proxy.on_text("\"sums\"", slow);
    let deleted = fleet.servers[0].remove(&code(0));
    assert_eq!(deleted.status, 204, "{deleted:?}");
}
