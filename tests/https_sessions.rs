//! TLS sessions of HTTPS: which versions and ciphers, how sessions are resumed, and which hosts share a connection.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::dynamo::Emulator;
use crate::harness::{Server, Setup, ZONE, output};
use crate::https::{NAMES, Secure, URL, section};
use crate::redis::make_certificates_for;

const HOST: &str = "sale.s.example.com";
const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

/// What `openssl s_client` says when it asks for a link and waits for the end of the connection.
fn exchange(address: SocketAddr, more: &[&str]) -> String {
    let script = format!(
        "printf 'GET / HTTP/1.1\\r\\nHost: {HOST}\\r\\nConnection: close\\r\\n\\r\\n' | \
         openssl s_client -ign_eof -connect {address} -servername {HOST} {} 2>&1",
        more.join(" ")
    );
    let output = output("sh", &["-c", &script]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Where a server listens for HTTPS.
fn address(server: &Server) -> SocketAddr {
    let line = server.log().wait_for("\"redirect host by HTTPS\"");
    let line: Value = serde_json::from_str(&line).unwrap();
    line["address"].as_str().unwrap().parse().unwrap()
}

/// Gets a session of each version at one address, and resumes it at another.
fn resumes(dir: &Path, issuer: SocketAddr, acceptor: impl FnOnce() -> SocketAddr, expected: bool) {
    let file = |version: &str| dir.join(format!("session{version}")).display().to_string();
    for version in VERSIONS {
        let said = exchange(issuer, &[version, "-sess_out", &file(version)]);
        assert!(said.contains(URL), "{said}");
    }
    let acceptor = acceptor();
    for version in VERSIONS {
        let said = exchange(acceptor, &[version, "-sess_in", &file(version)]);
        assert!(said.contains(URL), "{said}");
        assert_eq!(said.contains("Reused, "), expected, "{said}");
    }
}

#[test]
fn a_session_is_resumed_after_a_restart_and_not_with_a_new_private_key() {
    let secure = Secure::start();
    let dir = secure.dir.path();
    let mut server = Some(secure.server);
    let restarted = |server: &mut Option<Server>| {
        *server = server.take().map(Server::restart);
        address(server.as_ref().unwrap())
    };
    resumes(dir, secure.address, || restarted(&mut server), true);
    let issuer = address(server.as_ref().unwrap());
    let renewed = || {
        make_certificates_for(dir, NAMES);
        restarted(&mut server)
    };
    resumes(dir, issuer, renewed, false);
}

#[test]
fn a_session_of_one_server_of_a_fleet_is_resumed_by_another() {
    let emulator = Emulator::start();
    let dir = tempfile::tempdir().unwrap();
    make_certificates_for(dir.path(), NAMES);
    let url = emulator.url();
    let store = format!("kind = \"dynamodb\"\nendpoint_url = \"{url}\"\ncreate_table = true\n");
    let node = || {
        Setup::new()
            .store(&store)
            .section(&section(dir.path()))
            .start()
    };
    let (one, two) = (node(), node());
    one.register("sale", URL);
    resumes(dir.path(), address(&one), || address(&two), true);
    resumes(dir.path(), address(&two), || address(&one), true);
}

#[test]
fn only_aead_ciphers_of_tls_1_2_and_1_3() {
    let secure = Secure::start();
    let try_with = |more: &[&str]| {
        let base = ["-servername", HOST];
        secure.s_client(&[&base[..], more].concat())
    };
    let weak = "ALL:COMPLEMENTOFALL:!AESGCM:!CHACHA20:@SECLEVEL=0";
    let static_rsa = "kRSA:@SECLEVEL=0";
    for refused in [
        // RFC 8996, RFC 7568.
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        // RFC 9325 §4.2: no CBC, no RC4, no NULL; no key exchange without forward secrecy.
        &["-tls1_2", "-cipher", weak],
        &["-tls1_2", "-cipher", static_rsa],
        &["-tls1_2", "-cipher", "DHE:@SECLEVEL=0"],
        // RFC 8446 §4.2.7: curves that are not offered.
        &["-tls1_3", "-curves", "brainpoolP256r1:X448"],
    ] {
        let output = try_with(refused);
        assert!(!output.status.success(), "{refused:?}: {output:?}");
    }
    for (version, cipher) in [
        ("-tls1_2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("-tls1_2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("-tls1_2", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ] {
        let output = try_with(&[version, "-cipher", cipher]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(&format!("Cipher is {cipher}")), "{said}");
        // RFC 7627, and RFC 9325 §3.3: no compression.
        assert!(said.contains("Extended master secret: yes"), "{said}");
        assert!(said.contains("Compression: NONE"), "{said}");
        assert!(said.contains("Secure Renegotiation IS supported"), "{said}");
    }
    for cipher in ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"] {
        let said = exchange(secure.address, &["-tls1_3", "-ciphersuites", cipher]);
        assert!(said.contains(&format!("Cipher is {cipher}")), "{said}");
        // No early data (RFC 8446 §8).
        assert!(said.contains("Max Early Data: 0"), "{said}");
    }
}

/// RFC 9325 §3.5: a client cannot make the server compute a second handshake on its connection.
#[test]
fn no_renegotiation() {
    let secure = Secure::start();
    let script = format!(
        "(sleep 0.3; echo R; sleep 1) | openssl s_client -tls1_2 -connect {} -servername {HOST} 2>&1",
        secure.address
    );
    let output = output("sh", &["-c", &script]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let after = said.split("RENEGOTIATING").nth(1).expect(&said);
    assert!(after.contains("no renegotiation"), "{said}");
    secure.come_to_be("Full", 1.0);
}

/// RFC 9110 §15.5.20, RFC 9113 §9.1.1: clients share a connection among the hosts of a certificate.
#[test]
fn a_connection_serves_the_hosts_of_its_certificate_and_no_others() {
    let other = ZONE.replace("s.example.com", "t.example.net");
    let config = "redirect_host = \"r\"\n";
    let setup = Setup::new().zone("t.example.net", config, &other);
    let secure = Secure::of(setup, "");
    let link = r#"{"url":"https://example.net/other","code":"sale"}"#;
    let link = serde_json::from_str(link).unwrap();
    let path = "/v1/links?zone=t.example.net";
    assert_eq!(secure.server.api("POST", path, Some(&link)).status, 201);
    for version in ["--http1.1", "--http2"] {
        let status = |host: &str| {
            let header = format!("Host: {host}");
            let response = secure.response(HOST, "/", &[version, "-H", &header]);
            response.split(' ').nth(1).unwrap_or_default().to_owned()
        };
        assert_eq!(status(HOST), "302");
        assert_eq!(status("SALE.s.example.com."), "302");
        assert_eq!(status("absent.s.example.com"), "404");
        assert_eq!(status("s.example.com"), "200");
        // A zone of this server for which the certificate is not, and a name below two labels.
        assert_eq!(status("sale.t.example.net"), "421");
        assert_eq!(status("t.example.net"), "421");
        assert_eq!(status("sale.r.s.example.com"), "421");
        assert_eq!(status("example.org"), "421");
    }
    // Without TLS every zone is served.
    secure.server.redirect_to("sale", URL);
}

/// RFC 8615: paths of the server itself, which authorities and browsers ask for; in no spelling does one lead anywhere.
#[test]
fn well_known_paths_lead_nowhere() {
    let secure = Secure::start();
    for path in [
        "/.well-known",
        "/.well-known/",
        "/.well-known/acme-challenge/x",
        "/.well-known/change-password",
        "/%2ewell-known/acme-challenge/x",
        "/%2E%77ell-known/security.txt",
        "/.WELL-KNOWN/x",
        "//.well-known/x",
        "/x/../.well-known/x",
        "/./.well-known/x",
        "/.well-known/x?/+",
    ] {
        for host in [HOST, "s.example.com"] {
            let response = secure.response(host, path, &["--path-as-is"]);
            assert!(response.starts_with("HTTP/2 404"), "{path}: {response}");
            assert!(!response.to_lowercase().contains("location:"), "{response}");
        }
        let plain = format!("http://{}{path}", secure.server.redirect);
        let header = format!("Host: {HOST}");
        let got = output(
            "curl",
            &["-sS", "-i", "--path-as-is", "-H", &header, &plain],
        );
        let said = String::from_utf8_lossy(&got.stdout).into_owned();
        assert!(said.starts_with("HTTP/1.1 404"), "{path}: {said}");
    }
}

/// A link by HTTP leads to its destination at once, and not to HTTPS first. No other service is announced.
#[test]
fn by_http_a_link_leads_to_its_destination_in_one_step() {
    let secure = Secure::start();
    let address = secure.server.redirect;
    let script = format!(
        "curl -sS -o /dev/null -D - -H 'Host: {HOST}' http://{address}/ ; \
         curl -sS -o /dev/null -D - -H 'Host: {HOST}' 'http://{address}/?utm=1'"
    );
    let got = output("sh", &["-c", &script]);
    let said = String::from_utf8_lossy(&got.stdout).to_lowercase();
    assert_eq!(
        said.matches(&format!("location: {URL}\r\n")).count(),
        2,
        "{said}"
    );
    let secured = secure.response(HOST, "/", &[]).to_lowercase();
    for head in [&said, &secured] {
        assert!(!head.contains("alt-svc"), "{head}");
    }
}
