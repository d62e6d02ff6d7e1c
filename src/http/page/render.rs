//! From templates to responses, and the pages about what went wrong.

use askama::Template;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use axum::response::{IntoResponse, Response};

use super::frame::{Frame, Place};
use super::values::sentence;
use super::visitor::Visitor;
use crate::http::problem::Problem;

/// A page with a message.
#[derive(Template)]
#[template(path = "page/templates/message.html")]
struct Message {
    frame: Frame,
    /// One paragraph each.
    texts: Vec<String>,
    /// Settings of a proxy that would help: a program and its line.
    settings: Vec<(&'static str, &'static str)>,
}

/// A page of a template.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    match template.render() {
        Ok(text) => (status, [(CONTENT_TYPE, html)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot render a page");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Sends the browser to a path of the page, which it gets.
pub(super) fn see_other(path: &str) -> Response {
    match HeaderValue::try_from(path) {
        Ok(path) => (StatusCode::SEE_OTHER, [(LOCATION, path)]).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Sends the browser to the login, and then to `target`.
pub(super) fn to_login(target: Option<&str>, has_ended: bool) -> Response {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if has_ended {
        query.append_pair("ended", "yes");
    }
    if let Some(target) = target.filter(|target| *target != "/") {
        query.append_pair("next", target);
    }
    match query.finish() {
        empty if empty.is_empty() => see_other("/login"),
        query => see_other(&format!("/login?{query}")),
    }
}

fn message(status: StatusCode, visitor: Option<&Visitor>, title: &str, texts: &[&str]) -> Response {
    let frame = match visitor {
        Some(visitor) => Frame::new(title, visitor, Place::Elsewhere).narrow(),
        None => Frame::open(title),
    };
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    let settings = Vec::new();
    page(
        status,
        &Message {
            frame,
            texts,
            settings,
        },
    )
}

pub(super) fn not_found(visitor: Option<&Visitor>) -> Response {
    let texts = [
        "There is nothing at this address. A link of it may be old, or may have a character that is wrong.",
    ];
    message(StatusCode::NOT_FOUND, visitor, "Nothing here", &texts)
}

pub(super) fn wrong_method(visitor: Option<&Visitor>) -> Response {
    let texts = ["This address does not take what was sent to it. Please go back and try again."];
    let status = StatusCode::METHOD_NOT_ALLOWED;
    message(status, visitor, "That does not work here", &texts)
}

pub(super) fn not_a_form(visitor: Option<&Visitor>) -> Response {
    let texts = ["What was sent is not a form of this page. Programs use the API below /v1/."];
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    message(status, visitor, "Not a form", &texts)
}

pub(super) fn form_too_long(visitor: Option<&Visitor>) -> Response {
    let texts = ["The form has more text than this page takes, or took too long to arrive."];
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    message(status, visitor, "Too much text", &texts)
}

/// A file that is no text.
pub(super) fn not_text(visitor: &Visitor) -> Response {
    let texts = ["The file is no text in UTF-8. Save it as CSV in UTF-8, and choose it again."];
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    message(status, Some(visitor), "This file cannot be read", &texts)
}

/// A form without the token of this session.
pub(super) fn other_form(visitor: &Visitor) -> Response {
    let texts = [
        "The form comes from another session, most likely from before you last logged in. Nothing was changed.",
        "Go back, load the page again, and send the form once more.",
    ];
    message(
        StatusCode::FORBIDDEN,
        Some(visitor),
        "This form is out of date",
        &texts,
    )
}

/// A change that comes from another site.
pub(super) fn other_origin(origin: Option<&str>, authority: &str) -> Response {
    let from = match origin {
        Some(origin) => format!(
            "The browser sent this form for {authority}, from a page of {origin}. Nothing was changed."
        ),
        None => {
            "The request does not say which page it comes from. Nothing was changed.".to_owned()
        }
    };
    let frame = Frame::open("This form comes from elsewhere");
    let more = "If you run this server behind a proxy, the proxy has to pass Host on as it came, with its port.";
    page(
        StatusCode::FORBIDDEN,
        &Message {
            frame,
            texts: vec![from, more.to_owned()],
            settings: vec![
                ("nginx", "proxy_set_header Host $http_host;"),
                ("Apache", "ProxyPreserveHost On"),
            ],
        },
    )
}

/// RFC 9110 §15.5.20: a host that is none of the page's.
pub(super) fn foreign_host(host: &str) -> Response {
    let frame = Frame::open("Not served under this name");
    page(
        StatusCode::MISDIRECTED_REQUEST,
        &Message {
            frame,
            texts: vec![
                format!("The request is for the host {host}, under which this page is not served. Otherwise any web site could use it by a name of its own."),
                "Open the page by the address of the server, or add the name to hosts in the section [page] of the configuration.".to_owned(),
                "If a proxy in front of this server has replaced the name, have it pass Host on as it came.".to_owned(),
            ],
            settings: vec![
                ("tinyns", "[page]\nhosts = [\"links.example.com\"]"),
                ("nginx", "proxy_set_header Host $http_host;"),
                ("Apache", "ProxyPreserveHost On"),
            ],
        },
    )
}

pub(super) fn bad_host(reason: &str) -> Response {
    let text = format!("The request cannot be answered: {reason}.");
    message(StatusCode::BAD_REQUEST, None, "Bad request", &[&text])
}

/// The page of a problem that concerns no field of a form.
pub(super) fn problem(visitor: Option<&Visitor>, problem: &Problem) -> Response {
    let title = match problem.status() {
        StatusCode::FORBIDDEN => "Your token does not allow this",
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::SERVICE_UNAVAILABLE => "The server cannot answer just now",
        StatusCode::INTERNAL_SERVER_ERROR => "Something is broken",
        _ => problem.title(),
    };
    let text = sentence(problem.detail());
    let again = "Please try again in a moment.";
    let texts: &[&str] = match problem.status() {
        StatusCode::SERVICE_UNAVAILABLE => &[&text, again],
        _ => &[&text],
    };
    message(problem.status(), visitor, title, texts)
}
