//! Forms: their fields, and the token that shows that a form comes from a page of the session.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Request};
use axum::response::Response;
use http_body_util::{BodyExt, Limited};
use subtle::ConstantTimeEq;

use super::visitor::Visitor;
use super::{multipart, render};

/// The longest form that is no upload, in bytes.
const MAX_FORM_BYTES: usize = 64 * 1024;
/// How long a form may take to arrive.
const FORM_DEADLINE: Duration = Duration::from_secs(20);
/// The field of a form's token.
const TOKEN_FIELD: &str = "form_token";
const FORM_TYPE: &str = "application/x-www-form-urlencoded";

/// The fields of a form.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The fields in a text in the form of a query.
    pub(super) fn parse(text: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(text).into_owned().collect())
    }

    /// A field without the blanks around it; empty if it is absent.
    pub(super) fn get(&self, name: &str) -> &str {
        let mut fields = self.0.iter();
        let field = fields.find(|(known, _)| known == name);
        field.map_or("", |(_, value)| value.trim())
    }

    /// All values of a field.
    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let of_name =
            move |(known, value): &'a (String, String)| (known == name).then_some(value.as_str());
        self.0.iter().filter_map(of_name)
    }
}

/// Reads a form of a visitor.
///
/// # Errors
/// A page about what is wrong: the form is too long, or does not come from a page of this session.
pub(super) async fn read(request: Request<Body>, visitor: &Visitor) -> Result<Fields, Response> {
    let fields = read_open(request)
        .await
        .map_err(|page| page(Some(visitor)))?;
    match is_of_session(&fields, visitor) {
        true => Ok(fields),
        false => Err(render::other_form(visitor)),
    }
}

/// The longest form with a file, in bytes.
pub(super) const MAX_UPLOAD_BYTES: usize = 2 << 20;

/// Reads a form of a visitor that has a file. The content of the file is the value of its field.
///
/// # Errors
/// A page about what is wrong: the form is too long, is no text, or does not come from a page of this session.
pub(super) async fn read_upload(
    request: Request<Body>,
    visitor: &Visitor,
) -> Result<Fields, Response> {
    let media_type = request.headers().get(CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok());
    let boundary = media_type.and_then(multipart::boundary).map(str::to_owned);
    let boundary = boundary.ok_or_else(|| render::not_a_form(Some(visitor)))?;
    let body = Limited::new(request.into_body(), MAX_UPLOAD_BYTES).collect();
    let body = tokio::time::timeout(FORM_DEADLINE, body).await;
    let too_long = || render::form_too_long(Some(visitor));
    let body = body.map_err(|_| too_long())?.map_err(|_| too_long())?;
    let body = body.to_bytes();
    let parts = multipart::parts(&body, &boundary);
    let parts = parts.ok_or_else(|| render::not_a_form(Some(visitor)))?;
    let mut fields = Vec::with_capacity(parts.len());
    for (name, content) in parts {
        let text = std::str::from_utf8(content);
        let text = text.map_err(|_| render::not_text(visitor))?;
        fields.push((name, text.to_owned()));
    }
    let fields = Fields(fields);
    match is_of_session(&fields, visitor) {
        true => Ok(fields),
        false => Err(render::other_form(visitor)),
    }
}

/// Why a form was not read, as a page for a visitor, if there is one.
pub(super) type Refused = fn(Option<&Visitor>) -> Response;

/// Reads a form that comes without a session.
pub(super) async fn read_open(request: Request<Body>) -> Result<Fields, Refused> {
    if !is_of_type(request.headers(), FORM_TYPE) {
        return Err(render::not_a_form);
    }
    let body = Limited::new(request.into_body(), MAX_FORM_BYTES).collect();
    let body = tokio::time::timeout(FORM_DEADLINE, body).await;
    let body = body.map_err(|_| render::form_too_long as Refused)?;
    let body = body.map_err(|_| render::form_too_long as Refused)?;
    Ok(Fields::parse(&body.to_bytes()))
}

/// Whether a form comes from a page of the visitor's session.
pub(super) fn is_of_session(fields: &Fields, visitor: &Visitor) -> bool {
    let sent = fields.get(TOKEN_FIELD).as_bytes();
    let is_same = sent.ct_eq(visitor.session.form_token.as_bytes());
    is_same.into()
}

fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers.get(CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}
