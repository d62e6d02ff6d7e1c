//! Links in the web page: made, copied, scanned, looked up, found, changed and deleted.

use std::fs;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::inspect::Screen;
use super::person::Person;
use crate::harness::{PATIENCE, Server, eventually, output};

const URL: &str = "https://example.net/spring/sale?ref=page";

/// All that a person does with a link, from its creation to its end.
fn life_of_a_link(screen: Screen, javascript: bool) {
    let server = Server::start();
    let person = Person::new(&server, screen, javascript);
    person.log_in_as_root();
    person.visit.inspect("page-new");
    make(&person);
    look_up(&person);
    scan(&person);
    if javascript {
        copy(&person);
    }
    find_in_list(&server, &person);
    edit_in_conflict(&server, &person);
    delete_and_undo(&server, &person);
}

/// Makes a link; the first attempt has a code that is taken, and the page says so beside the field.
fn make(person: &Person<'_>) {
    person.fill("Long URL", URL);
    person.unfold("Own code, end, title and more");
    person.fill("Own code", "www");
    person.press("Shorten");
    let browser = &person.visit.browser;
    browser.find("//*[@id='code-error']");
    let code = person.field("Own code");
    assert_eq!(browser.property(&code, "value"), "www");
    assert_eq!(browser.property(&code, "ariaInvalid"), "true");
    person.visit.inspect("page-new-refused");
    person.fill("Own code", "sale");
    person.fill("Title", "Spring sale");
    person.fill("Tags", "spring, shop");
    person.press("Shorten");
    person.see("Your link is ready");
    person.visit.inspect("page-made");
    let copying = browser.count("//button[@data-copy][not(@hidden)]");
    assert_eq!(copying > 0, person.visit.javascript());
}

/// Runs the command that the page shows.
fn look_up(person: &Person<'_>) {
    let browser = &person.visit.browser;
    let command = browser.text(&browser.find("//*[@id='dig']"));
    let (program, arguments) = command.split_once(' ').unwrap();
    assert_eq!(program, "dig");
    let found = output(program, &arguments.split(' ').collect::<Vec<_>>());
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(
        found.lines().any(|line| line == format!("\"{URL}\"")),
        "{command}: {found}"
    );
}

/// Reads the QR code from the screen.
fn scan(person: &Person<'_>) {
    let browser = &person.visit.browser;
    let image = browser.find("//img[starts-with(@alt, 'QR code')]");
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("screen.png");
    fs::write(&file, browser.picture(&image)).unwrap();
    let file = file.to_str().unwrap();
    let read = output(
        "zbarimg",
        &["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", file],
    );
    let read = String::from_utf8(read.stdout).unwrap();
    assert!(read.starts_with("HTTP://SALE.S.EXAMPLE.COM"), "{read}");
}

/// Copies the short URL, and pastes it elsewhere.
fn copy(person: &Person<'_>) {
    person.press("Copy short URL");
    person.see("Copied");
    person.open("/links");
    let browser = &person.visit.browser;
    let search = person.field("Search");
    browser.click(&search);
    browser.press_with_control('v');
    let pasted = browser.property(&search, "value");
    let pasted = pasted.as_str().unwrap();
    assert!(pasted.starts_with("http://sale.s.example.com"), "{pasted}");
}

/// Finds the link among others.
fn find_in_list(server: &Server, person: &Person<'_>) {
    const ROWS: &str = "//ul[@id='links']/li";
    let browser = &person.visit.browser;
    for number in 0..30 {
        server.register(
            &format!("other-{number}"),
            &format!("https://example.org/{number}"),
        );
    }
    person.open("/links");
    person.see("https://example.org/");
    assert!(browser.count(ROWS) > 10);
    person.visit.inspect("page-list");
    person.fill("Search", "spring");
    person.press("Search");
    // The whole list has this link as well.
    eventually("the list has one link", PATIENCE, || {
        browser.count(ROWS) == 1
    });
    person.see("Spring sale");
    person.visit.inspect("page-list-found");
    person.fill("Search", "nothing-of-this-name");
    person.press("Search");
    person.see("No links found");
    person.visit.inspect("page-list-empty");
}

/// Edits the link, while somebody else changes it.
fn edit_in_conflict(server: &Server, person: &Person<'_>) {
    const ELSEWHERE: &str = "https://example.com/elsewhere";
    let browser = &person.visit.browser;
    person.open("/links/sale");
    person.press("Edit");
    let url = person.field("Long URL");
    assert_eq!(browser.property(&url, "value"), URL);
    person.visit.inspect("page-edit");
    assert_eq!(server.redirect_to("sale", ELSEWHERE).status, 200);
    person.fill("Title", "Summer sale");
    person.press("Save");
    person.see("was changed after you opened it");
    person.see(ELSEWHERE);
    person.visit.inspect("page-conflict");
    // Nothing was saved yet.
    let link = server.api("GET", "/v1/links/sale", None).json();
    assert_eq!(
        (&link["url"], &link["title"]),
        (&ELSEWHERE.into(), &"Spring sale".into())
    );
    person.press("Save mine over it");
    person.see("Saved");
    let link = server.api("GET", "/v1/links/sale", None).json();
    assert_eq!(
        (&link["url"], &link["title"]),
        (&URL.into(), &"Summer sale".into())
    );
}

/// Deletes the link, takes that back, and deletes it again.
fn delete_and_undo(server: &Server, person: &Person<'_>) {
    let is_there = || {
        let reply = server.ask("sale.s.example.com", RecordType::TXT);
        reply.response_code == ResponseCode::NoError
    };
    person.press("Delete");
    person.see("Delete this link?");
    person.visit.inspect("page-delete");
    assert!(is_there());
    person.press("Delete");
    person.see("is gone");
    person.visit.inspect("page-deleted");
    assert!(!is_there());
    person.press("Undo");
    person.see("Your link is ready");
    assert!(is_there());
    let link = server.api("GET", "/v1/links/sale", None).json();
    assert_eq!(link["title"], "Summer sale");
    person.press("Delete");
    person.see("Delete this link?");
    person.press("Delete");
    person.see("is gone");
    assert!(!is_there());
}

#[test]
fn the_life_of_a_link_on_a_phone() {
    life_of_a_link(Screen::Phone, true);
}

#[test]
fn the_life_of_a_link_on_a_desktop() {
    life_of_a_link(Screen::Desktop, true);
}

#[test]
fn the_life_of_a_link_without_javascript() {
    life_of_a_link(Screen::Desktop, false);
}
