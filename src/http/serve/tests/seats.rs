//! Which connections stay, and which leave for others.

use super::*;
use crate::http::serve::tests::http2::{DATA, HEADERS, PREFACE, frame, get_frame, next};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const SLOW: &[u8] = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
const HALF: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nX: ";
/// Two clients.
const ONE: [u8; 4] = [127, 0, 0, 1];
const OTHER: [u8; 4] = [127, 0, 0, 2];

impl Running {
    /// A connection from this address to which this has been sent, and a moment in which that arrives.
    async fn begun(&self, address: [u8; 4], bytes: &[u8]) -> TcpStream {
        let mut stream = self.connect_from(address).await;
        stream.write_all(bytes).await.unwrap();
        sleep(Duration::from_millis(20)).await;
        stream
    }
}

/// Whether the server has closed the connection, in whichever way.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    timeout(PATIENCE, read).await.is_ok()
}

async fn is_answered(stream: &mut TcpStream, request: &[u8]) {
    stream.write_all(request).await.unwrap();
    read_until(stream, "\r\n\r\nhello").await;
}

#[tokio::test]
async fn the_one_that_has_waited_longest_for_its_client_leaves() {
    let running = Running::with(router(), limits(), seats(3, 3)).await;
    // Idle after a request; in the midst of a head; and silent from its beginning.
    let mut idle = running.begun(ONE, GET).await;
    read_until(&mut idle, "hello").await;
    let mut half = running.begun(ONE, HALF).await;
    let mut silent = running.begun(OTHER, b"").await;
    // The rest of a head that comes byte by byte makes it no younger.
    half.write_all(b"y").await.unwrap();
    is_answered(&mut idle, GET).await;
    sleep(Duration::from_millis(20)).await;
    let mut first = running.begun(OTHER, GET).await;
    read_until(&mut first, "hello").await;
    assert!(is_closed(&mut half).await);
    running.has_closed(HttpCloseReason::Limit, 1).await;
    let mut second = running.begun(OTHER, GET).await;
    read_until(&mut second, "hello").await;
    assert!(is_closed(&mut silent).await);
    is_answered(&mut idle, GET).await;
    running.has_closed(HttpCloseReason::Limit, 2).await;
    assert_eq!(running.open(), 3);
}

#[tokio::test]
async fn a_client_makes_room_for_itself_and_not_for_others() {
    let running = Running::with(router(), limits(), seats(10, 2)).await;
    let mut others = running.begun(OTHER, GET).await;
    read_until(&mut others, "hello").await;
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(running.begun(ONE, HALF).await);
    }
    running.has_closed(HttpCloseReason::ClientLimit, 18).await;
    assert_eq!(running.open(), 3);
    is_answered(&mut others, GET).await;
}

#[tokio::test]
async fn an_exempt_client_may_have_all() {
    let seats = SeatLimits {
        exempt: vec!["127.0.0.1".parse().unwrap()],
        ..seats(4, 1)
    };
    let running = Running::with(router(), limits(), seats).await;
    let mut proxy = Vec::new();
    for _ in 0..3 {
        proxy.push(running.begun(ONE, HALF).await);
    }
    let mut first = running.begun(OTHER, HALF).await;
    let mut second = running.begun(OTHER, GET).await;
    read_until(&mut second, "hello").await;
    assert!(is_closed(&mut first).await);
    running.has_closed(HttpCloseReason::ClientLimit, 1).await;
    assert_eq!(running.open(), 4);
}

#[tokio::test]
async fn a_request_in_work_keeps_its_seat() {
    let running = Running::with(router(), limits(), seats(2, 2)).await;
    let mut busy = Vec::new();
    for address in [ONE, OTHER] {
        busy.push(running.begun(address, SLOW).await);
    }
    let mut refused = running.begun([127, 0, 0, 3], b"").await;
    assert!(is_closed(&mut refused).await);
    assert_eq!(running.closed(HttpCloseReason::Refused), 1);
    for stream in &mut busy {
        read_until(stream, "\r\n\r\nslow").await;
    }
    // Now they wait for their clients.
    let mut late = running.begun([127, 0, 0, 3], GET).await;
    read_until(&mut late, "hello").await;

    let running = Running::with(router(), limits(), seats(10, 1)).await;
    let mut busy = running.begun(ONE, SLOW).await;
    let mut refused = running.begun(ONE, b"").await;
    assert!(is_closed(&mut refused).await);
    assert_eq!(running.closed(HttpCloseReason::ClientRefused), 1);
    read_until(&mut busy, "\r\n\r\nslow").await;
}

/// A response without an end, a route that takes a body, and one that takes a body and then works for long.
fn demanding() -> Router {
    let endless = get(|| async {
        let chunks = futures_util::stream::repeat_with(|| Ok::<_, axum::Error>(vec![b'x'; 65_536]));
        Body::from_stream(chunks)
    });
    let take = axum::routing::post(|body: String| async move {
        sleep(Duration::from_millis(600)).await;
        body
    });
    router().route("/endless", endless).route("/take", take)
}

#[tokio::test]
async fn who_does_not_read_leaves() {
    let running = Running::with(demanding(), limits(), seats(1, 1)).await;
    let mut deaf = running
        .begun(ONE, b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    sleep(Duration::from_millis(200)).await;
    let mut next = running.begun(OTHER, GET).await;
    read_until(&mut next, "hello").await;
    running.has_closed(HttpCloseReason::Limit, 1).await;
    // What the system holds for it is given up as well.
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, deaf.read_to_end(&mut bytes))
        .await
        .unwrap();
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn who_does_not_send_the_body_leaves_and_who_has_sent_it_does_not() {
    let running = Running::with(demanding(), limits(), seats(2, 2)).await;
    let head = b"POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";
    let mut sent = running.begun(ONE, &[head, &b"ab"[..]].concat()).await;
    let mut half = running.begun(ONE, &[head, &b"a"[..]].concat()).await;
    let mut next = running.begun(OTHER, GET).await;
    read_until(&mut next, "hello").await;
    assert!(is_closed(&mut half).await);
    running.has_closed(HttpCloseReason::Limit, 1).await;
    read_until(&mut sent, "\r\n\r\nab").await;
}

#[tokio::test]
async fn a_stream_of_http_2_keeps_the_seat_while_it_is_in_work() {
    let running = Running::with(demanding(), limits(), seats(1, 1)).await;
    let slow = [PREFACE, &get_frame(1, "/slow")].concat();
    let mut busy = running.begun(ONE, &slow).await;
    let mut refused = running.begun(OTHER, b"").await;
    assert!(is_closed(&mut refused).await);
    while next(&mut busy).await.is_some_and(|(kind, ..)| kind != DATA) {}
    // No request; and then one whose response the client gives no window for (RFC 9113 §6.5.2).
    let mut late = running.begun(OTHER, GET).await;
    read_until(&mut late, "hello").await;
    drop(late);
    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let shut = [PREFACE, &settings, &get_frame(1, "/endless")].concat();
    let mut deaf = running.begun(ONE, &shut).await;
    while next(&mut deaf)
        .await
        .is_some_and(|(kind, ..)| kind != HEADERS)
    {}
    let mut last = running.begun(OTHER, GET).await;
    read_until(&mut last, "hello").await;
    assert!(is_closed(&mut deaf).await);
}

#[tokio::test]
async fn ends_are_counted_by_reason() {
    let limits = ServeLimits {
        head_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(200),
        ..limits()
    };
    let running = Running::new(router(), limits).await;
    let mut client = running.begun(ONE, GET).await;
    read_until(&mut client, "hello").await;
    drop(client);
    running.has_closed(HttpCloseReason::Client, 1).await;
    let mut idle = running.begun(ONE, GET).await;
    read_until(&mut idle, "hello").await;
    running.has_closed(HttpCloseReason::Idle, 1).await;
    let _half = running.begun(ONE, HALF).await;
    running.has_closed(HttpCloseReason::SlowHead, 1).await;
    let _nonsense = running.begun(ONE, b"nonsense\r\n\r\n").await;
    running.has_closed(HttpCloseReason::Error, 1).await;
    let mut busy = running.begun(ONE, SLOW).await;
    running.shutdown.cancel();
    read_until(&mut busy, "\r\n\r\nslow").await;
    running.has_closed(HttpCloseReason::Stop, 1).await;
}
