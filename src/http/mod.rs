//! HTTP: the admin API, the redirect host, and the loop that serves both.
//!
//! ```text
//!   admin listener ─┬ serve ── axum ── observe ── guard (token) ── api::{links, batch, …} ──┐
//!                   └ serve ── axum ── observe ── page (session) ── api ────────────────────┼─ Links
//!   redirect host  ─── serve ── redirect (host name → link → redirect or page) ─────────────┘
//! ```
//!
//! * [`serve`](serve()) serves connections and bounds their number ([`Front`]), the time for a head, for a request,
//!   and for silence. It knows no routes.
//! * `request_log` has what all requests of both parts get: a request id, a line in the log, a counter, and the headers
//!   of all responses. `observe` is the middleware of the API that does this, and renders problem documents.
//! * `look` is the part of the style sheet that all pages share. Pages are templates of askama, which escapes every text.
//! * [`admin_api`] is the API for clients with a token, and [`Page`] is the page for people; [`RedirectHost`] is public.
//!
//! # Invariants
//!
//! * A failure of the store never looks like an absent link: the response is 503 (or 500, for an item that cannot be
//!   read), which no cache stores.
//! * The token, the query of a request and its body are never logged.
//! * Nothing that a client sends appears unescaped in a page, or decides where a redirect leads: the destination is
//!   always a [`TargetUrl`](crate::link::TargetUrl) from the store.
//!
//! Deliberately absent: TLS for the admin API (by default it listens on the loopback interface only; elsewhere a proxy
//! in front of it has the certificate), and cookies for the API. The page has a cookie. Scripts of other origins may call
//! the API only from the origins that the configuration names.

mod api;
mod failures;
mod host;
mod look;
mod page;
mod problem;
mod redirect;
mod serve;
#[cfg(test)]
mod testing;

pub use api::{ApiRules, InsideApi, Overviews, admin_api};
pub use page::{AdminSite, BesidePage, Page, PageHosts, PageSettings};
pub use redirect::{AbuseContact, RedirectHost};
pub use serve::{Front, Https, ServeLimits, Site, serve};

use std::fmt;

use crate::link::LinkName;

/// How short URLs are written: `scheme://name[:port]/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortUrls {
    /// The scheme.
    pub scheme: Scheme,
    /// The port, unless it is the default of the scheme.
    pub port: Option<u16>,
}

/// The scheme of short URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`, port 80.
    Http,
    /// `https`, port 443.
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

impl ShortUrls {
    /// The short URL of a link, without the port if that is the default of the scheme.
    pub fn url_of(&self, name: &LinkName) -> String {
        self.url_of_host(name.as_str())
    }

    /// The same for any host name, also for a pattern such as `<code>.s.example.com`.
    fn url_of_host(&self, host: &str) -> String {
        let default = match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        match self.port {
            Some(port) if port != default => format!("{}://{host}:{port}/", self.scheme),
            _ => format!("{}://{host}/", self.scheme),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_urls() {
        let check = |scheme, port, expected: &str| {
            let name = LinkName::parse("gh7k2m9x.s.example.com").unwrap();
            assert_eq!(ShortUrls { scheme, port }.url_of(&name), expected);
        };
        check(Scheme::Http, None, "http://gh7k2m9x.s.example.com/");
        check(Scheme::Http, Some(80), "http://gh7k2m9x.s.example.com/");
        check(
            Scheme::Http,
            Some(8080),
            "http://gh7k2m9x.s.example.com:8080/",
        );
        check(
            Scheme::Http,
            Some(443),
            "http://gh7k2m9x.s.example.com:443/",
        );
        check(Scheme::Https, Some(443), "https://gh7k2m9x.s.example.com/");
        check(Scheme::Https, None, "https://gh7k2m9x.s.example.com/");
    }
}
