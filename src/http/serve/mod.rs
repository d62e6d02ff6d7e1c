//! The loop that serves a router on a listener, with every wait and every number bounded.
//!
//! [`crate::base::admission`] decides which connections stay, by the rules that DNS over TCP has: so many in all, so many
//! for one client, and where those are taken the one leaves that has waited longest for its client. Each part, the
//! admin API and the redirect host, has seats of its own ([`Front`]), so that a crowd at one takes nothing from the
//! other.
//!
//! axum's own `serve` bounds nothing: a client that connects and says nothing, sends its head a byte
//! a minute or never reads its answer keeps its connection for ever. Here each connection has one
//! watchdog. It knows from [`Activity`] whether a request is in flight and when the last byte
//! moved, and closes the connection
//!
//! * when no request has begun within [`ServeLimits::head_timeout`] of the connection's start;
//! * when none is in flight for [`ServeLimits::idle_timeout`];
//! * when one is, and no byte moves either way for [`ServeLimits::stall_timeout`].
//!
//! The last rule, and not a deadline for the whole response, is what bounds a stream: a batch may
//! take an hour as long as it moves. Until a response begins, [`ServeLimits::answer_timeout`] holds.
//! (hyper has a time-out for HTTP/1 heads, which is used, too; it does not cover the first bytes,
//! by which HTTP/2 is told from HTTP/1, nor HTTP/2 itself.)
//!
//! A connection that we close while its client is still sending would be reset, and the client could
//! lose the very answer that told it to stop (RFC 9112 §9.6). So after the last response the reading
//! side lingers for a moment and drops what comes.
//!
//! HTTP/2 gives a client more to do harm with than connections: streams that it opens and resets at once
//! (CVE-2023-44487), and heads without an end (CVE-2024-27316). The bounds on those are set here, and not left to
//! what hyper has by default.

mod activity;
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
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use self::activity::{Activity, InFlight, RequestBody, ResponseBody, Silence};
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
/// How many HTTP/2 streams that a client has reset before they were served are remembered; beyond them the connection
/// ends (CVE-2023-44487).
const MAX_PENDING_RESET_STREAMS: usize = 20;
/// How many HTTP/2 streams we may reset for a client's mistakes before the connection ends.
const MAX_ERROR_RESET_STREAMS: usize = 100;
/// How long a connection without a request is kept at shutdown. HTTP/1 needs none of it; HTTP/2
/// takes a round trip to agree on which request was the last.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long, and for how many bytes, a closed connection is read on.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 8 * 1024 * 1024;

/// The times of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// How long the head of a request may take, and how long a new connection may say nothing.
    pub head_timeout: Duration,
    /// How long a connection is kept without a request. HTTP/1 connections are closed after
    /// `head_timeout` where that is shorter.
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

/// One part of HTTP: the seats of its connections, which all of its listeners share, and where it counts. Clones are
/// the same.
#[derive(Clone)]
pub struct Front {
    part: HttpPart,
    seats: Seats,
    errors: Counter,
    metrics: Arc<Metrics>,
}

impl Front {
    /// A part with so many connections.
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

    /// What the part is called in the log.
    pub fn name(&self) -> &'static str {
        self.part.name()
    }

    /// A seat for a connection of this client.
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

/// Serves `router` to whoever connects, HTTP/1 and HTTP/2 without TLS, until `shutdown`; then
/// finishes the requests in flight, but within [`ServeLimits::drain_timeout`].
///
/// Handlers find the client's address as `ConnectInfo<SocketAddr>`.
///
/// # Errors
/// That the socket is no listener; other errors that an accept may bring are survived.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    front: Front,
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
    // Whoever connects once this is over is told so by the system.
    let accepted = accept_all(listener, listening, |stream, peer| {
        let seat = match front.admit(peer) {
            Ok(seat) => seat,
            Err(reason) => {
                front.count_close(reason);
                return reset(&stream);
            }
        };
        let (front, router) = (front.clone(), router.clone());
        let tokens = [shutdown.clone(), cut.clone()];
        connections.spawn(async move {
            let reason = connection(stream, peer, seat, router, limits, tokens).await;
            front.count_close(reason);
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

/// Serves one connection to its end, and says why it ended.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    seat: Seat,
    router: Router,
    mut limits: ServeLimits,
    [shutdown, cut]: [CancellationToken; 2],
) -> HttpCloseReason {
    // Responses are written in one piece; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    set_user_timeout(&stream, limits.stall_timeout);
    let stream = Arc::new(stream);
    let activity = Arc::new(Activity::new(seat.rest()));
    let io = TokioIo::new(Io {
        stream: Arc::clone(&stream),
        activity: Arc::clone(&activity),
    });
    let service = {
        let activity = Arc::clone(&activity);
        service_fn(move |request| {
            answer(request, peer, router.clone(), limits, Arc::clone(&activity))
        })
    };
    let builder = builder(&limits);
    let mut connection = pin!(builder.serve_connection(io, service));
    // Why it is to end once its requests are answered.
    let mut ending = None;
    let (reason, finished) = loop {
        tokio::select! {
            ended = connection.as_mut() => {
                let reason = match &ended {
                    Ok(()) => HttpCloseReason::Client,
                    Err(error) => broken(error.as_ref(), &activity),
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
                // A request has come just before it was told to leave.
                ending = Some(reason);
                limits.idle_timeout = limits.idle_timeout.min(FAREWELL);
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(activity.look_again(&limits)) => {
                // Something may have moved since the deadline was worked out.
                let (deadline, silence) = activity.deadline(&limits);
                if deadline <= Instant::now() {
                    break (ending.unwrap_or(silence.into()), false);
                }
            }
        }
    };
    if finished {
        if seat.give_up() {
            let _ = timeout(LINGER, linger(&stream)).await;
        }
    } else if activity.is_unread() {
        // What the client does not read is not to stay in the system's memory.
        reset(&stream);
    }
    reason
}

/// Why HTTP has given a connection up.
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

/// The last resort: each part has closer bounds of its own, and better words.
fn overdue() -> Response<Body> {
    tracing::error!("a request took too long to answer");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Drops what a client still sends, up to a limit or until it closes its side.
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
