//! Statistics in the web page: the charts of a link, those of all links, and the list by clicks.

use super::inspect::Screen;
use super::person::Person;
use crate::harness::{Server, Setup, with_counts};

/// A server whose link "sale" was used in the last hours and days, and whose link "plain" was used less.
fn counted() -> Server {
    let server = Server::start();
    server.register("sale", "https://example.net/sale");
    server.register("plain", "https://example.net/plain");
    server.register("quiet", "https://example.net/quiet");
    let (sale, plain) = ("sale.s.example.com", "plain.s.example.com");
    let mut counts = vec![
        (plain, 1, "click:person", 3),
        (plain, 1, "lookup:txt", 1_900),
        (sale, 2, "click:bot", 17),
        (sale, 2, "click:preview", 4),
        (sale, 2, "referrer:news.example.org", 9),
        (sale, 2, "referrer:other", 2),
        (sale, 2, "country:DE", 8),
        (sale, 2, "country:unknown", 3),
    ];
    for hours in 0..80 {
        counts.push((sale, hours * 2, "click:person", 1 + hours % 7));
        counts.push((sale, hours * 2, "lookup:address", 20 + hours));
    }
    with_counts(server, &counts)
}

/// How many clicks these counts have in the last hours.
fn charts(screen: Screen, javascript: bool) {
    let server = counted();
    let person = Person::new(&server, screen, javascript);
    let browser = &person.visit.browser;
    person.log_in_as_root();
    person.open("/links/sale?stats=24h");
    person.see("Statistics");
    let bars = |chart: &str| {
        let bars = format!(
            "//*[local-name()='svg'][starts-with(@aria-labelledby, '{chart}-title')]//*[local-name()='g']"
        );
        browser.count(&bars)
    };
    assert_eq!((bars("clicked"), bars("looked-up")), (24, 24));
    person.see("never added to clicks");
    person.see("news.example.org");
    person.see("previews in messages");
    person.visit.inspect("page-link-stats-hours");
    person.follow("7 days");
    assert_eq!(bars("clicked"), 7);
    person.follow("90 days");
    assert_eq!(bars("clicked"), 90);
    person.unfold("All numbers");
    assert_eq!(browser.count("//table[@id='units']/tbody/tr"), 90);
    person.visit.inspect("page-link-stats-days");
    person.follow("All months");
    // Of 80 numbers of clicks, those of 1 to 7 in turns: 11 turns and 1, 2, 3.
    let clicked = browser.text(&browser.find("//*[@id='clicked']"));
    assert_eq!(clicked, "314");
    person.see("clicked 314 times, looked up 4,760 times");
    person.visit.inspect("page-link-stats-months");

    person.open("/links/quiet");
    person.see("Statistics");
    person.visit.inspect("page-link-stats-none");

    person.open("/stats");
    person.see("Most clicked of all time");
    let first = |caption: &str| {
        let row = format!("//table[caption={caption:?}]/tbody/tr[1]/th");
        browser.text(&browser.find(&row))
    };
    assert_eq!(first("Most clicked of all time"), "sale.s.example.com");
    person.visit.inspect("page-stats");

    person.open("/links?sort=clicks");
    let names = "//*[@id='links']//a[contains(@class, 'name')]";
    assert_eq!(browser.count(names), 2);
    assert!(browser.text(&browser.find(names)).starts_with("sale."));
    person.visit.inspect("page-list-by-clicks");
}

#[test]
fn charts_on_a_phone() {
    charts(Screen::Phone, true);
}

#[test]
fn charts_on_a_desktop() {
    charts(Screen::Desktop, true);
}

#[test]
fn charts_without_javascript() {
    charts(Screen::Desktop, false);
}

#[test]
fn a_server_without_statistics_says_so() {
    let off = "[statistics]\nenabled = false\n";
    let server = Setup::new().section(off).start();
    server.register("sale", "https://example.net/sale");
    let person = Person::new(&server, Screen::Phone, true);
    person.log_in_as_root();
    person.open("/stats");
    person.see("There are no statistics");
    person.visit.inspect("page-stats-off");
    person.open("/links/sale");
    person.see("https://example.net/sale");
    assert_eq!(person.visit.browser.count("//*[@id='stats']"), 0);
}
