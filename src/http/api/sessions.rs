//! Calls about the sessions of the page.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::{Admin, NoQuery, query};
use crate::access::Caller;
use crate::http::problem::Problem;

/// `DELETE /v1/sessions`
pub(super) async fn end_all(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, Problem> {
    let NoQuery {} = query(&uri)?;
    admin.gate.end_all_sessions(&caller).await?;
    tracing::info!(by = caller.name(), "all sessions of the page ended");
    Ok(StatusCode::NO_CONTENT.into_response())
}
