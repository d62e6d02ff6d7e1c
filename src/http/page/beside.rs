//! The page beside the redirect host, under a host of its own.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::{HeaderValue, LOCATION};
use axum::http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::http::host;
use crate::http::serve::{Answer, Call, Content, Site};

/// A site that has the page under one host, and another site under all others.
pub struct BesidePage {
    host: Box<str>,
    there: There,
    rest: Arc<dyn Site>,
}

/// What is under the host of the page.
enum There {
    Page(Router),
    /// A redirect to this origin, where the page is.
    Redirect(String),
}

impl BesidePage {
    /// The page is there.
    pub fn serving(host: &str, page: Router, rest: Arc<dyn Site>) -> Self {
        Self {
            host: host.into(),
            there: There::Page(page),
            rest,
        }
    }

    /// Browsers are sent to HTTPS, at this port unless it is the usual one.
    pub fn redirecting(host: &str, port: Option<u16>, rest: Arc<dyn Site>) -> Self {
        let origin = match port {
            Some(port) if port != 443 => format!("https://{host}:{port}"),
            _ => format!("https://{host}"),
        };
        Self {
            host: host.into(),
            there: There::Redirect(origin),
            rest,
        }
    }

    fn is_for_page(&self, request: &Request<Incoming>, call: &Call<'_>) -> bool {
        let host = host::requested(request.version(), request.uri(), request.headers());
        host.is_ok_and(|host| {
            let plain = host.strip_suffix('.').unwrap_or(host);
            plain.eq_ignore_ascii_case(&self.host) && call.client.may_ask_for(host)
        })
    }
}

impl Site for BesidePage {
    fn answer(&self, request: Request<Incoming>, call: &Call<'_>) -> Answer {
        if !self.is_for_page(&request, call) {
            return self.rest.answer(request, call);
        }
        match &self.there {
            There::Page(page) => page.answer(request, call),
            // A form that came by plain HTTP is not sent on.
            There::Redirect(_) if !matches!(*request.method(), Method::GET | Method::HEAD) => {
                self.rest.answer(request, call)
            }
            There::Redirect(origin) => {
                let path = request.uri().path_and_query();
                let path = path.map_or("/", |path| path.as_str());
                let mut response = Response::new(Content::Whole(Bytes::new()));
                *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
                if let Ok(location) = HeaderValue::try_from(format!("{origin}{path}")) {
                    response.headers_mut().insert(LOCATION, location);
                }
                Answer::Now(response)
            }
        }
    }
}
