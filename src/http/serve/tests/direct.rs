//! Requests that are answered without hyper get the same bytes as from hyper, and keep the same bounds.

use std::sync::atomic::AtomicUsize;

use axum::http::Request;
use futures_util::future::join_all;
use hyper::body::Incoming;

use super::super::direct::READ_BYTES;
use super::*;
use crate::base::metrics::HttpStatus;
use crate::http::RedirectHost;

/// The redirect host, with or without direct answers.
struct Counted {
    host: RedirectHost,
    may_be_direct: bool,
    direct: Arc<AtomicUsize>,
}

impl Site for Counted {
    fn answer(&self, request: Request<Incoming>, call: &Call<'_>) -> Answer {
        self.host.answer(request, call)
    }

    fn answer_plain(&self, request: &Plain<'_>, client: &Client, out: &mut Vec<u8>) -> bool {
        let answered = self.may_be_direct && self.host.answer_plain(request, client, out);
        self.direct.fetch_add(answered.into(), Ordering::Relaxed);
        answered
    }
}

/// Connections on which a request does not end are closed soon.
fn brief() -> ServeLimits {
    ServeLimits {
        head_timeout: Duration::from_secs(1),
        stall_timeout: Duration::from_secs(1),
        answer_timeout: Duration::from_secs(1),
        ..limits()
    }
}

/// A server whose links `x`, `y` and `held`, which is withheld, are in memory.
struct Host {
    server: Server,
    running: Running,
    direct: Arc<AtomicUsize>,
}

impl Host {
    async fn new(may_be_direct: bool, limits: ServeLimits) -> Self {
        let server = Server::with_memory(Duration::from_secs(3_600));
        for (code, link) in [
            ("x", json!({"url": "https://example.net/a?x=1&y='<>\"#top"})),
            ("y", json!({"url": "http://example.org", "ttl": 7})),
            (
                "held",
                json!({"url": "https://example.net/held", "withheld": {"kind": "abuse", "reason": "Phishing"}}),
            ),
        ] {
            let mut link = link;
            link["code"] = json!(code);
            server.link(link).await;
        }
        let direct = Arc::default();
        let site = Counted {
            host: server.redirect.clone(),
            may_be_direct,
            direct: Arc::clone(&direct),
        };
        let running = Running::new(site, limits).await;
        for (code, status) in [("x", 302), ("y", 302), ("held", 403)] {
            let head = format!("HEAD / HTTP/1.1\r\nHost: {code}.s.example.com\r\n\r\n");
            let reply = ask(&running, &[head.as_bytes()]).await;
            assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
            assert!(!reply.contains("example.net/held"), "{reply}");
        }
        Self {
            server,
            running,
            direct,
        }
    }

    fn direct(&self) -> usize {
        self.direct.load(Ordering::Relaxed)
    }

    fn counted(&self, status: u16) -> u64 {
        let requests = &self.server.metrics.redirect_requests;
        requests.get_or_create(&HttpStatus { status }).get()
    }
}

/// Sends these pieces and [`LAST`], and reads until the server closes. Times and made-up ids are masked.
async fn ask(running: &Running, pieces: &[&[u8]]) -> String {
    let stream = running.connect().await;
    stream.set_nodelay(true).unwrap();
    let (mut read, mut write) = stream.into_split();
    let send = async {
        let (last, before) = pieces.split_last().unwrap();
        for piece in before {
            // The server may have closed the connection.
            let _ = write.write_all(piece).await;
            // The server usually reads the pieces one by one, which is what the test is about.
            sleep(Duration::from_millis(1)).await;
        }
        let _ = write.write_all(&[last, LAST.as_bytes()].concat()).await;
        write
    };
    let mut bytes = Vec::new();
    let receive = timeout(PATIENCE, read.read_to_end(&mut bytes));
    let (_write, received) = tokio::join!(send, receive);
    // A reset is an end, too.
    let _ = received.expect("the server did not close");
    masked(&String::from_utf8_lossy(&bytes))
}

fn masked(reply: &str) -> String {
    let mask = |line: &str| match line.split_once(": ") {
        Some(("date", _)) => "date: now".into(),
        Some(("x-request-id", id)) if id.len() == 24 => "x-request-id: made".into(),
        _ => line.to_owned(),
    };
    reply
        .split("\r\n")
        .map(mask)
        .collect::<Vec<_>>()
        .join("\r\n")
}

const PLAIN: &str = "GET / HTTP/1.1\r\nHost: x.s.example.com\r\n\r\n";
const LAST: &str = "GET / HTTP/1.1\r\nHost: y.s.example.com\r\nConnection: close\r\n\r\n";

/// Requests of all kinds: plain ones, others that are well-formed, malformed ones, and those by which one server is to
/// see a request that another one does not see (RFC 9112 §11.2).
fn requests() -> Vec<String> {
    let lines = [
        "GET / HTTP/1.1",
        "GET /?a=b HTTP/1.1",
        "GET /+ HTTP/1.1",
        "GET /a/b HTTP/1.1",
        "GET /# HTTP/1.1",
        "GET /?<> HTTP/1.1",
        "GET /\u{e4} HTTP/1.1",
        "GET http://y.s.example.com/ HTTP/1.1",
        "GET * HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.0",
        "GET / HTTP/1.2",
        "GET /",
        "HEAD / HTTP/1.1",
        "POST / HTTP/1.1",
        "get / HTTP/1.1",
        "CONNECT x.s.example.com:80 HTTP/1.1",
        "PRI * HTTP/2.0",
    ];
    let headers = [
        "Host: X.S.Example.COM.:80\r\n",
        "hOsT:x.s.example.com\t \r\n",
        "Host: y.s.example.com\r\nX-Request-Id: a.b-c_1\r\n",
        "Host: y.s.example.com\r\nX-Request-Id: a b\r\n",
        "Host: y.s.example.com\r\nX-Request-Id: a\r\nX-Request-Id: a\r\n",
        "Host: absent.s.example.com\r\n",
        "Host: held.s.example.com\r\n",
        "Host: s.example.com\r\n",
        "Host: example.com\r\n",
        "Host: x.s.example.com\r\nHost: y.s.example.com\r\n",
        "Host: \r\n",
        "Host: x.s.example.com, y\r\n",
        "Host: u@x.s.example.com\r\n",
        "Host: x.s.example.com/\r\n",
        "Host : x.s.example.com\r\n",
        " Host: x.s.example.com\r\n",
        "",
    ];
    let more = [
        "Connection: keep-alive\r\n",
        "Connection: Keep-Alive, x\r\n",
        "Connection: close\r\n",
        "Connection: keep-alive\r\nConnection: close\r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Content-Length: 0\r\n",
        "Content-Length: 44\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: +1\r\n",
        "Content-Length : 1\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: a\r\n Transfer-Encoding: chunked\r\n",
        "X: a\rTransfer-Encoding: chunked\r\n",
        "X: a\nTransfer-Encoding: chunked\n",
        "X: \u{e4}\r\n",
        "X: \0\r\n",
        "X\0: a\r\n",
        ": a\r\n",
        "X\r\n",
        "Expect: 100-continue\r\n",
        "Expect: other\r\n",
        "TE: trailers\r\n",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0\r\n\
         Referer: https://WWW.Example.org:8443/a?b\r\n",
        "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0\r\n\
         sec-purpose: prefetch;prerender\r\n",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0\r\n\
         Purpose: x\r\nPurpose: prefetch\r\n",
        "User-Agent: Mozilla/5.0 \u{e4}\r\nReferer: https://b\u{fc}cher.example/\r\n",
        "User-Agent: Mozilla/5.0\r\nUser-Agent: curl/8\r\nReferer: /a\r\nReferer: https://a.example/\r\n",
        "User-Agent: curl/8\r\nUser-Agent: Mozilla/5.0\r\n",
        "User-Agent: TelegramBot (like TwitterBot)\r\n",
        "User-Agent: \t \r\nReferer:\r\n",
        "User-Agent: Mozilla/5.0\r\nReferer: http://[2001:DB8::1]:80/\r\n",
    ];
    let host = "Host: x.s.example.com\r\n";
    let of = |line: &str, headers: &str| format!("{line}\r\n{headers}\r\n");
    let mut all = vec![
        PLAIN.replace("\r\n", "\n"),
        format!("\r\n\n{PLAIN}"),
        "0\r\n\r\n".into(),
    ];
    all.extend(lines.iter().map(|line| of(line, host)));
    all.extend(headers.iter().map(|headers| of(lines[0], headers)));
    all.extend(
        more.iter()
            .map(|more| of(lines[0], &format!("{host}{more}"))),
    );
    let many = "A: b\r\n".repeat(40);
    all.push(of(lines[0], &format!("{host}{many}")));
    let long = "c".repeat(READ_BYTES);
    all.push(of(lines[0], &format!("{host}Cookie: {long}\r\n")));
    all
}

/// Whether the server may take what follows a head for a body.
fn has_body(request: &str) -> bool {
    let request = request.to_ascii_lowercase();
    request.contains("content-length") || request.contains("transfer-encoding")
}

/// Compares both servers, and returns how many requests were answered directly.
struct Pair {
    direct: Host,
    hyper: Host,
}

impl Pair {
    async fn new() -> Self {
        Self {
            direct: Host::new(true, brief()).await,
            hyper: Host::new(false, brief()).await,
        }
    }

    async fn check(&self, pieces: &[&[u8]]) {
        let (ours, theirs) = tokio::join!(
            ask(&self.direct.running, pieces),
            ask(&self.hyper.running, pieces)
        );
        let sent = String::from_utf8_lossy(&pieces.concat()).into_owned();
        assert_eq!(ours, theirs, "{sent:?}");
    }

    /// Both count the same responses, and the same clicks.
    async fn check_counts(&self) {
        for status in [200, 302, 400, 403, 404, 405, 421] {
            assert_eq!(
                self.direct.counted(status),
                self.hyper.counted(status),
                "{status}"
            );
        }
        assert_eq!(self.hyper.direct(), 0);
        let sums = self.direct.server.counted.sums().await;
        assert_eq!(sums, self.hyper.server.counted.sums().await);
        let clicks = sums
            .iter()
            .filter(|((_, counter), _)| counter.starts_with("click:"));
        let clicks: u64 = clicks.map(|(_, count)| count).sum();
        assert_eq!(clicks, self.direct.counted(302));
    }
}

#[tokio::test]
async fn answers_are_those_of_hyper() {
    let pair = Pair::new().await;
    let pair_of = async |request: String| {
        pair.check(&[request.as_bytes()]).await;
        // Between requests on one connection: one after the other, and all at once. hyper ends a connection if it has
        // not yet read the body of a request that it has answered, so bodies come with their heads.
        if !has_body(&request) {
            pair.check(&[PLAIN.as_bytes(), request.as_bytes(), PLAIN.as_bytes()])
                .await;
        }
        let pipelined = format!("{PLAIN}{request}{PLAIN}");
        pair.check(&[pipelined.as_bytes()]).await;
    };
    join_all(requests().into_iter().map(pair_of)).await;
    assert!(pair.direct.direct() > 100, "{}", pair.direct.direct());
    pair.check_counts().await;
    let sums = pair.direct.server.counted.ledger.sums();
    for counter in [
        "click:person",
        "click:bot",
        "click:preview",
        "click:head",
        "click:prefetch",
        "referrer:www.example.org",
        "referrer:xn--bcher-kva.example",
        "referrer:2001:db8::1",
    ] {
        let count = sums.get(&("x.s.example.com".into(), counter.into()));
        assert!(count.is_some_and(|count| *count > 0), "{counter}: {sums:?}");
    }
    assert!(
        !sums
            .keys()
            .any(|(_, counter)| counter == "referrer:a.example")
    );
}

#[tokio::test]
async fn a_request_may_arrive_in_any_pieces() {
    let pair = Pair::new().await;
    let all = format!("{PLAIN}{PLAIN}{PLAIN}");
    let check_at = async |end| {
        let (first, second) = all.as_bytes().split_at(end);
        pair.check(&[first, second]).await;
    };
    join_all((1..all.len()).map(check_at)).await;
    pair.check_counts().await;
}

/// Random damage to plain requests. Set `TINYNS_SEED` to repeat a failure.
#[tokio::test]
async fn damaged_requests_are_answered_as_by_hyper() {
    let pair = Pair::new().await;
    let seed =
        std::env::var("TINYNS_SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
    eprintln!("TINYNS_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    // All of a case fits into one read.
    let mut requests = requests();
    requests.retain(|request| request.len() < 1_000);
    let mut all = Vec::new();
    for _ in 0..600 {
        let mut bytes = Vec::new();
        for _ in 0..random.usize(1..4) {
            let usual = random.bool();
            let request = random.choice(&requests).filter(|_| !usual);
            bytes.extend_from_slice(request.map_or(PLAIN, String::as_str).as_bytes());
        }
        for _ in 0..random.usize(0..3) {
            let at = random.usize(..bytes.len());
            let byte = *random.choice(b"\r\n\t :;,\0/GHx1\x7f\xff").unwrap();
            match random.u8(..3) {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        all.push(bytes);
    }
    for some in all.chunks(100) {
        join_all(some.iter().map(async |bytes| pair.check(&[bytes]).await)).await;
    }
    pair.check_counts().await;
}

/// User agents that are no UTF-8, or long, on both ways.
#[tokio::test]
async fn any_bytes_may_be_a_user_agent() {
    let pair = Pair::new().await;
    let head = |agent: &[u8], referer: &[u8]| {
        let head: &[u8] = b"GET / HTTP/1.1\r\nHost: x.s.example.com\r\nUser-Agent: ";
        [head, agent, b"\r\nReferer: ", referer, b"\r\n\r\n"].concat()
    };
    let long = vec![b'a'; 6_000];
    let long_host = [b"https://".to_vec(), long.clone(), b".example/".to_vec()].concat();
    for agent in [&b"\xff\xfe"[..], b"Mozilla/5.0 \x80", &long] {
        for referer in [
            &b"https://\xff.example/"[..],
            b"https://a.example/\xff",
            &long,
            &long_host,
        ] {
            if agent.len() + referer.len() < READ_BYTES {
                pair.check(&[&head(agent, referer)]).await;
            }
        }
    }
    assert!(pair.direct.direct() > 8, "{}", pair.direct.direct());
    pair.check_counts().await;
    let sums = pair.direct.server.counted.ledger.sums();
    let referrers: Vec<_> = sums
        .keys()
        .filter(|(_, it)| it.starts_with("referrer:"))
        .collect();
    assert_eq!(
        referrers,
        [&("x.s.example.com".into(), "referrer:a.example".into())]
    );
}

/// More responses than the server holds for one read go on through hyper.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let pair = Pair::new().await;
    let many: String = (0..400)
        .map(|number| PLAIN.replace("\r\n\r\n", &format!("\r\nX-Request-Id: {number}\r\n\r\n")))
        .collect();
    let reply = ask(&pair.direct.running, &[many.as_bytes()]).await;
    let ids = reply.split("x-request-id: ").skip(1);
    let ids = ids.filter_map(|rest| rest.split_once("\r\n")?.0.parse::<u32>().ok());
    assert!(ids.eq(0..400), "{reply}");
    assert_eq!(
        reply.matches("location: http://example.org/\r\n").count(),
        1
    );
    assert!(pair.direct.direct() > 0);
}

#[tokio::test]
async fn a_kept_connection_is_closed_when_it_is_idle_and_when_the_server_stops() {
    let limits = ServeLimits {
        idle_timeout: Duration::from_millis(200),
        ..limits()
    };
    let host = Host::new(true, limits).await;
    let mut stream = host.running.connect().await;
    for number in 1..=3 {
        stream.write_all(PLAIN.as_bytes()).await.unwrap();
        read_until(&mut stream, "\r\n\r\n").await;
        assert_eq!(host.direct(), number);
    }
    assert_eq!(read_to_end(&mut stream).await, "");
    host.running.has_closed(HttpCloseReason::Idle, 1).await;

    let host = Host::new(true, self::limits()).await;
    let mut stream = host.running.connect().await;
    stream.write_all(PLAIN.as_bytes()).await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    host.running.shutdown.cancel();
    assert_eq!(read_to_end(&mut stream).await, "");
    drop(stream);
    timeout(PATIENCE, host.running.done)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_client_that_sends_and_does_not_read_is_cut() {
    let limits = ServeLimits {
        stall_timeout: Duration::from_millis(300),
        answer_timeout: Duration::from_millis(300),
        ..limits()
    };
    let host = Host::new(true, limits).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(host.running.address).await.unwrap();
    // One after the other, so that all are answered directly.
    let flood = async {
        for number in 1.. {
            if stream.write_all(PLAIN.as_bytes()).await.is_err() {
                return;
            }
            for turn in 0.. {
                if host.direct() >= number || host.running.closed(HttpCloseReason::Stalled) > 0 {
                    break;
                }
                match turn {
                    0..50 => tokio::task::yield_now().await,
                    _ => sleep(Duration::from_millis(1)).await,
                }
            }
        }
    };
    let in_time = timeout(PATIENCE, flood).await;
    in_time.expect("the connection is not cut");
    assert!(host.direct() > 10, "{}", host.direct());
    host.running.has_closed(HttpCloseReason::Stalled, 1).await;
}
