//! A WebDriver client: the few commands of <https://www.w3.org/TR/webdriver2/> that the tests need. Each is one HTTP
//! request with JSON, so a crate for them would be larger than this file.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::Process;

/// How long a command may take. A busy machine needs some seconds to start the browser.
const COMMAND_TIME: Duration = Duration::from_secs(150);
/// How long the browser waits for an element to appear.
const ELEMENT_TIME: Duration = Duration::from_secs(40);
/// How long the browser waits for a page, or for a script of a test.
const PAGE_TIME: Duration = Duration::from_secs(120);
/// The key of a reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The failure of a command.
#[derive(Debug)]
pub(super) struct Failure {
    /// The error code of the protocol, such as `no such element`.
    pub(super) error: String,
    /// What the driver says about the failure.
    pub(super) message: String,
}

/// A browser that a driver controls. Both end with it.
pub(super) struct Browser {
    agent: ureq::Agent,
    session: String,
    // Fields are dropped in this order: the files go last.
    _driver: Process,
    _files: TempDir,
}

/// A reference to an element of the current page.
#[derive(Clone, Debug)]
pub(super) struct Element(String);

impl Browser {
    /// Starts a browser that finds hosts by these rules of Chromium's `--host-resolver-rules`, with or without
    /// JavaScript.
    pub(super) fn start(host_rules: &str, javascript: bool) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (driver, port) = start_driver(&files);
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(COMMAND_TIME))
            .build()
            .into();
        let mut browser = Self {
            agent,
            session: format!("http://127.0.0.1:{port}/session"),
            _driver: driver,
            _files: files,
        };
        let wanted = capabilities(host_rules, javascript, &browser._files);
        let created = browser.post("", wanted);
        let id = created["sessionId"].as_str().unwrap();
        browser.session += &format!("/{id}");
        browser.post(
            "/timeouts",
            json!({
                "implicit": millis(ELEMENT_TIME),
                "pageLoad": millis(PAGE_TIME),
                "script": millis(PAGE_TIME),
            }),
        );
        browser
    }

    /// Sends a command, which may fail.
    pub(super) fn try_command(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.session);
        let request = ureq::http::Request::builder().method(method).uri(&url);
        let response = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json");
                self.agent.run(request.body(body.to_string()).unwrap())
            }
            None => self.agent.run(request.body(()).unwrap()),
        };
        let mut response = response.unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        // Screenshots and the texts of large pages have some megabytes.
        let body = response.body_mut().with_config().limit(64 << 20);
        let mut reply: Value = serde_json::from_str(&body.read_to_string().unwrap()).unwrap();
        let value = reply["value"].take();
        if response.status().is_success() {
            return Ok(value);
        }
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        Err(Failure {
            error: text("error"),
            message: text("message"),
        })
    }

    /// Sends a command that must succeed.
    fn post(&self, path: &str, body: Value) -> Value {
        self.try_command("POST", path, Some(body))
            .unwrap_or_else(|e| panic!("{path}: {}: {}", e.error, e.message))
    }

    fn get(&self, path: &str) -> Value {
        self.try_command("GET", path, None)
            .unwrap_or_else(|e| panic!("{path}: {}: {}", e.error, e.message))
    }

    /// Opens a URL, and waits until the page is there.
    pub(super) fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url }));
    }

    /// The URL of the page.
    pub(super) fn url(&self) -> String {
        self.get("/url").as_str().unwrap().to_owned()
    }

    /// The first element that an XPath expression describes; it waits for the element.
    pub(super) fn find(&self, xpath: &str) -> Element {
        let wanted = json!({ "using": "xpath", "value": xpath });
        let found = self.try_command("POST", "/element", Some(wanted));
        let found = found.unwrap_or_else(|e| {
            let page = self.text_of_page();
            panic!("{xpath} at {}: {}: {page}", self.url(), e.error)
        });
        Element(found[ELEMENT].as_str().unwrap().to_owned())
    }

    /// How many elements an XPath expression describes at this moment.
    pub(super) fn count(&self, xpath: &str) -> usize {
        let count = "return document.evaluate('count(' + arguments[0] + ')', document, null, 1).numberValue";
        let count = self.script(count, json!([xpath])).as_f64().unwrap();
        // A number of elements.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let count = count as usize;
        count
    }

    /// Clicks an element, after it was scrolled into view. If that opens a page, the next command waits for the page.
    pub(super) fn click(&self, element: &Element) {
        self.post(&format!("/element/{}/click", element.0), json!({}));
    }

    /// Types text into an element.
    pub(super) fn write(&self, element: &Element, text: &str) {
        self.post(
            &format!("/element/{}/value", element.0),
            json!({ "text": text }),
        );
    }

    /// Empties a field.
    pub(super) fn clear(&self, element: &Element) {
        self.post(&format!("/element/{}/clear", element.0), json!({}));
    }

    /// The visible text of an element.
    pub(super) fn text(&self, element: &Element) -> String {
        let text = self.get(&format!("/element/{}/text", element.0));
        text.as_str().unwrap().to_owned()
    }

    /// A property of an element, such as `value` or `checked`.
    pub(super) fn property(&self, element: &Element, name: &str) -> Value {
        self.get(&format!("/element/{}/property/{name}", element.0))
    }

    /// The text of the page, for messages.
    pub(super) fn text_of_page(&self) -> String {
        let text = self.script("return document.body.innerText", json!([]));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// The element with the focus, as a short description: its tag, name and text.
    pub(super) fn focus(&self) -> String {
        let describe = "const e = document.activeElement; \
            return [e.tagName.toLowerCase(), e.name, (e.innerText || '').trim()].filter(Boolean).join(' ')";
        let focus = self.script(describe, json!([]));
        focus.as_str().unwrap().to_owned()
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub(super) fn press(&self, keys: &str) {
        let actions: Vec<_> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })))
            .collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.post("/actions", json!({ "actions": [keyboard] }));
    }

    /// Presses a key while Control is held.
    pub(super) fn press_with_control(&self, key: char) {
        const CONTROL: char = '\u{e009}';
        let action = |kind: &str, key: char| json!({ "type": kind, "value": key });
        let actions = [
            action("keyDown", CONTROL),
            action("keyDown", key),
            action("keyUp", key),
            action("keyUp", CONTROL),
        ];
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.post("/actions", json!({ "actions": [keyboard] }));
    }

    /// A picture of an element, as PNG.
    pub(super) fn picture(&self, element: &Element) -> Vec<u8> {
        let picture = self.get(&format!("/element/{}/screenshot", element.0));
        png(picture.as_str().unwrap())
    }

    /// Runs a function body in the page, and returns what it returns.
    pub(super) fn script(&self, body: &str, arguments: Value) -> Value {
        let call = json!({ "script": body, "args": arguments });
        self.post("/execute/sync", call)
    }

    /// The same for a body that calls its last argument with the result.
    pub(super) fn script_with_callback(&self, body: &str, arguments: Value) -> Value {
        let call = json!({ "script": body, "args": arguments });
        self.post("/execute/async", call)
    }

    /// Sends a command of the Chrome DevTools protocol.
    pub(super) fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post(
            "/goog/cdp/execute",
            json!({ "cmd": command, "params": parameters }),
        )
    }

    /// The new lines of a log of the browser: `browser` for the console, `performance` for events of the network.
    pub(super) fn log(&self, kind: &str) -> Vec<Value> {
        let lines = self.post("/se/log", json!({ "type": kind }));
        lines.as_array().unwrap().clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver alone knows the browser's processes, so it has to stop them.
        let _ = self.try_command("DELETE", "", None);
    }
}

/// Starts the driver on a port that the system chooses.
fn start_driver(files: &TempDir) -> (Process, u16) {
    const STARTED: &str = "started successfully on port ";
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        // The browser keeps files of its user outside of its profile as well.
        .env("HOME", files.path())
        .env("TMPDIR", files.path())
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_CACHE_HOME")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map(Process)
        .unwrap_or_else(|e| panic!("chromedriver: {e}; tests/run.sh installs what tests need"));
    let mut lines = BufReader::new(driver.0.stdout.take().unwrap()).lines();
    let port = loop {
        let line = lines.next().expect("the driver has stopped").unwrap();
        if let Some((_, port)) = line.split_once(STARTED) {
            break port.trim_end_matches('.').parse().unwrap();
        }
    };
    // The driver must not block because nothing reads its messages.
    std::thread::spawn(move || lines.count());
    (driver, port)
}

/// What the browser has to be like.
fn capabilities(host_rules: &str, javascript: bool, files: &TempDir) -> Value {
    let profile = files.path().join("profile");
    let downloads = files.path().join("downloads");
    let arguments = [
        "--headless=new",
        // The sandbox needs another user than root. The only pages are those of the tests.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable",
        // Screenshots of the same page are the same.
        "--hide-scrollbars",
        "--force-device-scale-factor=1",
        "--lang=en",
        &format!("--host-resolver-rules={host_rules}"),
        &format!("--user-data-dir={}", profile.display()),
    ]
    .map(str::to_owned);
    // 1 allows and 2 blocks.
    let scripts = if javascript { 1 } else { 2 };
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        "goog:chromeOptions": {
            "args": arguments,
            "perfLoggingPrefs": { "enableNetwork": true, "enablePage": false },
            "prefs": {
                "profile.default_content_setting_values.javascript": scripts,
                "profile.default_content_setting_values.clipboard": 1,
                "download.default_directory": downloads.display().to_string(),
                "credentials_enable_service": false,
            },
        },
    } } })
}

/// The bytes of a picture that the driver has sent.
pub(super) fn png(base64: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD
        .decode(base64)
        .unwrap()
}

fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap()
}
