use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::visitor::{Visitor, hidden};
use crate::harness::{PATIENCE, Setup, TOKEN};
use crate::https::{Secure, URL};

fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn a_proxy_may_use_the_names_of_the_configuration() {
    let server = Setup::new()
        .section("[page]\nhosts = [\"Links.example.net\"]")
        .start();
    let visitor = Visitor::root(&server);
    let ask = |host: &str| {
        let cookie = visitor.cookie();
        raw(
            server.admin,
            &format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
            ),
        )
    };
    assert!(ask("links.example.net").starts_with("HTTP/1.1 200 "));
    assert!(ask("links.example.net:8443").starts_with("HTTP/1.1 200 "));
    assert!(ask("x.links.example.net").starts_with("HTTP/1.1 421 "));
}

/// The page has a host of its own in the certificate; the links are beside it.
#[test]
fn https_serves_the_page_under_a_host_of_its_own() {
    // A static name, which no link can take.
    let lines = "hsts = 31536000\n[page]\nhost = \"mail.s.example.com\"\n";
    let secure = Secure::of(Setup::new(), lines);
    let origin = format!("https://mail.s.example.com:{}", secure.address.port());
    let host = "mail.s.example.com";
    let page = secure.response(host, "/login", &[]);
    assert!(page.contains("id=\"login\""), "{page}");
    assert!(
        page.contains("\r\nstrict-transport-security: max-age=31536000\r\n"),
        "{page}"
    );
    assert!(!page.contains("not encrypted"));

    let token = format!("token={TOKEN}");
    let header = format!("Origin: {origin}");
    let entered = secure.response(host, "/login", &["-H", &header, "--data", &token]);
    let set = entered
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .unwrap();
    assert!(
        set.starts_with("__Host-tinyns=") && set.trim_end().ends_with("; Secure"),
        "{set}"
    );
    let cookie = format!("Cookie: {}", set.split(';').next().unwrap());
    let home = secure.response(host, "/", &["-H", &cookie]);
    let form_token = hidden(&home, "form_token");
    let form = format!("form_token={form_token}&url=https://example.net/1&code=one");
    let made = secure.response(
        host,
        "/links",
        &["-H", &header, "-H", &cookie, "--data", &form],
    );
    assert!(made.contains("\r\nlocation: /links/one?"), "{made}");
    // The API is on the admin listener alone.
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let api = secure.response(host, "/v1/links", &["-H", &bearer]);
    assert!(api.starts_with("HTTP/2 404"), "{api}");

    let link = secure.response("sale.s.example.com", "/", &[]);
    assert!(link.contains(&format!("\r\nlocation: {URL}\r\n")), "{link}");
    let other = secure.response("sale.s.example.com", "/login", &[]);
    assert!(other.starts_with("HTTP/2 404"), "{other}");
    // By plain HTTP there is only the way to HTTPS.
    let redirect = secure.server.redirect;
    let plain = raw(
        redirect,
        "GET /links?q=a HTTP/1.1\r\nHost: mail.s.example.com\r\nConnection: close\r\n\r\n",
    );
    assert!(plain.starts_with("HTTP/1.1 308 "), "{plain}");
    assert!(
        plain.contains("location: https://mail.s.example.com/links?q=a\r\n"),
        "{plain}"
    );
    // The admin listener knows the host as well, for a tunnel.
    let ask = format!("GET /login HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    assert!(raw(secure.server.admin, &ask).starts_with("HTTP/1.1 200 "));
}
