//! The pages of the redirect host, in plain HTML.
//!
//! The pages have no script and little style: [`STYLE`] breaks long lines, so that a phone shows the whole of a long
//! URL and not only its harmless beginning, and keeps lines short on a wide screen. Colours and dark mode are those
//! of the browser. The content security policy allows this style sheet by its hash and forbids everything else.
//!
//! Every text that is not a literal goes through [`escape`], also texts whose types cannot hold anything dangerous:
//! the pages do not rely on the promises of other parts.

use axum::http::StatusCode;

use crate::base::clock::UnixTime;
use crate::http::ShortUrls;
use crate::link::{Link, LinkName, Origin};

/// The style of every page, between the tags of its element. [`POLICY`] has its hash.
const STYLE: &str = "
body { max-width: 38rem; margin: 0 auto; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; \
overflow-wrap: anywhere }
h1 { font-size: 1.5rem; line-height: 1.25 }
dt { font-size: .875rem; opacity: .75 }
dd { margin: 0 0 .75rem }
pre { padding: .75rem; border: thin solid; border-radius: .25rem; font-size: .875rem; \
white-space: pre-wrap }
";

/// The content security policy: it allows [`STYLE`] and nothing else.
pub(super) const POLICY: &str = "default-src 'none'; \
    style-src 'sha256-xtc+1LlICKYJUysjRWO/TvWS2GlDubs3jX+4FklATMo='; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How many zones a page names at most.
const MAX_ORIGINS: usize = 8;

/// The policy of the body of a redirect, which has no style.
pub(super) const BARE_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
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

/// Escapes text for HTML, in an element or in a quoted attribute.
fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    push_escaped(&mut html, text);
    html
}

/// Adds text to HTML, and escapes it.
fn push_escaped(html: &mut String, text: &str) {
    let mut rest = text;
    let is_special = |byte| matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\'');
    while let Some(at) = rest.bytes().position(is_special) {
        html.push_str(&rest[..at]);
        html.push_str(match rest.as_bytes()[at] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            _ => "&#39;",
        });
        // These characters have one byte.
        rest = &rest[at + 1..];
    }
    html.push_str(rest);
}

/// A page with a title (text) and a body (HTML).
fn page(status: StatusCode, title: &str, body: &str) -> Page {
    let title = escape(title);
    let html = format!(
        "<!DOCTYPE html>\n\
         <html lang=\"en\">\n\
         <head>\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n\
         <style>{STYLE}</style>\n\
         </head>\n\
         <body>\n\
         <main>\n\
         <h1>{title}</h1>\n\
         {body}\n\
         </main>\n\
         </body>\n\
         </html>\n"
    );
    let robots = Robots::Unwelcome;
    Page {
        status,
        robots,
        html,
    }
}

/// A time: in RFC 3339 form in the attribute, and without T and Z as the text.
fn time(time: UnixTime) -> String {
    let exact = time.rfc3339();
    let plain = exact.replace('T', " ").replace('Z', " UTC");
    format!("<time datetime=\"{exact}\">{plain}</time>")
}

/// The body of a redirect, for clients that do not follow it: a note with a link (RFC 9110 §15.4.3), in one line.
pub(super) fn going(link: &Link) -> Page {
    const BEFORE: &str = "<a href=\"";
    const AFTER: &str = "\">Found</a>\n";
    let url = link.target.as_str();
    let mut html = String::with_capacity(BEFORE.len() + url.len() + AFTER.len());
    html.push_str(BEFORE);
    push_escaped(&mut html, url);
    html.push_str(AFTER);
    Page {
        status: StatusCode::FOUND,
        robots: Robots::Unwelcome,
        html,
    }
}

/// The destination of a link, without going there.
pub(super) fn preview(link: &Link, short_urls: ShortUrls) -> Page {
    let short = escape(&short_urls.url_of(&link.name));
    let url = escape(link.target.as_str());
    let created = time(link.created_at);
    let expires = link.expires_at.map_or_else(|| "never".into(), time);
    let body = format!(
        "<dl>\n\
         <dt>Short link</dt>\n\
         <dd>{short}</dd>\n\
         <dt>Leads to</dt>\n\
         <dd><a href=\"{url}\" rel=\"noopener noreferrer nofollow\">{url}</a></dd>\n\
         <dt>Created</dt>\n\
         <dd>{created}</dd>\n\
         <dt>Expires</dt>\n\
         <dd>{expires}</dd>\n\
         </dl>"
    );
    page(StatusCode::OK, "Where this link leads", &body)
}

/// A link that has expired. The page does not show the destination: the expiry was meant to end that.
pub(super) fn ended(link: &Link) -> Page {
    let name = escape(link.name.as_str());
    let when = link
        .expires_at
        .map_or_else(String::new, |end| format!(" on {}", time(end)));
    let body = format!("<p>The link <strong>{name}</strong> ended{when}.</p>");
    page(StatusCode::GONE, "This link has ended", &body)
}

pub(super) fn no_link(name: &LinkName) -> Page {
    let name = escape(name.as_str());
    let body = format!(
        "<p>There is no link <strong>{name}</strong>. It may have been deleted, or a character of \
         it may be wrong.</p>"
    );
    page(StatusCode::NOT_FOUND, "No such link", &body)
}

pub(super) fn no_path() -> Page {
    let body = "<p>A short link is a host name alone; there is nothing at this path. With \
                <code>/+</code> behind a link you see where it leads.</p>";
    page(StatusCode::NOT_FOUND, "Nothing here", body)
}

pub(super) fn leads_to_us(name: &LinkName) -> Page {
    let name = escape(name.as_str());
    let body = format!(
        "<p>The link <strong>{name}</strong> leads back to this server. It is not followed, because \
         it could lead in circles.</p>"
    );
    page(
        StatusCode::LOOP_DETECTED,
        "This link leads in circles",
        &body,
    )
}

/// The page of a zone's origin.
pub(super) fn zone(origin: &Origin, short_urls: ShortUrls) -> Page {
    let zone = escape(origin.as_str());
    let preview = escape(&short_urls.url_of_host(&format!("<code>.{origin}")));
    let body = format!(
        "<p>The names below <strong>{zone}</strong> are short links. A browser that opens one is sent \
         to the address it stands for.</p>\n\
         <p>To see where a link leads without going there, open</p>\n\
         <pre><code>{preview}+</code></pre>\n\
         <p>or ask DNS:</p>\n\
         <pre><code>dig +short TXT &lt;code&gt;.{zone}</code></pre>"
    );
    let title = format!("Short links at {origin}");
    Page {
        robots: Robots::Welcome,
        ..page(StatusCode::OK, &title, &body)
    }
}

pub(super) fn inside() -> Page {
    let body = "<p>This name belongs to the zone itself; there is no link of this name.</p>";
    page(StatusCode::NOT_FOUND, "Not a link", body)
}

/// RFC 9110 §15.5.20: a request for a host that this server does not serve. Most often a proxy replaced the host of
/// its client's request, so the page helps the operator as well.
pub(super) fn foreign(host: &str, origins: &[Origin]) -> Page {
    let host = escape(host);
    let named = origins.iter().take(MAX_ORIGINS);
    let named: Vec<_> = named
        .map(|origin| format!("<strong>{}</strong>", escape(origin.as_str())))
        .collect();
    let more = match origins.len().saturating_sub(MAX_ORIGINS) {
        0 => String::new(),
        more => format!(" and {more} other zones"),
    };
    let zones = named.join(", ");
    let body = format!(
        "<p>The request is for the host <strong>{host}</strong>, for which this server has no links. It has \
         those of {zones}{more}.</p>\n\
         <p>If you run this server behind a proxy: the short link is the host name, so the proxy has to pass \
         <code>Host</code> on as it came.</p>\n\
         <dl>\n\
         <dt>nginx</dt>\n\
         <dd><code>proxy_set_header Host $host;</code></dd>\n\
         <dt>Apache</dt>\n\
         <dd><code>ProxyPreserveHost On</code></dd>\n\
         </dl>"
    );
    page(StatusCode::MISDIRECTED_REQUEST, "Not served here", &body)
}

/// RFC 9110 §15.5.20: a request for a host that the certificate of its connection is not for. Clients that share a
/// connection among hosts (RFC 9113 §9.1.1) try again on one of their own.
pub(super) fn other_certificate(host: &str) -> Page {
    let host = escape(host);
    let body = format!(
        "<p>The certificate of this connection is not for <strong>{host}</strong>. Please open the link on a connection \
         of its own.</p>"
    );
    page(
        StatusCode::MISDIRECTED_REQUEST,
        "Another connection needed",
        &body,
    )
}

pub(super) fn bad_host(reason: &str) -> Page {
    let body = format!("<p>The request cannot be answered: {}.</p>", escape(reason));
    page(StatusCode::BAD_REQUEST, "Bad request", &body)
}

pub(super) fn method_not_allowed() -> Page {
    let body = "<p>Links are followed with GET or HEAD.</p>";
    page(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", body)
}

pub(super) fn unavailable() -> Page {
    let body = "<p>The link cannot be looked up at the moment. It may exist all the same. Please try \
                again in a moment.</p>";
    page(
        StatusCode::SERVICE_UNAVAILABLE,
        "Try again in a moment",
        body,
    )
}

pub(super) fn unreadable() -> Page {
    let body = "<p>The server cannot read what is stored for this link. Its operator finds the reason in \
                the log.</p>";
    page(
        StatusCode::INTERNAL_SERVER_ERROR,
        "This link cannot be read",
        body,
    )
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn escaping() {
        let check = |text: &str, html: &str| assert_eq!(escape(text), html);
        check("plain-text_1.0", "plain-text_1.0");
        check("?a=1&b=2", "?a=1&amp;b=2");
        check("<script>", "&lt;script&gt;");
        check("\"'", "&quot;&#39;");
        check("&lt;", "&amp;lt;");
    }

    #[test]
    fn the_policy_allows_the_style() {
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
        assert!(
            POLICY.contains(&format!("style-src 'sha256-{hash}';")),
            "{hash}"
        );
        let page = page(StatusCode::OK, "x", "<p>x</p>");
        assert_eq!(page.html.matches(STYLE).count(), 1);
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
            let page = zone(
                &Origin::parse("s.example.com").unwrap(),
                ShortUrls { scheme, port },
            );
            assert!(page.html.contains(expected), "{}", page.html);
        };
        check(None, "https://&lt;code&gt;.s.example.com/+<");
        check(Some(443), "https://&lt;code&gt;.s.example.com/+<");
        check(Some(8443), "https://&lt;code&gt;.s.example.com:8443/+<");
    }

    #[test]
    fn the_page_of_a_foreign_host_is_escaped_and_bounded() {
        let origins: Vec<_> = (0..20)
            .map(|n| Origin::parse(&format!("s{n}.example.com")).unwrap())
            .collect();
        let page = foreign("<script>", &origins);
        assert!(page.html.contains("<strong>&lt;script&gt;</strong>"));
        assert!(!page.html.contains("<script>"));
        assert!(
            page.html
                .contains("<strong>s7.example.com</strong> and 12 other zones")
        );
        assert!(!page.html.contains("s8.example.com"));
    }

    #[test]
    fn the_title_is_escaped() {
        let page = page(StatusCode::OK, "<b>", "<p>x</p>");
        assert_eq!(page.html.matches("&lt;b&gt;").count(), 2);
        assert!(!page.html.contains("<b>"));
    }
}
