//! A server with the store, and a client of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use url::form_urlencoded::Serializer;

use super::cases::Kind;
use super::population::{MAX_ENTRIES, SMALL_ZONE, ZONE};

/// A token of the form that the server demands.
const TOKEN: &str = "a-token-for-benches-of-forty-characters!";
/// How many links or entries a page has: as many as on the web page.
const PAGE_LEN: usize = 50;
const ZONE_FILE: &str = "\
$TTL 300
@    3600 IN SOA ns hostmaster 1 3600 600 604800 60
@         IN NS ns
ns        IN A 192.0.2.1
*.r       IN A 192.0.2.10
";
/// How long a response may take before the measurement counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server; it is killed when dropped.
pub struct Site {
    server: Child,
    admin: String,
    _directory: TempDir,
}

impl Site {
    /// Starts a server, which is this program, with the store in this directory.
    pub fn start(program: &Path, store: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("zone");
        fs::write(&file, ZONE_FILE).unwrap();
        let zones = [ZONE, SMALL_ZONE].map(|origin| {
            format!("[[zone]]\norigin = \"{origin}\"\nfile = {file:?}\nredirect_host = \"r\"\n")
        });
        let text = format!(
            "{}\n[dns]\nlisten = [\"127.0.0.1:0\"]\n[store]\npath = {:?}\n[audit]\nmax_entries = {MAX_ENTRIES}\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n[redirect]\nlisten = \"127.0.0.1:0\"\n",
            zones.concat(),
            fs::canonicalize(store).unwrap().join("links.sqlite"),
        );
        let config = directory.path().join("tinyns.toml");
        fs::write(&config, text).unwrap();
        let mut server = Command::new(program)
            .args(["serve", "--log-format", "human", "--config"])
            .arg(&config)
            .env("TINYNS_ADMIN_TOKEN", TOKEN)
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
        let admin = log.by_ref().find_map(|line| {
            let line = line.unwrap();
            let (_, address) = line.split_once("admin API address=")?;
            Some(address.trim().to_owned())
        });
        let admin = admin.expect("the server did not start");
        // Its other lines are shown: a warning may explain a figure.
        thread::spawn(move || {
            let warnings = log
                .map_while(Result::ok)
                .filter(|line| line.contains("WARN"));
            warnings.for_each(|line| eprintln!("{line}"));
        });
        Self {
            server,
            admin,
            _directory: directory,
        }
    }

    /// A client that is logged in.
    pub fn client(&self) -> Client {
        let stream = TcpStream::connect(&self.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client {
            stream: BufReader::new(stream),
            admin: self.admin.clone(),
            cookie: String::new(),
        };
        client.log_in();
        client
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A page of a list.
pub struct Page {
    pub time: Duration,
    pub items: usize,
    pub next: Option<String>,
}

/// One kept connection to the server.
pub struct Client {
    stream: BufReader<TcpStream>,
    admin: String,
    cookie: String,
}

impl Client {
    fn log_in(&mut self) {
        let mut body = Serializer::new(String::new());
        let body = body.append_pair("token", TOKEN).finish();
        let origin = format!("http://{}", self.admin);
        let (status, head, _) = self.send(&format!(
            "POST /login HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
            self.admin,
            body.len()
        ));
        assert_eq!(status, 303, "{head}");
        let lines = head.lines();
        let mut cookies = lines.filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("set-cookie").then_some(value)
        });
        let cookie = cookies.next().unwrap();
        self.cookie = cookie.split(';').next().unwrap().into();
    }

    /// A page of a list, after this cursor.
    pub fn page(&mut self, kind: Kind, list: &[(&str, String)], cursor: Option<&str>) -> Page {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(list);
        if kind.is_json() {
            query.append_pair("limit", &PAGE_LEN.to_string());
        }
        if let Some(cursor) = cursor {
            query.append_pair("cursor", cursor);
        }
        let path = format!("{}?{}", kind.path(), query.finish());
        let (time, body) = self.get(&path);
        match kind.is_json() {
            true => {
                let json: Value = serde_json::from_slice(&body).unwrap();
                Page {
                    time,
                    items: json[kind.items()].as_array().unwrap().len(),
                    next: json["next_cursor"].as_str().map(Into::into),
                }
            }
            false => {
                let html = String::from_utf8(body).unwrap();
                let next = html.split("cursor=").nth(1);
                let end = |c: char| !c.is_ascii_alphanumeric() && c != '-';
                Page {
                    time,
                    items: html.matches(kind.items()).count(),
                    next: next.map(|rest| rest[..rest.find(end).unwrap()].into()),
                }
            }
        }
    }

    fn get(&mut self, path: &str) -> (Duration, Vec<u8>) {
        let access = match path.starts_with("/v1/") {
            true => format!("Authorization: Bearer {TOKEN}"),
            false => format!("Cookie: {}", self.cookie),
        };
        let host = &self.admin;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{access}\r\n\r\n");
        let began = Instant::now();
        let (status, head, body) = self.send(&request);
        let time = began.elapsed();
        assert_eq!(
            status,
            200,
            "{path}\n{head}{}",
            String::from_utf8_lossy(&body)
        );
        (time, body)
    }

    /// Sends a request. Returns the status, the head and the body of the response.
    fn send(&mut self, request: &str) -> (u16, String, Vec<u8>) {
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = self.stream.read_line(&mut head).unwrap();
            assert!(read > 0, "the server closed the connection: {head}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let lower = head.to_ascii_lowercase();
        let (_, length) = lower.split_once("content-length: ").unwrap();
        let length = length[..length.find('\r').unwrap()].parse().unwrap();
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        (status, head, body)
    }
}
