//! The file as it is written. Numbers are as wide as TOML's and words are strings, so that a value
//! out of range gets our message and not one about a Rust type.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor, value::SeqAccessDeserializer};
use toml::Spanned;

use super::dnssec::RawDnssec;
use super::query_log::RawQueryLog;
use super::signatures::RawSignatures;
use super::tcp::RawTcp;
use super::tls::RawTls;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    #[serde(default)]
    pub(super) dns: RawDns,
    pub(super) zone: Option<Spanned<RawZones>>,
    #[serde(default)]
    pub(super) store: RawStore,
    pub(super) redis: Option<Spanned<RawRedis>>,
    #[serde(default)]
    pub(super) cache: RawCache,
    pub(super) rate_limit: Option<RawRateLimit>,
    #[serde(default)]
    pub(super) signatures: RawSignatures,
    #[serde(default)]
    pub(super) cookies: RawCookies,
    pub(super) query_log: Option<Spanned<RawQueryLog>>,
    #[serde(default)]
    pub(super) admin: RawAdmin,
    #[serde(default)]
    pub(super) redirect: RawRedirect,
    #[serde(default)]
    pub(super) process: RawProcess,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [dns]")]
pub(super) struct RawDns {
    pub(super) listen: Option<Spanned<RawListen>>,
    pub(super) udp_payload: Option<Spanned<RawNumber>>,
    pub(super) nsid: Option<Spanned<String>>,
    pub(super) version: Option<Spanned<String>>,
    pub(super) identity: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) tcp: RawTcp,
    pub(super) tls: Option<Spanned<RawTls>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [[zone]]")]
pub(super) struct RawZone {
    pub(super) origin: Option<Spanned<String>>,
    pub(super) file: Option<Spanned<String>>,
    pub(super) redirect_host: Option<Spanned<String>>,
    pub(super) layout: Option<Spanned<String>>,
    pub(super) link_ttl: Option<Spanned<RawNumber>>,
    pub(super) dnssec: Option<Spanned<RawDnssec>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [store]")]
pub(super) struct RawStore {
    pub(super) kind: Option<Spanned<String>>,
    pub(super) path: Option<Spanned<String>>,
    pub(super) table: Option<Spanned<String>>,
    pub(super) region: Option<Spanned<String>>,
    pub(super) endpoint_url: Option<Spanned<String>>,
    pub(super) create_table: Option<Spanned<bool>>,
    pub(super) reads_per_second: Option<Spanned<RawNumber>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [redis]")]
pub(super) struct RawRedis {
    pub(super) url: Option<Spanned<RawUrls>>,
    pub(super) mode: Option<Spanned<String>>,
    pub(super) sentinel_master: Option<Spanned<String>>,
    pub(super) password_file: Option<Spanned<String>>,
    pub(super) ca_file: Option<Spanned<String>>,
    pub(super) certificate: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<String>>,
    pub(super) prefix: Option<Spanned<String>>,
    pub(super) keep: Option<Spanned<RawNumber>>,
    pub(super) timeout_ms: Option<Spanned<RawNumber>>,
    pub(super) warm_load: Option<Spanned<bool>>,
    pub(super) warm_load_rate: Option<Spanned<RawNumber>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [admin]")]
pub(super) struct RawAdmin {
    pub(super) listen: Option<Spanned<RawListen>>,
    pub(super) token_file: Option<Spanned<String>>,
    pub(super) connections: Option<Spanned<RawNumber>>,
    pub(super) connections_per_client: Option<Spanned<RawNumber>>,
    pub(super) exempt: Option<Spanned<RawPrefixes>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [cache]")]
pub(super) struct RawCache {
    pub(super) memory_mib: Option<Spanned<RawNumber>>,
    pub(super) answers_mib: Option<Spanned<RawNumber>>,
    pub(super) refresh: Option<Spanned<RawNumber>>,
    pub(super) absent: Option<Spanned<RawNumber>>,
    pub(super) serve_stale: Option<Spanned<RawNumber>>,
    pub(super) filter: Option<Spanned<bool>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [redirect]")]
pub(super) struct RawRedirect {
    pub(super) listen: Option<Spanned<RawListen>>,
    pub(super) short_url_scheme: Option<Spanned<String>>,
    pub(super) short_url_port: Option<Spanned<RawNumber>>,
    pub(super) connections: Option<Spanned<RawNumber>>,
    pub(super) connections_per_client: Option<Spanned<RawNumber>>,
    pub(super) exempt: Option<Spanned<RawPrefixes>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [process]")]
pub(super) struct RawProcess {
    pub(super) user: Option<Spanned<String>>,
    pub(super) group: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [rate_limit]")]
pub(super) struct RawRateLimit {
    pub(super) responses_per_second: Option<Spanned<RawNumber>>,
    pub(super) nodata_per_second: Option<Spanned<RawNumber>>,
    pub(super) nxdomains_per_second: Option<Spanned<RawNumber>>,
    pub(super) referrals_per_second: Option<Spanned<RawNumber>>,
    pub(super) errors_per_second: Option<Spanned<RawNumber>>,
    pub(super) all_per_second: Option<Spanned<RawNumber>>,
    pub(super) burst: Option<Spanned<RawNumber>>,
    pub(super) slip: Option<Spanned<RawNumber>>,
    pub(super) ipv4_prefix_length: Option<Spanned<RawNumber>>,
    pub(super) ipv6_prefix_length: Option<Spanned<RawNumber>>,
    pub(super) exempt: Option<Spanned<RawPrefixes>>,
    pub(super) table_mib: Option<Spanned<RawNumber>>,
    pub(super) dry_run: Option<Spanned<bool>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [cookies]")]
pub(super) struct RawCookies {
    pub(super) enabled: Option<Spanned<bool>>,
    pub(super) secret_file: Option<Spanned<String>>,
}

/// Addresses to listen on; a type of its own for its message, as the next.
pub(super) struct RawListen(pub(super) RawTexts);

impl<'de> Deserialize<'de> for RawListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = OneOrMany("an address or a list of addresses, as strings");
        deserializer.deserialize_any(expected).map(Self)
    }
}

/// Where Redis is.
pub(super) struct RawUrls(pub(super) RawTexts);

impl<'de> Deserialize<'de> for RawUrls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = OneOrMany("a URL or a list of URLs, as strings");
        deserializer.deserialize_any(expected).map(Self)
    }
}

/// Clients that are exempt from something.
pub(super) struct RawPrefixes(pub(super) RawTexts);

impl<'de> Deserialize<'de> for RawPrefixes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = OneOrMany("a prefix or a list of prefixes, as strings");
        deserializer.deserialize_any(expected).map(Self)
    }
}

/// One text, or a list.
pub(super) enum RawTexts {
    One(String),
    Many(Vec<Spanned<String>>),
}

impl RawTexts {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Many(texts) if texts.is_empty())
    }

    /// Each with its place; `span` is that of the whole.
    pub(super) fn into_list(self, span: &Range<usize>) -> Vec<Spanned<String>> {
        match self {
            Self::One(text) => vec![Spanned::new(span.clone(), text)],
            Self::Many(texts) => texts,
        }
    }
}

/// What is expected, for the message.
struct OneOrMany(&'static str);

impl<'de> Visitor<'de> for OneOrMany {
    type Value = RawTexts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E>(self, text: &str) -> Result<RawTexts, E> {
        Ok(RawTexts::One(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<RawTexts, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(RawTexts::Many)
    }
}

/// A whole number; a type of its own so that messages do not call it by the name of a Rust type.
#[derive(Clone, Copy)]
pub(super) struct RawNumber(pub(super) i64);

impl<'de> Deserialize<'de> for RawNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = RawNumber;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_i64<E>(self, number: i64) -> Result<RawNumber, E> {
                Ok(RawNumber(number))
            }
        }

        deserializer.deserialize_i64(Number)
    }
}

/// The zones; a type of its own for the message that `[zone]` earns.
pub(super) struct RawZones(pub(super) Vec<Spanned<RawZone>>);

impl<'de> Deserialize<'de> for RawZones {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tables;

        impl<'de> Visitor<'de> for Tables {
            type Value = RawZones;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tables: write [[zone]]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<RawZones, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(RawZones)
            }
        }

        deserializer.deserialize_any(Tables)
    }
}
