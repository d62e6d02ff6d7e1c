//! Several servers over one store with a feed: none of their filters denies a link that was acknowledged.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::store::Identity;
use crate::store::feed::{AsOf, Entries, Entry, FeedPage, Position};
use crate::store::servers::{Announcement, LEASE, Label, LiveServer};

/// What all servers share.
#[derive(Debug)]
struct Hub {
    links: Mutex<BTreeMap<LinkName, Link>>,
    log: Mutex<Vec<Entry>>,
    /// How many entries the feed has forgotten.
    forgotten: AtomicU64,
    servers: Mutex<HashMap<Label, (Announcement, Instant)>>,
    news: watch::Sender<usize>,
}

/// The store as one server sees it.
#[derive(Debug)]
struct Side {
    hub: Arc<Hub>,
    /// The reads of the feed of this server hang.
    stalled: watch::Sender<bool>,
    /// How long each of them takes.
    delay: AtomicU64,
}

fn position(number: usize) -> Position {
    Position::new(number.to_string()).unwrap()
}

fn number(position: &Position) -> usize {
    position.as_str().parse().unwrap()
}

impl Hub {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            links: Mutex::default(),
            log: Mutex::default(),
            forgotten: AtomicU64::new(0),
            servers: Mutex::default(),
            news: watch::Sender::new(0),
        })
    }

    fn commit(&self, link: Link) {
        let mut log = self.log.lock().unwrap();
        let (name, version) = (link.name.clone(), Some(link.version));
        self.links.lock().unwrap().insert(name.clone(), link);
        log.push(Entry { name, version });
        self.news.send_replace(log.len());
    }
}

impl Side {
    async fn reach(&self) {
        let _ = self.stalled.subscribe().wait_for(|stalled| !*stalled).await;
        tokio::time::sleep(Duration::from_millis(self.delay.load(Ordering::Relaxed))).await;
    }
}

fn unused<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("not used here".into()))
}

#[async_trait]
impl Store for Side {
    async fn create(&self, new: NewLink, now: u64) -> Result<Created, StoreError> {
        let link = Link {
            name: new.name,
            target: new.target,
            created_at: crate::store::seconds(now),
            created_by: "test".into(),
            expires_at: None,
            ttl: None,
            about: new.about,
            destinations: None,
            withheld: None,
            version: Version(now),
        };
        self.hub.commit(link.clone());
        Ok(Created::New(link))
    }

    async fn get(&self, name: &LinkName) -> Result<Option<Link>, StoreError> {
        Ok(self.hub.links.lock().unwrap().get(name).cloned())
    }

    async fn change(
        &self,
        _: &LinkName,
        _: Option<Version>,
        _: Change,
        _: &Actor,
        _: u64,
    ) -> Result<Changed, StoreError> {
        unused()
    }

    async fn delete(
        &self,
        _: &LinkName,
        _: Option<Version>,
        _: &Actor,
        _: u64,
    ) -> Result<Deleted, StoreError> {
        unused()
    }

    async fn list(&self, _: &Origin, _: Option<&LinkName>, _: usize) -> Result<Page, StoreError> {
        unused()
    }

    async fn scan(&self, _: Segment, _: Option<&LinkName>, _: usize) -> Result<Page, StoreError> {
        unused()
    }

    fn feed(&self) -> Option<Arc<dyn Feed>> {
        Some(Arc::new(Self {
            hub: self.hub.clone(),
            stalled: self.stalled.clone(),
            delay: AtomicU64::new(self.delay.load(Ordering::Relaxed)),
        }))
    }

    fn keeps_servers(&self) -> bool {
        true
    }

    fn takes_notices(&self) -> bool {
        true
    }

    async fn announce_server(&self, server: &Announcement) -> Result<(), StoreError> {
        let mut servers = self.hub.servers.lock().unwrap();
        servers.insert(server.id.clone(), (server.clone(), Instant::now() + LEASE));
        Ok(())
    }

    async fn withdraw_server(&self, id: &Label) -> Result<(), StoreError> {
        self.hub.servers.lock().unwrap().remove(id);
        Ok(())
    }

    async fn servers(&self) -> Result<Vec<LiveServer>, StoreError> {
        let now = Instant::now();
        let servers = self.hub.servers.lock().unwrap();
        let live = servers.values().map(|(announcement, until)| LiveServer {
            announcement: announcement.clone(),
            left: until.saturating_duration_since(now),
        });
        Ok(live.filter(|server| !server.left.is_zero()).collect())
    }

    async fn names(
        &self,
        _: Option<NamePlace>,
        _: usize,
        sink: NameSink,
    ) -> Result<Option<NamePlace>, StoreError> {
        let names: Vec<LinkName> = self.hub.links.lock().unwrap().keys().cloned().collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        names
            .iter()
            .for_each(|name| sink(name.code(), name.origin()));
        Ok(None)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn identity(&self) -> Identity {
        Identity::Shared {
            id: Some(1),
            place: 1,
        }
    }

    async fn close(&self) -> Option<crate::store::Seal> {
        None
    }
}

#[async_trait]
impl Feed for Side {
    fn readers(&self) -> Readers {
        Readers::Each
    }

    async fn end(&self) -> Result<Position, StoreError> {
        Ok(position(self.hub.log.lock().unwrap().len()))
    }

    async fn read(&self, after: &Position, limit: usize) -> Result<FeedPage, StoreError> {
        self.reach().await;
        let log = self.hub.log.lock().unwrap();
        let after = number(after);
        if (after as u64) < self.hub.forgotten.load(Ordering::SeqCst) {
            return Ok(FeedPage::TooOld);
        }
        let entries: Vec<Entry> = log.iter().skip(after).take(limit).cloned().collect();
        let end = after + entries.len();
        let at_end = end == log.len();
        let position = position(end);
        Ok(FeedPage::Entries(Entries {
            entries,
            position,
            at_end,
            as_of: AsOf::Read,
        }))
    }

    async fn news(&self) {
        let mut news = self.hub.news.subscribe();
        news.mark_unchanged();
        let _ = news.changed().await;
    }

    fn covers(&self, position: &Position, other: &Position) -> bool {
        number(position) >= number(other)
    }
}

/// A server; it stops when dropped.
struct Node {
    side: Arc<Side>,
    links: Arc<Links>,
    stop: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Node {
    fn start(hub: &Arc<Hub>, delay: Duration) -> Self {
        let side = Arc::new(Side {
            hub: hub.clone(),
            stalled: watch::Sender::new(false),
            delay: AtomicU64::new(delay.as_millis() as u64),
        });
        let links = Links::new(
            side.clone(),
            Arc::new(NoNames),
            LinkLimits::default(),
            Clock::default(),
            Arc::new(Metrics::new()),
        );
        let links = Arc::new(links.with_filter());
        let stop = CancellationToken::new();
        links.start(&TaskTracker::new(), &stop);
        Self { side, links, stop }
    }

    fn denies(&self, code: &str) -> bool {
        !self.links.may_exist(code.as_bytes(), &origin())
    }

    async fn complete(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.denies("absent") {
            assert!(Instant::now() < end, "the filter does not deny");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn create(&self, code: &str) {
        let request = request(code);
        self.links.create(request).await.unwrap();
    }

    /// The link is there, and no filter is in its way.
    async fn check(&self, code: &str) {
        assert!(!self.denies(code), "{code} is denied");
        let found = self.links.resolve(&name(code)).await.unwrap();
        assert!(matches!(found, Resolution::Live(_)), "{code}: {found:?}");
    }
}

const AT_ONCE: Duration = Duration::ZERO;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_of_one_server_is_not_denied_by_another_once_it_is_acknowledged() {
    let hub = Hub::new();
    let one = Node::start(&hub, AT_ONCE);
    let late = Node::start(&hub, Duration::from_millis(60));
    one.complete().await;
    late.complete().await;
    for number in 0..40 {
        let code = format!("c{number}");
        assert!(late.denies(&code) && one.denies(&code));
        let (maker, other) = match number % 2 {
            0 => (&one, &late),
            _ => (&late, &one),
        };
        // Asked all the time, also while it is made.
        let mut asked = std::pin::pin!(maker.create(&code));
        while futures_util::poll!(&mut asked).is_pending() {
            other.denies(&code);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        other.check(&code).await;
        maker.check(&code).await;
    }
    assert!(
        one.denies("absent") && late.denies("absent"),
        "both went on"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_read_the_feed_stands_aside_and_is_not_waited_for_longer() {
    let hub = Hub::new();
    let (one, two) = (Node::start(&hub, AT_ONCE), Node::start(&hub, AT_ONCE));
    one.complete().await;
    two.complete().await;
    for round in 0..3 {
        two.side.stalled.send_replace(true);
        let code = format!("c{round}");
        one.create(&code).await;
        assert!(
            !two.denies(&code) && !two.denies("absent"),
            "it stands aside"
        );
        two.check(&code).await;
        two.side.stalled.send_replace(false);
        two.complete().await;
        two.check(&code).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_gap_nothing_is_denied_until_the_filter_is_built_anew() {
    let hub = Hub::new();
    let (one, two) = (Node::start(&hub, AT_ONCE), Node::start(&hub, AT_ONCE));
    one.complete().await;
    two.complete().await;
    two.side.stalled.send_replace(true);
    one.create("gap").await;
    // The entry is gone when the server reads on.
    let end = hub.log.lock().unwrap().len() as u64;
    hub.forgotten.store(end, Ordering::SeqCst);
    two.side.stalled.send_replace(false);
    let until = Instant::now() + Duration::from_secs(20);
    while !two.denies("absent") {
        assert!(Instant::now() < until);
        assert!(!two.denies("gap"));
        tokio::task::yield_now().await;
    }
    two.check("gap").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_not_denied_at_any_moment_of_the_start_of_another_server() {
    let hub = Hub::new();
    let one = Node::start(&hub, AT_ONCE);
    one.complete().await;
    let made = Arc::new(Mutex::new(vec![]));
    let over = Arc::new(AtomicBool::new(false));
    let making = tokio::spawn({
        let (links, made, over) = (one.links.clone(), made.clone(), over.clone());
        async move {
            for number in 0.. {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let code = format!("c{number}");
                links.create(request(&code)).await.unwrap();
                made.lock().unwrap().push(code);
            }
        }
    });
    for _ in 0..4 {
        let two = Node::start(&hub, Duration::from_millis(30));
        let until = Instant::now() + Duration::from_millis(2_500);
        while Instant::now() < until {
            let last = made.lock().unwrap().last().cloned();
            if let Some(code) = last {
                assert!(!two.denies(&code), "{code}");
            }
            tokio::task::yield_now().await;
        }
        for code in made.lock().unwrap().iter() {
            assert!(!two.denies(code), "{code}");
        }
        assert!(two.denies("absent"), "it has begun to deny");
    }
    over.store(true, Ordering::SeqCst);
    making.await.unwrap();
    assert!(made.lock().unwrap().len() > 40);
}

#[tokio::test]
async fn without_a_lease_the_filter_denies_nothing() {
    let hub = Hub::new();
    let node = Node::start(&hub, AT_ONCE);
    node.complete().await;
    node.links.filter.as_ref().unwrap().announce_denials(false);
    assert!(!node.denies("absent"));
    node.links.filter.as_ref().unwrap().announce_denials(true);
    node.complete().await;
}
