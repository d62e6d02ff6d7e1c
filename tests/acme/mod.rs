//! Certificates by ACME: tinyns, which answers the challenges, and Pebble, which asks it.

mod browser;
mod failures;
mod fleet;
mod issuing;
mod local;
mod pebble;
mod proxy;
mod renewal;
mod shown;
mod trouble;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use self::pebble::Identity;
use crate::harness::{Server, Setup, free_port, output};

/// The zone of the tests, whose only name server is at 127.0.0.1.
const ZONE: &str = "\
$ORIGIN s.example.com.
$TTL 300
@    3600 IN SOA ns1 hostmaster 1 3600 600 604800 60
     3600 IN NS  ns1
ns1  IN A    127.0.0.1
@    IN A    127.0.0.1
*.r  IN A    127.0.0.1
";
const ORIGIN: &str = "s.example.com";
const LINKS: &str = "redirect_host = \"r\"\n";
/// The line of the log when a certificate has come.
const IN_USE: &str = "\"certificate in use\"";

/// A port for a name server.
fn name_server() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// The sections of HTTPS with certificates from a directory.
fn sections(directory: &str, identity: &Identity, dns: SocketAddr, more: &str) -> String {
    let (ca, port) = (identity.ca().display().to_string(), dns.port());
    format!(
        "[https]\nlisten = \"127.0.0.1:0\"\n[https.acme]\ndirectory = {directory:?}\naccept_terms = true\n\
         contact = \"admin@example.com\"\nca_file = {ca:?}\nnameserver_port = {port}\n{more}"
    )
}

/// A server with the zone at this address.
fn setup(dns: SocketAddr, sections: &str) -> Setup {
    Setup::empty()
        .zone(ORIGIN, LINKS, ZONE)
        .listen(&format!("[\"{dns}\"]"))
        .section(sections)
}

/// Where a server has HTTPS.
fn https_of(server: &Server) -> SocketAddr {
    let line = server.log().wait_for("\"redirect host by HTTPS\"");
    let line: Value = serde_json::from_str(&line).unwrap();
    line["address"].as_str().unwrap().parse().unwrap()
}

/// What curl gets from a host of the zone.
fn curl(https: SocketAddr, root: &Path, host: &str) -> Output {
    let port = https.port();
    let resolve = format!("{host}:{port}:127.0.0.1");
    let root = root.display().to_string();
    let url = format!("https://{host}:{port}/");
    output(
        "curl",
        &["-sSi", "--cacert", &root, "--resolve", &resolve, &url],
    )
}

/// The serial number of the certificate that a client gets, in lower case; none if it gets none.
fn serial(https: SocketAddr, host: &str) -> Option<String> {
    let script = format!(
        "openssl s_client -connect {https} -servername {host} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    );
    let output = output("sh", &["-c", &script]);
    let text = String::from_utf8(output.stdout).unwrap();
    let serial = text.trim().strip_prefix("serial=")?;
    Some(serial.to_lowercase())
}
