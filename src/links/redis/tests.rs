//! The protocol against a real redis-server, step by step: what the processes of the integration tests
//! do at random is done here in the order that would go wrong.

use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::AtomicU16;

use super::connection::Connector;
use super::*;
use crate::base::clock::UnixTime;
use crate::link::{Origin, TargetUrl};
use crate::links::MemoryLimits;
use crate::store::{
    Change, Changed, Created, Deleted, Identity, NewLink, Page, Segment, StoreError,
};

/// Where the servers' ports lie: below those that the system gives away, so that nobody takes the port of
/// one that is down for a moment; and below those of the integration tests.
const PORTS: std::ops::Range<u16> = 15_000..20_000;

/// A port that is free, and that no other test of this process gets.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    // Another run of the tests at the same time begins elsewhere.
    let begin = u16::try_from(std::process::id() * 199 % u32::from(count)).unwrap();
    for _ in 0..count {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % count;
        let port = PORTS.start + (begin + step) % count;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// A server of its own, on a socket of loopback; killed when dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        for _ in 0..20 {
            let port = free_port();
            let mut server = Self {
                child: Self::spawn(port),
                port,
            };
            for _ in 0..500 {
                if server.has_answered() {
                    return server;
                }
                if server.child.try_wait().unwrap().is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        panic!("redis-server does not start");
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after a stop, empty.
    fn start_again(&mut self) {
        self.child = Self::spawn(self.port);
    }

    fn spawn(port: u16) -> Child {
        Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("redis-server: {e}; tests/run.sh installs it"))
    }

    /// Whether it serves, and not another one in its place.
    fn has_answered(&self) -> bool {
        let port = self.port.to_string();
        let output = Command::new("redis-cli")
            .args(["-p", &port, "INFO", "server"])
            .output();
        let own = format!("process_id:{}\r", self.child.id());
        String::from_utf8_lossy(&output.unwrap().stdout).contains(&own)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A store that tells which one it is, and nothing else.
#[derive(Debug)]
struct Named(Mutex<Identity>);

#[async_trait::async_trait]
impl Store for Named {
    fn identity(&self) -> Identity {
        self.0.lock().unwrap().clone()
    }

    async fn create(&self, _: NewLink, _: u64) -> Result<Created, StoreError> {
        unreachable!()
    }

    async fn get(&self, _: &LinkName) -> Result<Option<Link>, StoreError> {
        unreachable!()
    }

    async fn change(
        &self,
        _: &LinkName,
        _: Option<Version>,
        _: Change,
        _: u64,
    ) -> Result<Changed, StoreError> {
        unreachable!()
    }

    async fn delete(
        &self,
        _: &LinkName,
        _: Option<Version>,
        _: u64,
    ) -> Result<Deleted, StoreError> {
        unreachable!()
    }

    async fn list(&self, _: &Origin, _: Option<&LinkName>, _: usize) -> Result<Page, StoreError> {
        unreachable!()
    }

    async fn scan(&self, _: Segment, _: Option<&LinkName>, _: usize) -> Result<Page, StoreError> {
        unreachable!()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) -> Option<Seal> {
        None
    }
}

/// One or several nodes on one server, and a look at what it holds.
struct Fixture {
    server: Server,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    clock: Clock,
}

const NOW: UnixTime = UnixTime(1_800_000_000);

impl Fixture {
    fn start() -> Self {
        Self {
            server: Server::start(),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            clock: Clock::manual(NOW),
        }
    }

    fn config(&self, url: &str) -> RedisConfig {
        RedisConfig {
            mode: RedisMode::Node,
            urls: vec![RedisUrl::parse(url).unwrap()],
            password_file: None,
            ca_file: None,
            certificate: None,
            key: None,
            prefix: "t".into(),
            keep: Duration::from_secs(3_600),
            timeout: Duration::from_millis(1_000),
            warm_load: false,
            warm_load_rate: 0,
        }
    }

    async fn node(&self) -> Arc<RedisCache> {
        self.node_of(1).await
    }

    /// A node of the store with this id.
    async fn node_of(&self, id: u64) -> Arc<RedisCache> {
        let identity = Identity::Shared {
            id: Some(id),
            place: id,
        };
        self.node_with(Arc::new(Named(Mutex::new(identity)))).await
    }

    async fn node_with(&self, store: Arc<Named>) -> Arc<RedisCache> {
        let config = self.config(&format!("redis://127.0.0.1:{}", self.server.port));
        let memory = Arc::new(Memory::new(MemoryLimits::default()));
        let metrics = Arc::new(Metrics::new());
        let absent_for = Duration::from_secs(5);
        let store: Arc<dyn Store> = store;
        let clock = self.clock.clone();
        let cache = RedisCache::new(&config, memory, &store, absent_for, clock, metrics).unwrap();
        let cache = Arc::new(cache);
        cache.start(&self.tasks, &self.shutdown, || {});
        for _ in 0..500 {
            if cache.down().0 == 0 {
                return cache;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the node does not connect");
    }

    /// What redis-cli says.
    fn cli(&self, args: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.server.port.to_string()])
            .args(args)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn held(&self, name: &LinkName) -> String {
        self.cli(&["GET", &format!("t:link:{name}")])
    }

    fn evict(&self, name: &LinkName) {
        assert_eq!(self.cli(&["DEL", &format!("t:link:{name}")]), "1");
    }

    /// The life of what is held, in seconds.
    fn life(&self, name: &LinkName) -> u64 {
        let millis: u64 = self
            .cli(&["PTTL", &format!("t:link:{name}")])
            .parse()
            .unwrap();
        millis.div_ceil(1_000)
    }
}

fn name() -> LinkName {
    LinkName::parse("abc.s.example.com").unwrap()
}

fn link(version: u64) -> Link {
    Link {
        name: name(),
        target: TargetUrl::parse(&format!("https://example.net/{version}")).unwrap(),
        created_at: UnixTime(1),
        created_by: "test".into(),
        expires_at: None,
        ttl: None,
        version: Version(version),
    }
}

fn written(version: u64) -> Written {
    Written::Link(link(version).into())
}

/// What a node finds: the version of a link, 0 for an absence, none if the store has to be asked.
async fn found(node: &RedisCache) -> Option<u64> {
    match get(node, &name()).await.unwrap() {
        Held::Link(link) => Some(link.version.0),
        Held::Absent(_) => Some(0),
        Held::Nothing | Held::Changing(_) => None,
    }
}

async fn get(node: &RedisCache, name: &LinkName) -> Result<Held, Failure> {
    node.get_many(&[name]).await.remove(0)
}

/// A fill is put by a task; waits for it, by asking something that is put behind it.
async fn filled(node: &RedisCache) {
    for n in 0..8 {
        let other = LinkName::parse(&format!("other{n}.s.example.com")).unwrap();
        node.claim_read(&other).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn what_is_read_is_put_once_and_readable() {
    let fixture = Fixture::start();
    let (one, two) = (fixture.node().await, fixture.node().await);
    assert_eq!(found(&one).await, None);
    let claim = one.claim_read(&name()).await.unwrap();
    assert!(two.claim_read(&name()).await.is_none(), "one reader puts");
    assert_eq!(found(&two).await, None, "a claim is no answer");
    one.fill(&name(), claim, Some(&link(7)));
    filled(&one).await;
    assert_eq!(found(&two).await, Some(7));
    assert_eq!(
        fixture.held(&name()),
        "{\"version\":7,\"url\":\"https://example.net/7\",\"created_at\":1,\"created_by\":\"test\",\"at\":1800000000,\"of\":\"0000000000000001\"}"
    );
    assert_eq!(fixture.life(&name()), 3_600);
}

#[tokio::test]
async fn lives_end_with_the_link_and_absences_are_short() {
    let fixture = Fixture::start();
    let node = fixture.node().await;
    let check = async |found: Option<Link>, life| {
        let claim = node.claim_read(&name()).await.unwrap();
        node.fill(&name(), claim, found.as_ref());
        filled(&node).await;
        assert_eq!(fixture.life(&name()), life);
        fixture.evict(&name());
    };
    let ending = |seconds| Link {
        expires_at: Some(UnixTime(NOW.0 + seconds)),
        ..link(7)
    };
    check(Some(ending(60)), 60).await;
    check(Some(ending(100_000)), 3_600).await;
    check(Some(ending(0)), 5).await;
    check(None, 5).await;
}

#[tokio::test]
async fn a_slow_reader_puts_nothing_once_the_name_has_changed() {
    let fixture = Fixture::start();
    let (reader, writer) = (fixture.node().await, fixture.node().await);
    for evicted in [false, true] {
        let claim = reader.claim_read(&name()).await.unwrap();
        // The store gave the reader version 1; now it changes.
        writer.begin(&name()).await.finish(&written(2)).await;
        if evicted {
            fixture.evict(&name());
        }
        reader.fill(&name(), claim, Some(&link(1)));
        filled(&reader).await;
        let expected = if evicted { None } else { Some(2) };
        assert_eq!(found(&reader).await, expected, "evicted: {evicted}");
        let _ = fixture.cli(&["FLUSHALL"]);
    }
    // Nor while the change is under way, nor after a deletion.
    let claim = reader.claim_read(&name()).await.unwrap();
    let change = writer.begin(&name()).await;
    reader.fill(&name(), claim, Some(&link(1)));
    filled(&reader).await;
    assert_eq!(found(&reader).await, None);
    assert!(reader.claim_read(&name()).await.is_none());
    change.finish(&Written::Deleted(Version(3))).await;
    assert_eq!(found(&reader).await, Some(0));
    assert_eq!(
        fixture.held(&name()),
        "{\"version\":3,\"absent\":true,\"at\":1800000000,\"of\":\"0000000000000001\"}"
    );
}

#[tokio::test]
async fn writers_that_overtake_each_other_leave_nothing_old() {
    let fixture = Fixture::start();
    let (one, two) = (fixture.node().await, fixture.node().await);
    // The store has 1 first and then 2; Redis is told in the other order.
    let first = one.begin(&name()).await;
    let second = two.begin(&name()).await;
    second.finish(&written(2)).await;
    assert_ne!(found(&one).await, Some(1));
    first.finish(&written(1)).await;
    assert_eq!(found(&one).await, None, "the store has to be asked");
    // The same where the claims have been evicted meanwhile.
    for (held, expected) in [(None, None), (Some(2), Some(2)), (Some(0), None)] {
        let _ = fixture.cli(&["FLUSHALL"]);
        let late = one.begin(&name()).await;
        fixture.evict(&name());
        if let Some(version) = held {
            let claim = two.claim_read(&name()).await.unwrap();
            two.fill(&name(), claim, Some(&link(version)));
            filled(&two).await;
        }
        late.finish(&written(1)).await;
        assert_eq!(found(&one).await, expected, "held: {held:?}");
    }
    // A reader whose claim came after the eviction may have read something newer, or older.
    let _ = fixture.cli(&["FLUSHALL"]);
    let late = one.begin(&name()).await;
    fixture.evict(&name());
    let claim = two.claim_read(&name()).await.unwrap();
    late.finish(&written(1)).await;
    two.fill(&name(), claim, Some(&link(2)));
    filled(&two).await;
    assert_eq!(found(&one).await, None);
}

#[tokio::test]
async fn a_change_that_was_none_gives_its_claim_back_and_one_unknown_keeps_it() {
    let fixture = Fixture::start();
    let node = fixture.node().await;
    node.begin(&name()).await.finish(&Written::Nothing).await;
    assert_eq!(fixture.held(&name()), "");
    let kept = Written::Kept(link(3).into());
    node.begin(&name()).await.finish(&kept).await;
    assert_eq!(found(&node).await, Some(3));
    assert_eq!(fixture.cli(&["XLEN", "t:changes"]), "1", "the node's own");
    // The task that wrote has gone.
    drop(node.begin(&name()).await);
    assert!(fixture.held(&name()).contains("writes"));
    assert_eq!(get(&node, &name()).await, Err(Failure::Skipped));
    assert_eq!(node.repairs_pending(), 1);
    let _ = fixture.cli(&["FLUSHALL"]);
    let other = LinkName::parse("other.s.example.com").unwrap();
    drop(node.begin(&other).await);
    assert_eq!(node.repairs_pending(), 2);
    assert_eq!(get(&node, &other).await, Err(Failure::Skipped));
}

#[tokio::test]
async fn a_claim_that_changed_nothing_leaves_all_as_it_was() {
    let fixture = Fixture::start();
    let (one, two) = (fixture.node().await, fixture.node().await);
    one.begin(&name()).await.finish(&written(1)).await;
    let before = (fixture.held(&name()), fixture.life(&name()));
    let changes = fixture.cli(&["XLEN", "t:changes"]);

    let change = one.begin(&name()).await;
    // Nobody believes it meanwhile; but it is what was there before.
    let Ok(Held::Changing(old)) = get(&two, &name()).await else {
        panic!("{}", fixture.held(&name()));
    };
    assert_eq!(old.version, Version(1));
    change.hold().await;
    assert!(fixture.held(&name()).contains("writes"));
    assert!(two.claim_read(&name()).await.is_none());
    change.restore().await;
    assert_eq!((fixture.held(&name()), fixture.life(&name())), before);
    assert_eq!(found(&two).await, Some(1));
    assert_eq!(fixture.cli(&["XLEN", "t:changes"]), changes);

    // What one of two writers has replaced may be older than what the other has made.
    let (first, second) = (one.begin(&name()).await, two.begin(&name()).await);
    assert_eq!(get(&two, &name()).await, Ok(Held::Nothing));
    second.finish(&written(2)).await;
    first.restore().await;
    assert_eq!(found(&two).await, None);

    // Nothing is restored beyond its time, nor what has been evicted.
    let _ = fixture.cli(&["FLUSHALL"]);
    one.begin(&name()).await.finish(&written(3)).await;
    let key = format!("t:link:{}", name());
    let _ = fixture.cli(&["PEXPIRE", &key, "1"]);
    let change = one.begin(&name()).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    change.restore().await;
    assert_eq!(fixture.held(&name()), "");
    one.begin(&name()).await.finish(&written(4)).await;
    let change = one.begin(&name()).await;
    fixture.evict(&name());
    change.restore().await;
    assert_eq!(fixture.held(&name()), "");
}

#[tokio::test]
async fn nonsense_is_replaced() {
    let fixture = Fixture::start();
    let node = fixture.node().await;
    let key = format!("t:link:{}", name());
    let nonsense: [&[&str]; 3] = [
        &["SET", &key, "nonsense"],
        &["RPUSH", &key, "a", "b"],
        &["SET", &key, "{\"version\":99}"],
    ];
    for command in nonsense {
        let _ = fixture.cli(command);
        assert_eq!(found(&node).await, None, "{command:?}");
        let claim = node.claim_read(&name()).await.unwrap();
        node.fill(&name(), claim, Some(&link(7)));
        filled(&node).await;
        assert_eq!(found(&node).await, Some(7), "{command:?}");
        let _ = fixture.cli(command);
        node.begin(&name()).await.finish(&written(8)).await;
        assert_eq!(found(&node).await, Some(8), "{command:?}");
        let _ = fixture.cli(&["DEL", &key]);
    }
}

#[tokio::test]
async fn what_redis_was_not_told_is_not_believed_and_told_later() {
    let mut fixture = Fixture::start();
    let node = fixture.node().await;
    node.begin(&name()).await.finish(&written(1)).await;
    let saved = fixture.cli(&["GET", &format!("t:link:{}", name())]);
    fixture.server.stop();
    node.begin(&name()).await.finish(&written(2)).await;
    assert_eq!(node.repairs_pending(), 1);
    assert!(get(&node, &name()).await.is_err());
    // It comes back with what it held.
    fixture.server.start_again();
    for _ in 0..500 {
        if fixture.cli(&["SET", &format!("t:link:{}", name()), &saved]) == "OK" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for _ in 0..500 {
        if node.repairs_pending() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(node.repairs_pending(), 0);
    let held = fixture.held(&name());
    assert!(held.is_empty() || held == saved, "{held}");
    assert_ne!(found(&node).await, Some(1));
}

#[tokio::test]
async fn what_a_server_has_read_from_a_file_when_it_was_started_counts_as_nothing() {
    let mut fixture = Fixture::start();
    let node = fixture.node().await;
    let key = format!("t:link:{}", name());
    node.begin(&name()).await.finish(&written(7)).await;
    let saved = fixture.held(&name());
    fixture.server.stop();
    eventually(|| node.down().0 == 1).await;
    fixture.clock.set(UnixTime(NOW.0 + 1_000));
    fixture.server.start_again();
    eventually(|| fixture.cli(&["SET", &key, &saved]) == "OK").await;
    eventually(|| node.down().0 == 0).await;
    assert_eq!(found(&node).await, None);
    // And it is in nobody's way, nor is an absence.
    let absent = "{\"version\":7,\"absent\":true,\"at\":1800000000,\"of\":\"0000000000000001\"}";
    for old in [saved.as_str(), absent] {
        let _ = fixture.cli(&["SET", &key, old]);
        node.load(&[link(6)]).await.unwrap();
        assert_eq!(found(&node).await, Some(6), "{old}");
        let _ = fixture.cli(&["SET", &key, old]);
        let claim = node.claim_read(&name()).await.unwrap();
        node.fill(&name(), claim, Some(&link(6)));
        filled(&node).await;
        assert_eq!(found(&node).await, Some(6), "{old}");
    }
}

#[tokio::test]
async fn what_another_store_has_put_counts_as_nothing_whatever_its_version() {
    let fixture = Fixture::start();
    let (ours, theirs) = (fixture.node_of(1).await, fixture.node_of(2).await);
    let put_by_theirs = async |text: Written| {
        theirs.begin(&name()).await.finish(&text).await;
        assert!(!fixture.held(&name()).is_empty());
        assert_eq!(found(&ours).await, None, "{text:?}");
    };
    for text in [written(9), Written::Deleted(Version(9))] {
        // It keeps nobody from reading, nor from a change of a lower version.
        put_by_theirs(text.clone()).await;
        let claim = ours.claim_read(&name()).await.unwrap();
        ours.fill(&name(), claim, Some(&link(6)));
        filled(&ours).await;
        assert_eq!(found(&ours).await, Some(6));
        assert_eq!(found(&theirs).await, None);
        put_by_theirs(text.clone()).await;
        ours.begin(&name()).await.finish(&written(7)).await;
        assert_eq!(found(&ours).await, Some(7));
        put_by_theirs(text.clone()).await;
        ours.load(&[link(5)]).await.unwrap();
        assert_eq!(found(&ours).await, Some(5));
        // What it puts in the midst of a change is no more than an eviction.
        let change = ours.begin(&name()).await;
        put_by_theirs(text).await;
        change.finish(&written(8)).await;
        assert_ne!(found(&ours).await, Some(5));
        let _ = fixture.cli(&["FLUSHALL"]);
    }
    // Each sees that the other is there.
    eventually(|| !ours.doubts().is_empty() && !theirs.doubts().is_empty()).await;
    let third = fixture.node_of(1).await;
    assert_eq!(found(&third).await, None);
}

#[tokio::test]
async fn a_store_that_cannot_be_asked_is_the_one_that_was_there_before() {
    let fixture = Fixture::start();
    let known = fixture.node_of(1).await;
    known.begin(&name()).await.finish(&written(7)).await;
    let away = |place| {
        let identity = Identity::Shared { id: None, place };
        Arc::new(Named(Mutex::new(identity)))
    };
    let elsewhere = fixture.node_with(away(2)).await;
    assert_eq!(get(&elsewhere, &name()).await, Err(Failure::Skipped));
    assert_eq!(elsewhere.doubts().len(), 1, "it says so");
    let store = away(1);
    let node = fixture.node_with(store.clone()).await;
    assert_eq!(found(&node).await, Some(7));
    // It turns out to be another one.
    *store.0.lock().unwrap() = Identity::Shared {
        id: Some(3),
        place: 1,
    };
    for _ in 0..500 {
        if found(&node).await.is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it goes on with what another store has put");
}

/// Waits until something holds.
async fn eventually(holds: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never holds");
}

#[tokio::test]
async fn a_server_that_answers_but_refuses_writes_counts_as_down() {
    let fixture = Fixture::start();
    let node = fixture.node().await;
    node.begin(&name()).await.finish(&written(1)).await;
    assert_eq!(found(&node).await, Some(1));
    let _ = fixture.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    // Another node may know the new state only from the store: nobody is to read the old one here.
    eventually(|| node.down().0 == 1).await;
    node.begin(&name()).await.finish(&written(2)).await;
    assert!(get(&node, &name()).await.is_err());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(node.down().0, 1, "that it answers is not enough");
    let _ = fixture.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    eventually(|| node.down().0 == 0 && node.repairs_pending() == 0).await;
    assert_eq!(found(&node).await, None);
}

#[tokio::test]
async fn a_writer_that_meets_anothers_claim_leaves_it_to_nobody() {
    let fixture = Fixture::start();
    let (one, two) = (fixture.node().await, fixture.node().await);
    // The claim of the one is lost; the store then has 1 of the other, and 2 of the one.
    let first = one.begin(&name()).await;
    fixture.evict(&name());
    let second = two.begin(&name()).await;
    first.finish(&written(2)).await;
    second.finish(&written(1)).await;
    assert_eq!(found(&one).await, None);
    assert!(fixture.held(&name()).contains("several"));
    // The same where the one is told later.
    let _ = fixture.cli(&["FLUSHALL"]);
    let second = two.begin(&name()).await;
    one.drop_older(&name(), Version(2));
    filled(&one).await;
    second.finish(&written(1)).await;
    assert_eq!(found(&one).await, None);
}

#[tokio::test]
async fn the_load_puts_over_nothing_and_what_is_older() {
    let fixture = Fixture::start();
    let node = fixture.node().await;
    // What is found after a load.
    let load = async |version| {
        node.load(&[link(version)]).await.unwrap();
        found(&node).await
    };
    assert_eq!(load(5).await, Some(5));
    assert_eq!(load(4).await, Some(5));
    assert_eq!(load(6).await, Some(6));
    node.begin(&name())
        .await
        .finish(&Written::Deleted(Version(7)))
        .await;
    assert_eq!(load(6).await, Some(0), "a deletion is remembered");
    let change = node.begin(&name()).await;
    assert_eq!(load(8).await, None, "a change is under way");
    change.finish(&written(9)).await;
    assert_eq!(found(&node).await, Some(9));
}

#[tokio::test]
async fn one_node_loads_at_a_time_and_the_next_goes_on() {
    let fixture = Fixture::start();
    let (one, two) = (fixture.node().await, fixture.node().await);
    let lease = one.lease_load().await.unwrap().unwrap();
    assert!(two.lease_load().await.unwrap().is_none());
    assert!(one.renew_load(&lease).await.unwrap());
    let at = Cursor::After(name());
    let lost = one.note_load(1, &at).await;
    assert_eq!(
        lost,
        Err(Failure::Failed),
        "nothing was begun, or it has gone"
    );
    one.begin_load(3).await.unwrap();
    one.note_load(1, &at).await.unwrap();
    one.note_load(2, &Cursor::End).await.unwrap();
    // It dies; the lease ends.
    let _ = fixture.cli(&["DEL", "t:warm-load"]);
    let taken = two.lease_load().await.unwrap().unwrap();
    assert!(!one.renew_load(&lease).await.unwrap());
    assert_eq!(one.end_load(lease, true).await, Err(Failure::Failed));
    assert_eq!(
        two.loaded_at().await,
        Ok(None),
        "not by whom has lost the lease"
    );
    assert!(two.renew_load(&taken).await.unwrap(), "not another's");
    let cursors = two.begin_load(3).await.unwrap();
    assert_eq!(cursors, [Cursor::Start, at, Cursor::End]);
    // Parts of another size begin anew.
    let cursors = two.begin_load(2).await.unwrap();
    assert_eq!(cursors, [Cursor::Start, Cursor::Start]);
    assert_eq!(two.loaded_at().await, Ok(None));
    two.end_load(taken, true).await.unwrap();
    assert_eq!(one.loaded_at().await, Ok(Some(NOW)));
    let cursors = two.begin_load(1).await.unwrap();
    assert_eq!(cursors, [Cursor::Start]);
    assert!(one.lease_load().await.unwrap().is_some());
}

#[tokio::test]
async fn each_right_that_is_documented_is_needed_and_missed() {
    let fixture = Fixture::start();
    let manual = include_str!("../../../docs/configuration.md");
    let line = manual
        .lines()
        .find(|line| line.starts_with("ACL SETUSER tinyns "))
        .unwrap()
        .replace("~tinyns:*", "~t:*");
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(fixture.cli(&words), "OK");
    let password = words
        .iter()
        .find_map(|word| word.strip_prefix('>'))
        .unwrap();
    let url = format!(
        "redis://tinyns:{password}@127.0.0.1:{}",
        fixture.server.port
    );
    let config = fixture.config(&url);
    let connector = Connector::new(&config).unwrap();
    let missing = async || {
        let mut connection = connector.connect(Duration::from_secs(5)).await.unwrap();
        connection.load_scripts().await.unwrap();
        let missing = rights::missing(&mut connection, "t", true).await.unwrap();
        rights::in_words(&missing)
    };
    assert_eq!(missing().await, "");
    let commands = words.iter().filter_map(|word| word.strip_prefix('+'));
    for command in commands.filter(|command| *command != "ping") {
        let _ = fixture.cli(&["ACL", "SETUSER", "tinyns", &format!("-{command}")]);
        assert_eq!(missing().await, format!("+{command}"));
        let _ = fixture.cli(&["ACL", "SETUSER", "tinyns", &format!("+{command}")]);
    }
    let _ = fixture.cli(&["ACL", "SETUSER", "tinyns", "resetkeys", "~other:*"]);
    assert_eq!(missing().await, "~t:*");
}
