//! The loop that serves a router on a listener, with every wait bounded.
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

use std::convert::Infallible;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use axum::http::{Request, Response, StatusCode};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// The largest head of a request, in bytes; a larger one gets 431.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// The largest head of an HTTP/2 request, decompressed, in bytes.
const MAX_HEADER_LIST_BYTES: u32 = 32 * 1024;
/// How many headers a request may have; more get 431.
const MAX_HEADERS: usize = 100;
/// How many requests one HTTP/2 connection may have in flight.
const MAX_STREAMS: u32 = 100;
/// How much of one HTTP/2 response is held for a client that does not read, in bytes.
const MAX_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// How long to wait before accepting again when the process or the system has no more descriptors.
/// Such an error leaves the connection in the queue: without a pause the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a connection without a request is kept at shutdown. HTTP/1 needs none of it; HTTP/2
/// takes a round trip to agree on which request was the last.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long, and for how many bytes, a closed connection is read on.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 8 * 1024 * 1024;

/// The bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// How many connections are served at a time; more wait in the system's queue.
    pub max_connections: usize,
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
            max_connections: 1_024,
            head_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves `router` to whoever connects, HTTP/1 and HTTP/2 without TLS, until `shutdown`; then
/// finishes the requests in flight, but within [`ServeLimits::drain_timeout`].
///
/// Handlers find the client's address as `ConnectInfo<SocketAddr>`.
///
/// # Errors
/// None that an accept may bring: those are survived. An error would be one of the listener itself.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServeLimits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let local = listener.local_addr()?;
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    loop {
        let (stream, peer, slot) = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &slots) => match accepted {
                Some(accepted) => accepted,
                None => continue,
            },
        };
        connections.spawn(connection(
            Arc::new(stream),
            peer,
            slot,
            router.clone(),
            limits,
            [shutdown.clone(), cut.clone()],
        ));
    }
    // Whoever connects from now on is told so by the system.
    drop(listener);
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
    Ok(())
}

/// The next connection, once there is a slot for it. The slot comes first: a connection that cannot
/// be served yet waits in the system's queue and costs us no descriptor.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, slot)),
        // The client was gone before we got to it.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
            ) =>
        {
            None
        }
        Err(error) => {
            tracing::error!(%error, "cannot accept a connection; trying again shortly");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Serves one connection to its end.
async fn connection(
    stream: Arc<TcpStream>,
    peer: SocketAddr,
    _slot: OwnedSemaphorePermit,
    router: Router,
    mut limits: ServeLimits,
    [shutdown, cut]: [CancellationToken; 2],
) {
    // Responses are written in one piece; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::new());
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
    let mut draining = false;
    let finished = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended.is_ok(),
            () = cut.cancelled() => break false,
            () = shutdown.cancelled(), if !draining => {
                draining = true;
                limits.idle_timeout = limits.idle_timeout.min(FAREWELL);
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(activity.look_again(&limits)) => {
                // Something may have moved since the deadline was worked out.
                if activity.deadline(&limits) <= Instant::now() {
                    break false;
                }
            }
        }
    };
    if finished {
        let _ = timeout(LINGER, linger(&stream)).await;
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
        .max_send_buf_size(MAX_SEND_BUFFER_BYTES);
    builder
}

/// Answers one request.
async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    router: Router,
    limits: ServeLimits,
    activity: Arc<Activity>,
) -> Result<Response<InFlightBody>, Infallible> {
    let in_flight = InFlight::begin(activity);
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = match timeout(limits.answer_timeout, router.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Err(_) => overdue(),
    };
    Ok(response.map(|body| InFlightBody {
        body,
        _in_flight: in_flight,
    }))
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
async fn linger(stream: &TcpStream) -> io::Result<()> {
    let mut dropped = 0;
    let mut buffer = [0; 4_096];
    while dropped < LINGER_BYTES {
        stream.readable().await?;
        match stream.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => dropped += len,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// What moves on a connection.
#[derive(Debug)]
struct Activity {
    start: Instant,
    /// Whether any request has begun.
    begun: AtomicBool,
    /// Requests whose response has not ended.
    in_flight: AtomicUsize,
    /// When the last byte moved, in milliseconds since `start`.
    moved: AtomicU64,
    /// When the last request ended, in milliseconds since `start`.
    ended: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            begun: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            moved: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn touch(&self) {
        self.moved.store(self.millis(), Ordering::Relaxed);
    }

    /// When the watchdog looks next. What moves may also bring the deadline nearer, so it looks at
    /// least as often as the shortest of its times, and is late by no more than that.
    fn look_again(&self, limits: &ServeLimits) -> Instant {
        let shortest = limits
            .head_timeout
            .min(limits.idle_timeout)
            .min(limits.stall_timeout);
        self.deadline(limits).min(Instant::now() + shortest)
    }

    /// When the connection is to be closed if nothing changes.
    fn deadline(&self, limits: &ServeLimits) -> Instant {
        let since = |mark: &AtomicU64| Duration::from_millis(mark.load(Ordering::Relaxed));
        let allowed = if self.in_flight.load(Ordering::Acquire) > 0 {
            // A response that has not begun has a bound of its own.
            since(&self.moved) + limits.stall_timeout.max(limits.answer_timeout)
        } else if self.begun.load(Ordering::Acquire) {
            since(&self.ended) + limits.idle_timeout
        } else {
            limits.head_timeout
        };
        self.start + allowed
    }
}

/// Counts a request as in flight for as long as it lives.
struct InFlight(Arc<Activity>);

impl InFlight {
    fn begin(activity: Arc<Activity>) -> Self {
        activity.touch();
        activity.in_flight.fetch_add(1, Ordering::AcqRel);
        activity.begun.store(true, Ordering::Release);
        Self(activity)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.ended.store(self.0.millis(), Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A response's body; with it ends the request.
struct InFlightBody {
    body: Body,
    _in_flight: InFlight,
}

impl HttpBody for InFlightBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection whose every byte counts as activity. The stream is shared, so that it can be read
/// on when HTTP is through with it.
struct Io {
    stream: Arc<TcpStream>,
    activity: Arc<Activity>,
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(buffer.initialize_unfilled()) {
                Ok(len) => {
                    buffer.advance(len);
                    self.activity.touch();
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl Io {
    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match write(&self.stream) {
                Ok(len) => {
                    self.activity.touch();
                    return Poll::Ready(Ok(len));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The system flushes.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(&*self.stream).shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests;
