//! `[query_log]`: where queries are logged, how many of them, and what of them.

use std::num::NonZeroU32;

use serde::Deserialize;
use toml::Spanned;

use super::DnsConfig;
use super::problem::Problem;
use super::raw::RawNumber;
use super::reader::ConfigReader;
use crate::dns::query_log::{Destination, Messages, QueryLogConfig};

/// The longest path of a Unix socket, in bytes (unix(7)).
pub(super) const MAX_SOCKET_LEN: usize = 107;
/// The longest name of a server, in bytes: as long as a host name may be (RFC 1035 §2.3.4).
pub(super) const MAX_IDENTITY_LEN: usize = 255;

const MAX_SAMPLE: u32 = 1_000_000_000;
/// In MiB; with the file that was put aside before, twice as much is on the disk.
const DEFAULT_MAX_FILE: u32 = 256;
/// One TiB.
const MAX_MAX_FILE: u32 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [query_log]")]
pub(super) struct RawQueryLog {
    file: Option<Spanned<String>>,
    max_file_mib: Option<Spanned<RawNumber>>,
    socket: Option<Spanned<String>>,
    sample: Option<Spanned<RawNumber>>,
    messages: Option<Spanned<String>>,
    anonymise: Option<Spanned<bool>>,
    identity: Option<Spanned<String>>,
}

impl ConfigReader<'_> {
    /// None where it is not known where to the log goes.
    pub(super) fn query_log(
        &self,
        raw: Spanned<RawQueryLog>,
        dns: &DnsConfig,
    ) -> Option<QueryLogConfig> {
        let section = raw.span();
        let raw = raw.into_inner();
        let sample = self.number(raw.sample, "query_log.sample", (1, MAX_SAMPLE), "", 1);
        let known = "\"queries\", \"responses\" or \"both\"";
        let messages = self.choice(
            raw.messages,
            "query_log.messages",
            known,
            |word| match word {
                None | Some("both") => Some(Messages::Both),
                Some("queries") => Some(Messages::Queries),
                Some("responses") => Some(Messages::Responses),
                Some(_) => None,
            },
        );
        let key = "query_log.identity";
        let identity = self.text(raw.identity, key, is_identity, Problem::Identity);
        let to = match (raw.file, raw.socket) {
            (None, None) => {
                let is_there = |key| self.is_struck(key);
                if !is_there("query_log.file") && !is_there("query_log.socket") {
                    self.note(section, "query_log", Problem::NoDestination);
                }
                return None;
            }
            (Some(file), Some(socket)) => {
                let problem = Problem::TwoDestinations(self.line(file.span().start));
                self.note(socket.span(), "query_log.socket", problem);
                return None;
            }
            (Some(file), None) => self.log_file(file, raw.max_file_mib),
            (None, Some(socket)) => self.log_socket(socket, raw.max_file_mib)?,
        };
        Some(QueryLogConfig {
            to,
            sample: NonZeroU32::new(sample).unwrap_or(NonZeroU32::MIN),
            messages: messages?,
            identity: identity.or_else(|| known_identity(dns)),
            anonymise: raw.anonymise.is_some_and(Spanned::into_inner),
        })
    }

    fn log_file(&self, file: Spanned<String>, max: Option<Spanned<RawNumber>>) -> Destination {
        let (key, range) = ("query_log.max_file_mib", (1, MAX_MAX_FILE));
        let mib = self.number(max, key, range, " MiB", DEFAULT_MAX_FILE);
        Destination::File {
            path: self.file(Some(file), "query_log.file", ""),
            max_bytes: u64::from(mib) << 20,
        }
    }

    fn log_socket(
        &self,
        socket: Spanned<String>,
        max: Option<Spanned<RawNumber>>,
    ) -> Option<Destination> {
        if let Some(max) = max {
            self.note(max.span(), "query_log.max_file_mib", Problem::NoLogFile);
        }
        let key = "query_log.socket";
        let (span, len) = (socket.span(), socket.get_ref().len());
        let path = self.optional_file(Some(socket), key)?;
        if len > MAX_SOCKET_LEN {
            self.note(span, key, Problem::SocketPath(len));
            return None;
        }
        Some(Destination::Socket(path))
    }
}

fn is_identity(text: &str) -> bool {
    (1..=MAX_IDENTITY_LEN).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// What this server is called where clients ask for it: dnstap has the same in mind. An identifier that is
/// not text would be a riddle to readers of the log.
fn known_identity(dns: &DnsConfig) -> Option<String> {
    let nsid = dns.settings.nsid.as_deref()?;
    let text = std::str::from_utf8(nsid).ok()?;
    is_identity(text).then(|| text.into())
}
