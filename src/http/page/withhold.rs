//! The page on which admins withhold a link, and give it back.

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::form::{self, Fields};
use super::frame::{Frame, Place, may_withhold};
use super::one_link::{CodeInPath, after_change, place};
use super::render;
use super::state::Shared;
use super::values::{LinkData, sentence};
use super::visitor::Visitor;
use crate::http::problem::{Kind, Problem};
use crate::link::Reason;

/// What was typed.
#[derive(Default)]
struct WithholdForm {
    kind: String,
    reason: String,
    authority: String,
    /// What is wrong, as a sentence.
    error: Option<String>,
}

impl WithholdForm {
    fn of_fields(fields: &Fields) -> Self {
        let text = |name| fields.get(name).to_owned();
        Self {
            kind: text("kind"),
            reason: text("reason"),
            authority: text("authority"),
            error: None,
        }
    }

    /// What the link has now.
    fn of_link(link: &LinkData) -> Self {
        let Some(withheld) = &link.withheld else {
            return Self::default();
        };
        let authority = withheld.grounds.authority();
        Self {
            kind: withheld.grounds.kind().into(),
            reason: withheld.reason.as_str().into(),
            authority: authority.map(ToString::to_string).unwrap_or_default(),
            error: None,
        }
    }

    /// What is wrong with this field, `reason` or `authority`. A browser sends no other kinds than those of the form, so
    /// that a refusal of a valid reason is for the authority.
    fn error(&self, field: &str) -> Option<&str> {
        let wrong = match Reason::parse(&self.reason) {
            Ok(_) => "authority",
            Err(_) => "reason",
        };
        self.error.as_deref().filter(|_| field == wrong)
    }

    /// Whether this kind is chosen.
    fn is_kind(&self, kind: &str) -> bool {
        match &*self.kind {
            "" => kind == "abuse",
            chosen => chosen == kind,
        }
    }

    /// The body of the change.
    fn change(&self) -> Value {
        let mut withheld = Map::new();
        withheld.insert("kind".into(), json!(self.kind));
        withheld.insert("reason".into(), json!(self.reason));
        if !self.authority.is_empty() {
            withheld.insert("authority".into(), json!(self.authority));
        }
        json!({ "withheld": withheld })
    }
}

#[derive(Template)]
#[template(path = "page/templates/withhold.html")]
struct WithholdPage {
    frame: Frame,
    link: LinkData,
    form: WithholdForm,
    /// The most characters of a reason.
    max: usize,
    /// Whether the link has changed since the page was last shown.
    has_changed: bool,
}

/// `GET /links/{code}/withhold`
pub(super) async fn show(
    State(state): State<Shared>,
    visitor: Visitor,
    code: CodeInPath,
    uri: Uri,
) -> Result<Response, Response> {
    let failed = |problem: Problem| render::problem(Some(&visitor), &problem);
    if !may_withhold(&visitor) {
        let detail = "to withhold links, you need a token with the role admin";
        return Err(failed(Problem::new(Kind::Forbidden, detail)));
    }
    let (code, query) = place(code, &uri);
    let link = state.link(&visitor, query.get("zone"), &code).await;
    let link = link.map_err(failed)?;
    let form = WithholdForm::of_link(&link);
    Ok(page(&visitor, link, form, StatusCode::OK))
}

fn page(visitor: &Visitor, link: LinkData, form: WithholdForm, status: StatusCode) -> Response {
    let title = match &link.withheld {
        None => "Withhold this link?",
        Some(_) => "This link is withheld",
    };
    let page = WithholdPage {
        frame: Frame::new(title, visitor, Place::Links).narrow(),
        link,
        form,
        max: Reason::MAX,
        has_changed: status == StatusCode::PRECONDITION_FAILED,
    };
    render::page(status, &page)
}

/// `POST /links/{code}/withhold`
pub(super) async fn change(
    State(state): State<Shared>,
    visitor: Visitor,
    code: CodeInPath,
    request: Request<Body>,
) -> Result<Response, Response> {
    let failed = |problem: Problem| render::problem(Some(&visitor), &problem);
    let (code, _) = place(code, request.uri());
    let fields = form::read(request, &visitor).await?;
    let zone = fields.get("zone");
    let link = state.link(&visitor, zone, &code).await;
    let link = link.map_err(failed)?;
    let form = WithholdForm::of_fields(&fields);
    let version = fields.get("version");
    let is_old = StatusCode::PRECONDITION_FAILED;
    if version != link.version.to_string() {
        return Ok(page(&visitor, link, form, is_old));
    }
    let (body, made) = match fields.get("do") {
        "release" => (json!({ "withheld": null }), "released"),
        _ => (form.change(), "withheld"),
    };
    match state.change(&visitor, &link, version, &body).await {
        Ok(changed) => Ok(after_change(&changed, made)),
        Err(problem) if problem.is(Kind::VersionConflict) => {
            let now = state.link(&visitor, zone, &code).await;
            Ok(page(&visitor, now.map_err(failed)?, form, is_old))
        }
        Err(problem) if problem.status() == StatusCode::UNPROCESSABLE_ENTITY => {
            let error = Some(sentence(problem.detail()));
            let form = WithholdForm { error, ..form };
            Ok(page(&visitor, link, form, problem.status()))
        }
        Err(problem) => Err(failed(problem)),
    }
}
