//! The pages of the redirect host.

use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::inspect::{Screen, Visit};
use crate::harness::{PATIENCE, Server, Setup, eventually, http};

/// The pages: a name, the host, the path, and the heading.
const PAGES: &[(&str, &str, &str, &str)] = &[
    ("zone", "s.example.com", "/", "Short links at s.example.com"),
    (
        "preview",
        "sale.s.example.com",
        "/+",
        "Where this link leads",
    ),
    (
        "preview-letters",
        "idn.s.example.com",
        "/+",
        "Where this link leads",
    ),
    (
        "preview-long",
        "long.s.example.com",
        "/+",
        "Where this link leads",
    ),
    (
        "blocked",
        "fraud.s.example.com",
        "/",
        "This link is blocked",
    ),
    (
        "legal",
        "court.s.example.com",
        "/+",
        "Unavailable for legal reasons",
    ),
    ("ended", "ended.s.example.com", "/", "This link has ended"),
    ("no-link", "none.s.example.com", "/", "No such link"),
    ("no-path", "sale.s.example.com", "/a/b", "Nothing here"),
    ("inside", "ns1.s.example.com", "/", "Not a link"),
    ("foreign", "backend-1.internal", "/", "Not served here"),
];

/// A server with a link for each of the pages.
fn server() -> Server {
    let server = Setup::new()
        // The lines belong to [redirect], with which the file ends.
        .section("abuse_contact = \"abuse@example.com\"\n")
        .start();
    server.register(
        "sale",
        "https://login.paypal.com.shop.example.co.uk/spring/sale?ref=newsletter&amount=100#top",
    );
    // Cyrillic letters that look like Latin ones.
    server.register("idn", "https://www.аррӏе.com/");
    let path = "very-long-word-".repeat(40);
    server.register("long", &format!("https://example.net/{path}"));
    for (code, withheld) in [
        (
            "fraud",
            json!({"kind": "abuse", "reason": "Phishing: the page looked like that of a bank"}),
        ),
        (
            "court",
            json!({"kind": "legal", "reason": "Order 12 O 345/26 of the regional court",
            "authority": "https://court.example/orders/12-o-345-26"}),
        ),
    ] {
        server.add_with(
            &json!({ "url": "https://example.net/", "code": code, "withheld": withheld }),
        );
    }
    let ends = OffsetDateTime::now_utc() + Duration::from_secs(2);
    let ends = ends.format(&Rfc3339).unwrap();
    server.add_with(&json!({ "url": "https://example.net/", "code": "ended", "expires_at": ends }));
    eventually("the link has ended", PATIENCE, || {
        let headers = [("host", "ended.s.example.com")];
        http(
            "GET",
            &format!("http://{}/", server.redirect),
            &headers,
            None,
        )
        .status
            == 410
    });
    server
}

/// A browser for which these hosts are at the redirect host of the server.
fn visit(server: &Server, screen: Screen, javascript: bool) -> Visit {
    let mut hosts: Vec<_> = PAGES.iter().map(|(_, host, _, _)| *host).collect();
    hosts.dedup();
    let mut rules = String::new();
    for host in &hosts {
        rules += &format!("MAP {host}:80 {},", server.redirect);
    }
    rules += "MAP * ~NOTFOUND,EXCLUDE 127.0.0.1";
    let own: Vec<_> = hosts.iter().map(|host| format!("http://{host}")).collect();
    Visit::start(&rules, &own, screen, javascript)
}

/// Opens each page on a screen, with or without JavaScript.
fn check(screen: Screen, javascript: bool) {
    let server = server();
    let visit = visit(&server, screen, javascript);
    let browser = &visit.browser;
    for (name, host, path, title) in PAGES {
        browser.open(&format!("http://{host}{path}"));
        assert_eq!(browser.text(&browser.find("//h1")), *title);
        browser.find("//footer//a[@href='mailto:abuse@example.com']");
        visit.inspect(&format!("redirect-{name}"));
    }
    // The domain of the owner stands out, and not the one that the owner has put in front.
    browser.open("http://sale.s.example.com/+");
    let domain = browser.find("//*[@class='destination']/strong");
    assert_eq!(browser.text(&domain), "example.co.uk");
    // With the keyboard alone: the zone, the button, the contact.
    for expected in [
        "a s.example.com",
        "a Go to example.co.uk",
        "a abuse@example.com",
    ] {
        browser.press("\u{e004}");
        assert_eq!(browser.focus(), expected);
    }
    browser.open("http://idn.s.example.com/+");
    let text = browser.text_of_page();
    assert!(text.contains("xn--80ak6aa92e.com"), "{text}");
    assert!(text.contains("аррӏе.com"), "{text}");
}

#[test]
fn the_pages_on_a_phone() {
    check(Screen::Phone, true);
}

#[test]
fn the_pages_on_a_desktop() {
    check(Screen::Desktop, true);
}

#[test]
fn the_pages_without_javascript() {
    check(Screen::Phone, false);
}
