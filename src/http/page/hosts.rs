//! Under which hosts the page is served, and how browsers reach it.
//!
//! A site can have its own name lead to the address of this server (DNS rebinding). To the browser, the page is then a
//! part of that site. So the page answers only for hosts that no other site can have: names of the own machine, names of
//! the configuration, and addresses, for which nobody needs DNS.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::header::{HeaderMap, HeaderName, ORIGIN};

pub(super) const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names under which browsers reach the page, besides those of their own machine and addresses.
#[derive(Clone, Debug, Default)]
pub struct PageHosts(Arc<[Box<str>]>);

impl PageHosts {
    /// These names.
    pub fn new(names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let names = names.into_iter();
        let names = names.map(|name| name.as_ref().to_ascii_lowercase().into());
        Self(names.collect())
    }

    /// Whether no other site can have this host.
    pub(super) fn include(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        is_of_own_machine(host)
            || host.parse::<IpAddr>().is_ok()
            || self.0.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// RFC 6761 §6.3: names below `localhost` are those of the browser's machine.
fn is_of_own_machine(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
    last.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_loopback)
}

/// How the browser reaches the page, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// By HTTPS.
    Secure,
    /// By plain HTTP on its own machine.
    Loopback,
    /// By plain HTTP, so that others can read along.
    Plain,
}

impl Transport {
    pub(super) fn of(is_tls: bool, host: &str, headers: &HeaderMap) -> Self {
        let scheme = origin(headers).and_then(|origin| origin.split_once("://"));
        match scheme {
            _ if is_tls => Self::Secure,
            Some(("https", _)) => Self::Secure,
            _ if is_of_own_machine(host) => Self::Loopback,
            // Browsers send this header by HTTPS, and to their own machine.
            None if headers.contains_key(FETCH_SITE) => Self::Secure,
            _ => Self::Plain,
        }
    }
}

/// The origin that the browser names.
pub(super) fn origin(headers: &HeaderMap) -> Option<&str> {
    headers.get(ORIGIN).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn hosts() {
        let hosts = PageHosts::new(["links.example.com"]);
        let check = |host: &str, expected| assert_eq!(hosts.include(host), expected, "{host}");
        for host in [
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "127.0.0.1",
            "::1",
            "192.0.2.1",
        ] {
            check(host, true);
        }
        check("Links.Example.com.", true);
        for host in [
            "",
            "example.com",
            "x.links.example.com",
            "localhost.example.com",
            "127.0.0.1.x",
        ] {
            check(host, false);
        }
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn transports() {
        let check = |is_tls, host, pairs: &[(HeaderName, &str)], expected| {
            let found = Transport::of(is_tls, host, &headers(pairs));
            assert_eq!(found, expected, "{is_tls} {host} {pairs:?}");
        };
        let none: &[_] = &[];
        check(true, "a.example", none, Transport::Secure);
        check(false, "a.example", none, Transport::Plain);
        check(false, "127.0.0.1", none, Transport::Loopback);
        check(false, "::1", none, Transport::Loopback);
        check(
            false,
            "a.example",
            &[(ORIGIN, "https://a.example")],
            Transport::Secure,
        );
        check(
            false,
            "a.example",
            &[(ORIGIN, "http://a.example")],
            Transport::Plain,
        );
        check(
            false,
            "a.example",
            &[(FETCH_SITE, "none")],
            Transport::Secure,
        );
        check(
            false,
            "localhost",
            &[(FETCH_SITE, "none")],
            Transport::Loopback,
        );
        check(
            false,
            "localhost",
            &[(ORIGIN, "https://localhost")],
            Transport::Secure,
        );
    }
}
