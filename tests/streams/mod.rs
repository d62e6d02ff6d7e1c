//! DynamoDB Streams as they are on bad days: no entry is lost, those of a name stay in order, and what is gone is said to be
//! gone.

mod endpoint;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use tinyns::store::Store;
use tinyns::store::feed::{Entries, Feed, FeedPage, Position};

use self::endpoint::Endpoint;
use crate::dynamo::{self, Emulator};
use crate::harness::{Answer, PATIENCE, Setup, eventually};
use crate::redis::LONG_MEMORY;

const THROTTLED: &str = "LimitExceededException";
const EXPIRED: &str = "ExpiredIteratorException";
const INTERNAL: &str = "InternalServerError";
/// How many reads of a feed are disturbed.
const ROUNDS: usize = 40;

/// A store that reads the streams of such an endpoint.
struct World {
    endpoint: Endpoint,
    feed: Arc<dyn Feed>,
    _emulator: Emulator,
    _store: tinyns::store::DynamoStore,
}

impl World {
    async fn start() -> Self {
        let emulator = Emulator::start();
        let (endpoint, emulator) =
            tokio::task::spawn_blocking(move || (Endpoint::start(&emulator), emulator))
                .await
                .unwrap();
        let store = dynamo::open(&dynamo::config(&endpoint.url()))
            .await
            .unwrap();
        let feed = store.feed().unwrap();
        feed.ready().await;
        Self {
            endpoint,
            feed,
            _emulator: emulator,
            _store: store,
        }
    }

    /// Reads once; failures are repeated, as a follower does.
    async fn page(&self, position: &Position) -> FeedPage {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.feed.read(position, 1_000).await {
                Ok(page) => return page,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
        }
    }

    async fn entries(&self, position: &Position) -> Entries {
        match self.page(position).await {
            FeedPage::Entries(entries) => entries,
            FeedPage::TooOld => panic!("too old: {position}"),
        }
    }
}

/// Runs a test outside of the runtimes that it starts.
fn run(test: impl Future<Output = World>) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().unwrap();
    let world = runtime.block_on(test);
    drop(runtime);
    drop(world);
}

fn name(number: usize) -> String {
    format!("c{number}.s.example.com")
}

/// The versions that were written of each name.
type Written = BTreeMap<String, Vec<u64>>;

/// Writes, splits, and makes trouble; returns what was written.
fn disturb(world: &World, random: &mut fastrand::Rng, written: &mut Written) {
    world.endpoint.with(|stream| {
        for _ in 0..random.usize(0..200) {
            let name = name(random.usize(0..40));
            let versions = written.entry(name.clone()).or_default();
            let before = versions.last().copied().unwrap_or(0);
            stream.write(&name, before, before + 1);
            versions.push(before + 1);
        }
        match random.u32(0..8) {
            0 | 1 if stream.shards() < 30 => stream.split(random.usize(0..100), 2),
            2 if stream.shards() < 30 => stream.split(random.usize(0..100), 1),
            3 => stream.expire(),
            4 => {
                let operation = ["GetRecords", "GetShardIterator", "DescribeStream"];
                let operation = operation[random.usize(0..3)];
                let faults = [THROTTLED, THROTTLED, INTERNAL, THROTTLED, INTERNAL];
                let faults = faults[..random.usize(1..6)].iter().copied();
                stream.faults.insert(operation, faults.collect());
            }
            5 => {
                let faults = [EXPIRED].into_iter().collect();
                stream.faults.insert("GetRecords", faults);
            }
            6 => stream.page = random.usize(1..60),
            _ => stream.empty_pages = random.usize(0..3),
        }
    });
}

#[test]
fn no_entry_is_lost_and_those_of_a_name_are_in_order() {
    run(async {
        let world = World::start().await;
        let seed = fastrand::u64(..);
        eprintln!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut written = Written::new();
        // What came before the end is not asked for.
        world.endpoint.with(|stream| stream.write(&name(0), 0, 1));
        written.insert(name(0), vec![1]);
        let mut position = world.feed.end().await.unwrap();
        let mut read: HashMap<String, Vec<u64>> = HashMap::from([(name(0), vec![1])]);
        let mut rounds = 0;
        loop {
            if rounds < ROUNDS {
                disturb(&world, &mut random, &mut written);
            } else {
                // Pages of one record would take long.
                world.endpoint.with(|stream| stream.page = 1_000);
            }
            rounds += 1;
            let page = world.entries(&position).await;
            assert!(world.feed.covers(&page.position, &position), "seed {seed}");
            for entry in page.entries {
                let version = entry.version.unwrap().0;
                if (entry.name.as_str(), version) == (&*name(0), 1) {
                    // It may come again: if an iterator expires before a record was read, the position goes by the time, with
                    // some slack for clocks.
                    continue;
                }
                let versions = read.entry(entry.name.as_str().into()).or_default();
                let last = versions.last().copied().unwrap_or(0);
                assert_eq!(version, last + 1, "seed {seed}: {}", entry.name);
                versions.push(version);
            }
            // A position outlives the process that has read up to it.
            position = Position::new(page.position.as_str()).unwrap();
            let all = written
                .iter()
                .all(|(name, versions)| read.get(name) == Some(versions));
            if rounds > ROUNDS && all {
                break;
            }
            assert!(rounds < 5 * ROUNDS, "seed {seed}: {read:?}");
        }
        assert!(world.endpoint.with(|stream| stream.shards()) > 4);
        world
    });
}

#[test]
fn a_page_that_was_cut_short_is_not_the_end() {
    run(async {
        let world = World::start().await;
        let position = world.feed.end().await.unwrap();
        world.endpoint.with(|stream| {
            // DynamoDB returns a megabyte at most: here three records.
            (stream.page, stream.size) = (3, 300_000);
            for number in 0..20 {
                stream.write(&name(number), 0, 1);
            }
        });
        let (mut position, mut entries) = (position, 0);
        loop {
            let page = world.entries(&position).await;
            (position, entries) = (page.position, entries + page.entries.len());
            if page.at_end {
                break;
            }
        }
        assert_eq!(entries, 20);
        world
    });
}

#[test]
fn a_stream_that_was_turned_off_and_on_is_another_one() {
    run(async {
        let world = World::start().await;
        let mut position = world.feed.end().await.unwrap();
        world.endpoint.with(|stream| {
            stream.write(&name(0), 0, 1);
            stream.turn_off();
        });
        // What it has is read, and then there is an error, and no end.
        let mut entries = 0;
        let end = Instant::now() + PATIENCE;
        let error = loop {
            match world.feed.read(&position, 1_000).await {
                Ok(FeedPage::Entries(page)) => {
                    assert!(!page.at_end || entries == 0);
                    (position, entries) = (page.position, entries + page.entries.len());
                }
                Ok(FeedPage::TooOld) => panic!("too old"),
                Err(error) => break error.to_string(),
            }
            assert!(Instant::now() < end);
        };
        assert_eq!(entries, 1);
        assert!(error.contains("turned off"), "{error}");
        assert!(world.feed.end().await.is_err());
        world.endpoint.with(|stream| {
            stream.turn_on();
            stream.write(&name(0), 1, 2);
        });
        // It lacks the changes in between.
        assert_eq!(world.page(&position).await, FeedPage::TooOld);
        let position = world.feed.end().await.unwrap();
        world.endpoint.with(|stream| stream.write(&name(0), 2, 3));
        let page = world.entries(&position).await;
        assert_eq!(page.entries.len(), 1, "{page:?}");
        assert!(page.at_end);
        world
    });
}

#[test]
fn a_stream_that_was_replaced_at_once_is_noticed() {
    run(async {
        let world = World::start().await;
        let position = world.feed.end().await.unwrap();
        // The former stream is gone, as with a table that was made again.
        world.endpoint.with(|stream| {
            stream.turn_off();
            stream.turn_on();
        });
        assert_eq!(world.page(&position).await, FeedPage::TooOld);
        let end = Instant::now() + PATIENCE;
        let position = loop {
            match world.feed.end().await {
                Ok(position) => break position,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
        };
        world.endpoint.with(|stream| stream.write(&name(0), 0, 1));
        assert_eq!(world.entries(&position).await.entries.len(), 1);
        world
    });
}

#[test]
fn history_that_is_gone_is_too_old() {
    run(async {
        let world = World::start().await;
        let end = world.feed.end().await.unwrap();
        let write_all = |version| {
            world.endpoint.with(|stream| {
                (0..20).for_each(|number| stream.write(&name(number), version - 1, version));
            });
        };
        write_all(1);
        let read = world.entries(&end).await;
        assert_eq!(read.entries.len(), 20);
        // The records that follow are trimmed before they are read.
        write_all(2);
        world.endpoint.with(endpoint::Stream::trim);
        assert_eq!(world.page(&read.position).await, FeedPage::TooOld);
        // A shard is gone that was not read to its end.
        let end = world.feed.end().await.unwrap();
        write_all(3);
        world.endpoint.with(|stream| {
            stream.split(0, 2);
            stream.forget_closed();
            stream.expire();
        });
        let later = Instant::now() + PATIENCE;
        let mut position = end;
        loop {
            match world.page(&position).await {
                FeedPage::TooOld => break,
                FeedPage::Entries(page) => position = page.position,
            }
            assert!(Instant::now() < later);
        }
        world
    });
}

#[test]
fn calls_that_fail_are_repeated_a_bounded_number_of_times() {
    run(async {
        let world = World::start().await;
        let position = world.feed.end().await.unwrap();
        for operation in ["GetRecords", "GetShardIterator", "DescribeStream"] {
            world.endpoint.with(|stream| {
                stream.expire();
                stream.calls.clear();
                stream.fails = HashMap::from([(operation, THROTTLED)]);
            });
            if operation == "DescribeStream" {
                // The list of shards is known for a while.
                assert!(world.feed.end().await.is_err());
            } else {
                assert!(
                    world.feed.read(&position, 1_000).await.is_err(),
                    "{operation}"
                );
            }
            // Each of the two shards is tried three times.
            let calls = world.endpoint.with(|stream| stream.calls[operation]);
            assert!((3..=6).contains(&calls), "{operation}: {calls}");
        }
        world.endpoint.with(|stream| {
            stream.fails.clear();
            stream.write(&name(0), 0, 1);
        });
        assert_eq!(world.entries(&position).await.entries.len(), 1);
        world
    });
}

#[test]
fn a_server_follows_a_stream_through_all_of_this() {
    let emulator = Emulator::start();
    let endpoint = Endpoint::start(&emulator);
    let setup = Setup::new().dynamodb(&endpoint.url()).section(LONG_MEMORY);
    let server = setup.start();
    let follows = || server.metric("tinyns_feed_following", &[]) == 1.0;
    eventually("it follows", PATIENCE, follows);
    let link = "theirs.s.example.com";
    let put = |number: u64| {
        let url = format!("https://example.net/{number}");
        emulator.insert(link, &url);
        endpoint.with(|stream| stream.write(link, number, number + 1));
        server.wait_for_answer(link, &Answer::Url(url), PATIENCE);
    };
    for number in 0..12 {
        put(number);
        endpoint.with(|stream| match number % 4 {
            0 => stream.split(number.try_into().unwrap(), 2),
            1 => stream.expire(),
            2 => {
                let faults = [THROTTLED; 4].into_iter().collect();
                stream.faults.insert("GetRecords", faults);
            }
            _ => stream.empty_pages = 2,
        });
    }
    assert_eq!(server.metric("tinyns_feed_gaps_total", &[]), 0.0);
    endpoint.with(endpoint::Stream::turn_off);
    eventually("it knows that it hears of nothing", PATIENCE, || !follows());
    eventually("it says so", PATIENCE, || {
        let ready = server.api("GET", "/readyz", None).json();
        ready["reasons"].to_string().contains("feed")
    });
    endpoint.with(endpoint::Stream::turn_on);
    eventually("it follows again", PATIENCE, follows);
    assert!(server.metric("tinyns_feed_gaps_total", &[]) >= 1.0);
    put(20);
}
