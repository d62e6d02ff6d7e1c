mod shared;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;

use super::keeper::{Scale, Stop, Worn};
use super::*;
use crate::base::clock::Clock;
use crate::link::{Code, Link, Origin, TargetUrl, Version};
use crate::links::tests::{NoNames, OneLink, origin};
use crate::links::{CreateLink, LinkLimits, Links, Resolution};
use crate::store::audit::Actor;
use crate::store::watch::VALID_FOR;
use crate::store::{
    Change, Changed, Created, Deleted, NamePlace, NameSink, NewLink, Page, Segment, SqliteStore,
    StoreError,
};

/// So small that a few links fill a filter.
const SMALL: Scale = Scale {
    page: 3,
    least_room: 8,
    least_removed: 4,
    most_links: u64::MAX,
};

/// A SQLite store that is slow and can be made to fail.
#[derive(Debug)]
struct Slow {
    inner: SqliteStore,
    watch: Arc<Watch>,
    /// The links in the store, noted right after their commit; without those whose deletion has begun.
    there: RwLock<Vec<LinkName>>,
    /// How many of the next pages of names fail.
    failures: AtomicU32,
    calls: AtomicUsize,
    /// Where the store is slow.
    slow: AtomicBool,
    _dir: TempDir,
}

impl Slow {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("links.sqlite");
        let inner = SqliteStore::open(&path, Clock::default()).unwrap();
        Self {
            watch: inner.watch().unwrap(),
            inner,
            there: RwLock::default(),
            failures: AtomicU32::new(0),
            calls: AtomicUsize::new(0),
            slow: AtomicBool::new(false),
            _dir: dir,
        }
    }

    /// Sleeps for another time at each call, so that steps meet in any order.
    async fn dawdle(&self) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) as u64;
        if self.slow.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_micros(call * 7_919 % 4_000)).await;
        }
    }
}

#[async_trait]
impl Store for Slow {
    async fn create(&self, new: NewLink, now: u64) -> Result<Created, StoreError> {
        self.dawdle().await;
        let created = self.inner.create(new, now).await?;
        if let Created::New(link) = &created {
            self.there.write().unwrap().push(link.name.clone());
        }
        self.dawdle().await;
        Ok(created)
    }

    async fn get(&self, name: &LinkName) -> Result<Option<Link>, StoreError> {
        self.inner.get(name).await
    }

    async fn change(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        change: Change,
        by: &Actor,
        now: u64,
    ) -> Result<Changed, StoreError> {
        self.inner.change(name, expected, change, by, now).await
    }

    async fn delete(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        by: &Actor,
        now: u64,
    ) -> Result<Deleted, StoreError> {
        self.there.write().unwrap().retain(|there| there != name);
        self.inner.delete(name, expected, by, now).await
    }

    async fn list(
        &self,
        origin: &Origin,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.inner.list(origin, after, limit).await
    }

    async fn scan(
        &self,
        segment: Segment,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.inner.scan(segment, after, limit).await
    }

    fn watch(&self) -> Option<Arc<Watch>> {
        Some(self.watch.clone())
    }

    async fn names(
        &self,
        after: Option<NamePlace>,
        limit: usize,
        sink: NameSink,
    ) -> Result<Option<NamePlace>, StoreError> {
        let fails = |left: u32| left.checked_sub(1);
        if self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails)
            .is_ok()
        {
            return Err(StoreError::Unavailable("as the test wants it".into()));
        }
        let page = self.inner.names(after, limit, sink).await;
        self.dawdle().await;
        page
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    async fn close(&self) -> Option<crate::store::Seal> {
        self.inner.close().await
    }
}

struct Bench {
    store: Arc<Slow>,
    links: Arc<Links>,
    filter: Arc<Filter>,
    metrics: Arc<Metrics>,
}

impl Bench {
    fn new() -> Self {
        Self::over(Slow::open())
    }

    fn over(store: Slow) -> Self {
        let (store, metrics) = (Arc::new(store), Arc::new(Metrics::new()));
        let links = Links::new(
            store.clone(),
            Arc::new(NoNames),
            LinkLimits::default(),
            Clock::default(),
            metrics.clone(),
        )
        .with_filter();
        Self {
            filter: links.filter.clone().unwrap(),
            links: Arc::new(links),
            store,
            metrics,
        }
    }

    fn keeper(&self, scale: Scale) -> Keeper {
        let (store, metrics) = (self.store.clone(), self.metrics.clone());
        Keeper::new(self.filter.clone(), store, metrics).with_scale(scale)
    }

    async fn create(&self, code: &str) -> LinkName {
        self.links.create(request(code)).await.unwrap();
        name(code)
    }

    fn denies(&self, name: &LinkName) -> bool {
        !self.links.may_exist(name.code().as_bytes(), &origin())
    }

    /// Checks that no existing link is denied.
    fn check_all(&self) {
        for name in self.store.there.read().unwrap().iter() {
            assert!(!self.denies(name), "{name} is denied");
        }
    }

    /// Waits up to ten seconds for a condition.
    async fn eventually(&self, what: &str, holds: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(Instant::now() < end, "not: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn request(code: &str) -> CreateLink {
    CreateLink {
        origin: origin(),
        target: TargetUrl::parse(&format!("https://example.net/{code}")).unwrap(),
        code: Some(Code::parse(code).unwrap()),
        use_reserved: false,
        expires_at: None,
        ttl: None,
        about: crate::link::About::default(),
        destinations: None,
        withheld: None,
        created_by: "test".into(),
    }
}

fn name(code: &str) -> LinkName {
    LinkName::new(&Code::parse(code).unwrap(), &origin())
}

#[tokio::test]
async fn nothing_is_denied_before_the_filter_is_complete() {
    let bench = Bench::new();
    let there = bench.create("there").await;
    assert!(!bench.denies(&name("absent")));
    bench.keeper(SMALL).build().await.unwrap();
    assert!(bench.denies(&name("absent")));
    assert!(!bench.denies(&there));
    // The way of DNS and the redirect host; only the filter is asked.
    let known = bench
        .links
        .resolve_now(&name("absent"))
        .unwrap()
        .outcome
        .unwrap();
    assert_eq!(known, Resolution::Absent);
    assert!(bench.links.resolve_now(&there).is_err(), "to be looked up");
    let lookup = LinkLookup {
        tier: Tier::Filter,
        result: LookupResult::Hit,
    };
    let denials = bench.metrics.link_lookups.get_or_create(&lookup).get();
    assert_eq!(denials, 2, "each denial counts");
}

#[tokio::test]
async fn a_code_that_is_not_in_lower_case_is_not_denied() {
    let bench = Bench::new();
    bench.create("there").await;
    bench.keeper(SMALL).build().await.unwrap();
    let may_exist = |code: &[u8]| bench.links.may_exist(code, &origin());
    assert!(may_exist(b"there"));
    assert!(may_exist(b"tHere"));
    assert!(!may_exist(b"absent"));
    assert!(!may_exist(b"\xff\x00"));
    assert!(!may_exist(&[b'a'; 1_000]));
}

#[tokio::test]
async fn a_store_that_does_not_see_all_changes_has_no_filter() {
    let metrics = Arc::new(Metrics::new());
    let (names, limits) = (Arc::new(NoNames), LinkLimits::default());
    let links = Links::new(OneLink::new(), names, limits, Clock::default(), metrics).with_filter();
    assert!(links.filter.is_none());
    assert!(links.may_exist(b"absent", &origin()));
}

#[tokio::test]
async fn a_write_under_way_is_in_every_filter_that_is_registered_meanwhile() {
    let bench = Bench::new();
    let register = || {
        let bloom = Arc::new(Bloom::with_room_for(100));
        bench.filter.register(&bloom);
        bloom
    };
    let holds = |bloom: &Bloom| bloom.may_hold(bench.filter.hash("new", origin().as_str()));
    let before = register();
    let announced = bench.filter.announce(&name("new"));
    let (one, two) = (register(), register());
    assert!(holds(&before) && holds(&one) && holds(&two));
    bench.filter.abandon(&one);
    drop(announced);
    assert!(!holds(&register()), "the store has it, or it was not made");
    assert!(bench.filter.writes().under_way.is_empty());
    let announced = bench.filter.announce(&name("another"));
    let another = bench.filter.hash("another", origin().as_str());
    assert!(!one.may_hold(another) && two.may_hold(another));
    drop(announced);
}

#[tokio::test]
async fn after_a_write_of_another_program_the_filter_denies_nothing_until_it_is_rebuilt() {
    let bench = Bench::new();
    let watch = bench.store.watch().unwrap();
    let keeper = bench.keeper(SMALL);
    let complete = keeper.build().await.unwrap();
    assert_eq!(keeper.worn(&complete), None);
    assert!(bench.denies(&name("absent")));
    watch.note_look(Instant::now(), true);
    assert!(!bench.denies(&name("absent")));
    assert_eq!(keeper.worn(&complete), Some(Worn::Outdated));
    keeper.build().await.unwrap();
    assert!(bench.denies(&name("absent")));
}

#[tokio::test]
async fn without_a_recent_look_of_the_store_the_filter_denies_nothing() {
    let long_ago = Instant::now() - 2 * VALID_FOR;
    let store = Slow {
        watch: Arc::new(Watch::new(long_ago)),
        ..Slow::open()
    };
    let bench = Bench::over(store);
    bench.keeper(SMALL).build().await.unwrap();
    assert!(!bench.denies(&name("absent")));
    bench.store.watch.note_look(Instant::now(), false);
    assert!(bench.denies(&name("absent")));
}

#[tokio::test]
async fn a_write_of_another_program_ends_a_build() {
    let bench = Bench::new();
    for number in 0..9 {
        bench.create(&format!("c{number}")).await;
    }
    bench.store.slow.store(true, Ordering::Relaxed);
    let keeper = bench.keeper(SMALL);
    let watch = bench.store.watch().unwrap();
    let writes = async {
        bench
            .eventually("registered", || {
                !bench.filter.writes().registered.is_empty()
            })
            .await;
        watch.note_look(Instant::now(), true);
    };
    let (built, ()) = tokio::join!(keeper.build(), writes);
    assert_eq!(built.unwrap_err(), Stop::Outdated);
    assert!(bench.filter.writes().registered.is_empty());
    assert!(!bench.denies(&name("absent")));
}

#[tokio::test]
async fn failed_pages_are_read_again() {
    let bench = Bench::new();
    for number in 0..9 {
        bench.create(&format!("c{number}")).await;
    }
    bench.store.failures.store(3, Ordering::SeqCst);
    let keeper = bench.keeper(SMALL);
    let fail_again = async {
        bench
            .eventually("registered", || {
                !bench.filter.writes().registered.is_empty()
            })
            .await;
        bench.store.failures.store(2, Ordering::SeqCst);
    };
    let (built, ()) = tokio::join!(keeper.build(), fail_again);
    assert_eq!(built.unwrap().bloom.links(), 9);
    bench.check_all();
    assert!(bench.denies(&name("absent")));
}

#[tokio::test]
async fn the_filter_grows_and_shrinks_with_the_links_up_to_its_limit() {
    let bench = Bench::new();
    let scale = Scale {
        most_links: 20,
        ..SMALL
    };
    let shutdown = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(bench.keeper(scale).run(|| (), shutdown.clone()));
    let builds = || bench.metrics.filter_builds.get();
    let links = || {
        bench
            .filter
            .complete
            .load()
            .as_ref()
            .map(|c| c.bloom.links())
    };
    bench.eventually("built", || builds() == 1).await;
    let mut there = Vec::new();
    for number in 0..12 {
        there.push(bench.create(&format!("c{number}")).await);
        bench.check_all();
    }
    // More than the eight of the smallest filter.
    bench.eventually("grown", || builds() == 2).await;
    let gone: Vec<_> = there.drain(..6).collect();
    for name in &gone {
        bench
            .links
            .delete(name, None, &"test".into())
            .await
            .unwrap();
    }
    bench.eventually("shrunk", || links() == Some(6)).await;
    assert!(gone.iter().all(|name| bench.denies(name)));
    bench.check_all();
    // After one more build.
    for number in 0..6 {
        there.push(bench.create(&format!("c{number}")).await);
        bench.check_all();
    }
    // More than one and a half times the limit, which is the capacity of a filter that was built meanwhile.
    for number in 12..40 {
        bench.create(&format!("c{number}")).await;
        bench.check_all();
    }
    bench.eventually("given up", || links().is_none()).await;
    assert!(bench.filter.writes().registered.is_empty());
    bench.check_all();
    assert!(!bench.denies(&name("absent")));
    shutdown.cancel();
    running.await.unwrap();
}

/// Several writers make, delete and make links again, while filters are built without a pause and writes of other
/// programs are simulated. No committed link may ever be denied.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_link_is_denied_under_concurrent_writes_and_builds() {
    const WRITERS: usize = 4;
    const BUILDS: u64 = 20;
    /// More links than can be made while that many filters are built, on any machine.
    const ROUNDS: usize = 2_000;
    let scale = Scale { page: 25, ..SMALL };
    let bench = Arc::new(Bench::new());
    bench.store.slow.store(true, Ordering::Relaxed);
    let done = Arc::new(AtomicBool::new(false));
    let denials = Arc::new(Mutex::new(0));
    let builder = tokio::spawn({
        let (bench, done) = (bench.clone(), done.clone());
        async move {
            let keeper = bench.keeper(scale);
            while !done.load(Ordering::Relaxed) {
                let _ = keeper.build().await;
            }
        }
    });
    let others = tokio::spawn({
        let (bench, done) = (bench.clone(), done.clone());
        async move {
            while !done.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let watch = bench.store.watch().unwrap();
                watch.note_look(Instant::now(), true);
            }
        }
    });
    let checker = std::thread::spawn({
        let (bench, done, denials) = (bench.clone(), done.clone(), denials.clone());
        move || {
            while !done.load(Ordering::Relaxed) {
                bench.check_all();
                let absent = bench.denies(&name("absent"));
                *denials.lock().unwrap() += usize::from(absent);
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    });
    let writers = (0..WRITERS).map(|writer| {
        let bench = bench.clone();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                if bench.metrics.filter_builds.get() >= BUILDS {
                    break;
                }
                let made = bench.create(&format!("w{writer}r{round}")).await;
                assert!(!bench.denies(&made), "{made} is denied");
                let resolved = bench.links.resolve(&made).await.unwrap();
                assert!(matches!(resolved, Resolution::Live(_)), "{resolved:?}");
                if round % 3 == 0 {
                    bench
                        .links
                        .delete(&made, None, &"test".into())
                        .await
                        .unwrap();
                    let resolved = bench.links.resolve(&made).await.unwrap();
                    assert_eq!(resolved, Resolution::Absent);
                    bench.create(made.code()).await;
                    assert!(!bench.denies(&made), "{made} is denied");
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    builder.await.unwrap();
    others.await.unwrap();
    checker.join().unwrap();
    bench.check_all();
    // The filter has denied something, and links were made and deleted.
    let builds = bench.metrics.filter_builds.get();
    assert!(builds >= BUILDS, "{builds}");
    let denials = *denials.lock().unwrap();
    assert!(denials > 0);
    println!("{builds} filters, {denials} denials");
}
