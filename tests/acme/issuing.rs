//! The first certificate, and what is served with it.

use std::net::TcpListener;

use hickory_proto::rr::RecordType;

use super::local::Local;
use super::pebble::{Identity, Options, Pebble};
use super::proxy::{Proxy, Verdict};
use super::{IN_USE, LINKS, ORIGIN, ZONE, curl, https_of, name_server, sections, serial, setup};
use crate::harness::{PATIENCE, Setup, eventually, output, tinyns};
use tinyns::certificates::acme::CertificateState;

#[test]
fn a_link_works_by_https_without_a_step() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let sections = sections(&pebble.directory(), &pebble.identity, dns, "");
    let server = setup(dns, &sections).start();
    server.log().wait_for(IN_USE);
    server.register("sale", "https://example.net/sale");
    let (https, root) = (https_of(&server), pebble.root_file());
    let reply = curl(https, &root, "sale.s.example.com");
    let head = String::from_utf8_lossy(&reply.stdout).into_owned();
    assert!(head.starts_with("HTTP/2 302"), "{reply:?}");
    assert!(
        head.contains("location: https://example.net/sale\r\n"),
        "{head}"
    );
    let zone = curl(https, &root, ORIGIN);
    assert!(zone.status.success(), "{zone:?}");
    // The challenge is gone.
    let challenge = server.ask("_acme-challenge.s.example.com", RecordType::TXT);
    assert!(challenge.answers.is_empty(), "{challenge:?}");
    assert_eq!(
        server.metric("tinyns_acme_orders_total", &[("result", "Success")]),
        1.0
    );
    let end = server.metric(
        "tinyns_certificate_expiry_timestamp_seconds",
        &[("zone", ORIGIN)],
    );
    assert!(end > 1_700_000_000.0, "{end}");
    // The key file is beside the store, and the store has no key in clear.
    let data = server.dir().join("data");
    assert!(data.join("certificates.key").is_file());
    let strings = output(
        "grep",
        &[
            "-c",
            "PRIVATE KEY",
            &data.join("links.sqlite").display().to_string(),
        ],
    );
    assert_eq!(strings.stdout, b"0\n");
    // A restart serves it at once, without the directory.
    let before = serial(https, ORIGIN).unwrap();
    let _identity = pebble.stop();
    let server = server.restart();
    assert_eq!(serial(https_of(&server), ORIGIN), Some(before));
}

#[test]
fn the_directory_need_not_be_there_at_the_start() {
    let dns = name_server();
    // Nothing answers at the port until Pebble does.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let identity = Identity::new();
    let directory = format!("https://localhost:{}/dir", port.port());
    let local = Local::start(setup(dns, &sections(&directory, &identity, dns, "")));
    let failed = local.fails(None);
    let failure = failed.failure.unwrap();
    assert_eq!(failure.kind.name(), "directory");
    assert!(failure.reason.contains("Connection refused"), "{failure:?}");
    assert!(failed.next_attempt > local.clock.now());
    local.comes_to_count("tinyns_acme_failures_total{kind=\"directory\"} 1");
    // A client of the zone gets a clear alert, and is counted.
    let https = local.running().https()[0].to_string();
    let said = output(
        "openssl",
        &["s_client", "-connect", &https, "-servername", ORIGIN],
    );
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(error.contains("alert internal error"), "{error}");
    local.comes_to_count("tinyns_https_handshakes_total{result=\"NoCertificate\"} 1");
    let said = output(
        "openssl",
        &["s_client", "-connect", &https, "-servername", "example.org"],
    );
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(error.contains("unrecognized name"), "{error}");
    let pebble = Pebble::start_as(identity, port, &Options::new(dns));
    local.travel_to_next();
    local.gets_a_certificate();
    let reply = curl(local.running().https()[0], &pebble.root_file(), ORIGIN);
    assert!(reply.status.success(), "{reply:?}");
}

#[test]
fn rfc8555_6_5_nonces_that_are_refused() {
    let dns = name_server();
    let mut options = Options::new(dns);
    options.bad_nonces = 60;
    let pebble = Pebble::start(&options);
    let sections = sections(&pebble.directory(), &pebble.identity, dns, "");
    let local = Local::start(setup(dns, &sections));
    eventually("a certificate", PATIENCE + PATIENCE, || {
        let status = local.status();
        if status.failure.is_some() {
            local.travel_to_next();
        }
        status.certificate.is_some()
    });
}

#[test]
fn rfc8555_7_3_4_external_accounts() {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let dns = name_server();
    let mut options = Options::new(dns);
    options.external = vec![("kid-1", KEY)];
    let pebble = Pebble::start(&options);
    let without = sections(&pebble.directory(), &pebble.identity, dns, "");
    let local = Local::start(setup(dns, &without));
    let failure = local.fails(None).failure.unwrap();
    assert_eq!(failure.kind.name(), "account");
    assert!(
        failure.reason.contains("https.acme.external_account"),
        "{failure:?}"
    );
    drop(local);
    let file = pebble.identity.dir().join("external.key");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let account = format!("external_account = {{ key_id = \"kid-1\", key_file = {file:?} }}\n");
    let dns = name_server();
    let mut options = Options::new(dns);
    options.external = vec![("kid-1", KEY)];
    let pebble = Pebble::start(&options);
    let with = sections(&pebble.directory(), &pebble.identity, dns, &account);
    Local::start(setup(dns, &with)).gets_a_certificate();
}

#[test]
fn the_account_is_registered_once_and_follows_the_contacts() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let proxy = Proxy::start(&pebble.identity, pebble.address);
    let sections = sections(&proxy.directory(), &pebble.identity, dns, "");
    let local = Local::start(setup(dns, &sections));
    local.gets_a_certificate();
    let account = local.acme().account().unwrap();
    let registered = proxy.requests("/sign-me-up");
    let contact = &registered.last().unwrap().payload["contact"];
    assert_eq!(contact[0], "mailto:admin@example.com");
    let new = proxy.count("/sign-me-up");
    let text = sections.replace("admin@example.com\"", "other@example.com\"");
    let clock = local.clock.clone();
    let setup = local.stop().sections(&text);
    let local = Local::try_start(setup, clock).unwrap();
    local.order_now();
    eventually("the update", PATIENCE, || proxy.count("/my-account") > 0);
    let updated = proxy.requests("/my-account");
    let contact = &updated[0].payload["contact"];
    assert_eq!(contact[0], "mailto:other@example.com");
    local.gets_a_certificate();
    assert_eq!(local.acme().account().unwrap(), account);
    assert_eq!(proxy.count("/sign-me-up"), new);
}

#[test]
fn rfc8657_the_zone_names_the_account_in_caa_records() {
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
    let local = Local::start(setup(dns, &sections));
    local.gets_a_certificate();
    let account = local.acme().account().unwrap();
    assert_eq!(account.issuers, ["ca.test"]);
    let ask = |name: &str, kind: &str| {
        let (host, port) = (format!("@{}", dns.ip()), dns.port().to_string());
        let asked = output("dig", &[&host, "-p", &port, "+short", name, kind]);
        String::from_utf8(asked.stdout).unwrap()
    };
    let value = format!(
        "\"ca.test; accounturi={}; validationmethods=dns-01\"",
        account.uri
    );
    eventually("CAA records", PATIENCE, || {
        let text = ask(ORIGIN, "CAA");
        text.contains(&format!("0 issue {value}")) && text.contains(&format!("0 issuewild {value}"))
    });
}

#[test]
fn an_operator_has_a_certificate_ordered_at_once() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let sections = sections(&pebble.directory(), &pebble.identity, dns, "");
    let local = Local::start(setup(dns, &sections));
    let first = local.gets_a_certificate().certificate.unwrap();
    local.order_now();
    let second = local.comes_to("another", |status| {
        let certificate = status.certificate.as_ref();
        certificate.is_some_and(|certificate| certificate.serial != first.serial)
    });
    let served = serial(local.running().https()[0], "any.s.example.com").unwrap();
    let expected = second.certificate.unwrap().serial;
    assert_eq!(
        served.trim_start_matches('0'),
        expected.trim_start_matches('0')
    );
}

#[test]
fn each_zone_has_its_own_certificate() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let sections = sections(&pebble.directory(), &pebble.identity, dns, "");
    let origins = [
        ORIGIN,
        "t.example.com",
        "deep.t.example.com",
        "u.example.net",
    ];
    let mut setup = Setup::empty().listen(&format!("[\"{dns}\"]"));
    for origin in origins {
        setup = setup.zone(origin, LINKS, &ZONE.replace(ORIGIN, origin));
    }
    let local = Local::start(setup.section(&sections));
    eventually("all certificates", PATIENCE, || {
        let status = local.acme().status();
        status
            .iter()
            .all(|zone| zone.state == CertificateState::Valid)
    });
    let status = local.acme().status();
    assert_eq!(status.len(), origins.len());
    let (https, root) = (local.running().https()[0], pebble.root_file());
    let mut serials = Vec::new();
    for origin in origins {
        for host in [origin.to_owned(), format!("code.{origin}")] {
            let reply = curl(https, &root, &host);
            assert!(reply.status.success(), "{host}: {reply:?}");
        }
        serials.push(serial(https, origin).unwrap());
    }
    serials.sort_unstable();
    serials.dedup();
    assert_eq!(serials.len(), origins.len());
}

#[test]
fn a_zone_file_with_the_name_of_the_challenge_is_refused() {
    let dns = name_server();
    let identity = Identity::new();
    let sections = sections("https://localhost:1/dir", &identity, dns, "");
    let zone = format!("{ZONE}_acme-challenge IN TXT \"old\"\n");
    let setup = Setup::empty().zone(ORIGIN, LINKS, &zone);
    let setup = setup.listen(&format!("[\"{dns}\"]")).section(&sections);
    let config = setup.write();
    for command in ["serve", "check"] {
        let output = tinyns()
            .args([command, "--config"])
            .arg(&config)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{command}: {error}");
        let line = error
            .lines()
            .find(|line| line.contains("s.example.com.zone:8"));
        assert!(
            line.is_some_and(|line| line.contains("remove this name")),
            "{command}: {error}"
        );
    }
}
