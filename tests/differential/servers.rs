//! tinyns, Knot DNS and NSD with the same zones.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{PATIENCE, Process, free_port};

/// How often a server is started that finds its port taken.
const STARTS: usize = 5;
/// The largest message by TCP.
const MAX_MESSAGE: usize = 65_535;

/// A zone: its origin without the last dot, and its master file.
pub type Zone<'z> = (&'z str, String);

/// A way to a server, by both protocols.
pub struct Client {
    address: SocketAddr,
    socket: UdpSocket,
    /// Queries come one after the other by one connection; a server may close it at any time.
    stream: RefCell<Option<TcpStream>>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            address,
            socket,
            stream: RefCell::default(),
        }
    }

    /// The reply by UDP to a query, which is known by its id and question.
    pub fn udp(&self, query: &[u8]) -> std::io::Result<Vec<u8>> {
        self.socket.send(query)?;
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            let len = self.socket.recv(&mut buffer)?;
            if buffer[..2] == query[..2] {
                return Ok(buffer[..len].to_vec());
            }
        }
    }

    /// The reply by TCP to a query.
    pub fn tcp(&self, query: &[u8]) -> std::io::Result<Vec<u8>> {
        let kept = self.stream.borrow_mut().take();
        if let Some(reply) = kept.and_then(|stream| self.exchange(stream, query).ok()) {
            return Ok(reply);
        }
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        self.exchange(stream, query)
    }

    fn exchange(&self, mut stream: TcpStream, query: &[u8]) -> std::io::Result<Vec<u8>> {
        let len = u16::try_from(query.len()).unwrap();
        stream.write_all(&[&len.to_be_bytes(), query].concat())?;
        let mut len = [0; 2];
        stream.read_exact(&mut len)?;
        let mut reply = vec![0; u16::from_be_bytes(len).into()];
        stream.read_exact(&mut reply)?;
        *self.stream.borrow_mut() = Some(stream);
        Ok(reply)
    }
}

/// A server that is not tinyns; it is killed when dropped.
pub struct Other {
    pub name: &'static str,
    pub client: Client,
    _process: Process,
    _dir: TempDir,
}

impl Other {
    /// NSD, as it comes but for what a test needs: no limit on one client's queries, and no more
    /// records in a reply than the question asks for.
    pub fn nsd(zones: &[Zone<'_>]) -> Self {
        Self::start("nsd", zones, |dir, port, zones| {
            let config = format!(
                "server:\n ip-address: 127.0.0.1\n port: {port}\n server-count: 1\n username: \"\"\n \
                 chroot: \"\"\n zonesdir: \"{dir}\"\n database: \"\"\n pidfile: \"{dir}/nsd.pid\"\n \
                 xfrdfile: \"{dir}/xfrd.state\"\n zonelistfile: \"{dir}/zone.list\"\n \
                 minimal-responses: yes\n ipv4-edns-size: 1232\n rrl-ratelimit: 0\n \
                 rrl-whitelist-ratelimit: 0\nremote-control:\n control-enable: no\n",
                dir = dir.display()
            );
            let zone = |origin: &str| {
                let file = file_name(origin);
                format!("zone:\n name: \"{origin}\"\n zonefile: \"{file}\"\n")
            };
            let zones: String = zones.iter().map(|(origin, _)| zone(origin)).collect();
            std::fs::write(dir.join("nsd.conf"), config + &zones).unwrap();
            let mut command = Command::new("nsd");
            command.args(["-d", "-c"]).arg(dir.join("nsd.conf"));
            command
        })
    }

    /// Knot DNS as it comes.
    pub fn knot(zones: &[Zone<'_>]) -> Self {
        Self::start("knotd", zones, |dir, port, zones| {
            std::fs::write(dir.join("knot.conf"), knot_config(dir, port, zones)).unwrap();
            let mut command = Command::new("knotd");
            command.arg("-c").arg(dir.join("knot.conf"));
            command
        })
    }

    /// Knot DNS that signs its zones with one key each: answer by answer with one NSEC record that
    /// covers next to nothing, or all of a zone beforehand with a chain of NSEC records.
    pub fn knot_signing(zones: &[Zone<'_>], online: bool) -> Self {
        Self::start("knotd", zones, |dir, port, zones| {
            let policy = "policy:\n  - id: one-key\n    algorithm: ecdsap256sha256\n    \
                          single-type-signing: on\n    rrsig-lifetime: 14d\n    rrsig-refresh: 7d\n\
                          mod-onlinesign:\n  - id: online\n    policy: one-key\nzone:\n";
            let signing = match online {
                true => "    module: mod-onlinesign/online\n",
                false => "    dnssec-signing: on\n    dnssec-policy: one-key\n",
            };
            let config = knot_config(dir, port, zones).replace("zone:\n", policy);
            let none = "    journal-content: none";
            let config = config.replace(none, &format!("{signing}{none}"));
            std::fs::write(dir.join("knot.conf"), config).unwrap();
            let mut command = Command::new("knotd");
            command.arg("-c").arg(dir.join("knot.conf"));
            command
        })
    }

    /// Knot DNS with its module geoip: lines of its configuration, and its map from networks or places to records.
    pub fn knot_by_place(zones: &[Zone<'_>], module: &str, map: &str) -> Self {
        Self::start("knotd", zones, |dir, port, zones| {
            let file = dir.join("geoip.conf");
            std::fs::write(&file, map).unwrap();
            let config = knot_config(dir, port, zones);
            let config = config.replace("server:\n", "server:\n  edns-client-subnet: on\n");
            let module = format!(
                "mod-geoip:\n  - id: places\n    config-file: {}\n    ttl: 60\n{module}zone:\n",
                file.display()
            );
            let config = config.replace("zone:\n", &module);
            let none = "    journal-content: none";
            let config = config.replace(none, &format!("    module: mod-geoip/places\n{none}"));
            std::fs::write(dir.join("knot.conf"), config).unwrap();
            let mut command = Command::new("knotd");
            command.arg("-c").arg(dir.join("knot.conf"));
            command
        })
    }

    /// gdnsd with its plugin geoip: `map` is the contents of a map, and `centres` says which addresses `www` in the zone has by
    /// data centre.
    pub fn gdnsd_by_place(origin: &str, map: &str, centres: &str) -> Self {
        let zone = "@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\n@ NS ns2\nns1 A 192.0.2.1\nns2 A 192.0.2.2\n\
            www 60 DYNA geoip!places\n";
        Self::start("gdnsd", &[(origin, zone.to_owned())], |dir, port, zones| {
            let own = dir.join("gdnsd");
            std::fs::create_dir_all(own.join("zones")).unwrap();
            for (origin, text) in zones {
                std::fs::write(own.join("zones").join(origin), text).unwrap();
            }
            let config = format!(
                "options => {{\n  listen => [ 127.0.0.1:{port} ]\n  run_dir => {0}/run\n  state_dir => {0}/state\n\
                 udp_threads => 1\n  tcp_threads => 1\n}}\nplugins => {{ geoip => {{\n\
                 maps => {{ places => {{\n{map}}} }}\n\
                 resources => {{ places => {{ map => places, dcmap => {{\n{centres}}} }} }}\n}} }}\n",
                own.display()
            );
            std::fs::write(own.join("config"), config).unwrap();
            let mut command = Command::new("gdnsd");
            command.arg("-c").arg(own).arg("start");
            command
        })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.client.address
    }

    fn start(
        name: &'static str,
        zones: &[Zone<'_>],
        command: impl Fn(&Path, u16, &[Zone<'_>]) -> Command,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_zones(dir.path(), zones);
        for _ in 0..STARTS {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            let log = File::create(dir.path().join("log")).unwrap();
            let mut process = command(dir.path(), address.port(), zones)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .map(Process)
                .unwrap_or_else(|e| panic!("{name}: {e}; tests/run.sh installs what tests need"));
            let client = Client::new(address);
            let end = Instant::now() + PATIENCE;
            while process.0.try_wait().unwrap().is_none() {
                if zones.iter().all(|(origin, _)| is_loaded(address, origin)) {
                    return Self {
                        name,
                        client,
                        _process: process,
                        _dir: dir,
                    };
                }
                assert!(
                    Instant::now() < end,
                    "{name} does not answer:\n{}",
                    log_of(dir.path())
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("{name} does not start:\n{}", log_of(dir.path()));
    }
}

fn knot_config(dir: &Path, port: u16, zones: &[Zone<'_>]) -> String {
    let mut config = format!(
        "server:\n  listen: 127.0.0.1@{port}\n  rundir: {dir}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\nlog:\n  - target: stderr\n    any: warning\n\
         database:\n  storage: {dir}/storage\nzone:\n",
        dir = dir.display()
    );
    for (origin, _) in zones {
        let file = dir.join(file_name(origin));
        // No checks of legality: the test compares answers.
        writeln!(
            config,
            "  - domain: {origin}\n    file: {}\n    semantic-checks: off\n    zonefile-sync: -1\n    \
             journal-content: none",
            file.display()
        )
        .unwrap();
    }
    std::fs::create_dir_all(dir.join("storage")).unwrap();
    config
}

/// The name of a zone's file, whatever the zone is called.
pub fn file_name(origin: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let plain = origin.replace(|c| !is_plain(c), "_");
    format!("{plain}.zone")
}

/// An origin with its last dot.
pub fn absolute(origin: &str) -> String {
    match origin {
        "." => ".".into(),
        origin => format!("{origin}."),
    }
}

fn write_zones(dir: &Path, zones: &[Zone<'_>]) {
    for (origin, text) in zones {
        std::fs::write(dir.join(file_name(origin)), text).unwrap();
    }
}

/// The lines of a zone that NSD's or Knot's own checker does not read.
pub fn unread_lines(program: &str, zone: &Zone<'_>) -> Vec<usize> {
    let dir = tempfile::tempdir().unwrap();
    write_zones(dir.path(), std::slice::from_ref(zone));
    let file = dir.path().join(file_name(zone.0));
    let mut command = match program {
        "nsd" => {
            let mut command = Command::new("nsd-checkzone");
            command.arg(zone.0).arg(&file);
            command
        }
        _ => {
            // No server listens there: only the checker reads the configuration.
            let config = knot_config(dir.path(), 53, std::slice::from_ref(zone));
            std::fs::write(dir.path().join("knot.conf"), config).unwrap();
            let mut command = Command::new("knotc");
            let config = dir.path().join("knot.conf");
            command.arg("-c").arg(config).args(["zone-check", zone.0]);
            command
        }
    };
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("{e}; tests/run.sh installs what tests need"));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    // `file.zone:12: what`, and `file 'file.zone', line 12 (what)`.
    let line = |text: &str| {
        let after = text
            .split(".zone:")
            .nth(1)
            .or(text.split(", line ").nth(1))?;
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    let errors = text.lines().filter(|line| line.contains("error"));
    errors.filter_map(line).collect()
}

fn is_loaded(address: SocketAddr, origin: &str) -> bool {
    // A socket of its own: a late reply to this query must not pass for that to another.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let patience = Duration::from_millis(200);
    socket.set_read_timeout(Some(patience)).unwrap();
    let mut query = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend(super::message::name(&absolute(origin), b""));
    query.extend([0, 6, 0, 1]);
    let mut buffer = [0; MAX_MESSAGE];
    let sent = socket.connect(address).and_then(|()| socket.send(&query));
    let got = sent.and_then(|_| socket.recv(&mut buffer));
    got.is_ok_and(|len| len > 12 && buffer[3] & 0xF == 0 && buffer[7] == 1)
}

fn log_of(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap_or_default()
}
