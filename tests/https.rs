//! HTTPS at the redirect host: curl and openssl as clients.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Output;

use hickory_proto::rr::{Record, RecordType};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{PATIENCE, Server, Setup, ZONE, eventually, http, output, tinyns};
use crate::redis::make_certificates_for;

/// The names of a certificate for all links of the zone.
pub const NAMES: &str = "DNS:s.example.com,DNS:*.s.example.com";
pub const URL: &str = "https://example.net/sale";

/// A server with HTTPS, and a link `sale`.
pub struct Secure {
    pub server: Server,
    pub address: SocketAddr,
    /// The authority, the certificate and its key.
    pub dir: TempDir,
}

impl Secure {
    pub fn start() -> Self {
        Self::with("hsts = 31536000\n")
    }

    fn with(lines: &str) -> Self {
        Self::of(Setup::new(), lines)
    }

    /// With further lines of `[https]`.
    pub fn of(setup: Setup, lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        make_certificates_for(dir.path(), NAMES);
        let section = format!("{}{lines}", section(dir.path()));
        let server = setup.section(&section).start();
        let line = server.log().wait_for("\"redirect host by HTTPS\"");
        let line: Value = serde_json::from_str(&line).unwrap();
        let address = line["address"].as_str().unwrap().parse().unwrap();
        server.register("sale", URL);
        Self {
            server,
            address,
            dir,
        }
    }

    /// What curl gets from a host of the zone: the head of the response, then the body.
    fn curl(&self, host: &str, path: &str, more: &[&str]) -> Output {
        let port = self.address.port();
        let resolve = format!("{host}:{port}:127.0.0.1");
        let ca = self.dir.path().join("ca.pem").display().to_string();
        let url = format!("https://{host}:{port}{path}");
        let base = ["-sS", "-i", "--cacert", &ca, "--resolve", &resolve, &url];
        output("curl", &[&base, more].concat())
    }

    /// The same, for a response that has to come.
    pub fn response(&self, host: &str, path: &str, more: &[&str]) -> String {
        let output = self.curl(host, path, more);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn s_client(&self, more: &[&str]) -> Output {
        let (address, ca) = (self.address.to_string(), self.dir.path().join("ca.pem"));
        let ca = ca.display().to_string();
        let base = ["s_client", "-connect", &address, "-CAfile", &ca];
        output("openssl", &[&base[..], more].concat())
    }

    pub fn come_to_be(&self, result: &str, number: f64) {
        let labels = [("result", result)];
        eventually(&format!("{number} {result}"), PATIENCE, || {
            self.server.metric("tinyns_https_handshakes_total", &labels) == number
        });
    }
}

pub fn section(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "[https]\nlisten = \"127.0.0.1:0\"\ncertificate = \"{dir}/server.pem\"\nkey = \"{dir}/server.key\"\n"
    )
}

#[test]
fn links_redirect_over_http_2_and_http_1() {
    let secure = Secure::start();
    for (version, line) in [("--http2", "HTTP/2 302"), ("--http1.1", "HTTP/1.1 302")] {
        let response = secure.response("sale.s.example.com", "/", &[version]);
        assert!(response.starts_with(line), "{response}");
        let head = response.to_lowercase();
        assert!(head.contains(&format!("location: {URL}\r\n")), "{response}");
        assert!(
            head.contains("strict-transport-security: max-age=31536000\r\n"),
            "{response}"
        );
    }
    let line = secure.server.log().wait_for("\"path\":\"/\"");
    assert!(line.contains("\"host\":\"sale.s.example.com:"), "{line}");
    let zone = secure.response("s.example.com", "/", &[]);
    assert!(zone.starts_with("HTTP/2 200"), "{zone}");
    // Nothing that certificate authorities or browsers ask for under a link's host leads anywhere.
    let well_known = secure.response("sale.s.example.com", "/.well-known/acme-challenge/x", &[]);
    assert!(well_known.starts_with("HTTP/2 404"), "{well_known}");
    let absent = secure.response("absent.s.example.com", "/", &[]);
    assert!(absent.starts_with("HTTP/2 404"), "{absent}");
    secure.come_to_be("Full", 5.0);
    // Without TLS a link leads to its destination in one step, and the header of HTTPS is not there.
    let plain = secure.server.redirect_to("sale", URL);
    assert_eq!(plain.header("strict-transport-security"), None);
}

/// RFC 7725 §4
#[test]
fn a_withheld_link_is_so_by_every_version_of_http() {
    let secure = Secure::start();
    let withheld = serde_json::json!({"withheld": {"kind": "legal", "reason": "Order 12"}});
    let changed = secure
        .server
        .api("PATCH", "/v1/links/sale", Some(&withheld));
    assert_eq!(changed.status, 200, "{changed:?}");
    for (version, line) in [("--http2", "HTTP/2 451"), ("--http1.1", "HTTP/1.1 451")] {
        for (path, more) in [("/", "-G"), ("/+", "-G"), ("/", "-I")] {
            let response = secure.response("sale.s.example.com", path, &[version, more]);
            assert!(response.starts_with(line), "{response}");
            assert!(!response.contains(URL), "{response}");
            let head = response.to_lowercase();
            assert!(head.contains("rel=\"blocked-by\""), "{response}");
            assert!(!head.contains("\nlocation:"), "{response}");
        }
    }
}

#[test]
fn short_urls_are_https() {
    let secure = Secure::start();
    let link = secure.server.add("https://example.net/other");
    let short = link["short_url"].as_str().unwrap();
    assert!(short.starts_with("https://"), "{short}");
}

#[test]
fn a_client_sees_no_certificate_of_another_host() {
    let secure = Secure::start();
    let refused = |arguments: &[&str], alert: &str| {
        let output = secure.s_client(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{output:?}");
        assert!(error.contains(alert), "{error}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("no peer certificate available"), "{said}");
    };
    for version in ["-tls1_2", "-tls1_3"] {
        // RFC 8446 §9.2 and RFC 6066 §3.
        refused(&[version, "-noservername"], "missing extension");
        for host in ["example.org", "sale.s.example.org", "a.b.s.example.com"] {
            refused(&[version, "-servername", host], "unrecognized name");
        }
    }
    secure.come_to_be("UnknownName", 8.0);
    let good = ["-servername", "sale.s.example.com", "-verify_return_error"];
    let output = secure.s_client(&good);
    assert!(output.status.success(), "{output:?}");
    // RFC 8996: nothing older than TLS 1.2.
    let old = [&good[..], &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]].concat();
    assert!(!secure.s_client(&old).status.success());
    // RFC 7301 §3.2: a client that wants another protocol gets an alert.
    let other = secure.s_client(&[&good[..], &["-alpn", "dot"]].concat());
    let error = String::from_utf8_lossy(&other.stderr);
    assert!(error.contains("no application protocol"), "{error}");
    secure.come_to_be("Full", 1.0);
    secure.come_to_be("Failed", 2.0);
}

#[test]
fn sessions_are_resumed() {
    let secure = Secure::start();
    let session = secure.dir.path().join("session").display().to_string();
    let host = ["-tls1_2", "-servername", "sale.s.example.com"];
    let out = secure.s_client(&[&host[..], &["-sess_out", &session]].concat());
    assert!(out.status.success(), "{out:?}");
    let again = secure.s_client(&[&host[..], &["-sess_in", &session]].concat());
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(said.contains("Reused, TLSv1.2"), "{said}");
    secure.come_to_be("Resumed", 1.0);
}

#[test]
fn a_client_that_stalls_in_the_handshake_is_disconnected_and_delays_no_other() {
    let secure = Secure::start();
    let mut silent = TcpStream::connect(secure.address).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut halfway = TcpStream::connect(secure.address).unwrap();
    halfway.set_read_timeout(Some(PATIENCE)).unwrap();
    // The beginning of a record that does not come.
    std::io::Write::write_all(&mut halfway, &[22, 3, 1, 2, 0, 1]).unwrap();
    let response = secure.response("sale.s.example.com", "/", &[]);
    assert!(response.starts_with("HTTP/2 302"), "{response}");
    for stream in [&mut silent, &mut halfway] {
        match stream.read(&mut [0; 16]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("not closed: {other:?}"),
        }
    }
    secure.come_to_be("TimedOut", 2.0);
    let labels = [("part", "Redirect"), ("reason", "Handshake")];
    assert_eq!(
        secure.server.metric("tinyns_http_closed_total", &labels),
        2.0
    );
}

#[test]
fn plain_http_gets_a_tls_alert() {
    let secure = Secure::start();
    let mut stream = TcpStream::connect(secure.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    std::io::Write::write_all(
        &mut stream,
        b"GET / HTTP/1.1\r\nHost: sale.s.example.com\r\n\r\n",
    )
    .unwrap();
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    // A fatal alert (RFC 8446 §6).
    assert_eq!(
        (reply.first(), reply.get(5)),
        (Some(&21), Some(&2)),
        "{reply:?}"
    );
    secure.come_to_be("Failed", 1.0);
}

#[test]
fn a_new_certificate_is_used_after_sighup_and_a_bad_one_is_not() {
    let secure = Secure::start();
    let reload = |outcome: &str, number: f64| {
        secure.server.signal(Signal::SIGHUP);
        let labels = [("outcome", outcome)];
        eventually("the certificate is reloaded", PATIENCE, || {
            secure.server.metric("tinyns_https_reloads_total", &labels) == number
        });
    };
    let key = secure.dir.path().join("server.key");
    let old_key = std::fs::read(&key).unwrap();
    let old_ca = std::fs::read(secure.dir.path().join("ca.pem")).unwrap();
    make_certificates_for(secure.dir.path(), NAMES);
    let new_key = std::fs::read(&key).unwrap();
    let new_ca = std::fs::read(secure.dir.path().join("ca.pem")).unwrap();
    std::fs::write(&key, old_key).unwrap();
    std::fs::write(secure.dir.path().join("ca.pem"), old_ca).unwrap();
    reload("Failure", 1.0);
    let log = secure.server.log();
    log.wait_for("certificate of HTTPS not reloaded; the old one serves on");
    secure.response("sale.s.example.com", "/", &[]);
    std::fs::write(&key, new_key).unwrap();
    std::fs::write(secure.dir.path().join("ca.pem"), new_ca).unwrap();
    reload("Success", 1.0);
    secure.response("sale.s.example.com", "/", &[]);
}

/// RFC 9460: browsers ask for HTTPS records along with addresses, and follow the link's alias to them in one reply.
#[test]
fn rfc9460_links_have_https_records_while_the_certificate_is_for_them() {
    let text = ZONE.replace("*.r          IN HTTPS 1 . alpn=\"h2\"\n", "");
    let setup = Setup::empty().zone("s.example.com", "redirect_host = \"r\"\n", &text);
    let secure = Secure::of(setup, "");
    let asks = |name: &str| {
        let reply = secure.server.ask(name, RecordType::HTTPS);
        let shown = |record: &Record| format!("{} {} {}", record.name, record.ttl, record.data);
        reply.answers.iter().map(shown).collect::<Vec<_>>()
    };
    let record = "sale.r.s.example.com. 300 1 . alpn=h2,http/1.1,";
    let expected = ["sale.s.example.com. 300 sale.r.s.example.com.", record];
    for _ in 0..2 {
        assert_eq!(asks("sale.s.example.com."), expected);
        assert_eq!(asks("sale.r.s.example.com."), [record]);
        assert!(asks("absent.s.example.com.").is_empty());
        assert!(asks("s.example.com.").is_empty());
    }
    // A certificate for the zone's own name is not for links.
    let change = |names: &str, number: f64| {
        make_certificates_for(secure.dir.path(), names);
        secure.server.signal(Signal::SIGHUP);
        let labels = [("outcome", "Success")];
        eventually("the certificate is reloaded", PATIENCE, || {
            secure.server.metric("tinyns_https_reloads_total", &labels) == number
        });
    };
    change("DNS:s.example.com", 1.0);
    eventually("there are no HTTPS records", PATIENCE, || {
        asks("sale.s.example.com.") == expected[..1]
    });
    change(NAMES, 2.0);
    eventually("there are HTTPS records", PATIENCE, || {
        asks("sale.s.example.com.") == expected
    });
}

/// Browsers would refuse it, so the operator learns of it before they do.
#[test]
fn a_certificate_without_the_names_of_the_zone_gives_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    make_certificates_for(dir.path(), "DNS:s.example.com");
    let server = Setup::new().section(&section(dir.path())).start();
    let line = server.log().wait_for("lacks the name");
    assert!(
        line.contains("server.pem: certificate 1 lacks the name *.s.example.com"),
        "{line}"
    );
    assert!(line.contains("WARN"), "{line}");
    let config = server.config().display().to_string();
    let checked = tinyns().args(["check", "--config", &config]).output();
    let checked = checked.unwrap();
    let said = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
    assert!(said.contains("lacks the name *.s.example.com"), "{said}");
    assert!(said.contains("ok: HTTPS: "), "{said}");
}

#[test]
fn requests_in_flight_end_before_a_stop_and_the_port_is_free() {
    let mut secure = Secure::start();
    let waiting = TcpStream::connect(secure.address).unwrap();
    secure.response("sale.s.example.com", "/", &[]);
    let began = std::time::Instant::now();
    assert!(secure.server.stop().success());
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    drop(waiting);
    assert!(TcpStream::connect(secure.address).is_err());
}

/// The API is not on the HTTPS listener, whatever host is asked for.
#[test]
fn the_api_is_not_served_by_https() {
    let secure = Secure::start();
    let response = secure.response("sale.s.example.com", "/v1/links", &[]);
    assert!(response.starts_with("HTTP/2 404"), "{response}");
    let metrics = format!("http://{}/metrics", secure.address);
    let refused = std::panic::catch_unwind(|| http("GET", &metrics, &[], None));
    assert!(refused.is_err());
}
