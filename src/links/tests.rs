use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::deadline::RESOLVE_DEADLINE;
use super::resolve::STALE_PATIENCE;
use super::*;
use crate::link::{Code, Origin, TargetUrl, Version};
use crate::store::audit::Actor;
use crate::store::{Change, Changed, Created, Deleted, NewLink, Page, Segment};

/// How the store behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Works,
    Hangs,
    Fails,
    /// Makes the change, and then panics.
    Breaks,
}

/// A store with one link, whose version grows with each change.
#[derive(Debug)]
pub(super) struct OneLink {
    mood: Mutex<Mood>,
    link: Mutex<Link>,
}

impl OneLink {
    pub(super) fn new() -> Arc<Self> {
        let link = Link {
            name: name(),
            target: TargetUrl::parse("https://example.net/").unwrap(),
            created_at: UnixTime(0),
            created_by: "test".into(),
            expires_at: None,
            ttl: None,
            about: crate::link::About::default(),
            destinations: None,
            withheld: None,
            version: Version(1),
        };
        Arc::new(Self {
            mood: Mutex::new(Mood::Works),
            link: Mutex::new(link),
        })
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }
}

#[async_trait]
impl Store for OneLink {
    async fn get(&self, wanted: &LinkName) -> Result<Option<Link>, StoreError> {
        match self.mood() {
            Mood::Works | Mood::Breaks => {
                let link = self.link.lock().unwrap().clone();
                Ok(Some(link).filter(|link| link.name == *wanted))
            }
            Mood::Hangs => std::future::pending().await,
            Mood::Fails => Err(StoreError::Unavailable("it fails".into())),
        }
    }

    async fn change(
        &self,
        _: &LinkName,
        _: Option<Version>,
        _: Change,
        _: &Actor,
        _: u64,
    ) -> Result<Changed, StoreError> {
        let changed = {
            let mut link = self.link.lock().unwrap();
            link.version.0 += 1;
            link.clone()
        };
        assert_ne!(self.mood(), Mood::Breaks, "the test wants a panic");
        Ok(Changed::Changed(changed))
    }

    async fn create(&self, _: NewLink, _: u64) -> Result<Created, StoreError> {
        Err(not_asked())
    }

    async fn delete(
        &self,
        _: &LinkName,
        _: Option<Version>,
        _: &Actor,
        _: u64,
    ) -> Result<Deleted, StoreError> {
        Err(not_asked())
    }

    async fn list(&self, _: &Origin, _: Option<&LinkName>, _: usize) -> Result<Page, StoreError> {
        Err(not_asked())
    }

    async fn scan(&self, _: Segment, _: Option<&LinkName>, _: usize) -> Result<Page, StoreError> {
        Err(not_asked())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) -> Option<Seal> {
        None
    }
}

/// The reply to calls that these tests do not make.
fn not_asked() -> StoreError {
    StoreError::Unavailable("this store has one link, to be read and changed".into())
}

/// Zones without static names; no host name is in them.
#[derive(Debug)]
pub(super) struct NoNames;

impl Namespace for NoNames {
    fn origins(&self) -> Vec<Origin> {
        vec![origin()]
    }

    fn is_reserved(&self, _: &LinkName) -> bool {
        false
    }

    fn classify_host(&self, _: &str) -> Host {
        Host::Foreign
    }

    fn link_ttl(&self, _: &LinkName) -> u32 {
        300
    }

    fn negative_ttl(&self, _: &str) -> u32 {
        60
    }
}

pub(super) fn origin() -> Origin {
    Origin::parse("s.example.com").unwrap()
}

fn name() -> LinkName {
    LinkName::new(&Code::parse("abc").unwrap(), &origin())
}

fn links(store: &Arc<OneLink>, fresh_for: Duration) -> Links {
    let limits = LinkLimits {
        memory: MemoryLimits {
            fresh_for,
            unnotified: fresh_for,
            ..MemoryLimits::default()
        },
        ..LinkLimits::default()
    };
    let clock = Clock::manual(UnixTime(1_700_000_000));
    let metrics = Arc::new(Metrics::new());
    Links::new(store.clone(), Arc::new(NoNames), limits, clock, metrics)
}

async fn version(links: &Links) -> u64 {
    match links.resolve(&name()).await.unwrap() {
        Resolution::Live(link) => link.version.0,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn after_a_change_that_panics_memory_does_not_hide_its_result() {
    let store = OneLink::new();
    let links = links(&store, Duration::from_secs(60));
    assert_eq!(version(&links).await, 1);
    store.set(Mood::Breaks);
    let changed = links
        .change(&name(), None, Change::default(), &"test".into())
        .await;
    assert!(matches!(changed, Err(LinkError::Store(_))), "{changed:?}");
    assert_eq!(version(&links).await, 2);
}

#[tokio::test]
async fn a_stale_link_that_has_ended_is_an_error_and_not_an_absence() {
    let store = OneLink::new();
    let links = links(&store, Duration::ZERO);
    let start = links.now();
    store.link.lock().unwrap().expires_at = Some(start.after(10));
    assert_eq!(version(&links).await, 1);
    // Another server prolongs the link.
    store.set(Mood::Fails);
    links.clock.set(start.after(20));
    for _ in 0..3 {
        let resolved = links.resolve(&name()).await;
        assert!(resolved.is_err(), "{resolved:?}");
    }
    store.set(Mood::Works);
    links.memory.forget(&name());
    let resolved = links.resolve(&name()).await.unwrap();
    assert!(matches!(resolved, Resolution::Expired(_)), "{resolved:?}");
}

#[tokio::test]
async fn a_request_that_finds_an_existing_link_updates_memory() {
    let store = OneLink::new();
    let links = links(&store, Duration::from_secs(60));
    assert_eq!(version(&links).await, 1);
    // Another server changes the link, and this one does not know that yet.
    store.link.lock().unwrap().version = Version(2);
    let request = CreateLink {
        origin: origin(),
        target: TargetUrl::parse("https://example.net/").unwrap(),
        code: Some(Code::parse("abc").unwrap()),
        use_reserved: false,
        expires_at: None,
        ttl: None,
        about: crate::link::About::default(),
        destinations: None,
        withheld: None,
        created_by: "test".into(),
    };
    let made = links.create(request).await.unwrap();
    assert!(matches!(made, Creation::Same(link) if link.version == Version(2)));
    assert_eq!(version(&links).await, 2);
}

#[tokio::test]
async fn each_look_up_is_counted_once_for_the_memory() {
    let store = OneLink::new();
    let links = links(&store, Duration::ZERO);
    let count = |result| {
        let lookup = LinkLookup {
            tier: Tier::Memory,
            result,
        };
        links.metrics.link_lookups.get_or_create(&lookup).get()
    };
    store.set(Mood::Fails);
    assert!(links.resolve(&name()).await.is_err());
    assert_eq!(count(LookupResult::Miss), 1, "memory did not know");
    store.set(Mood::Works);
    assert_eq!(version(&links).await, 1);
    assert_eq!(count(LookupResult::Miss), 2);
    store.set(Mood::Fails);
    assert_eq!(version(&links).await, 1);
    assert_eq!(
        (count(LookupResult::Miss), count(LookupResult::Stale)),
        (2, 1)
    );
}

#[tokio::test]
async fn a_resolution_says_how_long_it_may_be_reused() {
    let store = OneLink::new();
    let links = links(&store, Duration::from_millis(1));
    let lease = async |links: &Links| {
        let resolved = match links.resolve_now(&name()) {
            Ok(resolved) => resolved,
            Err(mut unresolved) => {
                links.look_up([&mut unresolved]);
                links.resolve_later(unresolved).await
            }
        };
        (resolved.outcome.is_ok(), resolved.lease)
    };
    let before = Instant::now();
    let (_, fresh) = lease(&links).await;
    let fresh = fresh.unwrap();
    assert!(fresh.until >= before && links.is_current(fresh.stamp));
    tokio::time::sleep(Duration::from_millis(5)).await;
    // While the store fails the stale link is used, but looked up again soon.
    store.set(Mood::Fails);
    for _ in 0..2 {
        let (known, stale) = lease(&links).await;
        let most = Instant::now() + Duration::from_secs(1);
        assert!(known && stale.is_some_and(|lease| lease.until <= most));
    }
    let other = LinkName::new(&Code::parse("other").unwrap(), &origin());
    links.look_up(links.resolve_now(&other).err().iter_mut());
    let unresolved = links.resolve_now(&other).unwrap_err();
    let failed = links.resolve_later(unresolved).await;
    assert!(failed.outcome.is_err() && failed.lease.is_none());
    links.renew_all();
    assert!(!links.is_current(fresh.stamp));
}

#[tokio::test]
async fn a_store_that_hangs_delays_only_the_first_query_for_a_link_in_memory() {
    let store = OneLink::new();
    let links = links(&store, Duration::ZERO);
    assert_eq!(version(&links).await, 1);
    store.set(Mood::Hangs);
    let began = Instant::now();
    assert_eq!(version(&links).await, 1);
    assert!(began.elapsed() >= STALE_PATIENCE);
    // During the flight, and after it has failed.
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(version(&links).await, 1);
        assert!(began.elapsed() < STALE_PATIENCE / 2);
        tokio::time::sleep(RESOLVE_DEADLINE / 10).await;
    }
    // A name of which nothing is known waits until the deadline.
    let other = LinkName::new(&Code::parse("other").unwrap(), &origin());
    assert!(links.resolve(&other).await.is_err());
}
