//! The page of one link, and those to change and to delete it.

use askama::Template;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{Request, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::form::{self, Fields};
use super::frame::{Frame, Place, may_withhold, may_write};
use super::link_form::LinkForm;
use super::state::Shared;
use super::stats::Stats;
use super::values::{LinkData, Visible};
use super::visitor::Visitor;
use super::{calls, render};
use crate::http::problem::{Kind, Problem};
use crate::link::Code;

#[derive(Template)]
#[template(path = "page/templates/link.html")]
struct OneLink {
    frame: Frame,
    link: LinkData,
    dig: String,
    /// Whether the visitor may change and delete it.
    may_write: bool,
    may_withhold: bool,
    has_ended: bool,
    /// What has just happened to it: `new`, `there`, `unused`, `changed`, `same`, `withheld` or `released`.
    made: String,
    is_hidden_elsewhere: bool,
    /// Which servers have what has just happened, if that is worth saying.
    visible: Option<Visible>,
    stats: Stats,
}

#[derive(Template)]
#[template(path = "page/templates/edit.html")]
struct EditPage {
    frame: Frame,
    link: LinkData,
    form: LinkForm,
}

#[derive(Template)]
#[template(path = "page/templates/conflict.html")]
struct Conflict {
    frame: Frame,
    /// As it is now.
    link: LinkData,
    theirs: LinkForm,
    /// What was typed.
    form: LinkForm,
}

#[derive(Template)]
#[template(path = "page/templates/delete.html")]
struct DeletePage {
    frame: Frame,
    link: LinkData,
    /// Whether the link has changed since the page was last shown.
    has_changed: bool,
}

#[derive(Template)]
#[template(path = "page/templates/deleted.html")]
struct Deleted {
    frame: Frame,
    link: LinkData,
    /// Makes it again.
    form: LinkForm,
}

pub(super) type CodeInPath = Result<Path<String>, PathRejection>;

/// The code in the path, and the zone in the query.
pub(super) fn place(code: CodeInPath, uri: &Uri) -> (String, Fields) {
    let code = code.map(|Path(code)| code).unwrap_or_default();
    let query = Fields::parse(uri.query().unwrap_or_default().as_bytes());
    (code, query)
}

/// `GET /links/{code}`
pub(super) async fn show(
    State(state): State<Shared>,
    visitor: Visitor,
    code: CodeInPath,
    uri: Uri,
) -> Result<Response, Response> {
    let (code, query) = place(code, &uri);
    let link = state.link(&visitor, query.get("zone"), &code).await;
    let link = link.map_err(|problem| render::problem(Some(&visitor), &problem))?;
    let is_hidden_elsewhere = query.get("elsewhere") == "no";
    let visible = match query.get("made") {
        "" | "same" => None,
        _ if is_hidden_elsewhere => None,
        _ => {
            let visible = state.visible(&visitor, query.get("zone"), &code).await;
            visible.ok().filter(Visible::is_notable)
        }
    };
    let stats = state.link_stats(&visitor, &link, query.get("stats")).await;
    let page = OneLink {
        frame: Frame::new(link.name.clone(), &visitor, Place::Links),
        dig: state.dig(&link.name),
        may_write: match link.withheld {
            None => may_write(&visitor),
            Some(_) => may_withhold(&visitor),
        },
        may_withhold: may_withhold(&visitor),
        has_ended: link.has_ended(&state.clock.now().rfc3339()),
        made: query.get("made").to_owned(),
        is_hidden_elsewhere,
        visible,
        stats,
        link,
    };
    Ok(render::page(StatusCode::OK, &page))
}

/// `GET /links/{code}/qr`
pub(super) async fn qr(
    State(state): State<Shared>,
    visitor: Visitor,
    code: CodeInPath,
    uri: Uri,
) -> Result<Response, Response> {
    let (code, query) = place(code, &uri);
    let names = ["zone", "format", "scale", "margin", "level"];
    let parameters = calls::query(names.map(|name| (name, query.get(name))));
    let code = Code::parse(&code).map_err(|_| render::not_found(Some(&visitor)))?;
    let target = format!("/v1/links/{}/qr?{parameters}", code.as_str());
    let reply = state.api.get(&visitor.on_behalf, &target).await;
    let reply = reply.map_err(|problem| render::problem(Some(&visitor), &problem))?;
    let media_type = reply.headers.get(CONTENT_TYPE).cloned();
    let name = reply.headers.get(CONTENT_DISPOSITION).cloned();
    let name = match query.get("download") {
        "" => name,
        // The name of the file comes after the semicolon.
        _ => name.and_then(|name| {
            let name = name.to_str().ok()?.replacen("inline", "attachment", 1);
            name.try_into().ok()
        }),
    };
    let headers = (
        media_type.map(|value| [(CONTENT_TYPE, value)]),
        name.map(|value| [(CONTENT_DISPOSITION, value)]),
    );
    Ok((headers.0, headers.1, reply.body).into_response())
}

/// The refusal of a form to a visitor who may not send it; none to others.
fn refusal(visitor: &Visitor) -> Option<Response> {
    if may_write(visitor) {
        return None;
    }
    let detail = "to change links, you need a token with the role editor";
    let problem = Problem::new(Kind::Forbidden, detail);
    Some(render::problem(Some(visitor), &problem))
}

/// `GET /links/{code}/edit`
pub(super) async fn edit(
    State(state): State<Shared>,
    visitor: Visitor,
    code: CodeInPath,
    uri: Uri,
) -> Result<Response, Response> {
    if let Some(refusal) = refusal(&visitor) {
        return Err(refusal);
    }
    let (code, query) = place(code, &uri);
    let link = state.link(&visitor, query.get("zone"), &code).await;
    let link = link.map_err(|problem| render::problem(Some(&visitor), &problem))?;
    let form = LinkForm::of_link(&link);
    Ok(edit_page(&visitor, link, form, StatusCode::OK))
}

fn edit_page(visitor: &Visitor, link: LinkData, form: LinkForm, status: StatusCode) -> Response {
    let title = format!("Edit {}", link.name);
    let page = EditPage {
        frame: Frame::new(title, visitor, Place::Links).narrow(),
        link,
        form,
    };
    render::page(status, &page)
}

/// `POST /links/{code}/edit`
pub(super) async fn change(
    State(state): State<Shared>,
    visitor: Visitor,
    code: CodeInPath,
    request: Request<Body>,
) -> Result<Response, Response> {
    let failed = |problem: Problem| render::problem(Some(&visitor), &problem);
    let (code, _) = place(code, request.uri());
    let fields = form::read(request, &visitor).await?;
    let form = LinkForm::of_fields(&fields);
    let link = state.link(&visitor, &form.zone, &code).await;
    let link = link.map_err(failed)?;
    if form.version != link.version.to_string() {
        return Ok(conflict(&visitor, link, form));
    }
    let body = match form.change(&link, state.clock.now()) {
        Ok(Some(body)) => body,
        Ok(None) => return Ok(render::see_other(&format!("{}&made=same", link.path("")))),
        Err(wrong) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return Ok(edit_page(&visitor, link, form.with(wrong), status));
        }
    };
    match state.change(&visitor, &link, &form.version, &body).await {
        Ok(changed) => Ok(after_change(&changed, "changed")),
        Err(problem) if problem.is(Kind::VersionConflict) => {
            let now = state.link(&visitor, &form.zone, &code).await;
            Ok(conflict(&visitor, now.map_err(failed)?, form))
        }
        Err(problem) if problem.field().is_some() => {
            let status = problem.status();
            let form = form.with_problem(&problem);
            Ok(edit_page(&visitor, link, form, status))
        }
        Err(problem) => Err(failed(problem)),
    }
}

/// Sends the browser to a link that was changed, and says what was done.
pub(super) fn after_change(changed: &LinkData, made: &str) -> Response {
    let elsewhere = match changed.is_hidden_elsewhere() {
        true => "&elsewhere=no",
        false => "",
    };
    let path = changed.path("");
    render::see_other(&format!("{path}&made={made}{elsewhere}"))
}

/// The page that shows both versions.
fn conflict(visitor: &Visitor, link: LinkData, form: LinkForm) -> Response {
    let title = "Someone else has changed this link";
    let page = Conflict {
        frame: Frame::new(title, visitor, Place::Links),
        theirs: LinkForm::of_link(&link),
        link,
        form,
    };
    render::page(StatusCode::PRECONDITION_FAILED, &page)
}

impl Conflict {
    /// The properties that differ: the label, how it is now, and what was typed.
    fn differences(&self) -> Vec<(&'static str, &str, &str)> {
        let (theirs, mine) = (&self.theirs, &self.form);
        let all = [
            ("Leads to", &theirs.url, &mine.url),
            ("Ends", &theirs.ends, &mine.ends),
            ("TTL", &theirs.ttl, &mine.ttl),
            ("Title", &theirs.title, &mine.title),
            ("Tags", &theirs.tags, &mine.tags),
            ("Note", &theirs.note, &mine.note),
        ];
        let differing = all.into_iter().filter(|(_, theirs, mine)| theirs != mine);
        differing
            .map(|(label, theirs, mine)| (label, &**theirs, &**mine))
            .collect()
    }
}

/// `GET /links/{code}/delete`
pub(super) async fn ask_delete(
    State(state): State<Shared>,
    visitor: Visitor,
    code: CodeInPath,
    uri: Uri,
) -> Result<Response, Response> {
    if let Some(refusal) = refusal(&visitor) {
        return Err(refusal);
    }
    let (code, query) = place(code, &uri);
    let link = state.link(&visitor, query.get("zone"), &code).await;
    let link = link.map_err(|problem| render::problem(Some(&visitor), &problem))?;
    Ok(delete_page(&visitor, link, false))
}

fn delete_page(visitor: &Visitor, link: LinkData, has_changed: bool) -> Response {
    let status = match has_changed {
        true => StatusCode::PRECONDITION_FAILED,
        false => StatusCode::OK,
    };
    let page = DeletePage {
        frame: Frame::new("Delete this link?", visitor, Place::Links).narrow(),
        link,
        has_changed,
    };
    render::page(status, &page)
}

/// `POST /links/{code}/delete`
pub(super) async fn delete(
    State(state): State<Shared>,
    visitor: Visitor,
    code: CodeInPath,
    request: Request<Body>,
) -> Result<Response, Response> {
    let failed = |problem: Problem| render::problem(Some(&visitor), &problem);
    let (code, _) = place(code, request.uri());
    let fields = form::read(request, &visitor).await?;
    let link = state.link(&visitor, fields.get("zone"), &code).await;
    let link = link.map_err(failed)?;
    let version = fields.get("version");
    if version != link.version.to_string() {
        return Ok(delete_page(&visitor, link, true));
    }
    match state.delete(&visitor, &link, version).await {
        Ok(()) => {
            let page = Deleted {
                frame: Frame::new("Link deleted", &visitor, Place::Links).narrow(),
                form: LinkForm::of_link(&link),
                link,
            };
            Ok(render::page(StatusCode::OK, &page))
        }
        Err(problem) if problem.is(Kind::VersionConflict) => {
            let now = state.link(&visitor, fields.get("zone"), &code).await;
            Ok(delete_page(&visitor, now.map_err(failed)?, true))
        }
        Err(problem) => Err(failed(problem)),
    }
}
