//! The order of links by use: pages of it, and how it follows the sums.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tinyns::base::clock::UnixTime;
use tinyns::store::statistics::{MAX_ROWS, Ranked, Ranking, Row, StatisticsStore, Totals, Unit};
use tinyns::store::{Store, StoreError};

use super::statistics::{DAY, OTHER_ZONE, START, add, batch, rows, statistics};
use super::written::sweep;
use super::{Backend, NOW, ZONE, make, name, name_in, new, origin};

/// Brings all rankings up to date.
pub(super) async fn rank(store: &dyn StatisticsStore) {
    for _ in 0..100 {
        if !store.rank().await.unwrap() {
            return;
        }
    }
    panic!("the rankings never follow");
}

pub(super) async fn rankings_page_without_gap_or_repetition(backend: &dyn Backend) {
    let store = backend.open().await;
    let sums = statistics(&store);
    let mut counts = Vec::new();
    for (code, lookups, clicks) in [
        ("a", 3, 1),
        ("b", 7, 2),
        ("c", 3, 2),
        ("d", 3, 0),
        ("e", 10, 2),
        ("f", 0, 9),
    ] {
        make(&*store, new(code, "1"), NOW).await;
        let text = match lookups {
            0 => String::new(),
            _ => format!("lookup:txt=1 lookup:address={}", lookups - 1),
        };
        let text = match clicks {
            0 => format!("{text} click:bot=50"),
            _ => format!("{text} click:person={clicks}"),
        };
        let text = text.replace("lookup:address=0", "");
        counts.extend(rows(&name(code), START, &text));
    }
    let elsewhere = tinyns::store::NewLink {
        name: name_in("a", OTHER_ZONE),
        ..new("a", "1")
    };
    make(&*store, elsewhere, NOW).await;
    counts.extend(rows(&name_in("a", OTHER_ZONE), START, "lookup:txt=90"));
    add(&*sums, batch("s", 1, counts)).await;
    let later = rows(&name("a"), START + 40 * DAY, "lookup:address=5");
    rank(&*sums).await;
    add(&*sums, batch("s", 2, later)).await;
    rank(&*sums).await;

    let zone = origin(ZONE);
    let check = async |by: Ranking, unit: Unit, start: u64, expected: &[(&str, u64)]| {
        for limit in [1, 2, 100] {
            let mut found: Vec<Ranked> = Vec::new();
            loop {
                let when = (unit, UnixTime(start));
                let page = sums.ranking(&zone, by, when, found.last(), limit);
                let page = page.await.unwrap();
                assert!(page.len() <= limit);
                if page.is_empty() {
                    break;
                }
                found.extend(page);
            }
            let found: Vec<(&str, u64)> = found
                .iter()
                .map(|ranked| (ranked.name.code(), ranked.count))
                .collect();
            assert_eq!(found, expected, "{by:?} {unit:?} {limit}");
        }
    };
    let january = [("e", 10), ("b", 7), ("a", 3), ("c", 3), ("d", 3)];
    check(Ranking::Lookups, Unit::Day, START, &january).await;
    check(Ranking::Lookups, Unit::Month, START, &january).await;
    let total = [("e", 10), ("a", 8), ("b", 7), ("c", 3), ("d", 3)];
    check(Ranking::Lookups, Unit::Total, 0, &total).await;
    let clicks = [("f", 9), ("b", 2), ("c", 2), ("e", 2), ("a", 1)];
    check(Ranking::Clicks, Unit::Total, 0, &clicks).await;
    check(Ranking::Clicks, Unit::Day, START + DAY, &[]).await;
    let hour = (Unit::Hour, UnixTime(START));
    let refused = sums.ranking(&zone, Ranking::Clicks, hour, None, 5).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))));

    let of = |lookups, clicks| Totals { lookups, clicks };
    let names = ["f", "none", "a", "d"].map(name);
    let totals = sums.totals(&names).await.unwrap();
    assert_eq!(totals, [of(0, 9), of(0, 0), of(8, 1), of(3, 0)]);
    assert_eq!(sums.totals(&[]).await.unwrap(), []);
}

/// The rankings follow in several steps, also after the store was closed before they did.
pub(super) async fn rankings_follow_many_links(backend: &dyn Backend) {
    let store = backend.open().await;
    let codes: Vec<String> = (0..350).map(|number| format!("c{number:03}")).collect();
    let made = codes.iter().map(|code| store.create(new(code, "1"), NOW));
    let mut made = stream::iter(made).buffer_unordered(64);
    while let Some(made) = made.next().await {
        made.unwrap();
    }
    let counts = |number: u64| {
        let row = |(i, code): (usize, &String)| {
            let count = format!("lookup:address={} click:person=1", number * (1 + i as u64));
            rows(&name(code), START, &count)
        };
        let all: Vec<Row> = codes.iter().enumerate().flat_map(row).collect();
        let pieces = all.chunks(MAX_ROWS).map(<[Row]>::to_vec);
        pieces.collect::<Vec<_>>()
    };
    let mut last = 0;
    let mut count = async |store: &Arc<dyn Store>, number: u64| {
        for rows in counts(number) {
            last += 1;
            add(&*statistics(store), batch("s", last, rows)).await;
        }
    };
    let check = async |store: &Arc<dyn Store>, times: u64| {
        let (sums, zone) = (statistics(store), origin(ZONE));
        for unit in [(Unit::Day, UnixTime(START)), (Unit::Total, UnixTime(0))] {
            let ranked = sums.ranking(&zone, Ranking::Lookups, unit, None, 500);
            let ranked = ranked.await.unwrap();
            let found: Vec<(&str, u64)> = ranked
                .iter()
                .map(|ranked| (ranked.name.code(), ranked.count))
                .collect();
            let expected = codes.iter().enumerate().rev();
            let expected = expected.map(|(i, code)| (code.as_str(), (1 + i as u64) * times));
            let expected: Vec<_> = expected.collect();
            assert_eq!(found, expected);
            let ranked = sums.ranking(&zone, Ranking::Clicks, unit, None, 500);
            assert_eq!(ranked.await.unwrap().len(), codes.len());
        }
    };
    count(&store, 1).await;
    rank(&*statistics(&store)).await;
    check(&store, 1).await;
    count(&store, 2).await;
    store.close().await;
    let store = backend.open().await;
    sweep(&*statistics(&store), START).await;
    check(&store, 3).await;
}
