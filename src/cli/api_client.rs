//! The client of the admin API.
//!
//! Blocking, since most commands make one request and end; what makes many has threads for them. It
//! follows no redirects and uses no proxy of the environment: either would hand the token to somebody
//! who was not named.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ureq::http::{Response, StatusCode};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body};
use url::{Host, Url};

use crate::base::text::one_line;
use crate::link::{Code, LinkName, Origin, lacks_scheme};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a whole request may take; the server itself gives up after 25 seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a whole health check may take.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);
/// How long it may take to find out whether a server speaks the other scheme.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a batch of some hundred links may take. The server makes 64 at once, and one may take ten
/// seconds where its store is in trouble.
const BATCH_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is read, in bytes. A link has a URL of at most 2,048 bytes.
const MAX_ANSWER_LEN: u64 = 64 * 1024;
/// The same for a page of links.
const MAX_PAGE_LEN: u64 = 16 * 1024 * 1024;
/// How many links are asked for at once; the API gives no more.
const PAGE_LINKS: &str = "1000";
/// The type of lines of JSON, as the API takes them.
const NDJSON: &str = "application/x-ndjson";

/// Reads the URL of an admin API; a path in it is kept, for a server behind a proxy.
pub(crate) fn parse_server(text: &str) -> Result<Url, ServerUrlError> {
    let mut url = http_url(text)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ServerUrlError::UserInfo);
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// Reads a URL of HTTP, as one of a server has to be.
pub(crate) fn http_url(text: &str) -> Result<Url, ServerUrlError> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        // `dns:8053` and `localhost:8053` parse as URLs of the schemes `dns` and `localhost`.
        Ok(_) if !text.contains("://") => Err(ServerUrlError::NoScheme(text.into())),
        Ok(_) => Err(ServerUrlError::Scheme),
        Err(_) if lacks_scheme(text) => Err(ServerUrlError::NoScheme(text.into())),
        Err(error) => Err(error.into()),
    }
}

/// Why a text is not the URL of a server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerUrlError {
    #[error("the URL has no scheme; write http://{0} or https://{0}")]
    NoScheme(String),
    #[error("{0}")]
    Url(#[from] url::ParseError),
    #[error("the scheme must be http or https")]
    Scheme,
    #[error("the token goes into TINYNS_ADMIN_TOKEN or --token-file, not into the URL")]
    UserInfo,
}

/// Whether a URL leads to this very machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A link to be made, as the admin API takes it.
#[derive(Debug, Serialize)]
pub(crate) struct NewLink<'a> {
    pub(crate) url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<u32>,
}

/// A link, as the admin API shows it and an export writes it.
#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) code: Option<String>,
    pub(crate) name: String,
    pub(crate) short_url: Option<String>,
    pub(crate) url: String,
    pub(crate) created_at: Option<String>,
    pub(crate) expires_at: Option<String>,
    pub(crate) ttl: Option<u32>,
    pub(crate) version: Option<u64>,
    /// False in the answer to a change that other servers do not show yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) visible_elsewhere: Option<bool>,
}

impl Link {
    /// Whether its name is one: it goes into a command line for people to copy, and into files.
    fn is_sound(&self) -> bool {
        LinkName::parse(&self.name).is_ok()
    }
}

/// A page of links.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) links: Vec<Link>,
    /// What to ask for the next one with, if there is one.
    pub(crate) next_cursor: Option<String>,
}

/// What became of one line of a batch.
#[derive(Debug, Deserialize)]
pub(crate) struct LineResult {
    line: u64,
    pub(crate) status: u16,
    pub(crate) link: Option<Link>,
    pub(crate) problem: Option<Problem>,
}

/// What became of a batch, as far as that is known.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The results of the first lines, in their order.
    pub(crate) results: Vec<LineResult>,
    /// Why there are no more, if that is not all. Lines without a result may have been done.
    pub(crate) failure: Option<ApiError>,
}

#[derive(Debug, Deserialize)]
struct Zones {
    zones: Vec<Zone>,
}

#[derive(Debug, Deserialize)]
struct Zone {
    origin: String,
}

/// An answer that holds a link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The link.
    pub(crate) link: Link,
    /// Whether the request made it.
    pub(crate) created: bool,
    /// The body as it came.
    pub(crate) json: String,
}

/// What `/readyz` says.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Readiness {
    status: String,
    serves: bool,
    takes_changes: bool,
    #[serde(default)]
    reasons: Vec<String>,
}

impl Readiness {
    /// Whether the server does what it is asked about.
    pub(crate) fn is_well(&self, with_changes: bool) -> bool {
        self.serves && (self.takes_changes || !with_changes)
    }
}

/// The state and its reasons, in one line.
impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.status))?;
        if !self.reasons.is_empty() {
            write!(f, ": {}", one_line(&self.reasons.join("; ")))?;
        }
        if self.serves && !self.takes_changes {
            f.write_str(" (queries are answered; changes of links are refused)")?;
        }
        Ok(())
    }
}

/// A problem document (RFC 9457 §3.1), as far as it is shown.
#[derive(Debug, Deserialize)]
pub(crate) struct Problem {
    r#type: Option<String>,
    title: Option<String>,
    detail: Option<String>,
}

impl Problem {
    /// What the API calls it, such as `code-taken`; empty where it is not one of ours.
    pub(crate) fn kind(&self) -> &str {
        let kind = self.r#type.as_deref().unwrap_or_default();
        kind.strip_prefix("urn:tinyns:problem:").unwrap_or_default()
    }

    /// What is wrong, in one line.
    pub(crate) fn reason(&self) -> Option<String> {
        let reason = self.detail.as_ref().or(self.title.as_ref());
        reason.map(|reason| one_line(reason))
    }
}

/// Why a request to the admin API did not do what it was for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("cannot reach the admin API at {server}: is `tinyns serve` running?")]
    NotRunning { server: Url },
    #[error("cannot reach the admin API at {server}")]
    Unreachable {
        server: Url,
        source: Box<ureq::Error>,
    },
    #[error("the admin API at {server} did not answer in time")]
    TimedOut { server: Url },
    /// There is a server, and it speaks HTTP by the other scheme.
    #[error("{server} {}", wrong_scheme(server, other))]
    WrongScheme { server: Url, other: Box<Url> },
    #[error("refused ({}): {reason}", Status(*status))]
    Refused { status: StatusCode, reason: String },
    #[error("{server} answers {}, but not as an admin API of tinyns does", Status(*status))]
    Foreign { server: Url, status: StatusCode },
    #[error("the request cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    #[error("the URL of the admin API cannot be made longer")]
    Url(#[from] url::ParseError),
}

impl ApiError {
    /// Whether the same request may succeed a little later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::NotRunning { .. } | Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            // A proxy in front of a server that is away answers in its own words.
            Self::Refused { status, .. } | Self::Foreign { status, .. } => {
                is_passing(status.as_u16())
            }
            Self::WrongScheme { .. } | Self::Encode(_) | Self::Url(_) => false,
        }
    }

    /// Whether the API said that there is no such link.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}

/// What is wrong with a scheme, and what to write.
fn wrong_scheme(server: &Url, other: &Url) -> String {
    match server.scheme() {
        "https" if is_loopback(server) => format!("does not speak TLS there: write {other}"),
        "https" => format!(
            "does not speak TLS there: put a proxy with TLS in front of it, or write {other}, by which the token \
             crosses the network in the clear"
        ),
        _ => format!("speaks TLS there: write {other}"),
    }
}

/// Whether a status says that another try may succeed: of the API, or of a proxy before it.
pub(crate) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 502 | 503 | 504)
}

/// A status with the phrase that belongs to it.
struct Status(StatusCode);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_u16())?;
        match self.0.canonical_reason() {
            Some(phrase) => write!(f, " {phrase}"),
            None => Ok(()),
        }
    }
}

/// An admin API.
pub(crate) struct Api {
    server: Url,
    agent: Agent,
}

impl Api {
    /// The API at this URL; nothing is sent yet.
    pub(crate) fn new(server: Url) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(REQUEST_TIMEOUT))
            .build();
        Self {
            server,
            agent: config.new_agent(),
        }
    }

    /// Makes a link.
    pub(crate) fn create(
        &self,
        token: &str,
        zone: Option<&Origin>,
        new: &NewLink<'_>,
    ) -> Result<Answer, ApiError> {
        let url = self.url("v1/links", zone)?;
        let response = self
            .agent
            .post(url.as_str())
            .header("authorization", format!("Bearer {token}"))
            .content_type("application/json")
            .send(serde_json::to_string(new)?);
        self.link(response)
    }

    /// Looks a link up.
    pub(crate) fn get(
        &self,
        token: &str,
        zone: Option<&Origin>,
        code: &Code,
    ) -> Result<Answer, ApiError> {
        let url = self.url(&format!("v1/links/{code}"), zone)?;
        let response = self
            .agent
            .get(url.as_str())
            .header("authorization", format!("Bearer {token}"))
            .call();
        self.link(response)
    }

    /// Where the API is.
    pub(crate) fn server(&self) -> &Url {
        &self.server
    }

    /// The zones that hold links; the first is the default.
    pub(crate) fn zones(&self, token: &str) -> Result<Vec<Origin>, ApiError> {
        let url = self.url("v1/zones", None)?;
        let response = self
            .agent
            .get(url.as_str())
            .header("authorization", format!("Bearer {token}"))
            .call();
        let (status, json) = self.read(response, MAX_ANSWER_LEN)?;
        if status != StatusCode::OK {
            return Err(self.refusal(status, &json));
        }
        let zones = serde_json::from_str::<Zones>(&json).map_err(|_| self.foreign(status))?;
        let origins = zones.zones.iter().map(|zone| Origin::parse(&zone.origin));
        match origins.collect::<Result<Vec<_>, _>>() {
            Ok(origins) if !origins.is_empty() => Ok(origins),
            _ => Err(self.foreign(status)),
        }
    }

    /// A page of the links of a zone.
    pub(crate) fn list(
        &self,
        token: &str,
        zone: &Origin,
        cursor: Option<&str>,
    ) -> Result<Page, ApiError> {
        let mut url = self.url("v1/links", Some(zone))?;
        url.query_pairs_mut().append_pair("limit", PAGE_LINKS);
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        let response = self
            .agent
            .get(url.as_str())
            .header("authorization", format!("Bearer {token}"))
            .call();
        let (status, json) = self.read(response, MAX_PAGE_LEN)?;
        if status != StatusCode::OK {
            return Err(self.refusal(status, &json));
        }
        match serde_json::from_str::<Page>(&json) {
            Ok(page) if page.links.iter().all(Link::is_sound) => Ok(page),
            _ => Err(self.foreign(status)),
        }
    }

    /// Makes many links: `body` has `lines` lines, each a [`NewLink`].
    ///
    /// The API answers while it is still being sent to, and stops reading where nobody takes its
    /// answers, as this client does not before all is sent. So a body has to be so small that the
    /// answers fit into what the two ends buffer: see [`super::import`].
    pub(crate) fn batch(&self, token: &str, zone: &Origin, body: &str, lines: usize) -> Batch {
        let mut results = Vec::with_capacity(lines);
        let failure = self.send_batch(token, zone, body, lines, &mut results);
        Batch {
            results,
            failure: failure.err(),
        }
    }

    fn send_batch(
        &self,
        token: &str,
        zone: &Origin,
        body: &str,
        lines: usize,
        results: &mut Vec<LineResult>,
    ) -> Result<(), ApiError> {
        let url = self.url("v1/links:batch", Some(zone))?;
        let response = self
            .agent
            .post(url.as_str())
            .config()
            .timeout_global(Some(BATCH_TIMEOUT))
            .build()
            .header("authorization", format!("Bearer {token}"))
            .content_type(NDJSON)
            .send(body);
        let response = response.map_err(|e| self.failure(e))?;
        let status = response.status();
        if status != StatusCode::OK {
            let (_, body) = self.read(Ok(response), MAX_ANSWER_LEN)?;
            return Err(self.refusal(status, &body));
        }
        let mut answers = BufReader::new(response.into_body().into_reader());
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut limited = answers.by_ref().take(MAX_ANSWER_LEN);
            let read = limited.read_until(b'\n', &mut line);
            let read = read.map_err(|e| self.failure(e.into()))?;
            if read == 0 && results.len() == lines {
                return Ok(());
            }
            if !line.ends_with(b"\n") && read < MAX_ANSWER_LEN as usize {
                let broken = io::Error::new(io::ErrorKind::UnexpectedEof, "the answer broke off");
                return Err(self.failure(ureq::Error::Io(broken)));
            }
            match serde_json::from_slice::<LineResult>(&line) {
                Ok(result)
                    if results.len() < lines
                        && result.line == results.len() as u64 + 1
                        && result.link.as_ref().is_none_or(Link::is_sound) =>
                {
                    results.push(result);
                }
                _ => return Err(self.foreign(status)),
            }
        }
    }

    /// Asks how the server stands.
    pub(crate) fn readiness(&self) -> Result<Readiness, ApiError> {
        let url = self.url("readyz", None)?;
        let response = self
            .agent
            .get(url.as_str())
            .config()
            .timeout_global(Some(HEALTH_TIMEOUT))
            .build()
            .call();
        let (status, body) = self.read(response, MAX_ANSWER_LEN)?;
        let expected = |said: &Readiness| match said.serves {
            true => status == StatusCode::OK,
            false => status == StatusCode::SERVICE_UNAVAILABLE,
        };
        match serde_json::from_str::<Readiness>(&body) {
            Ok(said) if expected(&said) => Ok(said),
            _ => Err(self.refusal(status, &body)),
        }
    }

    fn url(&self, path: &str, zone: Option<&Origin>) -> Result<Url, ApiError> {
        let mut url = self.server.join(path)?;
        if let Some(zone) = zone {
            url.query_pairs_mut().append_pair("zone", zone.as_str());
        }
        Ok(url)
    }

    /// The link in a response.
    fn link(&self, response: Result<Response<Body>, ureq::Error>) -> Result<Answer, ApiError> {
        let (status, json) = self.read(response, MAX_ANSWER_LEN)?;
        if !matches!(status, StatusCode::OK | StatusCode::CREATED) {
            return Err(self.refusal(status, &json));
        }
        match serde_json::from_str::<Link>(&json) {
            Ok(link) if link.is_sound() => Ok(Answer {
                link,
                created: status == StatusCode::CREATED,
                json,
            }),
            _ => Err(self.foreign(status)),
        }
    }

    fn read(
        &self,
        response: Result<Response<Body>, ureq::Error>,
        limit: u64,
    ) -> Result<(StatusCode, String), ApiError> {
        let mut response = response.map_err(|e| self.failure(e))?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(limit);
        match body.read_to_string() {
            Ok(body) => Ok((status, body)),
            Err(ureq::Error::BodyExceedsLimit(_)) => Err(self.foreign(status)),
            Err(e) => Err(self.failure(e)),
        }
    }

    fn refusal(&self, status: StatusCode, body: &str) -> ApiError {
        let problem = serde_json::from_str::<Problem>(body).ok();
        match problem.and_then(|problem| problem.reason()) {
            Some(reason) => ApiError::Refused { status, reason },
            None => self.foreign(status),
        }
    }

    fn foreign(&self, status: StatusCode) -> ApiError {
        let server = self.server.clone();
        // So do many servers answer to plain HTTP at a port of TLS.
        if server.scheme() == "http"
            && status == StatusCode::BAD_REQUEST
            && let Some(other) = self.other_scheme()
        {
            return ApiError::WrongScheme { server, other };
        }
        ApiError::Foreign { server, status }
    }

    fn failure(&self, source: ureq::Error) -> ApiError {
        let server = self.server.clone();
        match source {
            ureq::Error::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                ApiError::NotRunning { server }
            }
            ureq::Error::Timeout(_) => ApiError::TimedOut { server },
            ureq::Error::Io(e) if e.kind() == io::ErrorKind::TimedOut => {
                ApiError::TimedOut { server }
            }
            source => match self.other_scheme() {
                Some(other) => ApiError::WrongScheme { server, other },
                None => ApiError::Unreachable {
                    server,
                    source: source.into(),
                },
            },
        }
    }

    /// The server's URL with the other scheme, if it speaks HTTP by that. What fails when a client speaks TLS and the
    /// server does not, or the other way round, depends on both of them; so this asks. It sends no token, and
    /// believes nothing but that there was an answer, so that the server's certificate does not matter.
    fn other_scheme(&self) -> Option<Box<Url>> {
        let port = self.server.port_or_known_default();
        let mut other = self.server.clone();
        let scheme = if other.scheme() == "https" {
            "http"
        } else {
            "https"
        };
        other.set_scheme(scheme).ok()?;
        other.set_port(port).ok()?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(PROBE_TIMEOUT))
            .tls_config(TlsConfig::builder().disable_verification(true).build())
            .build();
        let asked = config
            .new_agent()
            .get(other.join("healthz").ok()?.as_str())
            .call();
        match asked {
            // That, again, is how a server of TLS may answer.
            Ok(answer) if scheme == "http" && answer.status() == StatusCode::BAD_REQUEST => None,
            asked => asked.is_ok().then(|| other.into()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;
    use std::time::Instant;

    use super::*;

    /// A server for one request: answers with `response` and hands over what it was sent.
    pub(in crate::cli) fn one_answer(response: String) -> (Url, JoinHandle<String>) {
        let listener = TcpListener::bind("[::1]:0")
            .or_else(|_| TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let url = format!("http://{}/base", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut request).unwrap(), 0);
            }
            let length = request
                .lines()
                .filter_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length: ")
                        .map(str::to_owned)
                })
                .find_map(|length| length.parse().ok())
                .unwrap_or(0);
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            request.push_str(&String::from_utf8(body).unwrap());
            // A client that has read enough closes early, which is no failure of this server.
            let _ = reader.get_mut().write_all(response.as_bytes());
            request
        });
        (parse_server(&url).unwrap(), thread)
    }

    pub(in crate::cli) fn http(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
    }

    pub(in crate::cli) const LINK: &str = r#"{"code":"sale","name":"sale.s.example.com","short_url":"http://sale.s.example.com/","url":"https://example.net/","created_at":"2026-01-01T00:00:00Z","expires_at":null,"ttl":null,"version":1}"#;

    fn get(response: String) -> Result<Answer, String> {
        let (server, thread) = one_answer(response);
        let shown = server.to_string();
        let code = Code::parse("sale").unwrap();
        let answer = Api::new(server).get("secret", None, &code);
        thread.join().unwrap();
        answer.map_err(|e| format!("{:#}", anyhow::Error::new(e)).replace(&shown, "URL"))
    }

    #[test]
    fn a_request_to_create() {
        let (server, thread) = one_answer(http("201 Created", LINK));
        let new = NewLink {
            url: "https://example.net/",
            code: Some("sale"),
            expires_at: None,
            ttl: Some(60),
        };
        let zone = Origin::parse("s.example.com").unwrap();
        let answer = Api::new(server)
            .create("secret", Some(&zone), &new)
            .unwrap();
        assert!(answer.created);
        assert_eq!(answer.link.name, "sale.s.example.com");
        assert_eq!(answer.json, LINK);

        let request = thread.join().unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let head = head.to_ascii_lowercase();
        assert!(
            head.starts_with("post /base/v1/links?zone=s.example.com http/1.1\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nauthorization: bearer secret"), "{head}");
        assert!(
            head.contains("\r\ncontent-type: application/json"),
            "{head}"
        );
        assert_eq!(
            body,
            r#"{"url":"https://example.net/","code":"sale","ttl":60}"#
        );
    }

    fn origin(text: &str) -> Origin {
        Origin::parse(text).unwrap()
    }

    #[test]
    fn zones() {
        let ask = |body: &str| {
            let (server, thread) = one_answer(http("200 OK", body));
            let zones = Api::new(server).zones("secret").map_err(|e| e.to_string());
            let request = thread.join().unwrap();
            assert!(
                request.starts_with("GET /base/v1/zones HTTP/1.1\r\n"),
                "{request}"
            );
            zones
        };
        let two = r#"{"zones":[{"origin":"s.example.com"},{"origin":"t.example.net","x":1}]}"#;
        let expected = vec![origin("s.example.com"), origin("t.example.net")];
        assert_eq!(ask(two), Ok(expected));
        for bad in ["{}", r#"{"zones":[]}"#, r#"{"zones":[{"origin":"a..b"}]}"#] {
            let error = ask(bad).unwrap_err();
            assert!(
                error.contains("not as an admin API of tinyns does"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_page_of_links() {
        let page = format!("{{\"links\":[{LINK}],\"next_cursor\":\"61\"}}");
        let (server, thread) = one_answer(http("200 OK", &page));
        let zone = origin("s.example.com");
        let page = Api::new(server).list("secret", &zone, Some("6&0")).unwrap();
        assert_eq!(page.links, [serde_json::from_str::<Link>(LINK).unwrap()]);
        assert_eq!(page.next_cursor.as_deref(), Some("61"));
        let request = thread.join().unwrap();
        let line = "GET /base/v1/links?zone=s.example.com&limit=1000&cursor=6%260 HTTP/1.1\r\n";
        assert!(request.starts_with(line), "{request}");
    }

    /// Sends two lines; gives the statuses of the results, and what else went wrong.
    fn batch(response: String) -> (Vec<u16>, Option<ApiError>, String) {
        let (server, thread) = one_answer(response);
        let api = Api::new(server);
        let batch = api.batch("secret", &origin("s.example.com"), "{}\n{}\n", 2);
        let statuses = batch.results.iter().map(|result| result.status);
        (statuses.collect(), batch.failure, thread.join().unwrap())
    }

    #[test]
    fn a_batch_and_its_results() {
        let taken = r#"{"type":"urn:tinyns:problem:code-taken","detail":"x\ny"}"#;
        let body = format!(
            "{{\"line\":1,\"status\":201,\"link\":{LINK}}}\n\
             {{\"line\":2,\"status\":409,\"problem\":{taken}}}\n"
        );
        let (server, thread) = one_answer(http("200 OK", &body));
        let api = Api::new(server);
        let batch = api.batch("secret", &origin("s.example.com"), "{}\n{}\n", 2);
        assert!(batch.failure.is_none(), "{:?}", batch.failure);
        let [made, refused] = &batch.results[..] else {
            panic!("{batch:?}");
        };
        assert_eq!(made.link.as_ref().unwrap().version, Some(1));
        let problem = refused.problem.as_ref().unwrap();
        assert_eq!(problem.kind(), "code-taken");
        assert_eq!(problem.reason().as_deref(), Some("x\\ny"));

        let request = thread.join().unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let line = "POST /base/v1/links:batch?zone=s.example.com HTTP/1.1\r\n";
        assert!(head.starts_with(line), "{head}");
        let head = head.to_ascii_lowercase();
        assert!(
            head.contains("\r\ncontent-type: application/x-ndjson"),
            "{head}"
        );
        assert!(head.contains("\r\nauthorization: bearer secret"), "{head}");
        assert_eq!(body, "{}\n{}\n");
    }

    #[test]
    fn a_batch_that_breaks_off_keeps_what_is_known() {
        let line = |number: u32| format!("{{\"line\":{number},\"status\":503}}\n");
        // The length promises more than comes, as when a server is killed.
        let cut = |body: &str| http("200 OK", &line(1).repeat(2)).replace(&line(1).repeat(2), body);
        for body in [line(1), line(1) + "{\"line\":2,", String::new()] {
            let (statuses, failure, _) = batch(cut(&body));
            assert_eq!(
                statuses.len(),
                body.lines().filter(|l| l.ends_with('}')).count()
            );
            assert!(failure.unwrap().may_pass(), "{body:?}");
        }
        // It ends in good order, and too early.
        let (statuses, failure, _) = batch(http("200 OK", &line(1)));
        assert_eq!(statuses, [503]);
        assert!(failure.unwrap().may_pass());
    }

    #[test]
    fn a_batch_that_others_answer() {
        let line = |number: u32| format!("{{\"line\":{number},\"status\":201}}\n");
        let foreign = [
            line(2),
            line(1) + &line(1),
            line(1) + &line(2) + &line(3),
            "<html>\n".into(),
            "x".repeat(MAX_ANSWER_LEN as usize + 1),
        ];
        for body in foreign {
            let (_, failure, _) = batch(http("200 OK", &body));
            let failure = failure.unwrap();
            assert!(matches!(failure, ApiError::Foreign { .. }), "{failure:?}");
            assert!(!failure.may_pass());
        }
        for (status, passes) in [
            ("401 Unauthorized", false),
            ("404 Not Found", false),
            ("429 Too Many Requests", true),
            ("502 Bad Gateway", true),
            ("503 Service Unavailable", true),
        ] {
            for body in ["<html>", r#"{"detail":"no"}"#] {
                let (statuses, failure, _) = batch(http(status, body));
                assert!(statuses.is_empty());
                assert_eq!(failure.unwrap().may_pass(), passes, "{status} {body}");
            }
        }
    }

    #[test]
    fn a_link_that_was_there() {
        let answer = get(http("200 OK", LINK)).unwrap();
        assert!(!answer.created);
        assert_eq!(answer.link.url, "https://example.net/");
        assert_eq!(answer.link.expires_at, None);
    }

    /// The whole message; the server's URL stands as `URL`.
    fn check(response: String, expected: &str) {
        assert_eq!(get(response.clone()).unwrap_err(), expected, "{response}");
    }

    #[test]
    fn refusals_are_one_line() {
        check(
            http(
                "409 Conflict",
                r#"{"title":"Taken","detail":"the code \"sale\" is taken"}"#,
            ),
            "refused (409 Conflict): the code \"sale\" is taken",
        );
        check(
            http("401 Unauthorized", r#"{"title":"Unauthorized"}"#),
            "refused (401 Unauthorized): Unauthorized",
        );
        check(
            http(
                "422 Unprocessable Entity",
                r#"{"detail":"a\n\u001b[2Jb\u009b"}"#,
            ),
            "refused (422 Unprocessable Entity): a\\n\\u{1b}[2Jb\\u{9b}",
        );
    }

    #[test]
    fn other_servers_are_told_apart() {
        let foreign =
            |status: &str| format!("URL answers {status}, but not as an admin API of tinyns does");
        check(http("200 OK", "<html>"), &foreign("200 OK"));
        check(http("404 Not Found", "<html>"), &foreign("404 Not Found"));
        check(
            http("200 OK", &LINK.replace("sale.s.example.com", "a;rm -rf .x")),
            &foreign("200 OK"),
        );
        check(
            http("302 Found\r\nlocation: http://192.0.2.1/", ""),
            &foreign("302 Found"),
        );
        let long = "x".repeat(MAX_ANSWER_LEN as usize + 1);
        check(http("200 OK", &long), &foreign("200 OK"));
    }

    #[test]
    fn nobody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let error = Api::new(parse_server(&url).unwrap())
            .readiness()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot reach the admin API at {url}: is `tinyns serve` running?")
        );
    }

    #[test]
    fn a_silent_server_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let begin = Instant::now();
        let error = Api::new(parse_server(&url).unwrap())
            .readiness()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the admin API at {url} did not answer in time")
        );
        assert!(
            begin.elapsed() < HEALTH_TIMEOUT * 3,
            "{:?}",
            begin.elapsed()
        );
    }

    #[test]
    fn a_connection_that_breaks() {
        let message = get(String::new()).unwrap_err();
        assert!(
            message.starts_with("cannot reach the admin API at URL: "),
            "{message}"
        );
    }

    #[test]
    fn readiness() {
        let ask = |response: String| {
            let (server, thread) = one_answer(response);
            let said = Api::new(server).readiness().map_err(|e| e.to_string());
            let request = thread.join().unwrap();
            assert!(
                request.starts_with("GET /base/readyz HTTP/1.1\r\n"),
                "{request}"
            );
            said
        };
        let body = r#"{"status":"ready","serves":true,"takes_changes":true}"#;
        let said = ask(http("200 OK", body)).unwrap();
        assert_eq!(said.to_string(), "ready");
        assert!(said.is_well(false) && said.is_well(true));

        let body = r#"{"status":"degraded","serves":true,"takes_changes":false,"reasons":["the disk is full"]}"#;
        let said = ask(http("200 OK", body)).unwrap();
        assert_eq!(
            said.to_string(),
            "degraded: the disk is full (queries are answered; changes of links are refused)"
        );
        assert!(said.is_well(false) && !said.is_well(true));

        let body = r#"{"status":"not ready","serves":false,"takes_changes":false,"reasons":["shutting down","the store is away"]}"#;
        let said = ask(http("503 Service Unavailable", body)).unwrap();
        assert_eq!(
            said.to_string(),
            "not ready: shutting down; the store is away"
        );
        assert!(!said.is_well(false) && !said.is_well(true));

        // The guard in front of it answers with a problem, as it does for every path.
        let error = ask(http(
            "503 Service Unavailable",
            r#"{"detail":"the store is slow"}"#,
        ));
        assert_eq!(
            error.unwrap_err(),
            "refused (503 Service Unavailable): the store is slow"
        );
        // Some other server that is well is no server of ours.
        let lies = r#"{"status":"not ready","serves":false,"takes_changes":false}"#;
        for body in ["ok", "{}", r#"{"status":"ready"}"#, lies] {
            let error = ask(http("200 OK", body)).unwrap_err();
            assert!(
                error.contains("not as an admin API of tinyns does"),
                "{error}"
            );
        }
    }

    #[test]
    fn server_urls() {
        let ok = |text: &str| parse_server(text).unwrap().to_string();
        assert_eq!(ok("http://127.0.0.1:8053"), "http://127.0.0.1:8053/");
        assert_eq!(ok("https://a.example/dns?x#y"), "https://a.example/dns/");
        let err = |text: &str| parse_server(text).unwrap_err().to_string();
        for text in ["127.0.0.1:8053", "[::1]:8053", "node-a:8053", "localhost"] {
            let expected = format!("the URL has no scheme; write http://{text} or https://{text}");
            assert_eq!(err(text), expected);
        }
        assert_eq!(err("http://a b/"), "invalid international domain name");
        assert_eq!(err("file:///x"), "the scheme must be http or https");
        assert_eq!(
            err("http://u:p@a/"),
            "the token goes into TINYNS_ADMIN_TOKEN or --token-file, not into the URL"
        );
    }

    #[test]
    fn loopback() {
        let check = |url: &str| is_loopback(&Url::parse(url).unwrap());
        assert!(check("http://127.1.2.3/"));
        assert!(check("http://[::1]/"));
        assert!(check("http://localhost/"));
        assert!(!check("http://192.0.2.1/"));
        assert!(!check("http://localhost.example/"));
    }
}
