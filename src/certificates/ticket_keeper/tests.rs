//! Ticket keys that servers share through their store.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use tokio_rustls::rustls::server::ProducesTickets;

use super::*;
use crate::base::clock::UnixTime;
use crate::certificates::tickets::{PERIOD, TICKET_ID_LEN as ID_LEN, TicketKeys};
use crate::certificates::{CertificateFiles, Service, Tls};
use crate::store::SqliteStore;

const NOW: UnixTime = UnixTime(1_700_000_000);

/// A store, and a certificate that the servers share.
struct Fleet {
    dir: TempDir,
    store: Arc<dyn Store>,
    clock: Clock,
}

/// A server of the fleet.
struct Server {
    keeper: TicketKeeper,
    tls: Arc<Tls>,
}

/// Makes a certificate with this key, which is made if there is none.
fn certify(dir: &Path, key: &str) {
    let key = dir.join(key);
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let (key, chain) = (
        key.display().to_string(),
        dir.join("chain.pem").display().to_string(),
    );
    if !Path::new(&key).exists() {
        let curve = "ec_paramgen_curve:P-256";
        openssl(&[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            curve,
            "-out",
            &key,
        ]);
    }
    let names = "subjectAltName=DNS:*.s.example.com";
    openssl(&[
        "req", "-x509", "-key", &key, "-subj", "/CN=x", "-addext", names, "-days", "9", "-out",
        &chain,
    ]);
}

impl Fleet {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        certify(dir.path(), "key.pem");
        let clock = Clock::manual(NOW);
        let store = SqliteStore::open(&dir.path().join("links.sqlite"), clock.clone()).unwrap();
        Self {
            dir,
            store: Arc::new(store),
            clock,
        }
    }

    fn files(&self, key: &str) -> CertificateFiles {
        CertificateFiles {
            certificate: self.dir.path().join("chain.pem"),
            key: self.dir.path().join(key),
        }
    }

    /// A server that has not read the keys.
    fn server(&self) -> Server {
        let tls = Arc::new(Tls::load(self.files("key.pem"), Service::Https).unwrap());
        let (store, clock) = (Arc::clone(&self.store), self.clock.clone());
        let keeper = TicketKeeper::new(store, clock, vec![HostCertificates::Own(Arc::clone(&tls))]);
        Server { keeper, tls }
    }

    /// A server that has read the keys.
    async fn started(&self) -> Server {
        let server = self.server();
        server.keeper.begin().await;
        server
    }
}

impl Server {
    fn tickets(&self) -> Arc<TicketKeys> {
        self.tls.tickets()
    }

    fn issue(&self) -> Vec<u8> {
        self.tickets().encrypt(b"session").unwrap()
    }

    fn accepts(&self, ticket: &[u8]) -> bool {
        match self.tickets().decrypt(ticket) {
            Some(state) => state == b"session",
            None => false,
        }
    }
}

#[tokio::test]
async fn a_ticket_is_accepted_by_other_servers_and_after_a_restart() {
    let fleet = Fleet::new();
    let one = fleet.started().await;
    let ticket = one.issue();
    assert!(one.accepts(&ticket));
    let two = fleet.started().await;
    assert!(two.accepts(&ticket) && one.accepts(&two.issue()));
    let mut changed = ticket.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert!(!one.accepts(&changed));
    assert!(!one.accepts(&ticket[..20]) && !one.accepts(&[]));
    drop(one);
    assert!(fleet.started().await.accepts(&ticket));
}

#[tokio::test]
async fn keys_rotate_by_the_clock_and_every_server_reads_a_ticket_before_any_issues_it() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.started().await, fleet.started().await);
    let first = one.issue();
    fleet.clock.set(NOW.after(PERIOD));
    // Neither server has read the document again.
    let second = one.issue();
    assert_ne!(first[..ID_LEN], second[..ID_LEN]);
    assert!(two.accepts(&second) && two.accepts(&first));
    assert!(one.keeper.turn().await.is_ok() && two.keeper.turn().await.is_ok());
    assert_eq!(one.issue()[..ID_LEN], two.issue()[..ID_LEN]);
    assert!(two.accepts(&first));
    fleet.clock.set(NOW.after(2 * PERIOD));
    assert!(two.keeper.turn().await.is_ok() && one.keeper.turn().await.is_ok());
    assert!(!one.accepts(&first) && one.accepts(&second));
    assert!(one.accepts(&two.issue()));
}

#[tokio::test]
async fn servers_that_rotate_at_once_agree() {
    let fleet = Fleet::new();
    let servers = [(); 4].map(|()| fleet.server());
    for periods in 0..3 {
        fleet.clock.set(NOW.after(periods * PERIOD));
        let turns = servers
            .each_ref()
            .map(|server| async { server.keeper.turn().await.is_ok() });
        assert_eq!(futures_util::future::join_all(turns).await, [true; 4]);
        let ticket = servers[0].issue();
        assert!(servers.iter().all(|server| server.accepts(&ticket)));
    }
}

#[tokio::test]
async fn without_a_store_a_server_uses_keys_of_its_own_or_the_last_known_ones() {
    let fleet = Fleet::new();
    let alone = fleet.server();
    let own = alone.issue();
    assert!(alone.accepts(&own) && !fleet.started().await.accepts(&own));
    alone.keeper.begin().await;
    assert!(alone.accepts(&own), "tickets issued before are still good");

    let shared = alone.issue();
    fleet.store.close().await;
    assert!(alone.keeper.turn().await.is_err());
    assert!(alone.accepts(&shared));
    fleet.clock.set(NOW.after(2 * PERIOD));
    let late = alone.issue();
    assert!(alone.accepts(&late));
    assert_ne!(late[..ID_LEN], shared[..ID_LEN]);
    assert!(!fleet.server().accepts(&late), "it is the server's own");
}

#[tokio::test]
async fn a_certificate_with_a_new_private_key_ends_all_tickets_and_another_certificate_does_not() {
    let fleet = Fleet::new();
    let server = fleet.started().await;
    let ticket = server.issue();
    certify(fleet.dir.path(), "key.pem");
    assert!(server.tls.reload().unwrap());
    assert!(server.accepts(&ticket));

    std::fs::remove_file(fleet.dir.path().join("key.pem")).unwrap();
    certify(fleet.dir.path(), "key.pem");
    assert!(server.tls.reload().unwrap());
    assert!(!server.accepts(&ticket));
    assert!(server.keeper.turn().await.is_ok());
    assert!(!server.accepts(&ticket));
    assert!(fleet.started().await.accepts(&server.issue()));
}
