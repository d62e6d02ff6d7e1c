//! The certificate: refusals at the start, and reloads.

use std::io::Write;

use nix::sys::signal::Signal;

use super::{Secure, section};
use crate::harness::{PATIENCE, eventually, tinyns};
use crate::redis::make_certificates;

#[test]
fn a_new_certificate_is_taken_on_sighup_and_a_bad_one_is_not() {
    let secure = Secure::start();
    let (server, old_trust) = (&secure.server, secure.trust());
    let mut old = secure.connect();
    old.is_served();
    let reloads = |outcome| {
        let labels = [("outcome", outcome)];
        server.metric("tinyns_dns_tls_reloads_total", &labels)
    };
    let reload = |outcome, number| {
        server.signal(Signal::SIGHUP);
        eventually("it is reloaded", PATIENCE, || reloads(outcome) == number);
    };
    // The same again: sessions go on.
    secure.connect_as(&old_trust).is_served();
    reload("Success", 1.0);
    server
        .log()
        .wait_for("certificate of DNS over TLS reloaded: unchanged");
    secure.connect_as(&old_trust).is_served();
    assert_eq!(secure.handshakes("Resumed"), 1.0);
    // A certificate without its key.
    let key = secure.file("server.key");
    let old_key = std::fs::read(&key).unwrap();
    make_certificates(secure.dir.path());
    let new_key = std::fs::read(&key).unwrap();
    std::fs::write(&key, &old_key).unwrap();
    reload("Failure", 1.0);
    let line = server
        .log()
        .wait_for("not the key of the first certificate");
    assert!(line.contains("server.key"), "{line}");
    server.log().wait_for("the old one serves on");
    secure.connect_as(&old_trust).is_served();
    // And with it. A session from the time of the old certificate is not resumed.
    std::fs::write(&key, &new_key).unwrap();
    reload("Success", 2.0);
    secure.connect().is_served();
    let mut stale = secure.connect_as(&old_trust);
    assert!(
        stale
            .0
            .write_all(b"\0")
            .and_then(|()| stale.0.flush())
            .is_err()
    );
    old.is_served();
}

#[test]
fn a_bad_certificate_is_reported_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    make_certificates(dir.path());
    let path = |name: &str| dir.path().join(name);
    let zone = path("zone");
    std::fs::write(&zone, crate::harness::ZONE).unwrap();
    let config = path("tinyns.toml");
    let text = format!(
        "[dns]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = []\ntoken_file = \"{dir}/token\"\n\
         [redirect]\nlisten = []\n[store]\npath = \"{dir}/links\"\n[[zone]]\n\
         origin = \"s.example.com\"\nfile = \"{zone}\"\nredirect_host = \"r\"\n{tls}",
        dir = dir.path().display(),
        zone = zone.display(),
        tls = section(dir.path()),
    );
    std::fs::write(&config, text).unwrap();
    let said = |command: &str| {
        let mut program = tinyns();
        let output = program
            .arg(command)
            .arg("--config")
            .arg(&config)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (is_good, text) = said("check");
    assert!(is_good && text.contains("ok: DNS over TLS: "), "{text}");
    let good = std::fs::read(path("server.pem")).unwrap();
    let der = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cut = &good[..good.len() / 2];
    let key = std::fs::read(path("server.key")).unwrap();
    for (bytes, reason) in [
        (None, "No such file"),
        (
            Some(&b"nothing\n"[..]),
            "server.pem: there is no certificate in it",
        ),
        (
            Some(der),
            "server.pem: invalid peer certificate: BadEncoding",
        ),
        (Some(cut), "server.pem: not PEM: "),
        (Some(&key), "server.pem: there is no certificate in it"),
    ] {
        match bytes {
            None => std::fs::remove_file(path("server.pem")).unwrap(),
            Some(bytes) => std::fs::write(path("server.pem"), bytes).unwrap(),
        }
        for command in ["check", "serve"] {
            let (is_good, text) = said(command);
            assert!(!is_good && text.contains(reason), "{command}: {text}");
            assert!(text.contains("server.pem"), "{command}: {text}");
        }
    }
    std::fs::write(path("server.pem"), &good).unwrap();
    std::fs::write(path("server.key"), &good).unwrap();
    let (is_good, text) = said("check");
    assert!(
        !is_good && text.contains("server.key: there is no unencrypted private key"),
        "{text}"
    );
}
