//! `[pool.check]`: how the addresses of a pool are checked.

use std::time::Duration;

use super::problem::ConfigProblem;
use super::section::Section;
use crate::routing::{
    Check, CheckKind, DEFAULT_FAILURES, DEFAULT_INTERVAL, DEFAULT_PASSES, DEFAULT_TIMEOUT, Request,
};

const KIND: &str = "kind";
const PORT: &str = "port";

/// The longest interval and timeout, in seconds.
const MAX_INTERVAL: u32 = 3_600;
const MAX_TIMEOUT: u32 = 5;
/// The most failures or passes in a row.
const MAX_IN_A_ROW: u16 = 20;
/// The longest path and host name, in bytes.
const MAX_PATH: usize = 1_024;
const MAX_HOST: usize = 253;

/// The words of `kind`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Https,
    Tcp,
}

/// Reads the section; none if something is wrong with it.
pub(super) fn check(section: &Section<'_>) -> Option<Check> {
    let words = [
        ("http", Kind::Http),
        ("https", Kind::Https),
        ("tcp", Kind::Tcp),
    ];
    let kind = section.choice(KIND, &words);
    let port = section.optional_number(PORT, 1..=u16::MAX, "");
    let no_http = ConfigProblem::OnlyForHttp("\"http\" or \"https\"");
    let of_http = section.refusing((kind == Some(Kind::Tcp)).then_some(no_http));
    let request = Request {
        path: of_http.parsed("path", path).unwrap_or_else(|| "/".into()),
        host: of_http.parsed("host", host),
        status: of_http.optional_number("status", 100..=599, ""),
    };
    let no_https = ConfigProblem::OnlyForHttp("\"https\"");
    let of_https = section.refusing((kind != Some(Kind::Https)).then_some(no_https));
    let verify = of_https.flag("verify", true);
    let no_check = ConfigProblem::NotVerified;
    let of_verified = of_https.refusing((!verify).then_some(no_check));
    let ca_file = match kind {
        Some(Kind::Https) => of_verified.optional_file("ca_file"),
        _ => of_https.optional_file("ca_file"),
    };
    let seconds = |key, most, default| section.period(key, most).unwrap_or(default);
    let interval: Duration = seconds("interval", MAX_INTERVAL, DEFAULT_INTERVAL);
    let timeout = seconds("timeout", MAX_TIMEOUT, DEFAULT_TIMEOUT);
    let failures = section.number("failures", 1..=MAX_IN_A_ROW, "", DEFAULT_FAILURES);
    let passes = section.number("passes", 1..=MAX_IN_A_ROW, "", DEFAULT_PASSES);
    let (kind, default_port) = match kind? {
        Kind::Tcp => (CheckKind::Tcp, None),
        Kind::Http => (CheckKind::Http(request), Some(80)),
        Kind::Https => {
            let kind = CheckKind::Https {
                request,
                verify,
                ca_file,
            };
            (kind, Some(443))
        }
    };
    let port = port.or(default_port.filter(|_| !section.mentions(PORT)));
    if port.is_none() {
        section.note_missing(PORT);
    }
    Some(Check {
        kind,
        port: port?,
        interval,
        timeout,
        failures,
        passes,
    })
}

fn path(text: &str) -> Result<Box<str>, ConfigProblem> {
    let is_visible = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#');
    match text.starts_with('/') && text.len() <= MAX_PATH && is_visible {
        true => Ok(text.into()),
        false => Err(ConfigProblem::CheckPath(text.into())),
    }
}

/// A host name is also that of a certificate, so it has no port.
fn host(text: &str) -> Result<Box<str>, ConfigProblem> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let labels = text.split('.');
    let is_host = text.len() <= MAX_HOST && text.bytes().all(is_name);
    match is_host
        && labels
            .into_iter()
            .all(|label| (1..=63).contains(&label.len()))
    {
        true => Ok(text.into()),
        false => Err(ConfigProblem::CheckHost(text.into())),
    }
}
