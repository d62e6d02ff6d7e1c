//! What the server writes to, and where it listens.

use std::fs;
use std::net::SocketAddr;

use super::Findings;
use crate::access::AdminToken;
use crate::base::environment;
use crate::base::files::{self, is_open_to_others};
use crate::config::{Config, StoreConfig};
use crate::dns::query_log::QueryLog;
use crate::links::redis;
use crate::server::TOKEN_VARIABLE;
use crate::store::sqlite;

/// The lowest port that needs no privilege; Linux lets an administrator choose another.
const FIRST_OPEN_PORT: u16 = 1_024;
const OPEN_PORT_FILE: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
/// What this process may do, as Linux shows it.
const STATUS_FILE: &str = "/proc/self/status";
/// The number of CAP_NET_BIND_SERVICE (capabilities(7)).
const BIND_CAPABILITY: u32 = 10;
/// How much of these files is read, in bytes.
const MAX_PROC_LEN: u64 = 16 * 1024;

impl Findings {
    /// The store, the token, and the files of Redis and of the query log.
    pub(super) fn places(&mut self, config: &Config) {
        if let StoreConfig::Sqlite { path } = &config.store
            && let Some(Some(missing)) = self.take(sqlite::check_file(path))
        {
            self.warnings.push(format!(
                "{}: the directory {} is not there; the start makes it, with a new store without links",
                path.display(),
                missing.display()
            ));
        }
        self.token(config);
        if let Some(config) = &config.redis {
            self.take(redis::check(config));
            if let Some(file) = config.password_file.as_deref()
                && is_open_to_others(file)
            {
                self.warnings.push(format!(
                    "{}: others than its owner can read the Redis password; mode 0600 would prevent it",
                    file.display()
                ));
            }
        }
        if let Some(config) = &config.query_log {
            self.take(QueryLog::check(config));
        }
    }

    /// The admin token, which comes from the environment or from a file, which the start makes.
    fn token(&mut self, config: &Config) {
        match environment::text(TOKEN_VARIABLE) {
            Ok(None) => {}
            Ok(Some(text)) => {
                let read = AdminToken::from_text(&text);
                let what = "is not a token";
                self.take(read.map_err(|e| anyhow::anyhow!("{TOKEN_VARIABLE} {what}: {e}")));
                return;
            }
            Err(_) => {
                self.errors
                    .push(format!("{TOKEN_VARIABLE} is not UTF-8 text"));
                return;
            }
        }
        let file = &config.admin.token_file;
        if fs::symlink_metadata(file).is_ok() {
            self.take(AdminToken::load(file));
            if is_open_to_others(file) {
                let file = file.display();
                self.warnings.push(format!(
                    "{file}: others than its owner can read the token; mode 0600 would prevent it"
                ));
            }
            return;
        }
        if let Err(error) = files::check_new(file, true) {
            let file = file.display();
            self.errors.push(format!(
                "the token file {file} is not there and cannot be made: {error}"
            ));
        }
    }

    /// Where the server listens.
    pub(super) fn addresses(&mut self, config: &Config) {
        let exposed = config.admin.listen.iter();
        for address in exposed.filter(|address| !address.ip().is_loopback()) {
            self.warnings.push(format!(
                "admin.listen: the admin API speaks plain HTTP on {address}: the network that it comes by sees \
                 the token; listen on 127.0.0.1, or let only a proxy with TLS reach it"
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
    let http = config.admin.listen.iter().chain(&config.redirect.listen);
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
