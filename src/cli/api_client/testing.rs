//! A server for one request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use url::Url;

use super::url::parse_server;

/// A server for one request: answers with `response` and hands over what it was sent.
pub(in crate::cli) fn one_answer(response: String) -> (Url, JoinHandle<String>) {
    let listener = TcpListener::bind("[::1]:0")
        .or_else(|_| TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let url = format!("http://{}/base", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut request).unwrap(), 0);
        }
        let length = request
            .lines()
            .filter_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")
                    .map(str::to_owned)
            })
            .find_map(|length| length.parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        request.push_str(&String::from_utf8(body).unwrap());
        // A client that has read enough closes early, which is no failure of this server.
        let _ = reader.get_mut().write_all(response.as_bytes());
        request
    });
    (parse_server(&url).unwrap(), thread)
}

pub(in crate::cli) fn http(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

pub(in crate::cli) const LINK: &str = r#"{"code":"sale","name":"sale.s.example.com","short_url":"http://sale.s.example.com/","url":"https://example.net/","created_at":"2026-01-01T00:00:00Z","expires_at":null,"ttl":null,"title":null,"tags":[],"note":null,"withheld":null,"version":1}"#;
