//! Calls about tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::header::{HeaderValue, LOCATION};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Admin, NoQuery, body, members, query};
use crate::access::{Caller, NewToken, NoRole, Rate, Token, TokenChangeError, TokenRule};
use crate::base::clock::UnixTime;
use crate::http::problem::{Kind, Problem};
use crate::link::Origin;

/// An example body for messages.
const EXAMPLE: &str = "{\"name\": \"ann\", \"role\": \"editor\"}";

/// A token as the API shows it.
#[derive(Serialize)]
struct TokenJson<'a> {
    name: &'a str,
    role: &'static str,
    zones: Option<Vec<&'a str>>,
    created_at: String,
    created_by: &'a str,
    expires_at: Option<String>,
    rate: Option<u32>,
    burst: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

impl<'a> TokenJson<'a> {
    fn new(token: &'a Token) -> Self {
        let zones = token.zones.as_ref();
        Self {
            name: &token.name,
            role: token.role.name(),
            zones: zones.map(|zones| zones.iter().map(Origin::as_str).collect()),
            created_at: token.created_at.rfc3339(),
            created_by: &token.created_by,
            expires_at: token.expires_at.map(UnixTime::rfc3339),
            rate: token.rate.map(|rate| rate.per_second),
            burst: token.rate.map(|rate| rate.burst),
            last_used_at: None,
            token: None,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    #[serde(default, deserialize_with = "members::present")]
    name: Option<Value>,
    #[serde(default, deserialize_with = "members::present")]
    role: Option<Value>,
    #[serde(default, deserialize_with = "members::present")]
    zones: Option<Value>,
    #[serde(default, deserialize_with = "members::present")]
    expires_at: Option<Value>,
    #[serde(default, deserialize_with = "members::present")]
    rate: Option<Value>,
    #[serde(default, deserialize_with = "members::present")]
    burst: Option<Value>,
}

/// `GET /v1/tokens`
pub(super) async fn list(State(admin): State<Arc<Admin>>, uri: Uri) -> Result<Response, Problem> {
    let NoQuery {} = query(&uri)?;
    let listed = admin.gate.tokens().list().await?;
    let tokens: Vec<_> = listed
        .iter()
        .map(|(token, last_used)| TokenJson {
            last_used_at: Some(last_used.map(UnixTime::rfc3339)),
            ..TokenJson::new(token)
        })
        .collect();
    Ok(Json(serde_json::json!({"tokens": tokens})).into_response())
}

/// `POST /v1/tokens`
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let NoQuery {} = query(request.uri())?;
    body::check_media_type(request.headers(), body::is_json, "application/json")?;
    let new = read(&body::read(request.into_body()).await?)?;
    admin.check_zones(new.zones.as_deref())?;
    let (token, secret) = admin.gate.tokens().create(new, &caller).await?;
    tracing::info!(token = %token.name, role = %token.role, by = caller.name(), "token made");
    let json = Json(TokenJson {
        token: Some(&secret),
        ..TokenJson::new(&token)
    });
    // The name has no characters that a path cannot have.
    let location = HeaderValue::try_from(format!("/v1/tokens/{}", token.name));
    let location = location.ok().map(|path| [(LOCATION, path)]);
    Ok((StatusCode::CREATED, location, json).into_response())
}

/// `DELETE /v1/tokens/{name}`
pub(super) async fn revoke(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    let NoQuery {} = query(&uri)?;
    let none = || Problem::new(Kind::NoSuchToken, "there is no token of this name");
    let Path(name) = name.map_err(|_| none())?;
    admin.gate.tokens().revoke(&name, &caller).await?;
    tracing::info!(token = name, by = caller.name(), "token revoked");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Reads the body of a creation.
fn read(bytes: &[u8]) -> Result<NewToken, Problem> {
    let members: Members = body::object(bytes, EXAMPLE)?;
    let missing = |name: &'static str| {
        let detail = format!("{name:?} is missing; a token needs one, such as {EXAMPLE}");
        Problem::new(Kind::InvalidBody, detail).of(name)
    };
    let name = members::text(members.name, "name")?.flatten();
    let role = members::text(members.role, "role")?.flatten();
    let zones = texts(members.zones)?;
    let expires_at = members::text(members.expires_at, "expires_at")?.flatten();
    let per_second = members::integer(members.rate, "rate", "in requests a second, such as 50")?;
    let burst = members::integer(members.burst, "burst", "in requests, such as 100")?;
    let rate = rate(per_second.flatten(), burst.flatten())?;
    let refused = |detail: String, field| Problem::new(Kind::TokenRefused, detail).of(field);
    let role = role.ok_or_else(|| missing("role"))?;
    let zones = zones.map(|zones| {
        let zones = zones.iter().map(|zone| Origin::parse(zone));
        zones.collect::<Result<Vec<_>, _>>()
    });
    Ok(NewToken {
        name: name.ok_or_else(|| missing("name"))?,
        role: role
            .parse()
            .map_err(|error: NoRole| refused(error.to_string(), "role"))?,
        zones: zones
            .transpose()
            .map_err(|error| refused(error.to_string(), "zones"))?,
        expires_at: expires_at.as_deref().map(body::expiry).transpose()?,
        rate,
    })
}

/// The rate with these numbers, whose ranges are checked with those of the other members.
fn rate(per_second: Option<u64>, burst: Option<u64>) -> Result<Option<Rate>, Problem> {
    let clamped = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    match (per_second.map(clamped), burst.map(clamped)) {
        (None, None) => Ok(None),
        (None, Some(_)) => {
            let detail = "a burst belongs to a rate; send \"rate\" as well, or leave \"burst\" out";
            Err(Problem::new(Kind::TokenRefused, detail).of("burst"))
        }
        (Some(per_second), burst) => Ok(Some(Rate {
            per_second,
            burst: burst.unwrap_or_else(|| Rate::default_burst(per_second)),
        })),
    }
}

/// Reads a member that is a list of strings, `null` or absent.
fn texts(member: Option<Value>) -> Result<Option<Vec<String>>, Problem> {
    let bad = || {
        let detail = "\"zones\" is not a list of strings, such as [\"s.example.com\"]";
        Problem::new(Kind::InvalidBody, detail).of("zones")
    };
    match member {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(values)) => {
            let texts = values.into_iter().map(|value| match value {
                Value::String(text) => Ok(text),
                _ => Err(bad()),
            });
            texts.collect::<Result<_, _>>().map(Some)
        }
        Some(_) => Err(bad()),
    }
}

impl Admin {
    /// Refuses zones that hold no links: most likely they are typing errors.
    fn check_zones(&self, zones: Option<&[Origin]>) -> Result<(), Problem> {
        let known = self.links.namespace().origins();
        let unknown = zones.into_iter().flatten();
        match unknown.into_iter().find(|zone| !known.contains(zone)) {
            None => Ok(()),
            Some(zone) => {
                let detail =
                    format!("no zone {zone} holds links here; GET /v1/zones lists those that do");
                Err(Problem::new(Kind::TokenRefused, detail).of("zones"))
            }
        }
    }
}

impl From<TokenChangeError> for Problem {
    fn from(error: TokenChangeError) -> Self {
        let detail = error.to_string();
        match error {
            TokenChangeError::Rule(rule) => {
                let field = match rule {
                    TokenRule::Name | TokenRule::RootName => "name",
                    TokenRule::AdminZones | TokenRule::Zones => "zones",
                    TokenRule::Rate => "rate",
                    TokenRule::Burst => "burst",
                    TokenRule::AlreadyExpired | TokenRule::ExpiresTooLate => {
                        return Self::new(Kind::ExpiryRefused, detail).of("expires_at");
                    }
                };
                Self::new(Kind::TokenRefused, detail).of(field)
            }
            TokenChangeError::Exists(_) => Self::new(Kind::TokenExists, detail).of("name"),
            TokenChangeError::Full => Self::new(Kind::TooManyTokens, detail),
            TokenChangeError::Absent(_) => Self::new(Kind::NoSuchToken, detail),
            TokenChangeError::Random(_) => Self::new(Kind::StoreUnavailable, detail),
            TokenChangeError::Store(error) => error.into(),
        }
    }
}
