//! The loop that serves a [`Site`] on a listener. Every wait and every number has a bound.
//!
//! [`crate::base::admission`] decides which connections stay, by the same rules as for DNS over TCP: a limit on all
//! connections and a limit for each client. Where a limit is reached, the connection that has waited longest for its
//! client has to leave. The admin API and the redirect host have separate seats ([`Front`]), so that a crowd at one
//! of them takes nothing from the other.
//!
//! axum's own `serve` has no bounds: a client that connects and sends nothing, sends its head a byte a minute, or
//! never reads the response keeps its connection for ever. Here each connection has one watchdog. It knows from
//! [`Activity`] whether a request is in flight and when the last byte moved, and closes the connection
//!
//! * when no request has begun within [`ServeLimits::head_timeout`] of the connection's start;
//! * when no request is in flight for [`ServeLimits::idle_timeout`];
//! * when a request is in flight and no byte moves in either direction for [`ServeLimits::stall_timeout`].
//!
//! The last rule bounds streams, instead of a deadline for the whole response: a batch may take an hour as long as
//! bytes move. Until a response begins, [`ServeLimits::answer_timeout`] holds. hyper's own time-out for HTTP/1 heads
//! is not used: it sets a timer for each request, and covers neither the first bytes, which tell HTTP/2 from HTTP/1,
//! nor HTTP/2 itself.
//!
//! Plain HTTP/1.1 requests that the site answers from memory do not get to hyper (`direct`). It serves all others.
//!
//! If the server closes a connection while the client is still sending, the system resets the connection, and the
//! client may lose the response that told it to stop (RFC 9112 §9.6). So after the last response the server goes on
//! reading for a moment and drops what arrives.
//!
//! An HTTP/2 client can do more harm than an HTTP/1 client: it can open streams and reset them at once
//! (CVE-2023-44487), or send a head that does not end (CVE-2024-27316). This module sets the bounds on both itself
//! and does not rely on hyper's defaults.

mod activity;
mod content;
mod date;
mod direct;
mod gathered;
mod https;
mod io;
mod plain;
mod rewound;
mod service;
mod site;

pub(crate) mod request_log;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::activity::{Activity, Silence};
pub(crate) use self::content::Content;
pub(crate) use self::date::push_date;
use self::direct::Direct;
use self::gathered::{Gathered, Gathering};
pub use self::https::Https;
use self::https::{Session, is_http2};
use self::io::Io;
pub use self::plain::Plain;
use self::rewound::Rewound;
use self::service::{Requests, Streams};
pub(crate) use self::site::{Answer, Call};
pub use self::site::{Client, Site};
use crate::base::admission::{
    Listening, Order, Reason, Refusal, Seat, SeatLimits, Seats, accept_all, reset, set_user_timeout,
};
use crate::base::metrics::{HttpClose, HttpCloseReason, HttpPart, HttpPartLabel, Metrics};

/// The largest head of a request, in bytes; a larger one gets 431.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// The largest head of an HTTP/2 request, decompressed, in bytes. It also bounds the CONTINUATION frames of one
/// (CVE-2024-27316).
const MAX_HEADER_LIST_BYTES: u32 = 32 * 1024;
/// How many headers a request may have; more get 431.
const MAX_HEADERS: usize = 100;
/// How many requests one HTTP/2 connection may have in flight.
const MAX_STREAMS: u32 = 100;
/// How much of one HTTP/2 response is held for a client that does not read, in bytes.
const MAX_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// How many HTTP/2 streams a client may have reset before the server has looked at them; with more, the connection
/// ends (CVE-2023-44487).
const MAX_PENDING_RESET_STREAMS: usize = 20;
/// How many HTTP/2 streams the server resets because of a client's errors before the connection ends.
const MAX_ERROR_RESET_STREAMS: usize = 100;
/// How long a connection without a request stays open at shutdown. HTTP/1 does not need this; with HTTP/2 the two
/// sides need a round trip to agree on the last request.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long, and for how many bytes, the server reads from a connection that it has closed for writing.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 8 * 1024 * 1024;

/// The times of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// How long the head of a request may take, and how long a new connection may send nothing.
    pub head_timeout: Duration,
    /// How long a connection stays open without a request. HTTP/1 connections are closed after `head_timeout` if that
    /// is shorter.
    pub idle_timeout: Duration,
    /// How long a request may take until its response begins; then it gets a 503.
    pub answer_timeout: Duration,
    /// How long a request in flight may go without a byte moving.
    pub stall_timeout: Duration,
    /// How long requests in flight have to finish at shutdown.
    pub drain_timeout: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// One part of HTTP: the seats of its connections, which all its listeners share, and its counters. Clones share
/// them.
#[derive(Clone)]
pub struct Front {
    part: HttpPart,
    seats: Seats,
    errors: Counter,
    metrics: Arc<Metrics>,
}

impl Front {
    /// A part with these limits on its connections.
    pub fn new(part: HttpPart, limits: &SeatLimits, metrics: Arc<Metrics>) -> Self {
        let label = HttpPartLabel { part };
        let open = metrics.http_connections.get_or_create(&label).clone();
        let errors = metrics.http_accept_errors.get_or_create(&label).clone();
        Self {
            part,
            seats: Seats::new(part.name(), limits, open),
            errors,
            metrics,
        }
    }

    /// The name of the part in the log.
    pub fn name(&self) -> &'static str {
        self.part.name()
    }

    /// Gives a seat to a connection of this client.
    fn admit(&self, peer: SocketAddr) -> Result<Seat, HttpCloseReason> {
        let seat = self.seats.admit(peer.ip())?;
        let label = HttpPartLabel { part: self.part };
        self.metrics.http_accepted.get_or_create(&label).inc();
        Ok(seat)
    }

    fn count_close(&self, reason: HttpCloseReason) {
        let part = self.part;
        let closed = HttpClose { part, reason };
        self.metrics.http_closed.get_or_create(&closed).inc();
    }
}

/// Serves `site` by HTTP/1 and HTTP/2 until `shutdown`, by TLS if there is an `https`. Then it finishes the requests in
/// flight, within [`ServeLimits::drain_timeout`], on all listeners of this front.
///
/// # Errors
/// Only if the socket is no listener. After all other errors of `accept` it goes on.
pub async fn serve(
    listener: TcpListener,
    site: Arc<dyn Site>,
    front: Front,
    https: Option<Https>,
    limits: ServeLimits,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let local = listener.local_addr()?;
    let connections = TaskTracker::new();
    let listening = Listening {
        seats: &front.seats,
        errors: &front.errors,
        stop: &shutdown,
    };
    // Once this ends, the listener is closed, and the system refuses new connections.
    let accepted = accept_all(listener, listening, |stream, peer| {
        let seat = match front.admit(peer) {
            Ok(seat) => seat,
            Err(reason) => {
                front.count_close(reason);
                return reset(&stream);
            }
        };
        let (front, site, https) = (front.clone(), Arc::clone(&site), https.clone());
        connections.spawn(async move {
            let (reading, stream) = stream.into_split();
            let connection = Connection {
                activity: Arc::new(Activity::new(seat.rest())),
                stream,
                peer,
                seat,
                site,
                limits,
            };
            front.count_close(connection.serve(reading, https.as_ref()).await);
        });
    })
    .await;
    front.seats.close(Order::Stop);
    connections.close();
    if timeout(limits.drain_timeout, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            %local,
            connections = connections.len(),
            "requests are still in flight at the end of the drain time; closing them"
        );
        front.seats.close(Order::Cut);
        connections.wait().await;
    }
    accepted
}

/// A connection and what it needs.
struct Connection {
    /// The other half of the stream that HTTP uses.
    stream: OwnedWriteHalf,
    activity: Arc<Activity>,
    peer: SocketAddr,
    seat: Seat,
    site: Arc<dyn Site>,
    limits: ServeLimits,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
struct Ended {
    reason: HttpCloseReason,
    /// Whether the client is to get all that was written.
    in_order: bool,
}

impl Connection {
    /// Serves the connection to its end, and returns the reason of the end.
    async fn serve(self, reading: OwnedReadHalf, https: Option<&Https>) -> HttpCloseReason {
        let stream: &TcpStream = self.stream.as_ref();
        // Responses are written in one piece, so Nagle's algorithm would only delay them.
        let _ = stream.set_nodelay(true);
        set_user_timeout(stream, self.limits.stall_timeout);
        let io = Io {
            stream: reading,
            activity: Arc::clone(&self.activity),
        };
        let ended = match https {
            None => self.requests(io, None, Protocol::Unknown).await,
            // On the heap: a connection without TLS needs none of its memory.
            Some(https) => Box::pin(self.requests_by_tls(io, https)).await,
        };
        if ended.in_order {
            if self.seat.give_up() {
                let _ = timeout(LINGER, linger(stream)).await;
            }
        } else if self.activity.is_unread() {
            // Data that the client does not read must not stay in the system's memory.
            reset(stream);
        }
        // Otherwise the half would send what a reset must not send.
        self.stream.forget();
        ended.reason
    }

    /// Performs the TLS handshake, then serves requests.
    async fn requests_by_tls(&self, io: Io, https: &Https) -> Ended {
        let ended = |reason, in_order| Ended { reason, in_order };
        let accepted = tokio::select! {
            accepted = https.accept(io) => accepted,
            order = self.seat.ordered() => return ended(reason_of(order), false),
        };
        match accepted {
            Ok((stream, session)) => {
                // The client has named the protocol, so its first bytes need not be waited for.
                let protocol = match is_http2(&stream) {
                    true => Protocol::Http2,
                    false => Protocol::Http1,
                };
                self.requests(stream, Some(session), protocol).await
            }
            Err(none) => ended(HttpCloseReason::Handshake, none.alerted),
        }
    }

    /// Serves the requests that come on `io`.
    async fn requests<S>(&self, io: S, session: Option<Session>, protocol: Protocol) -> Ended
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (activity, mut limits) = (&self.activity, self.limits);
        let requests = Requests {
            site: Arc::clone(&self.site),
            client: Client::new(self.peer, session),
            limits,
            activity: Arc::clone(activity),
        };
        let leaving = AtomicBool::new(false);
        let mut connection = pin!(exchange(io, protocol, requests, &leaving));
        let mut watchdog = pin!(sleep_until(activity.look_again(&limits)));
        let mut last = Order::None;
        // The reason to end as soon as the requests in flight are answered.
        let mut ending = None;
        let (reason, in_order) = loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    let reason = match ended {
                        true => HttpCloseReason::Client,
                        false => HttpCloseReason::Error,
                    };
                    break (ending.unwrap_or(reason), ended);
                }
                order = self.order_after(last) => {
                    last = order;
                    let reason = reason_of(order);
                    let may_go_on = match order {
                        Order::Cut => false,
                        // A request may arrive just before the order to leave.
                        Order::Leave(_) => activity.is_at_work(),
                        Order::None | Order::Stop => true,
                    };
                    if !may_go_on {
                        break (reason, false);
                    }
                    ending.get_or_insert(reason);
                    limits.idle_timeout = limits.idle_timeout.min(FAREWELL);
                    // The next turn of the loop polls the connection.
                    leaving.store(true, Ordering::Relaxed);
                    watchdog.as_mut().reset(activity.look_again(&limits));
                }
                () = watchdog.as_mut() => {
                    // Bytes may have moved since the deadline was calculated.
                    let (deadline, silence) = activity.deadline(&limits);
                    if deadline <= Instant::now() {
                        break (ending.unwrap_or(silence.into()), false);
                    }
                    watchdog.as_mut().reset(activity.look_again(&limits));
                }
            }
        };
        Ended { reason, in_order }
    }

    /// Waits for an order other than the last one.
    async fn order_after(&self, last: Order) -> Order {
        poll_fn(|cx| match self.seat.order(cx.waker()) {
            order if order == last => Poll::Pending,
            order => Poll::Ready(order),
        })
        .await
    }
}

fn reason_of(order: Order) -> HttpCloseReason {
    match order {
        Order::Leave(Reason::Limit) => HttpCloseReason::Limit,
        Order::Leave(Reason::ClientLimit) => HttpCloseReason::ClientLimit,
        Order::Leave(Reason::Descriptors) => HttpCloseReason::Descriptors,
        Order::None | Order::Stop | Order::Cut => HttpCloseReason::Stop,
    }
}

impl From<Refusal> for HttpCloseReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full => Self::Refused,
            Refusal::Client => Self::ClientRefused,
            Refusal::Stopping => Self::Stop,
        }
    }
}

impl From<Silence> for HttpCloseReason {
    fn from(silence: Silence) -> Self {
        match silence {
            Silence::Head => Self::SlowHead,
            Silence::Idle => Self::Idle,
            Silence::Stalled => Self::Stalled,
        }
    }
}

/// Which protocol client and server have agreed on in the TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
    /// None: the first bytes show it.
    Unknown,
}

/// Serves the requests of a connection: those that the site answers directly, and all from the first other one by hyper.
/// Returns whether the connection has ended in order. It ends soon after `leaving` was set and this was polled again.
async fn exchange<S>(io: S, protocol: Protocol, requests: Requests, leaving: &AtomicBool) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (io, protocol) = match protocol {
        Protocol::Http2 => (Rewound::new(io), protocol),
        Protocol::Http1 | Protocol::Unknown => {
            let direct = Direct {
                io,
                site: &*requests.site,
                client: &requests.client,
                activity: &requests.activity,
                leaving,
            };
            match direct.serve().await {
                Ok(Some(left)) if left.is_http1 => (left.io, Protocol::Http1),
                Ok(Some(left)) => (left.io, protocol),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    };
    let builder = builder(protocol);
    // On the heap: connections whose requests are all answered directly need none of its memory.
    let gathering = Gathering::default();
    let io = TokioIo::new(Gathered {
        io,
        gathering: gathering.clone(),
    });
    let mut connection = Box::pin(builder.serve_connection(io, requests));
    let mut has_left = false;
    let ended = poll_fn(|cx| {
        if !has_left && leaving.load(Ordering::Relaxed) {
            has_left = true;
            connection.as_mut().graceful_shutdown();
        }
        gathering.poll(|| connection.as_mut().poll(cx))
    });
    ended.await.is_ok()
}

fn builder(protocol: Protocol) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams);
    builder
        .http1()
        // The watchdog bounds the time of heads.
        .header_read_timeout(None)
        // Most bodies are a few bytes, which are copied more quickly than they are written from two places.
        .writev(false)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .max_send_buf_size(MAX_SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(MAX_PENDING_RESET_STREAMS)
        .max_local_error_reset_streams(MAX_ERROR_RESET_STREAMS);
    match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
        Protocol::Unknown => builder,
    }
}

/// Reads and drops what the client still sends, up to a limit or until it closes its side.
async fn linger(stream: &TcpStream) -> std::io::Result<()> {
    let mut dropped = 0;
    let mut buffer = [0; 4_096];
    while dropped < LINGER_BYTES {
        stream.readable().await?;
        match stream.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => dropped += len,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
