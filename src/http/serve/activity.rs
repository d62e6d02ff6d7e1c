//! The activity of a connection: when bytes move, and whether its requests wait for the client.
//!
//! A request waits for its client while it reads a body that has not arrived yet, and while the client has not yet
//! read the part of the response that is ready. It does not wait for the client while the server produces the
//! response, which for a batch is a stream. While all requests of a connection wait for the client, or there is no
//! request, the connection is at rest, and may have to leave for another one (see [`crate::base::admission`]).

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::ServeLimits;
use super::content::Content;
use crate::base::admission::Rest;

/// The activity of one connection.
pub(super) struct Activity {
    start: Instant,
    /// When the last byte moved, in milliseconds since `start`.
    moved: AtomicU64,
    /// Whether the system's send buffer is full, because the client does not read.
    unread: AtomicBool,
    requests: Mutex<Requests>,
    rest: Rest,
}

/// The requests of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Requests {
    /// Whether any request has begun.
    begun: bool,
    /// Whether requests come by HTTP/1.
    http1: bool,
    /// How many have a response that has not ended.
    in_flight: usize,
    /// How many of these the server is working on.
    in_work: usize,
    /// When the last one ended, since `start`.
    ended: Duration,
}

/// What a connection waits for when no byte has moved for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// The head of the first request.
    Head,
    /// Another request.
    Idle,
    /// A request or response in flight.
    Stalled,
}

impl Activity {
    pub(super) fn new(rest: Rest) -> Self {
        Self {
            start: Instant::now(),
            moved: AtomicU64::new(0),
            unread: AtomicBool::new(false),
            requests: Mutex::default(),
            rest,
        }
    }

    /// Notes that a byte has moved.
    pub(super) fn touch(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(millis, Ordering::Relaxed);
    }

    /// Whether the server works on any request.
    pub(super) fn is_at_work(&self) -> bool {
        self.requests().in_work > 0
    }

    /// Notes whether the system's send buffer is full.
    pub(super) fn set_unread(&self, unread: bool) {
        self.unread.store(unread, Ordering::Relaxed);
    }

    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// When the watchdog checks next. Activity may also bring the deadline nearer, so the watchdog checks at least as
    /// often as the shortest of its times, and is late by no more than that.
    pub(super) fn look_again(&self, limits: &ServeLimits) -> Instant {
        let shortest = limits
            .head_timeout
            .min(limits.idle_timeout)
            .min(limits.stall_timeout);
        self.deadline(limits).0.min(Instant::now() + shortest)
    }

    /// When the connection is to be closed if nothing changes, and for what reason.
    pub(super) fn deadline(&self, limits: &ServeLimits) -> (Instant, Silence) {
        let requests = *self.requests();
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        let (allowed, silence) = if requests.in_flight > 0 {
            // Until the response begins, another time limit holds.
            let stall = limits.stall_timeout.max(limits.answer_timeout);
            (moved + stall, Silence::Stalled)
        } else if requests.http1 {
            // The head of the next request counts as a part of the wait for it.
            let idle = limits.idle_timeout.min(limits.head_timeout);
            let is_silent = moved <= requests.ended + Duration::from_millis(1);
            let silence = if is_silent {
                Silence::Idle
            } else {
                Silence::Head
            };
            (requests.ended + idle, silence)
        } else if requests.begun {
            (requests.ended + limits.idle_timeout, Silence::Idle)
        } else {
            (limits.head_timeout, Silence::Head)
        };
        (self.start + allowed, silence)
    }

    /// Notes that requests come by HTTP/1.
    pub(super) fn note_http1(&self) {
        self.requests().http1 = true;
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more request in work, or one less. It updates the seat while it holds the lock, because the
    /// streams of HTTP/2 are separate tasks.
    fn work(&self, requests: &mut Requests, more: bool) {
        if more {
            requests.in_work += 1;
            if requests.in_work == 1 {
                self.rest.note(None);
            }
        } else {
            requests.in_work = requests.in_work.saturating_sub(1);
            if requests.in_work == 0 {
                self.rest.note(Some(Instant::now()));
            }
        }
    }
}

/// A request, from its head to the end of its response. The request's body, the handler and the response share it.
#[derive(Clone)]
pub(super) struct InFlight(Arc<Flight>);

struct Flight {
    activity: Arc<Activity>,
    waits: Mutex<Waits>,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, Default)]
struct Waits {
    /// For bytes of its body that have not arrived.
    for_body: bool,
    /// For the client to read the part of the response that is ready.
    for_reader: bool,
    has_ended: bool,
}

impl Waits {
    fn is_in_work(self) -> bool {
        !(self.for_body || self.for_reader || self.has_ended)
    }
}

impl InFlight {
    pub(super) fn begin(activity: Arc<Activity>) -> Self {
        activity.touch();
        let mut requests = activity.requests();
        requests.begun = true;
        requests.in_flight += 1;
        activity.work(&mut requests, true);
        drop(requests);
        Self(Arc::new(Flight {
            activity,
            waits: Mutex::default(),
        }))
    }

    fn set(&self, change: impl FnOnce(&mut Waits)) {
        let mut waits = self.0.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let before = waits.is_in_work();
        change(&mut waits);
        let after = waits.is_in_work();
        if before != after {
            let activity = &self.0.activity;
            activity.work(&mut activity.requests(), after);
        }
    }

    fn end(&self) {
        self.set(|waits| waits.has_ended = true);
        let activity = &self.0.activity;
        let mut requests = activity.requests();
        requests.in_flight = requests.in_flight.saturating_sub(1);
        requests.ended = activity.start.elapsed();
    }
}

/// Ends the request when it is dropped: after the response, or earlier if there is none.
pub(super) struct EndsRequest(Begun);

enum Begun {
    /// Its response was ready at once, so the server never worked on it.
    Answered(Arc<Activity>),
    InFlight(InFlight),
}

impl InFlight {
    pub(super) fn guard(&self) -> EndsRequest {
        EndsRequest(Begun::InFlight(self.clone()))
    }
}

impl EndsRequest {
    /// Begins a request whose response is ready.
    pub(super) fn answered(activity: Arc<Activity>) -> Self {
        let mut requests = activity.requests();
        requests.begun = true;
        requests.in_flight += 1;
        drop(requests);
        Self(Begun::Answered(activity))
    }

    /// Notes whether the request waits for the client to read.
    fn wait_for_reader(&self, waits: bool) {
        if let Begun::InFlight(request) = &self.0 {
            request.set(|all| all.for_reader = waits);
        }
    }
}

impl Drop for EndsRequest {
    fn drop(&mut self) {
        match &self.0 {
            Begun::Answered(activity) => {
                let now = Instant::now();
                let mut requests = activity.requests();
                requests.in_flight = requests.in_flight.saturating_sub(1);
                requests.ended = now.saturating_duration_since(activity.start);
                if requests.in_work == 0 {
                    activity.rest.note(Some(now));
                }
            }
            Begun::InFlight(request) => request.end(),
        }
    }
}

/// A request's body that notes whether the handler waits for it.
pub(super) struct RequestBody {
    pub(super) body: Incoming,
    pub(super) request: InFlight,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let for_body = polled.is_pending();
        self.request.set(|waits| waits.for_body = for_body);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.request.set(|waits| waits.for_body = false);
    }
}

/// A response's body. The request ends with it.
pub(super) struct ResponseBody {
    content: Content,
    request: EndsRequest,
}

impl ResponseBody {
    pub(super) fn new(content: Content, request: EndsRequest) -> Self {
        request.wait_for_reader(true);
        Self { content, request }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.content).poll_frame(cx);
        self.request.wait_for_reader(polled.is_ready());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}
