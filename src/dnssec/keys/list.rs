//! `keys.toml`: which keys a zone has, and when each of them does what.
//!
//! All times are absolute and were worked out by the command that wrote them, with the delays and TTLs that
//! held then. So nothing that is changed in the configuration later can bring a change of keys forward.

use std::fmt::Write as _;

use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use super::directory::without_list;
use super::error::{KeysError, ListProblem};
use crate::base::clock::UnixTime;
use crate::base::files::read_regular;
use crate::base::name::ZoneName;
use crate::base::text::one_line;
use crate::base::toml_text::{line_of, read_toml};
use crate::dnssec::DnssecConfig;
use crate::dnssec::key::{Algorithm, Role};

/// The file's name in its directory.
pub const LIST_FILE: &str = "keys.toml";
/// The most keys: those of a roll-over, and what is left of those of the last years. Each may be tried by
/// validators, so a DNSKEY set must not grow without bound (RFC 4035 §5.3.3; CVE-2023-50387).
pub(super) const MAX_KEYS: usize = 32;
/// The longest file, in bytes; a key takes some 500.
pub(super) const MAX_LIST_LEN: u64 = 64 * 1024;

/// What stands at the head of the file.
const HEAD: &str = "\
# The keys of a signed zone, and when each of them does what. `tinyns keys` writes this file; servers
# read it at their start and on SIGHUP, and go by their clocks. To bring it to other servers, copy the
# .pem files first, and this file last.
";

/// The keys of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyList {
    /// The zone.
    pub origin: ZoneName,
    /// The TTL of the DNSKEY records when the list was changed last, in seconds.
    pub dnskey_ttl: u32,
    /// The largest TTL of the zone's records at that time, in seconds.
    pub max_ttl: u32,
    /// Until when caches may have records of this zone with TTLs larger than those, from before they were
    /// made smaller.
    pub settled: Option<UnixTime>,
    /// Since when the parent zone is asked to remove all DS records, so that the zone can be unsigned.
    pub unsigning: Option<UnixTime>,
    /// The keys, in the order in which they were made. No two have one tag; all have one algorithm.
    pub keys: Vec<KeyEntry>,
}

/// A key, and its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// Its tag (RFC 4034 appendix B).
    pub tag: u16,
    /// How it signs.
    pub algorithm: Algorithm,
    /// What it is for.
    pub role: Role,
    /// When it was made.
    pub created: UnixTime,
    /// From when on it is in the DNSKEY set.
    pub publish: UnixTime,
    /// From when on no cache has a DNSKEY set without it.
    pub ready: UnixTime,
    /// From when on it signs; none if that is not known yet.
    pub active: Option<UnixTime>,
    /// From when on it does not sign any more; only with `active`.
    pub retired: Option<UnixTime>,
    /// From when on it is not in the DNSKEY set any more; with `retired`, or without `active` for a key
    /// that was never used.
    pub removed: Option<UnixTime>,
    /// From when on there are CDS and CDNSKEY records of it.
    pub cds: Option<UnixTime>,
    /// From when on there are none any more; only with `cds`.
    pub cds_removed: Option<UnixTime>,
    /// Since when the parent zone has its DS record, as the operator says.
    pub ds_seen: Option<UnixTime>,
    /// The TTL of that, in seconds; with `ds_seen` and `ds_gone`, and only then.
    pub ds_ttl: Option<u32>,
    /// Since when the parent zone does not have it any more, as the operator says.
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

/// A problem, and the byte where it is.
pub(super) type Found<T> = Result<T, (usize, ListProblem)>;

impl KeyList {
    /// That of a zone without keys.
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

    /// Reads the list of the zone with this origin, as it is to be read now.
    ///
    /// # Errors
    /// [`KeysError::NoKeys`] where there is none; [`KeysError::List`] says where and what is wrong.
    pub fn read(
        config: &DnssecConfig,
        origin: &ZoneName,
        now: UnixTime,
    ) -> Result<Self, KeysError> {
        let file = config.keys.join(LIST_FILE);
        let bytes = read_regular(&file, MAX_LIST_LEN).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => without_list(&config.keys, origin),
            _ => KeysError::Io {
                action: "read",
                path: file.clone(),
                source,
            },
        })?;
        let list = Self::parse(&bytes, origin).map_err(|(at, problem)| KeysError::List {
            file,
            line: line_of(&bytes, at),
            problem,
        });
        let mut list = list?;
        list.adapt(config, now);
        Ok(list)
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

    /// The text of the file.
    pub fn to_toml(&self) -> String {
        let mut text = String::from(HEAD);
        // Writing to a String does not fail.
        // Of backslashes and quotes, which the name may have, TOML and Rust have the same escapes.
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

    /// Whether its times agree with each other.
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

    /// Whether those are there that others need.
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
                // Writing to a String does not fail.
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
