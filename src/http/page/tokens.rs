//! The tokens of other people and programs, for administrators.

use askama::Template;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{Method, Request, StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::form::{self, Fields};
use super::frame::{Frame, Place};
use super::state::Shared;
use super::values::{Moment, sentence};
use super::visitor::Visitor;
use super::{render, when};
use crate::http::api::Sent;
use crate::http::problem::{Kind, Problem};

/// A token as the API shows it.
#[derive(Debug, Deserialize)]
struct TokenData {
    name: String,
    role: String,
    zones: Option<Vec<String>>,
    created_at: Moment,
    created_by: String,
    expires_at: Option<Moment>,
    /// Requests a second, if the token has a rate of its own.
    rate: Option<u32>,
    #[serde(default)]
    last_used_at: Option<Moment>,
    /// The secret, only when it is new.
    #[serde(default)]
    token: String,
}

impl TokenData {
    fn has_ended(&self, now: &str) -> bool {
        self.expires_at.as_ref().is_some_and(|end| *end.0 <= *now)
    }
}

#[derive(Deserialize)]
struct TokenList {
    tokens: Vec<TokenData>,
}

/// What was typed into the form.
#[derive(Default)]
struct TokenForm {
    name: String,
    role: String,
    zones: Vec<String>,
    ends: String,
    rate: String,
    /// What is wrong: the name of the field, or an empty one, and a sentence.
    error: Option<(&'static str, String)>,
}

impl TokenForm {
    fn of(fields: &Fields) -> Self {
        Self {
            name: fields.get("name").to_owned(),
            role: fields.get("role").to_owned(),
            zones: fields.all("zones").map(str::to_owned).collect(),
            ends: fields.get("ends").to_owned(),
            rate: fields.get("rate").trim().to_owned(),
            error: None,
        }
    }

    fn error(&self, field: &str) -> Option<&str> {
        let error = self.error.as_ref().filter(|(name, _)| *name == field);
        error.map(|(_, text)| &**text)
    }

    fn has_zone(&self, zone: &str) -> bool {
        self.zones.iter().any(|known| known == zone)
    }

    fn is_role(&self, role: &str) -> bool {
        match &*self.role {
            "" => role == "editor",
            chosen => chosen == role,
        }
    }
}

#[derive(Template)]
#[template(path = "page/templates/tokens.html")]
struct TokensPage {
    frame: Frame,
    zones: Vec<String>,
    tokens: Vec<TokenData>,
    form: TokenForm,
    /// The token that was made just now.
    new: Option<TokenData>,
    /// The name of the token that was revoked just now.
    revoked: String,
    now: String,
}

#[derive(Template)]
#[template(path = "page/templates/revoke.html")]
struct RevokePage {
    frame: Frame,
    name: String,
    is_own: bool,
}

/// `GET /tokens`
pub(super) async fn show(
    State(state): State<Shared>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Response> {
    let query = Fields::parse(uri.query().unwrap_or_default().as_bytes());
    let form = TokenForm::default();
    let page = page(&state, &visitor, form, None, query.get("revoked")).await;
    let page = page.map_err(|problem| render::problem(Some(&visitor), &problem))?;
    Ok(render::page(StatusCode::OK, &page))
}

async fn page(
    state: &Shared,
    visitor: &Visitor,
    form: TokenForm,
    new: Option<TokenData>,
    revoked: &str,
) -> Result<TokensPage, Problem> {
    let reply = state.api.get(&visitor.on_behalf, "/v1/tokens").await?;
    let list: TokenList = reply.json()?;
    Ok(TokensPage {
        frame: Frame::new("Tokens", visitor, Place::Tokens),
        zones: state.zones(visitor).await?,
        tokens: list.tokens,
        form,
        new,
        revoked: revoked.to_owned(),
        now: state.clock.now().rfc3339(),
    })
}

/// `POST /tokens`
pub(super) async fn create(
    State(state): State<Shared>,
    visitor: Visitor,
    request: Request<Body>,
) -> Result<Response, Response> {
    let failed = |problem: Problem| render::problem(Some(&visitor), &problem);
    let fields = form::read(request, &visitor).await?;
    let mut form = TokenForm::of(&fields);
    let made = match body(&state, &form) {
        Ok(body) => {
            let sent = Sent::json(&body);
            let target = "/v1/tokens";
            let made = state
                .api
                .call(&visitor.on_behalf, Method::POST, target, sent)
                .await;
            match made {
                Ok(reply) => Ok(reply.json::<TokenData>().map_err(failed)?),
                Err(problem) if problem.is(Kind::Forbidden) => return Err(failed(problem)),
                Err(problem) => {
                    let field = match problem.field() {
                        Some("expires_at") => "ends",
                        Some(field @ ("name" | "role" | "zones" | "rate")) => field,
                        _ => "",
                    };
                    let detail = problem.detail().replace("expires_at", "the end");
                    Err((problem.status(), (field, sentence(&detail))))
                }
            }
        }
        Err(error) => Err((StatusCode::UNPROCESSABLE_ENTITY, error)),
    };
    let (status, new) = match made {
        Ok(token) => {
            form = TokenForm::default();
            (StatusCode::CREATED, Some(token))
        }
        Err((status, error)) => {
            form.error = Some(error);
            (status, None)
        }
    };
    let page = page(&state, &visitor, form, new, "").await;
    Ok(render::page(status, &page.map_err(failed)?))
}

/// The body of the API's request; or the name of a field, and what is wrong with it.
fn body(state: &Shared, form: &TokenForm) -> Result<Value, (&'static str, String)> {
    let mut body = Map::new();
    body.insert("name".into(), json!(form.name));
    body.insert("role".into(), json!(form.role));
    if !form.zones.is_empty() {
        body.insert("zones".into(), json!(form.zones));
    }
    if !form.ends.is_empty() {
        let end = when::end(&form.ends, state.clock.now()).map_err(|error| ("ends", error))?;
        body.insert("expires_at".into(), json!(end));
    }
    if !form.rate.is_empty() {
        let rate = form.rate.parse::<u64>();
        let rate =
            rate.map_err(|_| ("rate", "The rate is a whole number, such as 5.".to_owned()))?;
        body.insert("rate".into(), json!(rate));
    }
    Ok(Value::Object(body))
}

type NameInPath = Result<Path<String>, PathRejection>;

/// `GET /tokens/{name}/revoke`
pub(super) async fn ask_revoke(visitor: Visitor, name: NameInPath) -> Response {
    let name = name.map(|Path(name)| name).unwrap_or_default();
    let page = RevokePage {
        frame: Frame::new("Revoke this token?", &visitor, Place::Tokens).narrow(),
        is_own: visitor.session.caller.name() == name,
        name,
    };
    render::page(StatusCode::OK, &page)
}

/// `POST /tokens/{name}/revoke`
pub(super) async fn revoke(
    State(state): State<Shared>,
    visitor: Visitor,
    name: NameInPath,
    request: Request<Body>,
) -> Result<Response, Response> {
    let failed = |problem: Problem| render::problem(Some(&visitor), &problem);
    form::read(request, &visitor).await?;
    let name = name.map(|Path(name)| name).unwrap_or_default();
    // Other names are not those of tokens, and could lead to another path of the API.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_@".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(render::not_found(Some(&visitor)));
    }
    let target = format!("/v1/tokens/{name}");
    let sent = Sent::default();
    let revoked = state
        .api
        .call(&visitor.on_behalf, Method::DELETE, &target, sent)
        .await;
    revoked.map_err(failed)?;
    Ok(render::see_other(&format!("/tokens?revoked={name}")))
}
