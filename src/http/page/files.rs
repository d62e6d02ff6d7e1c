//! Serves the style sheet, the script and the icon.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::Uri;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};

use super::assets::{Asset, ICON, SCRIPT, STYLE};
use super::extract::MaybeVisitor;
use super::render;

/// For a URL with the digest of the content.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// `GET /assets/{name}`
pub(super) async fn serve(
    name: Result<Path<String>, PathRejection>,
    MaybeVisitor(visitor): MaybeVisitor,
    uri: Uri,
) -> Response {
    let name = name.map(|Path(name)| name).unwrap_or_default();
    let all: [&Asset; 3] = [&STYLE, &SCRIPT, &ICON];
    let Some(asset) = all.into_iter().find(|asset| asset.name == name) else {
        return render::not_found(visitor.as_ref());
    };
    let is_this_version = uri.query() == Some(&*asset.query());
    let cache = match is_this_version {
        true => FOR_EVER,
        false => "no-cache",
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(asset.media_type)),
        (CACHE_CONTROL, HeaderValue::from_static(cache)),
    ];
    (headers, asset.content).into_response()
}
