//! Servers that share a table: one orders, and the others have the certificate as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::pebble::{Options, Pebble};
use super::proxy::{Proxy, Verdict};
use super::{IN_USE, ORIGIN, https_of, name_server, sections, serial, setup};
use crate::dynamo::Emulator;
use crate::harness::{PATIENCE, Server, Setup, eventually, tinyns};

/// The key file of all servers.
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

struct Fleet {
    pebble: Pebble,
    proxy: Proxy,
    emulator: Emulator,
    key: tempfile::NamedTempFile,
}

impl Fleet {
    /// A fleet whose first server has this address.
    fn new(dns: std::net::SocketAddr) -> Self {
        let pebble = Pebble::start(&Options::new(dns));
        let proxy = Proxy::start(&pebble.identity, pebble.address);
        let key = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(key.path(), KEY).unwrap();
        Self {
            pebble,
            proxy,
            emulator: Emulator::start(),
            key,
        }
    }

    /// A server at this address; the name server of the zone is at `asked`.
    fn setup(&self, dns: std::net::SocketAddr, asked: std::net::SocketAddr) -> Setup {
        let file = format!("key_file = {:?}\n", self.key.path());
        let sections = sections(&self.proxy.directory(), &self.pebble.identity, asked, &file);
        let url = self.emulator.url();
        let store = format!("kind = \"dynamodb\"\nendpoint_url = \"{url}\"\ncreate_table = true\n");
        setup(dns, &sections).store(&store)
    }

    fn finalized(&self) -> usize {
        self.proxy.count("/finalize-order/")
    }

    /// Two servers, the second one at `asked`. The first one orders, and its last request hangs; others hang, too, until
    /// the flag is cleared.
    fn first_waits_for_its_certificate(
        &self,
        asked: std::net::SocketAddr,
    ) -> (Server, Server, Arc<AtomicBool>) {
        let (is_alone, hangs) = (
            Arc::new(AtomicBool::new(true)),
            Arc::new(AtomicBool::new(true)),
        );
        let (alone, held) = (is_alone.clone(), hangs.clone());
        self.proxy.judge(move |request| {
            // The name server of the zone has to run before the first server checks that it has the challenge.
            while request.path.starts_with("/order-plz") && alone.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            let is_last_step = request.path.starts_with("/finalize-order/");
            match is_last_step && held.load(Ordering::SeqCst) {
                true => Verdict::Hang,
                false => Verdict::Pass,
            }
        });
        let first = self.setup(name_server(), asked).start();
        // It has the lease before another server can take it.
        eventually("the first server orders", PATIENCE, || {
            self.proxy.count("/order-plz") > 0
        });
        let second = self.setup(asked, asked).start();
        is_alone.store(false, Ordering::SeqCst);
        eventually("the order waits for its certificate", PATIENCE, || {
            self.finalized() > 0
        });
        (first, second, hangs)
    }
}

fn has_begun(server: &Server) -> bool {
    server.log().text().contains("\"order begun\"")
}

#[test]
fn another_server_finishes_the_order_of_one_that_died() {
    // The zone's name server is the one that survives, so that the other can be killed.
    let asked = name_server();
    let fleet = Fleet::new(asked);
    let (mut first, second, hangs) = fleet.first_waits_for_its_certificate(asked);
    assert!(has_begun(&first) && !has_begun(&second));
    first.crash();
    hangs.store(false, Ordering::SeqCst);
    let orders = fleet.proxy.count("/order-plz");
    // After the time of the lease.
    let patience = PATIENCE + PATIENCE;
    eventually("the certificate", patience, || {
        second.log().text().contains(IN_USE)
    });
    // The same order, with the key that the first server has made.
    assert!(!has_begun(&second));
    assert_eq!(fleet.proxy.count("/order-plz"), orders);
    assert_eq!(fleet.finalized(), 2);
    assert_eq!(fleet.proxy.count("/sign-me-up"), 1);
    let certificate = serial(https_of(&second), ORIGIN).unwrap();
    // The first one has the certificate as soon as it is back.
    let first = first.crash_and_restart();
    assert_eq!(serial(https_of(&first), ORIGIN), Some(certificate));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(fleet.proxy.count("/order-plz"), orders);
}

#[test]
fn a_server_that_slept_through_its_lease_does_no_harm() {
    let asked = name_server();
    let fleet = Fleet::new(asked);
    let (first, second, hangs) = fleet.first_waits_for_its_certificate(asked);
    first.signal(Signal::SIGSTOP);
    hangs.store(false, Ordering::SeqCst);
    let patience = PATIENCE + PATIENCE;
    eventually("the certificate", patience, || {
        second.log().text().contains(IN_USE)
    });
    first.signal(Signal::SIGCONT);
    // It finds that it has lost the lease, or that its request has taken too long, whichever comes first. Then it follows the
    // other server.
    eventually("the certificate", patience, || {
        first.log().text().contains(IN_USE)
    });
    let certificate = serial(https_of(&second), ORIGIN);
    assert!(certificate.is_some());
    assert_eq!(serial(https_of(&first), ORIGIN), certificate);
    assert_eq!(fleet.finalized(), 2);
    assert_eq!(fleet.proxy.count("/order-plz"), 1);
}

#[test]
fn one_server_orders_and_the_others_follow() {
    let asked = name_server();
    let fleet = Fleet::new(asked);
    let servers = [
        fleet.setup(asked, asked).start(),
        fleet.setup(name_server(), asked).start(),
        fleet.setup(name_server(), asked).start(),
    ];
    let patience = PATIENCE + PATIENCE;
    for server in &servers {
        eventually("a certificate", patience, || {
            server.log().text().contains(IN_USE)
        });
    }
    assert_eq!(servers.iter().filter(|server| has_begun(server)).count(), 1);
    assert_eq!(fleet.finalized(), 1);
    let serials: Vec<_> = servers
        .iter()
        .map(|server| serial(https_of(server), ORIGIN))
        .collect();
    assert!(serials[0].is_some());
    assert!(
        serials.iter().all(|serial| *serial == serials[0]),
        "{serials:?}"
    );
}

#[test]
fn a_fleet_needs_the_key_file() {
    let asked = name_server();
    let fleet = Fleet::new(asked);
    let setup = fleet.setup(asked, asked);
    let config = setup.write();
    std::fs::remove_file(fleet.key.path()).unwrap();
    let output = tinyns()
        .args(["serve", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{error}");
    assert!(
        error.contains("does not exist; copy it from another server of this store"),
        "{error}"
    );
    assert!(!fleet.key.path().exists());
    std::fs::write(fleet.key.path(), KEY).unwrap();
}
