//! The web page for several people: tokens, what a reader may do, many links at once, the audit log, health.

use std::fs;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::inspect::Screen;
use super::person::Person;
use crate::harness::{Reply, Server, Setup, http};

/// An administrator makes a token for a colleague, who looks at links and cannot change them, and revokes it.
fn a_colleague(screen: Screen, javascript: bool) {
    let server = Server::start();
    server.register("sale", "https://example.net/sale");
    let admin = Person::new(&server, screen, javascript);
    let browser = &admin.visit.browser;
    admin.log_in_as_root();
    admin.follow("Tokens");
    admin.see("There are none yet");
    admin.visit.inspect("page-tokens-none");
    admin.fill("Name", "maria");
    admin.choose("reader");
    admin.press("Make the token");
    admin.see("it is shown this once");
    let secret = browser.text(&browser.find("//*[@id='secret']"));
    assert!(secret.starts_with("tns_"), "{secret}");
    admin.visit.inspect("page-token-made");
    admin.open("/tokens");
    admin.see("maria");
    assert!(!browser.text_of_page().contains(&secret));

    let reader = Person::new(&server, screen, javascript);
    reader.log_in(&secret);
    reader.see("With your token you can look at links");
    assert_eq!(
        reader
            .visit
            .browser
            .count("//nav//a[normalize-space()='Tokens']"),
        0
    );
    reader.visit.inspect("page-home-reader");
    reader.open("/links/sale");
    reader.see("https://example.net/sale");
    assert_eq!(
        reader
            .visit
            .browser
            .count("//a[@id='edit'] | //a[@id='delete']"),
        0
    );
    reader.visit.inspect("page-link-reader");
    for path in [
        "/links/sale/edit",
        "/links/sale/delete",
        "/tokens",
        "/audit",
    ] {
        reader.open(path);
        reader.see("Your token does not allow this");
        reader.visit.inspect("page-not-allowed");
    }

    admin.open("/tokens/maria/revoke");
    admin.see("maria");
    admin.visit.inspect("page-token-revoke");
    admin.press("Revoke");
    admin.see("is revoked");
    admin.visit.inspect("page-token-revoked");
    reader.open("/links");
    reader.see("Where do I get a token?");
}

/// Pastes lines, of which one is wrong, and then chooses a file.
fn many_links(screen: Screen, javascript: bool) {
    let server = Server::start();
    let person = Person::new(&server, screen, javascript);
    let browser = &person.visit.browser;
    person.log_in_as_root();
    person.follow("Bulk");
    person.visit.inspect("page-bulk");
    let lines = "https://example.net/1 one\nhttps://example.net/2\nftp://example.net/3";
    person.fill("URLs", lines);
    person.press("Make links");
    person.see("2 made");
    assert_eq!(browser.count("//tbody[@id='outcomes']/tr"), 3);
    person.visit.inspect("page-bulk-results");
    let reply = server.ask("one.s.example.com", RecordType::TXT);
    assert_eq!(reply.response_code, ResponseCode::NoError);

    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("links.csv");
    fs::write(
        &file,
        "url,code\nhttps://example.net/4,four\nhttps://example.net/5,five\n",
    )
    .unwrap();
    person.open("/bulk");
    browser.write(&person.field("Or a CSV file"), file.to_str().unwrap());
    person.press("Make links");
    person.see("2 made");
    let reply = server.ask("five.s.example.com", RecordType::TXT);
    assert_eq!(reply.response_code, ResponseCode::NoError);
}

/// What has happened, and how the server is.
fn looking_back(screen: Screen, javascript: bool) {
    let server = Server::start();
    let person = Person::new(&server, screen, javascript);
    person.log_in_as_root();
    person.follow("Audit");
    person.visit.inspect("page-audit-empty");
    server.register("sale", "https://example.net/sale");
    server.redirect_to("sale", "https://example.net/winter");
    server.remove("sale");
    person.open("/audit");
    person.see("sale.s.example.com");
    let entries = person.visit.browser.count("//ul[@id='entries']/li");
    assert_eq!(entries, 3);
    person.unfold("What changed in sale.s.example.com");
    person.visit.inspect("page-audit");
    person.follow("Health");
    person.see("All is well");
    person.visit.inspect("page-health");
    // Without pools the menu does not lead there.
    assert_eq!(person.visit.browser.count("//a[@href='/pools']"), 0);
    person.open("/pools");
    person.see("There are none");
    person.visit.inspect("page-pools-empty");
}

/// A pool is taken out of service for work on its host.
fn out_of_service(screen: Screen, javascript: bool) {
    let pools = "[[pool]]\nname = \"eu\"\naddresses = [\"127.0.0.1\", \"127.0.0.2\"]\n\
        [pool.check]\nkind = \"tcp\"\nport = 1\ninterval = 60\n\
        [[pool]]\nname = \"us\"\naddresses = [\"192.0.2.1\", \"2001:db8::1\"]\n";
    let zone = "redirect_host = \"r\"\npools = [\"eu\", \"us\"]\n";
    let text = "@ 300 IN SOA ns1 h 1 3600 600 86400 60\n@ IN NS ns1\nns1 300 IN A 192.0.2.1\n\
        *.r 300 IN A 192.0.2.1\n*.r 300 IN AAAA 2001:db8::1\n";
    let setup = Setup::empty().zone("s.example.com", zone, text);
    let server = setup.section(pools).start();
    let person = Person::new(&server, screen, javascript);
    person.log_in_as_root();
    person.follow("Pools");
    person.see("No connection");
    person.visit.inspect("page-pools");
    person.press("Drain us");
    person.see("is drained. Within two seconds");
    person.visit.inspect("page-pools-drained");
    person.press("Restore us");
    person.see("is in service again");
}

/// After a complaint, an administrator takes a link out of service, and gives it back.
fn a_complaint(screen: Screen, javascript: bool) {
    let server = Server::start();
    server.register("sale", "https://example.net/sale");
    let admin = Person::new(&server, screen, javascript);
    let browser = &admin.visit.browser;
    admin.log_in_as_root();
    admin.open("/links/sale");
    admin.press("Withhold");
    admin.see("Withhold this link?");
    admin.visit.inspect("page-withhold");
    admin.fill("Reason", "Sold tickets that did not exist");
    admin.fill("Who demands it", "https://court.example/12");
    admin.press("Withhold");
    admin.see("has an authority; leave it out");
    let wrong = "//input[@aria-invalid='true' and contains(@aria-describedby, 'authority-error')]";
    assert_eq!(browser.count(wrong), 1);
    admin.visit.inspect("page-withhold-refused");
    admin.choose("legal");
    admin.press("Withhold");
    admin.see("The link leads nowhere now");
    admin.see("Sold tickets that did not exist");
    admin.visit.inspect("page-link-withheld");
    let reply = http_of(&server, "sale.s.example.com");
    assert_eq!(reply.status, 451, "{reply:?}");
    admin.follow("Links");
    admin.see("withheld");
    assert_eq!(
        browser.count("//ul[@id='links']//span[normalize-space()='withheld']"),
        1
    );
    admin.visit.inspect("page-list-withheld");
    admin.open("/links/sale");
    admin.press("Release");
    admin.see("This link is withheld");
    admin.visit.inspect("page-release");
    admin.press("Release");
    admin.see("The link leads to its destination again");
    assert_eq!(http_of(&server, "sale.s.example.com").status, 302);
}

/// What the redirect host says about this host.
fn http_of(server: &Server, host: &str) -> Reply {
    let url = format!("http://{}/", server.redirect);
    http("GET", &url, &[("host", host)], None)
}

#[test]
fn a_complaint_on_a_phone() {
    a_complaint(Screen::Phone, true);
}

#[test]
fn a_complaint_on_a_desktop_without_javascript() {
    a_complaint(Screen::Desktop, false);
}

#[test]
fn a_colleague_on_a_phone() {
    a_colleague(Screen::Phone, true);
}

#[test]
fn a_colleague_on_a_desktop_without_javascript() {
    a_colleague(Screen::Desktop, false);
}

#[test]
fn many_links_on_a_phone() {
    many_links(Screen::Phone, true);
}

#[test]
fn many_links_on_a_desktop_without_javascript() {
    many_links(Screen::Desktop, false);
}

#[test]
fn looking_back_on_a_phone() {
    looking_back(Screen::Phone, true);
}

#[test]
fn looking_back_on_a_desktop() {
    looking_back(Screen::Desktop, true);
}

#[test]
fn out_of_service_on_a_phone() {
    out_of_service(Screen::Phone, true);
}

#[test]
fn out_of_service_on_a_desktop_without_javascript() {
    out_of_service(Screen::Desktop, false);
}
