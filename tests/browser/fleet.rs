//! The web page of a fleet: which servers have a change, and which servers there are.

use nix::sys::signal::Signal;

use super::inspect::Screen;
use super::person::Person;
use crate::harness::Server;
use crate::servers::{fleet_of, know_each_other};

/// Someone makes links while all servers are well, and while one hangs.
fn several_servers(screen: Screen, javascript: bool) {
    let (_fleet, [one, two]) = fleet_of(["one", "two"]);
    let person = Person::new(&one, screen, javascript);
    person.log_in_as_root();
    make(&person, "https://example.net/a");
    person.see("All 2 servers answer with it.");
    person.visit.inspect("page-made-everywhere");
    person.follow("Health");
    person.see("this server");
    let rows = person
        .visit
        .browser
        .count("//table[@id='servers']/tbody/tr");
    assert_eq!(rows, 2);
    person.visit.inspect("page-health-servers");

    make_while_other_hangs(&person, [&one, &two], "b");
    person.see("1 of 2 servers answer with it. Not yet: two.");
    two.signal(Signal::SIGCONT);
    if !javascript {
        let browser = &person.visit.browser;
        browser.open(&browser.url());
    }
    person.see("All 2 servers answer with it.");
    let good = "//*[@id='visible'][contains(@class, 'good')]";
    assert_eq!(person.visit.browser.count(good), 1);

    make_while_other_hangs(&person, [&one, &two], "c");
    person.visit.inspect("page-made-not-everywhere");
    two.signal(Signal::SIGCONT);
}

fn make(person: &Person<'_>, url: &str) {
    person.fill("Long URL", url);
    person.press("Shorten");
    person.see("Your link is ready");
}

/// The same while the other server hangs. It counts only for some seconds from then on, which a busy machine may need for
/// the page; then it hangs once more.
fn make_while_other_hangs(person: &Person<'_>, [one, other]: [&Server; 2], path: &str) {
    for attempt in 0..5 {
        person.open("/");
        person.fill("Long URL", &format!("https://example.net/{path}{attempt}"));
        other.signal(Signal::SIGSTOP);
        person.press("Shorten");
        person.see("Your link is ready");
        let named = "//*[@id='visible'][contains(., 'Not yet: two.')]";
        if person.visit.browser.count(named) == 1 {
            return;
        }
        other.signal(Signal::SIGCONT);
        know_each_other([one, other]);
    }
    panic!("the page never names the server");
}

#[test]
fn several_servers_on_a_phone() {
    several_servers(Screen::Phone, true);
}

#[test]
fn several_servers_on_a_desktop() {
    several_servers(Screen::Desktop, true);
}

#[test]
fn several_servers_without_javascript() {
    several_servers(Screen::Desktop, false);
}
