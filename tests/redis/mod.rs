//! Redis for tests: servers, a cluster and sentinels of their own, and a wire that breaks.

mod cluster;
mod sentinel;
mod wire;

use std::fmt::Debug;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

pub use cluster::RedisCluster;
pub use sentinel::{MASTER, Sentinels};
pub use wire::{Fault, Wire};

use crate::dynamo::Emulator;
use crate::harness::{PATIENCE, Process, Server, Setup, eventually, free_port, output, run};

/// The password of a secured server.
pub const PASSWORD: &str = "redis-password-0123456789";

/// A redis-server of its own, on loopback; it is killed when dropped, also while it is paused.
pub struct RedisServer {
    process: Option<Process>,
    port: u16,
    port_text: String,
    dir: TempDir,
    /// Arguments with which redis-cli reaches it.
    access: Vec<String>,
    secured: bool,
    /// The last argument of the program itself, if any.
    mode: Option<&'static str>,
}

impl RedisServer {
    /// An empty one that saves nothing.
    pub fn start() -> Self {
        Self::with("")
    }

    /// The same with further lines of its configuration.
    pub fn with(lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let server = Self::new(dir, port, &format!("port {port}\n{lines}"));
        server.launched()
    }

    /// One that speaks TLS, with a certificate of an authority of the tests' own, and wants
    /// [`PASSWORD`].
    pub fn secured() -> Self {
        Self::with_tls(false)
    }

    /// The same, and it takes only clients with a certificate of that authority.
    pub fn that_knows_its_clients() -> Self {
        Self::with_tls(true)
    }

    fn with_tls(clients: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display().to_string();
        make_certificates(dir.path());
        let port = free_port();
        let auth = if clients { "yes" } else { "no" };
        let lines = format!(
            "port 0\ntls-port {port}\ntls-cert-file {path}/server.pem\ntls-key-file \
             {path}/server.key\ntls-ca-cert-file {path}/ca.pem\ntls-auth-clients {auth}\n\
             requirepass {PASSWORD}\n"
        );
        let [ca, certificate, key] =
            ["ca.pem", "server.pem", "server.key"].map(|file| format!("{path}/{file}"));
        let access = [
            "--cert",
            &certificate,
            "--key",
            &key,
            "--tls",
            "--cacert",
            &ca,
            "--no-auth-warning",
            "-a",
            PASSWORD,
        ];
        let mut server = Self::new(dir, port, &lines);
        server.access = access.iter().map(|s| (*s).into()).collect();
        server.secured = true;
        server.launched()
    }

    /// One that does not run yet.
    fn new(dir: TempDir, port: u16, lines: &str) -> Self {
        let text = format!(
            "bind 127.0.0.1\ndir {dir}\nlogfile {dir}/log\nsave \"\"\nappendonly no\n\
             daemonize no\nrepl-diskless-sync-delay 0\n{lines}",
            dir = dir.path().display(),
        );
        std::fs::write(dir.path().join("redis.conf"), text).unwrap();
        Self {
            process: None,
            port,
            port_text: port.to_string(),
            dir,
            access: Vec::new(),
            secured: false,
            mode: None,
        }
    }

    fn launched(mut self) -> Self {
        self.run();
        self
    }

    /// Starts the process and waits until it serves.
    fn run(&mut self) {
        let child = Command::new("redis-server")
            .arg(self.dir.path().join("redis.conf"))
            .args(self.mode)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("redis-server: {e}; tests/run.sh installs it"));
        self.process = Some(Process(child));
        let end = Instant::now() + PATIENCE;
        while self.try_cli(&["ping"]).as_deref() != Some("PONG") {
            assert!(Instant::now() < end, "{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its log.
    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub fn url(&self) -> String {
        let scheme = if self.secured { "rediss" } else { "redis" };
        format!("{scheme}://{}", self.address())
    }

    /// A certificate that a server of [`Self::that_knows_its_clients`] takes, and its key: its own.
    pub fn client_files(&self) -> [String; 2] {
        ["server.pem", "server.key"].map(|file| self.dir.path().join(file).display().to_string())
    }

    /// The certificate of the authority of a secured server.
    pub fn ca_file(&self) -> String {
        self.dir.path().join("ca.pem").display().to_string()
    }

    fn signal(&self, signal: Signal) {
        let child = &self.process.as_ref().expect("it runs").0;
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Stops it in its tracks: it accepts connections and says nothing.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Kills it without warning.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Writes its data to disk, for [`Self::restart_with_saved`].
    pub fn save(&self) {
        assert_eq!(self.cli(&["save"]), "OK");
    }

    /// Kills it if it runs, and starts it on the same port with nothing in it.
    pub fn restart_empty(&mut self) {
        self.kill();
        let _ = std::fs::remove_file(self.dir.path().join("dump.rdb"));
        self.run();
    }

    /// Kills it if it runs, and starts it on the same port with the data that was saved last.
    pub fn restart_with_saved(&mut self) {
        self.kill();
        assert!(self.dir.path().join("dump.rdb").exists());
        self.run();
    }

    /// Runs a command by redis-cli and returns what it printed, without the last line break.
    pub fn cli(&self, command: &[&str]) -> String {
        let text = run("redis-cli", &self.arguments(command));
        text.trim_end_matches('\n').into()
    }

    /// Whether it refuses a command.
    pub fn refuses(&self, command: &[&str]) -> bool {
        self.try_cli(command).is_none()
    }

    /// The same for a server that may not be there.
    fn try_cli(&self, command: &[&str]) -> Option<String> {
        let output = output("redis-cli", &self.arguments(command));
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim_end().into())
    }

    fn arguments<'a>(&'a self, command: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["-e", "-h", "127.0.0.1", "-p", &self.port_text];
        all.extend(self.access.iter().map(String::as_str));
        all.extend_from_slice(command);
        all
    }

    /// All its keys.
    pub fn keys(&self) -> Vec<String> {
        self.cli(&["keys", "*"]).lines().map(Into::into).collect()
    }

    /// Its value for a link's name, if there is one. It must be JSON.
    pub fn held(&self, name: &str) -> Option<Value> {
        let text = self.cli(&["get", &key(name)]);
        let json = |text| serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        (!text.is_empty()).then(|| json(&text))
    }

    /// How long it still holds a key, in milliseconds; negative if for ever or not at all.
    pub fn pttl(&self, key: &str) -> i64 {
        self.cli(&["pttl", key]).parse().unwrap()
    }
}

/// The key of a link's name.
pub fn key(name: &str) -> String {
    format!("tinyns:link:{name}")
}

/// An authority, and a certificate for 127.0.0.1 and the name server's name that it has signed.
pub fn make_certificates(dir: &Path) {
    make_certificates_for(dir, "IP:127.0.0.1,DNS:ns1.s.example.com");
}

/// The same with these names, as openssl writes a subjectAltName.
pub fn make_certificates_for(dir: &Path, names: &str) {
    let file = |name: &str| dir.join(name).display().to_string();
    let (ca, ca_key) = (file("ca.pem"), file("ca.key"));
    let new = [
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ];
    let openssl = |more: &[&str]| run_quietly("openssl", more);
    let own = [
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=tests",
        "-keyout",
        &ca_key,
        "-out",
        &ca,
    ];
    openssl(&[&new[..], &own].concat());
    let (server, request) = (file("server.pem"), file("server.csr"));
    let server_key = file("server.key");
    let asked = [
        "-subj",
        "/CN=redis",
        "-keyout",
        &server_key,
        "-out",
        &request,
    ];
    openssl(&[&new[..], &asked].concat());
    let extensions = file("extensions");
    std::fs::write(&extensions, format!("subjectAltName={names}\n")).unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        &request,
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        &extensions,
        "-out",
        &server,
    ]);
}

/// Runs a program that reports its progress on standard error.
fn run_quietly(program: &str, args: &[&str]) {
    let output = output(program, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
}

/// The default lines of `[redis]` in tests. A busy machine may take more than a tenth of a second to answer.
pub const LINES: &str = "timeout_ms = 500\nwarm_load = false\n";
/// Memory that is not refreshed during a test, except after an announced change.
pub const LONG_MEMORY: &str = "[cache]\nrefresh = 600\nabsent = 600\n";

/// A server with its links in the table at this endpoint, which does not read the stream of the table, behind the Redis at this URL, or at one of
/// several.
pub fn setup(table: &str, redis: impl Debug, redis_lines: &str) -> Setup {
    Setup::new()
        .store(&format!(
            "kind = \"dynamodb\"\nendpoint_url = \"{table}\"\ncreate_table = true\nfeed = false\n"
        ))
        .section(&format!("[redis]\nurl = {redis:?}\n{redis_lines}"))
}

/// Waits until a server hears of the changes that others make.
pub fn followed(server: Server) -> Server {
    eventually("it follows the changes", PATIENCE, || {
        server.metric("tinyns_changes_following", &[]) == 1.0
    });
    server
}

/// One table and one Redis, for any number of servers.
pub struct Fleet {
    pub emulator: Emulator,
    pub redis: RedisServer,
}

impl Fleet {
    pub fn start() -> Self {
        Self::with(RedisServer::start())
    }

    pub fn with(redis: RedisServer) -> Self {
        let emulator = Emulator::start();
        Self { emulator, redis }
    }

    /// A server with nothing between it and the two, which has long memory and hears of changes.
    pub fn node(&self) -> Server {
        followed(self.setup(LINES).section(LONG_MEMORY).start())
    }

    /// The setup of such a server, without the memory section. Further lines of `[redis]` may follow.
    pub fn setup(&self, redis_lines: &str) -> Setup {
        setup(&self.emulator.url(), self.redis.url(), redis_lines)
    }
}
