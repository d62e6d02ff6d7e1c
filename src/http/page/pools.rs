//! The pools of addresses, for administrators: which are up, and taking them out of service.

use askama::Template;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{Method, Request, StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;

use super::form::{self, Fields};
use super::frame::{Frame, Place};
use super::render;
use super::state::Shared;
use super::values::{Moment, sentence};
use super::visitor::Visitor;
use crate::http::api::Sent;

#[derive(Deserialize)]
struct PoolList {
    pools: Vec<Pool>,
    routes: Vec<Route>,
    fail: Option<String>,
}

#[derive(Deserialize)]
struct Pool {
    name: String,
    state: String,
    since: Option<Moment>,
    weight: u16,
    check: Option<Check>,
    drained: Option<Drained>,
    health: Vec<Address>,
}

#[derive(Deserialize)]
struct Check {
    kind: String,
    port: u16,
    interval: f64,
}

#[derive(Deserialize)]
struct Drained {
    by: String,
    at: Moment,
}

#[derive(Deserialize)]
struct Address {
    address: String,
    up: bool,
    checked_at: Option<Moment>,
    failure: Option<String>,
}

impl Address {
    fn reason(&self) -> String {
        sentence(self.failure.as_deref().unwrap_or_default())
    }
}

#[derive(Deserialize)]
struct Route {
    name: String,
    links: bool,
    pools: Vec<String>,
}

impl Pool {
    fn is_drained(&self) -> bool {
        self.state == "drained"
    }

    fn mark(&self) -> &'static str {
        match &*self.state {
            "up" => "good",
            "down" => "error",
            _ => "warning",
        }
    }

    /// The names that have it.
    fn names(&self, routes: &[Route]) -> String {
        let having = routes
            .iter()
            .filter(|route| route.pools.contains(&self.name));
        let names = having.map(|route| match route.links {
            true => format!("links of {}", route.name),
            false => route.name.clone(),
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

#[derive(Template)]
#[template(path = "page/templates/pools.html")]
struct PoolsPage {
    frame: Frame,
    list: PoolList,
    /// The pool that was drained or restored just now, and whether it was drained.
    done: Option<(String, bool)>,
}

/// `GET /pools`
pub(super) async fn show(
    State(state): State<Shared>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Response> {
    let query = Fields::parse(uri.query().unwrap_or_default().as_bytes());
    let done = [("drained", true), ("restored", false)].into_iter();
    let done = done.map(|(field, is_drained)| (query.get(field).to_owned(), is_drained));
    let found = state.api.get(&visitor.on_behalf, "/v1/pools").await;
    let list = found.and_then(|reply| reply.json::<PoolList>());
    let list = list.map_err(|problem| render::problem(Some(&visitor), &problem))?;
    let is_there = |name: &str| list.pools.iter().any(|pool| pool.name == name);
    let page = PoolsPage {
        frame: Frame::new("Pools", &visitor, Place::Pools),
        done: done.into_iter().find(|(name, _)| is_there(name)),
        list,
    };
    Ok(render::page(StatusCode::OK, &page))
}

type NameInPath = Result<Path<String>, PathRejection>;

/// `POST /pools/{name}/drain`
pub(super) async fn drain(
    state: State<Shared>,
    visitor: Visitor,
    name: NameInPath,
    request: Request<Body>,
) -> Result<Response, Response> {
    change(state, visitor, name, request, ("drain", "drained")).await
}

/// `POST /pools/{name}/restore`
pub(super) async fn restore(
    state: State<Shared>,
    visitor: Visitor,
    name: NameInPath,
    request: Request<Body>,
) -> Result<Response, Response> {
    change(state, visitor, name, request, ("restore", "restored")).await
}

async fn change(
    State(state): State<Shared>,
    visitor: Visitor,
    name: NameInPath,
    request: Request<Body>,
    (action, done): (&str, &str),
) -> Result<Response, Response> {
    form::read(request, &visitor).await?;
    let name = name.map(|Path(name)| name).unwrap_or_default();
    // Other names are not those of pools, and could lead to another path of the API.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(render::not_found(Some(&visitor)));
    }
    let target = format!("/v1/pools/{name}/{action}");
    let called = state
        .api
        .call(&visitor.on_behalf, Method::POST, &target, Sent::default())
        .await;
    called.map_err(|problem| render::problem(Some(&visitor), &problem))?;
    Ok(render::see_other(&format!("/pools?{done}={name}")))
}
