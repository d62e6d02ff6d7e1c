//! The change feed: transactions that are committed in any order, changes by psql, and what is forgotten.

use tinyns::store::feed::{Entries, Entry, Feed, FeedPage, Position};
use tinyns::store::servers::{Announcement, Label};
use tokio_postgres::NoTls;

use super::*;
use crate::harness::PATIENCE;

/// A reader of the feed.
struct Reader {
    feed: Arc<dyn Feed>,
    position: Position,
}

impl Reader {
    async fn at_the_end(store: &dyn Store) -> Self {
        let feed = store.feed().unwrap();
        let position = feed.end().await.unwrap();
        Self { feed, position }
    }

    /// Reads a page; returns the entries, and whether they are all.
    async fn page(&mut self, limit: usize) -> (Vec<Entry>, bool) {
        match self.feed.read(&self.position, limit).await.unwrap() {
            FeedPage::Entries(Entries {
                entries,
                position,
                at_end,
                ..
            }) => {
                assert!(self.feed.covers(&position, &self.position));
                self.position = position;
                (entries, at_end)
            }
            FeedPage::TooOld => panic!("{} is too old", self.position),
        }
    }

    /// Reads on to the end; returns codes and versions.
    async fn rest(&mut self, limit: usize) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        loop {
            let (entries, at_end) = self.page(limit).await;
            assert!(entries.len() <= limit);
            all.extend(entries.into_iter().map(|entry| {
                let version = entry.version.unwrap();
                (entry.name.code().to_owned(), version.0)
            }));
            if at_end {
                return all;
            }
        }
    }

    async fn codes(&mut self, limit: usize) -> Vec<String> {
        let rest = self.rest(limit).await;
        rest.into_iter().map(|(code, _)| code).collect()
    }

    async fn is_too_old(&self) -> bool {
        self.feed.read(&self.position, 10).await.unwrap() == FeedPage::TooOld
    }
}

/// A session in which the test decides what is committed when.
async fn session(server: &Postgres) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn insert(code: &str) -> String {
    format!(
        "INSERT INTO tinyns.link (origin, code, url) VALUES ('{ZONE}', '{code}', 'https://x.example/')"
    )
}

#[tokio::test]
async fn all_changes_by_all_programs_are_in_the_feed_with_their_versions() {
    let server = Postgres::start();
    let store = server.open().await;
    make(&*store, new("before", "1"), NOW).await;
    let mut reader = Reader::at_the_end(&*store).await;
    assert_eq!(reader.rest(10).await, []);

    let made = make(&*store, new("a", "1"), NOW).await;
    let change = Change {
        target: Some(url("2")),
        ..Change::default()
    };
    let changed = store.change(&name("a"), None, change, &by(), NOW).await;
    let Changed::Changed(changed) = changed.unwrap() else {
        panic!("not changed");
    };
    let gone = remove(&*store, "a", NOW).await;
    let expected = [made.version, changed.version, gone];
    let expected = expected.map(|version| ("a".to_owned(), version.0));
    assert_eq!(reader.rest(2).await, expected);

    // By a program that knows nothing of versions.
    server.psql(&insert("b"));
    let first = store.get(&name("b")).await.unwrap().unwrap();
    server.psql("UPDATE tinyns.link SET url = 'https://y.example/' WHERE code = 'b'");
    let second = store.get(&name("b")).await.unwrap().unwrap();
    assert!(second.version > first.version);
    server.psql("UPDATE tinyns.link SET code = 'c' WHERE code = 'b'");
    server.psql("DELETE FROM tinyns.link WHERE code = 'c'");
    let read = reader.rest(10).await;
    let codes: Vec<&str> = read.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, ["b", "b", "c", "b", "c"]);
    assert_eq!((read[0].1, read[1].1), (first.version.0, second.version.0));
    assert!(read[3].1 > read[1].1 && read[4].1 > read[2].1, "{read:?}");
    // The names have versions above those of their absence.
    for (code, version) in [("b", read[3].1), ("c", read[4].1)] {
        let again = make(&*store, new(code, "3"), 1).await;
        assert!(again.version.0 > version, "{code}");
    }
}

#[tokio::test]
async fn transactions_may_be_committed_in_any_order() {
    let server = Postgres::start();
    let store = server.open().await;
    make(&*store, new("x", "1"), NOW).await;
    let mut reader = Reader::at_the_end(&*store).await;
    let (one, two) = (session(&server).await, session(&server).await);
    one.batch_execute("BEGIN").await.unwrap();
    one.batch_execute(&insert("a1")).await.unwrap();
    two.batch_execute("BEGIN").await.unwrap();
    two.batch_execute(&insert("b1")).await.unwrap();
    one.batch_execute(&insert("a2")).await.unwrap();
    make(&*store, new("own", "1"), NOW).await;
    assert_eq!(
        reader.codes(1).await,
        ["own"],
        "while two transactions are open"
    );
    two.batch_execute(&insert("b2")).await.unwrap();
    two.batch_execute("COMMIT").await.unwrap();
    assert_eq!(reader.codes(1).await, ["b1", "b2"]);
    // A reader that begins now has had these, too.
    let mut late = Reader::at_the_end(&*store).await;
    // The first transaction got its number first, and changes the link after others have changed it.
    server.psql("UPDATE tinyns.link SET url = 'https://y.example/' WHERE code = 'x'");
    one.batch_execute("UPDATE tinyns.link SET url = 'https://z.example/' WHERE code = 'x'")
        .await
        .unwrap();
    one.batch_execute("COMMIT").await.unwrap();
    let read = late.rest(1).await;
    let codes: Vec<&str> = read.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, ["a1", "a2", "x", "x"]);
    assert!(read[2].1 < read[3].1, "{read:?}");
    assert_eq!(reader.codes(3).await, codes);
    assert_eq!(reader.codes(3).await, [""; 0]);

    // What is rolled back was never there.
    one.batch_execute("BEGIN").await.unwrap();
    one.batch_execute(&insert("never")).await.unwrap();
    one.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(reader.codes(3).await, [""; 0]);
}

#[tokio::test]
async fn a_transaction_that_stays_open_holds_the_feed_back_only_when_positions_are_full() {
    let server = Postgres::start();
    let store = server.open().await;
    let mut reader = Reader::at_the_end(&*store).await;
    let long = session(&server).await;
    long.batch_execute("BEGIN").await.unwrap();
    long.batch_execute(&insert("long")).await.unwrap();
    let others = session(&server).await;
    let mut read = 0;
    for n in 0..1_000 {
        others
            .batch_execute(&insert(&format!("n{n}")))
            .await
            .unwrap();
        if n == 50 {
            read = reader.codes(10).await.len();
            assert_eq!(read, 51);
            assert_eq!(store.troubles(), []);
        }
    }
    loop {
        let (entries, at_end) = reader.page(100).await;
        assert!(!at_end, "not all fit");
        read += entries.len();
        if entries.is_empty() {
            break;
        }
    }
    assert!((100..1_000).contains(&read), "{read}");
    let [trouble] = <[_; 1]>::try_from(store.troubles()).unwrap();
    assert!(
        trouble.reason.contains("a transaction in PostgreSQL"),
        "{trouble:?}"
    );

    long.batch_execute("COMMIT").await.unwrap();
    read += reader.codes(100).await.len();
    assert_eq!(read, 1_001);
    reader.codes(1).await;
    assert_eq!(store.troubles(), []);
}

#[tokio::test]
async fn readers_hear_of_changes_and_announcements() {
    let server = Postgres::start();
    let store = server.open().await;
    let feed = store.feed().unwrap();
    let within = Duration::from_secs(20);
    // The connection that listens wakes its readers once when it is there.
    for _ in 0..2 {
        let change = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let code = format!("c{}", fastrand::u32(..));
            server.psql(&insert(&code));
        };
        let woken = tokio::time::timeout(within, feed.news());
        let (woken, ()) = tokio::join!(woken, change);
        woken.expect("a change wakes");
    }
    let other = server.open().await;
    let change = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        make(&*other, new("own", "1"), NOW).await
    };
    let woken = tokio::time::timeout(within, feed.news());
    let (woken, _) = tokio::join!(woken, change);
    woken.expect("a change by another server wakes");
    let label = |text: &str| Label::new(text).unwrap();
    let announcement = |id: &str| Announcement {
        id: label(id),
        name: label("ns1"),
        region: label("default"),
        version: label("1"),
        started: UnixTime(7),
        applied: Position::new("x"),
        filter_denies: true,
        denied: "d".into(),
    };
    assert!(other.keeps_servers());
    other.announce_server(&announcement("1")).await.unwrap();
    tokio::time::timeout(within, store.servers_news())
        .await
        .unwrap();
    other.announce_server(&announcement("2")).await.unwrap();
    let live = store.servers().await.unwrap();
    let found: Vec<_> = live
        .iter()
        .map(|server| server.announcement.clone())
        .collect();
    assert_eq!(found, [announcement("1"), announcement("2")]);
    assert!(
        live.iter()
            .all(|server| server.left <= Duration::from_secs(5)),
        "{live:?}"
    );
    other.withdraw_server(&label("1")).await.unwrap();
    assert_eq!(store.servers().await.unwrap().len(), 1);
    // The lease of the other one ends by itself.
    server.psql("UPDATE tinyns.server SET until = now()");
    assert_eq!(store.servers().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_or_undone_is_too_old() {
    let server = Postgres::start();
    let store = server.open().await;
    let reader = Reader::at_the_end(&*store).await;
    make(&*store, new("a", "1"), NOW).await;
    make(&*store, new("b", "1"), NOW).await;
    assert!(!reader.is_too_old().await);
    // An old entry leaves the table within some seconds, and a younger one stays.
    server.psql("UPDATE tinyns.change SET at = at - interval '61 minutes' WHERE code = 'a'");
    let gone = || server.psql("SELECT count(*) FROM tinyns.change WHERE code = 'a'") == "0";
    crate::harness::eventually("the old entry is swept", Duration::from_secs(60), gone);
    assert_eq!(server.psql("SELECT count(*) FROM tinyns.change"), "1");
    assert!(reader.is_too_old().await);

    let mut reader = Reader::at_the_end(&*store).await;
    // A sweep that finds no old entry forgets nothing.
    server.psql(
        "INSERT INTO tinyns.idempotency_key (id, fingerprint, holder, lease_until, ends_at) VALUES ('', '', 1, 1, 1)",
    );
    let swept = || server.psql("SELECT count(*) FROM tinyns.idempotency_key") == "0";
    crate::harness::eventually("the key is swept", Duration::from_secs(60), swept);
    assert!(!reader.is_too_old().await);
    make(&*store, new("c", "1"), NOW).await;
    assert_eq!(reader.codes(10).await, ["c"]);
    // All names at once.
    server.psql("TRUNCATE tinyns.link");
    assert!(reader.is_too_old().await);
    let again = make(&*store, new("c", "1"), 1).await;
    assert!(again.version.0 > NOW);

    let reader = Reader::at_the_end(&*store).await;
    store.begin_epoch().await.unwrap();
    assert!(reader.is_too_old().await);
    // A position of another store, and one that nobody has made.
    let other = Postgres::start();
    let mut elsewhere = Reader::at_the_end(&*store).await;
    elsewhere.feed = other.open().await.feed().unwrap();
    assert!(elsewhere.is_too_old().await);
    elsewhere.position = Position::new("731.4").unwrap();
    assert!(elsewhere.is_too_old().await);
}

/// The numbers of transactions in a dump are those of its own cluster, and may be far above those of another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_works_in_another_cluster() {
    let server = Postgres::start();
    {
        let store = server.open().await;
        make(&*store, new("a", "Zwetschgen"), NOW).await;
        store.close().await;
    }
    server.psql(
        "UPDATE tinyns.change SET txid = txid + 1000000000; UPDATE tinyns.store SET forgotten = 900000000; \
         UPDATE tinyns.text_index SET txid = 1000000000",
    );
    let other = Postgres::start();
    server.dump_into(&other);
    let store = other.open().await;
    let mut reader = Reader::at_the_end(&*store).await;
    assert_eq!(reader.codes(10).await, [""; 0]);
    make(&*store, new("b", "Zwetschgen"), NOW).await;
    assert_eq!(reader.codes(10).await, ["b"]);
    assert_eq!(reader.codes(10).await, [""; 0]);
    // The text index is made anew, and has both.
    let both = || {
        other.psql(
            "SELECT count(*) = 2 FROM tinyns.link_text, tinyns.text_index i WHERE i.code IS NULL \
            AND i.txid < 900000000",
        ) == "t"
    };
    crate::harness::eventually("both are in the text index", PATIENCE, both);
}

/// A dump that is put back makes another table.
#[tokio::test]
async fn a_table_that_is_made_again_is_another_history() {
    let server = Postgres::start();
    let store = server.open().await;
    let number = store.identity().number();
    store.close().await;
    server.psql(
        "CREATE TABLE tinyns.other (LIKE tinyns.link INCLUDING ALL); DROP TABLE tinyns.link; \
         ALTER TABLE tinyns.other RENAME TO link",
    );
    let store = server.open().await;
    assert_ne!(store.identity().number(), number);
    let number = store.identity().number();
    store.close().await;
    assert_eq!(server.open().await.identity().number(), number);
}
