//! `[redis]`: where it is, how it is reached, and for how long it keeps links.
//!
//! A URL may have a password in it, and a password may have slipped into another key. So but for the
//! one word of `mode`, no message shows a text of this section: file, line and key are enough to find
//! it.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::DAY;
use super::problem::Problem;
use super::raw::{RawRedis, RawUrls};
use super::reader::{ConfigReader, is_word};
use crate::links::redis::{RedisConfig, RedisMode, RedisUrl};

/// The most URLs: more than any set of sentinels, and any few nodes tell of their whole cluster.
pub(super) const MAX_URLS: usize = 64;
/// The longest prefix of keys and the longest name of a sentinels' master, in bytes.
pub(super) const MAX_WORD_LEN: usize = 64;

const DEFAULT_PREFIX: &str = "tinyns";
/// In seconds.
const DEFAULT_KEEP: u32 = DAY;
const MAX_KEEP: u32 = 7 * DAY;
/// A healthy Redis nearby needs a hundredth of it, and a query that has waited for it in vain still
/// has the time to ask the store.
const DEFAULT_TIMEOUT_MS: u32 = 100;
/// Stub resolvers ask again after some seconds, and the store is to have its turn before.
const MAX_TIMEOUT_MS: u32 = 1_000;
/// In links a second: a million in less than a minute, and a fraction of what Redis can take.
const DEFAULT_WARM_LOAD_RATE: u32 = 20_000;
/// More than there is, but a number that a typing mistake does not exceed by accident.
const MAX_WARM_LOAD_RATE: u32 = 10_000_000;

impl ConfigReader<'_> {
    /// None where too little of it is good.
    pub(super) fn redis(&self, raw: Spanned<RawRedis>) -> Option<RedisConfig> {
        let span = raw.span();
        let mut raw = raw.into_inner();
        if raw.url.is_none() {
            self.note_missing(span.clone(), "redis", "[redis]", "url");
        }
        let mode = self.redis_mode(span, raw.mode.take(), raw.sentinel_master.take());
        let urls = raw
            .url
            .take()
            .map(|url| self.redis_urls(url, mode.as_ref()));
        let urls = urls.unwrap_or_default();
        self.check_redis_tls(&raw, &urls);
        let keep = self.number(
            raw.keep,
            "redis.keep",
            (1, MAX_KEEP),
            " seconds",
            DEFAULT_KEEP,
        );
        let timeout = self.number(
            raw.timeout_ms,
            "redis.timeout_ms",
            (1, MAX_TIMEOUT_MS),
            " milliseconds",
            DEFAULT_TIMEOUT_MS,
        );
        let config = RedisConfig {
            // One that is not known was noted.
            mode: mode.unwrap_or(RedisMode::Node),
            urls,
            password_file: self.optional_file(raw.password_file, "redis.password_file"),
            ca_file: self.optional_file(raw.ca_file, "redis.ca_file"),
            certificate: self.optional_file(raw.certificate, "redis.certificate"),
            key: self.optional_file(raw.key, "redis.key"),
            prefix: self
                .redis_word(raw.prefix, "redis.prefix")
                .unwrap_or_else(|| DEFAULT_PREFIX.into()),
            keep: Duration::from_secs(keep.into()),
            timeout: Duration::from_millis(timeout.into()),
            warm_load: raw.warm_load.is_none_or(Spanned::into_inner),
            warm_load_rate: self.number(
                raw.warm_load_rate,
                "redis.warm_load_rate",
                (0, MAX_WARM_LOAD_RATE),
                " links a second",
                DEFAULT_WARM_LOAD_RATE,
            ),
        };
        (!config.urls.is_empty()).then_some(config)
    }

    /// Files for TLS are of no use without it, and a certificate is of none without its key.
    fn check_redis_tls(&self, raw: &RawRedis, urls: &[RedisUrl]) {
        let files = [
            (&raw.ca_file, "redis.ca_file"),
            (&raw.certificate, "redis.certificate"),
            (&raw.key, "redis.key"),
        ];
        if !urls.iter().all(RedisUrl::is_tls) {
            for (file, key) in files.iter().filter_map(|(f, k)| Some((f.as_ref()?, *k))) {
                self.note(file.span(), key, Problem::NoTls);
            }
            return;
        }
        match (&raw.certificate, &raw.key) {
            (Some(given), None) => {
                self.note_missing(given.span(), "redis.certificate", "[redis]", "key");
            }
            (None, Some(given)) => {
                self.note_missing(given.span(), "redis.key", "[redis]", "certificate");
            }
            _ => {}
        }
    }

    /// `section` is the place of the whole section, to complain of what is not in it.
    fn redis_mode(
        &self,
        section: Range<usize>,
        mode: Option<Spanned<String>>,
        master: Option<Spanned<String>>,
    ) -> Option<RedisMode> {
        let (node, cluster, sentinel) = ("node", "cluster", "sentinel");
        let known = "\"node\", \"cluster\" or \"sentinel\"";
        let is_struck = self.is_struck("redis.mode");
        let mode = self.choice(mode, "redis.mode", known, |word| match word {
            None => Some(node),
            Some(word) => [node, cluster, sentinel].into_iter().find(|w| *w == word),
        });
        let key = "redis.sentinel_master";
        let master_span = master.as_ref().map(Spanned::span);
        let master = self.redis_word(master, key);
        let mode = mode.filter(|_| !is_struck)?;
        match (mode == sentinel, master_span) {
            (true, None) => {
                let part = "the mode \"sentinel\"";
                self.note_missing(section, "redis", part, "sentinel_master");
            }
            (false, Some(span)) if master.is_some() => {
                let belongs = sentinel;
                self.note(span, key, Problem::OtherMode { belongs, mode });
            }
            (true, Some(_)) | (false, _) => {}
        }
        match mode {
            "sentinel" => master.map(|master| RedisMode::Sentinel { master }),
            "cluster" => Some(RedisMode::Cluster),
            _ => Some(RedisMode::Node),
        }
    }

    /// The URLs of one server, or of several that are parts of one thing: whichever answers, the
    /// client has to come out at the same data, and by the same rights.
    fn redis_urls(&self, raw: Spanned<RawUrls>, mode: Option<&RedisMode>) -> Vec<RedisUrl> {
        let key = "redis.url";
        let span = raw.span();
        let texts = raw.into_inner().0.into_list(&span);
        let is_node = mode == Some(&RedisMode::Node);
        let problem = match texts.len() {
            0 => Some(Problem::NoUrl),
            number if number > MAX_URLS => Some(Problem::TooManyUrls(number)),
            number if number > 1 && is_node => Some(Problem::NotOneUrl(number)),
            _ => None,
        };
        if let Some(problem) = problem {
            self.note(span, key, problem);
            return Vec::new();
        }
        let mut servers = HashSet::new();
        let mut urls: Vec<RedisUrl> = Vec::with_capacity(texts.len());
        for text in texts {
            let url = match RedisUrl::parse(text.get_ref()) {
                Ok(url) => url,
                Err(error) => {
                    self.note(text.span(), key, Problem::RedisUrl(error));
                    continue;
                }
            };
            let first = urls.first().unwrap_or(&url);
            let server = url.server();
            let problem = if mode == Some(&RedisMode::Cluster) && url.has_database() {
                Some(Problem::ClusterDatabase)
            } else if url.is_tls() != first.is_tls() {
                Some(Problem::MixedSchemes)
            } else if !url.has_account_of(first) {
                Some(Problem::OtherAccount)
            } else if servers.contains(&server) {
                Some(Problem::DuplicateServer(server.clone()))
            } else {
                None
            };
            if let Some(problem) = problem {
                self.note(text.span(), key, problem);
            }
            servers.insert(server);
            urls.push(url);
        }
        urls
    }

    fn redis_word(&self, raw: Option<Spanned<String>>, key: &str) -> Option<Box<str>> {
        let is_good = |text: &str| (1..=MAX_WORD_LEN).contains(&text.len()) && is_word(text, "_-.");
        let word = self.text(raw, key, is_good, |_| Problem::RedisWord);
        word.map(String::into_boxed_str)
    }
}
