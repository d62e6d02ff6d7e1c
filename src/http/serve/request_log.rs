//! What all requests of both parts have in common: an id, a line in the log, a counter, the headers of all responses,
//! and the problem document if there is one.
//!
//! It is the outermost layer, so the responses of all other layers pass through it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, Request, Response, StatusCode};
use axum::middleware::Next;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tracing::Instrument;

use crate::base::logging::REQUESTS;
use crate::base::metrics::HttpStatus;
use crate::http::problem::Problem;
use crate::http::serve::Plain;

/// The header that carries the id of a request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken from a client, in characters.
const MAX_ID_LEN: usize = 64;
/// The size of an id made here, in bytes; it is written in hex.
const MADE_ID_BYTES: usize = 12;
/// For how many ids a thread asks the system for random bytes at once.
const IDS_AT_ONCE: usize = 64;
/// How much of a path or a host is logged, in characters.
const MAX_LOGGED: usize = 256;

/// The part that is observed, and its counter.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    pub(crate) part: &'static str,
    requests: Family<HttpStatus, Counter>,
    /// That of redirects, which is used most.
    found: Arc<OnceLock<Counter>>,
}

/// The id of a request, stored in the request's extensions. It has visible ASCII characters only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId {
    text: [u8; MAX_ID_LEN],
    len: usize,
}

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.len]).unwrap_or_default()
    }

    /// The value of the header.
    pub(crate) fn into_header(self) -> HeaderValue {
        // Visible ASCII is always a valid value.
        let value = HeaderValue::from_str(self.as_str());
        let mut value = value.unwrap_or(HeaderValue::from_static("0"));
        // No id comes again, so it must not take the place of other headers in HPACK's table (RFC 7541 §7.1.3).
        value.set_sensitive(true);
        value
    }

    /// The id that the client sent if it is a sane one, otherwise a random id.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(REQUEST_ID).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::choose(Some(value.as_bytes())),
            _ => Self::made(),
        }
    }

    /// The same, for a request that has this id, or none.
    pub(crate) fn choose(sent: Option<&[u8]>) -> Self {
        let sane = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        match sent {
            Some(id @ [_, ..]) if id.len() <= MAX_ID_LEN && id.iter().all(sane) => Self::new(id),
            _ => Self::made(),
        }
    }

    /// An id of at most [`MAX_ID_LEN`] characters.
    fn new(id: &[u8]) -> Self {
        let mut text = [0; MAX_ID_LEN];
        let len = id.len().min(MAX_ID_LEN);
        text[..len].copy_from_slice(&id[..len]);
        Self { text, len }
    }

    fn made() -> Self {
        /// Numbers the requests of a system that has no random bytes to give.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let Some(bytes) = random_bytes() else {
            return Self::new(COUNT.fetch_add(1, Ordering::Relaxed).to_string().as_bytes());
        };
        let mut hex = [0; 2 * MADE_ID_BYTES];
        for (digits, byte) in hex.chunks_exact_mut(2).zip(bytes) {
            digits[0] = DIGITS[usize::from(byte >> 4)];
            digits[1] = DIGITS[usize::from(byte & 0xf)];
        }
        Self::new(&hex)
    }
}

/// Random bytes for one id; none if the system has none to give. A thread asks the system for those of many ids at once.
fn random_bytes() -> Option<[u8; MADE_ID_BYTES]> {
    thread_local! {
        static WAITING: RefCell<Vec<[u8; MADE_ID_BYTES]>> = const { RefCell::new(Vec::new()) };
    }
    WAITING.with_borrow_mut(|waiting| {
        if waiting.is_empty() {
            let mut bytes = [[0; MADE_ID_BYTES]; IDS_AT_ONCE];
            getrandom::fill(bytes.as_flattened_mut()).ok()?;
            waiting.extend_from_slice(&bytes);
        }
        waiting.pop()
    })
}

impl Observer {
    /// The part of this name, whose requests are counted here.
    pub(crate) fn new(part: &'static str, requests: Family<HttpStatus, Counter>) -> Self {
        let found = Arc::default();
        Self {
            part,
            requests,
            found,
        }
    }

    /// Adds the headers of all responses, and counts the response.
    pub(crate) fn finish<B>(&self, response: &mut Response<B>, id: RequestId) {
        let status = response.status();
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id.into_header());
        if status != StatusCode::FOUND {
            // A redirect has no content that a browser could take for something else.
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        headers
            .entry(CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        self.count(status);
    }

    /// Counts a response.
    pub(crate) fn count(&self, status: StatusCode) {
        let counter = || {
            let status = status.as_u16();
            self.requests.get_or_create_owned(&HttpStatus { status })
        };
        match status {
            StatusCode::FOUND => self.found.get_or_init(counter).inc(),
            _ => counter().inc(),
        };
    }
}

/// The middleware.
pub(crate) async fn observe(
    State(observer): State<Observer>,
    mut request: Request<Body>,
    next: Next,
) -> Response<Body> {
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|info| info.0.to_string());
    let mut line = WaitingLine {
        line: Line::of(observer.part, &request, peer.as_deref()).into_owned(),
        id: id.clone(),
        status: None,
    };
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
    line.status = Some(response.status());
    observer.finish(&mut response, id);
    response
}

/// RFC 9110 §9.3.2: the response to HEAD has the headers of GET and no content.
fn strip_body(response: &mut Response<Body>) {
    if let Some(len) = response.body().size_hint().exact()
        && !response.headers().contains_key(CONTENT_LENGTH)
    {
        response.headers_mut().insert(CONTENT_LENGTH, len.into());
    }
    *response.body_mut() = Body::empty();
}

/// What a line of the request log says, except for the id and the result.
#[derive(Clone, Debug)]
pub(crate) struct Line<'a> {
    part: &'static str,
    method: Method,
    host: Option<Cow<'a, str>>,
    path: Cow<'a, str>,
    peer: Option<Cow<'a, str>>,
    pub(crate) started: Instant,
}

impl<'a> Line<'a> {
    /// The line about a request that begins now. `peer` is the client's address.
    pub(crate) fn of<B>(
        part: &'static str,
        request: &'a Request<B>,
        peer: Option<&'a str>,
    ) -> Self {
        let header = request.headers().get(HOST).map(HeaderValue::as_bytes);
        // HTTP/2 has the host in the request target (RFC 9113 §8.3.1).
        let authority = || Some(request.uri().authority()?.as_str().as_bytes());
        let host = header.or_else(authority);
        let path = request.uri().path();
        let end = match path.len() > MAX_LOGGED {
            true => path.char_indices().nth(MAX_LOGGED).map(|(at, _)| at),
            false => None,
        };
        Self {
            part,
            method: request.method().clone(),
            host: host.map(|bytes| String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_LOGGED)])),
            path: Cow::Borrowed(&path[..end.unwrap_or(path.len())]),
            peer: peer.map(Cow::Borrowed),
            started: Instant::now(),
        }
    }

    /// The same for a plain request.
    pub(crate) fn of_plain(part: &'static str, request: &Plain<'a>, peer: &'a str) -> Self {
        Self {
            part,
            method: Method::GET,
            host: Some(Cow::Borrowed(cut(request.host))),
            path: Cow::Borrowed(cut(request.path)),
            peer: Some(Cow::Borrowed(peer)),
            started: Instant::now(),
        }
    }

    /// The same, without the request.
    pub(crate) fn into_owned(self) -> Line<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Line {
            part: self.part,
            method: self.method,
            host: self.host.map(own),
            path: own(self.path),
            peer: self.peer.map(own),
            started: self.started,
        }
    }

    /// Logs the line. Without a status, the client disconnected before the response.
    pub(crate) fn log(&self, id: &RequestId, status: Option<StatusCode>) {
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::info!(
            target: REQUESTS,
            part = self.part,
            request_id = id.as_str(),
            method = self.method.as_str(),
            host = self.host.as_deref(),
            path = &*self.path,
            status = status.map(|s| s.as_u16()),
            micros,
            peer = self.peer.as_deref(),
            "{}",
            match status {
                Some(_) => "request",
                None => "request abandoned by its client",
            }
        );
    }
}

/// The part of an ASCII text that is logged.
fn cut(text: &str) -> &str {
    text.get(..MAX_LOGGED).unwrap_or(text)
}

/// The line of a request that is waited for. It is logged when it is dropped, so a request whose client disconnected
/// before the response has a line, too.
pub(crate) struct WaitingLine {
    pub(crate) line: Line<'static>,
    pub(crate) id: RequestId,
    pub(crate) status: Option<StatusCode>,
}

impl Drop for WaitingLine {
    fn drop(&mut self) {
        self.line.log(&self.id, self.status);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

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
