//! PostgreSQL servers for tests: each with a data directory and a port of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;
use tinyns::base::clock::Clock;
use tinyns::store::audit::Retention;
use tinyns::store::{PostgresConfig, PostgresOpenError, PostgresStore, PostgresUrl, ReplicaConfig};

use crate::harness::{PATIENCE, free_port};

/// The user and the database of the tests.
const USER: &str = "tinyns";
/// PostgreSQL refuses to run as root. This user exists everywhere.
const NOBODY: u32 = 65_534;

/// Settings of every server. Tests of durability and of replicas change some of them.
const SETTINGS: &[&str] = &[
    "fsync=off",
    "max_connections=60",
    "shared_buffers=16MB",
    "max_wal_senders=4",
    "wal_level=replica",
    "hot_standby=on",
    "logging_collector=off",
    "log_min_messages=warning",
    "autovacuum_naptime=5s",
];

/// A server. It ends with its test.
pub struct Postgres {
    dir: TempDir,
    port: u16,
    settings: Vec<String>,
    process: Option<Child>,
}

impl Postgres {
    /// A server with an empty database, which lets everybody in.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same with further settings, as `name=value`.
    pub fn with(settings: &[&str]) -> Self {
        let mut server = Self::prepared(settings);
        server.start_again();
        server.psql_as(
            "postgres",
            "postgres",
            "CREATE ROLE tinyns LOGIN PASSWORD 'first'",
        );
        server.psql_as(
            "postgres",
            "postgres",
            "CREATE DATABASE tinyns OWNER tinyns ENCODING 'UTF8' TEMPLATE template0",
        );
        server
    }

    /// A data directory of its own, without a server yet.
    fn prepared(settings: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        open_to_all(dir.path());
        let server = Self {
            dir,
            port: free_port(),
            settings: settings.iter().copied().map(Into::into).collect(),
            process: None,
        };
        copy(template(), &server.data());
        server
    }

    /// A replica of this server, which follows it by streaming.
    pub fn replica(&self) -> Self {
        self.replica_through(self.port)
    }

    /// The same with a connection through another port.
    pub fn replica_through(&self, port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        open_to_all(dir.path());
        let mut replica = Self {
            dir,
            port: free_port(),
            settings: self.settings.clone(),
            process: None,
        };
        let data = replica.data();
        own(data.parent().unwrap());
        let source = format!("host=127.0.0.1 port={port} user=postgres");
        run(program("pg_basebackup").args([
            "-D",
            data.to_str().unwrap(),
            "-d",
            &source,
            "-R",
            "-c",
            "fast",
        ]));
        replica.start_again();
        replica
    }

    /// Starts the server again with the same data, and waits until it accepts connections.
    pub fn start_again(&mut self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let child = self.launch();
            self.process = Some(child);
            if self.is_up(end) {
                return;
            }
            // After a kill, a child of the former server may not have ended yet.
            assert!(
                Instant::now() < end,
                "PostgreSQL does not start: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn launch(&self) -> Child {
        let mut command = program("postgres");
        let port = self.port.to_string();
        command.args([
            "-D",
            self.data().to_str().unwrap(),
            "-p",
            &port,
            "-h",
            "127.0.0.1",
        ]);
        command.args(["-k", self.dir.path().to_str().unwrap()]);
        let own = self.settings.iter().map(String::as_str);
        for setting in SETTINGS.iter().copied().chain(own) {
            command.args(["-c", setting]);
        }
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"));
        let log = log.unwrap();
        command
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Waits for the server. False if it ends instead.
    fn is_up(&mut self, end: Instant) -> bool {
        loop {
            if self
                .try_psql("postgres", "postgres", "SELECT 1")
                .status
                .success()
            {
                return true;
            }
            let child = self.process.as_mut().unwrap();
            if child.try_wait().unwrap().is_some() || Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Adds settings for later starts.
    pub fn set(&mut self, settings: &[&str]) {
        let settings = settings.iter().copied().map(Into::into);
        self.settings.extend(settings);
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Its address.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where its database is.
    pub fn url(&self) -> String {
        format!("postgresql://{USER}@{}/{USER}", self.host())
    }

    /// The first process of the server.
    fn pid(&self) -> Pid {
        let child = self.process.as_ref().expect("the server runs");
        Pid::from_raw(child.id().try_into().unwrap())
    }

    fn end(&mut self, signal: Signal) {
        if self.process.is_some() {
            kill(self.pid(), signal).unwrap();
            let mut child = self.process.take().unwrap();
            child.wait().unwrap();
        }
    }

    /// Ends the server without any warning, as a crash does.
    pub fn kill(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// Ends the server: it ends all sessions and writes everything to the disk.
    pub fn stop(&mut self) {
        self.end(Signal::SIGINT);
    }

    /// Has the server read its files again.
    pub fn reload(&self) {
        kill(self.pid(), Signal::SIGHUP).unwrap();
    }

    /// Stops the server from doing anything, as a network that drops all packets would.
    pub fn freeze(&self) {
        // The first process makes all others, so after it has stopped there are no new ones.
        let mut before = Vec::new();
        loop {
            let pids = self.pids();
            for pid in &pids {
                let _ = kill(*pid, Signal::SIGSTOP);
            }
            if pids == before {
                return;
            }
            before = pids;
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        for pid in self.pids() {
            let _ = kill(pid, Signal::SIGCONT);
        }
    }

    /// All processes of the server.
    fn pids(&self) -> Vec<Pid> {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children
            .split_whitespace()
            .map(|pid| Pid::from_raw(pid.parse().unwrap()));
        std::iter::once(pid).chain(children).collect()
    }

    /// Makes a replica the server that takes changes, and waits until it does.
    pub fn promote(&self) {
        self.psql_as("postgres", "postgres", "SELECT pg_promote(true, 30)");
    }

    /// Has a replica replay nothing more, and waits until it does not.
    pub fn pause_replay(&self) {
        self.psql_as("postgres", "postgres", "SELECT pg_wal_replay_pause()");
        let end = Instant::now() + PATIENCE;
        let state = "SELECT pg_get_wal_replay_pause_state()";
        while self.psql_as("postgres", "postgres", state) != "paused" {
            assert!(Instant::now() < end, "it does not pause");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Has a replica replay again.
    pub fn resume_replay(&self) {
        self.psql_as("postgres", "postgres", "SELECT pg_wal_replay_resume()");
    }

    /// Replaces the rules about who may connect how.
    pub fn set_rules(&self, rules: &str) {
        fs::write(self.data().join("pg_hba.conf"), rules).unwrap();
    }

    /// Puts a file into the data directory, which only the server may read.
    pub fn put_file(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let file = self.data().join(name);
        fs::write(&file, text).unwrap();
        own(&file);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Runs SQL as the user of the tests; returns the rows.
    pub fn psql(&self, sql: &str) -> String {
        self.psql_as(USER, USER, sql)
    }

    /// Runs SQL as a user, in a database.
    pub fn psql_as(&self, user: &str, database: &str, sql: &str) -> String {
        let output = self.try_psql(user, database, sql);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {stderr}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    /// Puts the database of the tests into that of another server, by a dump.
    pub fn dump_into(&self, other: &Self) {
        let place = |server: &Self| {
            let directory = server.dir.path().to_str().unwrap().to_owned();
            let port = server.port.to_string();
            [
                "-h".into(),
                directory,
                "-p".into(),
                port,
                "-U".into(),
                USER.into(),
            ]
        };
        let file = self.dir.path().join("dump.sql");
        let mut dump = Command::new(directory().join("pg_dump"));
        run(dump.args(place(self)).arg("-f").arg(&file).arg(USER));
        let mut restore = Command::new(directory().join("psql"));
        restore.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]);
        run(restore
            .args(place(other))
            .args(["-d", USER])
            .arg("-f")
            .arg(&file));
    }

    fn try_psql(&self, user: &str, database: &str, sql: &str) -> Output {
        Command::new(directory().join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .args([
                "-h",
                self.dir.path().to_str().unwrap(),
                "-p",
                &self.port.to_string(),
            ])
            .args(["-U", user, "-d", database, "-c", sql])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A test that fails may leave it frozen, and then it would never end.
        if self.process.is_some() {
            self.thaw();
        }
        self.end(Signal::SIGQUIT);
    }
}

/// A network between a server and PostgreSQL, which can lose all packets.
pub struct Wire {
    port: u16,
    whole: Arc<AtomicBool>,
}

impl Wire {
    /// A network that leads to a server. It lasts as long as the test program.
    pub fn to(server: &Postgres) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let whole = Arc::new(AtomicBool::new(true));
        let (target, state) = (server.host(), whole.clone());
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let (target, state) = (target.clone(), state.clone());
                std::thread::spawn(move || {
                    wait_for(&state);
                    let Ok(far) = TcpStream::connect(&target) else {
                        return;
                    };
                    let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                    let back = state.clone();
                    std::thread::spawn(move || carry(far_too, near_too, &back));
                    carry(near, far, &state);
                });
            }
        });
        Self { port, whole }
    }

    /// Loses all packets from now on.
    pub fn cut(&self) {
        self.whole.store(false, Ordering::Relaxed);
    }

    /// Carries packets again.
    pub fn mend(&self) {
        self.whole.store(true, Ordering::Relaxed);
    }

    /// Where the database is, by this network.
    pub fn url(&self) -> String {
        format!("postgresql://{USER}@127.0.0.1:{}/{USER}", self.port)
    }
}

fn wait_for(whole: &AtomicBool) {
    while !whole.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Carries bytes until either end closes.
fn carry(mut from: TcpStream, mut to: TcpStream, whole: &AtomicBool) {
    let mut bytes = [0; 16_384];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        wait_for(whole);
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// The usual settings for a URL, with a replica.
pub fn config_near(url: &str, replica: &Postgres, lag: Duration) -> PostgresConfig {
    let url_near = PostgresUrl::parse_replica(&replica.url()).unwrap();
    PostgresConfig {
        replica: Some(ReplicaConfig { url: url_near, lag }),
        ..config(url)
    }
}

/// The usual settings for a URL.
pub fn config(url: &str) -> PostgresConfig {
    PostgresConfig {
        url: PostgresUrl::parse(url).unwrap(),
        password_file: None,
        ca_file: None,
        certificate: None,
        key: None,
        pool: 12,
        statement_timeout: Duration::from_secs(5),
        audit: Some(Retention {
            // The tests have times of their own.
            keep: 36_500 * 24 * 60 * 60,
            ..Retention::default()
        }),
        replica: None,
    }
}

/// Opens the store at a URL.
pub async fn open(config: &PostgresConfig) -> Result<PostgresStore, PostgresOpenError> {
    PostgresStore::open(config, Clock::default()).await
}

/// The directory of PostgreSQL's programs: of the latest version, 12 or later. Debian does not put it into the PATH.
fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let version = |entry: &fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
        let versions = versions.flatten().filter_map(|entry| version(&entry));
        if let Some(latest) = versions.filter(|version| *version >= 12).max() {
            return format!("/usr/lib/postgresql/{latest}/bin").into();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directory = std::env::split_paths(&path).find(|dir| dir.join("initdb").exists());
        directory.expect("PostgreSQL 12 or later is needed; tests/run.sh installs what tests need")
    })
}

/// A program of PostgreSQL, as a user that is not root.
fn program(name: &str) -> Command {
    let program = directory().join(name);
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let id = NOBODY.to_string();
    command
        .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
        .arg(program)
        // The directory of the tests may be closed to this user.
        .current_dir("/");
    command
}

/// A data directory without a database of the tests, for copies. It is made once, and stays for later runs.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let version = directory()
            .parent()
            .and_then(Path::file_name)
            .unwrap_or_default();
        let name = format!("postgres-{}", version.to_str().unwrap_or_default());
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        if !made.exists() {
            let dir = tempfile::tempdir().unwrap();
            open_to_all(dir.path());
            own(dir.path());
            let data = dir.path().join("data");
            run(program("initdb")
                .args(["-D", data.to_str().unwrap(), "-U", "postgres"])
                .args([
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "--locale=C",
                    "--wal-segsize=1",
                    "-N",
                ]));
            // Another run of the tests may do the same: whichever is first wins.
            let own = made.with_extension(std::process::id().to_string());
            copy(&data, &own);
            if fs::rename(&own, &made).is_err() {
                let _ = fs::remove_dir_all(&own);
            }
        }
        made
    })
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .args([from, to]));
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
}

/// Gives a file or directory to the user that PostgreSQL runs as.
fn own(path: &Path) {
    if geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// Lets other users into a directory, also into its socket.
fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}
