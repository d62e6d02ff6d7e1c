//! What the tests of HTTP share: a store in memory, a namespace of two zones, and a client that checks each response
//! against the OpenAPI document.

pub(super) mod contract;
mod statistics;
mod store;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header,
};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

pub(super) use self::contract::openapi;
pub(super) use self::store::MemoryStore;
use super::serve::{Answer, Content};
use super::{ApiRules, Overviews, RedirectHost, Scheme, ShortUrls, admin_api};
use crate::access::{AdminToken, Gate, Tokens};
use crate::base::clock::{Clock, UnixTime};
use crate::base::metrics::Metrics;
use crate::base::name::ZoneName;
use crate::certificates::{Overview, Source};
use crate::link::{Code, LinkName, Origin, ReservedCodes};
use crate::links::{Host, LinkLimits, Links, MemoryLimits, Namespace};
use crate::routing::{Drains, Owner, Pool, Route, Routing, RoutingConfig};
use crate::statistics::Clicks;
use crate::statistics::testing::{Counted, agents};

pub(super) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// 2023-11-14T22:13:20Z
pub(super) const NOW: UnixTime = UnixTime(1_700_000_000);
pub(super) const SHORT_URLS: ShortUrls = ShortUrls {
    scheme: Scheme::Http,
    port: Some(8080),
};

/// The zones `s.example.com` and `t.example.net`. In each, `www` and `r` are static names, links are also below `r`,
/// and all other names belong to the zone.
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

    fn negative_ttl(&self, _: &str) -> u32 {
        60
    }
}

/// Two pools for the links of `s.example.com`: `near` for 192.0.2.0/24, and `far` for all others.
fn routing() -> Routing {
    let pool = |name: &str, address: &str, network: Option<&str>| Pool {
        name: name.into(),
        ipv4: vec![address.parse().unwrap()],
        ipv6: Vec::new(),
        countries: Vec::new(),
        continents: Vec::new(),
        networks: network
            .map(|text| text.parse().unwrap())
            .into_iter()
            .collect(),
        location: None,
        weight: 1,
        default: network.is_none(),
        check: None,
    };
    let pools = vec![
        pool("near", "198.51.100.1", Some("192.0.2.0/24")),
        pool("far", "198.51.100.2", None),
    ];
    let config = RoutingConfig {
        pools,
        routes: vec![Route {
            owner: Owner::Links(ZoneName::parse("s.example.com").unwrap()),
            pools: [0, 1].into(),
        }],
        database: None,
        ttl: 60,
        client_subnet: true,
        fail: crate::routing::Fail::Open,
    };
    Routing::open(config).unwrap()
}

/// Both parts over one store, with a clock that stands still at [`NOW`].
pub(super) struct Server {
    pub(super) store: Arc<MemoryStore>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) admin: Router,
    pub(super) redirect: RedirectHost,
    pub(super) counted: Counted,
}

impl Server {
    /// Memory holds nothing, so a change of the store takes effect at once.
    pub(super) fn new() -> Self {
        Self::of(ApiRules::default(), Duration::ZERO)
    }

    /// The same with rules of the operator.
    pub(super) fn with_rules(rules: ApiRules) -> Self {
        Self::of(rules, Duration::ZERO)
    }

    /// Memory uses what it holds for this time.
    pub(super) fn with_memory(time: Duration) -> Self {
        Self::of(ApiRules::default(), time)
    }

    fn of(rules: ApiRules, time: Duration) -> Self {
        let store = Arc::new(MemoryStore::default());
        let clock = Clock::manual(NOW);
        let metrics = Arc::new(Metrics::new());
        let draining = Arc::new(AtomicBool::new(false));
        let limits = LinkLimits {
            memory: MemoryLimits {
                fresh_for: time,
                absent_for: time,
                stale_for: time,
                unnotified: time,
                ..MemoryLimits::default()
            },
            ..LinkLimits::default()
        };
        let names = Arc::new(Names);
        let links = Links::new(store.clone(), names, limits, clock.clone(), metrics.clone());
        let links = Arc::new(links.with_reserved(ReservedCodes::default()));
        let token = AdminToken::from_text(TOKEN).unwrap();
        let tokens = Arc::new(Tokens::new(store.clone(), clock.clone()));
        let counted = Counted::new(clock.clone(), &metrics);
        let clicks = Clicks::new(counted.statistics.clone(), agents(), None);
        let drains = Drains::new(Arc::new(routing()), store.clone(), clock.clone());
        Self {
            admin: admin_api(
                links.clone(),
                Arc::new(Gate::new(token, tokens)),
                Overviews {
                    certificates: Overview::new(Source::None, clock.clone()),
                    pools: Some(Arc::new(drains)),
                },
                SHORT_URLS,
                metrics.clone(),
                draining.clone(),
                rules,
            )
            .0,
            redirect: RedirectHost::new(links, SHORT_URLS, None, None, clicks, &metrics),
            counted,
            store,
            clock,
            metrics,
            draining,
        }
    }

    /// Calls the admin API, and checks the reply against the OpenAPI document.
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

    /// Registers a link and returns its JSON.
    pub(super) async fn link(&self, body: Value) -> Value {
        let reply = self.call(Call::post("/v1/links").json(&body)).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()
    }
}

/// A request to the admin API. It has a Host and the token unless a test removes them.
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

    /// Sets a header, or removes it if the value is empty.
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
        Self::read(response.map(Content::Stream)).await
    }

    /// The response of the redirect host.
    pub(super) async fn of_redirect(host: &RedirectHost, request: Request<Body>) -> Self {
        Self::read(match host.respond(&request, None, |_| true) {
            Answer::Now(response) => response,
            Answer::Later(response) => response.await,
        })
        .await
    }

    async fn read(response: Response<Content>) -> Self {
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

    /// The body as JSON, without the receipt of a change.
    pub(super) fn link(&self) -> Value {
        let mut link = self.json();
        link.as_object_mut().unwrap().remove("visible");
        link
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The kind of the problem, without the common prefix, and its field.
    pub(super) fn problem(&self) -> (String, Option<String>) {
        let problem = self.json();
        let kind = problem["type"].as_str().unwrap();
        let kind = kind.strip_prefix("urn:tinyns:problem:").unwrap();
        (kind.into(), problem["field"].as_str().map(str::to_owned))
    }
}
