//! The web page of the admin listener, from the login to the logout.

use super::inspect::Screen;
use super::person::Person;
use crate::harness::Server;

/// The first time at the page: a wrong token, the right one, and out again.
fn log_in_and_out(screen: Screen, javascript: bool) {
    let server = Server::start();
    let person = Person::new(&server, screen, javascript);
    person.open("/");
    person.see("Where do I get a token?");
    person.visit.inspect("page-login");
    person.fill("Token", "tns_wrong");
    person.press("Log in");
    person.see("This token is not valid");
    person.visit.inspect("page-login-refused");
    person.log_in_as_root();
    person.visit.inspect("page-home");
    person.open("/nothing/here");
    person.see("There is nothing at this address");
    person.visit.inspect("page-not-found");
    person.press("Log out");
    person.see("You have logged out");
    person.visit.inspect("page-logged-out");
    // The session is over, also for the button "back".
    person.open("/");
    person.see("Where do I get a token?");
}

#[test]
fn logging_in_and_out_on_a_phone() {
    log_in_and_out(Screen::Phone, true);
}

#[test]
fn logging_in_and_out_on_a_desktop() {
    log_in_and_out(Screen::Desktop, true);
}

#[test]
fn logging_in_and_out_without_javascript() {
    log_in_and_out(Screen::Phone, false);
}
