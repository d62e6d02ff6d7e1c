//! Two more validating resolvers: PowerDNS Recursor, and Knot Resolver, which synthesises answers from cached NSEC
//! records (RFC 8198).

use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::anchor::Anchor;
use super::judges::{Judgement, Question, ask_resolver, number, of_reply};
use crate::harness::{PATIENCE, Process, free_port};

/// The program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    PowerDns,
    Knot,
}

/// A resolver; it is killed when dropped.
pub struct Resolver {
    pub kind: Kind,
    address: SocketAddr,
    _process: Process,
    dir: TempDir,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::PowerDns, Self::Knot];

    /// Whether the program supports a question. Knot Resolver does not forward all types. PowerDNS Recursor 4.8 does not
    /// know RT (21) and PX (26), so it does not lower the case of the names in their rdata; and it lowers the case of the
    /// names in LP (107), which only the types of RFC 4034 §6.2 need.
    pub fn can_judge(self, (_, qtype): Question<'_>) -> bool {
        match self {
            Self::PowerDns => !["TYPE21", "TYPE26", "TYPE107"].contains(&qtype),
            Self::Knot => qtype != "ANY",
        }
    }

    fn command(self, dir: &Path, port: u16, anchor: &Anchor, zones: &str) -> Command {
        let path = dir.display();
        match self {
            Self::PowerDns => {
                let mut lua = String::new();
                for ds in &anchor.ds {
                    writeln!(lua, "addTA(\"{}\", \"{ds}\")", anchor.origin).unwrap();
                }
                let config = format!(
                    "local-address=127.0.0.1\nlocal-port={port}\nsocket-dir={path}\nthreads=1\n\
                     daemon=no\nwrite-pid=no\nsetuid=\nsetgid=\nsecurity-poll-suffix=\nhint-file=no\n\
                     dont-query=\ndnssec=validate\nlua-config-file={path}/anchors.lua\n\
                     forward-zones={zones}\n"
                );
                std::fs::write(dir.join("anchors.lua"), lua).unwrap();
                std::fs::write(dir.join("recursor.conf"), config).unwrap();
                let mut command = Command::new("pdns_recursor");
                command.arg(format!("--config-dir={path}"));
                command
            }
            Self::Knot => {
                // All features that query the root servers are off.
                let mut lua = format!(
                    "net.listen('127.0.0.1', {port}, {{ kind = 'dns' }})\ncache.size = 10 * MB\n\
                     modules.unload('priming')\nmodules.unload('ta_update')\n\
                     modules.unload('ta_signal_query')\nmodules.unload('detect_time_skew')\n\
                     modules.load('policy')\ntrust_anchors.remove('.')\n"
                );
                for record in anchor.records().lines() {
                    writeln!(lua, "trust_anchors.add([[{record}]])").unwrap();
                }
                for zone in zones.split(',') {
                    let (zone, server) = zone.split_once('=').unwrap();
                    let server = server.replace(':', "@");
                    writeln!(
                        lua,
                        "policy.add(policy.suffix(policy.FORWARD({{'{server}'}}), \
                         policy.todnames({{'{zone}'}})))"
                    )
                    .unwrap();
                }
                std::fs::write(dir.join("kresd.conf"), lua).unwrap();
                let mut command = Command::new("kresd");
                command.arg("-n").arg("-c").arg(dir.join("kresd.conf"));
                command.arg(dir);
                command
            }
        }
    }
}

impl Resolver {
    /// A resolver with a trust anchor that queries a server about `s.example.com`.
    pub fn start(kind: Kind, anchor: &Anchor, server: SocketAddr) -> Self {
        Self::start_with(kind, anchor, &[(super::ORIGIN, server)])
    }

    /// A resolver with servers of several zones, subzones first.
    pub fn start_with(kind: Kind, anchor: &Anchor, zones: &[(&str, SocketAddr)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let zones = zones
            .iter()
            .map(|(zone, server)| format!("{zone}={server}"));
        let zones = zones.collect::<Vec<_>>().join(",");
        let log = File::create(dir.path().join("log")).unwrap();
        let process = kind
            .command(dir.path(), address.port(), anchor, &zones)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .map(Process)
            .unwrap_or_else(|e| panic!("{kind:?}: {e}; tests/run.sh installs what tests need"));
        let resolver = Self {
            kind,
            address,
            _process: process,
            dir,
        };
        let end = Instant::now() + PATIENCE;
        let soon = Duration::from_millis(500);
        while ask_resolver(address, super::ORIGIN, super::SOA, soon).is_none() {
            assert!(Instant::now() < end, "{kind:?}:\n{}", resolver.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        resolver
    }

    fn log(&self) -> String {
        let bytes = std::fs::read(self.dir.path().join("log")).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The verdict about the answer to a question.
    pub fn judge(&self, (name, qtype): Question<'_>) -> Judgement {
        let reply = ask_resolver(self.address, name, number(qtype), PATIENCE);
        let reply = reply.unwrap_or_else(|| panic!("no reply:\n{}", self.log()));
        (of_reply(&reply), format!("{reply}\n{}", self.log()))
    }
}
