//! The list of links: search, filters, order and pages.

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::form::Fields;
use super::frame::{Frame, Place, may_write};
use super::state::Shared;
use super::values::{LinkData, LinkPage, sentence};
use super::visitor::Visitor;
use super::{calls, render};
use crate::http::problem::Problem;

/// How many links a page has.
const PAGE_LEN: &str = "50";
/// The order, unless the visitor chooses another one.
const DEFAULT_SORT: &str = "newest";

/// What is looked for, as it was typed.
struct Search {
    zone: String,
    q: String,
    tag: String,
    host: String,
    state: String,
    created_by: String,
    sort: String,
    cursor: String,
}

impl Search {
    fn of(query: &Fields) -> Self {
        let text = |name| query.get(name).to_owned();
        Self {
            zone: text("zone"),
            q: text("q"),
            tag: text("tag"),
            host: text("host"),
            state: text("state"),
            created_by: text("created_by"),
            sort: text("sort"),
            cursor: text("cursor"),
        }
    }

    /// The query of this list, with this order and this place in it.
    fn query(&self, sort: &str, cursor: &str, limit: &str) -> String {
        calls::query([
            ("zone", &*self.zone),
            ("q", &*self.q),
            ("tag", &*self.tag),
            ("host", &*self.host),
            ("state", &*self.state),
            ("created_by", &*self.created_by),
            ("sort", sort),
            ("cursor", cursor),
            ("limit", limit),
        ])
    }

    /// The path of the page of the list that begins there.
    fn path(&self, cursor: &str) -> String {
        format!("/links?{}", self.query(&self.sort, cursor, ""))
    }

    fn has_more_filters(&self) -> bool {
        let filters = [&self.tag, &self.host, &self.state, &self.created_by];
        filters.iter().any(|text| !text.is_empty())
    }

    fn has_filters(&self) -> bool {
        self.has_more_filters() || !self.q.is_empty()
    }
}

#[derive(Template)]
#[template(path = "page/templates/list.html")]
struct ListPage {
    frame: Frame,
    may_write: bool,
    zones: Vec<String>,
    search: Search,
    links: Vec<LinkData>,
    next: Option<String>,
    now: String,
    /// Whether the store has one order only.
    has_no_sort: bool,
    error: Option<String>,
    /// The parameter that is wrong, if one is.
    wrong: Option<&'static str>,
}

impl ListPage {
    /// The attributes of a field that is wrong. The focus goes there.
    fn aria(&self, field: &str) -> &'static str {
        match self.wrong == Some(field) {
            true => " aria-describedby=\"search-error\" aria-invalid=\"true\" autofocus",
            false => "",
        }
    }

    /// Whether a choice of a list is the one that is shown.
    fn is_sort(&self, name: &str) -> bool {
        match &*self.search.sort {
            "" => name == DEFAULT_SORT,
            sort => name == sort,
        }
    }
}

/// `GET /links`
pub(super) async fn show(
    State(state): State<Shared>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Response> {
    let failed = |problem: Problem| render::problem(Some(&visitor), &problem);
    let query = Fields::parse(uri.query().unwrap_or_default().as_bytes());
    let search = Search::of(&query);
    let zones = state.zones(&visitor).await.map_err(failed)?;
    let found = find(&state, &visitor, &search).await;
    let mut wrong = None;
    let (status, found, has_no_sort, error) = match found {
        Ok((page, has_no_sort)) => (StatusCode::OK, Some(page), has_no_sort, None),
        // Something that was typed is not as it should be.
        Err(problem) if problem.field().is_some_and(|field| field != "zone") => {
            let error = Some(sentence(problem.detail()));
            wrong = problem.field();
            (problem.status(), None, false, error)
        }
        Err(problem) => return Err(failed(problem)),
    };
    let (links, next) = found.map_or_else(Default::default, |page| (page.links, page.next_cursor));
    let page = ListPage {
        frame: Frame::new("Links", &visitor, Place::Links),
        may_write: may_write(&visitor),
        zones,
        next: next.map(|cursor| search.path(&cursor)),
        search,
        links,
        now: state.clock.now().rfc3339(),
        has_no_sort,
        error,
        wrong,
    };
    Ok(render::page(status, &page))
}

/// The page of the list. If nobody asked for an order, one that the store does not have is left out. Also returns
/// whether that was so.
async fn find(
    state: &Shared,
    visitor: &Visitor,
    search: &Search,
) -> Result<(LinkPage, bool), Problem> {
    let query = |sort: &str| search.query(sort, &search.cursor, PAGE_LEN);
    if !search.sort.is_empty() {
        return Ok((state.links(visitor, &query(&search.sort)).await?, false));
    }
    match state.links(visitor, &query(DEFAULT_SORT)).await {
        Err(problem) if problem.field() == Some("sort") => {
            Ok((state.links(visitor, &query("")).await?, true))
        }
        found => Ok((found?, false)),
    }
}
