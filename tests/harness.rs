//! A tinyns of its own for each test: the real program, on ports that the system chooses, with a
//! directory that goes away with it.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The admin token of every test server.
pub const TOKEN: &str = "test-token-0123456789abcdef";

/// Where the ports of the tests' own servers lie: below those that the system gives to outgoing
/// connections, so that nobody takes the port of a server that is down for a moment.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The text of the lines of the log that tell where DNS is served.
const DNS_LISTENER: &str = "DNS over UDP and TCP";

/// The zone that tests use unless they bring their own.
pub const ZONE: &str = "\
$ORIGIN s.example.com.
$TTL 300
@       3600 IN SOA ns1 hostmaster 1 3600 600 604800 60
        3600 IN NS  ns1
        3600 IN NS  ns2
ns1          IN A    192.0.2.1
ns1          IN AAAA 2001:db8::1
ns2          IN A    192.0.2.2
@            IN A    192.0.2.10
@            IN MX   10 mail
mail         IN A    192.0.2.25
www          IN CNAME @
*.r          IN A    192.0.2.10
*.r          IN AAAA 2001:db8::10
*.r          IN HTTPS 1 . alpn=\"h2\"
sub          IN NS   ns.sub
ns.sub       IN A    192.0.2.53
a.b.deep     IN TXT  \"below an empty non-terminal\"
*.wild       IN TXT  \"from a wildcard\"
";

/// A port of 127.0.0.1 that is free for UDP and TCP, and that no other test of this process gets.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    // Another run of the tests at the same time begins elsewhere.
    let begin = u16::try_from(std::process::id() * 199 % u32::from(count)).unwrap();
    for _ in 0..count {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % count;
        let port = PORTS.start + (begin + step) % count;
        let address = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// An address of the loopback interface that no other test has, nor another run of the tests at the same time: its
/// port 53 is free.
pub fn own_host() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, 96 + u8::try_from(number).unwrap(), high, low)
}

/// What a test server is made of.
pub struct Setup {
    dir: TempDir,
    zones: String,
    files: Vec<(PathBuf, String)>,
    listen: String,
    dns: String,
    admin: String,
    limits: String,
    launcher: Vec<String>,
    sections: String,
    /// The lines of `[store]`, if it is not a SQLite file of this server's own.
    store: Option<String>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// The default zone in its default layout.
    pub fn new() -> Self {
        Self::with_layout("cname")
    }

    /// The default zone in the given layout.
    pub fn with_layout(layout: &str) -> Self {
        Self::empty().zone(
            "s.example.com",
            &format!("redirect_host = \"r\"\nlayout = \"{layout}\"\n"),
            ZONE,
        )
    }

    /// No zone yet.
    pub fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            zones: String::new(),
            files: Vec::new(),
            listen: "[\"127.0.0.1:0\"]".into(),
            dns: String::new(),
            admin: "127.0.0.1:0".into(),
            limits: String::new(),
            launcher: Vec::new(),
            sections: String::new(),
            store: None,
            environment: Vec::new(),
        }
    }

    /// Adds a zone with further lines of its configuration.
    pub fn zone(mut self, origin: &str, config: &str, text: &str) -> Self {
        // A slash is a part of some origins, but of no file's name.
        let file = format!("{}.zone", origin.replace(['/', '\\'], "_"));
        let file = self.dir.path().join(file);
        write!(
            self.zones,
            "[[zone]]\norigin = {origin:?}\nfile = \"{}\"\n{config}\n",
            file.display()
        )
        .unwrap();
        self.files.push((file, text.into()));
        self
    }

    /// Listens for DNS elsewhere than on 127.0.0.1; a TOML list.
    pub fn listen(mut self, listen: &str) -> Self {
        self.listen = listen.into();
        self
    }

    /// Adds a line to `[dns]`.
    pub fn dns_line(mut self, line: &str) -> Self {
        writeln!(self.dns, "{line}").unwrap();
        self
    }

    /// Has the admin API elsewhere than at a port that the system chooses.
    pub fn admin(mut self, address: SocketAddr) -> Self {
        self.admin = address.to_string();
        self
    }

    /// The server's directory: zone files, configuration, data.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Adds a section to the configuration.
    pub fn section(mut self, text: &str) -> Self {
        self.sections += text;
        self
    }

    /// Shell commands that run before the server, in its process: `ulimit` and the like. They hold
    /// for the first start only.
    pub fn limits(mut self, commands: &str) -> Self {
        self.limits = commands.into();
        self
    }

    /// A program that executes the server, with its first arguments. It holds for the first start only.
    pub fn launcher(mut self, words: &[&str]) -> Self {
        self.launcher = words.iter().copied().map(Into::into).collect();
        self
    }

    /// Keeps the links elsewhere than in a SQLite file of its own; the lines of `[store]`.
    pub fn store(mut self, lines: &str) -> Self {
        self.store = Some(lines.into());
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Adds a line to `[store]`.
    pub fn store_line(mut self, line: &str) -> Self {
        let lines = self.store.as_mut().expect("lines of a store of its own");
        writeln!(lines, "{line}").unwrap();
        self
    }

    /// Writes its files, for commands that come before the start, and returns the configuration's path.
    pub fn write(&self) -> PathBuf {
        for (file, text) in &self.files {
            std::fs::write(file, text).unwrap();
        }
        let config = self.dir.path().join("tinyns.toml");
        let data = self.dir.path().join("data");
        let sqlite = || format!("path = \"{}/links.sqlite\"\n", data.display());
        let text = format!(
            "[dns]\nlisten = {listen}\n{dns}{zones}\n[store]\n{store}\
             [admin]\nlisten = \"{admin}\"\ntoken_file = \"{data}/admin.token\"\n\
             [redirect]\nlisten = \"127.0.0.1:0\"\n{sections}",
            sections = self.sections,
            listen = self.listen,
            dns = self.dns,
            admin = self.admin,
            zones = self.zones,
            store = self.store.clone().unwrap_or_else(sqlite),
            data = data.display(),
        );
        std::fs::write(&config, text).unwrap();
        config
    }

    /// Starts the server and waits until all its listeners are there.
    pub fn start(self) -> Server {
        let config = self.write();
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{}\nexec \"$@\"", self.limits), "sh"])
            .args(self.launcher)
            .arg(env!("CARGO_BIN_EXE_tinyns"));
        Server::launch(bare(command), self.dir, config, self.environment)
    }
}

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

    fn launch(
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

    /// What it has logged.
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
        let authorization = format!("Bearer {TOKEN}");
        let headers = [("authorization", authorization.as_str())];
        let url = format!("http://{}{path}", self.admin);
        let body = body.map(|b| ("application/json", b.to_string().into_bytes()));
        try_http(method, &url, &headers, body).ok()
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

    /// What it tells of a link's name.
    pub fn told(&self, name: &str) -> Told {
        Told::of(&self.ask(name, RecordType::TXT))
    }

    /// What it tells of a link's name within this time; none if it says nothing.
    pub fn told_within(&self, name: &str, patience: Duration) -> Option<Told> {
        let packet = query(name, RecordType::TXT).to_bytes().unwrap();
        let reply = self.udp_within(&packet, patience)?;
        Some(Told::of(&parse(&reply)))
    }

    /// Asks again and again until this is told of a name, for at most `patience`.
    pub fn comes_to_tell(&self, name: &str, told: &Told, patience: Duration) {
        let end = Instant::now() + patience;
        loop {
            let now = self.told(name);
            if now == *told {
                return;
            }
            assert!(Instant::now() < end, "{name}: {now:?}, not {told:?}");
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
            include_str!("../src/base/metrics/mod.rs"),
            include_str!("../src/base/metrics/latency.rs"),
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
        reply.json()
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

/// What a server tells of a link's name. Whatever is none of these fails the test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It leads there.
    Url(String),
    /// There is no such link: NXDOMAIN.
    Absent,
    /// That it cannot be known: SERVFAIL, with an extended error if there is one (RFC 8914).
    Unknown(Option<u16>),
}

impl Told {
    /// It leads there.
    pub fn url(url: &str) -> Self {
        Self::Url(url.into())
    }

    fn of(reply: &Message) -> Self {
        match reply.metadata.response_code {
            ResponseCode::NoError => {
                let texts = reply
                    .answers
                    .iter()
                    .filter_map(|record| match &record.data {
                        RData::TXT(txt) => Some(txt.txt_data.concat()),
                        _ => None,
                    });
                let texts: Vec<_> = texts.collect();
                assert_eq!(texts.len(), 1, "{reply:?}");
                Self::Url(String::from_utf8(texts.concat()).unwrap())
            }
            ResponseCode::NXDomain => {
                assert!(reply.answers.is_empty(), "{reply:?}");
                assert_eq!(reply.authorities.len(), 1, "{reply:?}");
                Self::Absent
            }
            ResponseCode::ServFail => {
                let empty = reply.answers.is_empty() && reply.authorities.is_empty();
                assert!(empty, "{reply:?}");
                let edns = reply.edns.as_ref();
                let option = edns.and_then(|edns| edns.option(EdnsCode::Unknown(15)));
                Self::Unknown(option.map(|option| match option {
                    EdnsOption::Unknown(_, data) => u16::from_be_bytes([data[0], data[1]]),
                    other => panic!("{other:?}"),
                }))
            }
            _ => panic!("{reply:?}"),
        }
    }
}

/// Waits until something holds, for at most `patience`.
pub fn eventually(what: &str, patience: Duration, holds: impl Fn() -> bool) {
    let end = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < end, "in {patience:?} not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a trial that has to be over within `limit`, for the clock of the server goes on meanwhile. Where it was
/// not, on a machine that has much else to do, its failure tells nothing, and it is run again, with another number.
pub fn unhurried<T>(limit: Duration, trial: impl Fn(usize) -> T) -> T {
    for number in 0..20 {
        let began = Instant::now();
        match catch_unwind(AssertUnwindSafe(|| trial(number))) {
            Ok(outcome) => return outcome,
            Err(failure) if began.elapsed() < limit => resume_unwind(failure),
            Err(_) => {}
        }
    }
    panic!("no run of the trial was quick enough");
}

/// A child process that does not outlive its test.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the server ---\n{}", self.log.text());
        }
    }
}

/// The program under test.
pub fn tinyns() -> Command {
    bare(Command::new(env!("CARGO_BIN_EXE_tinyns")))
}

/// Without what the environment of the tests might tell it.
fn bare(mut command: Command) -> Command {
    command
        .stdin(Stdio::null())
        .env_remove("TINYNS_CONFIG")
        .env_remove("TINYNS_SERVER")
        .env_remove("TINYNS_ADMIN_TOKEN")
        .env_remove("TINYNS_REDIS_PASSWORD")
        .env_remove("TINYNS_LOG");
    // Whatever AWS account the machine has is not for tests.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// Waits for a process to end.
pub fn wait(child: &mut Child) -> ExitStatus {
    let end = Instant::now() + PATIENCE + PATIENCE;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status,
            None if Instant::now() > end => panic!("the process does not end"),
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// The lines of a server's log, as they come.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn follow(stderr: impl Read + Send + 'static) -> Self {
        let log = Self(Arc::default());
        let lines = log.0.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        log
    }

    /// All of it so far.
    pub fn text(&self) -> String {
        // Also after a test has failed that held it.
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.join("\n")
    }

    /// Reads no more of it for as long as the guard lives: the server's standard error fills up.
    pub fn stall(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap()
    }

    /// Waits for a line with this text and returns it.
    pub fn wait_for(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = {
                let lines = self.0.lock().unwrap();
                lines.iter().find(|line| line.contains(text)).cloned()
            };
            match found {
                Some(line) => return line,
                None if Instant::now() > end => {
                    panic!("no line with {text:?} in the log:\n{}", self.text())
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// The field `address` of the first line with this text.
    fn address(&self, text: &str) -> SocketAddr {
        address_in(&self.wait_for(text))
    }
}

/// The field `address` of a line of the log.
fn address_in(line: &str) -> SocketAddr {
    let line: Value = serde_json::from_str(line).unwrap();
    line["address"].as_str().unwrap().parse().unwrap()
}

/// A query with EDNS, DO clear, size 1,232, RD clear.
pub fn query(name: &str, qtype: RecordType) -> Message {
    let mut message = plain_query(name, qtype);
    let mut edns = Edns::new();
    edns.set_max_payload(1_232);
    message.edns = Some(edns);
    message
}

/// A query without EDNS.
pub fn plain_query(name: &str, qtype: RecordType) -> Message {
    let mut message = Message::new(0x5A17, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), qtype));
    message
}

/// Reads a reply; whatever cannot be read is a failure of the server.
pub fn parse(reply: &[u8]) -> Message {
    Message::from_bytes(reply).expect("the reply is no DNS message")
}

/// A reply by HTTP.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(n, _)| n == name);
        let value = found.next().map(|(_, v)| v.as_str());
        assert!(found.next().is_none(), "{name} twice: {self:?}");
        value
    }
}

/// One HTTP request; redirects are not followed.
pub fn http(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<(&str, Vec<u8>)>,
) -> Reply {
    try_http(method, url, headers, body).unwrap_or_else(|e| panic!("{method} {url}: {e}"))
}

/// The same where there may be nobody who answers.
fn try_http(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<(&str, Vec<u8>)>,
) -> Result<Reply, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = match body {
        Some((kind, body)) => agent.run(request.header("content-type", kind).body(body).unwrap()),
        None => agent.run(request.body(()).unwrap()),
    };
    let mut response = response?;
    Ok(Reply {
        status: response.status().as_u16(),
        headers: response
            .headers()
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned()))
            .collect(),
        body: response.body_mut().read_to_string()?,
    })
}

/// Runs a client program to its end and returns what it printed; it must succeed.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = output(program, args);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {args:?}: {stdout}{stderr}"
    );
    stdout
}

/// Runs a client program to its end.
pub fn output(program: &str, args: &[&str]) -> Output {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}; tests/run.sh installs what tests need"))
}
