//! Wrong clocks, other directories, forgotten accounts and restored stores: no order more than there has to be.

use std::collections::BTreeSet;
use std::time::Duration;

use super::local::Local;
use super::pebble::{Options, Pebble};
use super::proxy::{Proxy, Verdict, problem};
use super::{LINKS, ORIGIN, ZONE, name_server, sections, setup};
use crate::harness::{PATIENCE, Setup, eventually, run};
use tinyns::base::clock::{Clock, UnixTime};
use tinyns::certificates::acme::{CertificateState, FailureKind};

const DAY: u64 = 24 * 60 * 60;
const NEW_ORDER: &str = "/order-plz";

#[test]
fn a_clock_that_is_behind_costs_no_second_certificate() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let proxy = Proxy::start(&pebble.identity, pebble.address);
    let sections = sections(&proxy.directory(), &pebble.identity, dns, "");
    let now = Clock::default().now();
    let behind = Clock::manual(UnixTime(now.0 - 2 * DAY));
    let local = Local::try_start(setup(dns, &sections), behind).unwrap();
    let failure = local.fails(None).failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Certificate);
    assert!(
        failure.reason.contains("clock of this server"),
        "{failure:?}"
    );
    local.clock.set(now);
    local.gets_a_certificate();
    assert_eq!(proxy.count(NEW_ORDER), 1);
    assert_eq!(proxy.count("/finalize-order/"), 1);
}

#[test]
fn another_directory_has_no_delays_of_the_first_one() {
    let dns = name_server();
    let staging = Pebble::start(&Options::new(dns));
    let first = sections(&staging.directory(), &staging.identity, dns, "");
    let local = Local::start(setup(dns, &first));
    let issuer = local.gets_a_certificate().certificate.unwrap().issuer;
    let production = Pebble::start(&Options::new(dns));
    let second = sections(&production.directory(), &production.identity, dns, "");
    let clock = local.clock.clone();
    let setup = local.stop().sections(&second);
    // The first certificate is in use until the second one comes, which is at once.
    let local = Local::try_start(setup, clock).unwrap();
    assert!(local.status().certificate.is_some());
    local.comes_to("a certificate of the other directory", |status| {
        let certificate = status.certificate.as_ref();
        certificate.is_some_and(|certificate| certificate.issuer != issuer)
    });
}

#[test]
fn an_account_that_the_directory_forgot_is_replaced_once_for_all_zones() {
    let dns = name_server();
    let options = Options::new(dns);
    let pebble = Pebble::start(&options);
    let proxy = Proxy::start(&pebble.identity, pebble.address);
    let mut setup = Setup::empty().listen(&format!("[\"{dns}\"]"));
    for label in ["a", "b", "c", "d"] {
        let origin = format!("{label}.example.com");
        setup = setup.zone(&origin, LINKS, &ZONE.replace(ORIGIN, &origin));
    }
    let sections = sections(&proxy.directory(), &pebble.identity, dns, "");
    let local = Local::start(setup.section(&sections));
    let serials = || -> BTreeSet<_> {
        let valid = local.acme().status().into_iter();
        let valid = valid.filter(|zone| zone.state == CertificateState::Valid);
        valid
            .filter_map(|zone| Some(zone.certificate?.serial))
            .collect()
    };
    eventually("all certificates", PATIENCE, || serials().len() == 4);
    let (before, registered) = (serials(), proxy.count("/sign-me-up"));
    let (identity, address) = pebble.stop();
    let _pebble = Pebble::start_as(identity, address, &options);
    // All zones are due in the same round.
    local.travel(Duration::from_secs(70 * DAY));
    eventually("other certificates", PATIENCE, || {
        let now = serials();
        now.len() == 4 && now.is_disjoint(&before)
    });
    assert_eq!(proxy.count("/sign-me-up"), registered + 1);
}

#[test]
fn a_store_that_was_restored_under_a_running_server_makes_no_series_of_orders() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let proxy = Proxy::start(&pebble.identity, pebble.address);
    let sections = sections(&proxy.directory(), &pebble.identity, dns, "");
    let local = Local::start(setup(dns, &sections));
    let first = local.gets_a_certificate().certificate.unwrap();
    // As a table of DynamoDB that is restored under its name: the documents have older revisions.
    let database = local
        .setup
        .dir()
        .join("data/links.sqlite")
        .display()
        .to_string();
    run(
        "sqlite3",
        &[
            &database,
            "PRAGMA busy_timeout = 5000; DELETE FROM document WHERE key LIKE 'acme:%:s.example.com'",
        ],
    );
    let orders = proxy.count(NEW_ORDER);
    local.order_now();
    local.comes_to("another certificate", |status| {
        let certificate = status.certificate.as_ref();
        let is_other = certificate.is_some_and(|certificate| certificate.serial != first.serial);
        is_other && status.state == CertificateState::Valid
    });
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(proxy.count(NEW_ORDER), orders + 1);
}

#[test]
fn a_directory_with_something_else_than_urls_stops_one_attempt_only() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let proxy = Proxy::start(&pebble.identity, pebble.address);
    let sections = sections(&proxy.directory(), &pebble.identity, dns, "");
    let with_nonce = |url: &'static str| {
        proxy.judge(move |request| match request.path.as_str() {
            "/dir" => Verdict::Change(Box::new(|directory| directory["newNonce"] = url.into())),
            _ => Verdict::Pass,
        });
    };
    with_nonce("no URL");
    let local = Local::start(setup(dns, &sections));
    let mut failed = local.fails(None).failure.unwrap();
    assert_eq!(failed.kind, FailureKind::Directory);
    let expected = "newNonce is \"no URL\" and not a URL with https";
    assert!(failed.reason.contains(expected), "{failed:?}");
    for url in ["http://localhost/nonce", "/nonce", ""] {
        with_nonce(url);
        local.travel_to_next();
        failed = local.fails(Some(failed.at)).failure.unwrap();
        assert!(failed.reason.contains("newNonce is"), "{failed:?}");
    }
    // A problem in place of the directory is given as the reason.
    proxy.judge(|_| problem(503, "serverInternal", "down for maintenance", None));
    local.travel_to_next();
    failed = local.fails(Some(failed.at)).failure.unwrap();
    assert!(failed.reason.contains("down for maintenance"), "{failed:?}");
    proxy.judge(|_| Verdict::Pass);
    local.travel_to_next();
    local.gets_a_certificate();
}
