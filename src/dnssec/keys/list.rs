//! `keys.toml`: the keys of a zone and their times.
//!
//! All times are absolute. The command that wrote them computed them from the delays and TTLs of that time, so a
//! later change of the configuration cannot make a change of keys happen earlier.

use std::fmt::{self, Write as _};

use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use crate::base::clock::UnixTime;
use crate::base::name::ZoneName;
use crate::base::text::one_line;
use crate::base::toml_text::{line_of, read_toml};
use crate::dnssec::DnssecConfig;
use crate::dnssec::key::{Algorithm, Duty, Role};

/// The file's name in its directory.
pub const LIST_FILE: &str = "keys.toml";
/// The most keys: those of a roll-over, and the removed keys of the last years. Validators may try each key, so a
/// DNSKEY set must not grow without bound (RFC 4035 §5.3.3; CVE-2023-50387).
pub(super) const MAX_KEYS: usize = 32;
/// The largest file, in bytes; a key takes about 500.
pub(super) const MAX_LIST_LEN: u64 = 64 * 1024;

/// The comment at the head of the file.
const HEAD: &str = "\
# The keys of a signed zone, and the times at which they do their work. `tinyns keys` writes this file.
# Servers read it when they start and on SIGHUP, and then follow their clocks. To copy it to other
# servers, copy the .pem files first, and this file last.
";

/// The keys of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyList {
    /// The zone.
    pub origin: ZoneName,
    /// The TTL of the DNSKEY records when the list was last changed, in seconds.
    pub dnskey_ttl: u32,
    /// The largest TTL of the zone's records at that time, in seconds.
    pub max_ttl: u32,
    /// The time until which caches may have records with larger TTLs than those, from before the TTLs were
    /// lowered.
    pub settled: Option<UnixTime>,
    /// The time from which CDS and CDNSKEY records ask the parent zone to remove all DS records, so that the zone
    /// can be unsigned.
    pub unsigning: Option<UnixTime>,
    /// The keys, in the order of their creation. All have different tags and the same algorithm.
    pub keys: Vec<KeyEntry>,
}

/// A key and its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// Its tag (RFC 4034 appendix B).
    pub tag: u16,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// Its role.
    pub role: Role,
    /// When it was made.
    pub created: UnixTime,
    /// When it enters the DNSKEY set.
    pub publish: UnixTime,
    /// When no cache has a DNSKEY set without it any more.
    pub ready: UnixTime,
    /// When it begins to sign; none if that is not planned yet.
    pub active: Option<UnixTime>,
    /// When it stops signing; only with `active`.
    pub retired: Option<UnixTime>,
    /// When it leaves the DNSKEY set; with `retired`, or without `active` for a key that was never used.
    pub removed: Option<UnixTime>,
    /// When CDS and CDNSKEY records for it appear.
    pub cds: Option<UnixTime>,
    /// When these records disappear; only with `cds`.
    pub cds_removed: Option<UnixTime>,
    /// The time from which the parent zone publishes its DS record, as the operator has confirmed.
    pub ds_seen: Option<UnixTime>,
    /// The TTL of the DS record, in seconds; with `ds_seen` or `ds_gone`, and only then.
    pub ds_ttl: Option<u32>,
    /// The time from which the parent zone does not publish it any more, as the operator has confirmed.
    pub ds_gone: Option<UnixTime>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawList {
    origin: Spanned<String>,
    dnskey_ttl: Spanned<i64>,
    max_ttl: Spanned<i64>,
    settled: Option<Spanned<Datetime>>,
    unsigning: Option<Spanned<Datetime>>,
    #[serde(default)]
    key: Vec<Spanned<RawKey>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [[key]]")]
struct RawKey {
    tag: Spanned<i64>,
    algorithm: Spanned<String>,
    role: Spanned<String>,
    created: Spanned<Datetime>,
    publish: Spanned<Datetime>,
    ready: Spanned<Datetime>,
    active: Option<Spanned<Datetime>>,
    retired: Option<Spanned<Datetime>>,
    removed: Option<Spanned<Datetime>>,
    cds: Option<Spanned<Datetime>>,
    cds_removed: Option<Spanned<Datetime>>,
    ds_seen: Option<Spanned<Datetime>>,
    ds_ttl: Option<Spanned<i64>>,
    ds_gone: Option<Spanned<Datetime>>,
}

/// A value, or a problem with its place in the file, in bytes.
pub(super) type Found<T> = Result<T, (usize, ListProblem)>;

impl KeyList {
    /// The list of a zone without keys.
    pub fn new(origin: ZoneName, config: &DnssecConfig) -> Self {
        Self {
            origin,
            dnskey_ttl: config.dnskey_ttl,
            max_ttl: config.max_ttl(),
            settled: None,
            unsigning: None,
            keys: Vec::new(),
        }
    }

    pub(super) fn parse(bytes: &[u8], origin: &ZoneName) -> Found<Self> {
        if bytes.len() as u64 > MAX_LIST_LEN {
            return Err((0, ListProblem::TooLarge));
        }
        let text =
            std::str::from_utf8(bytes).map_err(|e| (e.valid_up_to(), ListProblem::NotUtf8))?;
        let raw: RawList = read_toml(text).map_err(|fault| {
            let (key, message) = (one_line(&fault.key), one_line(&fault.what.to_string()));
            (fault.at, ListProblem::Toml { key, message })
        })?;
        if ZoneName::parse(raw.origin.get_ref()).as_ref() != Ok(origin) {
            let (found, wanted) = (one_line(raw.origin.get_ref()), origin.clone());
            let problem = ListProblem::OtherOrigin { found, wanted };
            return Err((raw.origin.span().start, problem));
        }
        let list = Self {
            origin: origin.clone(),
            dnskey_ttl: number(&raw.dnskey_ttl, "dnskey_ttl", u32::MAX)?,
            max_ttl: number(&raw.max_ttl, "max_ttl", u32::MAX)?,
            settled: optional_time(raw.settled.as_ref(), "settled")?,
            unsigning: optional_time(raw.unsigning.as_ref(), "unsigning")?,
            keys: Vec::new(),
        };
        list.with_keys(raw.key, text)
    }

    fn with_keys(mut self, raw: Vec<Spanned<RawKey>>, text: &str) -> Found<Self> {
        let mut places = Vec::new();
        if let Some(beyond) = raw.get(MAX_KEYS) {
            return Err((beyond.span().start, ListProblem::TooMany(raw.len())));
        }
        for raw in raw {
            let (tag_at, algorithm_at) = {
                let raw = raw.get_ref();
                (raw.tag.span().start, raw.algorithm.span().start)
            };
            let key = KeyEntry::parse(&raw)?;
            if let Some(same) = self.keys.iter().position(|other| other.tag == key.tag) {
                let tag = key.tag;
                let line = line_of(text.as_bytes(), places.get(same).copied().unwrap_or(0));
                return Err((tag_at, ListProblem::DuplicateTag { tag, line }));
            }
            let first = self
                .keys
                .first()
                .map_or(key.algorithm, |first| first.algorithm);
            if key.algorithm != first {
                let found = key.algorithm;
                return Err((algorithm_at, ListProblem::OtherAlgorithm { found, first }));
            }
            places.push(tag_at);
            self.keys.push(key);
        }
        Ok(self)
    }

    /// The key with this tag.
    pub fn key(&self, tag: u16) -> Option<&KeyEntry> {
        self.keys.iter().find(|key| key.tag == tag)
    }

    /// The key with this tag, to be changed.
    pub(super) fn key_mut(&mut self, tag: u16) -> Option<&mut KeyEntry> {
        self.keys.iter_mut().find(|key| key.tag == tag)
    }

    /// The text of the file.
    pub fn to_toml(&self) -> String {
        let mut text = String::from(HEAD);
        // Writing to a String cannot fail.
        // The name may have backslashes and quotes; TOML and Rust escape them in the same way.
        let _ = writeln!(text, "origin = {:?}", self.origin.as_str());
        let _ = writeln!(text, "dnskey_ttl = {}", self.dnskey_ttl);
        let _ = writeln!(text, "max_ttl = {}", self.max_ttl);
        for (name, time) in [("settled", self.settled), ("unsigning", self.unsigning)] {
            if let Some(time) = time {
                let _ = writeln!(text, "{name} = {}", time.rfc3339());
            }
        }
        for key in &self.keys {
            let _ = write!(text, "\n[[key]]\n{}", key.to_toml());
        }
        text
    }
}

impl KeyEntry {
    fn parse(raw: &Spanned<RawKey>) -> Found<Self> {
        let at = raw.span().start;
        let raw = raw.get_ref();
        let algorithms = "\"ecdsap256sha256\" or \"ed25519\"";
        let roles = "\"csk\", \"ksk\" or \"zsk\"";
        let key = Self {
            tag: number(&raw.tag, "tag", u16::MAX)?,
            algorithm: choice(&raw.algorithm, "algorithm", algorithms, Algorithm::parse)?,
            role: choice(&raw.role, "role", roles, Role::parse)?,
            created: time(&raw.created, "created")?,
            publish: time(&raw.publish, "publish")?,
            ready: time(&raw.ready, "ready")?,
            active: optional_time(raw.active.as_ref(), "active")?,
            retired: optional_time(raw.retired.as_ref(), "retired")?,
            removed: optional_time(raw.removed.as_ref(), "removed")?,
            cds: optional_time(raw.cds.as_ref(), "cds")?,
            cds_removed: optional_time(raw.cds_removed.as_ref(), "cds_removed")?,
            ds_seen: optional_time(raw.ds_seen.as_ref(), "ds_seen")?,
            ds_ttl: match &raw.ds_ttl {
                Some(ttl) => Some(number(ttl, "ds_ttl", u32::MAX)?),
                None => None,
            },
            ds_gone: optional_time(raw.ds_gone.as_ref(), "ds_gone")?,
        };
        key.check().map_err(|problem| (at, problem))?;
        Ok(key)
    }

    /// Checks the order of its times.
    fn check(&self) -> Result<(), ListProblem> {
        let (publish, removed) = (Some(self.publish), self.removed);
        for (earlier, from, later, to) in [
            ("created", Some(self.created), "publish", publish),
            ("publish", publish, "ready", Some(self.ready)),
            ("publish", publish, "active", self.active),
            ("active", self.active, "retired", self.retired),
            ("retired", self.retired, "removed", removed),
            ("publish", publish, "removed", removed),
            ("publish", publish, "cds", self.cds),
            ("cds", self.cds, "cds_removed", self.cds_removed),
            ("cds_removed", self.cds_removed, "removed", removed),
            ("ds_seen", self.ds_seen, "ds_gone", self.ds_gone),
        ] {
            if from.zip(to).is_some_and(|(from, to)| to < from) {
                return Err(ListProblem::Order { earlier, later });
            }
        }
        self.check_presence()
    }

    /// Checks that no time is missing that another needs.
    fn check_presence(&self) -> Result<(), ListProblem> {
        let (active, retired) = (self.active.is_some(), self.retired.is_some());
        let (removed, cds) = (self.removed.is_some(), self.cds.is_some());
        let (cds_removed, ds_ttl) = (self.cds_removed.is_some(), self.ds_ttl.is_some());
        let has_ds_time = self.ds_seen.or(self.ds_gone).is_some();
        for (key, is_there, needs, needs_is_there) in [
            ("retired", retired, "active", active),
            ("retired", retired, "removed", removed),
            ("removed", removed && active, "retired", retired),
            ("removed", removed && cds, "cds_removed", cds_removed),
            ("cds_removed", cds_removed, "cds", cds),
            ("ds_seen", has_ds_time, "ds_ttl", ds_ttl),
            ("ds_ttl", ds_ttl, "ds_seen", has_ds_time),
        ] {
            if is_there && !needs_is_there {
                return Err(ListProblem::Without { key, needs });
            }
        }
        match (self.role.has_ds(), cds, has_ds_time) {
            (true, _, _) | (false, false, false) => Ok(()),
            (false, true, _) => Err(ListProblem::NoDs("cds")),
            (false, false, true) => Err(ListProblem::NoDs("ds_seen")),
        }
    }

    fn to_toml(&self) -> String {
        let (algorithm, role) = (self.algorithm.name(), self.role.name());
        let mut text = format!(
            "tag = {}\nalgorithm = \"{algorithm}\"\nrole = \"{role}\"\n",
            self.tag
        );
        for (name, time) in [
            ("created", Some(self.created)),
            ("publish", Some(self.publish)),
            ("ready", Some(self.ready)),
            ("active", self.active),
            ("retired", self.retired),
            ("removed", self.removed),
            ("cds", self.cds),
            ("cds_removed", self.cds_removed),
            ("ds_seen", self.ds_seen),
            ("ds_gone", self.ds_gone),
        ] {
            if let Some(time) = time {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{name} = {}", time.rfc3339());
            }
        }
        if let Some(ttl) = self.ds_ttl {
            let _ = writeln!(text, "ds_ttl = {ttl}");
        }
        text
    }
}

/// A whole number from 0 to `max`.
fn number<T>(raw: &Spanned<i64>, key: &'static str, max: T) -> Found<T>
where
    T: TryFrom<i64> + Into<u32>,
{
    let value = *raw.get_ref();
    T::try_from(value).map_err(|_| {
        let (min, max) = (0, max.into());
        let problem = ListProblem::Range {
            key,
            value,
            min,
            max,
        };
        (raw.span().start, problem)
    })
}

fn choice<T>(
    raw: &Spanned<String>,
    key: &'static str,
    known: &'static str,
    parse: fn(&str) -> Option<T>,
) -> Found<T> {
    parse(raw.get_ref()).ok_or_else(|| {
        let found = raw.get_ref().clone();
        (raw.span().start, ListProblem::Choice { key, found, known })
    })
}

fn time(raw: &Spanned<Datetime>, key: &'static str) -> Found<UnixTime> {
    let found = raw.get_ref().to_string();
    UnixTime::parse(&found).ok_or((raw.span().start, ListProblem::Time { key, found }))
}

fn optional_time(raw: Option<&Spanned<Datetime>>, key: &'static str) -> Found<Option<UnixTime>> {
    raw.map(|raw| time(raw, key)).transpose()
}

/// What is wrong with `keys.toml`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListProblem {
    /// Probably not a list of keys.
    #[error("larger than {MAX_LIST_LEN} bytes")]
    TooLarge,
    /// Bytes that are not UTF-8.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// Wrong TOML, an unknown key, or a value of a wrong type.
    #[error("{}{message}", Prefix(.key))]
    Toml {
        /// The key with the names of its tables; empty where there is none.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// The keys are those of another zone.
    #[error("origin: these are the keys of {found}, but the zone is {wanted}")]
    OtherOrigin {
        /// The origin in the file.
        found: String,
        /// The origin in the configuration.
        wanted: ZoneName,
    },
    /// A number that is too small or too large.
    #[error("{key}: {value} is not within {min} to {max}")]
    Range {
        /// The key.
        key: &'static str,
        /// Its value.
        value: i64,
        /// The lowest allowed.
        min: u32,
        /// The highest allowed.
        max: u32,
    },
    /// A time without a date or without an offset, or one before 1970.
    #[error("{key}: {found} is not a time such as 2030-01-31T12:00:00Z")]
    Time {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
    },
    /// A word that is not allowed there.
    #[error("{key}: unknown value {found:?}, expected {known}")]
    Choice {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// The allowed words, as a phrase.
        known: &'static str,
    },
    /// Too many keys.
    #[error("key: {0} keys; at most {MAX_KEYS} are allowed")]
    TooMany(usize),
    /// Two keys that validators could not distinguish.
    #[error("tag: {tag} is already in line {line}")]
    DuplicateTag {
        /// The tag.
        tag: u16,
        /// Where it stands first.
        line: usize,
    },
    /// Keys of two algorithms (RFC 4035 §2.2).
    #[error(
        "algorithm: {found}, but the keys before have {first}; all keys of a zone must have the same algorithm, and \
         tinyns cannot replace it by another"
    )]
    OtherAlgorithm {
        /// The algorithm of this key.
        found: Algorithm,
        /// The algorithm of the first key.
        first: Algorithm,
    },
    /// Times that contradict each other.
    #[error("{later}: earlier than {earlier}")]
    Order {
        /// The key whose time must be earlier.
        earlier: &'static str,
        /// The key whose time must be later.
        later: &'static str,
    },
    /// A time that needs another.
    #[error("{key}: needs {needs:?}, which is missing")]
    Without {
        /// The key that is there.
        key: &'static str,
        /// The key that is missing.
        needs: &'static str,
    },
    /// A zone signing key has no DS record.
    #[error("{0}: a key with the role \"zsk\" has no DS record")]
    NoDs(&'static str),
    /// Records would be without signatures.
    #[error("from {} on no key signs {duty}", .from.rfc3339())]
    Unsigned {
        /// The time from which that would be so.
        from: UnixTime,
        /// The records.
        duty: Duty,
    },
    /// Records have no signatures at any time.
    #[error("no key signs {duty}; `tinyns keys generate --role {}` makes one", .duty.role().name())]
    NeverSigned {
        /// The records.
        duty: Duty,
    },
}

/// The key before a message, if there is one.
struct Prefix<'a>(&'a str);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            key => write!(f, "{key}: "),
        }
    }
}
