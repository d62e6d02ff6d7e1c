//! One connection, from its first byte to its end. It works on any stream of bytes, not only on sockets.
//!
//! ```text
//!            ┌────────────────── input: an incomplete message ◄─────────────┐
//!            ▼                                                              │
//!   stream ── read ── messages ─┬─ reply at once ───────────┬─ write ── stream
//!                               └─ waits for a link ─ in work ┘    │
//!            ▲                                                     ▼
//!            └── not while too much is in work or unsent ── output: what the client does not take yet
//! ```
//!
//! A connection is one future, polled whenever something may have changed. A poll obeys orders, takes the links that
//! have been looked up, reads and answers messages, writes replies, and checks the deadlines. No step waits for
//! another: the connection reads queries while earlier ones wait for their links, and answers them out of order, as
//! their links come (RFC 7766 §7).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::admission::{Order, Seat};
use super::desk::{Desk, Tools};
use super::output::Output;
use crate::base::metrics::{DropReason, TcpCloseReason, Transport};
use crate::dns::pipeline::handler::Handler;
use crate::dns::pipeline::packet::{Fate, Resolved, Waiting};
use crate::dns::pipeline::via::Via;
use crate::dns::query_log::{Ends, Sampled};
use crate::dns::wire::query::HEADER_LEN;

/// How many queries of one connection may wait for their links at once. The connection is not read while so many
/// wait.
const MAX_IN_WORK: usize = 64;
/// How many bytes of replies may wait for the client. The connection is not read while more wait.
pub(super) const MAX_UNSENT: usize = 16 << 10;
/// How long a message may take to arrive after its first byte.
const MESSAGE_TIME: Duration = Duration::from_secs(5);
/// How long a client may take to read the replies that are ready.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(10);
/// How long a query may wait for a permit. The queries that hold permits end within 1.5 seconds.
const ROOM_TIME: Duration = Duration::from_secs(2);
/// How long, and for how many bytes, the server reads from a client that still sends after the last reply.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 << 10;
/// How many steps a connection makes before other connections have their turn.
const ROUNDS: usize = 8;
/// The length of the length field before a message (RFC 1035 §4.2.2).
const LENGTH_LEN: usize = 2;
/// QR, in the third byte of a message.
const QR: u8 = 0x80;
/// The unit of RFC 7828 §3.1.
const KEEPALIVE_UNIT_MS: u128 = 100;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) reason: TcpCloseReason,
    /// Whether to reset the connection at once, because the client does not read.
    pub(super) abrupt: bool,
    /// Whether the client may still be sending. Closing a socket with unread data resets the connection, and the
    /// client may lose the last replies.
    lingers: bool,
}

impl End {
    /// The end of a connection without a query.
    pub(super) fn of(reason: TcpCloseReason, abrupt: bool) -> Self {
        Self {
            reason,
            abrupt,
            lingers: false,
        }
    }
}

/// Serves a connection until it ends, and closes the stream.
pub(super) async fn serve<S>(stream: &mut S, ends: Ends, seat: &Seat, handler: Handler) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = Connection::new(stream, ends, seat, handler);
    let end = poll_fn(|cx| connection.poll(cx)).await;
    drop(connection);
    if !end.abrupt {
        let may_linger = end.lingers && seat.give_up();
        // A client that does not read the close in time is reset.
        let _ = timeout(LINGER_TIME, farewell(stream, may_linger)).await;
    }
    end
}

/// Shuts the writing side down, and reads what the client still sends, within bounds.
async fn farewell<S>(stream: &mut S, lingers: bool) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.shutdown().await?;
    let mut heard = 0;
    while lingers && heard < LINGER_BYTES {
        let read = |cx: &mut Context<'_>| Desk::lend(|desk| poll_read(cx, stream, &mut desk.input));
        match poll_fn(read).await? {
            0 => break,
            length => heard += length,
        }
    }
    Ok(())
}

struct Connection<'s, S> {
    stream: &'s mut S,
    ends: Ends,
    seat: &'s Seat,
    handler: Handler,
    begun: Instant,
    /// The bytes that have been read but not taken: from the first message that is incomplete, or that has to wait.
    input: Vec<u8>,
    /// Since when the server waits for the rest of the first message in `input`.
    incomplete_since: Option<Instant>,
    /// Whether the client has shut its writing side.
    is_read: bool,
    in_work: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Queries whose links are known, and whose replies have to wait for the client.
    done: VecDeque<(Resolved, Option<Sampled>)>,
    /// Whether one of the waiting queries waits for a permit.
    is_crowded: bool,
    /// Whether the connection has waited a moment for further links.
    has_gathered: bool,
    output: Output,
    /// When the last query was taken or answered.
    rest_since: Instant,
    /// How long it may be idle since then.
    idle: Duration,
    /// Why the server reads no more, if it has decided so.
    ending: Option<TcpCloseReason>,
    /// Whether replies were outstanding at that time.
    owed_replies: bool,
    timer: Pin<Box<Sleep>>,
}

/// A query whose link has been looked up.
struct Done {
    /// None if the query got no permit.
    query: Option<(Resolved, Option<Sampled>)>,
    was_crowded: bool,
}

impl<'s, S: AsyncRead + AsyncWrite + Unpin> Connection<'s, S> {
    fn new(stream: &'s mut S, ends: Ends, seat: &'s Seat, handler: Handler) -> Self {
        let now = Instant::now();
        let idle = seat.seats().granted_idle();
        Self {
            stream,
            ends,
            seat,
            handler,
            begun: now,
            input: Vec::new(),
            incomplete_since: None,
            is_read: false,
            in_work: FuturesUnordered::new(),
            done: VecDeque::new(),
            is_crowded: false,
            has_gathered: false,
            output: Output::default(),
            rest_since: now,
            idle,
            ending: None,
            owed_replies: false,
            timer: Box::pin(sleep_until(now + idle)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let polled = self.look_after(cx);
        let rest = self.in_work.is_empty().then_some(self.rest_since);
        self.seat.note_rest(rest);
        polled
    }

    fn look_after(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let now = Instant::now();
        if self.end_of_life().is_some_and(|end| end <= now) {
            self.finish(TcpCloseReason::Lifetime);
        }
        for _ in 0..ROUNDS {
            if let Some(end) = self.obey(cx) {
                return Poll::Ready(end);
            }
            if self.harvest(cx, now) {
                return Poll::Pending;
            }
            let Ok(moved) = self.exchange(cx, now) else {
                return Poll::Ready(self.end_at_once(TcpCloseReason::Error));
            };
            if let Some(end) = self.end() {
                return Poll::Ready(end);
            }
            if !moved {
                return self.watch(cx);
            }
        }
        // Other connections have their turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Obeys the connection's order. Returns the end, if the connection ends at once.
    fn obey(&mut self, cx: &mut Context<'_>) -> Option<End> {
        match self.seat.order(cx.waker()) {
            Order::None => None,
            Order::Leave(reason) if self.in_work.is_empty() => {
                Some(self.end_at_once(reason.into()))
            }
            Order::Leave(reason) => self.finish(reason.into()),
            Order::Stop => self.finish(TcpCloseReason::Stop),
            Order::Cut => Some(End {
                abrupt: true,
                ..self.end_at_once(TcpCloseReason::Stop)
            }),
        }
    }

    /// Makes the replies to queries whose links have been looked up, while there is room for replies. After the
    /// first it waits a moment: many queries may wait for the same link, or for the same reply of Redis, and their
    /// replies are to be sent together. Returns whether to wait that moment.
    fn harvest(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let before = self.done.len();
        // Also without room for replies: a query whose link is known has to give its place to others.
        while let Poll::Ready(Some(done)) = self.in_work.poll_next_unpin(cx) {
            self.rest_since = now;
            self.is_crowded &= !done.was_crowded;
            match done.query {
                Some(query) => self.done.push_back(query),
                None => {
                    self.handler.count_drops(DropReason::Overload, 1);
                    self.finish(TcpCloseReason::Overload);
                }
            }
        }
        if self.done.len() > before && !self.in_work.is_empty() && !self.has_gathered {
            self.has_gathered = true;
            cx.waker().wake_by_ref();
            return true;
        }
        self.has_gathered = false;
        while self.output.len() < MAX_UNSENT
            && let Some((query, sampled)) = self.done.pop_front()
        {
            Desk::lend(|desk| {
                let began = query.began();
                if query.reply(&self.handler, desk.tools.scratch()) {
                    desk.tools.push_reply(self.output.later(), sampled);
                    let times = &self.handler.metrics().dns_response_times;
                    times.of(self.ends.transport).add(1, began.elapsed());
                }
            });
        }
        if self.done.is_empty() {
            self.done = VecDeque::new();
        }
        false
    }

    /// Reads and answers messages, and writes replies. Returns whether anything changed.
    fn exchange(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<bool> {
        Desk::lend(|desk| {
            let Desk {
                input,
                output,
                tools,
            } = desk;
            output.clear();
            tools.begin();
            let mut moved = false;
            if !self.input.is_empty() {
                let mut held = std::mem::take(&mut self.input);
                let taken = self.take(&held, output, tools, now);
                moved |= taken > 0;
                held.drain(..taken);
                self.keep(held);
            }
            if self.takes(output.len(), 0)
                && !self.is_read
                && let Poll::Ready(length) = poll_read(cx, self.stream, input)
            {
                let length = length?;
                moved = true;
                self.is_read = length == 0;
                self.take_fresh(&input[..length], output, tools, now);
            }
            self.watch_input(output.len(), now);
            let written = self.output.write(cx, self.stream, output, now);
            tools.count_times(&self.handler, self.ends.transport);
            Ok(written? | moved)
        })
    }

    /// Takes messages from the bytes that were just read, which follow those in `input`.
    fn take_fresh(&mut self, fresh: &[u8], output: &mut Vec<u8>, tools: &mut Tools, now: Instant) {
        if self.input.is_empty() {
            let taken = self.take(fresh, output, tools, now);
            self.keep(fresh[taken..].to_vec());
        } else {
            let mut held = std::mem::take(&mut self.input);
            held.extend_from_slice(fresh);
            let taken = self.take(&held, output, tools, now);
            held.drain(..taken);
            self.keep(held);
        }
    }

    /// Keeps the bytes that cannot be taken yet. Without such bytes `input` takes no memory.
    fn keep(&mut self, bytes: Vec<u8>) {
        self.input = if bytes.is_empty() { Vec::new() } else { bytes };
    }

    /// Whether one more message may be taken, with so many bytes of unwritten replies, and so many queries about to
    /// wait.
    fn takes(&self, replies: usize, waiting: usize) -> bool {
        self.ending.is_none()
            && !self.is_crowded
            && self.in_work.len() + self.done.len() + waiting < MAX_IN_WORK
            && self.output.len() + replies < MAX_UNSENT
    }

    /// Takes messages from these bytes while there are any and the bounds allow it. Returns how many bytes they had.
    fn take(
        &mut self,
        bytes: &[u8],
        output: &mut Vec<u8>,
        tools: &mut Tools,
        now: Instant,
    ) -> usize {
        let (mut taken, mut waiting) = (0, Vec::new());
        let mut time = None;
        while self.takes(output.len(), waiting.len())
            && let Some(message) = first_message(&bytes[taken..])
        {
            taken += LENGTH_LEN + message.len();
            self.incomplete_since = None;
            let sampled = self.handler.query_log().sample(message, self.ends);
            // A client sends queries only, and no message is shorter than a header. So the stream is out of step,
            // and nothing after this can be trusted.
            if message.len() < HEADER_LEN || message[2] & QR != 0 {
                self.handler.count_drops(DropReason::NotAQuery, 1);
                self.finish(TcpCloseReason::NotAQuery);
                break;
            }
            if time.is_none() {
                self.rest_since = now;
                self.idle = self.seat.seats().granted_idle();
            }
            let time = time.get_or_insert_with(|| self.handler.time());
            let packet = self.handler.read(message, self.ends.client, self.via(now));
            match tools.take(&self.handler, &packet, time) {
                Fate::Replied => tools.push_reply(output, sampled),
                Fate::Waits(query) => {
                    let permit = self.handler.permit();
                    self.is_crowded = permit.is_none();
                    waiting.push((query, permit, sampled));
                }
                Fate::Signs { .. } | Fate::Dropped => {}
            }
        }
        if time.is_some() {
            tools.tally.tell(self.handler.metrics());
        }
        if !waiting.is_empty() {
            let links = waiting.iter_mut().map(|(query, ..)| query.unanswered());
            self.handler.look_up(links);
            for (query, permit, sampled) in waiting {
                let done = wait(self.handler.clone(), (query, sampled), permit);
                self.in_work.push(Box::pin(done));
            }
        }
        taken
    }

    /// How messages come.
    fn via(&self, now: Instant) -> Via {
        let keepalive = self.keepalive(now);
        match self.ends.transport {
            Transport::Tls => Via::Tls { keepalive },
            Transport::Tcp | Transport::Udp => Via::Tcp { keepalive },
        }
    }

    /// How long the connection may be idle after the next reply, in units of 100 ms.
    fn keepalive(&self, now: Instant) -> u16 {
        let left = self
            .end_of_life()
            .map(|end| end.saturating_duration_since(now));
        let idle = left.map_or(self.idle, |left| left.min(self.idle));
        u16::try_from(idle.as_millis() / KEEPALIVE_UNIT_MS).unwrap_or(u16::MAX)
    }

    fn end_of_life(&self) -> Option<Instant> {
        Some(self.begun + self.seat.seats().limits().lifetime?)
    }

    /// Notes since when the client owes the rest of a message. It owes nothing while the server does not read.
    fn watch_input(&mut self, replies: usize, now: Instant) {
        if self.input.is_empty() || self.is_read || !self.takes(replies, 0) {
            self.incomplete_since = None;
        } else {
            self.incomplete_since.get_or_insert(now);
        }
    }

    /// Reads no more. Waiting queries are still answered before the connection ends.
    fn finish(&mut self, reason: TcpCloseReason) -> Option<End> {
        if self.ending.is_none() {
            self.ending = Some(reason);
            self.owed_replies = self.owes_replies();
        }
        None
    }

    /// Whether replies are outstanding or unwritten.
    fn owes_replies(&self) -> bool {
        !self.in_work.is_empty() || !self.done.is_empty() || !self.output.is_sent()
    }

    /// The end, if there is nothing left to do.
    fn end(&self) -> Option<End> {
        if self.owes_replies() {
            return None;
        }
        if let Some(reason) = self.ending {
            // While the client sends.
            let is_rude = matches!(reason, TcpCloseReason::NotAQuery | TcpCloseReason::Overload);
            return Some(End {
                reason,
                abrupt: false,
                lingers: self.owed_replies || is_rude && self.output.has_begun(),
            });
        }
        let is_over = self.is_read && first_message(&self.input).is_none();
        is_over.then(|| self.end_at_once(TcpCloseReason::Client))
    }

    /// The end, whatever remains to be done.
    fn end_at_once(&self, reason: TcpCloseReason) -> End {
        End {
            reason,
            abrupt: !self.output.is_sent(),
            lingers: false,
        }
    }

    /// Waits for the next event or deadline.
    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let Some((deadline, reason)) = self.deadline() else {
                return Poll::Pending;
            };
            if deadline <= Instant::now() {
                if reason == TcpCloseReason::SlowReader || !self.owes_replies() {
                    return Poll::Ready(self.end_at_once(reason));
                }
                self.finish(reason);
                continue;
            }
            // A later deadline needs no new timer: the deadline is checked again when the old timer ends.
            if self.timer.is_elapsed() || deadline < self.timer.deadline() {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(cx));
        }
    }

    /// The next deadline, and the reason for the end that it causes.
    fn deadline(&self) -> Option<(Instant, TcpCloseReason)> {
        let since = |since: Instant, time, reason| (since + time, reason);
        let writes = self.output.waits_since();
        let slow_reader = writes.map(|at| since(at, WRITE_TIME, TcpCloseReason::SlowReader));
        if self.ending.is_some() {
            return slow_reader;
        }
        let message = self.incomplete_since;
        let message = message.map(|at| since(at, MESSAGE_TIME, TcpCloseReason::SlowMessage));
        let is_idle = !self.owes_replies() && self.input.is_empty();
        let idle = is_idle.then(|| since(self.rest_since, self.idle, TcpCloseReason::Idle));
        let life = self
            .end_of_life()
            .map(|end| (end, TcpCloseReason::Lifetime));
        let all = [slow_reader, message, idle, life];
        all.into_iter().flatten().min_by_key(|(time, _)| *time)
    }
}

/// Waits for a permit, if there is none, and then for the query's link.
async fn wait(
    handler: Handler,
    (query, sampled): (Waiting, Option<Sampled>),
    permit: Option<OwnedSemaphorePermit>,
) -> Done {
    let was_crowded = permit.is_none();
    let permit = match permit {
        Some(permit) => Some(permit),
        None => timeout(ROOM_TIME, handler.permit_later())
            .await
            .ok()
            .flatten(),
    };
    let query = match permit {
        Some(_) => Some((query.resolve(&handler).await, sampled)),
        None => None,
    };
    Done { query, was_crowded }
}

/// The first message in these bytes, if it is complete.
fn first_message(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_LEN>()?;
    rest.get(..u16::from_be_bytes(*length).into())
}

/// Reads into a buffer. Returns how many bytes, which is zero at the end of the stream.
fn poll_read(
    cx: &mut Context<'_>,
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(buffer);
    match ready!(Pin::new(stream).poll_read(cx, &mut buffer)) {
        // TLS without close_notify counts as an end: each message has its length, so an attacker who cuts the
        // connection cannot shorten one.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        read => read?,
    }
    Poll::Ready(Ok(buffer.filled().len()))
}
