//! Statistics of many links: what a batch costs, what the store takes on the disk, and how long reads take.
//!
//! Each of the links has sums of the day before. Then a part of them, chosen at random, is counted once, in batches as the
//! flusher makes them: the worst case, in which each row of a batch is in another part of the tables. Links are changed
//! meanwhile and before, one after the other, which shows for how long a batch keeps the writer. Then the same batch is added
//! again and again: links that are always used. One link has a year with everything that a year can have: 12 months, 90 days
//! and 168 hours of 20 counters each.
//!
//!     cargo bench --bench statistics                            a file in the temporary directory, a million links
//!     cargo bench --bench statistics -- --links 100000
//!     cargo bench --bench statistics -- --file PATH             a file that stays
//!     cargo bench --bench statistics -- --postgresql URL        an empty database
//!
//! With `--reads`, only the reads are measured, of a file or database that an earlier run has filled. The first read of each
//! kind is shown apart, for a run after the caches of the system were emptied.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
/// How many rows a batch of the flusher has.
const ROWS: usize = 100;
/// How many links are counted as fast as the store takes them.
const COLD: usize = 20_000;
/// For how long links are counted at [`RATE`], beside changes.
const PACED: Duration = Duration::from_secs(20);
/// Links a second.
const RATE: usize = 1_000;
/// How often the batch of the same links is added, how often each read is made, and how many steps remove old sums.
const ROUNDS: u64 = 200;

struct Options {
    links: usize,
    file: Option<PathBuf>,
    database: Option<String>,
    is_filled: bool,
}

fn main() {
    let mut options = Options {
        links: 1_000_000,
        file: None,
        database: None,
        is_filled: false,
    };
    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let mut words = words.collect::<Vec<_>>().into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--links" => options.links = words.next().unwrap().parse().unwrap(),
            "--file" => options.file = words.next().map(PathBuf::from),
            "--postgresql" => options.database = words.next(),
            "--reads" => options.is_filled = true,
            _ => panic!("see the header of benches/statistics.rs"),
        }
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let clock = Clock::manual(UnixTime(START));
    match &options.database {
        Some(url) => runtime.block_on(async {
            let config = PostgresConfig {
                url: PostgresUrl::parse(url).unwrap(),
                password_file: None,
                ca_file: None,
                certificate: None,
                key: None,
                pool: 8,
                statement_timeout: Duration::from_secs(60),
                audit: None,
                replica: None,
            };
            let store = PostgresStore::open_now(&config, clock).await.unwrap();
            measure(&store, &options, || None).await;
        }),
        None => {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("links.sqlite");
            let path = options.file.as_ref().unwrap_or(&path);
            let store: Arc<dyn Store> = Arc::new(SqliteStore::open(path, clock).unwrap());
            runtime.block_on(measure(&store, &options, || Some(pages(path))));
        }
    }
}

/// The bytes of all tables of a file.
fn pages(path: &Path) -> u64 {
    let conn = rusqlite::Connection::open(path).unwrap();
    let sql = "SELECT (SELECT page_count FROM pragma_page_count) * (SELECT page_size FROM pragma_page_size) \
        - (SELECT freelist_count FROM pragma_freelist_count) * (SELECT page_size FROM pragma_page_size)";
    conn.query_row(sql, [], |row| row.get::<_, i64>(0))
        .unwrap()
        .unsigned_abs()
}

async fn measure(store: &Arc<dyn Store>, options: &Options, size: impl Fn() -> Option<u64>) {
    let sums = store.statistics().unwrap();
    if options.is_filled {
        return read(&*sums, true).await;
    }
    let began = Instant::now();
    let links = options.links;
    let mut numbers: Vec<usize> = (0..links).collect();
    // In the order of the names, which is the fastest one.
    numbers.sort_by_cached_key(|number| name(*number));
    for piece in numbers.chunks(AT_ONCE) {
        let made: Vec<Link> = piece.iter().map(|number| link(*number)).collect();
        let adopted = match store.prefers_batches() {
            true => store.adopt_many(&made).await,
            false => join_all(made.iter().map(|link| store.adopt(link))).await,
        };
        assert!(
            adopted
                .iter()
                .all(|done| matches!(done, Ok(Adopted::Written)))
        );
    }
    println!("{links} links made in {} s", began.elapsed().as_secs());

    let before = size();
    let mut counting = Counting {
        sums: &*sums,
        batches: 0,
    };
    let began = Instant::now();
    for piece in numbers.chunks(MAX_ROWS) {
        counting.add(piece, START).await;
    }
    counting.rank("all rankings").await;
    println!("each was counted once in {} s", began.elapsed().as_secs());
    if let (Some(before), Some(after)) = (before, size()) {
        let bytes = (after - before) / links as u64;
        println!("bytes a link with counts of one hour: {bytes}");
    }

    let mut random = fastrand::Rng::with_seed(1);
    random.shuffle(&mut numbers);
    let (cold, rest) = numbers.split_at(COLD.min(links / 2));
    let mut times = Vec::new();
    let began = Instant::now();
    for piece in cold.chunks(ROWS) {
        times.push(counting.add(piece, START + DAY).await);
    }
    report(
        "a batch of links that were counted the day before",
        &mut times,
        ROWS,
    );
    counting.rank("their rankings").await;
    let time = began.elapsed().as_secs_f64() * 1e6 / cold.len() as f64;
    println!("all in all {time:.0} microseconds a link");
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(counting.add(&cold[..ROWS], START + DAY).await);
    }
    report("a batch of the same links again", &mut times, ROWS);

    changes(store, "changes alone", tokio::time::sleep(PACED / 2)).await;
    let paced = async {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) * ROWS as u32 / RATE as u32);
        let number = PACED.as_secs() as usize * RATE;
        for piece in rest[..number.min(rest.len())].chunks(ROWS) {
            ticks.tick().await;
            counting.add(piece, START + DAY).await;
        }
    };
    changes(
        store,
        &format!("changes beside {RATE} links a second that are counted"),
        paced,
    )
    .await;
    let ranks = counting.rank("rankings beside changes");
    changes(store, "changes beside the rankings of these links", ranks).await;
    read(&*sums, false).await;
    // By then all hours and days are too old.
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        sums.sweep(UnixTime(START + 100 * DAY)).await.unwrap();
        times.push(began.elapsed());
    }
    report("a step that removes old sums", &mut times, 0);
}

/// Measures changes of links, one after the other, until something else is done.
async fn changes(store: &Arc<dyn Store>, what: &str, until: impl Future<Output = ()>) {
    static LAST: AtomicUsize = AtomicUsize::new(1 << 32);
    let mut times = Vec::new();
    let all = async {
        loop {
            let link = link(LAST.fetch_add(1, Ordering::Relaxed));
            let began = Instant::now();
            let adopted = store.adopt(&link).await;
            assert!(matches!(adopted, Ok(Adopted::Written)));
            times.push(began.elapsed());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        () = until => {}
        () = all => {}
    }
    if !times.is_empty() {
        report(what, &mut times, 0);
    }
}

struct Counting<'a> {
    sums: &'a dyn StatisticsStore,
    batches: u64,
}

impl Counting<'_> {
    /// Counts a look-up of each link, and returns how long that took.
    async fn add(&mut self, numbers: &[usize], hour: u64) -> Duration {
        self.batches += 1;
        let rows = numbers.iter().map(|number| Row {
            name: name(*number),
            hour: UnixTime(hour),
            counter: Counter::parse("lookup:address").unwrap(),
            count: 1,
        });
        let batch = Batch {
            server: Label::new("bench").unwrap(),
            number: self.batches,
            rows: rows.collect(),
        };
        let began = Instant::now();
        let added = self.sums.add(&batch, UnixTime(START)).await.unwrap();
        assert_eq!(added, Added::Now);
        began.elapsed()
    }

    /// Brings the rankings up to date.
    async fn rank(&self, what: &str) {
        let mut times = Vec::new();
        loop {
            let began = Instant::now();
            let more = self.sums.rank().await.unwrap();
            times.push(began.elapsed());
            if !more {
                break;
            }
        }
        let sum: Duration = times.iter().sum();
        println!(
            "{what}: {} pieces, {} ms in all",
            times.len(),
            sum.as_millis()
        );
        report("a piece", &mut times, 0);
    }
}

async fn read(sums: &dyn StatisticsStore, is_filled: bool) {
    let of_year = name(1_000);
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
    if !is_filled {
        sums.adopt(&usages).await.unwrap();
    }
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

/// Prints the first time, the median, the 99th percentile and the longest time, and how many rows a second that makes.
fn report(what: &str, times: &mut [Duration], rows: usize) {
    let sum: Duration = times.iter().sum();
    let first = times[0].as_secs_f64() * 1e3;
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
        "{what}: first {first:.2} ms, median {:.2} ms, 99th percentile {:.2} ms, longest {:.2} ms{rate}",
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
        destinations: None,
        withheld: None,
        version: Version(START * 1_000_000 + number as u64),
    }
}
