//! The web page of the admin listener, as a person uses it.

use super::driver::Element;
use super::inspect::{Screen, Visit};
use crate::harness::{Server, TOKEN};

/// A person at the web page of a server.
pub(super) struct Person<'a> {
    pub(super) visit: Visit,
    server: &'a Server,
}

impl<'a> Person<'a> {
    /// Opens a browser, in which nobody is logged in.
    pub(super) fn new(server: &'a Server, screen: Screen, javascript: bool) -> Self {
        let origin = format!("http://{}", server.admin);
        let rules = "MAP * ~NOTFOUND,EXCLUDE 127.0.0.1";
        Self {
            visit: Visit::start(rules, &[origin], screen, javascript),
            server,
        }
    }

    /// Opens a path of the page.
    pub(super) fn open(&self, path: &str) {
        self.visit
            .browser
            .open(&format!("http://{}{path}", self.server.admin));
    }

    /// Logs in with a token.
    pub(super) fn log_in(&self, token: &str) {
        self.open("/login");
        self.fill("Token", token);
        self.press("Log in");
        self.see("Log out");
    }

    /// Logs in with the token of the server's file.
    pub(super) fn log_in_as_root(&self) {
        self.log_in(TOKEN);
    }

    /// The field with a label.
    pub(super) fn field(&self, label: &str) -> Element {
        let label = format!("//label[starts-with(normalize-space(), {label:?})]");
        self.visit
            .browser
            .find(&format!("//*[@id={label}/@for] | {label}//input"))
    }

    /// Writes into the field with a label, in place of what is there.
    pub(super) fn fill(&self, label: &str, text: &str) {
        let field = self.field(label);
        self.visit.browser.clear(&field);
        self.visit.browser.write(&field, text);
    }

    /// Clicks the button with a text.
    pub(super) fn press(&self, text: &str) {
        let button = format!(
            "//button[normalize-space()={text:?}] | //a[contains(@class, 'button')][normalize-space()={text:?}]"
        );
        let button = self.visit.browser.find(&button);
        self.visit.browser.click(&button);
    }

    /// Chooses an option whose label begins with a text.
    pub(super) fn choose(&self, label: &str) {
        let option = format!("//label[starts-with(normalize-space(), {label:?})]/input");
        self.visit.browser.click(&self.visit.browser.find(&option));
    }

    /// Opens the part of the page below a summary, unless it is open.
    pub(super) fn unfold(&self, summary: &str) {
        let closed = format!("//details[not(@open)]/summary[normalize-space()={summary:?}]");
        if self.visit.browser.count(&closed) > 0 {
            self.visit.browser.click(&self.visit.browser.find(&closed));
        }
    }

    /// Clicks the link with a text.
    pub(super) fn follow(&self, text: &str) {
        let link = self
            .visit
            .browser
            .find(&format!("//a[normalize-space()={text:?}]"));
        self.visit.browser.click(&link);
    }

    /// Waits until an element of the page has a text.
    pub(super) fn see(&self, text: &str) -> Element {
        let own = format!(
            "//main//*[contains(normalize-space(), {text:?})] | //header//*[contains(normalize-space(), {text:?})]"
        );
        self.visit.browser.find(&own)
    }
}
