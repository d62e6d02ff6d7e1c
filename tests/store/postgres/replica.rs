//! A read replica near the server: what is read from it, and what is not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tinyns::store::feed::{AsOf, Feed, FeedPage, Position};
use tinyns::store::{Effect, ReplicaStatus};

use super::*;
use crate::harness::PATIENCE;
use crate::postgres::Wire;

/// A bound on the lag that no test reaches by chance.
const NO_BOUND: Duration = Duration::from_secs(3_600);

/// A writer, a replica, and a store that has a network of its own to each writer.
struct Region {
    writer: Postgres,
    replica: Postgres,
    wire: Wire,
    store: Arc<dyn Store>,
}

impl Region {
    async fn with(lag: Duration) -> Self {
        let writer = Postgres::start();
        // The tables, so that the replica begins with them.
        let first = writer.open().await;
        first.close().await;
        let replica = writer.replica();
        let wire = Wire::to(&writer);
        let config = postgres::config_near(&wire.url(), &replica, lag);
        let store = Arc::new(postgres::open(&config).await.unwrap());
        let region = Self {
            writer,
            replica,
            wire,
            store,
        };
        region.caught_up().await;
        region
    }

    async fn start() -> Self {
        Self::with(NO_BOUND).await
    }

    fn status(&self) -> ReplicaStatus {
        self.store.replica().unwrap()
    }

    /// Waits until the replica is used, and shows everything up to now.
    async fn caught_up(&self) {
        let began = Instant::now();
        until(async || {
            let lag = self.status().lag;
            lag.is_some_and(|lag| Instant::now() - lag > began)
        })
        .await;
    }

    /// Waits until the store has noticed that the writer cannot be reached, or can be again.
    async fn writer_is(&self, is_away: bool) {
        until(async || {
            let troubles = self.store.troubles();
            is_away == troubles.iter().any(|one| one.effect == Effect::NoChanges)
        })
        .await;
    }

    /// How many reads of `read` each of the servers has answered: the replica first.
    async fn counted<T>(&self, read: impl Future<Output = T>) -> (T, [u64; 2]) {
        let before = self.status();
        let found = read.await;
        let now = self.status();
        let counts = [
            now.from_replica - before.from_replica,
            now.from_writer - before.from_writer,
        ];
        (found, counts)
    }

    /// Reads a link, which one of the servers answers.
    async fn get(&self, code: &str, from_replica: bool) -> Option<Link> {
        let (found, counts) = self.counted(self.store.get(&name(code))).await;
        let expected = match from_replica {
            true => [1, 0],
            false => [0, 1],
        };
        assert_eq!(counts, expected, "{code}");
        found.unwrap()
    }
}

/// Reads on to the end of the feed: the codes, and up to when they are complete.
async fn read(feed: &dyn Feed, position: &mut Position) -> (Vec<String>, AsOf) {
    match feed.read(position, 100).await.unwrap() {
        FeedPage::Entries(page) => {
            assert!(page.at_end);
            *position = page.position;
            let codes = page.entries.iter().map(|one| one.name.code().to_owned());
            (codes.collect(), page.as_of)
        }
        FeedPage::TooOld => panic!("{position} is too old"),
    }
}

async fn until(is_so: impl AsyncFn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < end, "in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_read_from_the_replica_and_own_changes_at_once() {
    let region = Region::start().await;
    let store = &region.store;
    let a = make(&**store, new("a", "1"), NOW).await;
    region.caught_up().await;
    assert_eq!(region.get("a", true).await.as_ref(), Some(&a));

    region.replica.pause_replay();
    let b = make(&**store, new("b", "1"), NOW).await;
    assert_eq!(region.get("b", false).await.as_ref(), Some(&b));
    let change = Change {
        target: Some(url("2")),
        ..Change::default()
    };
    let changed = store.change(&name("a"), None, change, &by(), NOW).await;
    let Changed::Changed(a) = changed.unwrap() else {
        panic!("a is there");
    };
    assert_eq!(region.get("a", false).await.as_ref(), Some(&a));
    // Also if nothing was changed, because the reply showed a state.
    region.writer.psql(
        "INSERT INTO tinyns.link (origin, code, url) VALUES ('s.example.com', 'c', 'https://x.example/')",
    );
    assert_eq!(region.get("c", true).await, None, "the replica lacks it");
    let taken = store.create(new("c", "9"), NOW).await.unwrap();
    assert!(matches!(taken, Created::Taken(_)), "{taken:?}");
    assert!(region.get("c", false).await.is_some());
    // Each of several names comes from where it has to.
    let names = ["a", "none", "b", "c"].map(name);
    let (found, counts) = region.counted(store.get_many(&names)).await;
    let found: Vec<_> = found
        .into_iter()
        .map(|one| one.unwrap().map(|one| one.version))
        .collect();
    assert_eq!(
        (found[0], found[1], found[2]),
        (Some(a.version), None, Some(b.version))
    );
    assert!(found[3].is_some());
    assert_eq!(counts, [1, 1]);
    let deleted = remove(&**store, "b", NOW).await;
    assert!(deleted > b.version);
    assert_eq!(region.get("b", false).await, None);
    // Lists show own changes as well.
    let (page, counts) = region
        .counted(store.list(&origin("s.example.com"), None, 10))
        .await;
    assert_eq!(
        (codes(&page.unwrap().links), counts),
        (vec!["a".into(), "c".into()], [0, 1])
    );
    // What others have changed, if this server hears of it.
    region
        .writer
        .psql("UPDATE tinyns.link SET url = 'https://y.example/' WHERE code = 'c'");
    store.note_changed(&name("c"));
    let c = region.get("c", false).await.unwrap();
    assert_eq!(c.target.as_str(), "https://y.example/");
    region.replica.resume_replay();
    region.caught_up().await;
    for (code, expected) in [("a", Some(a)), ("b", None), ("c", Some(c))] {
        assert_eq!(region.get(code, true).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn above_the_bound_reads_go_to_the_writer_and_come_back() {
    let region = Region::with(Duration::from_secs(1)).await;
    region.replica.pause_replay();
    region.writer.psql(
        "INSERT INTO tinyns.link (origin, code, url) VALUES ('s.example.com', 'c', 'https://x.example/')",
    );
    until(async || region.status().lag.unwrap() > Duration::from_secs(1)).await;
    assert!(region.get("c", false).await.is_some());
    let troubles = region.store.troubles();
    assert_eq!(troubles.len(), 1);
    assert_eq!(troubles[0].effect, Effect::Degraded);
    assert!(
        troubles[0].reason.contains("lags by more than 1 seconds"),
        "{troubles:?}"
    );
    region.replica.resume_replay();
    region.caught_up().await;
    assert!(region.get("c", true).await.is_some());
    assert_eq!(region.store.troubles(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_writer_the_replica_answers_and_changes_fail() {
    let region = Region::with(Duration::from_secs(1)).await;
    let store = &region.store;
    let a = make(&**store, new("a", "1"), NOW).await;
    region.caught_up().await;
    region.replica.pause_replay();
    let b = make(&**store, new("b", "1"), NOW).await;
    region.wire.cut();
    region.writer_is(true).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Older than the bound by now.
    assert_eq!(region.get("a", true).await.as_ref(), Some(&a));
    assert_eq!(region.get("none", true).await, None);
    store.ping().await.unwrap();
    // An acknowledged change that the replica may lack is not denied.
    let found = store.get(&name("b")).await;
    assert!(found.is_err(), "{found:?}");
    let made = store.create(new("c", "1"), NOW).await;
    assert!(made.is_err(), "{made:?}");
    let reason = &store.troubles()[0].reason;
    assert!(reason.contains("may be older than 1 seconds"), "{reason}");
    region.wire.mend();
    region.replica.resume_replay();
    region.writer_is(false).await;
    region.caught_up().await;
    until(async || store.get(&name("b")).await.ok() == Some(Some(b.clone()))).await;
    make(&**store, new("d", "1"), NOW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_fails_is_left_out_and_taken_again() {
    let mut region = Region::start().await;
    let a = make(&*region.store, new("a", "1"), NOW).await;
    region.caught_up().await;
    region.replica.kill();
    for _ in 0..100 {
        assert_eq!(
            region.store.get(&name("a")).await.unwrap().as_ref(),
            Some(&a)
        );
    }
    until(async || !region.status().is_used).await;
    assert_eq!(region.get("a", false).await.as_ref(), Some(&a));
    assert!(
        region.store.troubles()[0]
            .reason
            .contains("cannot be reached")
    );
    region.replica.start_again();
    region.caught_up().await;
    assert_eq!(region.get("a", true).await.as_ref(), Some(&a));
    // One that hangs delays a read, and does not fail it.
    region.replica.freeze();
    assert_eq!(
        region.store.get(&name("a")).await.unwrap().as_ref(),
        Some(&a)
    );
    region.replica.thaw();
    region.caught_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_promoted_is_not_used() {
    let region = Region::start().await;
    let a = make(&*region.store, new("a", "1"), NOW).await;
    region.caught_up().await;
    region.replica.promote();
    until(async || !region.status().is_used).await;
    region
        .replica
        .psql("UPDATE tinyns.link SET url = 'https://wrong.example/'");
    assert_eq!(region.get("a", false).await.as_ref(), Some(&a));
    let reason = &region.store.troubles()[0].reason;
    assert!(reason.contains("is no replica"), "{reason}");
    // Nothing was written there by this server: a new history would begin with it.
    let place = |server: &Postgres| server.psql("SELECT place, history FROM tinyns.store");
    assert_eq!(place(&region.replica), place(&region.writer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_with_the_replica_alone() {
    let mut region = Region::start().await;
    let a = make(&*region.store, new("a", "1"), NOW).await;
    region.caught_up().await;
    let number = region.store.identity().number();
    region.store.close().await;
    region.writer.stop();
    let config = postgres::config_near(&region.writer.url(), &region.replica, NO_BOUND);
    region.store = PostgresStore::open_or_wait(&config, Clock::default())
        .await
        .unwrap();
    tokio::time::timeout(PATIENCE, region.store.opened())
        .await
        .unwrap();
    assert_eq!(region.store.identity().number(), number);
    assert_eq!(region.get("a", true).await.as_ref(), Some(&a));
    region.store.ping().await.unwrap();
    let made = region.store.create(new("b", "1"), NOW).await;
    let error = made.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
    let troubles = region.store.troubles();
    assert_eq!(troubles[0].effect, Effect::NoChanges);
    // The feed can be read; how old it is is not known.
    let feed = region.store.feed().unwrap();
    let position = feed.begin().await.unwrap();
    let FeedPage::Entries(page) = feed.read(&position, 10).await.unwrap() else {
        panic!("a gap");
    };
    assert_eq!((page.entries.len(), page.as_of), (0, AsOf::Unknown));
    region.writer.start_again();
    region.caught_up().await;
    // What was read before may have been older than others knew.
    assert_eq!(feed.read(&position, 10).await.unwrap(), FeedPage::TooOld);
    until(async || region.store.create(new("b", "1"), NOW).await.is_ok()).await;
    region.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_comes_from_where_links_are_read_and_says_up_to_when_it_is_complete() {
    let region = Region::with(Duration::from_secs(2)).await;
    let feed = region.store.feed().unwrap();
    let mut position = feed.begin().await.unwrap();
    region.replica.pause_replay();
    let before = Instant::now();
    region.writer.psql(
        "INSERT INTO tinyns.link (origin, code, url) VALUES ('s.example.com', 'c', 'https://x.example/')",
    );
    let (codes, as_of) = read(&*feed, &mut position).await;
    assert_eq!(codes, [""; 0]);
    let AsOf::Moment(moment) = as_of else {
        panic!("{as_of:?}");
    };
    assert!(
        moment < before + Duration::from_millis(500),
        "before the change"
    );
    assert_eq!(region.store.get(&name("c")).await.unwrap(), None);
    // Another server may not believe that this one has applied the change.
    let end = feed.end().await.unwrap();
    assert!(!feed.covers(&position, &end));
    // Beyond the bound both come from the writer.
    until(async || region.status().lag.unwrap() > Duration::from_secs(2)).await;
    assert_eq!(
        read(&*feed, &mut position).await,
        (vec!["c".to_owned()], AsOf::Read)
    );
    assert!(region.store.get(&name("c")).await.unwrap().is_some());
    region.replica.resume_replay();
    region.caught_up().await;
    let (codes, as_of) = read(&*feed, &mut position).await;
    assert_eq!(codes, [""; 0]);
    assert!(matches!(as_of, AsOf::Moment(_)), "{as_of:?}");
    assert!(feed.covers(&position, &end));
}

/// What a server keeps of links that it has read, until the feed says that they have changed.
struct Kept {
    feed: Arc<dyn Feed>,
    position: Option<Position>,
    states: HashMap<String, Option<Version>>,
    gaps: usize,
}

impl Kept {
    /// Reads a page of the feed. Whether its end was reached.
    async fn follow(&mut self) -> Result<bool, StoreError> {
        let Some(position) = &self.position else {
            self.position = Some(self.feed.begin().await?);
            self.states.clear();
            return Ok(false);
        };
        match self.feed.read(position, 7).await? {
            FeedPage::TooOld => {
                self.gaps += 1;
                self.position = None;
                Ok(false)
            }
            FeedPage::Entries(page) => {
                self.position = Some(page.position);
                for entry in page.entries {
                    self.states.remove(entry.name.code());
                }
                Ok(page.at_end)
            }
        }
    }
}

/// A server in another region changes links, the replica lags, ends and comes back, and the writer is away at times. What the
/// server here keeps is never older than what the feed has brought.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_old_state_stays_over_lags_kills_and_partitions() {
    const NAMES: usize = 40;
    let seed = fastrand::u64(..);
    fastrand::seed(seed);
    let mut region = Region::with(Duration::from_secs(1)).await;
    let elsewhere = region.writer.open().await;
    let stop = Arc::new(AtomicBool::new(false));
    let (truth, stopped) = (elsewhere.clone(), stop.clone());
    let changes = tokio::spawn(async move {
        let mut rounds = 0;
        while !stopped.load(Ordering::Relaxed) {
            let code = format!("n{}", fastrand::usize(..NAMES));
            let now = NOW + rounds;
            let change = Change {
                target: Some(url(&rounds.to_string())),
                ..Change::default()
            };
            match fastrand::u8(..4) {
                0 => drop(
                    elsewhere
                        .delete(&name(&code), None, &by(), now)
                        .await
                        .unwrap(),
                ),
                1 | 2 => drop(elsewhere.create(new(&code, "1"), now).await.unwrap()),
                _ => drop(
                    elsewhere
                        .change(&name(&code), None, change, &by(), now)
                        .await
                        .unwrap(),
                ),
            }
            rounds += 1;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(..20))).await;
        }
    });
    let mut kept = Kept {
        feed: region.store.feed().unwrap(),
        position: None,
        states: HashMap::new(),
        gaps: 0,
    };
    let (mut is_paused, mut is_cut) = (false, false);
    let end = Instant::now() + Duration::from_secs(15);
    let mut next = Instant::now();
    while Instant::now() < end {
        if Instant::now() > next {
            next = Instant::now() + Duration::from_millis(fastrand::u64(200..2_500));
            match fastrand::u8(..5) {
                0 | 1 => {
                    is_paused = !is_paused;
                    match is_paused {
                        true => region.replica.pause_replay(),
                        false => region.replica.resume_replay(),
                    }
                }
                2 | 3 => {
                    is_cut = !is_cut;
                    match is_cut {
                        true => region.wire.cut(),
                        false => region.wire.mend(),
                    }
                }
                _ => {
                    region.replica.kill();
                    region.replica.start_again();
                    is_paused = false;
                }
            }
        }
        // Failures change nothing.
        let _ = kept.follow().await;
        let code = format!("n{}", fastrand::usize(..NAMES));
        if let Ok(found) = region.store.get(&name(&code)).await {
            let version = found.map(|link| link.version);
            kept.states.entry(code).or_insert(version);
        }
    }
    stop.store(true, Ordering::Relaxed);
    changes.await.unwrap();
    region.wire.mend();
    region.replica.resume_replay();
    region.caught_up().await;
    // All that is left: a gap that is owed, the begin after it, and the rest of the pages.
    let mut quiet = 0;
    while quiet < 3 {
        match kept.follow().await {
            Ok(true) => quiet += 1,
            Ok(false) => quiet = 0,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    for (code, version) in &kept.states {
        let found = truth.get(&name(code)).await.unwrap();
        let found = found.map(|link| link.version);
        assert_eq!(*version, found, "{code}, seed {seed}, gaps {}", kept.gaps);
    }
    let status = region.status();
    assert!(
        status.from_replica > 100 && status.from_writer > 0,
        "{status:?}"
    );
}
