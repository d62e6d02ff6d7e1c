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
use super::problem::{ConfigError, Problem};
use super::raw::{RawRedis, RawUrls};
use super::reader::{Reader, is_word};
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

impl Reader<'_> {
    pub(super) fn redis(&self, raw: Spanned<RawRedis>) -> Result<RedisConfig, ConfigError> {
        let span = raw.span();
        let raw = raw.into_inner();
        let Some(url) = raw.url else {
            let (part, key) = ("[redis]", "url");
            return Err(self.error(span, "redis", Problem::Missing { part, key }));
        };
        let mode = self.redis_mode(span, raw.mode, raw.sentinel_master)?;
        let urls = self.redis_urls(url, &mode)?;
        if let Some(file) = raw
            .ca_file
            .as_ref()
            .filter(|_| !urls.iter().all(RedisUrl::is_tls))
        {
            return Err(self.error(file.span(), "redis.ca_file", Problem::NoTls));
        }
        let file = |raw: Option<Spanned<String>>, key| {
            raw.map(|raw| self.file(Some(raw), key, "")).transpose()
        };
        let number = |raw, key, min, max, unit, default| match raw {
            Some(raw) => self.number(raw, key, min, max, unit),
            None => Ok(default),
        };
        let keep = number(
            raw.keep,
            "redis.keep",
            1,
            MAX_KEEP,
            " seconds",
            DEFAULT_KEEP,
        )?;
        let timeout = number(
            raw.timeout_ms,
            "redis.timeout_ms",
            1,
            MAX_TIMEOUT_MS,
            " milliseconds",
            DEFAULT_TIMEOUT_MS,
        )?;
        Ok(RedisConfig {
            mode,
            urls,
            password_file: file(raw.password_file, "redis.password_file")?,
            ca_file: file(raw.ca_file, "redis.ca_file")?,
            prefix: self
                .redis_word(raw.prefix, "redis.prefix")?
                .unwrap_or_else(|| DEFAULT_PREFIX.into()),
            keep: Duration::from_secs(keep.into()),
            timeout: Duration::from_millis(timeout.into()),
            warm_load: raw.warm_load.is_none_or(Spanned::into_inner),
            warm_load_rate: number(
                raw.warm_load_rate,
                "redis.warm_load_rate",
                0,
                MAX_WARM_LOAD_RATE,
                " links a second",
                DEFAULT_WARM_LOAD_RATE,
            )?,
        })
    }

    /// `section` is the place of the whole section, to complain of what is not in it.
    fn redis_mode(
        &self,
        section: Range<usize>,
        mode: Option<Spanned<String>>,
        master: Option<Spanned<String>>,
    ) -> Result<RedisMode, ConfigError> {
        let (node, cluster, sentinel) = ("node", "cluster", "sentinel");
        let known = "\"node\", \"cluster\" or \"sentinel\"";
        let mode = self.choice(mode, "redis.mode", known, |word| match word {
            None => Some(node),
            Some(word) => [node, cluster, sentinel].into_iter().find(|w| *w == word),
        })?;
        let key = "redis.sentinel_master";
        let master_span = master.as_ref().map(Spanned::span);
        let master = self.redis_word(master, key)?;
        if mode == sentinel {
            let (part, key) = ("the mode \"sentinel\"", "sentinel_master");
            return master
                .map(|master| RedisMode::Sentinel { master })
                .ok_or_else(|| self.error(section, "redis", Problem::Missing { part, key }));
        }
        if let Some(span) = master_span {
            let belongs = sentinel;
            return Err(self.error(span, key, Problem::OtherMode { belongs, mode }));
        }
        Ok(match mode == cluster {
            true => RedisMode::Cluster,
            false => RedisMode::Node,
        })
    }

    /// The URLs of one server, or of several that are parts of one thing: whichever answers, the
    /// client has to come out at the same data, and by the same rights.
    fn redis_urls(
        &self,
        raw: Spanned<RawUrls>,
        mode: &RedisMode,
    ) -> Result<Vec<RedisUrl>, ConfigError> {
        let key = "redis.url";
        let span = raw.span();
        let texts = raw.into_inner().0.into_list(&span);
        let problem = match texts.len() {
            0 => Some(Problem::NoUrl),
            number if number > MAX_URLS => Some(Problem::TooManyUrls(number)),
            number if number > 1 && *mode == RedisMode::Node => Some(Problem::NotOneUrl(number)),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(self.error(span, key, problem));
        }
        let mut servers = HashSet::new();
        let mut urls: Vec<RedisUrl> = Vec::with_capacity(texts.len());
        for text in texts {
            let fail = |problem| self.error(text.span(), key, problem);
            let url = RedisUrl::parse(text.get_ref()).map_err(|e| fail(Problem::RedisUrl(e)))?;
            if *mode == RedisMode::Cluster && url.has_database() {
                return Err(fail(Problem::ClusterDatabase));
            }
            let first = urls.first().unwrap_or(&url);
            if url.is_tls() != first.is_tls() {
                return Err(fail(Problem::MixedSchemes));
            }
            if !url.has_account_of(first) {
                return Err(fail(Problem::OtherAccount));
            }
            let server = url.server();
            if !servers.insert(server.clone()) {
                return Err(fail(Problem::DuplicateServer(server)));
            }
            urls.push(url);
        }
        Ok(urls)
    }

    fn redis_word(
        &self,
        raw: Option<Spanned<String>>,
        key: &str,
    ) -> Result<Option<Box<str>>, ConfigError> {
        let is_good = |text: &str| (1..=MAX_WORD_LEN).contains(&text.len()) && is_word(text, "_-.");
        let word = self.text(raw, key, is_good, |_| Problem::RedisWord)?;
        Ok(word.map(String::into_boxed_str))
    }
}
