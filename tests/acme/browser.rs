//! A browser follows links: Chromium, whose user trusts the root of Pebble.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::pebble::{Options, Pebble};
use super::{IN_USE, LINKS, ORIGIN, ZONE, https_of, name_server, sections};
use crate::harness::{Server, Setup, run};

/// A zone for which the directory issues no certificate.
const OTHER: &str = "t.example.com";
/// How long the browser may take for a page, in seconds: it starts some ten processes.
const PAGE_TIME: &str = "120";

/// A page on this host, and the requests for it.
struct Destination {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Destination {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                // Browsers open connections that they do not use.
                std::thread::spawn(move || answer(client, &seen));
            }
        });
        Self { address, requests }
    }

    fn url(&self) -> String {
        format!("http://{}/sale?ref=dns#top", self.address)
    }

    /// How often the browser has asked for the page.
    fn visits(&self) -> usize {
        let requests = self.requests.lock().unwrap();
        let visits = requests.iter();
        visits
            .filter(|line| line.starts_with("GET /sale?ref=dns "))
            .count()
    }
}

/// Answers a request. The page needs a script to say that it has arrived.
fn answer(client: TcpStream, seen: &Mutex<Vec<String>>) -> Option<()> {
    const PAGE: &str = "<!doctype html><title>sale</title><p id=\"place\"></p><script>\
        document.getElementById('place').textContent = 'arrived at ' + location.href</script>";
    let mut lines = BufReader::new(&client).lines().map_while(Result::ok);
    seen.lock().unwrap().push(lines.next()?);
    lines.find(|line| line.is_empty())?;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        PAGE.len()
    );
    (&client).write_all(format!("{head}{PAGE}").as_bytes()).ok()
}

/// A browser, and what it is told about the network.
struct Browser {
    /// The database of NSS in it has the roots that the user trusts.
    home: TempDir,
    rules: String,
}

/// What the browser has shown.
struct Shown {
    /// The document after all redirects; empty if there is an error.
    document: String,
    /// The browser's messages.
    messages: String,
}

impl Browser {
    /// A browser for which these hosts are at the addresses that the server gives in DNS. It knows no other host.
    fn new(server: &Server, hosts: &[&str]) -> Self {
        let (https, http) = (https_of(server), server.redirect);
        let (at, port) = (
            format!("@{}", server.dns.ip()),
            server.dns.port().to_string(),
        );
        let mut rules = String::new();
        for host in hosts {
            let found = run("dig", &[&at, "-p", &port, "+short", host, "A"]);
            let address = found.lines().last();
            let address = address.unwrap_or_else(|| panic!("{host} has no address"));
            for (port, listener) in [(443, https), (80, http)] {
                rules += &format!("MAP {host}:{port} {address}:{},", listener.port());
            }
        }
        rules += "MAP * ~NOTFOUND,EXCLUDE 127.0.0.1";
        Self {
            home: tempfile::tempdir().unwrap(),
            rules,
        }
    }

    /// Has the user trust a root.
    fn trust(&self, root: &Path) {
        let database = self.home.path().join(".pki/nssdb");
        fs::create_dir_all(&database).unwrap();
        let (database, root) = (
            format!("sql:{}", database.display()),
            root.display().to_string(),
        );
        let certutil = |args: &[&str]| run("certutil", &[&["-d", &database], args].concat());
        certutil(&["-N", "--empty-password"]);
        certutil(&["-A", "-t", "C,,", "-n", "root", "-i", &root]);
    }

    /// Opens a URL, without the caches of what was opened before.
    fn open(&self, url: &str, more: &[&str]) -> Shown {
        let profile = tempfile::tempdir().unwrap();
        // `timeout` ends the browser's other processes as well: they are in its group.
        let output = Command::new("timeout")
            .args([
                "--kill-after=5",
                PAGE_TIME,
                "chromium",
                "--headless",
                "--dump-dom",
            ])
            // The sandbox needs another user than root. The only pages are those of this test.
            .args([
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .arg("--no-proxy-server")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--host-resolver-rules={}", self.rules))
            .args(more)
            .arg(url)
            .env("HOME", self.home.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("timeout: {error}"));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let messages = text(output.stderr);
        assert!(
            output.status.success(),
            "{url}: {:?}: {messages}",
            output.status
        );
        Shown {
            document: text(output.stdout),
            messages,
        }
    }
}

/// How many redirects the server has answered, in the clear and by TLS, and how many full handshakes it has made.
fn counts(server: &Server) -> (f64, f64) {
    (
        server.metric("tinyns_redirect_requests_total", &[("status", "302")]),
        server.metric("tinyns_https_handshakes_total", &[("result", "Full")]),
    )
}

#[test]
fn a_browser_follows_a_link_to_its_destination() {
    let dns = name_server();
    let mut options = Options::new(dns);
    options.blocked = vec![OTHER];
    let pebble = Pebble::start(&options);
    let server = Setup::empty()
        .zone(ORIGIN, LINKS, ZONE)
        .zone(OTHER, LINKS, &ZONE.replace(ORIGIN, OTHER))
        .listen(&format!("[\"{dns}\"]"))
        .section(&sections(&pebble.directory(), &pebble.identity, dns, ""))
        .start();
    server.log().wait_for(IN_USE);
    let destination = Destination::start();
    server.register("sale", &destination.url());
    let (sale, other) = (format!("sale.{ORIGIN}"), OTHER);
    let browser = Browser::new(&server, &[&sale, other]);
    let arrived = format!("arrived at {}", destination.url());
    let secure = format!("https://{sale}/");

    // A browser that does not know the root of the directory refuses the certificate.
    let refused = browser.open(&secure, &[]);
    assert!(!refused.document.contains(&arrived), "{}", refused.document);
    assert!(
        refused.messages.contains("ERR_CERT_AUTHORITY_INVALID"),
        "{}",
        refused.messages
    );
    assert_eq!(destination.visits(), 0);

    browser.trust(&pebble.root_file());
    let (redirects, handshakes) = counts(&server);
    let shown = browser.open(&secure, &[]);
    assert!(
        shown.document.contains(&arrived),
        "{} {}",
        shown.document,
        shown.messages
    );
    assert_eq!(destination.visits(), 1);
    let after = counts(&server);
    assert_eq!(after.0, redirects + 1.0);
    assert!(after.1 > handshakes);

    // Without HTTPS there is one redirect as well: to the destination, and not to HTTPS first. The browser would
    // begin with HTTPS by itself.
    let (redirects, handshakes) = after;
    let shown = browser.open(
        &format!("http://{sale}/"),
        &["--disable-features=HttpsUpgrades"],
    );
    assert!(
        shown.document.contains(&arrived),
        "{} {}",
        shown.document,
        shown.messages
    );
    assert_eq!(destination.visits(), 2);
    assert_eq!(counts(&server), (redirects + 1.0, handshakes));

    // A zone without a certificate: an alert, and not the certificate of the zone that has one.
    let failed = browser.open(&format!("https://{other}/"), &[]);
    assert_eq!(failed.document.trim(), "");
    assert!(
        failed.messages.contains("ERR_SSL_PROTOCOL_ERROR"),
        "{}",
        failed.messages
    );
    assert!(!failed.messages.contains("ERR_CERT"), "{}", failed.messages);
    assert_eq!(counts(&server), (redirects + 1.0, handshakes));
}
