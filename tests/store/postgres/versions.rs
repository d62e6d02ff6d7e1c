//! The versions of the tables: many servers that make them at once, and tables of the former version.

use futures_util::future::join_all;
use tinyns::base::clock::UnixTime;
use tinyns::link::{Destinations, Rank};
use tinyns::store::NewLink;
use tinyns::store::statistics::{Added, Ranked, Ranking, Unit};

use super::super::rankings::rank;
use super::super::statistics::{START, add, batch, check_link, rows, statistics};
use super::super::written::sweep;
use super::*;

/// One server makes the tables, and the others wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_start_at_once_make_the_tables_once() {
    let server = Postgres::start();
    let stores = join_all((0..8).map(|_| server.open())).await;
    let numbers: Vec<_> = stores
        .iter()
        .map(|store| store.identity().number())
        .collect();
    assert!(numbers[0].is_some());
    assert!(
        numbers.iter().all(|number| *number == numbers[0]),
        "{numbers:?}"
    );
    assert_eq!(server.psql("SELECT count(*) FROM tinyns.store"), "1");
    for (number, store) in stores.iter().enumerate() {
        make(&**store, new(&format!("c{number}"), "1"), NOW).await;
    }
}

/// The tables as version 3 has them, apart from what functions do.
const BACK_TO_3: &str = "\
    ALTER TABLE tinyns.link DROP COLUMN destinations; \
    DROP INDEX tinyns.statistics_lookups; DROP INDEX tinyns.statistics_clicks; \
    ALTER TABLE tinyns.statistics DROP COLUMN lookups_ranked, DROP COLUMN clicks_ranked; \
    CREATE INDEX statistics_age ON tinyns.statistics (unit, start) WHERE unit + 0 < 2; \
    CREATE INDEX statistics_lookups ON tinyns.statistics (zone, unit, start, lookups DESC, code) \
        WHERE unit > 0 AND code <> '' AND lookups > 0; \
    CREATE INDEX statistics_clicks ON tinyns.statistics (zone, unit, start, clicks DESC, code) \
        WHERE unit > 0 AND code <> '' AND clicks > 0; \
    UPDATE tinyns.store SET schema_version = 3";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_of_the_former_version_are_ranked_and_go_on() {
    let server = Postgres::start();
    let store = server.open().await;
    let mut counts = Vec::new();
    for (code, sums) in [("a", "lookup:txt=3"), ("b", "lookup:txt=2 click:person=1")] {
        make(&*store, new(code, "1"), NOW).await;
        counts.extend(rows(&name(code), START, sums));
    }
    add(&*statistics(&store), batch("s", 1, counts)).await;
    store.close().await;
    server.psql(BACK_TO_3);

    let stores = join_all((0..4).map(|_| server.open())).await;
    let sums = statistics(&stores[0]);
    let ranked = async |by: Ranking| {
        let mut all = Vec::new();
        for unit in [(Unit::Month, UnixTime(START)), (Unit::Total, UnixTime(0))] {
            let ranked = sums
                .ranking(&origin(ZONE), by, unit, None, 9)
                .await
                .unwrap();
            let one = |ranked: &Ranked| format!("{}={}", ranked.name.code(), ranked.count);
            all.push(ranked.iter().map(one).collect::<Vec<_>>());
        }
        assert_eq!(all[0], all[1]);
        all.remove(0)
    };
    // The walk fills the rankings, and takes no lock on the whole table.
    assert_eq!(ranked(Ranking::Lookups).await, [""; 0]);
    sweep(&*sums, START).await;
    assert_eq!(ranked(Ranking::Lookups).await, ["a=3", "b=2"]);
    assert_eq!(ranked(Ranking::Clicks).await, ["b=1"]);
    let counts = rows(&name("b"), START, "lookup:address=5");
    add(&*statistics(&stores[1]), batch("s", 2, counts)).await;
    rank(&*statistics(&stores[1])).await;
    assert_eq!(ranked(Ranking::Lookups).await, ["b=7", "a=3"]);
}

/// The tables as version 2 has them.
const BACK_TO_2: &str = "\
    DROP TRIGGER link_deleted_statistics ON tinyns.link; DROP TRIGGER link_renewed_statistics ON tinyns.link; \
    DROP TRIGGER link_emptied_statistics ON tinyns.link; DROP FUNCTION tinyns.drop_statistics; \
    DROP FUNCTION tinyns.renew_statistics; DROP FUNCTION tinyns.empty_statistics; \
    DROP TABLE tinyns.statistics, tinyns.statistics_zone, tinyns.statistics_batch; \
    ALTER TABLE tinyns.store DROP COLUMN statistics_of_deleted; ALTER TABLE tinyns.link DROP COLUMN destinations; \
    ALTER TABLE tinyns.server SET UNLOGGED; \
    UPDATE tinyns.store SET schema_version = 2";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_the_former_version_are_brought_up_to_date_with_their_links() {
    let server = Postgres::start();
    let store = server.open().await;
    let link = make(&*store, new("a", "1"), NOW).await;
    let number = store.identity().number();
    store.close().await;
    server.psql(BACK_TO_2);

    let stores = join_all((0..4).map(|_| server.open())).await;
    let store = &stores[0];
    assert_eq!(store.identity().number(), number);
    assert_eq!(store.get(&name("a")).await.unwrap(), Some(link));
    let counts = batch("s", 1, rows(&name("a"), START, "lookup:txt=3"));
    let sums = statistics(store);
    add(&*sums, counts.clone()).await;
    let again = statistics(&stores[1]).add(&counts, UnixTime(START)).await;
    assert_eq!(again.unwrap(), Added::Before);
    check_link(&*sums, &name("a"), Unit::Total, &["@0 lookup:txt=3"]).await;
    server.psql("DELETE FROM tinyns.link WHERE code = 'a'");
    check_link(&*sums, &name("a"), Unit::Total, &[]).await;
    // Announcements are there after a crash.
    let kept = "SELECT relpersistence FROM pg_class WHERE oid = 'tinyns.server'::regclass";
    assert_eq!(server.psql(kept), "p");
}

/// Servers of version 4 do not know the column of the destinations: they change the URL, and make links over those that have
/// ended, without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_the_former_version_leave_the_other_destinations_alone() {
    let server = Postgres::start();
    let store = server.open().await;
    let rank = |priority| Rank {
        priority,
        weight: 5,
    };
    let (target, destinations) =
        Destinations::of(vec![(url("1"), rank(1)), (url("2"), rank(2))]).unwrap();
    let several = |code| NewLink {
        target: target.clone(),
        destinations: destinations.clone(),
        ..new(code, "")
    };
    let link = make(&*store, several("a"), NOW).await;
    let changed = "UPDATE tinyns.link SET url = 'https://example.net/3', version = version + 1 WHERE code = 'a'";
    server.psql(changed);
    let found = store.get(&name("a")).await.unwrap().unwrap();
    let ranked: Vec<_> = found
        .ranked()
        .map(|(url, rank)| (url.clone(), rank))
        .collect();
    assert_eq!(ranked, [(url("3"), rank(1)), (url("2"), rank(2))]);
    assert_eq!(found.created_at, link.created_at);

    let ended = NewLink {
        expires_at: Some(UnixTime(NOW / 1_000_000 + 1)),
        ..several("b")
    };
    make(&*store, ended, NOW).await;
    server.psql(
        "UPDATE tinyns.link SET url = 'https://example.net/4', created_at = expires_at, expires_at = NULL \
         WHERE code = 'b'",
    );
    let found = store.get(&name("b")).await.unwrap().unwrap();
    assert_eq!((found.target, found.destinations), (url("4"), None));
}
