//! How messages are read and answered.

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::*;

/// RFC 7766 §6.2.1.1 and §7: queries are taken while earlier ones wait, and answered as their links come.
#[tokio::test(start_paused = true)]
async fn rfc7766_7_answers_come_out_of_order() {
    let rig = Rig::new();
    let (mut client, _) = rig.connect();
    let queries = [query(1, "w900"), query(2, "w300"), query(3, "ns")];
    client.send(&queries.concat()).await;
    for id in [3, 2] {
        assert_eq!(client.next_reply().await, Some((id, 0)));
    }
    client.send(&query(4, "ns")).await;
    for id in [4, 1] {
        assert_eq!(client.next_reply().await, Some((id, 0)));
    }
}

/// RFC 7766 §8: the length and the message may come in any pieces.
#[tokio::test(start_paused = true)]
async fn rfc7766_8_messages_come_in_pieces() {
    let rig = Rig::new();
    let whole = [query(1, "ns"), query(2, "w10"), query(3, "www")].concat();
    for length in 1..whole.len() {
        let (mut client, _) = rig.connect();
        for piece in whole.chunks(length) {
            client.send(piece).await;
            tokio::task::yield_now().await;
        }
        let mut replies = Vec::new();
        for _ in 0..3 {
            replies.push(client.next_reply().await.unwrap());
        }
        replies.sort_unstable();
        assert_eq!(replies, [(1, 0), (2, 0), (3, 0)], "{length}");
    }
}

/// RFC 1035 §4.2.2: the longest possible message, and another one in the same piece.
#[tokio::test(start_paused = true)]
async fn rfc1035_4_2_2_the_longest_message_is_read() {
    let rig = Rig::new();
    let (mut client, _) = rig.connect();
    let mut message = query(1, "ns")[2..].to_vec();
    message.resize(65_535, 0);
    client
        .send(&[framed(&message), query(2, "ns")].concat())
        .await;
    // What follows the question is no record.
    assert_eq!(client.next_reply().await, Some((1, 1)));
    assert_eq!(client.next_reply().await, Some((2, 0)));
}

/// Writes into a pipe, and notes how much in each call.
struct Noting {
    stream: DuplexStream,
    writes: Arc<Mutex<Vec<usize>>>,
}

impl AsyncRead for Noting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Noting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.lock().unwrap().push(bytes.len());
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A client, and how much is written to it in each call.
fn noted(rig: &Rig) -> (Client, Arc<Mutex<Vec<usize>>>) {
    let (near, stream) = duplex(WIDE);
    let writes = Arc::<Mutex<Vec<usize>>>::default();
    let noting = Noting {
        stream,
        writes: writes.clone(),
    };
    rig.serve(noting, CLIENT).unwrap();
    (Client(near), writes)
}

/// Replies to queries for links whose look-ups end one after the other. A runtime of several threads wakes
/// the connection after the first of them, before the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn replies_in_quick_succession_are_written_together() {
    let rig = Rig::new();
    let (mut client, writes) = noted(&rig);
    let queries: Vec<_> = (0..40).map(|id| query(id, &format!("w100-{id}"))).collect();
    client.send(&queries.concat()).await;
    for _ in 0..40 {
        assert!(client.reply().await.is_some());
    }
    let writes = writes.lock().unwrap();
    assert!(writes.len() < 20, "{writes:?}");
}

/// RFC 7766 §8: "the two-octet length field and the message" go out together, and so do replies that
/// are ready together: at once, or after a look-up.
#[tokio::test(start_paused = true)]
async fn rfc7766_8_replies_go_out_together() {
    let rig = Rig::new();
    let (mut client, writes) = noted(&rig);
    for label in ["ns", "w100"] {
        let queries: Vec<_> = (0..40).map(|id| query(id, label)).collect();
        client.send(&queries.concat()).await;
        let mut length = 0;
        for _ in 0..40 {
            length += 2 + client.reply().await.unwrap().len();
        }
        let writes = std::mem::take(&mut *writes.lock().unwrap());
        assert_eq!(writes, [length], "{label}");
    }
}

/// RFC 7766 §6.2.4: a client that shuts its writing side gets all its replies.
#[tokio::test(start_paused = true)]
async fn rfc7766_6_2_4_a_half_closed_connection_is_answered() {
    let rig = Rig::new();
    let (mut client, task) = rig.connect();
    let many: Vec<_> = (0..500).map(|id| query(id, "ns")).collect();
    let slow: Vec<_> = (500..700).map(|id| query(id, "w200")).collect();
    let rest = &query(700, "ns")[..9];
    client
        .send(&[&many.concat(), &slow.concat(), rest].concat())
        .await;
    client.0.shutdown().await.unwrap();
    let mut ids = client.ids().await;
    ids.sort_unstable();
    assert_eq!(ids, (0..700).collect::<Vec<_>>());
    assert_eq!(task.await.unwrap().reason, TcpCloseReason::Client);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_no_query_closes_the_connection_after_earlier_replies() {
    let rig = Rig::new();
    let mut reply = query(9, "ns");
    reply[4] |= 0x80;
    let short = framed(&query(9, "ns")[2..13]);
    for (number, bad) in [framed(&[]), short, reply].into_iter().enumerate() {
        let (mut client, task) = rig.connect();
        let all = [
            query(1, &format!("w500-{number}")),
            query(2, "ns"),
            bad,
            query(3, "ns"),
        ];
        client.send(&all.concat()).await;
        assert_eq!(client.ids().await, [2, 1]);
        drop(client);
        assert_eq!(task.await.unwrap().reason, TcpCloseReason::NotAQuery);
        assert_eq!(rig.drops(DropReason::NotAQuery), number as u64 + 1);
    }
}

/// RFC 1035 §4.1.1: "the name server was unable to interpret the query"; the next message can be found.
#[tokio::test(start_paused = true)]
async fn a_malformed_query_gets_formerr_and_the_connection_goes_on() {
    let rig = Rig::new();
    let (mut client, _) = rig.connect();
    let bad = framed(&query(1, "ns")[2..20]);
    client.send(&[bad, query(2, "ns")].concat()).await;
    assert_eq!(client.next_reply().await, Some((1, 1)));
    assert_eq!(client.next_reply().await, Some((2, 0)));
}

/// RFC 7828 §3.2.2: a client that asks gets the time for which the connection may be idle.
#[tokio::test(start_paused = true)]
async fn rfc7828_3_2_2_a_client_that_asks_gets_the_idle_time() {
    let keepalive = [0, 11, 0, 0];
    let lifetime = Some(Duration::from_secs(15));
    let rig = Rig::with(TcpLimits {
        lifetime,
        ..TcpLimits::default()
    });
    let (mut client, _) = rig.connect();
    // Not longer than the connection will last.
    for (label, wanted) in [("ns", 100_u16), ("w1000", 100), ("ns", 40)] {
        client.send(&query_with(1, label, &keepalive)).await;
        let reply = client.reply().await.unwrap();
        let option = [&[0, 11, 0, 2][..], &wanted.to_be_bytes()].concat();
        assert!(
            reply.ends_with(&option),
            "{label}: {wanted} not in {reply:?}"
        );
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(client.next_reply().await, None);
}
