//! What all requests of both parts have in common: an id, a line in the log, a counter, the headers of all responses,
//! and the problem document if there is one.
//!
//! It is the outermost layer, so the responses of all other layers pass through it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tracing::Instrument;

use crate::access::token::hex;
use crate::base::logging::REQUESTS;
use crate::base::metrics::HttpStatus;
use crate::http::problem::Problem;

/// The header that carries the id of a request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken from a client, in characters.
const MAX_ID_LEN: usize = 64;
/// The size of an id made here, in bytes; it is written in hex.
const MADE_ID_BYTES: usize = 12;
/// How much of a path or a host is logged, in characters.
const MAX_LOGGED: usize = 256;

/// The part that is observed, and its counter.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    pub(crate) part: &'static str,
    pub(crate) requests: Family<HttpStatus, Counter>,
}

/// The id of a request, stored in the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(Arc<str>);

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The id that the client sent if it is a sane one, otherwise a random id.
    fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(REQUEST_ID).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Self::made();
        };
        let sane = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        match value.to_str() {
            Ok(id) if (1..=MAX_ID_LEN).contains(&id.len()) && id.as_bytes().iter().all(sane) => {
                Self(id.into())
            }
            _ => Self::made(),
        }
    }

    fn made() -> Self {
        /// Numbers the requests of a system that has no random bytes to give.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut bytes = [0; MADE_ID_BYTES];
        match getrandom::fill(&mut bytes) {
            Ok(()) => Self(hex(&bytes).into()),
            Err(_) => Self(COUNT.fetch_add(1, Ordering::Relaxed).to_string().into()),
        }
    }
}

/// The middleware.
pub(crate) async fn observe(
    State(observer): State<Observer>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let mut line = AccessLine::new(observer.part, &id, &request);
    let head = request.method() == Method::HEAD;
    let span = tracing::info_span!("request", request_id = id.as_str());
    let mut response = next.run(request).instrument(span).await;

    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        *response.body_mut() = problem.body(id.as_str());
        // A router may have set the length when the response had no body yet.
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    if head {
        strip_body(&mut response);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    let status = response.status().as_u16();
    observer
        .requests
        .get_or_create(&HttpStatus { status })
        .inc();
    line.status = Some(response.status());
    response
}

/// RFC 9110 §9.3.2: the response to HEAD has the headers of GET and no content.
fn strip_body(response: &mut Response) {
    if let Some(len) = response.body().size_hint().exact()
        && !response.headers().contains_key(CONTENT_LENGTH)
    {
        response.headers_mut().insert(CONTENT_LENGTH, len.into());
    }
    *response.body_mut() = Body::empty();
}

/// One line of the access log, written when it is dropped. So a request whose client disconnected before the response
/// has a line, too, without a status.
struct AccessLine {
    part: &'static str,
    id: RequestId,
    method: Method,
    host: Option<String>,
    path: String,
    peer: Option<SocketAddr>,
    started: Instant,
    status: Option<StatusCode>,
}

impl AccessLine {
    fn new(part: &'static str, id: &RequestId, request: &Request) -> Self {
        let header = request.headers().get(HOST).map(HeaderValue::as_bytes);
        // HTTP/2 has the host in the request target (RFC 9113 §8.3.1).
        let authority = || Some(request.uri().authority()?.as_str().as_bytes());
        let host = header.or_else(authority).map(|bytes| {
            String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_LOGGED)]).into_owned()
        });
        Self {
            part,
            id: id.clone(),
            method: request.method().clone(),
            host,
            path: request.uri().path().chars().take(MAX_LOGGED).collect(),
            peer: request
                .extensions()
                .get::<ConnectInfo<SocketAddr>>()
                .map(|info| info.0),
            started: Instant::now(),
            status: None,
        }
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::info!(
            target: REQUESTS,
            part = self.part,
            request_id = self.id.as_str(),
            method = self.method.as_str(),
            host = self.host,
            path = self.path,
            status = self.status.map(|s| s.as_u16()),
            micros,
            peer = self.peer.map(|peer| peer.to_string()),
            "{}",
            if self.status.is_some() {
                "request"
            } else {
                "request abandoned by its client"
            }
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::http::testing::{Call, Server, TOKEN};

    #[test]
    fn sane_ids_are_taken_over() {
        let check = |sent: &[&str], kept: bool| {
            let mut headers = HeaderMap::new();
            for id in sent {
                headers.append(REQUEST_ID, HeaderValue::from_str(id).unwrap());
            }
            let id = RequestId::of(&headers);
            assert_eq!(Some(&id.as_str()) == sent.first(), kept, "{sent:?}");
            assert!(!id.as_str().is_empty());
        };
        check(&["a"], true);
        check(&["4f3c.A_-"], true);
        check(&[&"x".repeat(64)], true);
        check(&[&"x".repeat(65)], false);
        check(&["a", "a"], false);
        check(&["a b"], false);
        check(&["a\"b"], false);
        check(&["<script>"], false);
        check(&[], false);
        let empty = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_static(""))]);
        assert_eq!(RequestId::of(&empty).as_str().len(), 2 * MADE_ID_BYTES);
        assert_ne!(RequestId::made(), RequestId::made());
    }

    /// The log of one request with a token and a query, as JSON lines.
    async fn logged() -> String {
        let log = Arc::new(Mutex::new(Vec::new()));
        let writer = {
            let log = log.clone();
            move || Shared(log.clone())
        };
        let request = || Call::get("/v1/links/absent?zone=hidden").header("x-request-id", "id-1");
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_writer(writer)
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        // If another test, without a subscriber, registers the call site at the same moment, tracing may disable it
        // here, too.
        for _ in 0..10 {
            Server::new().call(request()).await;
            if !log.lock().unwrap().is_empty() {
                break;
            }
            tracing::callsite::rebuild_interest_cache();
        }
        let bytes = log.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// A log in memory.
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_request_has_one_line_without_secrets() {
        let log = logged().await;
        assert_eq!(log.lines().count(), 1, "{log}");
        let line: serde_json::Value = serde_json::from_str(&log).unwrap();
        let fields = &line["fields"];
        assert_eq!(fields["message"], "request", "{log}");
        assert_eq!(fields["request_id"], "id-1");
        assert_eq!(fields["method"], "GET");
        assert_eq!(fields["path"], "/v1/links/absent");
        assert_eq!(fields["status"], 404);
        assert_eq!(fields["part"], "admin");
        assert!(fields["micros"].is_u64());
        assert!(!log.contains(TOKEN), "{log}");
        assert!(!log.contains("hidden"), "{log}");
    }
}
