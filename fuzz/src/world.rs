//! Servers to be asked: the parts that `tinyns serve` puts together, but for sockets, and with links in
//! memory, so that thousands of inputs a second can be tried.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tempfile::TempDir;
use tinyns::base::clock::{Clock, UnixTime};
use tinyns::base::metrics::Metrics;
use tinyns::base::name::ZoneName;
use tinyns::dns::limits::rate_limit::{RateLimitConfig, SignatureLimits};
use tinyns::dns::pipeline::handler::Handler;
use tinyns::dns::pipeline::packet::Buffers;
pub use tinyns::dns::pipeline::via::Via;
use tinyns::dns::{Identity, Settings};
use tinyns::link::{Code, Link, LinkName, Origin, TargetUrl, Ttl, Version};
use tinyns::links::{LinkLimits, Links, MemoryLimits};
use tinyns::store::audit::Actor;
use tinyns::store::{
    Change, Changed, Created, Deleted, NewLink, Page, Segment, Store, StoreError, seconds,
};
use tinyns::zone::{Layout, ZoneConfig, ZoneSet};
use tokio::runtime::{self, Runtime};

/// The time at which every input starts: 2023-11-14T22:13:20Z.
pub const NOW: UnixTime = UnixTime(1_700_000_000);
/// The address of the client.
pub const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99)), 5_353);
/// The version of links that were there from the start.
const FIRST: Version = Version(NOW.0 * 1_000_000);

/// A runtime for one thread, so that everything happens in the same order each time.
pub fn runtime() -> Runtime {
    let runtime = runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime")
}

/// An origin that is one.
pub fn origin(text: &str) -> Origin {
    Origin::parse(text).expect("an origin")
}

/// Zone files in a directory of their own.
#[derive(Debug)]
pub struct Files(TempDir);

impl Files {
    /// None yet.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// Writes one.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).expect("a file");
    }

    /// Where one is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// A zone with this file. Its links, if it has any, are below `r`.
pub fn zone_config(text: &str, file: &Path, has_links: bool, layout: Layout) -> ZoneConfig {
    ZoneConfig {
        origin: ZoneName::parse(text).expect("a name"),
        file: file.into(),
        redirect_host: has_links.then(|| "r".into()),
        layout,
        link_ttl: 300,
        dnssec: None,
    }
}

/// A name server.
pub struct NameServer {
    /// Who is asked.
    pub handler: Handler,
    /// By what it answers.
    pub zones: Arc<ZoneSet>,
    /// Its links.
    pub links: Arc<Links>,
    /// Where those are kept.
    pub store: Arc<MemoryStore>,
    /// Its time.
    pub clock: Clock,
    buffers: Buffers,
    runtime: Runtime,
}

impl NameServer {
    /// With these zones, no links, and so many bytes for hot answers.
    pub fn new(zones: Arc<ZoneSet>, hot_bytes: usize) -> Self {
        let runtime = runtime();
        let _entered = runtime.enter();
        let (clock, metrics) = (Clock::manual(NOW), Arc::new(Metrics::new()));
        let store = Arc::new(MemoryStore::default());
        // What is looked up twice is then looked up in memory.
        let limits = LinkLimits {
            memory: MemoryLimits::default().with_memory(1 << 20),
            store_reads_per_second: None,
        };
        let links = Arc::new(Links::new(
            store.clone(),
            zones.clone(),
            limits,
            clock.clone(),
            metrics,
        ));
        let handler = handler(&zones, &links, hot_bytes, None);
        drop(_entered);
        Self {
            handler,
            zones,
            links,
            store,
            clock,
            buffers: Buffers::default(),
            runtime,
        }
    }

    /// Another one over the same zones and links.
    pub fn sibling(&self, hot_bytes: usize, rate_limit: Option<RateLimitConfig>) -> Self {
        Self {
            handler: handler(&self.zones, &self.links, hot_bytes, rate_limit),
            zones: self.zones.clone(),
            links: self.links.clone(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            buffers: Buffers::default(),
            runtime: runtime(),
        }
    }

    /// The reply to a packet, waited for where that is necessary; none if there is none.
    pub fn ask(&mut self, packet: &[u8], via: Via) -> Option<Vec<u8>> {
        let reply = self
            .handler
            .reply_to(packet, CLIENT, via, &mut self.buffers);
        match reply {
            Ok(reply) => reply.map(<[u8]>::to_vec),
            Err(waiting) => {
                let reply = self.handler.reply_after(waiting, &mut self.buffers);
                self.runtime.block_on(reply).map(<[u8]>::to_vec)
            }
        }
    }

    /// Does something that has to be waited for.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

/// A handler that tells who it is.
fn handler(
    zones: &Arc<ZoneSet>,
    links: &Arc<Links>,
    hot_bytes: usize,
    rate_limit: Option<RateLimitConfig>,
) -> Handler {
    let settings = Settings {
        nsid: Some(b"fuzz-1".as_slice().into()),
        identity: Identity {
            version: Some("tinyns".into()),
            id: Some("fuzz-1".into()),
        },
        rate_limit,
        // No bounds: they go by real time.
        signatures: SignatureLimits {
            per_second: 0,
            per_client: 0,
            made_up_per_second: 0,
            made_up_per_client: 0,
        },
        ..Settings::default()
    };
    let metrics = Arc::new(Metrics::new());
    Handler::new(zones.clone(), links.clone(), hot_bytes, settings, metrics)
}

/// A store in memory, which keeps the contract of [`Store`].
#[derive(Debug, Default)]
pub struct MemoryStore {
    slots: Mutex<BTreeMap<LinkName, Slot>>,
    fails: AtomicBool,
}

/// What is known of a name: its link, if it has one, and its last version in any case.
#[derive(Clone, Debug)]
struct Slot {
    link: Option<Link>,
    version: Version,
}

/// A link that is there from the start.
#[derive(Clone, Copy)]
pub struct FirstLink<'a> {
    /// Its code.
    pub code: &'a str,
    /// Where it leads.
    pub url: &'a str,
    /// In how many seconds it ends, if it does.
    pub ends_in: Option<u64>,
    /// The TTL of its own, if it has one.
    pub ttl: Option<u64>,
}

impl MemoryStore {
    /// Forgets everything.
    pub fn clear(&self) {
        self.slots().clear();
    }

    /// Has every call fail from now on, or none.
    pub fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// Puts a link there.
    pub fn put(&self, origin: &Origin, first: FirstLink<'_>) {
        let code = Code::parse(first.code).expect("a code");
        let link = Link {
            name: LinkName::new(&code, origin),
            target: TargetUrl::parse(first.url).expect("a URL"),
            created_at: NOW,
            created_by: "fuzz".into(),
            expires_at: first.ends_in.map(|seconds| UnixTime(NOW.0 + seconds)),
            ttl: first.ttl.and_then(Ttl::from_secs),
            about: tinyns::link::About::default(),
            destinations: None,
            withheld: None,
            version: FIRST,
        };
        let name = link.name.clone();
        let link = Some(link);
        self.slots().insert(
            name,
            Slot {
                link,
                version: FIRST,
            },
        );
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<LinkName, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.fails.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable("the test makes it fail".into())),
            false => Ok(()),
        }
    }

    /// The live link of a name, and the version that a change of it has.
    fn look(&self, name: &LinkName, now: u64) -> Result<(Option<Link>, Version), StoreError> {
        self.check()?;
        let slot = self.slots().get(name).cloned();
        let version = Version::next(slot.as_ref().map(|slot| slot.version), now);
        let link = slot.and_then(|slot| slot.link);
        Ok((link.filter(|link| !link.is_expired(seconds(now))), version))
    }

    fn set(&self, name: &LinkName, link: Option<Link>, version: Version) {
        self.slots().insert(name.clone(), Slot { link, version });
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create(&self, new: NewLink, now: u64) -> Result<Created, StoreError> {
        let (live, version) = self.look(&new.name, now)?;
        Ok(match live {
            Some(link) if link.leads_to(&new.target, new.destinations.as_deref()) => {
                Created::Same(link)
            }
            Some(link) => Created::Taken(link),
            None => {
                let link = Link {
                    name: new.name,
                    target: new.target,
                    created_at: seconds(now),
                    created_by: new.created_by.name,
                    expires_at: new.expires_at,
                    ttl: new.ttl,
                    about: new.about,
                    withheld: new.withheld,
                    destinations: new.destinations,
                    version,
                };
                self.set(&link.name, Some(link.clone()), version);
                Created::New(link)
            }
        })
    }

    async fn get(&self, name: &LinkName) -> Result<Option<Link>, StoreError> {
        self.check()?;
        Ok(self.slots().get(name).and_then(|slot| slot.link.clone()))
    }

    async fn change(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        change: Change,
        _: &Actor,
        now: u64,
    ) -> Result<Changed, StoreError> {
        let (live, version) = self.look(name, now)?;
        Ok(match live {
            None => Changed::Absent,
            Some(link) if expected.is_some_and(|v| v != link.version) => Changed::Conflict(link),
            Some(link) => {
                let mut link = change.made(link);
                link.version = version;
                self.set(name, Some(link.clone()), version);
                Changed::Changed(link)
            }
        })
    }

    async fn delete(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        _: &Actor,
        now: u64,
    ) -> Result<Deleted, StoreError> {
        let (live, version) = self.look(name, now)?;
        Ok(match live {
            None => Deleted::Absent,
            Some(link) if expected.is_some_and(|v| v != link.version) => Deleted::Conflict(link),
            Some(_) => {
                self.set(name, None, version);
                Deleted::Deleted(version)
            }
        })
    }

    async fn list(
        &self,
        origin: &Origin,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.check()?;
        let slots = self.slots();
        let links = slots.values().filter_map(|slot| slot.link.as_ref());
        let mut links: Vec<_> = links
            .filter(|link| link.name.origin() == origin.as_str())
            .filter(|link| after.is_none_or(|after| link.name > *after))
            .take(limit.max(1) + 1)
            .cloned()
            .collect();
        let has_more = links.len() > limit.max(1);
        links.truncate(limit.max(1));
        let last = links.last().filter(|_| has_more);
        let next = last.map(|link| link.name.clone());
        Ok(Page { links, next })
    }

    async fn scan(&self, _: Segment, _: Option<&LinkName>, _: usize) -> Result<Page, StoreError> {
        Err(StoreError::Unavailable("nobody scans here".into()))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.check()
    }

    async fn close(&self) -> Option<tinyns::store::Seal> {
        None
    }
}
