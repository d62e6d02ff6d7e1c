//! A running test server.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;
use serde_json::Value;
use tempfile::TempDir;

use super::http::try_http;
use super::log::address_in;
use super::{Answer, Log, Process, Reply, Setup, http, tinyns, wait};
use super::{DNS_LISTENER, PATIENCE, TOKEN, parse, query};

/// A running server; it is killed when dropped.
pub struct Server {
    child: Process,
    dir: TempDir,
    config: PathBuf,
    environment: Vec<(String, String)>,
    log: Log,
    /// Where it serves DNS, first address.
    pub dns: SocketAddr,
    /// Where its admin API is.
    pub admin: SocketAddr,
    /// Where its redirect host is.
    pub redirect: SocketAddr,
}

impl Server {
    /// A server with the default zone.
    pub fn start() -> Self {
        Setup::new().start()
    }

    /// A server with a configuration whose zone files are those of the repository. Its data are in a directory of its own.
    pub fn with_config(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = format!("= \"{}/data/", dir.path().display());
        let config = dir.path().join("tinyns.toml");
        std::fs::write(&config, text.replace("= \"data/", &data)).unwrap();
        Self::launch(tinyns(), dir, config, Vec::new())
    }

    pub(super) fn launch(
        mut command: Command,
        dir: TempDir,
        config: PathBuf,
        environment: Vec<(String, String)>,
    ) -> Self {
        let mut child = command
            .args(["serve", "--log-format", "json", "--config"])
            .arg(&config)
            .env("TINYNS_ADMIN_TOKEN", TOKEN)
            .env("TINYNS_LOG", "info,tinyns=debug")
            .envs(environment.iter().cloned())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map(Process)
            .unwrap();
        let log = Log::follow(child.0.stderr.take().unwrap());
        let dns = log.address(DNS_LISTENER);
        let admin = log.address("\"admin API\"");
        let redirect = log.address("\"redirect host\"");
        Self {
            child,
            dir,
            config,
            environment,
            log,
            dns,
            admin,
            redirect,
        }
    }

    /// Its directory: zone files, configuration, data.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// All addresses where it serves DNS, in the order of its configuration.
    pub fn dns_addresses(&self) -> Vec<SocketAddr> {
        let log = self.log.text();
        let lines = log.lines().filter(|line| line.contains(DNS_LISTENER));
        lines.map(address_in).collect()
    }

    /// Its process.
    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.0.id().try_into().unwrap())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(self.pid(), signal).unwrap();
    }

    /// Kills it without warning (SIGKILL) and starts it again on the same data.
    pub fn crash_and_restart(mut self) -> Self {
        self.crash();
        self.relaunch()
    }

    /// Kills it without warning (SIGKILL).
    pub fn crash(&mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
    }

    /// Asks it to stop, waits until it has, and starts it again on the same data.
    pub fn restart(mut self) -> Self {
        assert!(self.stop().success());
        self.relaunch()
    }

    /// Stops it, calls `work` with the directory of its data, and starts it again.
    pub fn restart_after(mut self, work: impl FnOnce(&Path)) -> Self {
        assert!(self.stop().success());
        work(&self.dir().join("data"));
        self.relaunch()
    }

    /// Takes the directory over into a new process.
    fn relaunch(mut self) -> Self {
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        let config = self.config.clone();
        let environment = std::mem::take(&mut self.environment);
        Self::launch(tinyns(), dir, config, environment)
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.stop_began()
    }

    /// Waits until a stop that was asked for is over.
    pub fn stop_began(&mut self) -> ExitStatus {
        wait(&mut self.child.0)
    }

    /// Sends raw bytes by UDP and waits for the reply; none if there is none within `patience`.
    pub fn udp_within(&self, packet: &[u8], patience: Duration) -> Option<Vec<u8>> {
        let bind: IpAddr = match self.dns {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((bind, 0)).unwrap();
        socket.connect(self.dns).unwrap();
        socket.set_read_timeout(Some(patience)).unwrap();
        socket.send(packet).unwrap();
        let mut buffer = vec![0; 65_535];
        let length = socket.recv(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }

    /// Sends raw bytes by UDP and returns the reply's.
    pub fn udp(&self, packet: &[u8]) -> Vec<u8> {
        self.udp_within(packet, PATIENCE).expect("no reply by UDP")
    }

    /// Sends a message by TCP with its length in front, and returns the reply's bytes.
    pub fn tcp(&self, packet: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.dns).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = u16::try_from(packet.len()).unwrap();
        stream.write_all(&length.to_be_bytes()).unwrap();
        stream.write_all(packet).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut reply = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut reply).unwrap();
        reply
    }

    /// Asks by UDP with EDNS.
    pub fn ask(&self, name: &str, qtype: RecordType) -> Message {
        parse(&self.udp(&query(name, qtype).to_bytes().unwrap()))
    }

    /// Calls the admin API with the right token.
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        let body = body.map(|b| ("application/json", b.to_string().into_bytes()));
        self.api_raw(method, path, &[], body)
    }

    /// The same where the server may die before it answers.
    pub fn try_api(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Reply> {
        try_api(self.admin, method, path, body)
    }

    /// Calls the admin API with the right token, any headers and any body.
    pub fn api_raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<(&str, Vec<u8>)>,
    ) -> Reply {
        let authorization = format!("Bearer {TOKEN}");
        let mut all = vec![("authorization", authorization.as_str())];
        all.extend_from_slice(headers);
        http(method, &format!("http://{}{path}", self.admin), &all, body)
    }

    /// Its answer about a link's name.
    pub fn answer(&self, name: &str) -> Answer {
        Answer::of(&self.ask(name, RecordType::TXT))
    }

    /// Its answer about a link's name; none if there is no reply within this time.
    pub fn answer_within(&self, name: &str, patience: Duration) -> Option<Answer> {
        let packet = query(name, RecordType::TXT).to_bytes().unwrap();
        let reply = self.udp_within(&packet, patience)?;
        Some(Answer::of(&parse(&reply)))
    }

    /// Asks about a name again and again until the answer is this one, for at most `patience`.
    pub fn wait_for_answer(&self, name: &str, expected: &Answer, patience: Duration) {
        let end = Instant::now() + patience;
        loop {
            let now = self.answer(name);
            if now == *expected {
                return;
            }
            assert!(Instant::now() < end, "{name}: {now:?}, not {expected:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The sum of all samples of one of its metrics that have these labels. The metric must be
    /// among those that are declared: a misspelt one would be 0 for ever.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let ends = ["_total", "_sum", "_count", "_bucket"];
        let family = ends.iter().find_map(|end| name.strip_suffix(end));
        let family = family.unwrap_or(name).strip_prefix("tinyns_").unwrap();
        let declarations = [
            include_str!("../../src/base/metrics/register.rs"),
            include_str!("../../src/base/metrics/latency.rs"),
        ];
        let name_in_quotes = format!("\"{family}\"");
        let declared = declarations
            .iter()
            .any(|text| text.contains(&name_in_quotes));
        assert!(declared, "no metric {name}");
        let text = http("GET", &format!("http://{}/metrics", self.admin), &[], None).body;
        let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        let samples = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (metric, set) = series.split_once('{').unwrap_or((series, ""));
            let all = labels.iter().all(|label| set.contains(label));
            (metric == name && all).then(|| value.parse::<f64>().unwrap())
        });
        samples.sum()
    }

    /// How much memory its process has in use, in bytes.
    pub fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<u64>().unwrap() * 1_024
    }

    /// Registers a URL and returns the link.
    pub fn add(&self, url: &str) -> Value {
        self.add_with(&serde_json::json!({ "url": url }))
    }

    /// Registers a link and returns it.
    pub fn add_with(&self, request: &Value) -> Value {
        let reply = self.api("POST", "/v1/links", Some(request));
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
        reply.link()
    }

    /// Registers a URL under a code and returns the link's name.
    pub fn register(&self, code: &str, url: &str) -> String {
        let link = self.add_with(&serde_json::json!({ "url": url, "code": code }));
        link["name"].as_str().unwrap().into()
    }

    /// Has a link lead elsewhere.
    pub fn redirect_to(&self, code: &str, url: &str) -> Reply {
        let change = serde_json::json!({ "url": url });
        self.api("PATCH", &format!("/v1/links/{code}"), Some(&change))
    }

    /// Deletes a link.
    pub fn remove(&self, code: &str) -> Reply {
        self.api("DELETE", &format!("/v1/links/{code}"), None)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the server ---\n{}", self.log.text());
        }
    }
}

/// Calls the admin API at this address, where the server may die before it answers.
pub fn try_api(admin: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Option<Reply> {
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("authorization", authorization.as_str())];
    let url = format!("http://{admin}{path}");
    let body = body.map(|b| ("application/json", b.to_string().into_bytes()));
    try_http(method, &url, &headers, body).ok()
}
