//! The API for the page, which is part of this process and knows its callers by their sessions.
//!
//! A call passes the same routes, with the same checks of roles and zones, as one that comes by the network. Only the
//! guard in front of them is missing, whose work the page has done. So there is one place for the rules about links and
//! tokens, and each new rule of the API holds for the page as well.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::header::{CONTENT_TYPE, HOST, IF_MATCH};
use axum::http::response::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tower::ServiceExt;

use super::ANSWER_DEADLINE;
use crate::access::Caller;
use crate::http::problem::{Kind, Problem};
use crate::http::serve::request_log::RequestId;
use crate::store::StoreError;

/// The API without its guard.
#[derive(Clone, Debug)]
pub struct InsideApi {
    routes: Router,
}

/// On whose behalf the page calls.
#[derive(Clone, Debug)]
pub(in crate::http) struct OnBehalf {
    pub(in crate::http) caller: Caller,
    /// The browser's address.
    pub(in crate::http) peer: Option<SocketAddr>,
    /// The id of the browser's request.
    pub(in crate::http) id: RequestId,
}

/// A response that is no problem.
#[derive(Clone, Debug)]
pub(in crate::http) struct InsideReply {
    pub(in crate::http) status: StatusCode,
    pub(in crate::http) headers: HeaderMap,
    pub(in crate::http) body: Bytes,
}

impl InsideReply {
    /// The body as JSON.
    pub(in crate::http) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.body).map_err(|error| broken(&error))
    }
}

/// What a call sends.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Sent {
    /// The media type and the body.
    pub(in crate::http) body: Option<(&'static str, Vec<u8>)>,
    /// The value of `If-Match`.
    pub(in crate::http) if_match: Option<String>,
}

impl Sent {
    /// A body of JSON.
    pub(in crate::http) fn json(value: &serde_json::Value) -> Self {
        Self {
            body: Some(("application/json", value.to_string().into_bytes())),
            if_match: None,
        }
    }
}

impl InsideApi {
    /// `routes` check the caller that they find in the extensions of a request.
    pub(super) fn new(routes: Router) -> Self {
        Self { routes }
    }

    /// Gets `target`, which is a path with a query.
    ///
    /// # Errors
    /// The problem of a response with a status of 400 or more.
    pub(in crate::http) async fn get(
        &self,
        on_behalf: &OnBehalf,
        target: &str,
    ) -> Result<InsideReply, Problem> {
        self.call(on_behalf, Method::GET, target, Sent::default())
            .await
    }

    /// Calls `target`, which is a path with a query.
    ///
    /// # Errors
    /// The problem of a response with a status of 400 or more.
    pub(in crate::http) async fn call(
        &self,
        on_behalf: &OnBehalf,
        method: Method,
        target: &str,
        sent: Sent,
    ) -> Result<InsideReply, Problem> {
        let answer = async {
            let (head, body) = self.begin(on_behalf, method, target, sent).await?;
            let body = body.collect().await.map_err(|error| broken(&error))?;
            Ok(InsideReply {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        let answer = tokio::time::timeout(ANSWER_DEADLINE, answer).await;
        answer.unwrap_or_else(|_| Err(StoreError::DeadlineExceeded.into()))
    }

    /// Posts to `target`, and returns the body of the response while it is made.
    ///
    /// # Errors
    /// The problem of a response with a status of 400 or more.
    pub(in crate::http) async fn post_stream(
        &self,
        on_behalf: &OnBehalf,
        target: &str,
        sent: Sent,
    ) -> Result<Body, Problem> {
        let begun = self.begin(on_behalf, Method::POST, target, sent).await?;
        Ok(begun.1)
    }

    async fn begin(
        &self,
        on_behalf: &OnBehalf,
        method: Method,
        target: &str,
        sent: Sent,
    ) -> Result<(Parts, Body), Problem> {
        let request = request(on_behalf, method, target, sent)?;
        let Ok(response) = self.routes.clone().oneshot(request).await;
        let (mut head, body) = response.into_parts();
        match head.extensions.remove::<Problem>() {
            Some(problem) => Err(problem),
            None => Ok((head, body)),
        }
    }
}

fn request(
    on_behalf: &OnBehalf,
    method: Method,
    target: &str,
    sent: Sent,
) -> Result<Request<Body>, Problem> {
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, HeaderValue::from_static("localhost"));
    if let Some(tags) = sent.if_match {
        request = request.header(IF_MATCH, tags);
    }
    let body = match sent.body {
        Some((media_type, body)) => {
            request = request.header(CONTENT_TYPE, media_type);
            Body::from(body)
        }
        None => Body::empty(),
    };
    let bad = |_| Problem::new(Kind::NoSuchPath, "there is nothing at this path");
    let mut request = request.body(body).map_err(bad)?;
    let extensions = request.extensions_mut();
    let ip = on_behalf.peer.map(|peer| peer.ip());
    let caller = on_behalf.caller.clone();
    extensions.insert(caller.with_request(ip, on_behalf.id.as_str()));
    extensions.insert(on_behalf.id.clone());
    if let Some(peer) = on_behalf.peer {
        extensions.insert(ConnectInfo(peer));
    }
    Ok(request)
}

/// A response of the API that the page cannot read. It is a defect of this program.
fn broken(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "the page cannot read a response of the API");
    StoreError::Unavailable("the page cannot read a response of the API".into()).into()
}
