//! Statistics in the database: servers that share it, deletions by others, and a database that ends meanwhile.

use std::time::Instant;

use super::super::statistics::{START, add, batch, check_link, rows, statistics};
use super::*;
use crate::harness::PATIENCE;
use tinyns::store::statistics::{Added, Keeping, Unit};

const TOTAL: Unit = Unit::Total;

/// A store with links, each with one look-up.
async fn counted(server: &Postgres, codes: &[&str]) -> Arc<dyn Store> {
    let store = server.open().await;
    let mut counts = Vec::new();
    for code in codes {
        make(&*store, new(code, "1"), NOW).await;
        counts.extend(rows(&name(code), START, "lookup:address=1"));
    }
    add(&*statistics(&store), batch("s", 1, counts)).await;
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_add_to_the_same_sums() {
    let server = Postgres::start();
    let stores = [server.open().await, server.open().await];
    let codes: Vec<String> = (0..40).map(|number| format!("c{number}")).collect();
    for code in &codes {
        make(&*stores[0], new(code, "1"), NOW).await;
    }
    let work = stores.iter().enumerate().map(|(id, store)| {
        let (store, mut codes) = (store.clone(), codes.clone());
        tokio::spawn(async move {
            let sums = statistics(&store);
            for number in 1..=25 {
                codes.rotate_left(id + 1);
                let counts = codes.iter();
                let counts = counts.flat_map(|code| {
                    rows(
                        &name(code),
                        START,
                        "lookup:address=2 click:bot=1 country:DE=1",
                    )
                });
                let counts = batch(&format!("s{id}"), number, counts.collect());
                let added = sums.add(&counts, UnixTime(START)).await.unwrap();
                assert_eq!(added, Added::Now);
                let again = sums.add(&counts, UnixTime(START)).await.unwrap();
                assert_eq!(again, Added::Before);
            }
        })
    });
    for done in join_all(work.collect::<Vec<_>>()).await {
        done.unwrap();
    }
    let expected = [
        "@0 lookup:address=100",
        "@0 click:bot=50",
        "@0 country:DE=50",
    ];
    for code in &codes {
        check_link(&*statistics(&stores[1]), &name(code), TOTAL, &expected).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_are_deleted_while_they_are_counted_leave_no_sums() {
    let server = Postgres::start();
    let stores = [server.open().await, server.open().await];
    let (first, second) = (stores[0].clone(), stores[1].clone());
    let codes: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
    let counted = codes.clone();
    let counting = tokio::spawn(async move {
        let sums = statistics(&first);
        for number in 1..=60 {
            let counts = counted.iter();
            let counts = counts.flat_map(|code| rows(&name(code), START, "lookup:txt=1"));
            let counts = batch("s", number, counts.collect());
            // A deadlock with a deletion may have refused it.
            while sums.add(&counts, UnixTime(START)).await.is_err() {}
        }
    });
    let mut round = 0;
    while !counting.is_finished() {
        round += 1;
        for code in &codes {
            let now = NOW + round * SECOND;
            let made = second.create(new(code, "1"), now).await;
            assert!(matches!(made, Ok(Created::New(_))), "{made:?}");
        }
        for code in codes.iter().rev() {
            remove(&*second, code, NOW + round * SECOND).await;
        }
    }
    counting.await.unwrap();
    let left = server.psql("SELECT count(*) FROM tinyns.statistics WHERE code <> ''");
    assert_eq!(left, "0", "after {round} rounds");
    let all = server.psql("SELECT lookups FROM tinyns.statistics WHERE unit = 3");
    assert_eq!(all, "1200");
}

#[tokio::test]
async fn other_programs_remove_sums_with_the_links() {
    let server = Postgres::start();
    let store = counted(&server, &["a", "b", "c", "d", "e"]).await;
    let sums = statistics(&store);
    server.psql("DELETE FROM tinyns.link WHERE code = 'a'");
    server.psql("UPDATE tinyns.link SET code = 'bb' WHERE code = 'b'");
    server.psql("UPDATE tinyns.link SET created_at = created_at + 1 WHERE code = 'c'");
    for code in ["a", "b", "bb", "c"] {
        check_link(&*sums, &name(code), TOTAL, &[]).await;
    }
    let once = ["@0 lookup:address=1"];
    check_link(&*sums, &name("d"), TOTAL, &once).await;
    sums.keep(Keeping { deleted: true }).await.unwrap();
    server.psql("DELETE FROM tinyns.link WHERE code = 'd'");
    server.psql("TRUNCATE tinyns.link");
    check_link(&*sums, &name("d"), TOTAL, &once).await;
    check_link(&*sums, &name("e"), TOTAL, &once).await;
    sums.keep(Keeping { deleted: false }).await.unwrap();
    server.psql("TRUNCATE tinyns.link");
    check_link(&*sums, &name("e"), TOTAL, &[]).await;
}

/// PostgreSQL is killed again and again while batches are added, and each batch is sent until it has a reply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_counts_nothing_twice() {
    let mut server = Postgres::start();
    let store = counted(&server, &["a"]).await;
    let counting = tokio::spawn({
        let store = store.clone();
        async move {
            let sums = statistics(&store);
            for number in 2..=400 {
                let counts = rows(&name("a"), START, "lookup:address=1 click:bot=1");
                let counts = batch("s", number, counts);
                let end = Instant::now() + PATIENCE;
                while let Err(error) = sums.add(&counts, UnixTime(START)).await {
                    assert!(Instant::now() < end, "{error}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    });
    let mut kills = 0;
    while !counting.is_finished() {
        server.kill();
        server.start_again();
        kills += 1;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    counting.await.unwrap();
    let expected = ["@0 lookup:address=400", "@0 click:bot=399"];
    check_link(&*statistics(&store), &name("a"), TOTAL, &expected).await;
    assert!(kills > 0);
}

/// A look at the plans, which no call of the store shows. Sessions of tinyns plan in the same way for tables of any size.
#[tokio::test]
async fn a_year_and_a_ranking_are_ranges_of_indexes() {
    let server = Postgres::start();
    counted(&server, &["a"]).await;
    let check = |sql: &str, index: &str| {
        let plan = server.psql(&format!(
            "SET enable_seqscan = off; SET enable_bitmapscan = off; SET search_path = tinyns; EXPLAIN {sql}"
        ));
        assert!(plan.contains(index), "{plan}");
        assert!(!plan.contains("Sort"), "{plan}");
    };
    for sum in ["lookups", "clicks"] {
        let column = format!("{sum}_ranked");
        check(
            &format!(
                "SELECT code, {column} FROM statistics WHERE zone = 1 AND unit = 2 AND start = 3 AND unit > 0 \
                 AND code <> '' AND {column} > 0 AND {column} < 9 AND code > '' ORDER BY {column} DESC, code LIMIT 5"
            ),
            &format!("using statistics_{sum}"),
        );
    }
    check(
        "SELECT lookups FROM statistics WHERE zone = 1 AND code = 'a' AND unit = 1 AND start >= 0 ORDER BY start",
        "using statistics_pkey",
    );
    check(
        "SELECT zone FROM statistics WHERE (zone, code, unit, start) > (1, 'a', 0::smallint, 7) \
         ORDER BY zone, code, unit, start LIMIT 9",
        "using statistics_pkey",
    );
}
