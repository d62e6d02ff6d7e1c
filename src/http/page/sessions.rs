//! The end of all sessions, for administrators.

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;

use super::frame::{Frame, Place};
use super::state::Shared;
use super::visitor::Visitor;
use super::{form, render};
use crate::http::api::Sent;

#[derive(Template)]
#[template(path = "page/templates/end-sessions.html")]
struct EndSessionsPage {
    frame: Frame,
}

/// `GET /sessions/end`
pub(super) async fn ask_end_all(visitor: Visitor) -> Response {
    let frame = Frame::new("End all sessions?", &visitor, Place::Tokens).narrow();
    render::page(StatusCode::OK, &EndSessionsPage { frame })
}

/// `POST /sessions/end`
pub(super) async fn end_all(
    State(state): State<Shared>,
    visitor: Visitor,
    request: Request<Body>,
) -> Result<Response, Response> {
    form::read(request, &visitor).await?;
    let (target, sent) = ("/v1/sessions", Sent::default());
    let ended = state
        .api
        .call(&visitor.on_behalf, Method::DELETE, target, sent);
    let ended = ended.await;
    ended.map_err(|problem| render::problem(Some(&visitor), &problem))?;
    Ok(render::see_other("/login?all=yes"))
}
