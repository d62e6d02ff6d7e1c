//! After an error the keyboard focus is where the error is, with JavaScript and without it.

use super::inspect::Screen;
use super::person::Person;
use crate::harness::{PATIENCE, Server, eventually};

/// Waits until the element with this name has the focus.
fn at(person: &Person<'_>, name: &str) {
    let browser = &person.visit.browser;
    let wanted = |focus: &str| focus.split(' ').nth(1) == Some(name);
    eventually(name, PATIENCE, || wanted(&browser.focus()));
    let field = browser.find(&format!("//*[@name={name:?}]"));
    assert_eq!(browser.property(&field, "ariaInvalid"), "true", "{name}");
    person.visit.inspect(&format!("page-wrong-{name}"));
}

fn errors_have_the_focus(javascript: bool) {
    let server = Server::start();
    server.register("sale", "https://example.net/");
    let person = Person::new(&server, Screen::Desktop, javascript);
    person.log_in_as_root();
    let browser = &person.visit.browser;

    // Without an error, the focus is where one begins to type.
    eventually("the first field", PATIENCE, || {
        browser.focus() == "input url"
    });
    person.fill("Long URL", "https://example.net/other");
    person.unfold("Own code, end, title and more");
    person.fill("Own code", "sale");
    person.press("Shorten");
    at(&person, "code");
    browser.press("2");
    person.press("Shorten");
    person.see("Your link is ready");

    person.open("/links/sale/edit");
    person.fill("TTL", "long");
    person.press("Save");
    at(&person, "ttl");

    person.open("/tokens");
    person.fill("Name", "a b");
    person.press("Make the token");
    at(&person, "name");
    person.fill("Name", "ann");
    person.fill("Calls a second", "many");
    person.press("Make the token");
    at(&person, "rate");

    person.open("/links?host=a%2Fb");
    at(&person, "host");
}

#[test]
fn errors_have_the_focus_with_javascript() {
    errors_have_the_focus(true);
}

#[test]
fn errors_have_the_focus_without_javascript() {
    errors_have_the_focus(false);
}
