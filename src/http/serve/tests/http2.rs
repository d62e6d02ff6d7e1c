//! What HTTP/2 gives clients to do harm with, frame by frame (RFC 9113).

use std::sync::atomic::AtomicUsize;

use super::*;

/// The preface, and an empty SETTINGS (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Types of frames, §6.
pub(super) const HEADERS: u8 = 1;
pub(super) const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// Flags of HEADERS.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Error codes, §7.
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// `GET path`, by RFC 7541: two entries of the static table, and two literals with names from it.
fn block(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(&[0x01, 1, b'a']);
    block
}

pub(super) fn get_frame(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(path))
}

/// Type, stream and payload of the next frame; none at the end.
pub(super) async fn next(stream: &mut TcpStream) -> Option<(u8, u32, Vec<u8>)> {
    let read = async {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length.try_into().unwrap()];
        stream.read_exact(&mut payload).await.ok()?;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some((head[3], id, payload))
    };
    timeout(PATIENCE, read).await.expect("a frame or the end")
}

fn code(payload: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(payload[at..at + 4].try_into().unwrap())
}

/// The error code with which the server gives the connection up, if it says one before it closes.
async fn given_up(mut stream: TcpStream) -> Option<u32> {
    while let Some((kind, _, payload)) = next(&mut stream).await {
        if kind == GOAWAY && code(&payload, 4) != 0 {
            return Some(code(&payload, 4));
        }
    }
    None
}

/// A router that counts its requests and answers none.
fn counting() -> (Router, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let handler = get(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>()
    });
    (Router::new().route("/", handler), count)
}

#[tokio::test]
async fn rfc_9113_5_1_2_no_more_streams_than_may_be() {
    let (router, count) = counting();
    let running = Running::new(router, limits()).await;
    let mut stream = running.connect().await;
    let mut sent = PREFACE.to_vec();
    for number in 0..=MAX_STREAMS {
        sent.extend(get_frame(2 * number + 1, "/"));
    }
    stream.write_all(&sent).await.unwrap();
    let refused = loop {
        let (kind, id, payload) = next(&mut stream).await.expect("a frame");
        if kind == RST_STREAM {
            break (id, code(&payload, 0));
        }
    };
    assert_eq!(refused, (2 * MAX_STREAMS + 1, REFUSED_STREAM));
    let begun = async {
        while count.load(Ordering::SeqCst) < MAX_STREAMS as usize {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, begun)
        .await
        .expect("all others are begun");
    sleep(Duration::from_millis(50)).await;
    assert_eq!(count.load(Ordering::SeqCst), MAX_STREAMS as usize);
}

#[tokio::test]
async fn cve_2023_44487_streams_that_are_reset_at_once_end_the_connection() {
    const MANY: u32 = 2_000;
    let (router, count) = counting();
    let running = Running::new(router, limits()).await;
    let mut stream = running.connect().await;
    let mut sent = PREFACE.to_vec();
    for number in 0..MANY {
        sent.extend(get_frame(2 * number + 1, "/"));
        sent.extend(frame(RST_STREAM, 0, 2 * number + 1, &8_u32.to_be_bytes()));
    }
    // The server may close before it has read all.
    let _ = stream.write_all(&sent).await;
    assert_eq!(given_up(stream).await, Some(ENHANCE_YOUR_CALM));
    let begun = count.load(Ordering::SeqCst);
    assert!(begun < MANY as usize / 2, "{begun} of {MANY} were begun");
    running.has_closed(HttpCloseReason::Error, 1).await;
}

/// CVE-2025-8671: the server is made to reset streams by errors of the client's.
#[tokio::test]
async fn cve_2025_8671_streams_that_we_have_to_reset_end_the_connection() {
    const MANY: u32 = 1_000;
    let (router, _) = counting();
    let running = Running::new(router, limits()).await;
    let mut stream = running.connect().await;
    let mut sent = PREFACE.to_vec();
    for number in 0..MANY {
        sent.extend(get_frame(2 * number + 1, "/"));
        // §6.9.1: the window of the stream would be larger than it may be.
        let increment = 0x7FFF_FFFF_u32.to_be_bytes();
        sent.extend(frame(WINDOW_UPDATE, 0, 2 * number + 1, &increment));
    }
    let _ = stream.write_all(&sent).await;
    assert_eq!(given_up(stream).await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn cve_2024_27316_a_head_without_an_end_ends_the_connection() {
    let (router, count) = counting();
    let running = Running::new(router, limits()).await;
    let mut stream = running.connect().await;
    // A literal without indexing, of a name and a value of 100 bytes each.
    let mut field = vec![0x00, 100];
    field.resize(102, b'x');
    field.push(100);
    field.resize(203, b'y');
    let fields = field.repeat(80);
    let mut sent = PREFACE.to_vec();
    sent.extend(frame(HEADERS, END_STREAM, 1, &block("/")));
    for _ in 0..100 {
        sent.extend(frame(CONTINUATION, 0, 1, &fields));
    }
    let _ = stream.write_all(&sent).await;
    // It says so or not: the reset of what it has not read may come first.
    let code = given_up(stream).await;
    assert!(
        code.is_none_or(|code| code == ENHANCE_YOUR_CALM),
        "{code:?}"
    );
    running.has_closed(HttpCloseReason::Error, 1).await;
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

/// CVE-2019-9512 and CVE-2019-9515: each PING and each SETTINGS has to be answered. While the client does not read the
/// answers, the server does not read more of them, and in the end it closes the connection.
#[tokio::test]
async fn answers_that_are_not_read_are_not_gathered() {
    const PING: u8 = 6;
    const SETTINGS: u8 = 4;
    /// More than the system's buffers of both directions hold.
    const TOO_MANY_BYTES: usize = 64 << 20;
    let limits = ServeLimits {
        head_timeout: Duration::from_secs(2),
        ..limits()
    };
    for flood in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[])] {
        let running = Running::new(router(), limits).await;
        let mut stream = running.connect().await;
        stream.write_all(PREFACE).await.unwrap();
        let flood = flood.repeat(1_000);
        let mut sent = 0;
        let flooding = async {
            while stream.write_all(&flood).await.is_ok() && sent < TOO_MANY_BYTES {
                sent += flood.len();
            }
        };
        assert!(timeout(PATIENCE, flooding).await.is_ok(), "not closed");
        assert!(sent < TOO_MANY_BYTES, "{sent} bytes were read");
        running.has_closed(HttpCloseReason::SlowHead, 1).await;
    }
}
