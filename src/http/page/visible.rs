//! Which servers have a change: what the script asks for to bring the notice on the page of a link up to date.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::one_link::{CodeInPath, place};
use super::render;
use super::state::Shared;
use super::visitor::Visitor;

/// The notice for the script.
#[derive(Serialize)]
struct Notice {
    complete: bool,
    text: String,
}

/// `GET /links/{code}/visible`
pub(super) async fn show(
    State(state): State<Shared>,
    visitor: Visitor,
    code: CodeInPath,
    uri: Uri,
) -> Result<Response, Response> {
    let (code, query) = place(code, &uri);
    let visible = state.visible(&visitor, query.get("zone"), &code).await;
    let visible = visible.map_err(|problem| render::problem(Some(&visitor), &problem))?;
    let notice = Notice {
        complete: visible.is_complete(),
        text: visible.text(),
    };
    Ok(Json(notice).into_response())
}
