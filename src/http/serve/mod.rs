//! The loop that serves a router on a listener. Every wait and every number has a bound.
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
//! bytes move. Until a response begins, [`ServeLimits::answer_timeout`] holds. (hyper's own time-out for HTTP/1
//! heads is used, too. It covers neither the first bytes, which tell HTTP/2 from HTTP/1, nor HTTP/2 itself.)
//!
//! If the server closes a connection while the client is still sending, the system resets the connection, and the
//! client may lose the response that told it to stop (RFC 9112 §9.6). So after the last response the server goes on
//! reading for a moment and drops what arrives.
//!
//! An HTTP/2 client can do more harm than an HTTP/1 client: it can open streams and reset them at once
//! (CVE-2023-44487), or send a head that does not end (CVE-2024-27316). This module sets the bounds on both itself
//! and does not rely on hyper's defaults.

mod activity;
mod https;
mod io;

pub(crate) mod request_log;

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use self::activity::{Activity, InFlight, RequestBody, ResponseBody, Silence};
pub use self::https::Https;
use self::https::is_http2;
use self::io::Io;
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

/// Serves `router` by HTTP/1 and HTTP/2 until `shutdown`, by TLS if there is an `https`. Then it finishes the requests in flight, within
/// [`ServeLimits::drain_timeout`].
///
/// Handlers find the client's address as `ConnectInfo<SocketAddr>`.
///
/// # Errors
/// Only if the socket is no listener. After all other errors of `accept` it goes on.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    front: Front,
    https: Option<Https>,
    limits: ServeLimits,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let local = listener.local_addr()?;
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
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
        let (front, router, https) = (front.clone(), router.clone(), https.clone());
        let tokens = [shutdown.clone(), cut.clone()];
        connections.spawn(async move {
            let connection = Connection {
                activity: Arc::new(Activity::new(seat.rest())),
                stream: Arc::new(stream),
                peer,
                seat,
                router,
                limits,
                tokens,
            };
            front.count_close(connection.serve(https.as_ref()).await);
        });
    })
    .await;
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
        cut.cancel();
        connections.wait().await;
    }
    accepted
}

/// A connection and what it needs.
struct Connection {
    stream: Arc<TcpStream>,
    activity: Arc<Activity>,
    peer: SocketAddr,
    seat: Seat,
    router: Router,
    limits: ServeLimits,
    /// The first one ends the connection when the requests in flight are answered, the second one at once.
    tokens: [CancellationToken; 2],
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
    async fn serve(self, https: Option<&Https>) -> HttpCloseReason {
        // Responses are written in one piece, so Nagle's algorithm would only delay them.
        let _ = self.stream.set_nodelay(true);
        set_user_timeout(&self.stream, self.limits.stall_timeout);
        let io = Io {
            stream: Arc::clone(&self.stream),
            activity: Arc::clone(&self.activity),
        };
        let ended = match https {
            None => self.requests(io, builder(&self.limits)).await,
            // On the heap: a connection without TLS needs none of its memory.
            Some(https) => Box::pin(self.requests_by_tls(io, https)).await,
        };
        if ended.in_order {
            if self.seat.give_up() {
                let _ = timeout(LINGER, linger(&self.stream)).await;
            }
        } else if self.activity.is_unread() {
            // Data that the client does not read must not stay in the system's memory.
            reset(&self.stream);
        }
        ended.reason
    }

    /// Performs the TLS handshake, then serves requests.
    async fn requests_by_tls(&self, io: Io, https: &Https) -> Ended {
        let [shutdown, cut] = &self.tokens;
        let ended = |reason, in_order| Ended { reason, in_order };
        let session = tokio::select! {
            session = https.accept(io) => session,
            () = cut.cancelled() => return ended(HttpCloseReason::Stop, false),
            () = shutdown.cancelled() => return ended(HttpCloseReason::Stop, false),
            order = self.seat.ordered() => return ended(reason_of(order), false),
        };
        match session {
            Ok(session) => {
                // The client has named the protocol, so its first bytes need not be waited for.
                let builder = match is_http2(&session) {
                    true => builder(&self.limits).http2_only(),
                    false => builder(&self.limits).http1_only(),
                };
                self.requests(session, builder).await
            }
            Err(none) => ended(HttpCloseReason::Handshake, none.alerted),
        }
    }

    /// Serves the requests that come on `io`.
    async fn requests<S>(&self, io: S, builder: auto::Builder<TokioExecutor>) -> Ended
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (seat, activity, mut limits) = (&self.seat, &self.activity, self.limits);
        let [shutdown, cut] = &self.tokens;
        let service = {
            let (peer, router) = (self.peer, self.router.clone());
            let activity = Arc::clone(activity);
            service_fn(move |request| {
                answer(request, peer, router.clone(), limits, Arc::clone(&activity))
            })
        };
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
        // The reason to end as soon as the requests in flight are answered.
        let mut ending = None;
        let (reason, in_order) = loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    let reason = match &ended {
                        Ok(()) => HttpCloseReason::Client,
                        Err(error) => broken(error.as_ref(), activity),
                    };
                    break (ending.unwrap_or(reason), ended.is_ok());
                }
                () = cut.cancelled() => break (HttpCloseReason::Stop, false),
                () = shutdown.cancelled(), if ending.is_none() => {
                    ending = Some(HttpCloseReason::Stop);
                    limits.idle_timeout = limits.idle_timeout.min(FAREWELL);
                    connection.as_mut().graceful_shutdown();
                }
                order = seat.ordered(), if ending.is_none() => {
                    let reason = reason_of(order);
                    if !activity.is_at_work() {
                        break (reason, false);
                    }
                    // A request arrived just before the order to leave.
                    ending = Some(reason);
                    limits.idle_timeout = limits.idle_timeout.min(FAREWELL);
                    connection.as_mut().graceful_shutdown();
                }
                () = sleep_until(activity.look_again(&limits)) => {
                    // Bytes may have moved since the deadline was calculated.
                    let (deadline, silence) = activity.deadline(&limits);
                    if deadline <= Instant::now() {
                        break (ending.unwrap_or(silence.into()), false);
                    }
                }
            }
        };
        Ended { reason, in_order }
    }
}

/// The reason why hyper gave up a connection.
fn broken(error: &(dyn Error + 'static), activity: &Activity) -> HttpCloseReason {
    let is_late = |error: &hyper::Error| error.is_timeout();
    match error.downcast_ref::<hyper::Error>() {
        Some(error) if is_late(error) => activity.silence().into(),
        _ => HttpCloseReason::Error,
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

fn builder(limits: &ServeLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
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
    builder
}

/// Answers one request.
async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    router: Router,
    limits: ServeLimits,
    activity: Arc<Activity>,
) -> Result<Response<ResponseBody>, Infallible> {
    let in_flight = InFlight::begin(activity);
    let end = in_flight.guard();
    let mut request = request.map(|body| {
        Body::new(RequestBody {
            body,
            request: in_flight,
        })
    });
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = match timeout(limits.answer_timeout, router.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Err(_) => overdue(),
    };
    Ok(response.map(|body| ResponseBody::new(body, end)))
}

/// The response of last resort: each part has shorter time limits of its own, with better messages.
fn overdue() -> Response<Body> {
    tracing::error!("a request took too long to answer");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
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
