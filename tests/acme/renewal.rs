//! Renewal, by time travel.

use std::time::Duration;

use serde_json::{Value, json};

use super::local::Local;
use super::pebble::{Options, Pebble};
use super::proxy::{Proxy, Verdict};
use super::{name_server, sections, setup};
use tinyns::base::clock::UnixTime;
use tinyns::certificates::acme::CertificateState;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const NEW_ORDER: &str = "/order-plz";

#[test]
fn a_certificate_is_renewed_at_two_thirds_of_its_lifetime() {
    let dns = name_server();
    let mut options = Options::new(dns);
    options.lifetime = 30 * DAY.as_secs();
    let pebble = Pebble::start(&options);
    let proxy = Proxy::start(&pebble.identity, pebble.address);
    let sections = sections(&proxy.directory(), &pebble.identity, dns, "");
    let local = Local::start(setup(dns, &sections));
    let first = local.gets_a_certificate();
    let facts = first.certificate.unwrap();
    let renewal = first.next_attempt;
    let after = facts.not_before.until(renewal);
    assert!(
        (20 * DAY.as_secs()..21 * DAY.as_secs()).contains(&after),
        "{after}"
    );
    let orders = proxy.count(NEW_ORDER);
    // Two seconds before, nothing happens.
    local.clock.set(UnixTime(renewal.0 - 2));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(proxy.count(NEW_ORDER), orders);
    assert!(!local.status().ends_soon);
    // Two days later than the latest time for the next one as well.
    let late = renewal.after(2 * DAY.as_secs());
    local.clock.set(late);
    let second = local.comes_to("a renewal", |status| {
        let certificate = status.certificate.as_ref();
        certificate.is_some_and(|certificate| certificate.serial != facts.serial)
    });
    // Pebble's clock stands still: the new certificate is due at once, and yet is not replaced at once.
    let second = second.certificate.unwrap();
    assert!(second.not_before.until(late) > 21 * DAY.as_secs());
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(proxy.count(NEW_ORDER), orders + 1);
    assert_eq!(local.status().state, CertificateState::Valid);
}

#[test]
fn a_certificate_that_cannot_be_renewed_is_used_to_its_end() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let sections = sections(&pebble.directory(), &pebble.identity, dns, "");
    let local = Local::start(setup(dns, &sections));
    let facts = local.gets_a_certificate().certificate.unwrap();
    let root = pebble.root_file();
    let root_text = std::fs::read(&root).unwrap();
    drop(pebble);
    let keep = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keep.path(), root_text).unwrap();
    local.clock.set(UnixTime(facts.not_after.0 - DAY.as_secs()));
    let failing = local.fails(None);
    assert!(failing.ends_soon);
    assert_eq!(failing.certificate, Some(facts));
    // Delays grow, and each failure counts.
    for count in 2..5 {
        let before = local.status();
        local.travel_to_next();
        local.comes_to("another failure", |status| {
            status
                .failure
                .as_ref()
                .is_some_and(|failure| failure.count == count)
        });
        let now = local.clock.now();
        assert!(
            now.until(local.status().next_attempt) >= 30 << (count - 1),
            "{before:?}"
        );
    }
    let reply = super::curl(local.running().https()[0], keep.path(), super::ORIGIN);
    assert!(reply.status.success(), "{reply:?}");
}

/// RFC 9773, which Pebble 2.4 does not have: the proxy adds it.
fn with_renewal_info(proxy: &Proxy, window: (UnixTime, UnixTime)) {
    let address = proxy.address;
    let (start, end) = (window.0.rfc3339(), window.1.rfc3339());
    proxy.judge(move |request| match request.path.as_str() {
        "/dir" => Verdict::Change(Box::new(move |directory| {
            directory["renewalInfo"] = format!("https://localhost:{}/ari", address.port()).into();
        })),
        path if path.starts_with("/ari/") => {
            let body = json!({ "suggestedWindow": { "start": start, "end": end } });
            let headers = vec![("retry-after", "21600".to_owned())];
            Verdict::Answer(200, headers, body.to_string())
        }
        NEW_ORDER => {
            let replaces = request.payload["replaces"].clone();
            Verdict::Change(Box::new(move |order| {
                if replaces != Value::Null {
                    order["replaces"] = replaces;
                }
            }))
        }
        _ => Verdict::Pass,
    });
}

#[test]
fn rfc9773_the_directory_suggests_the_time() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let proxy = Proxy::start(&pebble.identity, pebble.address);
    let sections = sections(&proxy.directory(), &pebble.identity, dns, "");
    let now = tinyns::base::clock::Clock::default().now();
    // From the sixth day to the seventh, of ninety.
    let window = (now.after(5 * DAY.as_secs()), now.after(6 * DAY.as_secs()));
    with_renewal_info(&proxy, window);
    let local = Local::start(setup(dns, &sections));
    let first = local.gets_a_certificate().certificate.unwrap();
    let looked = local.comes_to("the window", |status| status.next_attempt < window.1);
    assert!(looked.next_attempt >= window.0);
    let identifier = proxy.requests("/ari/")[0].path["/ari/".len()..].to_owned();
    assert_eq!(proxy.count("/ari/"), 1);
    // The directory changes its mind: certificates are about to be revoked.
    with_renewal_info(&proxy, (now, now.after(1)));
    local.travel(DAY);
    local.comes_to("the renewal", |status| {
        let certificate = status.certificate.as_ref();
        certificate.is_some_and(|certificate| certificate.serial != first.serial)
    });
    // RFC 9773 §5.
    let orders = proxy.requests(NEW_ORDER);
    assert_eq!(orders.first().unwrap().payload["replaces"], Value::Null);
    assert_eq!(
        orders.last().unwrap().payload["replaces"],
        identifier.as_str()
    );
}

#[test]
fn rfc9773_5_a_directory_that_does_not_take_the_replacement() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let proxy = Proxy::start(&pebble.identity, pebble.address);
    let sections = sections(&proxy.directory(), &pebble.identity, dns, "");
    let local = Local::start(setup(dns, &sections));
    let first = local.gets_a_certificate().certificate.unwrap();
    let address = proxy.address;
    // It has the field in the directory, but does not confirm it in the order.
    proxy.judge(move |request| match request.path.as_str() {
        "/dir" => Verdict::Change(Box::new(move |directory| {
            directory["renewalInfo"] = format!("https://localhost:{}/ari", address.port()).into();
        })),
        _ => Verdict::Pass,
    });
    local.order_now();
    local.comes_to("the renewal", |status| {
        let certificate = status.certificate.as_ref();
        certificate.is_some_and(|certificate| certificate.serial != first.serial)
    });
    let orders = proxy.requests(NEW_ORDER);
    let replaced = orders
        .iter()
        .filter(|order| order.payload["replaces"] != Value::Null);
    assert!(replaced.count() > 0);
    assert_eq!(orders.last().unwrap().payload["replaces"], Value::Null);
}
