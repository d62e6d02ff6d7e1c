//! Pebble, the ACME directory for tests, with a certificate of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{PATIENCE, Process, eventually, free_port, output};
use crate::redis::make_certificates_for;

/// The names of the servers of a directory.
const NAMES: &str = "DNS:localhost,IP:127.0.0.1";

/// How Pebble behaves.
pub struct Options {
    /// The name server that it asks.
    pub dns: SocketAddr,
    /// Of how many requests in a hundred it refuses the nonce.
    pub bad_nonces: u8,
    /// Whether it takes any challenge for right, without a look.
    pub always_valid: bool,
    /// How long its certificates last, in seconds.
    pub lifetime: u64,
    /// External accounts: identifier and key in base64url. If there are any, it requires one.
    pub external: Vec<(&'static str, &'static str)>,
    /// Names for which it refuses orders.
    pub blocked: Vec<&'static str>,
}

impl Options {
    pub fn new(dns: SocketAddr) -> Self {
        Self {
            dns,
            bad_nonces: 0,
            always_valid: false,
            lifetime: 90 * 24 * 60 * 60,
            external: Vec::new(),
            blocked: Vec::new(),
        }
    }
}

/// A certificate for the servers of a directory on this host, and its authority.
pub struct Identity(TempDir);

impl Identity {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        make_certificates_for(dir.path(), NAMES);
        Self(dir)
    }

    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    pub fn ca(&self) -> PathBuf {
        self.dir().join("ca.pem")
    }

    /// The body that curl gets from a server with this certificate; none if there is no such server, or it refuses.
    pub fn curl(&self, url: &str) -> Option<String> {
        let ca = self.ca().display().to_string();
        let output = output("curl", &["-sSf", "--max-time", "5", "--cacert", &ca, url]);
        let body = String::from_utf8(output.stdout).unwrap();
        output.status.success().then_some(body)
    }
}

/// A running Pebble; it is killed when dropped.
pub struct Pebble {
    process: Process,
    pub identity: Identity,
    pub address: SocketAddr,
    management: SocketAddr,
}

impl Pebble {
    pub fn start(options: &Options) -> Self {
        let port = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self::start_at(port(), options)
    }

    pub fn start_at(address: SocketAddr, options: &Options) -> Self {
        Self::start_as(Identity::new(), address, options)
    }

    pub fn start_as(identity: Identity, address: SocketAddr, options: &Options) -> Self {
        let management = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let file = |name: &str| identity.dir().join(name).display().to_string();
        let keys: Value = options
            .external
            .iter()
            .map(|(id, key)| ((*id).to_owned(), json!(key)))
            .collect();
        let config = json!({ "pebble": {
            "listenAddress": address,
            "managementListenAddress": management,
            "certificate": file("server.pem"),
            "privateKey": file("server.key"),
            "httpPort": 5002,
            "tlsPort": 5001,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": !options.external.is_empty(),
            "externalAccountMACKeys": keys,
            "domainBlocklist": options.blocked,
            "certificateValidityPeriod": options.lifetime,
        }});
        std::fs::write(file("pebble.json"), config.to_string()).unwrap();
        let mut command = Command::new("pebble");
        command
            .args([
                "-config",
                &file("pebble.json"),
                "-dnsserver",
                &options.dns.to_string(),
            ])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", options.bad_nonces.to_string())
            .env("PEBBLE_AUTHZREUSE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if options.always_valid {
            command.env("PEBBLE_VA_ALWAYS_VALID", "1");
        }
        let process = command.spawn().map(Process);
        let process = process.unwrap_or_else(|e| panic!("pebble: {e}; tests/run.sh installs it"));
        let pebble = Self {
            process,
            identity,
            address,
            management,
        };
        eventually("Pebble serves", PATIENCE, || pebble.root().is_some());
        pebble
    }

    /// Stops it. It keeps nothing.
    pub fn stop(mut self) -> (Identity, SocketAddr) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
        (self.identity, self.address)
    }

    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.address.port())
    }

    /// The root certificate of those that it issues, in PEM.
    fn root(&self) -> Option<String> {
        let url = format!("https://localhost:{}/roots/0", self.management.port());
        self.identity.curl(&url)
    }

    /// The file of the root certificate of those that it issues.
    pub fn root_file(&self) -> PathBuf {
        let file = self.identity.dir().join("root.pem");
        std::fs::write(&file, self.root().unwrap()).unwrap();
        file
    }
}
