//! The addresses that the server listens on.

use std::net::SocketAddr;

use super::Findings;
use crate::base::files;
use crate::config::Config;

/// The lowest port that needs no privilege; Linux lets an administrator choose another.
const FIRST_OPEN_PORT: u16 = 1_024;
const OPEN_PORT_FILE: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
/// The capabilities of this process, among others.
const STATUS_FILE: &str = "/proc/self/status";
/// The number of CAP_NET_BIND_SERVICE (capabilities(7)).
const BIND_CAPABILITY: u32 = 10;
/// How much of these files is read, in bytes.
const MAX_PROC_LEN: u64 = 16 * 1024;

impl Findings {
    /// Addresses that expose the token, and ports that need a privilege.
    pub(super) fn addresses(&mut self, config: &Config) {
        let exposed = config.admin.listen.iter();
        for address in exposed.filter(|address| !address.ip().is_loopback()) {
            self.warnings.push(format!(
                "admin.listen: the admin API speaks plain HTTP on {address}, so the network can read the token; \
                 listen on 127.0.0.1, or let only a proxy with TLS reach it"
            ));
        }
        if config.process.user.is_none() && !may_bind_any_port() {
            let first = first_open_port();
            for address in listened(config).filter(|address| (1..first).contains(&address.port())) {
                self.hints.push(format!(
                    "{address}: a port below {first} needs root, CAP_NET_BIND_SERVICE or a socket of the \
                     service manager, and this process has no such privilege"
                ));
            }
        }
    }
}

fn listened(config: &Config) -> impl Iterator<Item = &SocketAddr> {
    let tls = config.dns.tls.iter().flat_map(|tls| &tls.listen);
    let https = config.https.iter().flat_map(|https| &https.listen);
    let http = config.admin.listen.iter().chain(&config.redirect.listen);
    let http = http.chain(https);
    config.dns.listen.iter().chain(tls).chain(http)
}

fn first_open_port() -> u16 {
    let text = files::read_regular(OPEN_PORT_FILE.as_ref(), MAX_PROC_LEN).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.trim().parse().unwrap_or(FIRST_OPEN_PORT)
}

fn may_bind_any_port() -> bool {
    let text = files::read_regular(STATUS_FILE.as_ref(), MAX_PROC_LEN).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let set = text.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.is_some_and(|set| set >> BIND_CAPABILITY & 1 == 1)
}
