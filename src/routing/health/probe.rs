//! One check of one address: a TCP connection, or a GET request by HTTP/1.1 of which the status line counts.
//!
//! The connection is closed as soon as the head of the response is there, so a body costs nothing and needs no bound. An
//! HTTP library would add a pool of connections, redirects and decoders that a check must not use.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::check::{CheckKind, Failure, Request, Target};

/// The longest head of a response, in bytes, with those of interim responses.
const MAX_HEAD: usize = 16 << 10;
/// The most headers of a response.
const MAX_HEADERS: usize = 128;

/// Checks a target; `tls` is for HTTPS.
pub(super) async fn probe(target: &Target, tls: Option<&Arc<ClientConfig>>) -> Result<(), Failure> {
    match timeout(target.check.timeout, work(target, tls)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::Timeout),
    }
}

async fn work(target: &Target, tls: Option<&Arc<ClientConfig>>) -> Result<(), Failure> {
    let connected = TcpStream::connect(target.socket()).await;
    let stream = connected.map_err(|error| Failure::Connect(error.to_string()))?;
    match &target.check.kind {
        CheckKind::Tcp => Ok(()),
        CheckKind::Http(request) => ask(stream, target, request).await,
        CheckKind::Https { request, .. } => {
            let failed = |error: io::Error| Failure::Tls(error.to_string());
            let tls = tls.ok_or_else(|| failed(io::Error::other("not available")))?;
            let name = match &request.host {
                Some(host) => ServerName::try_from(host.to_string())
                    .map_err(|error| failed(io::Error::other(error)))?,
                None => ServerName::IpAddress(target.address.into()),
            };
            let connecting = TlsConnector::from(tls.clone()).connect(name, stream);
            ask(connecting.await.map_err(failed)?, target, request).await
        }
    }
}

/// Sends the request and judges the response.
async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    target: &Target,
    request: &Request,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Response(error.to_string());
    let head = head_of(target, request);
    stream.write_all(head.as_bytes()).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let status = read_status(&mut stream).await?;
    let passes = match request.status {
        Some(expected) => status == expected,
        None => (200..300).contains(&status),
    };
    passes.then_some(()).ok_or(Failure::Status(status))
}

fn head_of(target: &Target, request: &Request) -> String {
    let host = match (&request.host, target.address) {
        (Some(host), _) => host.to_string(),
        (None, IpAddr::V4(address)) => address.to_string(),
        (None, IpAddr::V6(address)) => format!("[{address}]"),
    };
    let default = match target.check.kind {
        CheckKind::Https { .. } => 443,
        CheckKind::Http(_) | CheckKind::Tcp => 80,
    };
    // RFC 9110 §7.2: without a port if that is the default of the scheme.
    let port = match target.check.port {
        port if port == default => String::new(),
        port => format!(":{port}"),
    };
    format!(
        "GET {} HTTP/1.1\r\nHost: {host}{port}\r\nUser-Agent: tinyns/{} (health check)\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n",
        request.path,
        env!("CARGO_PKG_VERSION"),
    )
}

/// The status of the final response.
async fn read_status(stream: &mut (impl AsyncRead + Unpin)) -> Result<u16, Failure> {
    let failed = |why: &str| Failure::Response(why.into());
    let mut head = Vec::with_capacity(1 << 10);
    let mut from = 0;
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&head[from..]);
        match parsed.map_err(|error| failed(&error.to_string()))? {
            httparse::Status::Complete(len) => match response.code {
                // RFC 9110 §15.2: any number of interim responses may come first.
                Some(100..=199) => {
                    from += len;
                    continue;
                }
                Some(status) => return Ok(status),
                None => return Err(failed("it has no status")),
            },
            httparse::Status::Partial if head.len() >= MAX_HEAD => {
                return Err(failed("its head is too long"));
            }
            httparse::Status::Partial => {}
        }
        let mut some = [0; 1 << 10];
        match stream.read(&mut some).await {
            Ok(0) => return Err(failed("the connection was closed before")),
            Ok(len) => head.extend_from_slice(&some[..len]),
            Err(error) => return Err(failed(&error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::routing::Check;
    use crate::routing::health::testing::http;

    async fn status_of(bytes: &[u8]) -> Result<u16, Failure> {
        read_status(&mut Cursor::new(bytes.to_vec())).await
    }

    #[tokio::test]
    async fn the_status_of_the_final_response_counts() {
        let check = async |bytes: &[u8], expected| assert_eq!(status_of(bytes).await, Ok(expected));
        check(b"HTTP/1.1 204 No Content\r\n\r\n", 204).await;
        check(b"HTTP/1.0 301 Moved\r\nLocation: /\r\n\r\nbody", 301).await;
        let early = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 No\r\na: b\r\n\r\n";
        check(early, 503).await;
    }

    #[tokio::test]
    async fn what_is_no_response_fails() {
        let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), vec![b'a'; MAX_HEAD]].concat();
        for (bytes, why) in [
            (&b""[..], "closed"),
            (b"HTTP/1.1 200 OK\r\n", "closed"),
            (b"SSH-2.0-OpenSSH\r\n\r\n", "invalid"),
            (&endless, "too long"),
        ] {
            let failure = status_of(bytes).await.unwrap_err();
            assert!(failure.to_string().contains(why), "{failure}");
        }
    }

    #[test]
    fn the_host_is_that_of_the_check_or_the_address() {
        let head = |address: &str, host: Option<&str>, port| {
            let check = Check {
                port,
                ..http("/a?b", host)
            };
            let CheckKind::Http(request) = check.kind.clone() else {
                panic!("{check:?}")
            };
            let address = address.parse().unwrap();
            head_of(&Target { address, check }, &request)
        };
        assert!(
            head("192.0.2.1", None, 80).starts_with("GET /a?b HTTP/1.1\r\nHost: 192.0.2.1\r\n")
        );
        assert!(head("2001:db8::1", None, 8080).contains("\r\nHost: [2001:db8::1]:8080\r\n"));
        assert!(head("192.0.2.1", Some("a.example"), 80).contains("\r\nHost: a.example\r\n"));
    }
}
