use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::visitor::Visitor;
use crate::harness::{PATIENCE, Setup};

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
