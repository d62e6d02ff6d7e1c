//! Counts from many threads, a store that fails, and a buffer that is full.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::testing::Ledger;
use super::{Clicked, Statistics};
use crate::base::clock::{Clock, UnixTime};
use crate::base::metrics::Metrics;
use crate::link::LinkName;
use crate::store::servers::Label;
use crate::store::statistics::{Click, Counter, Keeping, Lookup, Unit};

/// Statistics with a ledger behind them.
struct Fixture {
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    statistics: Statistics,
    stop: CancellationToken,
}

const NOW: u64 = 1_800_000_000;

impl Fixture {
    fn new(max_links: usize) -> Self {
        let (ledger, metrics) = (Arc::new(Ledger::default()), Arc::new(Metrics::new()));
        let server = Label::new("server").unwrap();
        let clock = Clock::manual(UnixTime(NOW));
        let keeping = Keeping { deleted: true };
        let statistics = Statistics::with_room(
            ledger.clone(),
            (server, keeping),
            clock,
            metrics.clone(),
            max_links,
        );
        Self {
            ledger,
            metrics,
            statistics,
            stop: CancellationToken::new(),
        }
    }

    fn run(&self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(self.statistics.clone().run(self.stop.clone()))
    }

    fn sum(&self, counter: &str) -> u64 {
        let sums = self.ledger.sums.lock().unwrap();
        let of_counter = sums.iter().filter(|(key, _)| key.2 == counter);
        of_counter.map(|(_, count)| count).sum()
    }
}

fn name(n: usize) -> LinkName {
    LinkName::parse(&format!("l{n}.s.example.com")).unwrap()
}

/// Each count arrives once: over calls that fail, replies that are lost, and a stop between two flushes.
#[tokio::test(start_paused = true)]
async fn every_count_arrives_once() {
    let fixture = Fixture::new(100_000);
    fixture.ledger.failing.store(3, Ordering::Relaxed);
    fixture.ledger.losing_replies.store(2, Ordering::Relaxed);
    let running = fixture.run();
    let person = Clicked {
        class: Click::Person,
        referrer: Some("example.org"),
        country: Some(Some(*b"DE")),
    };
    for round in 0..40_u64 {
        let lookups = (0..1_300).map(|n| (name(n), Lookup::Txt, 2));
        fixture.statistics.add_lookups(lookups);
        for n in 0..100 {
            fixture.statistics.add_click(&name(n), &person);
        }
        let bot = Clicked {
            class: Click::Bot,
            ..person
        };
        fixture.statistics.add_click(&name(0), &bot);
        tokio::time::sleep(Duration::from_millis(700 * (round % 3))).await;
    }
    fixture.stop.cancel();
    running.await.unwrap();
    assert_eq!(fixture.sum("lookup:txt"), 40 * 1_300 * 2);
    assert_eq!(fixture.sum("click:person"), 40 * 100);
    assert_eq!(fixture.sum("referrer:example.org"), 40 * 100);
    assert_eq!(fixture.sum("country:DE"), 40 * 100);
    assert_eq!(fixture.sum("click:bot"), 40);
    assert_eq!(fixture.ledger.failing.load(Ordering::Relaxed), 0);
    assert_eq!(fixture.ledger.losing_replies.load(Ordering::Relaxed), 0);
    let flushed = fixture.metrics.statistics_flushed.get();
    assert_eq!(flushed, 40 * (1_300 * 2 + 101));
    assert_eq!(fixture.metrics.statistics_dropped.get(), 0);
    let kept = fixture.ledger.keeping.lock().unwrap().unwrap();
    assert!(kept.deleted);
}

/// Counts of one hour are not counted for another one.
#[tokio::test(start_paused = true)]
async fn a_count_belongs_to_its_hour() {
    let fixture = Fixture::new(10);
    let hour = NOW - NOW % 3_600;
    fixture
        .statistics
        .add_lookups([(name(1), Lookup::Address, 1)]);
    fixture.stop.cancel();
    fixture.run().await.unwrap();
    let sums = fixture.ledger.sums.lock().unwrap();
    let key = (name(1).to_string(), hour, "lookup:address".to_owned());
    assert_eq!(sums.get(&key), Some(&1));
}

/// While the store is away, counts wait; what the buffer cannot take is dropped, and known to be.
#[tokio::test(start_paused = true)]
async fn a_full_buffer_drops_and_says_so() {
    let fixture = Fixture::new(50);
    fixture.ledger.failing.store(u32::MAX, Ordering::Relaxed);
    let running = fixture.run();
    for _ in 0..3 {
        let lookups = (0..80).map(|n| (name(n), Lookup::Uri, 1));
        fixture.statistics.add_lookups(lookups);
    }
    assert_eq!(fixture.metrics.statistics_dropped.get(), 3 * 30);
    assert!(fixture.statistics.troubles().is_empty());
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(fixture.metrics.statistics_buffered.get() > 0);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    fixture.ledger.failing.store(0, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fixture.sum("lookup:uri"), 3 * 50);
    fixture.stop.cancel();
    running.await.unwrap();
    assert_eq!(fixture.metrics.statistics_dropped.get(), 3 * 30);
    let lookups = (0..50).map(|n| (name(n), Lookup::Uri, 1));
    fixture.statistics.add_lookups(lookups);
    assert_eq!(
        fixture.metrics.statistics_dropped.get(),
        3 * 30,
        "there is room again"
    );
}

/// If the store is away when the server stops, the loss is known, and the stop does not wait for ever.
#[tokio::test(start_paused = true)]
async fn a_stop_without_a_store_tells_the_loss() {
    let fixture = Fixture::new(5_000);
    fixture.ledger.failing.store(u32::MAX, Ordering::Relaxed);
    let running = fixture.run();
    let lookups = (0..1_000).map(|n| (name(n), Lookup::Txt, 3));
    fixture.statistics.add_lookups(lookups);
    tokio::time::sleep(Duration::from_secs(20)).await;
    fixture.stop.cancel();
    running.await.unwrap();
    assert_eq!(fixture.metrics.statistics_dropped.get(), 3_000);
}

/// A client that invents referrers fills neither the buffer nor the store, and does not keep out the host of others.
#[tokio::test(start_paused = true)]
async fn the_heaviest_referrers_stay() {
    let fixture = Fixture::new(10_000);
    for n in 0..10_000 {
        let host = match n % 20 {
            19 => "real.example.org".to_owned(),
            // Some come several times.
            _ => format!("h{}.example.org", n - n % 3 * (n % 2)),
        };
        let clicked = Clicked {
            class: Click::Person,
            referrer: Some(&host),
            country: None,
        };
        fixture.statistics.add_click(&name(1), &clicked);
    }
    fixture.stop.cancel();
    fixture.run().await.unwrap();
    assert_eq!(fixture.sum("click:person"), 10_000);
    let sums = fixture.ledger.sums.lock().unwrap();
    let referrers = sums
        .iter()
        .filter(|(key, _)| key.2.starts_with("referrer:"));
    let counts: Vec<u64> = referrers.map(|(_, count)| *count).collect();
    assert!(counts.len() <= 500, "{}", counts.len());
    assert_eq!(counts.iter().sum::<u64>(), 10_000, "others are summed up");
    drop(sums);
    let real = fixture.sum("referrer:real.example.org");
    assert!((500 - 95..=500).contains(&real), "{real} of 500");
}

/// Nor do clients that send other referrers for each of many links: these clicks count without them.
#[tokio::test(start_paused = true)]
async fn referrers_of_all_links_are_bounded() {
    let fixture = Fixture::new(100);
    let click_all = || {
        for n in 0..90_usize {
            let host = format!("h{n}.example.org");
            let clicked = Clicked {
                class: Click::Person,
                referrer: Some(&host),
                country: Some(None),
            };
            fixture.statistics.add_click(&name(n), &clicked);
        }
    };
    let referrers = || {
        let sums = fixture.ledger.sums.lock().unwrap();
        sums.keys()
            .filter(|key| !key.2.starts_with("click:"))
            .count()
    };
    let running = fixture.run();
    click_all();
    click_all();
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(fixture.sum("click:person"), 180);
    assert_eq!(referrers(), 20);
    // There is room again for those that follow.
    click_all();
    fixture.stop.cancel();
    running.await.unwrap();
    assert_eq!(fixture.sum("click:person"), 270);
    assert_eq!(fixture.sum("referrer:h0.example.org"), 3);
    assert_eq!(fixture.metrics.statistics_dropped.get(), 0);
}

#[test]
fn nothing_is_counted_where_statistics_are_off() {
    let statistics = Statistics::off();
    assert!(!statistics.is_on());
    statistics.add_lookups([(name(1), Lookup::Txt, 1)]);
    assert!(statistics.troubles().is_empty());
}

#[test]
fn counters_are_read_as_they_are_written() {
    let lookups = Lookup::ALL.map(Counter::Lookup).into_iter();
    let clicks = Click::ALL.map(Counter::Click).into_iter();
    let others = [
        Counter::Referrer("example.org".into()),
        Counter::Referrer(Counter::OTHER_REFERRER.into()),
        Counter::Country(None),
        Counter::Country(Some(*b"CH")),
    ];
    for counter in lookups.chain(clicks).chain(others) {
        assert_eq!(Counter::parse(&counter.to_string()), Some(counter));
    }
    for text in [
        "",
        "lookup",
        "lookup:",
        "click:nobody",
        "country:de",
        "country:DEU",
        "referrer:",
    ] {
        assert_eq!(Counter::parse(text), None, "{text:?}");
    }
}

#[test]
fn units_begin_in_utc() {
    // 2028-02-29T23:59:59Z.
    let time = UnixTime::parse("2028-02-29T23:59:59Z").unwrap();
    let start = |unit: Unit| unit.start_of(time).rfc3339();
    assert_eq!(start(Unit::Hour), "2028-02-29T23:00:00Z");
    assert_eq!(start(Unit::Day), "2028-02-29T00:00:00Z");
    assert_eq!(start(Unit::Month), "2028-02-01T00:00:00Z");
    assert_eq!(Unit::Total.start_of(time), UnixTime(0));
    assert_eq!(Unit::Month.start_of(UnixTime(5)), UnixTime(0));
    let from = Unit::Hour.kept_from(time).unwrap();
    assert_eq!(from.rfc3339(), "2028-02-22T23:00:00Z");
    assert_eq!(Unit::Month.kept_from(time), None);
}
