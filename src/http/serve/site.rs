//! What serves requests: the contract between connections and the parts that answer.
//!
//! A [`Site`] answers at once if it can. Then the response is written in the same turn of the connection: there is no
//! task, no timer and no memory for a wait. Otherwise it returns a future, for which [`ServeLimits::answer_timeout`]
//! holds.
//!
//! [`ServeLimits::answer_timeout`]: super::ServeLimits::answer_timeout

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use tower::ServiceExt;

use super::activity::{Activity, InFlight, RequestBody};
use super::content::Content;
use super::https::Session;
use super::plain::Plain;

/// What answers the requests of a listener.
pub trait Site: Send + Sync {
    /// Answers a request.
    fn answer(&self, request: Request<Incoming>, call: &Call<'_>) -> Answer;

    /// Appends the response to a plain request, in the form of HTTP/1.1, if the site can make it at once. If not, it
    /// returns false and has had no effect, and [`Site::answer`] gets the request. Both give the same response.
    fn answer_plain(&self, _: &Plain<'_>, _: &Client, _: &mut Vec<u8>) -> bool {
        false
    }
}

/// The answer to a request.
pub enum Answer {
    /// The response is ready.
    Now(Response<Content>),
    /// The response has to be waited for.
    Later(Later),
}

/// A response that has to be waited for.
pub type Later = Pin<Box<dyn Future<Output = Response<Content>> + Send>>;

/// The client of a connection.
pub struct Client {
    /// Its address.
    pub(crate) peer: SocketAddr,
    /// The address as text, for the log.
    pub(crate) text: Box<str>,
    /// The TLS session, if there is one.
    session: Option<Session>,
}

impl Client {
    pub(super) fn new(peer: SocketAddr, session: Option<Session>) -> Self {
        Self {
            peer,
            text: peer.to_string().into(),
            session,
        }
    }

    /// Whether the client may ask for this host on its connection. By TLS, it may ask for the hosts of the certificate
    /// that the server has shown (RFC 9110 §4.3.3, §7.4).
    pub(crate) fn may_ask_for(&self, host: &str) -> bool {
        self.session.as_ref().is_none_or(|tls| tls.is_for(host))
    }
}

/// A request on its connection.
pub struct Call<'a> {
    pub(crate) client: &'a Client,
    activity: &'a Arc<Activity>,
    flight: OnceCell<InFlight>,
}

impl<'a> Call<'a> {
    pub(super) fn new(client: &'a Client, activity: &'a Arc<Activity>) -> Self {
        Self {
            client,
            activity,
            flight: OnceCell::new(),
        }
    }

    /// The request while the server works on it.
    pub(super) fn in_flight(&self) -> &InFlight {
        self.flight
            .get_or_init(|| InFlight::begin(Arc::clone(self.activity)))
    }
}

/// A router as a site. Handlers find the client's address as `ConnectInfo<SocketAddr>`.
impl Site for Router {
    fn answer(&self, request: Request<Incoming>, call: &Call<'_>) -> Answer {
        let in_flight = call.in_flight();
        let mut request = request.map(|body| {
            Body::new(RequestBody {
                body,
                request: in_flight.clone(),
            })
        });
        let peer = ConnectInfo(call.client.peer);
        request.extensions_mut().insert(peer);
        let router = self.clone();
        Answer::Later(Box::pin(async move {
            let Ok(response) = router.oneshot(request).await;
            response.map(Content::Stream)
        }))
    }
}
