//! Calls about single links.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::header::{ETAG, HeaderMap, HeaderName, HeaderValue, LOCATION};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::conditions::Tags;
use super::idempotency::{Key, Keyed, Turn, claim, place};
use super::visible::{self, ChangeQuery, VisibleJson};
use super::{Admin, VISIBLE_ELSEWHERE, ZoneQuery, body, query};
use crate::access::Caller;
use crate::http::problem::{Kind, Problem, etag};
use crate::http::serve::request_log::RequestId;
use crate::link::{Code, Link, LinkName, Origin, Version};
use crate::links::{CreateLink, Creation, LinkError, Wait};

/// `POST /v1/links`
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, Problem> {
    let asked: ChangeQuery = query(request.uri())?;
    let (origin, wait) = (admin.zone(&caller, asked.zone.as_deref())?, asked.wait());
    let key = Key::of(request.headers())?;
    body::check_media_type(request.headers(), body::is_json, "application/json")?;
    let (head, body) = request.into_parts();
    let bytes = body::read(body).await?;
    let creation = body::creation(&bytes, origin.clone(), &caller)?;
    let Some(key) = key else {
        return make(&admin, &caller, creation, wait).await;
    };
    let keyed = Keyed {
        key,
        caller: &caller,
        id: &id,
        method: &head.method,
        path: head.uri.path(),
        origin: &origin,
        body: &bytes,
        links: 1,
    };
    match claim(&admin, &keyed, place(&admin)?).await? {
        Turn::Answered(response) => Ok(response),
        Turn::Ours(held) => {
            let work = async move {
                let made = make(&admin, &caller, creation, wait).await;
                made.into_response()
            };
            held.carry_out(id, work).await
        }
    }
}

/// Makes a link, unless it is there.
async fn make(
    admin: &Admin,
    caller: &Caller,
    creation: CreateLink,
    wait: Wait,
) -> Result<Response, Problem> {
    let origin = creation.origin.clone();
    let creation = admin.links.create(creation).await?;
    Ok(match creation {
        Creation::New(link) => {
            let location = [(LOCATION, location(admin, caller, &link, &origin))];
            let shown = admin.show_changed(&link, StatusCode::CREATED, wait).await;
            (location, shown).into_response()
        }
        Creation::Same(link) => admin.show_changed(&link, StatusCode::OK, wait).await,
    })
}

/// The path of a new link, with its zone unless that is the default.
fn location(admin: &Admin, caller: &Caller, link: &Link, origin: &Origin) -> String {
    let code = link.name.code();
    if admin.is_default(caller, origin) {
        format!("/v1/links/{code}")
    } else {
        format!("/v1/links/{code}?zone={origin}")
    }
}

/// `GET /v1/links/{code}`
pub(super) async fn read(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    code: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = admin.name(&caller, code, &uri)?;
    let unless = Tags::if_none_match(&headers)?;
    let link = admin.links.get(&name).await?;
    // RFC 9110 §15.4.5: the 304 has the ETag that the 200 would have had.
    if unless.is_some_and(|tags| tags.matches_weakly(link.version)) {
        return Ok((StatusCode::NOT_MODIFIED, etag_header(link.version), ()).into_response());
    }
    Ok(admin.show(&link).into_response())
}

/// `PATCH /v1/links/{code}`
pub(super) async fn change(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    code: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let asked: ChangeQuery = query(request.uri())?;
    let name = admin.name_in(&caller, code, asked.zone.as_deref())?;
    let tags = Tags::if_match(request.headers())?;
    admin.rules.check_if_match(request.headers())?;
    let accepted = "application/json or application/merge-patch+json";
    body::check_media_type(request.headers(), body::is_merge_patch, accepted)?;
    let bytes = body::read(request.into_body()).await?;
    let change = body::change(&bytes, &caller)?;
    let expected = admin.expected(&name, tags.as_ref()).await?;
    let by = caller.actor();
    let changed = admin.links.change(&name, expected, change, &by).await;
    let link = changed.map_err(|error| failed(error, tags.as_ref()))?;
    Ok(admin
        .show_changed(&link, StatusCode::OK, asked.wait())
        .await)
}

/// `DELETE /v1/links/{code}`
pub(super) async fn delete(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    code: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked: ChangeQuery = query(&uri)?;
    let name = admin.name_in(&caller, code, asked.zone.as_deref())?;
    let tags = Tags::if_match(&headers)?;
    admin.rules.check_if_match(&headers)?;
    let expected = admin.expected(&name, tags.as_ref()).await?;
    let by = caller.actor();
    let deleted = admin.links.delete(&name, expected, &by).await;
    deleted.map_err(|error| failed(error, tags.as_ref()))?;
    let visibility = admin.visibility_header(&name);
    let wait = asked.wait();
    if wait == Wait::No {
        return Ok((StatusCode::NO_CONTENT, visibility, ()).into_response());
    }
    let visible = admin.links.visible(&name, wait).await;
    let status = visible::status(wait, &visible).unwrap_or(StatusCode::OK);
    let receipt = json!({ "visible": VisibleJson::of_deletion(&visible) });
    Ok((status, visibility, Json(receipt)).into_response())
}

/// The problem of a failed call with `If-Match`. If the tags did not match, it says why (RFC 9110 §13.1.1).
fn failed(error: LinkError, tags: Option<&Tags>) -> Problem {
    let why = match (&error, tags) {
        (LinkError::VersionConflict(link), Some(tags)) => Some(tags.why_not(link)),
        _ => None,
    };
    let problem = Problem::from(error);
    match why {
        Some(why) => problem.because(why),
        None => problem,
    }
}

/// The header with a version as the entity tag.
pub(super) fn etag_header(version: Version) -> Option<[(HeaderName, HeaderValue); 1]> {
    etag(version).map(|tag| [(ETAG, tag)])
}

impl Admin {
    /// The name of the link for a path and a query. A text that is not a valid code has no link, so the problem is
    /// `no-such-link`.
    fn name(
        &self,
        caller: &Caller,
        code: Result<Path<String>, PathRejection>,
        uri: &Uri,
    ) -> Result<LinkName, Problem> {
        self.name_in(caller, code, query::<ZoneQuery>(uri)?.zone.as_deref())
    }

    /// The same for the zone of a query that has been read.
    pub(super) fn name_in(
        &self,
        caller: &Caller,
        code: Result<Path<String>, PathRejection>,
        zone: Option<&str>,
    ) -> Result<LinkName, Problem> {
        let origin = self.zone(caller, zone)?;
        let none = "there is no link with this code: it is not a valid code";
        let code = code
            .ok()
            .and_then(|Path(code)| Code::parse(&code).ok())
            .ok_or_else(|| Problem::new(Kind::NoSuchLink, none))?;
        Ok(LinkName::new(&code, &origin))
    }

    fn show(&self, link: &Link) -> impl IntoResponse + use<> {
        let json = Json(body::LinkJson::new(link, self.short_urls));
        (etag_header(link.version), json)
    }

    /// The same for the response to a change, which says which servers have it. The status is this one, unless the
    /// caller has waited for servers in vain.
    async fn show_changed(&self, link: &Link, usual: StatusCode, wait: Wait) -> Response {
        let visible = self.links.visible(&link.name, wait).await;
        let status = visible::status(wait, &visible).unwrap_or(usual);
        let is_visible = self.links.is_visible_elsewhere(&link.name);
        let json = body::LinkJson::new(link, self.short_urls).changed(is_visible);
        let json = Json(json.with_receipt(VisibleJson::new(&visible)));
        let visibility = self.visibility_header(&link.name);
        (status, etag_header(link.version), visibility, json).into_response()
    }

    fn visibility_header(&self, name: &LinkName) -> Option<[(HeaderName, HeaderValue); 1]> {
        let is_visible = self.links.is_visible_elsewhere(name);
        (!is_visible).then(|| [(VISIBLE_ELSEWHERE, HeaderValue::from_static("no"))])
    }

    /// The version that the link must have because of `If-Match`; none if any version is allowed. If `If-Match` has
    /// several tags (or none that could match), this reads the link first. If the link changes in between, the store
    /// finds another version and refuses.
    async fn expected(
        &self,
        name: &LinkName,
        tags: Option<&Tags>,
    ) -> Result<Option<Version>, Problem> {
        let Some(versions) = tags.and_then(Tags::strong) else {
            return Ok(None);
        };
        if let [version] = versions[..] {
            return Ok(Some(version));
        }
        let link = self.links.get(name).await?;
        if versions.contains(&link.version) {
            Ok(Some(link.version))
        } else {
            Err(failed(LinkError::VersionConflict(link.into()), tags))
        }
    }
}
