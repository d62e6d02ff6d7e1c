//! `[query_log]`: where queries are logged, how many of them, and which of their parts.

use std::num::NonZeroU32;
use std::path::PathBuf;

use super::dns::DnsConfig;
use super::problem::ConfigProblem;
use super::section::Section;
use crate::dns::query_log::{Destination, Messages, QueryLogConfig};

const FILE: &str = "file";
const SOCKET: &str = "socket";

/// The longest path of a Unix socket, in bytes (unix(7)).
const MAX_SOCKET_LEN: usize = 107;
/// The longest name of a server, in bytes: as long as a host name may be (RFC 1035 §2.3.4).
const MAX_IDENTITY_LEN: usize = 255;
const MAX_SAMPLE: u32 = 1_000_000_000;
/// In bytes. The disk holds up to twice as much: the file, and the one that was put aside before.
const DEFAULT_MAX_FILE: u64 = 256 << 20;
/// One TiB.
const MAX_FILE_MIB: u32 = 1 << 20;

/// None if the destination is missing or bad.
pub(super) fn query_log(section: &Section<'_>, dns: &DnsConfig) -> Option<QueryLogConfig> {
    let to = destination(section);
    let sample = section.number("sample", 1..=MAX_SAMPLE, "", 1);
    let choices = [
        ("both", Messages::Both),
        ("queries", Messages::Queries),
        ("responses", Messages::Responses),
    ];
    let messages = section.choice("messages", &choices);
    let anonymise = section.flag("anonymise", false);
    let identity = section.parsed("identity", identity);
    Some(QueryLogConfig {
        to: to?,
        sample: NonZeroU32::new(sample).unwrap_or(NonZeroU32::MIN),
        messages: messages?,
        identity: identity.or_else(|| nsid_as_text(dns)),
        anonymise,
    })
}

fn destination(section: &Section<'_>) -> Option<Destination> {
    let is_file = section.mentions(FILE);
    if !is_file && !section.mentions(SOCKET) {
        section.note_whole(ConfigProblem::NoDestination);
    } else if section.has(FILE) && section.has(SOCKET) {
        let problem = ConfigProblem::TwoDestinations(section.line_of(FILE));
        section.note(SOCKET, problem);
    }
    let path = section.optional_file(FILE);
    let no_file = (!is_file).then_some(ConfigProblem::NoLogFile);
    let max_bytes = section
        .refusing(no_file)
        .mib("max_file_mib", 1..=MAX_FILE_MIB);
    let socket = section.parsed(SOCKET, socket_path);
    let max_bytes = max_bytes.unwrap_or(DEFAULT_MAX_FILE);
    path.map(|path| Destination::File { path, max_bytes })
        .or(socket.map(Destination::Socket))
}

fn socket_path(text: &str) -> Result<PathBuf, ConfigProblem> {
    match text.len() {
        0 => Err(ConfigProblem::EmptyPath),
        len if len > MAX_SOCKET_LEN => {
            let max = MAX_SOCKET_LEN;
            Err(ConfigProblem::SocketPath { len, max })
        }
        _ => Ok(text.into()),
    }
}

fn identity(text: &str) -> Result<String, ConfigProblem> {
    if is_identity(text) {
        return Ok(text.into());
    }
    let (text, max) = (text.into(), MAX_IDENTITY_LEN);
    Err(ConfigProblem::Identity { text, max })
}

fn is_identity(text: &str) -> bool {
    (1..=MAX_IDENTITY_LEN).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// The identifier that clients ask the server for, which is what the identity of dnstap is meant to be. One that
/// is no text is left out: readers of the log could not tell what it means.
fn nsid_as_text(dns: &DnsConfig) -> Option<String> {
    let nsid = dns.settings.nsid.as_deref()?;
    let text = std::str::from_utf8(nsid).ok()?;
    is_identity(text).then(|| text.into())
}
