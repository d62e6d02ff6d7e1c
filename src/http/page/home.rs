//! The first page: the form for a new link, and the latest links.

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;

use super::form;
use super::frame::{Frame, Place, may_write};
use super::link_form::LinkForm;
use super::state::Shared;
use super::values::LinkData;
use super::visitor::Visitor;
use super::{calls, render};
use crate::http::problem::Problem;

/// How many of the latest links are shown.
const LATEST: usize = 5;

#[derive(Template)]
#[template(path = "page/templates/home.html")]
struct HomePage {
    frame: Frame,
    may_write: bool,
    zones: Vec<String>,
    form: LinkForm,
    latest: Vec<LinkData>,
    now: String,
}

/// `GET /`
pub(super) async fn show(State(state): State<Shared>, visitor: Visitor) -> Response {
    page(&state, &visitor, LinkForm::default(), StatusCode::OK).await
}

/// `POST /links`
pub(super) async fn create(
    State(state): State<Shared>,
    visitor: Visitor,
    request: Request<Body>,
) -> Result<Response, Response> {
    let fields = form::read(request, &visitor).await?;
    let form = LinkForm::of_fields(&fields);
    let body = match form.creation(state.clock.now()) {
        Ok(body) => body,
        Err(wrong) => {
            let form = form.with(wrong);
            return Ok(page(&state, &visitor, form, StatusCode::UNPROCESSABLE_ENTITY).await);
        }
    };
    let created = state.create(&visitor, &form.zone, &body).await;
    let (link, is_new) = match created {
        Ok(created) => created,
        Err(problem) if is_about_form(&problem) => {
            let status = problem.status();
            return Ok(page(&state, &visitor, form.with_problem(&problem), status).await);
        }
        Err(problem) => return Err(render::problem(Some(&visitor), &problem)),
    };
    let made = match (is_new, form.has_unused(&link)) {
        (true, _) => "new",
        (false, false) => "there",
        (false, true) => "unused",
    };
    let elsewhere = match link.is_hidden_elsewhere() {
        true => "no",
        false => "",
    };
    let more = calls::query([("made", made), ("elsewhere", elsewhere)]);
    Ok(render::see_other(&format!("{}&{more}", link.path(""))))
}

/// Whether the one who filled the form can mend it, or try again with it.
pub(super) fn is_about_form(problem: &Problem) -> bool {
    problem.status() != StatusCode::FORBIDDEN || problem.field().is_some()
}

impl LinkForm {
    /// Whether a link that was there already is not as the form wanted it.
    fn has_unused(&self, link: &LinkData) -> bool {
        let typed = [&self.ends, &self.ttl, &self.title, &self.tags, &self.note];
        let was = Self::of_link(link);
        let kept = [&was.ends, &was.ttl, &was.title, &was.tags, &was.note];
        let mut pairs = typed.into_iter().zip(kept);
        pairs.any(|(typed, kept)| !typed.is_empty() && typed != kept)
    }
}

async fn page(state: &Shared, visitor: &Visitor, form: LinkForm, status: StatusCode) -> Response {
    let zones = match state.zones(visitor).await {
        Ok(zones) => zones,
        Err(problem) => return render::problem(Some(visitor), &problem),
    };
    let may_write = may_write(visitor);
    let zone = zones.first().map(String::as_str).unwrap_or_default();
    let latest = state.latest(visitor, zone, LATEST).await;
    let title = match may_write {
        true => "New link",
        false => "Links",
    };
    let page = HomePage {
        frame: Frame::new(title, visitor, Place::New),
        may_write,
        zones,
        form,
        latest: latest.unwrap_or_default(),
        now: state.clock.now().rfc3339(),
    };
    render::page(status, &page)
}
