//! Connections over a pipe in memory, with a clock that advances only while all tasks wait: when a connection reads
//! and answers, and what ends it.

mod bounds;
mod messages;
mod seats;
mod time;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::admission::{Order, Seats};
use super::connection::{self, End};
use super::*;
use crate::base::clock::{Clock, UnixTime};
use crate::base::metrics::{DnsDrop, DropReason, Metrics, TcpCloseReason, Transport};
use crate::base::name::ZoneName;
use crate::dns::pipeline::settings::Settings;
use crate::dns::query_log::Ends;
use crate::link::{Link, LinkName, Origin, TargetUrl, Version};
use crate::links::{LinkLimits, Links};
use crate::store::audit::Actor;
use crate::store::{Change, Changed, Created, Deleted, NewLink, Page, Segment, Store, StoreError};
use crate::zone::{Layout, ZoneConfig, ZoneSet};

const ZONE: &str = "\
$TTL 300
@    3600 IN SOA ns hostmaster 1 3600 600 604800 60
@         IN NS ns
ns        IN A 192.0.2.1
*.r       IN A 192.0.2.10
";
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));
/// The size of a pipe that is never full.
const WIDE: usize = 1 << 20;

/// A store in which every code is a link. A look-up of the code `w500` or `w500-1` takes 500 milliseconds.
#[derive(Debug, Default)]
struct Sleepy {
    asked: AtomicUsize,
}

#[async_trait]
impl Store for Sleepy {
    async fn get(&self, name: &LinkName) -> Result<Option<Link>, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let time = name.code().strip_prefix('w');
        let time = time.and_then(|time| time.split('-').next()?.parse().ok());
        tokio::time::sleep(Duration::from_millis(time.unwrap_or(0))).await;
        Ok(Some(Link {
            name: name.clone(),
            target: TargetUrl::parse("https://example.net/").unwrap(),
            created_at: UnixTime(0),
            created_by: "test".into(),
            expires_at: None,
            ttl: None,
            about: crate::link::About::default(),
            destinations: None,
            withheld: None,
            version: Version(1),
        }))
    }

    async fn create(&self, _: NewLink, _: u64) -> Result<Created, StoreError> {
        Err(read_only())
    }

    async fn change(
        &self,
        _: &LinkName,
        _: Option<Version>,
        _: Change,
        _: &Actor,
        _: u64,
    ) -> Result<Changed, StoreError> {
        Err(read_only())
    }

    async fn delete(
        &self,
        _: &LinkName,
        _: Option<Version>,
        _: &Actor,
        _: u64,
    ) -> Result<Deleted, StoreError> {
        Err(read_only())
    }

    async fn list(&self, _: &Origin, _: Option<&LinkName>, _: usize) -> Result<Page, StoreError> {
        Err(read_only())
    }

    async fn scan(&self, _: Segment, _: Option<&LinkName>, _: usize) -> Result<Page, StoreError> {
        Err(read_only())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) -> Option<crate::store::Seal> {
        None
    }
}

fn read_only() -> StoreError {
    StoreError::Unavailable("it is only read".into())
}

/// A server without sockets.
struct Rig {
    handler: Handler,
    seats: Seats,
    store: Arc<Sleepy>,
    metrics: Arc<Metrics>,
    _directory: TempDir,
}

impl Rig {
    fn new() -> Self {
        Self::with(TcpLimits::default())
    }

    fn with(limits: TcpLimits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("zone");
        fs::write(&file, ZONE).unwrap();
        let zones = ZoneSet::load(vec![ZoneConfig {
            origin: ZoneName::parse("s.example.com").unwrap(),
            file,
            redirect_host: Some("r".into()),
            layout: Layout::Cname,
            link_ttl: 300,
            dnssec: None,
        }]);
        let zones = Arc::new(zones.unwrap().0);
        let (store, metrics) = (Arc::new(Sleepy::default()), Arc::new(Metrics::new()));
        let links = Links::new(
            store.clone(),
            zones.clone(),
            LinkLimits::default(),
            Clock::manual(UnixTime(1_700_000_000)),
            metrics.clone(),
        );
        let settings = Settings::default();
        Self {
            handler: Handler::new(zones, Arc::new(links), 1 << 20, settings, metrics.clone()),
            seats: Seats::new(limits, metrics.clone()),
            store,
            metrics,
            _directory: directory,
        }
    }

    /// A client, and the connection that serves it.
    fn connect(&self) -> (Client, JoinHandle<End>) {
        let (near, far) = duplex(WIDE);
        (Client(near), self.serve(far, CLIENT).unwrap())
    }

    /// Serves the far end of a pipe, if there is a seat for it.
    fn serve<S>(&self, mut stream: S, client: IpAddr) -> Result<JoinHandle<End>, TcpCloseReason>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let seat = self.seats.admit(client)?;
        let handler = self.handler.clone();
        let ends = Ends {
            client: SocketAddr::new(client, 40_000),
            server: None,
            transport: Transport::Tcp,
        };
        Ok(tokio::spawn(async move {
            let end = connection::serve(&mut stream, ends, &seat, handler).await;
            drop(stream);
            end
        }))
    }

    fn drops(&self, reason: DropReason) -> u64 {
        let dropped = &self.metrics.dns_dropped;
        dropped.get_or_create(&DnsDrop { reason }).get()
    }
}

/// The client's end of a connection.
struct Client(DuplexStream);

impl Client {
    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next reply; none if there are no more.
    async fn reply(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 2];
        self.0.read_exact(&mut length).await.ok()?;
        let mut reply = vec![0; u16::from_be_bytes(length).into()];
        self.0.read_exact(&mut reply).await.expect("half a reply");
        Some(reply)
    }

    /// The id and rcode of the next reply; none if there are no more.
    async fn next_reply(&mut self) -> Option<(u16, u8)> {
        let reply = self.reply().await?;
        assert_eq!(reply[2] & 0x80, 0x80, "a reply");
        Some((u16::from_be_bytes([reply[0], reply[1]]), reply[3] & 0x0F))
    }

    /// The ids of all further replies.
    async fn ids(&mut self) -> Vec<u16> {
        let mut ids = Vec::new();
        while let Some((id, rcode)) = self.next_reply().await {
            assert_eq!(rcode, 0);
            ids.push(id);
        }
        ids
    }
}

/// A query for the TXT records of a name in the zone, with this id, after its length field.
fn query(id: u16, label: &str) -> Vec<u8> {
    query_with(id, label, &[])
}

/// The same with an OPT record that has these options, if there are any.
fn query_with(id: u16, label: &str, options: &[u8]) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    let additionals = (!options.is_empty()).into();
    message.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, additionals]);
    for label in [label, "s", "example", "com"] {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 16, 0, 1]);
    if !options.is_empty() {
        message.extend([0, 0, 41, 0x04, 0xD0, 0, 0, 0, 0]);
        message.extend((options.len() as u16).to_be_bytes());
        message.extend(options);
    }
    framed(&message)
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u16).to_be_bytes();
    [&length[..], message].concat()
}
