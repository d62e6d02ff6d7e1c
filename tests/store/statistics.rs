//! Statistics: sums by unit of time, batches that count once, and what becomes of the sums of a link.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tinyns::base::clock::UnixTime;
use tinyns::link::LinkName;
use tinyns::store::Adopted::{self, Newer, Same};
use tinyns::store::servers::Label;
use tinyns::store::statistics::{
    Added, Batch, Counter, DAYS_KEPT, HOURS_KEPT, Keeping, MAX_REFERRERS, MAX_ROWS, Range, Row,
    StatisticsStore, Subject, Sum, Unit, Usage,
};
use tinyns::store::{Store, StoreError};

use super::written::{Written, sweep, usages};
use super::{Backend, NOW, SECOND, ZONE, ending, make, name, name_in, new, origin, remove};

/// Makes a test of each function of the battery that is about statistics.
macro_rules! statistics_battery {
    ($make:expr) => {
        $crate::store::store_battery! { $make;
            counts_add_up_in_every_unit_of_time
            days_months_and_years_turn_at_midnight
            a_batch_counts_once
            names_without_a_link_have_no_sums
            sums_go_with_the_link_unless_they_are_kept
            hours_and_days_go_and_months_stay
            kept_sums_go_when_they_are_no_longer_kept
            the_heaviest_referrers_stay
            rankings_page_without_gap_or_repetition
            rankings_follow_many_links
            concurrent_batches_all_count
            sums_are_taken_over_once
            a_batch_that_is_too_large_adds_nothing
        }
    };
}
pub(super) use statistics_battery;

const HOUR: u64 = 3_600;
pub(super) const DAY: u64 = 24 * HOUR;
/// 2026-01-01, in seconds.
pub(super) const START: u64 = NOW / SECOND;
pub(super) const OTHER_ZONE: &str = "t.example.net";

pub(super) fn statistics(store: &Arc<dyn Store>) -> Arc<dyn StatisticsStore> {
    Arc::new(Written(store.statistics().unwrap()))
}

/// Rows of one link and hour, as `lookup:txt=3 click:person=1`.
pub(super) fn rows(name: &LinkName, time: u64, counts: &str) -> Vec<Row> {
    let row = |part: &str| {
        let (counter, count) = part.split_once('=').unwrap();
        Row {
            name: name.clone(),
            hour: Unit::Hour.start_of(UnixTime(time)),
            counter: Counter::parse(counter).unwrap(),
            count: count.parse().unwrap(),
        }
    };
    counts.split_whitespace().map(row).collect()
}

pub(super) fn batch(server: &str, number: u64, rows: Vec<Row>) -> Batch {
    Batch {
        server: Label::new(server).unwrap(),
        number,
        rows,
    }
}

/// Adds a batch that was not added before.
pub(super) async fn add(store: &dyn StatisticsStore, batch: Batch) {
    let added = store.add(&batch, UnixTime(START)).await.unwrap();
    assert_eq!(added, Added::Now);
}

/// The units of a kind that may have counts.
fn all(unit: Unit) -> Range {
    Range {
        unit,
        from: UnixTime(0),
        to: UnixTime(START + 1_000 * DAY),
    }
}

fn shown(sums: &[Sum]) -> Vec<String> {
    let text = |sum: &Sum| {
        let since = sum.start.0.checked_sub(START);
        let start = match since {
            Some(since) => format!("{}d{}h", since / DAY, since % DAY / HOUR),
            None => format!("@{}", sum.start.0),
        };
        format!("{start} {}={}", sum.counter, sum.count)
    };
    sums.iter().map(text).collect()
}

/// Compares the sums of a link, each as `0d1h lookup:txt=3`: days and hours since the start.
pub(super) async fn check_link(
    store: &dyn StatisticsStore,
    name: &LinkName,
    unit: Unit,
    expected: &[&str],
) {
    let sums = store.of_link(name, all(unit)).await.unwrap();
    assert_eq!(shown(&sums), expected, "{} {unit:?}", name.as_str());
}

pub(super) async fn check_zone(
    store: &dyn StatisticsStore,
    zone: &str,
    unit: Unit,
    expected: &[&str],
) {
    let sums = store.of_zone(&origin(zone), all(unit)).await.unwrap();
    assert_eq!(shown(&sums), expected, "{zone} {unit:?}");
}

pub(super) async fn counts_add_up_in_every_unit_of_time(backend: &dyn Backend) {
    let store = backend.open().await;
    make(&*store, new("a", "1"), NOW).await;
    make(&*store, new("b", "1"), NOW).await;
    let sums = statistics(&store);
    let (a, b) = (name("a"), name("b"));
    let mut first = rows(
        &a,
        START + 10,
        "lookup:address=3 lookup:txt=1 click:person=2 referrer:x.example=2",
    );
    first.extend(rows(&a, START + HOUR, "lookup:address=4 click:bot=1"));
    first.extend(rows(&b, START + DAY, "lookup:uri=5 country:DE=1"));
    add(&*sums, batch("s", 1, first)).await;
    let second = rows(
        &a,
        START + 31 * DAY + 2 * HOUR,
        "lookup:address=1 country:unknown=1",
    );
    add(&*sums, batch("s", 2, second)).await;
    let third = rows(&a, START + HOUR - 1, "lookup:txt=6 referrer:x.example=1");
    add(&*sums, batch("s", 3, third)).await;
    store.close().await;

    let store = backend.open().await;
    let sums = statistics(&store);
    check_link(
        &*sums,
        &a,
        Unit::Hour,
        &[
            "0d0h lookup:address=3",
            "0d0h lookup:txt=7",
            "0d0h click:person=2",
            "0d0h referrer:x.example=3",
            "0d1h lookup:address=4",
            "0d1h click:bot=1",
            "31d2h lookup:address=1",
            "31d2h country:unknown=1",
        ],
    )
    .await;
    let day = [
        "0d0h lookup:address=7",
        "0d0h lookup:txt=7",
        "0d0h click:person=2",
        "0d0h click:bot=1",
        "0d0h referrer:x.example=3",
    ];
    let february = ["31d0h lookup:address=1", "31d0h country:unknown=1"];
    let both: Vec<&str> = day.into_iter().chain(february).collect();
    check_link(&*sums, &a, Unit::Day, &both).await;
    check_link(&*sums, &a, Unit::Month, &both).await;
    check_link(
        &*sums,
        &a,
        Unit::Total,
        &[
            "@0 lookup:address=8",
            "@0 lookup:txt=7",
            "@0 click:person=2",
            "@0 click:bot=1",
            "@0 referrer:x.example=3",
            "@0 country:unknown=1",
        ],
    )
    .await;
    check_zone(
        &*sums,
        ZONE,
        Unit::Day,
        &[
            "0d0h lookup:address=7",
            "0d0h lookup:txt=7",
            "0d0h click:person=2",
            "0d0h click:bot=1",
            "0d0h referrer:x.example=3",
            "1d0h lookup:uri=5",
            "1d0h country:DE=1",
            "31d0h lookup:address=1",
            "31d0h country:unknown=1",
        ],
    )
    .await;
    check_zone(&*sums, OTHER_ZONE, Unit::Day, &[]).await;
    // From the first start up to before the last one.
    let range = Range {
        unit: Unit::Hour,
        from: UnixTime(START + 1),
        to: UnixTime(START + 31 * DAY + 2 * HOUR),
    };
    let found = sums.of_link(&a, range).await.unwrap();
    assert_eq!(shown(&found), ["0d1h lookup:address=4", "0d1h click:bot=1"]);
}

/// The turns of hours, days, months, a year, and those around the last day of February in a leap year.
pub(super) async fn days_months_and_years_turn_at_midnight(backend: &dyn Backend) {
    let store = backend.open().await;
    make(&*store, new("a", "1"), NOW).await;
    let sums = statistics(&store);
    // 2026-01-01, 2027-12-31, 2028-01-01, 2028-02-28, 2028-02-29, 2028-03-01.
    let days = [0, 729, 730, 788, 789, 790];
    let mut counts = Vec::new();
    for day in days {
        let midnight = START + day * DAY;
        counts.extend(rows(&name("a"), midnight, "lookup:txt=1"));
        counts.extend(rows(&name("a"), midnight + DAY - 1, "lookup:txt=2"));
    }
    add(&*sums, batch("s", 1, counts)).await;
    let hours = days.map(|day| [(day, 0, 1), (day, 23, 2)]);
    let starts = [(0, 3), (699, 3), (730, 3), (761, 6), (790, 3)];
    let line = |day, hour, count| format!("{day}d{hour}h lookup:txt={count}");
    let hours: Vec<_> = hours
        .as_flattened()
        .iter()
        .map(|(d, h, n)| line(*d, *h, *n))
        .collect();
    let months: Vec<_> = starts.iter().map(|(day, n)| line(*day, 0, *n)).collect();
    let days: Vec<_> = days.iter().map(|day| line(*day, 0, 3)).collect();
    for (unit, expected) in [
        (Unit::Hour, hours),
        (Unit::Day, days),
        (Unit::Month, months),
    ] {
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check_link(&*sums, &name("a"), unit, &expected).await;
        check_zone(&*sums, ZONE, unit, &expected).await;
    }
    check_link(&*sums, &name("a"), Unit::Total, &["@0 lookup:txt=18"]).await;
}

pub(super) async fn a_batch_counts_once(backend: &dyn Backend) {
    let store = backend.open().await;
    make(&*store, new("a", "1"), NOW).await;
    let counts = |number| {
        let rows = rows(&name("a"), START, "lookup:address=1 click:bot=1");
        batch("s", number, rows)
    };
    let again = async |store: &Arc<dyn Store>, number| {
        let (sums, counts) = (statistics(store), counts(number));
        let added = sums.add(&counts, UnixTime(START)).await;
        assert_eq!(added.unwrap(), Added::Before, "{number}");
    };
    add(&*statistics(&store), counts(1)).await;
    again(&store, 1).await;
    add(&*statistics(&store), counts(2)).await;
    again(&store, 1).await;
    store.close().await;
    let store = backend.open().await;
    again(&store, 2).await;
    let mut other = counts(1);
    other.server = Label::new("t").unwrap();
    add(&*statistics(&store), other).await;
    let sums = ["@0 lookup:address=3", "@0 click:bot=3"];
    check_link(&*statistics(&store), &name("a"), Unit::Total, &sums).await;
    check_zone(&*statistics(&store), ZONE, Unit::Total, &sums).await;
}

pub(super) async fn names_without_a_link_have_no_sums(backend: &dyn Backend) {
    let store = backend.open().await;
    make(&*store, new("a", "1"), NOW).await;
    let sums = statistics(&store);
    for keeping in [false, true] {
        sums.keep(Keeping { deleted: keeping }).await.unwrap();
        let mut counts = rows(&name("a"), START, "lookup:address=1");
        counts.extend(rows(&name("none"), START, "lookup:address=5"));
        add(&*sums, batch("s", 1 + u64::from(keeping), counts)).await;
        for unit in Unit::ALL {
            check_link(&*sums, &name("none"), unit, &[]).await;
        }
    }
    check_link(&*sums, &name("a"), Unit::Total, &["@0 lookup:address=2"]).await;
    check_zone(&*sums, ZONE, Unit::Total, &["@0 lookup:address=12"]).await;
}

pub(super) async fn sums_go_with_the_link_unless_they_are_kept(backend: &dyn Backend) {
    let store = backend.open().await;
    let sums = statistics(&store);
    let mut number = 0;
    let mut count = async |code: &str| {
        number += 1;
        let counts = rows(&name(code), START, "lookup:address=1 click:bot=1");
        add(&*sums, batch("s", number, counts)).await;
    };
    let once = ["@0 lookup:address=1", "@0 click:bot=1"];
    for code in ["a", "ab", "b"] {
        make(&*store, new(code, "1"), NOW).await;
        count(code).await;
    }
    check_link(&*sums, &name("a"), Unit::Total, &once).await;
    remove(&*store, "a", NOW).await;
    for unit in Unit::ALL {
        check_link(&*sums, &name("a"), unit, &[]).await;
    }
    check_link(&*sums, &name("ab"), Unit::Total, &once).await;
    // A link that takes the place of another one begins anew, whether that was deleted or has ended.
    make(&*store, new("a", "1"), NOW).await;
    check_link(&*sums, &name("a"), Unit::Total, &[]).await;
    let end = NOW + 10 * SECOND;
    make(&*store, ending("e", "1", end), NOW).await;
    count("e").await;
    check_link(&*sums, &name("e"), Unit::Total, &once).await;
    make(&*store, new("e", "2"), end).await;
    check_link(&*sums, &name("e"), Unit::Total, &[]).await;
    let change = tinyns::store::Change {
        target: Some(super::url("3")),
        ..Default::default()
    };
    let (ab, by) = (name("ab"), super::by());
    store.change(&ab, None, change, &by, NOW).await.unwrap();
    check_link(&*sums, &name("ab"), Unit::Total, &once).await;

    sums.keep(Keeping { deleted: true }).await.unwrap();
    remove(&*store, "b", NOW).await;
    check_link(&*sums, &name("b"), Unit::Total, &once).await;
    count("b").await;
    let twice = ["@0 lookup:address=2", "@0 click:bot=2"];
    check_link(&*sums, &name("b"), Unit::Total, &twice).await;
    sums.keep(Keeping { deleted: false }).await.unwrap();
    remove(&*store, "ab", NOW).await;
    check_link(&*sums, &name("ab"), Unit::Total, &[]).await;
    let zone = ["@0 lookup:address=5", "@0 click:bot=5"];
    check_zone(&*sums, ZONE, Unit::Total, &zone).await;
}

pub(super) async fn hours_and_days_go_and_months_stay(backend: &dyn Backend) {
    let store = backend.open().await;
    let sums = statistics(&store);
    // More than one step removes.
    let codes: Vec<String> = (0..2_100).map(|number| format!("c{number}")).collect();
    let mut links = Vec::new();
    for code in &codes {
        links.push(store.create(new(code, "1"), NOW));
    }
    let mut links = stream::iter(links).buffer_unordered(64);
    while let Some(made) = links.next().await {
        made.unwrap();
    }
    let hour = |code: &String| rows(&name(code), START, "lookup:address=1 click:bot=1");
    for (number, codes) in (1..).zip(codes.chunks(MAX_ROWS / 2)) {
        let counts = codes.iter().flat_map(hour).collect();
        add(&*sums, batch("s", number, counts)).await;
    }
    let c0 = name("c0");
    let later = rows(&c0, START + HOUR, "lookup:address=1");
    add(&*sums, batch("t", 1, later)).await;
    let zone = ["0d0h lookup:address=2100", "0d0h click:bot=2100"];
    let (first, second) = (
        ["0d0h lookup:address=1", "0d0h click:bot=1"],
        "0d1h lookup:address=1",
    );
    let day = ["0d0h lookup:address=2", "0d0h click:bot=1"];
    let zone_day = ["0d0h lookup:address=2101", "0d0h click:bot=2100"];

    sweep(&*sums, START + HOURS_KEPT).await;
    check_zone(&*sums, ZONE, Unit::Hour, &[&zone[..], &[second]].concat()).await;
    check_link(&*sums, &c0, Unit::Hour, &[&first[..], &[second]].concat()).await;
    sweep(&*sums, START + HOURS_KEPT + HOUR).await;
    check_link(&*sums, &c0, Unit::Hour, &[second]).await;
    for code in &codes {
        check_link(
            &*sums,
            &name(code),
            Unit::Hour,
            &[second][..usize::from(code == "c0")],
        )
        .await;
    }
    check_link(&*sums, &c0, Unit::Day, &day).await;
    sweep(&*sums, START + DAYS_KEPT).await;
    check_link(&*sums, &c0, Unit::Hour, &[]).await;
    check_link(&*sums, &c0, Unit::Day, &day).await;
    sweep(&*sums, START + DAYS_KEPT + DAY).await;
    check_link(&*sums, &c0, Unit::Day, &[]).await;
    check_zone(&*sums, ZONE, Unit::Day, &[]).await;
    sweep(&*sums, START + 3_650 * DAY).await;
    check_link(&*sums, &c0, Unit::Month, &day).await;
    check_zone(&*sums, ZONE, Unit::Month, &zone_day).await;
    let totals = sums.totals(&[c0]).await.unwrap();
    assert_eq!((totals[0].lookups, totals[0].clicks), (2, 0));
}

/// The walk removes sums of deleted links once they are no longer kept, and no others.
pub(super) async fn kept_sums_go_when_they_are_no_longer_kept(backend: &dyn Backend) {
    let store = backend.open().await;
    let sums = statistics(&store);
    sums.keep(Keeping { deleted: true }).await.unwrap();
    let codes: Vec<String> = (0..400).map(|n| format!("c{n}")).collect();
    for (number, codes) in (1..).zip(codes.chunks(100)) {
        for code in codes {
            make(&*store, new(code, "1"), NOW).await;
        }
        let counts = codes
            .iter()
            .flat_map(|code| rows(&name(code), START, "lookup:txt=1"));
        add(&*sums, batch("s", number, counts.collect())).await;
    }
    // Reading has what was gathered written, before links are deleted.
    check_zone(&*sums, ZONE, Unit::Total, &["@0 lookup:txt=400"]).await;
    // All but every tenth. One of them is made again.
    let deleted: Vec<_> = (0..400).filter(|n| n % 10 != 0).collect();
    for n in &deleted {
        remove(&*store, &codes[*n], NOW).await;
    }
    make(&*store, new("c7", "1"), NOW).await;
    let walk = async || while sums.sweep(UnixTime(START)).await.unwrap() {};
    let once = ["@0 lookup:txt=1"];
    walk().await;
    for code in &codes {
        check_link(&*sums, &name(code), Unit::Total, &once).await;
    }
    sums.keep(Keeping { deleted: false }).await.unwrap();
    walk().await;
    for (n, code) in codes.iter().enumerate() {
        let is_left = !deleted.contains(&n) || n == 7;
        for unit in Unit::ALL {
            let left = sums.of_link(&name(code), all(unit)).await.unwrap();
            assert_eq!(left.len(), usize::from(is_left), "{code}, {unit:?}");
        }
    }
    check_zone(&*sums, ZONE, Unit::Total, &["@0 lookup:txt=400"]).await;
}

/// When there are too many hosts, the same number is taken from all of them: see `tinyns::store::heaviest`.
pub(super) async fn the_heaviest_referrers_stay(backend: &dyn Backend) {
    let store = backend.open().await;
    make(&*store, new("a", "1"), NOW).await;
    let sums = statistics(&store);
    let count = async |number: u64, hosts: std::ops::Range<usize>, count: u64| {
        let rows = hosts.map(|host| Row {
            name: name("a"),
            hour: UnixTime(START),
            counter: Counter::Referrer(format!("h{host}.example").into()),
            count,
        });
        add(&*sums, batch("s", number, rows.collect())).await;
    };
    count(1, 0..MAX_REFERRERS - 1, 2).await;
    count(2, MAX_REFERRERS - 10..MAX_REFERRERS + 30, 3).await;
    // 9 hosts have 5 clicks, 31 have 3, and 90 have 2, which are taken from all 130.
    let expect = |found: &[Sum], what: &str| {
        let sum = |host: &str| {
            let counter = Counter::Referrer(host.into());
            let sum = found.iter().find(|sum| sum.counter == counter);
            sum.map(|sum| sum.count)
        };
        assert_eq!(found.len(), 9 + 31 + 1, "{what}");
        assert_eq!(sum(Counter::OTHER_REFERRER), Some(2 * 130), "{what}");
        assert_eq!(sum("h0.example"), None);
        let [both, late] = [MAX_REFERRERS - 2, MAX_REFERRERS];
        assert_eq!(sum(&format!("h{both}.example")), Some(3));
        assert_eq!(sum(&format!("h{late}.example")), Some(1));
    };
    let zone = origin(ZONE);
    for unit in Unit::ALL {
        let of_link = sums.of_link(&name("a"), all(unit)).await.unwrap();
        expect(&of_link, "link");
        let of_zone = sums.of_zone(&zone, all(unit)).await.unwrap();
        expect(&of_zone, "zone");
    }
}

pub(super) async fn concurrent_batches_all_count(backend: &dyn Backend) {
    let store = backend.open().await;
    make(&*store, new("a", "1"), NOW).await;
    make(&*store, new("b", "1"), NOW).await;
    super::at_once(&store, |store, i| async move {
        let sums = statistics(&store);
        for number in 1..=3 {
            let mut counts = rows(&name("a"), START, "lookup:address=2 click:bot=1");
            counts.extend(rows(&name("b"), START, "country:DE=1"));
            if i % 2 == 1 {
                counts.reverse();
            }
            let batch = batch(&format!("s{i}"), number, counts);
            assert_eq!(sums.add(&batch, UnixTime(START)).await?, Added::Now);
        }
        Ok(())
    })
    .await;
    let sums = statistics(&store);
    let expected = ["@0 lookup:address=300", "@0 click:bot=150"];
    check_link(&*sums, &name("a"), Unit::Total, &expected).await;
    check_link(&*sums, &name("b"), Unit::Total, &["@0 country:DE=150"]).await;
    let zone = [expected[0], expected[1], "@0 country:DE=150"];
    check_zone(&*sums, ZONE, Unit::Total, &zone).await;
}

pub(super) async fn sums_are_taken_over_once(backend: &dyn Backend) {
    let store = backend.open().await;
    let sums = statistics(&store);
    assert_eq!(usages(&*sums, 10).await, []);
    for code in ["a", "b"] {
        make(&*store, new(code, "1"), NOW).await;
    }
    let mut counts = rows(&name("a"), START, "lookup:address=2 click:person=1");
    counts.extend(rows(&name("b"), START + DAY, "lookup:txt=4 country:DE=1"));
    counts.extend(rows(&name_in("z", OTHER_ZONE), START, "click:bot=1"));
    add(&*sums, batch("s", 1, counts)).await;

    let found = usages(&*sums, 100).await;
    // Each link: four; the zones: two hours, two days, a month, a total, and four.
    assert_eq!(found.len(), 2 * 4 + 6 + 4);
    assert_eq!(usages(&*sums, 1).await, found);
    assert_eq!(usages(&*sums, 7).await, found);
    let zone = Subject::Zone(origin(ZONE));
    assert_eq!(found[0].subject, zone);
    let of_a = found.iter().find(|usage| usage.name() == Some(&name("a")));
    let of_a = of_a.unwrap().clone();
    assert_eq!((of_a.unit, of_a.start), (Unit::Hour, UnixTime(START)));
    let counters = |text: &str| -> Vec<(Counter, u64)> {
        let rows = rows(&name("a"), START, text);
        rows.into_iter()
            .map(|row| (row.counter, row.count))
            .collect()
    };
    let expected = counters("lookup:address=2 click:person=1");
    assert_eq!(of_a.sums, expected);
    let adopted = sums.adopt(&found).await.unwrap();
    assert_eq!(adopted, vec![Same; found.len()]);

    let usage = |subject: Subject, text: &str| Usage {
        subject,
        unit: Unit::Hour,
        start: UnixTime(START),
        sums: counters(text),
    };
    let theirs = [
        usage(
            Subject::Link(name("a")),
            "lookup:address=1 lookup:txt=9 click:person=5",
        ),
        usage(Subject::Link(name("none")), "click:person=5"),
        usage(Subject::Zone(origin("new.example")), "click:bot=5"),
        usage(Subject::Link(name("b")), "click:bot=5"),
    ];
    let first = [Adopted::Written, Newer, Adopted::Written, Adopted::Written];
    assert_eq!(sums.adopt(&theirs).await.unwrap(), first);
    let again = [Same, Newer, Same, Same];
    assert_eq!(sums.adopt(&theirs).await.unwrap(), again);
    store.close().await;
    let store = backend.open().await;
    let sums = statistics(&store);
    assert_eq!(sums.adopt(&theirs).await.unwrap(), again);
    let hour = [
        "0d0h lookup:address=2",
        "0d0h lookup:txt=9",
        "0d0h click:person=5",
    ];
    check_link(&*sums, &name("a"), Unit::Hour, &hour).await;
    check_zone(&*sums, "new.example", Unit::Hour, &["0d0h click:bot=5"]).await;
    sums.keep(Keeping { deleted: true }).await.unwrap();
    assert_eq!(sums.adopt(&theirs[1..2]).await.unwrap(), [Adopted::Written]);
    check_link(&*sums, &name("none"), Unit::Hour, &["0d0h click:person=5"]).await;
    let refused = sums.adopt(&vec![theirs[0].clone(); MAX_ROWS + 1]).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))));
}

pub(super) async fn a_batch_that_is_too_large_adds_nothing(backend: &dyn Backend) {
    let store = backend.open().await;
    make(&*store, new("a", "1"), NOW).await;
    let sums = statistics(&store);
    let row = rows(&name("a"), START, "lookup:txt=1").remove(0);
    let large = batch("s", 1, vec![row; MAX_ROWS + 1]);
    let refused = sums.add(&large, UnixTime(START)).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))));
    check_link(&*sums, &name("a"), Unit::Total, &[]).await;
    add(&*sums, batch("s", 1, large.rows[..MAX_ROWS].to_vec())).await;
    check_link(&*sums, &name("a"), Unit::Total, &["@0 lookup:txt=500"]).await;
    store.close().await;
    let closed = sums.add(&batch("s", 2, Vec::new()), UnixTime(START)).await;
    assert!(matches!(closed, Err(StoreError::Unavailable(_))));
}
