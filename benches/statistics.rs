//! Statistics of many links: how fast batches are added, what they take on the disk, and how long reads take.
//!
//! Each link gets one look-up, in batches of links in a random order: the worst case, in which each row of a batch is in
//! another part of the tables. Then the same batch is added again and again: links that are always used. One link has a year
//! with everything that a year can have: 12 months, 90 days and 168 hours of 20 counters each.
//!
//!     cargo bench --bench statistics                            a file in the temporary directory, a million links
//!     cargo bench --bench statistics -- --links 100000
//!     cargo bench --bench statistics -- --postgresql URL        an empty database

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tinyns::base::clock::{Clock, UnixTime};
use tinyns::link::{About, Link, LinkName, Origin, TargetUrl, Version};
use tinyns::store::servers::Label;
use tinyns::store::statistics::{
    Added, Batch, Counter, MAX_ROWS, Range, Ranking, Row, StatisticsStore, Subject, Unit, Usage,
};
use tinyns::store::{Adopted, PostgresConfig, PostgresStore, PostgresUrl, SqliteStore, Store};

const ZONE: &str = "s.example.com";
/// 2026-01-01.
const START: u64 = 1_767_225_600;
const DAY: u64 = 24 * 60 * 60;
/// How many links are made at once.
const AT_ONCE: usize = 2_000;
/// How often the batch of the same links is added, and how often each read is made.
const ROUNDS: u64 = 200;

fn main() {
    let mut links = 1_000_000_usize;
    let mut database = None;
    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let mut words = words.collect::<Vec<_>>().into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--links" => links = words.next().unwrap().parse().unwrap(),
            "--postgresql" => database = words.next(),
            _ => panic!("see the header of benches/statistics.rs"),
        }
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match database {
        Some(url) => runtime.block_on(async {
            let config = PostgresConfig {
                url: PostgresUrl::parse(&url).unwrap(),
                password_file: None,
                ca_file: None,
                certificate: None,
                key: None,
                pool: 8,
                statement_timeout: Duration::from_secs(60),
                audit: None,
                replica: None,
            };
            let clock = Clock::manual(UnixTime(START));
            let store = PostgresStore::open_now(&config, clock).await.unwrap();
            measure(&store, links, || None).await;
        }),
        None => {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("links.sqlite");
            let clock = Clock::manual(UnixTime(START));
            let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, clock).unwrap());
            runtime.block_on(measure(&store, links, || Some(pages(&path))));
        }
    }
}

/// The bytes of the tables of statistics in a file.
fn pages(path: &Path) -> u64 {
    let conn = rusqlite::Connection::open(path).unwrap();
    let sql = "SELECT (SELECT page_count FROM pragma_page_count) * (SELECT page_size FROM pragma_page_size) \
        - (SELECT freelist_count FROM pragma_freelist_count) * (SELECT page_size FROM pragma_page_size)";
    conn.query_row(sql, [], |row| row.get::<_, i64>(0))
        .unwrap()
        .unsigned_abs()
}

async fn measure(store: &Arc<dyn Store>, links: usize, size: impl Fn() -> Option<u64>) {
    let began = Instant::now();
    let numbers: Vec<usize> = (0..links).collect();
    for piece in numbers.chunks(AT_ONCE) {
        let made: Vec<Link> = piece.iter().map(|number| link(*number)).collect();
        let adopted = match store.prefers_batches() {
            true => store.adopt_many(&made).await,
            false => join_all(made.iter().map(|link| store.adopt(link))).await,
        };
        assert!(adopted.iter().all(|done| *done == Ok(Adopted::Written)));
    }
    println!("{links} links made in {} s", began.elapsed().as_secs());
    let before = size();
    let sums = store.statistics().unwrap();
    add(&*sums, numbers).await;
    if let (Some(before), Some(after)) = (before, size()) {
        println!(
            "bytes a link with one count: {}",
            (after - before) / links as u64
        );
    }
    read(&*sums).await;
}

async fn add(sums: &dyn StatisticsStore, mut numbers: Vec<usize>) {
    fastrand::Rng::with_seed(1).shuffle(&mut numbers);
    let (mut times, mut number) = (Vec::new(), 0);
    let mut send = async |numbers: &[usize], hour: u64| {
        number += 1;
        let rows = numbers.iter().map(|number| Row {
            name: name(*number),
            hour: UnixTime(hour),
            counter: Counter::parse("lookup:address").unwrap(),
            count: 1,
        });
        let batch = Batch {
            server: Label::new("bench").unwrap(),
            number,
            rows: rows.collect(),
        };
        let began = Instant::now();
        let added = sums.add(&batch, UnixTime(START)).await.unwrap();
        assert_eq!(added, Added::Now);
        began.elapsed()
    };
    for piece in numbers.chunks(MAX_ROWS) {
        times.push(send(piece, START).await);
    }
    report("a batch of links that had no counts", &mut times, MAX_ROWS);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(send(&numbers[..MAX_ROWS.min(numbers.len())], START).await);
    }
    report("a batch of the same links again", &mut times, MAX_ROWS);
}

async fn read(sums: &dyn StatisticsStore) {
    let of_year = name(0);
    let counters = "lookup:address lookup:txt lookup:uri click:person click:bot click:preview click:head \
        country:DE country:FR country:US country:unknown referrer:a.example referrer:b.example referrer:c.example \
        referrer:d.example referrer:e.example referrer:f.example referrer:g.example referrer:h.example referrer:other";
    let counters: Vec<Counter> = counters
        .split_whitespace()
        .map(|text| Counter::parse(text).unwrap())
        .collect();
    let starts = (0..12)
        .map(|month| (Unit::Month, START + month * 31 * DAY))
        .chain((0..90).map(|day| (Unit::Day, START + day * DAY)))
        .chain((0..168).map(|hour| (Unit::Hour, START + hour * 3_600)));
    let usages: Vec<Usage> = starts
        .map(|(unit, start)| Usage {
            subject: Subject::Link(of_year.clone()),
            unit,
            start: unit.start_of(UnixTime(start)),
            sums: counters
                .iter()
                .map(|counter| (counter.clone(), 1_000_000))
                .collect(),
        })
        .collect();
    sums.adopt(&usages).await.unwrap();
    let origin = Origin::parse(ZONE).unwrap();
    let names: Vec<LinkName> = (0..100).map(|number| name(number * 7)).collect();
    let (mut years, mut ranks, mut totals) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let mut found = 0;
        for unit in [Unit::Month, Unit::Day, Unit::Hour] {
            let range = Range {
                unit,
                from: UnixTime(START),
                to: UnixTime(START + 400 * DAY),
            };
            found += sums.of_link(&of_year, range).await.unwrap().len();
        }
        years.push(began.elapsed());
        assert_eq!(found, 270 * 20);
        let began = Instant::now();
        let month = (Unit::Month, UnixTime(START));
        let page = sums.ranking(&origin, Ranking::Lookups, month, None, 100);
        assert_eq!(page.await.unwrap().len(), 100);
        ranks.push(began.elapsed());
        let began = Instant::now();
        assert_eq!(sums.totals(&names).await.unwrap().len(), 100);
        totals.push(began.elapsed());
    }
    report("a year of a link", &mut years, 0);
    report("the 100 links of the most look-ups", &mut ranks, 0);
    report("all-time sums of 100 links", &mut totals, 0);
}

/// Prints the median, the 99th percentile and the longest time, and how many rows a second that makes.
fn report(what: &str, times: &mut [Duration], rows: usize) {
    let sum: Duration = times.iter().sum();
    times.sort_unstable();
    let at =
        |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    let rate = match rows {
        0 => String::new(),
        _ => format!(
            ", {:.0} rows a second",
            (rows * times.len()) as f64 / sum.as_secs_f64()
        ),
    };
    println!(
        "{what}: median {:.2} ms, 99th percentile {:.2} ms, longest {:.2} ms{rate}",
        at(50),
        at(99),
        at(100)
    );
}

fn name(number: usize) -> LinkName {
    // As random as real codes, so that neighbours are not made together.
    let code = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % (1 << 40);
    LinkName::parse(&format!("{code:010x}.{ZONE}")).unwrap()
}

fn link(number: usize) -> Link {
    Link {
        name: name(number),
        target: TargetUrl::parse("https://example.net/some/path").unwrap(),
        created_at: UnixTime(START),
        created_by: "bench".into(),
        expires_at: None,
        ttl: None,
        about: About::default(),
        withheld: None,
        version: Version(START * 1_000_000 + number as u64),
    }
}
