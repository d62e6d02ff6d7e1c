//! The pages of the redirect host.
//!
//! All pages are one template, which escapes every text, also texts whose types cannot hold anything dangerous: the
//! pages do not rely on the promises of other parts. They have the look of the web page, whose colours and frame are in
//! `src/http/look`, and no script. The style sheet is part of each page, because every path of a link's host is the
//! link's own. The content security policy allows this style sheet by its hash, and forbids everything else.

mod destination;

use std::sync::LazyLock;

use askama::Template;
use axum::http::{HeaderValue, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

use self::destination::Destination;
use super::contact::AbuseContact;
use crate::base::clock::UnixTime;
use crate::http::ShortUrls;
use crate::http::look::ground;
use crate::link::{Grounds, Link, LinkName, Origin, TargetUrl, Withheld};

/// The style of every page, between the tags of its element.
const STYLE: &str = concat!(ground!(), include_str!("style.css"));

/// The content security policy: it allows [`STYLE`] and nothing else.
pub(super) static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    // Base64 is always a valid value.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(BARE_POLICY))
});

/// How many zones a page names at most.
const MAX_ORIGINS: usize = 8;

/// The policy of pages without style.
const BARE_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
/// The type of every page.
pub(super) const CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// Whether search engines may list a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Robots {
    Welcome,
    Unwelcome,
}

/// A page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) robots: Robots,
    pub(super) html: String,
}

/// What pages know of the server.
pub(super) struct Pages {
    pub(super) short_urls: ShortUrls,
    pub(super) contact: Option<AbuseContact>,
}

#[derive(Template)]
#[template(path = "redirect/templates/page.html")]
struct Document<'a> {
    title: &'a str,
    style: &'static str,
    /// The zone that the page is about, and the URL of the zone's page.
    home: Option<(&'a str, String)>,
    contact: Option<&'a AbuseContact>,
    body: Body<'a>,
}

/// What a page says. Times are HTML.
enum Body<'a> {
    Preview {
        name: &'a LinkName,
        short: String,
        destination: Destination<'a>,
        /// The other destinations.
        others: Vec<Destination<'a>>,
        link: &'a str,
        created: String,
        expires: Option<String>,
    },
    Withheld {
        name: &'a LinkName,
        withheld: &'a Withheld,
        authority: Option<&'a str>,
    },
    Ended {
        name: &'a LinkName,
        end: Option<String>,
    },
    NoLink {
        name: &'a LinkName,
    },
    NoPath,
    Circle {
        name: &'a LinkName,
    },
    Zone {
        zone: &'a Origin,
        preview: String,
    },
    Inside,
    Foreign {
        host: &'a str,
        zones: &'a [Origin],
        /// How many zones are not named.
        more: usize,
    },
    OtherCertificate {
        host: &'a str,
    },
    BadHost {
        reason: &'a str,
    },
    Method,
    Unavailable,
    Unreadable,
}

impl Body<'_> {
    /// The zone that the page is about.
    fn zone(&self) -> Option<&str> {
        match self {
            Self::Preview { name, .. }
            | Self::Withheld { name, .. }
            | Self::Ended { name, .. }
            | Self::NoLink { name }
            | Self::Circle { name } => Some(name.origin()),
            Self::Zone { zone, .. } => Some(zone.as_str()),
            Self::NoPath
            | Self::Inside
            | Self::Foreign { .. }
            | Self::OtherCertificate { .. }
            | Self::BadHost { .. }
            | Self::Method
            | Self::Unavailable
            | Self::Unreadable => None,
        }
    }
}

/// A time: in RFC 3339 form in the attribute, and without T and Z as the text.
fn time(time: UnixTime) -> String {
    let exact = time.rfc3339();
    let plain = exact.replace('T', " ").replace('Z', " UTC");
    format!("<time datetime=\"{exact}\">{plain}</time>")
}

impl Pages {
    fn page(&self, status: StatusCode, title: &str, body: Body<'_>) -> Page {
        let zone = body.zone().map(str::to_owned);
        let home = zone.as_deref();
        let document = Document {
            title,
            style: STYLE,
            home: home.map(|zone| (zone, self.short_urls.url_of_host(zone))),
            contact: self.contact.as_ref(),
            body,
        };
        let mut html = document.render().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot render a page");
            String::new()
        });
        html.push('\n');
        let robots = Robots::Unwelcome;
        Page {
            status,
            robots,
            html,
        }
    }

    /// The destinations of a link, without going there.
    pub(super) fn preview(&self, link: &Link) -> Page {
        let body = Body::Preview {
            name: &link.name,
            short: self.short_urls.url_of(&link.name),
            destination: Destination::of(&link.target),
            others: link
                .ranked()
                .skip(1)
                .map(|(url, _)| Destination::of(url))
                .collect(),
            link: link.target.as_str(),
            created: time(link.created_at),
            expires: link.expires_at.map(time),
        };
        self.page(StatusCode::OK, "Where this link leads", body)
    }

    /// A link that is withheld. The page does not have the destination, and nothing that leads there.
    ///
    /// RFC 7725 §3: 451 if somebody demands that by law. Otherwise the operator refuses, and may change its mind, which is
    /// 403 (RFC 9110 §15.5.4). 410 would say that the link is likely gone for ever (§15.5.11), and caches may keep that;
    /// and 200, with which some shorteners show a warning, would make search engines and programs take the page for the
    /// destination.
    pub(super) fn withheld(&self, name: &LinkName, withheld: &Withheld) -> Page {
        let (status, title) = match withheld.grounds {
            Grounds::Abuse => (StatusCode::FORBIDDEN, "This link is blocked"),
            Grounds::Legal(_) => {
                let title = "Unavailable for legal reasons";
                (StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS, title)
            }
        };
        let body = Body::Withheld {
            name,
            withheld,
            authority: withheld.grounds.authority().map(TargetUrl::as_str),
        };
        self.page(status, title, body)
    }

    /// Who withholds links, as a URL: the contact, or else the page of the zone.
    pub(super) fn blocked_by(&self, origin: &str) -> String {
        let contact = self
            .contact
            .as_ref()
            .map(|contact| contact.url().to_owned());
        contact.unwrap_or_else(|| self.short_urls.url_of_host(origin))
    }

    /// A link that has expired. The page does not show the destination: the expiry was meant to end that.
    pub(super) fn ended(&self, link: &Link) -> Page {
        let body = Body::Ended {
            name: &link.name,
            end: link.expires_at.map(time),
        };
        self.page(StatusCode::GONE, "This link has ended", body)
    }

    pub(super) fn no_link(&self, name: &LinkName) -> Page {
        self.page(StatusCode::NOT_FOUND, "No such link", Body::NoLink { name })
    }

    pub(super) fn no_path(&self) -> Page {
        self.page(StatusCode::NOT_FOUND, "Nothing here", Body::NoPath)
    }

    pub(super) fn leads_to_us(&self, name: &LinkName) -> Page {
        let title = "This link leads in circles";
        self.page(StatusCode::LOOP_DETECTED, title, Body::Circle { name })
    }

    /// The page of a zone's origin.
    pub(super) fn zone(&self, origin: &Origin) -> Page {
        let body = Body::Zone {
            zone: origin,
            preview: self.short_urls.url_of_host(&format!("<code>.{origin}")),
        };
        Page {
            robots: Robots::Welcome,
            ..self.page(StatusCode::OK, &format!("Short links at {origin}"), body)
        }
    }

    pub(super) fn inside(&self) -> Page {
        self.page(StatusCode::NOT_FOUND, "Not a link", Body::Inside)
    }

    /// RFC 9110 §15.5.20: a request for a host that this server does not serve. Most often a proxy replaced the host of
    /// its client's request, so the page helps the operator as well.
    pub(super) fn foreign(&self, host: &str, origins: &[Origin]) -> Page {
        let shown = origins.len().min(MAX_ORIGINS);
        let body = Body::Foreign {
            host,
            zones: &origins[..shown],
            more: origins.len() - shown,
        };
        self.page(StatusCode::MISDIRECTED_REQUEST, "Not served here", body)
    }

    /// RFC 9110 §15.5.20: a request for a host that the certificate of its connection is not for. Clients that share a
    /// connection among hosts (RFC 9113 §9.1.1) try again on one of their own.
    pub(super) fn other_certificate(&self, host: &str) -> Page {
        let title = "Another connection needed";
        let body = Body::OtherCertificate { host };
        self.page(StatusCode::MISDIRECTED_REQUEST, title, body)
    }

    pub(super) fn bad_host(&self, reason: &str) -> Page {
        let body = Body::BadHost { reason };
        self.page(StatusCode::BAD_REQUEST, "Bad request", body)
    }

    pub(super) fn method_not_allowed(&self) -> Page {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        self.page(status, "Method not allowed", Body::Method)
    }

    pub(super) fn unavailable(&self) -> Page {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        self.page(status, "Try again in a moment", Body::Unavailable)
    }

    pub(super) fn unreadable(&self) -> Page {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        self.page(status, "This link cannot be read", Body::Unreadable)
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn pages() -> Pages {
        pages_of(crate::http::Scheme::Http, None)
    }

    fn pages_of(scheme: crate::http::Scheme, port: Option<u16>) -> Pages {
        Pages {
            short_urls: ShortUrls { scheme, port },
            contact: AbuseContact::parse("abuse@example.com"),
        }
    }

    #[test]
    fn the_policy_allows_the_style() {
        let hash = STANDARD.encode(Sha256::digest(STYLE));
        let policy = POLICY.to_str().unwrap();
        let style = format!("default-src 'none'; style-src 'sha256-{hash}';");
        assert!(policy.starts_with(&style), "{policy}");
        let page = pages().no_path();
        let element = format!("<style>{STYLE}</style>");
        assert_eq!(page.html.matches(&element).count(), 1);
        // Otherwise the element would end in the middle of the style sheet.
        assert!(!STYLE.contains('<'));
    }

    #[test]
    fn every_page_names_the_contact() {
        let named = "<a class=\"breaks\" href=\"mailto:abuse@example.com\" rel=\"noopener noreferrer\">abuse@example.com</a>";
        assert!(pages().no_path().html.contains(named));
        let without = Pages {
            contact: None,
            ..pages()
        };
        assert!(!without.no_path().html.contains("abuse"));
    }

    #[test]
    fn who_blocks_a_link_can_be_asked() {
        let name = LinkName::parse("x.s.example.com").unwrap();
        let withheld = Withheld::parse("legal", "Order 12", None).unwrap();
        let check = |contact: Option<&str>, url: &str, text: &str| {
            let pages = Pages {
                contact: contact.and_then(AbuseContact::parse),
                ..pages()
            };
            assert_eq!(pages.blocked_by(name.origin()), url);
            let page = pages.withheld(&name, &withheld);
            assert!(page.html.contains(text), "{}", page.html);
        };
        check(
            Some("abuse@example.com"),
            "mailto:abuse@example.com",
            "please write to <a class=\"breaks\" href=\"mailto:abuse@example.com\"",
        );
        check(None, "http://s.example.com/", "please tell the operator");
    }

    #[test]
    fn times_are_for_people_and_machines() {
        assert_eq!(
            time(UnixTime(1_700_000_000)),
            "<time datetime=\"2023-11-14T22:13:20Z\">2023-11-14 22:13:20 UTC</time>"
        );
    }

    #[test]
    fn the_page_of_a_zone_leaves_the_usual_port_out() {
        let check = |port, expected: &str| {
            let scheme = crate::http::Scheme::Https;
            let page = pages_of(scheme, port).zone(&Origin::parse("s.example.com").unwrap());
            assert!(page.html.contains(expected), "{}", page.html);
        };
        check(None, "https://&#60;code&#62;.s.example.com/+<");
        check(Some(443), "https://&#60;code&#62;.s.example.com/+<");
        check(Some(8443), "https://&#60;code&#62;.s.example.com:8443/+<");
    }

    #[test]
    fn the_page_of_a_foreign_host_is_escaped_and_bounded() {
        let origins: Vec<_> = (0..20)
            .map(|n| Origin::parse(&format!("s{n}.example.com")).unwrap())
            .collect();
        let page = pages().foreign("<script>", &origins);
        assert!(
            page.html
                .contains("<strong class=\"breaks\">&#60;script&#62;</strong>")
        );
        assert!(!page.html.contains("<script>"));
        assert!(
            page.html
                .contains("<strong>s7.example.com</strong> and 12 other zones")
        );
        assert!(!page.html.contains("s8.example.com"));
    }

    #[test]
    fn the_title_is_escaped() {
        let page = pages().page(StatusCode::OK, "<b>", Body::NoPath);
        assert_eq!(page.html.matches("&#60;b&#62;").count(), 2);
        assert!(!page.html.contains("<b>"));
    }
}
