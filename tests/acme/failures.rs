//! What goes wrong, and what comes of it: serving goes on, the reason is named, and the next attempt is later.

use std::fs;
use std::time::Duration;

use tinyns::certificates::acme::FailureKind;

use super::local::Local;
use super::pebble::{Options, Pebble};
use super::proxy::{Proxy, Verdict, problem};
use super::{LINKS, ORIGIN, ZONE, name_server, sections, setup};
use crate::harness::{PATIENCE, Setup, eventually, tinyns};

const NEW_ORDER: &str = "/order-plz";
const CHALLENGE: &str = "/chalZ/";

#[test]
fn rfc8555_6_6_rate_limits_hold_over_a_restart() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let proxy = Proxy::start(&pebble.identity, pebble.address);
    proxy.judge(|request| match request.path.as_str() {
        NEW_ORDER => problem(429, "rateLimited", "too many certificates", Some("90000")),
        _ => Verdict::Pass,
    });
    let sections = sections(&proxy.directory(), &pebble.identity, dns, "");
    let local = Local::start(setup(dns, &sections));
    let limited = local.fails(None);
    let failure = limited.failure.unwrap();
    assert_eq!(failure.kind, FailureKind::RateLimit);
    assert!(
        failure.reason.contains("too many certificates"),
        "{failure:?}"
    );
    assert_eq!(failure.at.until(limited.next_attempt), 90_000);
    let orders = proxy.count(NEW_ORDER);
    let local = local.restart().unwrap();
    assert_eq!(local.status().failure.unwrap().kind, FailureKind::RateLimit);
    local.travel(Duration::from_secs(89_000));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(proxy.count(NEW_ORDER), orders);
    proxy.judge(|_| Verdict::Pass);
    local.travel_to_next();
    let valid = local.gets_a_certificate();
    assert_eq!(valid.failure, None);
}

#[test]
fn answers_that_are_no_acme_are_named() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let proxy = Proxy::start(&pebble.identity, pebble.address);
    let error = |text: &str| Verdict::Answer(502, Vec::new(), text.into());
    proxy.judge(move |_| error("<html>bad gateway</html>"));
    let sections = sections(&proxy.directory(), &pebble.identity, dns, "");
    let local = Local::start(setup(dns, &sections));
    let failed = local.fails(None).failure.unwrap();
    assert_eq!(failed.kind, FailureKind::Directory);
    assert!(
        failed.reason.contains("/dir: HTTP status 502"),
        "{failed:?}"
    );
    proxy.judge(|_| Verdict::Answer(200, Vec::new(), "<html>welcome</html>".into()));
    local.travel_to_next();
    let failed = local.fails(Some(failed.at)).failure.unwrap();
    assert!(failed.reason.contains("no ACME directory"), "{failed:?}");
    // An error in the middle of an order: the next attempt goes on with the same one.
    proxy.judge(move |request| match &request.path {
        path if path.starts_with("/finalize-order/") => {
            problem(500, "serverInternal", "out of order", None)
        }
        _ => Verdict::Pass,
    });
    local.travel_to_next();
    let failed = local.fails(Some(failed.at)).failure.unwrap();
    assert_eq!(failed.kind, FailureKind::Directory);
    assert!(failed.reason.contains("out of order"), "{failed:?}");
    let orders = proxy.count(NEW_ORDER);
    proxy.judge(|_| Verdict::Pass);
    local.travel_to_next();
    local.gets_a_certificate();
    assert_eq!(proxy.count(NEW_ORDER), orders);
}

#[test]
fn an_order_that_is_refused() {
    let dns = name_server();
    let mut options = Options::new(dns);
    options.blocked = vec![ORIGIN];
    let pebble = Pebble::start(&options);
    let blocked = sections(&pebble.directory(), &pebble.identity, dns, "");
    let local = Local::start(setup(dns, &blocked));
    let refused = local.fails(None).failure.unwrap();
    assert_eq!(refused.kind, FailureKind::Challenge);
    assert!(refused.reason.contains("rejectedIdentifier"), "{refused:?}");
    local.comes_to_count("tinyns_acme_orders_total{result=\"Failure\"} 1");
    let profile = sections(
        &pebble.directory(),
        &pebble.identity,
        dns,
        "profile = \"short\"\n",
    );
    drop(local);
    let local = Local::start(setup(dns, &profile));
    let refused = local.fails(None).failure.unwrap();
    assert!(refused.reason.contains("offers no profiles"), "{refused:?}");
}

#[test]
fn a_validation_that_fails_begins_a_new_order() {
    // Pebble asks a port where nothing answers.
    let (dns, other) = (name_server(), name_server());
    let pebble = Pebble::start(&Options::new(other));
    let proxy = Proxy::start(&pebble.identity, pebble.address);
    let sections = sections(&proxy.directory(), &pebble.identity, dns, "");
    let local = Local::start(setup(dns, &sections));
    let failed = local.fails(None);
    let failure = failed.failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Challenge);
    assert!(failure.reason.contains(ORIGIN), "{failure:?}");
    // Authorities count failed validations: no attempt for a quarter of an hour.
    assert!(failure.at.until(failed.next_attempt) >= 900);
    let orders = proxy.count(NEW_ORDER);
    local.travel_to_next();
    local.fails(Some(failure.at));
    assert_eq!(proxy.count(NEW_ORDER), orders + 1);
}

/// The zone with a second name server.
fn with_second_server() -> String {
    ZONE.replace(
        "ns1  IN",
        "     3600 IN NS ns2\nns2 IN A 127.0.0.2\nns1  IN",
    )
}

#[test]
fn a_name_server_without_the_challenge_is_named_and_stops_the_order() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let proxy = Proxy::start(&pebble.identity, pebble.address);
    let sections = sections(&proxy.directory(), &pebble.identity, dns, "");
    let zone = with_second_server();
    let other = Setup::empty().zone(ORIGIN, LINKS, &zone);
    let other = other
        .listen(&format!("[\"127.0.0.2:{}\"]", dns.port()))
        .start();
    let first = Setup::empty()
        .zone(ORIGIN, LINKS, &zone)
        .listen(&format!("[\"{dns}\"]"))
        .section(&sections);
    let local = Local::start(first);
    let stopped = local.fails(None).failure.unwrap();
    assert_eq!(stopped.kind, FailureKind::SelfCheck);
    let named: Vec<_> = stopped.addresses.iter().map(ToString::to_string).collect();
    let expected = "ns2.s.example.com (127.0.0.2): it answers with rcode 3 (Non-Existent Domain)";
    assert_eq!(named, [expected]);
    assert!(stopped.reason.contains(expected), "{stopped:?}");
    // No challenge was set ready: only the values were read.
    assert_eq!(proxy.count(CHALLENGE), 0);
    let orders = proxy.count(NEW_ORDER);
    drop(other);
    local.travel_to_next();
    let stopped = local.fails(Some(stopped.at)).failure.unwrap();
    assert!(
        stopped
            .reason
            .contains("127.0.0.2): no reply by UDP: Connection refused"),
        "{stopped:?}"
    );
    // The zone has only the first server again, and the same order goes on.
    fs::write(local.setup.dir().join("s.example.com.zone"), ZONE).unwrap();
    assert!(local.reload());
    local.travel_to_next();
    local.gets_a_certificate();
    assert_eq!(proxy.count(NEW_ORDER), orders);
}

#[test]
fn the_check_of_the_name_servers_can_be_left_out() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let more = "check_nameservers = false\n";
    let sections = sections(&pebble.directory(), &pebble.identity, dns, more);
    let zone = with_second_server();
    let setup = Setup::empty().zone(ORIGIN, LINKS, &zone);
    let setup = setup.listen(&format!("[\"{dns}\"]")).section(&sections);
    Local::start(setup).gets_a_certificate();
}

#[test]
fn rfc8659_caa_records_of_the_zone_that_forbid_the_issuer() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let proxy = Proxy::start(&pebble.identity, pebble.address);
    proxy.judge(|request| match request.path.as_str() {
        "/dir" => Verdict::Change(Box::new(|directory| {
            directory["meta"]["caaIdentities"] = serde_json::json!(["ca.test"]);
        })),
        _ => Verdict::Pass,
    });
    let sections = sections(&proxy.directory(), &pebble.identity, dns, "");
    let zone = format!("{ZONE}@ IN CAA 0 issue \"other.example\"\n");
    let setup = Setup::empty().zone(ORIGIN, LINKS, &zone);
    let setup = setup.listen(&format!("[\"{dns}\"]")).section(&sections);
    let local = Local::start(setup);
    let refused = local.fails(None).failure.unwrap();
    assert_eq!(refused.kind, FailureKind::SelfCheck);
    assert!(
        refused.reason.contains("s.example.com.zone:8"),
        "{refused:?}"
    );
    assert_eq!(proxy.count(NEW_ORDER), 0);
}

#[test]
fn another_key_file_is_refused() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let sections = sections(&pebble.directory(), &pebble.identity, dns, "");
    let local = Local::start(setup(dns, &sections));
    local.gets_a_certificate();
    let file = local.setup.dir().join("data/certificates.key");
    let good = fs::read(&file).unwrap();
    fs::write(&file, "0".repeat(64)).unwrap();
    let dir = local.setup.dir().join("tinyns.toml");
    // The real program refuses to start, in one line.
    let local = {
        let setup = local.stop();
        let output = tinyns()
            .args(["serve", "--config"])
            .arg(&dir)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{error}");
        let line = error
            .lines()
            .find(|line| line.contains("certificates.key is not the one"));
        assert!(
            line.is_some_and(|line| line.contains("copy the key file")),
            "{error}"
        );
        fs::write(&file, good).unwrap();
        Local::start(setup)
    };
    assert!(local.status().certificate.is_some());
}

#[test]
fn a_directory_that_has_forgotten_the_account_gets_a_new_one() {
    let dns = name_server();
    let options = Options::new(dns);
    let pebble = Pebble::start(&options);
    let sections = sections(&pebble.directory(), &pebble.identity, dns, "");
    let local = Local::start(setup(dns, &sections));
    let first = local.gets_a_certificate().certificate.unwrap();
    // Pebble keeps everything in memory.
    let (identity, address) = pebble.stop();
    let _pebble = Pebble::start_as(identity, address, &options);
    local.order_now();
    eventually("another certificate", PATIENCE, || {
        local
            .status()
            .certificate
            .is_some_and(|other| other.serial != first.serial)
    });
}
