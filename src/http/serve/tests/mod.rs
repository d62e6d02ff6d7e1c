//! The serving loop, by raw bytes over the loopback: a friendly client would hide what is wrong.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::get;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::http::testing::{Server, TOKEN};

/// Longer than anything here takes that is right.
const PATIENCE: Duration = Duration::from_secs(10);

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    done: JoinHandle<io::Result<()>>,
    metrics: Arc<Metrics>,
}

impl Running {
    async fn new(site: impl Site + 'static, limits: ServeLimits) -> Self {
        Self::with(site, limits, seats(1_024, 1_024)).await
    }

    async fn with(site: impl Site + 'static, limits: ServeLimits, seats: SeatLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let metrics = Arc::new(Metrics::new());
        let front = Front::new(HttpPart::Redirect, &seats, Arc::clone(&metrics));
        let done = tokio::spawn(serve(
            listener,
            Arc::new(site),
            front,
            None,
            limits,
            shutdown.clone(),
        ));
        Self {
            address,
            shutdown,
            done,
            metrics,
        }
    }

    /// How many connections have ended for this reason.
    fn closed(&self, reason: HttpCloseReason) -> u64 {
        let part = HttpPart::Redirect;
        let closed = HttpClose { part, reason };
        self.metrics.http_closed.get_or_create(&closed).get()
    }

    /// Waits until so many connections have ended for this reason.
    async fn has_closed(&self, reason: HttpCloseReason, number: u64) {
        let counted = async {
            while self.closed(reason) != number {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = timeout(PATIENCE, counted).await;
        assert!(in_time.is_ok(), "{reason:?}: {}", self.closed(reason));
    }

    /// How many connections are open.
    fn open(&self) -> i64 {
        let part = HttpPart::Redirect;
        let label = HttpPartLabel { part };
        self.metrics.http_connections.get_or_create(&label).get()
    }

    /// A connection from another address of the loopback interface.
    async fn connect_from(&self, address: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::from(address), 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the server closes.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_to_end(&mut stream).await
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    read.expect("the server did not close").unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Reads until the text has come.
async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut found = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&found).contains(text) {
            let byte = stream.read_u8().await.unwrap();
            found.push(byte);
        }
    };
    let in_time = timeout(PATIENCE, read).await.is_ok();
    assert!(
        in_time,
        "{text:?} did not come: {:?}",
        String::from_utf8_lossy(&found)
    );
    String::from_utf8(found).unwrap()
}

fn seats(connections: u32, connections_per_client: u32) -> SeatLimits {
    SeatLimits {
        connections,
        connections_per_client,
        exempt: Vec::new(),
    }
}

fn limits() -> ServeLimits {
    ServeLimits::default()
}

/// A router whose `/slow` takes 300 ms and whose `/peer` tells the client's address.
fn router() -> Router {
    let slow = get(|| async {
        sleep(Duration::from_millis(300)).await;
        "slow"
    });
    let peer = get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() });
    let never = get(std::future::pending::<()>);
    let routes = Router::new().route("/", get(|| async { "hello" }));
    routes
        .route("/slow", slow)
        .route("/peer", peer)
        .route("/never", never)
}

mod direct;
mod http2;
mod seats;

#[tokio::test]
async fn http_1_0_and_1_1() {
    let running = Running::new(router(), limits()).await;
    let reply = running.exchange(b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.0 200 OK\r\n"), "{reply}");
    assert!(reply.ends_with("\r\n\r\nhello"), "{reply}");

    // RFC 9112 §9.3.2: pipelined requests are answered in their order.
    let reply = running
        .exchange(
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\n\
              GET /peer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        .await;
    let parts: Vec<_> = reply.split("HTTP/1.1 200 OK\r\n").collect();
    assert_eq!(parts.len(), 4, "{reply}");
    assert!(parts[1].ends_with("\r\n\r\nhello"), "{reply}");
    assert!(parts[2].ends_with("\r\n\r\n"), "{reply}");
    assert!(parts[2].contains("content-length: 5\r\n"), "{reply}");
    assert!(parts[3].contains("127.0.0.1:"), "{reply}");
}

#[tokio::test]
async fn a_health_check_by_http_1_0_needs_no_host() {
    let server = Server::new();
    let running = Running::new(server.admin.clone(), limits()).await;
    let reply = running.exchange(b"GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.0 200 "), "{reply}");
}

#[tokio::test]
async fn malformed_requests_end_the_connection() {
    let server = Server::new();
    let running = Running::new(server.redirect.clone(), limits()).await;
    for request in [
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nGET",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n",
    ] {
        let reply = running.exchange(request.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 400 "), "{request:?}: {reply}");
        assert_eq!(reply.matches("HTTP/1.1").count(), 1, "{request:?}: {reply}");
    }
    let close = "Connection: close\r\n\r\n";
    for head in [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: s.example.com\r\nHost: s.example.com\r\n",
        "GET / HTTP/1.1\r\nHost: s.example.com, t.example.net\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n",
        "GET http://u@s.example.com/ HTTP/1.1\r\nHost: s.example.com\r\n",
    ] {
        let reply = running.exchange(format!("{head}{close}").as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 400 "), "{head:?}: {reply}");
    }
    // RFC 9112 §3.2.2: the target in absolute form wins.
    let absolute = "GET http://S.example.com:1/ HTTP/1.1\r\nHost: example.org\r\n";
    let reply = running
        .exchange(format!("{absolute}{close}").as_bytes())
        .await;
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    let many = "X: y\r\n".repeat(MAX_HEADERS);
    let reply = running
        .exchange(format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes())
        .await;
    assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
    let large = "x".repeat(MAX_HEAD_BYTES);
    let reply = running
        .exchange(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {large}\r\n\r\n").as_bytes())
        .await;
    assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
}

#[tokio::test]
async fn rfc_9112_6_1_a_smuggled_request_is_not_answered() {
    let server = Server::new();
    let running = Running::new(server.redirect.clone(), limits()).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: s.example.com\r\n\r\n";
    let request = format!(
        "GET / HTTP/1.1\r\nHost: s.example.com\r\nContent-Length: {}\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n{smuggled}",
        smuggled.len() + 5
    );
    let reply = running.exchange(request.as_bytes()).await;
    assert_eq!(reply.matches("HTTP/1.1 ").count(), 1, "{reply}");
}

#[tokio::test]
async fn slow_heads_are_cut() {
    let limits = ServeLimits {
        head_timeout: Duration::from_millis(300),
        ..limits()
    };
    let running = Running::new(router(), limits).await;
    // Nothing; the first bytes of either protocol; and a head that never ends.
    for begun in ["", "G", "PRI * HT", "GET / HTTP/1.1\r\nHost: a\r\nX: "] {
        let started = Instant::now();
        let mut stream = running.connect().await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let trickle = async {
            while begun.len() > 20 && write.write_all(b"y").await.is_ok() {
                sleep(Duration::from_millis(50)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut bytes = Vec::new();
        tokio::select! {
            () = trickle => {}
            // A reset is an end, too.
            read = timeout(PATIENCE, read.read_to_end(&mut bytes)) => { read.unwrap().ok(); }
        }
        let taken = started.elapsed();
        assert!(taken >= Duration::from_millis(250), "{begun:?}: {taken:?}");
        assert!(taken < Duration::from_secs(4), "{begun:?}: {taken:?}");
        assert!(!String::from_utf8_lossy(&bytes).contains("200"));
    }
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let limits = ServeLimits {
        idle_timeout: Duration::from_millis(200),
        ..limits()
    };
    let running = Running::new(router(), limits).await;
    let mut stream = running.connect().await;
    for _ in 0..2 {
        stream
            .write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        // Longer than an idle connection is kept: it is not idle.
        read_until(&mut stream, "\r\n\r\nslow").await;
    }
    let started = Instant::now();
    assert_eq!(read_to_end(&mut stream).await, "");
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_503() {
    let limits = ServeLimits {
        answer_timeout: Duration::from_millis(200),
        ..limits()
    };
    let running = Running::new(router(), limits).await;
    let reply = running
        .exchange(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    assert!(reply.contains("retry-after: 1\r\n"), "{reply}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let limits = ServeLimits {
        stall_timeout: Duration::from_millis(300),
        answer_timeout: Duration::from_millis(300),
        ..limits()
    };
    let dropped = CancellationToken::new();
    let held = dropped.clone();
    let endless = get(move || {
        let guard = held.clone().drop_guard();
        async move {
            let chunks = futures_util::stream::repeat_with(move || {
                let _ = &guard;
                Ok::<_, axum::Error>(vec![b'x'; 65_536])
            });
            Body::from_stream(chunks)
        }
    });
    let running = Running::new(Router::new().route("/", endless), limits).await;
    let mut stream = running.connect().await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    timeout(PATIENCE, dropped.cancelled())
        .await
        .expect("the response is still held");
}

#[tokio::test]
async fn shutdown_finishes_what_is_in_flight() {
    let running = Running::new(router(), limits()).await;
    let mut idle = running.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut idle, "hello").await;
    let mut busy = running.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    sleep(Duration::from_millis(100)).await;
    running.shutdown.cancel();
    assert_eq!(read_to_end(&mut idle).await, "");
    let reply = read_to_end(&mut busy).await;
    assert!(reply.ends_with("\r\n\r\nslow"), "{reply}");
    drop((idle, busy));
    timeout(PATIENCE, running.done)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let limits = ServeLimits {
        drain_timeout: Duration::from_millis(300),
        ..limits()
    };
    let running = Running::new(router(), limits).await;
    let mut stuck = running.connect().await;
    stuck
        .write_all(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    running.shutdown.cancel();
    timeout(PATIENCE, running.done)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(started.elapsed() >= Duration::from_millis(250));
    assert!(started.elapsed() < Duration::from_secs(4));
    assert_eq!(read_to_end(&mut stuck).await, "");
}

#[tokio::test]
async fn rfc_9112_9_6_a_refusal_reaches_a_client_that_still_sends() {
    let server = Server::new();
    let running = Running::new(server.admin.clone(), limits()).await;
    for (token, status) in [(TOKEN, "413"), ("wrong", "401")] {
        let head = format!(
            "POST /v1/links HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: 4194304\r\n\r\n"
        );
        let mut request = head.into_bytes();
        request.resize(request.len() + 4_194_304, b' ');
        let reply = running.exchange(&request).await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
        assert!(reply.contains("urn:tinyns:problem:"), "{reply}");
    }
}

#[tokio::test]
async fn rfc_9110_10_1_1_a_body_that_is_too_large_need_not_be_sent() {
    let server = Server::new();
    let running = Running::new(server.admin.clone(), limits()).await;
    let mut stream = running.connect().await;
    let head = format!(
        "POST /v1/links HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: 65537\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let reply = read_to_end(&mut stream).await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
}

#[tokio::test]
async fn http_2_by_prior_knowledge() {
    let server = Server::new();
    server
        .link(json!({"url": "https://example.net/", "code": "x"}))
        .await;
    let running = Running::new(server.redirect.clone(), limits()).await;
    let mut stream = running.connect().await;
    // RFC 9113 §3.4: the preface and an empty SETTINGS; then HEADERS of stream 1, by RFC 7541:
    // :method GET (2), :scheme http (6), :path / (4), :authority literal without indexing (1).
    let mut frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let authority = b"x.s.example.com";
    let mut block = vec![0x82, 0x86, 0x84, 0x01, authority.len() as u8];
    block.extend_from_slice(authority);
    frames.extend_from_slice(&[0, 0, block.len() as u8, 1, 0x05, 0, 0, 0, 1]);
    frames.extend_from_slice(&block);
    stream.write_all(&frames).await.unwrap();
    let response = async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; len];
            stream.read_exact(&mut payload).await.unwrap();
            if head[3] == 1 {
                return payload;
            }
        }
    };
    let headers = timeout(PATIENCE, response).await.unwrap();
    // RFC 7541 §6.2.1: `:status` by the name of entry 8, and "302", plain or in Huffman code.
    let plain = [0x48, 0x03, b'3', b'0', b'2'];
    assert!(headers.starts_with(&plain) || headers.starts_with(&[0x48, 0x82, 0x64, 0x02]));
    // This client answers no PING, by which a graceful end is agreed; it is not waited for.
    let started = Instant::now();
    running.shutdown.cancel();
    timeout(PATIENCE, running.done)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
}

fn batch_head() -> String {
    format!(
        "POST /v1/links:batch HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[tokio::test]
async fn the_first_results_of_a_batch_come_before_its_end() {
    let server = Server::new();
    let running = Running::new(server.admin.clone(), limits()).await;
    let mut stream = running.connect().await;
    stream.write_all(batch_head().as_bytes()).await.unwrap();
    for n in 1..=3 {
        let line = chunk(&format!("{{\"url\":\"https://example.net/{n}\"}}\n"));
        stream.write_all(line.as_bytes()).await.unwrap();
        let read = read_until(&mut stream, &format!("{{\"line\":{n},\"status\":201")).await;
        assert_eq!(read.contains("HTTP/1.1 200 OK"), n == 1, "{read}");
        read_until(&mut stream, "}}\n").await;
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut stream, "0\r\n\r\n").await;
    // The connection goes on.
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut stream, "\r\n\r\nok").await;
}

#[tokio::test]
async fn a_batch_is_not_bound_by_the_time_of_an_answer() {
    let limits = ServeLimits {
        answer_timeout: Duration::from_millis(200),
        stall_timeout: Duration::from_millis(400),
        ..limits()
    };
    let server = Server::new();
    let running = Running::new(server.admin.clone(), limits).await;
    let mut stream = running.connect().await;
    stream.write_all(batch_head().as_bytes()).await.unwrap();
    for n in 1..=8 {
        sleep(Duration::from_millis(100)).await;
        let line = chunk(&format!("{{\"url\":\"https://example.net/{n}\"}}\n"));
        stream.write_all(line.as_bytes()).await.unwrap();
        read_until(&mut stream, &format!("{{\"line\":{n},\"status\":201")).await;
    }
    // But one that stands still is cut, and does not look as if it were complete.
    let rest = read_to_end(&mut stream).await;
    assert!(!rest.contains("0\r\n\r\n"), "{rest}");
}

#[tokio::test]
async fn a_batch_takes_few_lines_at_a_time_and_none_for_a_client_that_left() {
    const AT_ONCE: u64 = 256;
    let server = Server::new();
    let running = Running::new(server.admin.clone(), limits()).await;
    let begun = &server.store.begun;
    server.store.held.store(true, Ordering::SeqCst);
    let mut stream = running.connect().await;
    stream.write_all(batch_head().as_bytes()).await.unwrap();
    let lines: String = (0..10_000)
        .map(|n| format!("{{\"url\":\"https://example.net/{n}\"}}\n"))
        .collect();
    stream.write_all(chunk(&lines).as_bytes()).await.unwrap();
    read_until(&mut stream, "HTTP/1.1 200 OK").await;
    let settled = async {
        while begun.load(Ordering::SeqCst) < AT_ONCE {
            sleep(Duration::from_millis(10)).await;
        }
        sleep(Duration::from_millis(100)).await;
    };
    timeout(PATIENCE, settled).await.unwrap();
    assert_eq!(begun.load(Ordering::SeqCst), AT_ONCE);
    // That the client is gone shows when the next result is written to it. What was read from it by
    // then may still be done; most was not read yet.
    drop(stream);
    server.store.held.store(false, Ordering::SeqCst);
    sleep(Duration::from_millis(500)).await;
    let at_the_end = begun.load(Ordering::SeqCst);
    assert!(
        at_the_end < 5_000,
        "{at_the_end} of 10,000 lines were done for nobody"
    );
    sleep(Duration::from_millis(200)).await;
    assert_eq!(begun.load(Ordering::SeqCst), at_the_end);
}

#[tokio::test]
async fn a_batch_that_breaks_off_ends_after_its_results() {
    let server = Server::new();
    let running = Running::new(server.admin.clone(), limits()).await;
    let line = chunk("{\"url\":\"https://example.net/\"}\n");
    let mut stream = running.connect().await;
    let begin = format!("{}{line}", batch_head());
    stream.write_all(begin.as_bytes()).await.unwrap();
    read_until(&mut stream, "{\"line\":1,\"status\":201").await;
    stream.write_all(b"not a chunk\r\n").await.unwrap();
    let mut rest = String::new();
    let ended = timeout(PATIENCE, stream.read_to_string(&mut rest)).await;
    assert!(ended.is_ok(), "{rest}");
    // Without its last chunk the client sees that the response is not whole (RFC 9112 §8).
    assert!(!rest.contains("0\r\n\r\n"), "{rest}");
}
