//! The first page.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::frame::{Frame, Place, may_write};
use super::render;
use super::visitor::Visitor;

#[derive(Template)]
#[template(path = "page/templates/home.html")]
struct HomePage {
    frame: Frame,
    may_write: bool,
}

/// `GET /`
pub(super) async fn show(visitor: Visitor) -> Response {
    let page = HomePage {
        may_write: may_write(&visitor),
        frame: Frame::new("New link", &visitor, Place::New),
    };
    render::page(StatusCode::OK, &page)
}
