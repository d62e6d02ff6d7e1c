//! What every page has to satisfy: no violation of accessibility rules, nothing in the console, no request to another
//! host, no text beyond the edge of the screen. The tests call [`Visit::inspect`] on each page that they reach.

use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::driver::{Browser, png};

/// The environment variable with the directory for screenshots. Without it there are none.
const SCREENSHOTS: &str = "TINYNS_SCREENSHOTS";
/// The rules of axe-core that the pages have to satisfy, by tag: WCAG 2.2 AA, and best practices.
const RULES: &[&str] = &[
    "wcag2a",
    "wcag2aa",
    "wcag21a",
    "wcag21aa",
    "wcag22aa",
    "best-practice",
];
/// The colour schemes.
const SCHEMES: &[&str] = &["light", "dark"];

/// The size of a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    /// 360 by 780 pixels, as a small phone has.
    Phone,
    /// 1280 by 800 pixels.
    Desktop,
}

impl Screen {
    fn name(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Desktop => "desktop",
        }
    }

    fn size(self) -> (u32, u32) {
        match self {
            Self::Phone => (360, 780),
            Self::Desktop => (1_280, 800),
        }
    }
}

/// A browser on a screen, and the hosts that its pages may use.
pub(super) struct Visit {
    pub(super) browser: Browser,
    screen: Screen,
    javascript: bool,
    /// The beginnings of the URLs that pages may request.
    own: Vec<String>,
}

impl Visit {
    /// Starts a browser. `own` are the origins that pages may request, such as `http://127.0.0.1:8053`.
    pub(super) fn start(
        host_rules: &str,
        own: &[String],
        screen: Screen,
        javascript: bool,
    ) -> Self {
        let browser = Browser::start(host_rules, javascript);
        let (width, height) = screen.size();
        browser.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({
                "width": width,
                "height": height,
                "deviceScaleFactor": 1,
                "mobile": screen == Screen::Phone,
            }),
        );
        Self {
            browser,
            screen,
            javascript,
            own: own.iter().map(|origin| format!("{origin}/")).collect(),
        }
    }

    /// Whether the browser runs scripts of pages.
    pub(super) fn javascript(&self) -> bool {
        self.javascript
    }

    /// Checks the page in both colour schemes, and saves screenshots of it under this name.
    pub(super) fn inspect(&self, name: &str) {
        let found = self.faults(name);
        assert!(
            found.is_empty(),
            "{name} at {}: {found:#?}",
            self.browser.url()
        );
    }

    /// What is wrong with the page.
    pub(super) fn faults(&self, name: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for scheme in SCHEMES {
            self.browser.devtools(
                "Emulation.setEmulatedMedia",
                json!({ "features": [
                    { "name": "prefers-color-scheme", "value": scheme },
                    // A picture in the middle of a transition has neither set of colours.
                    { "name": "prefers-reduced-motion", "value": "reduce" },
                ] }),
            );
            self.screenshot(&format!("{name}-{}-{scheme}", self.variant()));
            faults.extend(self.accessibility(scheme));
        }
        faults.extend(self.overflow());
        faults.extend(self.console());
        faults.extend(self.strangers());
        faults
    }

    /// The screen and whether there are scripts, for the names of files.
    fn variant(&self) -> String {
        let plain = if self.javascript { "" } else { "-plain" };
        format!("{}{plain}", self.screen.name())
    }

    /// Saves a screenshot of the whole page, if there is a directory for screenshots.
    fn screenshot(&self, name: &str) {
        let Some(directory) = std::env::var_os(SCREENSHOTS).map(PathBuf::from) else {
            return;
        };
        std::fs::create_dir_all(&directory).unwrap();
        let size =
            self.browser.devtools("Page.getLayoutMetrics", json!({}))["cssContentSize"].take();
        let clip =
            json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let parameters = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let shot = self.browser.devtools("Page.captureScreenshot", parameters);
        let image = png(shot["data"].as_str().unwrap());
        std::fs::write(directory.join(format!("{name}.png")), image).unwrap();
    }

    /// The violations that axe-core finds.
    fn accessibility(&self, scheme: &str) -> Vec<String> {
        // axe-core waits with timers, which do not run where scripts are blocked.
        if !self.javascript {
            return Vec::new();
        }
        let run = format!(
            "{}\nconst done = arguments[arguments.length - 1];\n\
             axe.run(document, {{ runOnly: arguments[0], resultTypes: ['violations', 'incomplete'] }})\n\
             .then(found => done(found), error => done({{ error: String(error) }}));",
            axe()
        );
        let found = self.browser.script_with_callback(&run, json!([RULES]));
        assert_eq!(found["error"], Value::Null, "axe-core failed");
        assert!(
            found["passes"].as_array().is_some(),
            "axe-core did not run: {found}"
        );
        let violations = found["violations"].as_array().unwrap();
        let describe = |violation: &Value| {
            let places = violation["nodes"].as_array().unwrap().iter();
            let places: Vec<_> = places
                .map(|node| format!("{}: {}", node["html"], node["failureSummary"]))
                .collect();
            format!(
                "{scheme}: {}: {}: {}",
                violation["id"],
                violation["help"],
                places.join("; ")
            )
        };
        violations.iter().map(describe).collect()
    }

    /// Whether the page is wider than the screen.
    fn overflow(&self) -> Option<String> {
        let root =
            "const root = document.documentElement; return [root.scrollWidth, root.clientWidth]";
        let widths = self.browser.script(root, json!([]));
        let width = |index: usize| widths[index].as_u64().unwrap();
        (width(0) > width(1)).then(|| format!("{} pixels wide on {}", width(0), width(1)))
    }

    /// The lines of the console. Violations of the content security policy are among them.
    fn console(&self) -> Vec<String> {
        let lines = self.browser.log("browser");
        // The browser reports pages whose status is an error, also those that a test opens, and a missing icon.
        let opened = self.browser.url();
        let is_status = |line: &Value| {
            let text = line["message"].as_str().unwrap_or_default();
            let url = text.split(' ').next().unwrap_or_default();
            line["source"] == "network"
                && text.contains("responded with a status of")
                && (url == opened || url.ends_with("/favicon.ico"))
        };
        // Advice, such as that of a field for a user name beside a password.
        let is_advice = |line: &Value| line["source"] == "recommendation";
        let lines = lines
            .iter()
            .filter(|line| !is_status(line) && !is_advice(line));
        lines.map(|line| format!("console: {line}")).collect()
    }

    /// The requests to other hosts.
    fn strangers(&self) -> Vec<String> {
        let events = self.browser.log("performance");
        let requested = events.iter().filter_map(|event| {
            let event: Value = serde_json::from_str(event["message"].as_str()?).ok()?;
            let message = &event["message"];
            // The browser's own pages make requests as well: its first tab does.
            let page = message["params"]["documentURL"].as_str()?;
            let is_request =
                message["method"] == "Network.requestWillBeSent" && page.starts_with("http");
            let url = message["params"]["request"]["url"].as_str()?;
            is_request.then(|| url.to_owned())
        });
        let is_own = |url: &String| {
            url.starts_with("data:") || self.own.iter().any(|own| url.starts_with(own))
        };
        requested
            .filter(|url| !is_own(url))
            .map(|url| format!("a request to another host: {url}"))
            .collect()
    }
}

/// The text of axe-core.
fn axe() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let file = super::tools().join("axe-core/axe.min.js");
        std::fs::read_to_string(&file)
            .unwrap_or_else(|e| panic!("{}: {e}; tests/run.sh installs it", file.display()))
    })
}
