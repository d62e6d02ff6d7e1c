use std::sync::Mutex;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::*;
use crate::link::LinkName;
use crate::links::memory::{Known, Look, MemoryLimits};
use crate::links::tests::OneLink;
use crate::store::feed::Readers;

/// A feed that holds the entries after `first`.
#[derive(Debug, Default)]
struct Log {
    first: usize,
    entries: Vec<Entry>,
    fails: bool,
    reads: usize,
}

#[derive(Debug, Default)]
struct OneFeed {
    log: Mutex<Log>,
    news: Notify,
}

fn position(number: usize) -> Position {
    Position::new(number.to_string()).unwrap()
}

fn number(position: &Position) -> usize {
    position.as_str().parse().unwrap()
}

impl OneFeed {
    fn add(&self, code: &str, version: Option<u64>) {
        let name = name(code);
        let version = version.map(Version);
        let entry = Entry { name, version };
        self.log.lock().unwrap().entries.push(entry);
        self.news.notify_one();
    }

    fn change(&self, change: impl FnOnce(&mut Log)) {
        change(&mut self.log.lock().unwrap());
    }
}

#[async_trait]
impl Feed for OneFeed {
    fn readers(&self) -> Readers {
        Readers::Each
    }

    async fn end(&self) -> Result<Position, StoreError> {
        let log = self.log.lock().unwrap();
        match log.fails {
            true => Err(StoreError::Unavailable("it fails".into())),
            false => Ok(position(log.first + log.entries.len())),
        }
    }

    async fn read(&self, after: &Position, limit: usize) -> Result<FeedPage, StoreError> {
        let mut log = self.log.lock().unwrap();
        log.reads += 1;
        if log.fails {
            return Err(StoreError::Unavailable("it fails".into()));
        }
        let Some(skipped) = number(after).checked_sub(log.first) else {
            return Ok(FeedPage::TooOld);
        };
        let entries: Vec<Entry> = log
            .entries
            .iter()
            .skip(skipped)
            .take(limit)
            .cloned()
            .collect();
        let end = skipped + entries.len();
        Ok(FeedPage::Entries(Entries {
            entries,
            position: position(log.first + end),
            at_end: end == log.entries.len(),
            as_of: AsOf::Read,
        }))
    }

    async fn news(&self) {
        self.news.notified().await;
    }

    fn covers(&self, position: &Position, other: &Position) -> bool {
        number(position) >= number(other)
    }
}

fn name(code: &str) -> LinkName {
    LinkName::parse(&format!("{code}.s.example.com")).unwrap()
}

struct Fixture {
    feed: Arc<OneFeed>,
    memory: Arc<Memory>,
    applied: Arc<Applied>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Fixture {
    fn start(feed: OneFeed) -> Self {
        let feed = Arc::new(feed);
        // Nothing is kept while the server is not notified.
        let memory = Arc::new(Memory::new(MemoryLimits {
            unnotified: Duration::ZERO,
            ..MemoryLimits::default()
        }));
        let applied = Arc::new(Applied::new(Instant::now(), LOOK_VALID_FOR));
        let metrics = Arc::new(Metrics::new());
        let follower = Follower {
            feed: feed.clone(),
            store: OneLink::new(),
            memory: memory.clone(),
            own: Arc::new(Own::new()),
            filter: None,
            redis: None,
            applied: applied.clone(),
            metrics: metrics.clone(),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(follower.run(stop.clone()));
        Self {
            feed,
            memory,
            applied,
            metrics,
            stop,
            task,
        }
    }

    /// Waits until everything in the feed up to here has been applied.
    async fn applied(&self, end: usize) {
        let mut positions = self.applied.positions();
        let there = positions.wait_for(|held| held.as_ref().is_some_and(|p| number(p) >= end));
        let waiting = tokio::time::timeout(Duration::from_secs(30), there).await;
        waiting.expect("the follower stands still").unwrap();
    }

    /// Puts an absence into memory, and returns whether it is still used a moment later.
    fn holds(&self, code: &str) -> bool {
        matches!(
            self.memory.look(&name(code), Instant::now()),
            Look::Fresh(..)
        )
    }

    fn put(&self, code: &str) {
        let since = Instant::now();
        match self.memory.look(&name(code), since) {
            Look::Lead(ticket, _) => ticket.land(Ok(Known::None), since),
            look => panic!("{look:?}"),
        }
    }

    async fn eventually(&self, what: &str, holds: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !holds() {
            assert!(Instant::now() < end, "not: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn entries_drop_what_memory_holds() {
    let fixture = Fixture::start(OneFeed::default());
    fixture.applied(0).await;
    for code in ["a", "b", "c"] {
        fixture.put(code);
        assert!(fixture.holds(code), "{code}");
    }
    let stamp = fixture.memory.stamps().of(&name("a"));
    fixture.feed.add("a", Some(7));
    fixture.feed.add("b", None);
    fixture.applied(2).await;
    assert!(!fixture.holds("a") && !fixture.holds("b") && fixture.holds("c"));
    assert!(!fixture.memory.stamps().is_current(stamp));
    assert_eq!(fixture.metrics.feed_entries.get(), 2);
    assert_eq!(fixture.metrics.feed_gaps.get(), 0);
    fixture.stop.cancel();
    fixture.task.await.unwrap();
    assert!(
        !fixture.memory.set_notified(Notifier::Feed, false),
        "notified after its end"
    );
}

#[tokio::test]
async fn many_entries_take_several_pages() {
    let feed = OneFeed::default();
    let fixture = Fixture::start(feed);
    fixture.applied(0).await;
    for number in 0..2 * PAGE + 5 {
        fixture.feed.add(&format!("c{number}"), Some(1));
    }
    fixture.applied(2 * PAGE + 5).await;
    assert_eq!(fixture.metrics.feed_entries.get(), 2 * PAGE as u64 + 5);
    assert_eq!(
        fixture.applied.following(Instant::now()),
        Following::Following
    );
}

#[tokio::test]
async fn after_a_gap_everything_is_looked_up_again() {
    let fixture = Fixture::start(OneFeed::default());
    fixture.applied(0).await;
    fixture.put("a");
    let generation = fixture.applied.looks().generation();
    fixture.feed.change(|log| log.first = 10);
    fixture.applied(10).await;
    assert!(!fixture.holds("a"));
    assert_eq!(fixture.metrics.feed_gaps.get(), 1);
    let looks = fixture.applied.looks();
    assert!(!looks.vouches_for(generation, Instant::now()));
    fixture.put("b");
    assert!(fixture.holds("b"));
}

#[tokio::test]
async fn a_feed_that_fails_is_read_again_and_memory_trusted_less_meanwhile() {
    let fixture = Fixture::start(OneFeed::default());
    fixture.applied(0).await;
    fixture.put("a");
    fixture.feed.change(|log| log.fails = true);
    let later = || Instant::now() + TROUBLE_AFTER + LOOK_VALID_FOR;
    fixture
        .eventually("failing", || {
            fixture.applied.following(later()) == Following::Failing
        })
        .await;
    fixture
        .eventually("trusted less", || !fixture.holds("a"))
        .await;
    assert!(fixture.applied.trouble(later()).is_some());
    fixture.feed.change(|log| log.fails = false);
    fixture.feed.add("b", Some(1));
    fixture.applied(1).await;
    let follows = || fixture.applied.following(Instant::now()) == Following::Following;
    fixture.eventually("following", follows).await;
    assert!(fixture.applied.trouble(Instant::now()).is_none());
    assert_eq!(
        fixture.metrics.feed_gaps.get(),
        0,
        "it went on where it was"
    );
}

#[tokio::test]
async fn a_feed_without_news_is_read_all_the_same() {
    let fixture = Fixture::start(OneFeed::default());
    fixture.applied(0).await;
    // Without a word of the news.
    let entry = Entry {
        name: name("a"),
        version: Some(Version(1)),
    };
    fixture.feed.change(|log| log.entries.push(entry));
    fixture.applied(1).await;
}
