//! The SQLite store: its contract, its queue, its rows.

#[path = "../../../benches/fixture/earlier.rs"]
mod earlier;
mod files;
mod migration;
mod statistics;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tempfile::TempDir;
use tinyns::base::clock::Clock;
use tinyns::store::watch::VALID_FOR;
use tinyns::store::{NameSink, SqliteStore};

use super::*;

/// A directory with a store in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("links.sqlite")
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path(), Clock::default()).unwrap()
    }

    /// Another program's connection to the file.
    fn foreign(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

#[async_trait]
impl Backend for Place {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store())
    }
}

store_battery!(Place::new());
audit_battery!(Place::new());
statistics_battery!(Place::new());

#[tokio::test]
async fn lists_are_in_order_of_codes() {
    let place = Place::new();
    let store = place.store();
    for code in ["b", "a-b", "a", "z", "0", "ab", "9z"] {
        make(&store, new(code, "1"), NOW).await;
    }
    let listed = codes(&list_all(&store, ZONE, 3).await);
    assert_eq!(listed, ["0", "9z", "a", "a-b", "ab", "b", "z"]);
}

#[tokio::test]
async fn writes_wait_for_a_place_in_the_queue() {
    let place = Place::new();
    let store = place.store();
    let foreign = place.foreign();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let calls = (0..3_000).map(|i| {
        let store = &store;
        async move { store.create(new(&format!("c{i}"), "1"), NOW).await }
    });
    let release = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        foreign.execute_batch("ROLLBACK").unwrap();
    };
    let (results, ()) = tokio::join!(join_all(calls), release);
    for result in results {
        assert!(matches!(result, Ok(Created::New(_))), "{result:?}");
    }
}

#[tokio::test]
async fn close_finishes_what_is_queued() {
    let place = Place::new();
    let store = place.store();
    let calls = (0..500).map(|i| store.create(new(&format!("c{i}"), "1"), NOW));
    let (results, seal) = tokio::join!(join_all(calls), store.close());
    assert!(seal.is_some());
    for result in results {
        assert!(matches!(result.unwrap(), Created::New(_)));
    }
    // Nothing is left in the log, and the file alone is the whole store.
    let mut log = place.path().into_os_string();
    log.push("-wal");
    assert!(!Path::new(&log).exists());
    let store = place.store();
    assert_eq!(list_all(&store, ZONE, 1_000).await.len(), 500);
}

#[tokio::test]
async fn dropping_the_store_loses_nothing_and_frees_the_file() {
    let place = Place::new();
    for round in 0..3 {
        let store = place.store();
        let calls = (0..50).map(|i| store.create(new(&format!("c{round}-{i}"), "1"), NOW));
        for result in join_all(calls).await {
            assert!(matches!(result.unwrap(), Created::New(_)));
        }
        drop(store);
    }
    assert_eq!(list_all(&place.store(), ZONE, 1_000).await.len(), 150);
}

#[tokio::test]
async fn a_page_is_bounded_whatever_is_asked() {
    let place = Place::new();
    let store = place.store();
    let calls = (0..1_001).map(|i| store.create(new(&format!("c{i}"), "1"), NOW));
    for result in join_all(calls).await {
        result.unwrap();
    }
    let page = store.list(&origin(ZONE), None, usize::MAX).await.unwrap();
    assert_eq!(page.links.len(), 1_000);
    let next = page.next.unwrap();
    let page = store.list(&origin(ZONE), Some(&next), usize::MAX).await;
    let page = page.unwrap();
    assert_eq!((page.links.len(), page.next), (1, None));
}

#[tokio::test]
async fn a_cursor_of_another_zone_lies_before_or_behind() {
    let place = Place::new();
    let store = place.store();
    make(&store, new("m", "1"), NOW).await;
    let check = async |cursor: LinkName, links: usize| {
        let page = store.list(&origin(ZONE), Some(&cursor), 10).await.unwrap();
        assert_eq!(page.links.len(), links, "{cursor}");
    };
    check(name_in("z", "a.example.com"), 1).await;
    check(name_in("a", "t.example.com"), 0).await;
}

#[tokio::test]
async fn a_bad_row_is_reported_by_name_and_other_rows_are_read() {
    let place = Place::new();
    let store = place.store();
    for code in ["a", "c"] {
        make(&store, new(code, "1"), NOW).await;
    }
    let insert = "INSERT INTO link (origin, code, url, created_at, created_by, version) \
        VALUES ('s.example.com', ?1, ?2, 1, '', 1)";
    let foreign = place.foreign();
    for code in ["b", "d"] {
        foreign
            .execute(insert, (code, "javascript:alert(1)"))
            .unwrap();
    }
    // With the constraints off, even a key that no cursor can be.
    foreign
        .execute_batch("PRAGMA ignore_check_constraints = ON")
        .unwrap();
    foreign
        .execute(insert, ("b_b", "https://example.net/"))
        .unwrap();

    let check = |error: StoreError| match error {
        StoreError::Corrupt { name, reason } => {
            assert_eq!(name, "b.s.example.com");
            assert!(reason.contains("javascript"), "{reason}");
        }
        other => panic!("{other:?}"),
    };
    check(store.get(&name("b")).await.unwrap_err());
    check(store.create(new("b", "1"), NOW).await.unwrap_err());
    let change = store
        .change(&name("b"), None, Change::default(), &by(), NOW)
        .await;
    check(change.unwrap_err());
    check(
        store
            .delete(&name("b"), None, &by(), NOW)
            .await
            .unwrap_err(),
    );
    for limit in [1, 2, 3, 10] {
        let listed = codes(&list_all(&store, ZONE, limit).await);
        assert_eq!(listed, ["a", "c"], "pages of {limit}");
        let whole = Segment { index: 0, total: 1 };
        let scanned = codes(&scan_all(&store, whole, limit).await);
        assert_eq!(scanned, ["a", "c"], "pages of {limit}");
    }
}

/// Tells the child process of the kill test which store to write to.
const KILL_TEST_STORE: &str = "TINYNS_KILL_TEST_STORE";

/// Tells it how to begin its codes.
const KILL_TEST_ROUND: &str = "TINYNS_KILL_TEST_ROUND";

/// What the parent knows about a link after the death of the child.
#[derive(Debug, PartialEq)]
enum Known {
    Made,
    /// A delete was begun; it may or may not have been done.
    Going,
    Gone,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    let place = Place::new();
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    for round in 0..6 {
        let before = known.len();
        let mut random = [0; 2];
        getrandom::fill(&mut random).unwrap();
        let lines = 1 + usize::from(u16::from_le_bytes(random) % 500);
        run_and_kill(&place.path(), round, lines, &mut known);
        assert!(known.len() > before, "the child has done nothing");

        let store = place.store();
        for (code, known) in &known {
            let there = store.get(&name(code)).await.unwrap().is_some();
            match known {
                Known::Made => assert!(there, "{code} was lost in round {round}"),
                Known::Gone => assert!(!there, "{code} came back in round {round}"),
                Known::Going => {}
            }
        }
        let intact: String = place
            .foreign()
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(intact, "ok");
        store.close().await;
    }
    assert!(known.values().any(|k| *k == Known::Made));
}

/// Starts the child, reads this many of its lines, kills it, and reads its remaining output.
fn run_and_kill(path: &Path, round: usize, lines: usize, known: &mut BTreeMap<String, Known>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::sqlite::child_that_writes_until_killed"])
        .args(["--ignored", "--nocapture"])
        .env(KILL_TEST_STORE, path)
        .env(KILL_TEST_ROUND, round.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    let mut count = 0;
    while said.read_line(&mut line).unwrap() > 0 {
        // The last line may have been cut off in the middle.
        if let Some(whole) = line.strip_suffix('\n') {
            let state = match whole.split_once(' ') {
                Some(("made", code)) => (code, Known::Made),
                Some(("going", code)) => (code, Known::Going),
                Some(("gone", code)) => (code, Known::Gone),
                _ => panic!("the child said {whole:?}"),
            };
            known.insert(state.0.to_owned(), state.1);
        }
        line.clear();
        count += 1;
        if count == lines {
            child.kill().unwrap();
        }
    }
    assert!(count >= lines, "the child ended by itself");
    child.wait().unwrap();
}

/// Not a test, but the program that the kill test starts and kills. Eight callers create links as fast as the store
/// accepts them, delete one in four again, and print what was acknowledged.
#[test]
#[ignore = "run by the kill test, as its child process"]
fn child_that_writes_until_killed() {
    let Ok(path) = std::env::var(KILL_TEST_STORE) else {
        return;
    };
    let round = std::env::var(KILL_TEST_ROUND).unwrap();
    let say = |what: &str, code: &str| {
        let line = format!("{what} {code}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = &SqliteStore::open(Path::new(&path), Clock::default()).unwrap();
    let callers = (0..8).map(|caller| {
        let round = &round;
        async move {
            for i in 0_u64.. {
                let code = format!("r{round}c{caller}n{i}");
                make(store, new(&code, &"x".repeat(500)), NOW).await;
                say("made", &code);
                if i % 4 == 0 {
                    say("going", &code);
                    remove(store, &code, NOW).await;
                    say("gone", &code);
                }
            }
        }
    });
    runtime.block_on(join_all(callers));
}

/// Waits until the store has looked whether others have written, and gives the generation.
async fn looked(store: &SqliteStore) -> u64 {
    let watch = store.watch().unwrap();
    let begin = Instant::now();
    // Vouched for until later than now: a look has begun since.
    while !watch.vouches_for(watch.generation(), begin + VALID_FOR) {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "it does not look"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    watch.generation()
}

#[tokio::test]
async fn own_writes_are_not_counted_as_foreign() {
    let place = Place::new();
    let store = place.store();
    let reader = place.foreign();
    // More than the log's 1,000 pages: it is written back into the file on the way, also while another
    // connection reads.
    for round in 0..3 {
        for number in 0..400 {
            let long = format!("{round}-{number}-{}", "x".repeat(1_900));
            let made =
                (0..4).map(|i| store.create(new(&format!("c{round}-{number}-{i}"), &long), NOW));
            join_all(made).await;
        }
        let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        let links = reader.query_row("SELECT count(*) FROM link", [], count);
        assert_eq!(links.unwrap(), 1_600 * (round + 1));
        let failed = store.create(new("late", "1"), u64::MAX).await;
        assert!(failed.is_err(), "beyond SQLite's integers");
        remove(&store, "c0-0-0", NOW).await;
        make(&store, new("c0-0-0", "again"), NOW).await;
    }
    let written_back = fs::metadata(place.path()).unwrap().len();
    assert!(written_back > 1 << 20, "{written_back}");
    assert_eq!(looked(&store).await, 0);
    assert_eq!(store.watch().unwrap().removed(), 3);
}

#[tokio::test]
async fn a_foreign_write_is_seen_with_and_without_writes_of_its_own() {
    let place = Place::new();
    let store = place.store();
    make(&store, new("a", "1"), NOW).await;
    let foreign = place.foreign();
    let put = |code: &str| {
        let sql = "INSERT INTO link (origin, code, url, created_at, created_by, version) \
             VALUES (?1, ?2, 'https://example.net/', 1, 'me', 7)";
        foreign.execute(sql, (ZONE, code)).unwrap();
    };
    assert_eq!(looked(&store).await, 0);
    put("b");
    assert_eq!(looked(&store).await, 1);
    assert_eq!(looked(&store).await, 1, "once is enough");
    // A reader that learns of a change can read everything that was written before it.
    put("c");
    make(&store, new("d", "1"), NOW).await;
    assert_eq!(store.watch().unwrap().generation(), 2);
    // Before the look, and after it before the commit.
    for round in 0..20 {
        put(&format!("e{round}"));
        make(&store, new(&format!("f{round}"), "1"), NOW).await;
        assert_eq!(store.watch().unwrap().generation(), 3 + round);
    }
    drop(foreign);
    assert_eq!(
        looked(&store).await,
        22,
        "closing a connection writes nothing"
    );
}

/// All names in pages of this size.
async fn walk(store: &SqliteStore, limit: usize) -> Vec<String> {
    let names = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = names.clone();
    let sink: NameSink = Arc::new(move |code: &str, origin: &str| {
        seen.lock().unwrap().push(format!("{code}.{origin}"));
    });
    let mut after = None;
    loop {
        let before = names.lock().unwrap().len();
        after = store.names(after, limit, sink.clone()).await.unwrap();
        let seen = names.lock().unwrap().len() - before;
        assert!(seen <= limit.max(1), "{seen} of {limit}");
        if after.is_none() {
            return names.lock().unwrap().clone();
        }
    }
}

#[tokio::test]
async fn names_page_without_gap_or_repetition() {
    let place = Place::new();
    let store = place.store();
    assert_eq!(walk(&store, 2).await, [""; 0]);
    let mut expected = Vec::new();
    for zone in ["s.example.com", "t.example", "a.example"] {
        for code in ["a", "a-b", "b", "0", "zz"] {
            let name = name_in(code, zone);
            expected.push((zone, code, name.to_string()));
            make(
                &store,
                NewLink {
                    name,
                    ..new("a", "1")
                },
                NOW,
            )
            .await;
        }
    }
    // A row that is no link has a name all the same, and a look-up of it is an error.
    let nonsense = "UPDATE link SET url = 'nonsense' WHERE code = 'b'";
    place.foreign().execute(nonsense, []).unwrap();
    expected.sort();
    let expected: Vec<_> = expected.into_iter().map(|(_, _, name)| name).collect();
    for limit in [0, 1, 2, 5, 14, 15, 16, 1_000_000] {
        assert_eq!(walk(&store, limit).await, expected, "by {limit}");
    }
}
