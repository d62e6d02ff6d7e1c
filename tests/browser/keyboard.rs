//! The web page by keyboard alone.

use serde_json::json;

use super::inspect::Screen;
use super::person::Person;
use crate::harness::{Server, TOKEN};

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
/// The most steps from one end of a page to the other.
const MAX_STEPS: usize = 60;

#[test]
fn a_link_is_made_without_a_mouse() {
    let server = Server::start();
    let person = Person::new(&server, Screen::Desktop, true);
    let browser = &person.visit.browser;
    person.open("/login");
    person.see("Where do I get a token?");
    // The focus is where the first text goes.
    browser.press(TOKEN);
    browser.press(ENTER);
    person.see("Log out");
    browser.press("https://example.net/by-keyboard");
    browser.press(ENTER);
    person.see("Your link is ready");
    let links = server.api("GET", "/v1/links?limit=10", None).json();
    assert_eq!(links["links"][0]["url"], "https://example.net/by-keyboard");
    for path in ["/", "/links"] {
        person.open(path);
        person.see("Log out");
        walk(&person);
    }
}

/// Goes through the whole page with the tab key. Each stop can be seen.
fn walk(person: &Person<'_>) {
    let browser = &person.visit.browser;
    browser.script(
        "document.activeElement.blur(); window.scrollTo(0, 0)",
        json!([]),
    );
    let mut stops = Vec::new();
    for _ in 0..MAX_STEPS {
        browser.press(TAB);
        let outline = "const e = document.activeElement, s = getComputedStyle(e); \
            return e === document.body || (s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2)";
        let stop = browser.focus();
        assert_eq!(
            browser.script(outline, json!([])),
            true,
            "no visible focus: {stop}"
        );
        // After the last stop the focus is at no element, and then at the first one.
        if stops.first() == Some(&stop) {
            break;
        }
        stops.push(stop);
    }
    let stops_of = |name: &str| stops.iter().any(|stop| stop.contains(name));
    for expected in ["Skip to content", "Log out", "API"] {
        assert!(stops_of(expected), "{expected}: {stops:#?}");
    }
}
