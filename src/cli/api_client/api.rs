//! Requests to the admin API, and how their answers are read.

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};
use url::Url;

use super::error::ApiError;
use super::messages::{Answer, Link, NewLink, Page, ProblemDocument, Readiness, Zones};
use super::receipt::Wait;
use super::scheme::other_scheme;
use super::trust;
use crate::link::{Code, Origin};

/// The longest time for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time for a whole request; the server itself gives up after 25 seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time for a health check.
pub(super) const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);
/// The largest answer that is read, in bytes. A link has a URL of at most 2,048 bytes.
pub(super) const MAX_ANSWER_LEN: u64 = 64 * 1024;
/// The largest page of links, in bytes.
const MAX_PAGE_LEN: u64 = 16 * 1024 * 1024;
/// How many links a page has at most; the API gives no more.
pub(crate) const PAGE_LINKS: u64 = 1_000;

/// An admin API.
pub(crate) struct Api {
    server: Url,
    pub(super) agent: Agent,
}

impl Api {
    /// The API at this URL; sends nothing.
    pub(crate) fn new(server: Url) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(REQUEST_TIMEOUT))
            .tls_config(trust::of_the_system())
            .build();
        Self {
            server,
            agent: config.new_agent(),
        }
    }

    /// Creates a link.
    pub(crate) fn create(
        &self,
        token: &str,
        zone: Option<&Origin>,
        new: &NewLink<'_>,
        wait: Wait,
    ) -> Result<Answer, ApiError> {
        let mut url = self.url("v1/links", zone)?;
        wait.add_to(&mut url);
        let response = self
            .agent
            .post(url.as_str())
            .header("authorization", format!("Bearer {token}"))
            .content_type("application/json")
            .send(serde_json::to_string(new)?);
        self.link(response)
    }

    /// Looks up a link.
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

    /// The URL of the API.
    pub(crate) fn server(&self) -> &Url {
        &self.server
    }

    /// The zones that hold links; the first is the default.
    pub(crate) fn zones(&self, token: &str) -> Result<Vec<Origin>, ApiError> {
        let url = self.url("v1/zones", None)?;
        let (zones, _) = self.get_json::<Zones>(token, &url, MAX_ANSWER_LEN)?;
        let origins = zones.zones.iter().map(|zone| Origin::parse(&zone.origin));
        match origins.collect::<Result<Vec<_>, _>>() {
            Ok(origins) if !origins.is_empty() => Ok(origins),
            _ => Err(self.foreign(StatusCode::OK)),
        }
    }

    /// A page of at most `limit` links of a zone: 1 to [`PAGE_LINKS`]. `filters` are further parameters of the query.
    pub(crate) fn list(
        &self,
        token: &str,
        zone: &Origin,
        filters: &[(&str, &str)],
        cursor: Option<&str>,
        limit: u64,
    ) -> Result<Page, ApiError> {
        let mut url = self.url("v1/links", Some(zone))?;
        let number = limit.to_string();
        url.query_pairs_mut()
            .append_pair("limit", &number)
            .extend_pairs(filters);
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        let (page, _) = self.get_json::<Page>(token, &url, MAX_PAGE_LEN)?;
        match page.links.iter().all(Link::is_sound) {
            true => Ok(page),
            false => Err(self.foreign(StatusCode::OK)),
        }
    }

    /// Asks for the state of the server.
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

    /// Gets what the API has at this URL. Returns it with the body of the answer, of at most `limit` bytes.
    pub(super) fn get_json<T: DeserializeOwned>(
        &self,
        token: &str,
        url: &Url,
        limit: u64,
    ) -> Result<(T, String), ApiError> {
        let response = self
            .agent
            .get(url.as_str())
            .header("authorization", format!("Bearer {token}"))
            .call();
        let (status, json) = self.read(response, limit)?;
        if status != StatusCode::OK {
            return Err(self.refusal(status, &json));
        }
        match serde_json::from_str(&json) {
            Ok(read) => Ok((read, json)),
            Err(_) => Err(self.foreign(status)),
        }
    }

    /// Makes a POST request without a body; `done` is the status of success, which has no body either.
    pub(super) fn post_empty(
        &self,
        token: &str,
        url: &Url,
        done: StatusCode,
    ) -> Result<(), ApiError> {
        let response = self
            .agent
            .post(url.as_str())
            .header("authorization", format!("Bearer {token}"))
            .send_empty();
        match self.read(response, MAX_ANSWER_LEN)? {
            (status, _) if status == done => Ok(()),
            (status, body) => Err(self.refusal(status, &body)),
        }
    }

    /// Gets what the API has at this URL in a media type, of at most `limit` bytes.
    pub(super) fn get_text(
        &self,
        token: &str,
        url: &Url,
        media: &str,
        limit: u64,
    ) -> Result<String, ApiError> {
        let response = self
            .agent
            .get(url.as_str())
            .header("authorization", format!("Bearer {token}"))
            .header("accept", media)
            .call();
        let is_right = |r: &Response<Body>| r.body().mime_type() == Some(media);
        let is_right = response.as_ref().is_ok_and(is_right);
        let (status, body) = self.read(response, limit)?;
        match (status, is_right) {
            (StatusCode::OK, true) => Ok(body),
            (StatusCode::OK, false) => Err(self.foreign(status)),
            _ => Err(self.refusal(status, &body)),
        }
    }

    pub(super) fn url(&self, path: &str, zone: Option<&Origin>) -> Result<Url, ApiError> {
        let mut url = self.server.join(path)?;
        if let Some(zone) = zone {
            url.query_pairs_mut().append_pair("zone", zone.as_str());
        }
        Ok(url)
    }

    /// The link in a response.
    pub(super) fn link(
        &self,
        response: Result<Response<Body>, ureq::Error>,
    ) -> Result<Answer, ApiError> {
        // With `wait`, the status does not tell whether the link was made.
        let has_location = |r: &Response<Body>| r.headers().contains_key("location");
        let is_located = response.as_ref().is_ok_and(has_location);
        let (status, json) = self.read(response, MAX_ANSWER_LEN)?;
        let created = match status {
            StatusCode::CREATED => true,
            StatusCode::ACCEPTED => is_located,
            StatusCode::OK => false,
            _ => return Err(self.refusal(status, &json)),
        };
        match serde_json::from_str::<Link>(&json) {
            Ok(link) if link.is_sound() => Ok(Answer {
                link,
                created,
                json,
            }),
            _ => Err(self.foreign(status)),
        }
    }

    pub(super) fn read(
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

    pub(super) fn refusal(&self, status: StatusCode, body: &str) -> ApiError {
        let problem = serde_json::from_str::<ProblemDocument>(body).ok();
        let refused = problem.and_then(|problem| ApiError::refused(status, problem));
        refused.unwrap_or_else(|| self.foreign(status))
    }

    pub(super) fn foreign(&self, status: StatusCode) -> ApiError {
        let server = self.server.clone();
        // Many servers of HTTPS answer so to plain HTTP.
        if server.scheme() == "http"
            && status == StatusCode::BAD_REQUEST
            && let Some(other) = other_scheme(&self.server)
        {
            return ApiError::WrongScheme { server, other };
        }
        ApiError::Foreign { server, status }
    }

    pub(super) fn failure(&self, source: ureq::Error) -> ApiError {
        let server = self.server.clone();
        if let Some(reason) = trust::refusal(&source) {
            return ApiError::Untrusted { server, reason };
        }
        match source {
            ureq::Error::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                ApiError::NotRunning { server }
            }
            ureq::Error::Timeout(_) => ApiError::TimedOut { server },
            ureq::Error::Io(e) if e.kind() == io::ErrorKind::TimedOut => {
                ApiError::TimedOut { server }
            }
            source => match other_scheme(&self.server) {
                Some(other) => ApiError::WrongScheme { server, other },
                None => ApiError::Unreachable {
                    server,
                    source: source.into(),
                },
            },
        }
    }
}
