//! `[redis]`: where Redis is, how it is reached, and for how long it keeps links.
//!
//! A URL may have a password in it, and a password may have slipped into another key. So except for the one
//! word of `mode`, no message shows a text of this section: file, line and key are enough to find it.

use std::collections::HashSet;
use std::time::Duration;

use toml::Spanned;

use super::problem::ConfigProblem;
use super::section::{DAY, Section, is_word};
use crate::links::redis::{RedisConfig, RedisMode, RedisUrl};

const URL: &str = "url";
const MASTER: &str = "sentinel_master";
const CERTIFICATE: &str = "certificate";
const KEY: &str = "key";
const NODE: &str = "node";
const CLUSTER: &str = "cluster";
const SENTINEL: &str = "sentinel";

/// The most URLs: more than any set of sentinels has, and a few nodes of a cluster know all others.
const MAX_URLS: usize = 64;
/// The longest prefix of keys and the longest name of a master that sentinels know, in bytes.
const MAX_WORD_LEN: usize = 64;

const DEFAULT_PREFIX: &str = "tinyns";
/// In seconds.
const DEFAULT_KEEP: Duration = Duration::from_secs(DAY as u64);
const MAX_KEEP: u32 = 7 * DAY;
/// A healthy Redis nearby needs a hundredth of it, and a query that has waited in vain still has the time to ask
/// the store.
const DEFAULT_TIMEOUT_MS: u32 = 100;
/// Stub resolvers ask again after some seconds, and the store has to have its turn before.
const MAX_TIMEOUT_MS: u32 = 1_000;
/// In links a second: a million in less than a minute, and a fraction of what Redis can take.
const DEFAULT_WARM_LOAD_RATE: u32 = 20_000;
/// More links than there are, but a typing mistake hardly stays below it.
const MAX_WARM_LOAD_RATE: u32 = 10_000_000;

/// None without a good URL.
pub(super) fn redis(section: &Section<'_>) -> Option<RedisConfig> {
    if !section.features().redis {
        section.note_whole(ConfigProblem::NotBuilt("redis"));
    }
    let urls = section.texts(URL, "a URL or a list of URLs, as strings");
    let modes = [NODE, CLUSTER, SENTINEL].map(|mode| (mode, mode));
    let mode = section.choice("mode", &modes);
    let master = master(section, mode);
    let urls = match urls {
        Some(texts) => redis_urls(section, texts, mode),
        None => {
            section.note_missing(URL);
            Vec::new()
        }
    };
    let password_file = section.optional_file("password_file");
    // Files for TLS are of no use without it.
    let is_tls = urls.iter().all(RedisUrl::is_tls);
    let tls = section.refusing((!is_tls).then_some(ConfigProblem::NoTls));
    let ca_file = tls.optional_file("ca_file");
    let certificate = tls.optional_file(CERTIFICATE);
    let key = tls.optional_file(KEY);
    if is_tls {
        section.note_half_a_pair("[redis]", CERTIFICATE, KEY);
    }
    let prefix = section.parsed("prefix", redis_word);
    let keep = section.seconds("keep", 1..=MAX_KEEP);
    let timeout = 1..=MAX_TIMEOUT_MS;
    let timeout_ms = section.number("timeout_ms", timeout, "milliseconds", DEFAULT_TIMEOUT_MS);
    let config = RedisConfig {
        mode: match (mode, master) {
            (Some(CLUSTER), _) => RedisMode::Cluster,
            (Some(SENTINEL), Some(master)) => RedisMode::Sentinel { master },
            // Anything but "node" was noted.
            _ => RedisMode::Node,
        },
        password_file,
        ca_file,
        certificate,
        key,
        prefix: prefix.unwrap_or_else(|| DEFAULT_PREFIX.into()),
        keep: keep.unwrap_or(DEFAULT_KEEP),
        timeout: Duration::from_millis(timeout_ms.into()),
        warm_load: section.flag("warm_load", true),
        warm_load_rate: section.number(
            "warm_load_rate",
            0..=MAX_WARM_LOAD_RATE,
            "links a second",
            DEFAULT_WARM_LOAD_RATE,
        ),
        urls,
    };
    (!config.urls.is_empty()).then_some(config)
}

/// The name of the master that sentinels know, for the mode that needs it and for no other.
fn master(section: &Section<'_>, mode: Option<&'static str>) -> Option<Box<str>> {
    let master = section.parsed(MASTER, redis_word);
    match mode {
        Some(SENTINEL) if !section.mentions(MASTER) => {
            let part = format!("the mode {SENTINEL:?}");
            section.note_whole(ConfigProblem::Missing { part, key: MASTER });
        }
        Some(mode) if mode != SENTINEL && master.is_some() => {
            let belongs = SENTINEL;
            section.note(MASTER, ConfigProblem::OtherMode { belongs, mode });
        }
        _ => {}
    }
    master
}

/// The URLs of one server, or of several that lead to the same data: whichever of them answers, the client has to
/// find the same keys, with the same rights.
fn redis_urls(
    section: &Section<'_>,
    texts: Vec<Spanned<&str>>,
    mode: Option<&str>,
) -> Vec<RedisUrl> {
    let problem = match texts.len() {
        0 if section.is_empty_list(URL) => Some(ConfigProblem::NoUrl),
        number if number > MAX_URLS => Some(ConfigProblem::too_many(number, "URLs", MAX_URLS)),
        number if number > 1 && mode == Some(NODE) => Some(ConfigProblem::NotOneUrl(number)),
        _ => None,
    };
    if let Some(problem) = problem {
        section.note(URL, problem);
        return Vec::new();
    }
    let mut servers = HashSet::new();
    let mut urls: Vec<RedisUrl> = Vec::with_capacity(texts.len());
    for text in texts {
        let url = match RedisUrl::parse(text.get_ref()) {
            Ok(url) => url,
            Err(error) => {
                section.note_at(text.span(), URL, ConfigProblem::RedisUrl(error));
                continue;
            }
        };
        let first = urls.first().unwrap_or(&url);
        let server = url.server();
        let problem = if mode == Some(CLUSTER) && url.has_database() {
            Some(ConfigProblem::ClusterDatabase)
        } else if url.is_tls() != first.is_tls() {
            Some(ConfigProblem::MixedSchemes)
        } else if !url.has_account_of(first) {
            Some(ConfigProblem::OtherAccount)
        } else if servers.contains(&server) {
            Some(ConfigProblem::DuplicateServer(server.clone()))
        } else {
            None
        };
        if let Some(problem) = problem {
            section.note_at(text.span(), URL, problem);
        }
        servers.insert(server);
        urls.push(url);
    }
    urls
}

/// A text that can be a part of keys, and that sentinels allow as a name.
fn redis_word(text: &str) -> Result<Box<str>, ConfigProblem> {
    if (1..=MAX_WORD_LEN).contains(&text.len()) && is_word(text, "_-.") {
        return Ok(text.into());
    }
    Err(ConfigProblem::RedisWord { max: MAX_WORD_LEN })
}
