//! Who may call what: the guard in front of all paths, and what each route needs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Extensions, Method, Version};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;

use super::{ANSWER_DEADLINE, Admin, OPEN_PATHS};
use crate::access::{Caller, Permission, Refusal};
use crate::base::metrics::AuthFailure;
use crate::http::host::{self, HostError};
use crate::http::problem::{Kind, Problem};
use crate::http::serve::request_log::RequestId;
use crate::store::StoreError;

/// A route of the API.
pub(super) struct Route {
    pub(super) path: &'static str,
    /// What callers need for each method. None if the path is open.
    pub(super) needs: &'static [(Method, Permission)],
    pub(super) methods: MethodRouter<Arc<Admin>>,
}

impl Route {
    /// A route that needs no token; its path must be one of [`OPEN_PATHS`].
    pub(super) fn open(path: &'static str, methods: MethodRouter<Arc<Admin>>) -> Self {
        Self {
            path,
            needs: &[],
            methods,
        }
    }

    /// A route whose methods need these permissions.
    pub(super) fn new(
        path: &'static str,
        needs: &'static [(Method, Permission)],
        methods: MethodRouter<Arc<Admin>>,
    ) -> Self {
        Self {
            path,
            needs,
            methods,
        }
    }

    /// The methods, which refuse callers that lack the permission. For methods that the route does not have, the
    /// router answers 405 before.
    pub(super) fn guarded(self) -> MethodRouter<Arc<Admin>> {
        let needs = self.needs;
        if needs.is_empty() {
            return self.methods;
        }
        let check = move |request: Request, next: Next| async move {
            match permit(needs, &request) {
                Ok(()) => next.run(request).await,
                Err(problem) => problem.into_response(),
            }
        };
        self.methods.route_layer(from_fn(check))
    }
}

/// Whether the caller may do this. A method that is not listed needs the highest permission.
fn permit(needs: &[(Method, Permission)], request: &Request) -> Result<(), Problem> {
    // GET answers HEAD, too.
    let method = match request.method() {
        &Method::HEAD => &Method::GET,
        method => method,
    };
    let needed = needs.iter().find(|(known, _)| known == method);
    let needed = needed.map_or(Permission::Administer, |(_, needed)| *needed);
    let caller = caller(request.extensions())?;
    if caller.role().may(needed) {
        return Ok(());
    }
    let (name, role) = (caller.name(), caller.role());
    let wanted = match needed {
        Permission::Read => "reader",
        Permission::Write => "editor",
        Permission::Administer => "admin",
    };
    let detail = format!(
        "the token {name:?} has the role {role}; this call needs the role {wanted} or a higher one"
    );
    Err(Problem::new(Kind::Forbidden, detail))
}

/// The caller of a request that has passed the guard.
pub(super) fn caller(extensions: &Extensions) -> Result<&Caller, Problem> {
    let caller = extensions.get::<Caller>();
    caller.ok_or_else(|| Problem::new(Kind::Unauthorized, NEEDS_TOKEN))
}

const NEEDS_TOKEN: &str = "this needs a token";

/// Refuses requests with a bad Host or without a valid token. It reads the head alone.
pub(super) async fn guard(
    State(admin): State<Arc<Admin>>,
    mut request: Request,
    next: Next,
) -> Response {
    let (uri, headers) = (request.uri(), request.headers());
    match host::requested(request.version(), uri, headers) {
        Ok(_) => {}
        // HTTP/1.0 has no Host, and some health checks still use it.
        Err(HostError::Missing) if request.version() < Version::HTTP_11 => {}
        Err(error) => {
            let problem = Problem::new(Kind::InvalidHost, error.to_string());
            return problem.of("Host").into_response();
        }
    }
    if !OPEN_PATHS.contains(&uri.path()) {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let ip = peer.map(|peer| peer.0.ip());
        match admin.gate.admit(headers, ip).await {
            Ok(caller) => {
                if let Err(wait) = admin.rates.take(&caller, Instant::now()) {
                    return too_many_requests(wait);
                }
                let id = request.extensions().get::<RequestId>();
                let id = id.map_or("", RequestId::as_str).to_owned();
                request
                    .extensions_mut()
                    .insert(caller.with_request(ip, &id));
            }
            Err(refusal) => return admin.refuse(refusal),
        }
    }
    match tokio::time::timeout(ANSWER_DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::from(StoreError::DeadlineExceeded).into_response(),
    }
}

/// RFC 6585 §4.
fn too_many_requests(wait: Duration) -> Response {
    let seconds = wait.as_secs().saturating_add(1);
    let detail = "the token calls more often than the configuration of the server allows; call again after the time in \
        Retry-After";
    let problem = Problem::new(Kind::TooManyRequests, detail);
    ([(RETRY_AFTER, HeaderValue::from(seconds))], problem).into_response()
}

impl Admin {
    fn refuse(&self, refusal: Refusal) -> Response {
        let count = |failure| self.metrics.count_auth_failure(failure);
        match refusal {
            // RFC 6750 §3.1: without a token the challenge has no error code.
            Refusal::NoToken => unauthorized("Bearer realm=\"tinyns\""),
            Refusal::WrongToken => {
                count(AuthFailure::WrongToken);
                unauthorized("Bearer realm=\"tinyns\", error=\"invalid_token\"")
            }
            Refusal::TooManyGuesses { retry_after } => {
                count(AuthFailure::TooManyGuesses);
                let seconds = retry_after.as_secs().saturating_add(1);
                let detail = "too many different wrong tokens came from your network; \
                    tokens are not looked at until the time in Retry-After has passed";
                let problem = Problem::new(Kind::TooManyGuesses, detail);
                ([(RETRY_AFTER, HeaderValue::from(seconds))], problem).into_response()
            }
            Refusal::Unknown(error) => Problem::from(error).into_response(),
        }
    }
}

/// The same body in all cases: it does not say what is wrong with the token.
fn unauthorized(challenge: &'static str) -> Response {
    let problem = Problem::new(Kind::Unauthorized, NEEDS_TOKEN);
    let challenge = HeaderValue::from_static(challenge);
    ([(WWW_AUTHENTICATE, challenge)], problem).into_response()
}
