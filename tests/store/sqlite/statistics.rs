//! Statistics in the file: batches that fail, deletions by others, sweeps, and files that are only read.

use super::super::rankings::rank;
use super::super::statistics::{START, add, batch, check_link, rows, statistics};
use super::*;
use tinyns::store::statistics::{Added, Ranked, Ranking, Unit};

const TOTAL: Unit = Unit::Total;

/// A store with links, each with one look-up.
async fn counted(place: &Place, codes: &[&str]) -> Arc<dyn Store> {
    let store = place.open().await;
    let mut counts = Vec::new();
    for code in codes {
        make(&*store, new(code, "1"), NOW).await;
        counts.extend(rows(&name(code), START, "lookup:address=1"));
    }
    add(&*statistics(&store), batch("s", 1, counts)).await;
    store
}

#[tokio::test]
async fn a_batch_that_fails_adds_nothing_and_leaves_others_alone() {
    let place = Place::new();
    let store = counted(&place, &["a", "b"]).await;
    let refusing = "CREATE TRIGGER refuse BEFORE UPDATE ON statistics WHEN new.code = 'b' \
        BEGIN SELECT RAISE(FAIL, 'no more'); END";
    place.foreign().execute_batch(refusing).unwrap();
    let sums = statistics(&store);
    let mut counts = rows(&name("a"), START, "lookup:address=1");
    counts.extend(rows(&name("b"), START, "lookup:address=1"));
    let counts = batch("s", 2, counts);
    // Together in one transaction, if the writer takes them so.
    let (added, made) = tokio::join!(
        sums.add(&counts, UnixTime(START)),
        store.create(new("c", "1"), NOW)
    );
    let error = added.unwrap_err().to_string();
    assert!(error.contains("no more"), "{error}");
    assert!(matches!(made, Ok(Created::New(_))), "{made:?}");
    check_link(&*sums, &name("a"), TOTAL, &["@0 lookup:address=1"]).await;
    place
        .foreign()
        .execute_batch("DROP TRIGGER refuse")
        .unwrap();
    assert_eq!(
        sums.add(&counts, UnixTime(START)).await.unwrap(),
        Added::Now
    );
    for code in ["a", "b"] {
        check_link(&*sums, &name(code), TOTAL, &["@0 lookup:address=2"]).await;
    }
}

#[tokio::test]
async fn a_deletion_by_another_program_removes_the_sums() {
    let place = Place::new();
    let store = counted(&place, &["a", "b", "c", "d"]).await;
    let sums = statistics(&store);
    place
        .foreign()
        .execute_batch(
            "DELETE FROM link WHERE code = 'a'; UPDATE link SET code = 'bb' WHERE code = 'b'; \
             UPDATE link SET created_at = created_at + 1 WHERE code = 'c'",
        )
        .unwrap();
    for code in ["a", "b", "bb", "c"] {
        check_link(&*sums, &name(code), TOTAL, &[]).await;
    }
    check_link(&*sums, &name("d"), TOTAL, &["@0 lookup:address=1"]).await;
}

#[tokio::test]
async fn a_file_that_is_only_read_shows_its_sums() {
    let place = Place::new();
    counted(&place, &["a"]).await.close().await;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open_to_read(&place.path()).unwrap());
    let sums = statistics(&store);
    check_link(&*sums, &name("a"), TOTAL, &["@0 lookup:address=1"]).await;
    let refused = sums.add(&batch("s", 2, Vec::new()), UnixTime(START)).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("opened only to be read"), "{refused}");
}

#[tokio::test]
async fn damaged_sums_are_errors_and_counting_goes_on() {
    let place = Place::new();
    let store = counted(&place, &["a", "b"]).await;
    let sums = statistics(&store);
    place
        .foreign()
        .execute_batch(
            "UPDATE statistics SET others = 'none' WHERE code = 'a';
             UPDATE statistics SET lookups = -7 WHERE code = 'b' AND unit = 2",
        )
        .unwrap();
    let range = |unit| tinyns::store::statistics::Range {
        unit,
        from: UnixTime(0),
        to: UnixTime(2 * START),
    };
    let error = sums.of_link(&name("a"), range(TOTAL)).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    let mut faults = Vec::new();
    let mut after = None;
    loop {
        let page = sums.usages(after.as_ref(), 3).await.unwrap();
        faults.extend(page.faults);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(faults.len(), 5, "{faults:?}");
    assert!(faults[0].contains("a.s.example.com"), "{faults:?}");
    assert!(faults[4].contains("lookups is negative"), "{faults:?}");
    let counts = rows(&name("a"), START, "click:bot=2");
    add(&*sums, batch("s", 2, counts)).await;
    let expected = ["@0 lookup:address=1", "@0 click:bot=2"];
    check_link(&*sums, &name("a"), TOTAL, &expected).await;
}

/// A look into the tables and plans, which no call of the store shows.
#[tokio::test]
async fn rankings_and_sweeps_are_ranges_of_their_indexes() {
    let place = Place::new();
    counted(&place, &["a"]).await;
    let conn = place.foreign();
    let check = |sql: &str, expected: &str| {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = statement.raw_query();
        let mut plan = String::new();
        while let Some(row) = rows.next().unwrap() {
            plan += &row.get::<_, String>(3).unwrap();
            plan += "\n";
        }
        assert!(plan.contains(expected), "{sql}: {plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    };
    for sum in ["lookups", "clicks"] {
        let column = format!("{sum}_ranked");
        let ranking = |place: &str| {
            format!(
                "SELECT code, {column} FROM statistics WHERE zone = ?1 AND unit = ?2 AND start = ?3 AND unit > 0 \
                 AND code <> '' AND {column} > 0 AND {column} {place} ORDER BY {column} DESC, code LIMIT ?6"
            )
        };
        let index = format!("COVERING INDEX statistics_{sum} (zone=? AND unit=? AND start=?");
        check(
            &ranking("= ?4 AND code > ?5"),
            &format!("{index} AND {column}=? AND code>?)"),
        );
        check(
            &ranking("< ?4 AND code > ?5"),
            &format!("{index} AND {column}>? AND {column}<?)"),
        );
    }
    check(
        "SELECT zone, code, unit, start FROM statistics WHERE (zone, code, unit, start) > (?1, ?2, ?3, ?4) \
         ORDER BY zone, code, unit, start LIMIT ?5",
        "SEARCH statistics USING PRIMARY KEY ((zone,code,unit,start)>(?,?,?,?))",
    );
}

/// The tables as version 12 has them.
const BACK_TO_12: &str = "\
    DROP TRIGGER link_destinations_changed; ALTER TABLE link DROP COLUMN destinations; \
    DROP INDEX statistics_lookups; DROP INDEX statistics_clicks; \
    ALTER TABLE statistics DROP COLUMN lookups_ranked; ALTER TABLE statistics DROP COLUMN clicks_ranked; \
    CREATE INDEX statistics_age ON statistics (unit, start) WHERE unit < 2; \
    CREATE INDEX statistics_lookups ON statistics (zone, unit, start, lookups DESC, code) \
        WHERE unit > 0 AND code <> '' AND lookups > 0; \
    CREATE INDEX statistics_clicks ON statistics (zone, unit, start, clicks DESC, code) \
        WHERE unit > 0 AND code <> '' AND clicks > 0; \
    PRAGMA user_version = 12";

#[tokio::test]
async fn sums_of_the_former_version_are_ranked_and_go_on() {
    let place = Place::new();
    let store = counted(&place, &["a", "b"]).await;
    let clicks = rows(&name("b"), START, "click:person=4 country:DE=4");
    add(&*statistics(&store), batch("s", 2, clicks)).await;
    store.close().await;
    place.foreign().execute_batch(BACK_TO_12).unwrap();

    let store = place.open().await;
    let sums = statistics(&store);
    let ranked = async |by: Ranking| {
        let mut all = Vec::new();
        for unit in [(Unit::Month, UnixTime(START)), (TOTAL, UnixTime(0))] {
            let ranked = sums
                .ranking(&origin(ZONE), by, unit, None, 9)
                .await
                .unwrap();
            all.push(shown(&ranked));
        }
        assert_eq!(all[0], all[1]);
        all.remove(0)
    };
    assert_eq!(ranked(Ranking::Lookups).await, "a=1 b=1");
    assert_eq!(ranked(Ranking::Clicks).await, "b=4");
    let counts = rows(&name("b"), START, "lookup:address=1");
    add(&*sums, batch("s", 3, counts)).await;
    rank(&*sums).await;
    assert_eq!(ranked(Ranking::Lookups).await, "b=2 a=1");
    let expected = [
        "@0 lookup:address=2",
        "@0 click:person=4",
        "@0 country:DE=4",
    ];
    check_link(&*sums, &name("b"), TOTAL, &expected).await;
}

fn shown(ranked: &[Ranked]) -> String {
    let one = |ranked: &Ranked| format!("{}={}", ranked.name.code(), ranked.count);
    ranked.iter().map(one).collect::<Vec<_>>().join(" ")
}
