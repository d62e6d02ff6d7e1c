//! The protocol against a real redis-server, step by step. The integration tests run several processes at random;
//! here the steps come in the orders that could go wrong.

mod claims;
mod fed;
mod load;
mod notices;
mod outages;
mod rights;
mod servers;
mod stores;
mod table;

use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicU16;

use self::table::Table;
use super::*;
use crate::base::clock::UnixTime;
use crate::link::{TargetUrl, Version};
use crate::links::MemoryLimits;
use crate::store::Identity;

/// The ports of the servers. They are below those that the system chooses, so that no other program takes the port
/// of a server that is down for a moment, and below those of the integration tests.
const PORTS: std::ops::Range<u16> = 15_000..20_000;

/// A free port that no other test of this process gets.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    // Another run at the same time begins elsewhere.
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

/// A redis-server on a loopback port; killed when dropped.
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

    /// Starts it again, without data.
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

    /// Whether this server answers, and not another one on its port.
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

fn config(url: &str) -> RedisConfig {
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

/// A redis-server for one or several nodes, and a look at its values.
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

    async fn node(&self) -> Arc<RedisCache> {
        self.node_of(1).await
    }

    /// A node of the store with this id.
    async fn node_of(&self, id: u64) -> Arc<RedisCache> {
        let identity = Identity::Shared {
            id: Some(id),
            place: id,
        };
        self.node_with(Table::of(identity)).await
    }

    async fn node_with(&self, store: Arc<Table>) -> Arc<RedisCache> {
        self.node_and_own(store, None).await.0
    }

    /// A node of the same store that notes how far it follows the stream.
    async fn node_that_notes(&self, followed: Option<Arc<Applied>>) -> Arc<RedisCache> {
        let identity = Identity::Shared {
            id: Some(1),
            place: 1,
        };
        self.node_and_own(Table::of(identity), followed).await.0
    }

    /// A node, and what it says about itself.
    async fn node_and_own(
        &self,
        store: Arc<Table>,
        followed: Option<Arc<Applied>>,
    ) -> (Arc<RedisCache>, Arc<Own>) {
        let config = config(&format!("redis://127.0.0.1:{}", self.server.port));
        let memory = Arc::new(Memory::new(MemoryLimits::default()));
        let metrics = Arc::new(Metrics::new());
        let absent_for = Duration::from_secs(5);
        let own = Arc::new(Own::new());
        let heard = own.clone();
        let store: Arc<dyn Store> = store;
        let clock = self.clock.clone();
        let own = (own, followed, Arc::new(Exchange::new()));
        let cache =
            RedisCache::new(&config, memory, &store, absent_for, own, clock, metrics).unwrap();
        let cache = Arc::new(cache);
        cache.start(&self.tasks, &self.shutdown, || {});
        for _ in 0..500 {
            if cache.down().0 == 0 {
                return (cache, heard);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the node does not connect");
    }

    /// The output of redis-cli.
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

    /// The remaining life of a value, in seconds.
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
        about: crate::link::About::default(),
        destinations: None,
        withheld: None,
        version: Version(version),
    }
}

fn written(version: u64) -> Written {
    Written::Link(link(version).into())
}

/// What a node reads: the version of a link, 0 for an absence, none if the store has to be asked.
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

/// Waits for a fill, which is put in the background: by calls that are put behind it.
async fn filled(node: &RedisCache) {
    for n in 0..8 {
        let other = LinkName::parse(&format!("other{n}.s.example.com")).unwrap();
        node.claim_read(&other).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Waits for a condition.
async fn eventually(holds: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never happens");
}
