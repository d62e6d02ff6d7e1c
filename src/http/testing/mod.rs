//! What the tests of HTTP share: a store in memory, a namespace of two zones, and a client that
//! holds every response it sees to the OpenAPI document.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Scheme, ShortUrls, admin_router, redirect_router};
use crate::access::AdminToken;
use crate::base::clock::{Clock, UnixTime};
use crate::base::metrics::Metrics;
use crate::link::{Code, Link, LinkName, Origin, Version};
use crate::links::{Host, LinkLimits, Links, MemoryLimits, Namespace};
use crate::store::{
    Change, Changed, Created, Deleted, NewLink, Page, Segment, Store, StoreError, seconds,
};

pub(super) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// 2023-11-14T22:13:20Z
pub(super) const NOW: UnixTime = UnixTime(1_700_000_000);
pub(super) const SHORT_URLS: ShortUrls = ShortUrls {
    scheme: Scheme::Http,
    port: Some(8080),
};

/// A store in memory.
#[derive(Debug, Default)]
pub(super) struct MemoryStore {
    slots: Mutex<BTreeMap<LinkName, Slot>>,
    failure: Mutex<Option<fn() -> StoreError>>,
    /// Calls of `create` wait while this is set.
    pub(super) held: AtomicBool,
    /// How many calls of `create` have begun.
    pub(super) begun: AtomicU64,
}

/// A name's link, if it is there, and its version in any case.
#[derive(Clone, Debug)]
struct Slot {
    link: Option<Link>,
    version: Version,
}

impl MemoryStore {
    /// Lets every call fail from now on, or none.
    pub(super) fn fail(&self, failure: Option<fn() -> StoreError>) {
        *self.failure.lock().unwrap() = failure;
    }

    /// Puts a link there that `Links` would refuse.
    pub(super) fn put(&self, link: Link) {
        let version = link.version;
        let link = Some(link);
        let mut slots = self.slots.lock().unwrap();
        let name = link.as_ref().unwrap().name.clone();
        slots.insert(name, Slot { link, version });
    }

    pub(super) fn len(&self) -> usize {
        let slots = self.slots.lock().unwrap();
        slots.values().filter(|slot| slot.link.is_some()).count()
    }

    fn check(&self) -> Result<(), StoreError> {
        match *self.failure.lock().unwrap() {
            Some(failure) => Err(failure()),
            None => Ok(()),
        }
    }

    /// Works on the slot of a name: its live link, its last version.
    fn with<T>(
        &self,
        name: &LinkName,
        now: u64,
        work: impl FnOnce(&mut BTreeMap<LinkName, Slot>, Option<Link>, Version) -> T,
    ) -> Result<T, StoreError> {
        self.check()?;
        let mut slots = self.slots.lock().unwrap();
        let slot = slots.get(name).cloned();
        let version = Version::next(slot.as_ref().map(|s| s.version), now);
        let live = slot.and_then(|s| s.link);
        let live = live.filter(|link| !link.is_expired(seconds(now)));
        Ok(work(&mut slots, live, version))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create(&self, new: NewLink, now: u64) -> Result<Created, StoreError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        while self.held.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let name = new.name.clone();
        self.with(&name, now, |slots, live, version| match live {
            Some(link) if link.target == new.target => Created::Same(link),
            Some(link) => Created::Taken(link),
            None => {
                let link = Link {
                    name: new.name,
                    target: new.target,
                    created_at: seconds(now),
                    created_by: new.created_by.into(),
                    expires_at: new.expires_at,
                    ttl: new.ttl,
                    version,
                };
                let slot = Slot {
                    link: Some(link.clone()),
                    version,
                };
                slots.insert(name.clone(), slot);
                Created::New(link)
            }
        })
    }

    async fn get(&self, name: &LinkName) -> Result<Option<Link>, StoreError> {
        self.check()?;
        let slots = self.slots.lock().unwrap();
        Ok(slots.get(name).and_then(|slot| slot.link.clone()))
    }

    async fn change(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        change: Change,
        now: u64,
    ) -> Result<Changed, StoreError> {
        self.with(name, now, |slots, live, version| match live {
            None => Changed::Absent,
            Some(link) if expected.is_some_and(|v| v != link.version) => Changed::Conflict(link),
            Some(mut link) => {
                link.target = change.target.unwrap_or(link.target);
                link.expires_at = change.expires_at.unwrap_or(link.expires_at);
                link.ttl = change.ttl.unwrap_or(link.ttl);
                link.version = version;
                let slot = Slot {
                    link: Some(link.clone()),
                    version,
                };
                slots.insert(name.clone(), slot);
                Changed::Changed(link)
            }
        })
    }

    async fn delete(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        now: u64,
    ) -> Result<Deleted, StoreError> {
        self.with(name, now, |slots, live, version| match live {
            None => Deleted::Absent,
            Some(link) if expected.is_some_and(|v| v != link.version) => Deleted::Conflict(link),
            Some(_) => {
                let link = None;
                slots.insert(name.clone(), Slot { link, version });
                Deleted::Deleted(version)
            }
        })
    }

    async fn list(
        &self,
        origin: &Origin,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.check()?;
        let slots = self.slots.lock().unwrap();
        let links = slots.values().filter_map(|slot| slot.link.clone());
        let links = links.filter(|link| link.name.origin() == origin.as_str());
        let mut links: Vec<_> = links
            .filter(|link| after.is_none_or(|after| link.name > *after))
            .take(limit + 1)
            .collect();
        let more = links.len() > limit;
        links.truncate(limit);
        let next = links.last().filter(|_| more).map(|link| link.name.clone());
        Ok(Page { links, next })
    }

    async fn scan(&self, _: Segment, _: Option<&LinkName>, _: usize) -> Result<Page, StoreError> {
        Err(StoreError::Unavailable("HTTP does not scan".into()))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.check()
    }

    async fn close(&self) -> Option<crate::store::Seal> {
        None
    }
}

/// `s.example.com` and `t.example.net`, each with the static names `www` and `r` and links below
/// `r`; and the zones themselves, whose other names are ours, too.
#[derive(Debug)]
pub(super) struct Names;

impl Names {
    fn reserved(code: &str) -> bool {
        matches!(code, "www" | "r")
    }
}

impl Namespace for Names {
    fn origins(&self) -> Vec<Origin> {
        ["s.example.com", "t.example.net"]
            .map(|o| Origin::parse(o).unwrap())
            .into()
    }

    fn is_reserved(&self, name: &LinkName) -> bool {
        Self::reserved(name.code())
    }

    fn classify_host(&self, host: &str) -> Host {
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        for origin in self.origins() {
            let Some(below) = host.strip_suffix(origin.as_str()) else {
                continue;
            };
            if below.is_empty() {
                return Host::Origin(origin);
            }
            let Some(below) = below.strip_suffix('.') else {
                continue;
            };
            let code = below.strip_suffix(".r").unwrap_or(below);
            return match Code::parse(code) {
                Ok(code) if !Self::reserved(code.as_str()) => {
                    Host::Link(LinkName::new(&code, &origin))
                }
                _ => Host::Inside,
            };
        }
        Host::Foreign
    }

    fn link_ttl(&self, name: &LinkName) -> u32 {
        match name.origin() {
            "t.example.net" => 20,
            _ => 300,
        }
    }
}

/// Both routers over one store, with a clock that stands at [`NOW`].
pub(super) struct Server {
    pub(super) store: Arc<MemoryStore>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) admin: Router,
    pub(super) redirect: Router,
}

impl Server {
    pub(super) fn new() -> Self {
        let store = Arc::new(MemoryStore::default());
        let clock = Clock::manual(NOW);
        let metrics = Arc::new(Metrics::new());
        let draining = Arc::new(AtomicBool::new(false));
        // Nothing is held: what a test does to the store is seen at once.
        let limits = LinkLimits {
            memory: MemoryLimits {
                fresh_for: Duration::ZERO,
                absent_for: Duration::ZERO,
                stale_for: Duration::ZERO,
                unnotified: Duration::ZERO,
                ..MemoryLimits::default()
            },
            ..LinkLimits::default()
        };
        let names = Arc::new(Names);
        let links = Links::new(store.clone(), names, limits, clock.clone(), metrics.clone());
        let links = Arc::new(links);
        let token = AdminToken::from_text(TOKEN).unwrap();
        Self {
            admin: admin_router(
                links.clone(),
                token,
                SHORT_URLS,
                metrics.clone(),
                draining.clone(),
            ),
            redirect: redirect_router(links, SHORT_URLS, metrics.clone()),
            store,
            clock,
            metrics,
            draining,
        }
    }

    /// Asks the admin API; see [`Call`] for the defaults.
    pub(super) async fn call(&self, call: Call) -> Reply {
        let head = (call.request.method().clone(), call.request.uri().clone());
        let sent = call.sent.clone();
        let media = call.request.headers().get(header::CONTENT_TYPE).cloned();
        let reply = Reply::of(&self.admin, call.request).await;
        contract::check(
            &head.0,
            head.1.path(),
            sent.as_deref(),
            media.as_ref(),
            &reply,
        );
        reply
    }

    /// Registers a link and gives its JSON.
    pub(super) async fn link(&self, body: Value) -> Value {
        let reply = self.call(Call::post("/v1/links").json(&body)).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()
    }
}

/// A request to the admin API: with a Host and the token, unless they are taken away.
pub(super) struct Call {
    pub(super) request: Request<Body>,
    sent: Option<Vec<u8>>,
}

impl Call {
    pub(super) fn new(method: Method, uri: &str) -> Self {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::HOST, "127.0.0.1:8053")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .body(Body::empty())
            .unwrap();
        let sent = None;
        Self { request, sent }
    }

    pub(super) fn get(uri: &str) -> Self {
        Self::new(Method::GET, uri)
    }

    pub(super) fn post(uri: &str) -> Self {
        Self::new(Method::POST, uri)
    }

    pub(super) fn patch(uri: &str) -> Self {
        Self::new(Method::PATCH, uri)
    }

    pub(super) fn delete(uri: &str) -> Self {
        Self::new(Method::DELETE, uri)
    }

    /// Sets a header, or takes it away where the value is empty.
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        let name = HeaderName::from_static(name);
        self.request.headers_mut().remove(&name);
        if !value.is_empty() {
            let value = HeaderValue::from_str(value).unwrap();
            self.request.headers_mut().insert(name, value);
        }
        self
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(super) fn body(mut self, media: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        *self.request.body_mut() = Body::from(body.clone());
        self.sent = Some(body);
        self.header("content-type", media)
    }
}

/// A response, read to its end.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) async fn of(router: &Router, request: Request<Body>) -> Self {
        let response = router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The kind of the problem, without what all kinds begin with, and its field.
    pub(super) fn problem(&self) -> (String, Option<String>) {
        let problem = self.json();
        let kind = problem["type"].as_str().unwrap();
        let kind = kind.strip_prefix("urn:tinyns:problem:").unwrap();
        (kind.into(), problem["field"].as_str().map(str::to_owned))
    }
}

/// The OpenAPI document, as it is served.
pub(super) fn openapi() -> &'static Value {
    static DOCUMENT: LazyLock<Value> =
        LazyLock::new(|| serde_json::from_str(&super::api::OPENAPI).unwrap());
    &DOCUMENT
}

/// Holds requests and responses to the OpenAPI document.
pub(super) mod contract {
    use super::*;

    /// The path of the document that a path is an instance of.
    fn template(path: &str) -> Option<&'static str> {
        let paths = openapi()["paths"].as_object().unwrap();
        if let Some((known, _)) = paths.get_key_value(path) {
            return Some(known);
        }
        let code = path.strip_prefix("/v1/links/")?;
        (!code.is_empty() && !code.contains('/')).then_some("/v1/links/{code}")
    }

    fn resolved(value: &'static Value) -> &'static Value {
        match value["$ref"].as_str() {
            Some(reference) => openapi().pointer(&reference[1..]).unwrap(),
            None => value,
        }
    }

    fn errors(schema: &Value, instance: &Value) -> Vec<String> {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "components": openapi()["components"],
            "allOf": [schema],
        });
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap();
        let errors = validator.iter_errors(instance);
        errors
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect()
    }

    fn essence(media: &HeaderValue) -> &str {
        media.to_str().unwrap().split(';').next().unwrap().trim()
    }

    /// The document's word on what this path and method answer with this status.
    fn response_of(path: &str, method: &Method, status: u16) -> &'static Value {
        let shared = &openapi()["components"]["responses"];
        let Some(template) = template(path) else {
            return match status {
                400 => &shared["BadRequest"],
                401 => &shared["Unauthorized"],
                404 => &shared["NoSuchPath"],
                _ => panic!("{status} at {path}, which is in no document"),
            };
        };
        let method = match *method {
            Method::HEAD => "get".to_owned(),
            _ => method.as_str().to_ascii_lowercase(),
        };
        match &openapi()["paths"][template][&method] {
            Value::Null => match status {
                400 => &shared["BadRequest"],
                401 => &shared["Unauthorized"],
                405 => &shared["MethodNotAllowed"],
                _ => panic!("{status} for {method} at {path}, which is in no document"),
            },
            operation => match &operation["responses"][status.to_string()] {
                Value::Null => panic!("{method} {path}: {status} is in no document"),
                response => resolved(response),
            },
        }
    }

    pub(in crate::http) fn check(
        method: &Method,
        path: &str,
        sent: Option<&[u8]>,
        media: Option<&HeaderValue>,
        reply: &Reply,
    ) {
        let response = response_of(path, method, reply.status.as_u16());
        let place = format!("{method} {path} {}", reply.status);
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let header = resolved(header);
            let found = reply.header(name);
            assert!(
                found.is_some() || header["required"] != true,
                "{place}: no {name}"
            );
            if let Some(found) = found {
                assert_eq!(
                    errors(&header["schema"], &json!(found)),
                    [""; 0],
                    "{place} {name}"
                );
            }
        }
        assert_eq!(
            reply.header("x-content-type-options"),
            Some("nosniff"),
            "{place}"
        );
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{place}");
        if *method == Method::HEAD {
            assert!(reply.body.is_empty(), "{place}: a body");
        } else {
            check_body(&place, response, reply);
        }
        if let (Some(sent), Some(media)) = (sent, media)
            && reply.status.is_success()
        {
            check_sent(path, method, media, sent);
        }
    }

    fn check_body(place: &str, response: &Value, reply: &Reply) {
        let Some(content) = response["content"].as_object() else {
            assert!(reply.body.is_empty(), "{place}: a body");
            return;
        };
        let media = essence(&reply.headers[header::CONTENT_TYPE]);
        let content = content
            .get(media)
            .unwrap_or_else(|| panic!("{place}: {media}"));
        let body = if media.ends_with("json") && media != "application/x-ndjson" {
            reply.json()
        } else {
            json!(reply.text())
        };
        assert_eq!(
            errors(&content["schema"], &body),
            [""; 0],
            "{place}: {body}"
        );
        if let line_schema @ Value::Object(_) = &content["x-line-schema"] {
            for line in reply.text().lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                assert_eq!(errors(line_schema, &line), [""; 0], "{place}: {line}");
            }
        }
        if media == "application/problem+json" {
            assert_eq!(body["status"], reply.status.as_u16(), "{place}");
            assert_eq!(
                body["request_id"].as_str(),
                reply.header("x-request-id"),
                "{place}"
            );
        }
    }

    /// What was accepted must be what the document says is accepted.
    fn check_sent(path: &str, method: &Method, media: &HeaderValue, sent: &[u8]) {
        let template = template(path).unwrap();
        let operation = &openapi()["paths"][template][method.as_str().to_ascii_lowercase()];
        let content = &operation["requestBody"]["content"];
        // The document says in words that any +json will do.
        let content = match &content[essence(media)] {
            Value::Null => &content["application/json"],
            content => content,
        };
        if content["x-line-schema"].is_null() {
            let sent: Value = serde_json::from_slice(sent).unwrap();
            let found = errors(&content["schema"], &sent);
            assert_eq!(found, [""; 0], "{method} {path} accepted {sent}");
        }
    }

    /// The paths of the document, each with the methods that it describes.
    pub(in crate::http) fn operations() -> BTreeMap<&'static str, BTreeSet<String>> {
        let paths = openapi()["paths"].as_object().unwrap();
        let paths = paths.iter().map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            let methods = methods.filter(|key| *key != "parameters");
            (
                path.as_str(),
                methods.map(|m| m.to_ascii_uppercase()).collect(),
            )
        });
        paths.collect()
    }
}
