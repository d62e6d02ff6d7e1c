//! Zones: reading master files, and searching for names.
//!
//! ```text
//!   master/  bytes -> records, each with its file and line    diagnostic  defects, and their messages
//!   build    records -> names, or a list of defects           tree        the names
//!   lookup   name -> what the zone has for it                 set         all zones, and reload
//!   taken    codes of links that a file takes                 serial      the check of serials
//!   additions  what a zone answers beyond its file           caa         whether a file allows an issuer
//! ```
//!
//! A [`Zone`] never changes once it is made: a reload makes new zones and replaces all of them at once, so an
//! answer comes from one state of the files. Links are not in it. The zone knows which names can belong to links,
//! and which of those are static names of its file: static names always win.
//!
//! Hickory's `InMemoryZoneHandler` is not used: its search has open bugs at wildcards and zone cuts, and it walks
//! all keys for a negative answer.

pub(crate) mod additions;
mod build;
mod caa;
mod diagnostic;
mod lookup;
mod master;
mod serial;
mod set;
mod taken;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};

pub use self::additions::ZoneAdditions;
pub use self::caa::CaaAddition;
pub use self::diagnostic::{Defect, Diagnostic, GenerateProblem, LoadError, NameProblem};
pub use self::lookup::{LinkPlace, Lookup};
pub use self::set::{Signings, ZoneSet, Zones};
pub use self::tree::{Node, RrSet};

use self::additions::{Added, OwnRecords};
use self::build::{Builder, Built, Host};
use self::diagnostic::MAX_DIAGNOSTICS;
use self::lookup::is_alias;
use self::master::Master;
use self::tree::Tree;
use crate::base::name::wire::WireName;
use crate::base::name::{MAX_LABEL_LEN, MAX_NAME_LEN};
use crate::base::name::{Shown, ZoneName};
use crate::dnssec::{DnssecConfig, Signing};
use crate::link::{Code, Origin};

/// How a zone is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneConfig {
    /// Its apex: any name. For a zone with links it must be a legal [`Origin`].
    pub origin: ZoneName,
    /// Its master file.
    pub file: PathBuf,
    /// The label below which links have their records: one host label in lower case. A zone without it serves only
    /// its file.
    pub redirect_host: Option<Box<str>>,
    /// Which names a link has.
    pub layout: Layout,
    /// The TTL of the records of links without a TTL of their own, in seconds.
    pub link_ttl: u32,
    /// How it is signed; none if it is not.
    pub dnssec: Option<DnssecConfig>,
}

/// Which names a link has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `<code>.<origin>` is an alias of `<code>.<redirect_host>.<origin>`, which owns the records.
    Cname,
    /// `<code>.<origin>` owns the records itself.
    Direct,
}

/// A zone as its file describes it, and its additions.
#[derive(Clone, Debug)]
pub struct Zone {
    origin: LowerName,
    apex_key: Box<[u8]>,
    apex_labels: usize,
    layout: Layout,
    link_ttl: u32,
    link_origin: Option<Origin>,
    redirect_name: Option<Name>,
    redirect_host: Option<usize>,
    /// The byte that the labels of its stand-in names consist of, see [`Zone::stand_in`].
    stand_in_fill: u8,
    negative_soa: Record,
    serial: ZoneSerial,
    /// The SOA record's own TTL, in seconds.
    soa_ttl: u32,
    /// The types of its records from [`RARE_TYPES`] upwards, sorted.
    rare_types: Box<[u16]>,
    tree: Arc<Tree>,
    /// How it is signed, if it is.
    signing: Option<Arc<Signing>>,
    /// The records of the file at names of additions.
    own: Arc<OwnRecords>,
    additions: ZoneAdditions,
    /// The nodes that additions change, by their places in the tree.
    added: Added,
}

/// The serial of a zone, and where it stands.
#[derive(Clone, Debug)]
struct ZoneSerial {
    number: u32,
    file: Arc<Path>,
    line: u32,
}

/// The first rare type: types below it were assigned in sequence (RFC 6895 §3.1), and of those above only few are
/// assigned or in private use.
const RARE_TYPES: u16 = 300;

/// The result of a load: a zone or zones, and warnings in the order of the files and their lines.
type Loaded<T> = Result<(T, Vec<Diagnostic>), LoadError>;

impl Zone {
    /// Loads a zone from its file.
    ///
    /// # Errors
    /// [`LoadError`] with everything that is wrong.
    pub fn load(config: &ZoneConfig) -> Loaded<Self> {
        Self::make(config, |origin| master::read_file(&config.file, origin))
    }

    /// Makes a zone of the text of a master file; messages name it by [`ZoneConfig::file`].
    ///
    /// # Errors
    /// [`LoadError`] with everything that is wrong.
    pub fn parse(config: &ZoneConfig, text: &str) -> Loaded<Self> {
        let text = text.as_bytes();
        Self::make(config, |origin| {
            master::read_text(&config.file, text, origin)
        })
    }

    fn make(config: &ZoneConfig, read: impl FnOnce(&[u8]) -> Master) -> Loaded<Self> {
        let names = Names::of(config).map_err(|defect| LoadError {
            errors: vec![in_file(config, defect)],
        })?;
        let master = read(&names.origin_key);
        if master.incomplete {
            // Records are missing, so further checks could report defects that do not exist.
            return Err(LoadError {
                errors: master.errors,
            });
        }
        let redirect_key = names.redirect.as_ref().map(|(_, key)| &**key);
        let mut builder = Builder::new(config, &names.origin, &names.origin_key, redirect_key);
        let built = builder.build(master.records);
        let mut errors = master.errors;
        errors.append(&mut builder.errors);
        let mut warnings = master.warnings;
        warnings.append(&mut builder.warnings);
        let Some(built) = built.filter(|_| errors.is_empty()) else {
            return Err(LoadError {
                errors: in_order(errors),
            });
        };
        let (zone, more) = Self::from_parts(config, names, built);
        warnings.extend(more);
        Ok((zone, in_order(warnings)))
    }

    fn from_parts(config: &ZoneConfig, names: Names, built: Built) -> (Self, Vec<Diagnostic>) {
        let soa_ttl = built.soa.ttl;
        let serial = ZoneSerial {
            number: match &built.soa.rdata {
                RData::SOA(data) => data.serial,
                _ => 0,
            },
            file: built.soa.file,
            line: built.soa.line,
        };
        let mut negative_soa = Record::from_rdata(built.soa.owner, built.soa.ttl, built.soa.rdata);
        // RFC 2308 §5: the minimum of the MINIMUM field and the SOA's own TTL.
        if let RData::SOA(data) = &negative_soa.data {
            negative_soa.ttl = negative_soa.ttl.min(data.minimum);
        }
        let zone = Self {
            // Hickory's count of labels leaves out a `*`.
            apex_labels: config.origin.labels().count(),
            origin: names.origin,
            apex_key: names.origin_key,
            layout: config.layout,
            link_ttl: config.link_ttl,
            link_origin: names.links,
            redirect_name: names.redirect.map(|(name, _)| name),
            redirect_host: built.redirect_host,
            stand_in_fill: stand_in_fill(&negative_soa),
            negative_soa,
            serial,
            soa_ttl,
            rare_types: built.tree.types_from(RARE_TYPES),
            tree: Arc::new(built.tree),
            signing: None,
            own: Arc::new(built.own),
            additions: ZoneAdditions::default(),
            added: Arc::default(),
        };
        let warnings = built.hosts.iter();
        let warnings = warnings.filter_map(|host| zone.check_host(host)).collect();
        (zone, warnings)
    }

    /// The defect, if any, of a host in this zone that a record points to.
    fn check_host(&self, host: &Host) -> Option<Diagnostic> {
        let Host {
            owner,
            target,
            record,
        } = host;
        let name = || Box::new(Shown::from(target));
        let of = || Box::new(Shown::from(owner));
        let rtype = record.rdata.record_type();
        let defect = match self.lookup(target) {
            Lookup::Dname { owner: dname, .. } => Some(Defect::TargetBelowDname {
                owner: of(),
                rtype,
                target: name(),
                dname: Box::new(Shown::from(dname)),
            }),
            found if rtype == RecordType::NS => (!self.can_find_address(found, target, owner))
                .then(|| Defect::NsWithoutAddress(name())),
            found => is_alias(&found).then(|| Defect::TargetIsAlias {
                owner: of(),
                rtype,
                target: name(),
            }),
        };
        defect.map(|defect| record.diagnose(defect))
    }

    /// The name of the apex.
    pub fn origin(&self) -> &LowerName {
        &self.origin
    }

    /// How many labels its origin has, without the root.
    pub(crate) fn apex_labels(&self) -> usize {
        self.apex_labels
    }

    /// The name of the apex in wire form and lower case.
    pub(crate) fn apex_key(&self) -> &[u8] {
        &self.apex_key
    }

    /// How it is signed, if it is.
    pub fn signing(&self) -> Option<&Signing> {
        self.signing.as_deref()
    }

    /// Which names a link has.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The TTL of links that have none of their own, in seconds.
    pub fn link_ttl(&self) -> u32 {
        self.link_ttl
    }

    /// The origin of the links in this zone; none if it holds no links.
    pub fn link_origin(&self) -> Option<&Origin> {
        self.link_origin.as_ref()
    }

    /// `<code>.<redirect_host>.<origin>`; none if the zone holds no links or `code` is no label.
    pub fn target_name(&self, code: &str) -> Option<Name> {
        self.redirect_name
            .as_ref()?
            .prepend_label(code.as_bytes())
            .ok()
    }

    /// A placeholder for all names of this zone that have the same length as `name`. An answer that a name does not
    /// exist is kept once, encoded for the placeholder, and each reply gets the name of its query. Apart from the
    /// origin, the placeholder has no label in common with the SOA record of negative answers, so no compressed
    /// name points into its labels.
    pub(crate) fn stand_in(&self, name: &WireName) -> WireName {
        name.stand_in(self.apex_labels, self.stand_in_fill)
    }

    /// Whether a type is rare and the zone has no records of it. There are too many such types to keep an answer
    /// for each, and a name has the same answer for all of them.
    pub(crate) fn is_strange(&self, qtype: u16) -> bool {
        qtype >= RARE_TYPES && self.rare_types.binary_search(&qtype).is_err()
    }

    /// A warning for operators if signed answers have to cut TTLs: those of the file, or the TTL of links that
    /// have none of their own.
    pub fn ttl_beyond(&self, dnssec: &DnssecConfig) -> Option<String> {
        let (largest, most) = (self.tree.max_ttl().max(self.link_ttl), dnssec.max_ttl());
        (largest > most).then(|| {
            format!(
                "{}: signed answers cut TTLs of up to {largest} to {most}, a quarter of signature_validity; \
                 lower them, and sign the zone only {largest} seconds later",
                Shown::from(&self.origin)
            )
        })
    }

    /// The TTL of the SOA record in answers to queries for it, in seconds.
    pub(crate) fn soa_ttl(&self) -> u32 {
        self.soa_ttl
    }

    /// The SOA record for negative answers. Its TTL is how long caches may keep them (RFC 2308 §5).
    pub fn negative_soa(&self) -> &Record {
        &self.negative_soa
    }
}

/// A byte such that no label in the data of this SOA record consists of it alone. 161 bytes cannot stand in the
/// name of a host, so one is always free, unless the names in the record were chosen to prevent it.
fn stand_in_fill(soa: &Record) -> u8 {
    let RData::SOA(soa) = &soa.data else { return 0 };
    let is_taken = |byte: u8| {
        let mut labels = soa.mname.iter().chain(soa.rname.iter());
        labels.any(|label| label.iter().all(|&other| other == byte))
    };
    let mut bytes = (0..=u8::MAX).filter(|byte| !byte.is_ascii() || byte.is_ascii_control());
    bytes.find(|byte| !is_taken(*byte)).unwrap_or(0)
}

/// The names in a zone's configuration.
struct Names {
    origin: LowerName,
    origin_key: Box<[u8]>,
    /// The origin of the links, if the zone holds links.
    links: Option<Origin>,
    /// The name of the redirect host, and its wire form.
    redirect: Option<(Name, Box<[u8]>)>,
}

impl Names {
    fn of(config: &ZoneConfig) -> Result<Self, Defect> {
        // The configuration has checked the length of the name and of its labels.
        let origin = Name::from_labels(config.origin.labels()).unwrap_or_default();
        let (links, redirect) = match &config.redirect_host {
            Some(label) => {
                let links = Origin::parse(config.origin.as_str()).map_err(Defect::LinkOrigin)?;
                (Some(links), Some(redirect_name(config, label, &origin)?))
            }
            None => (None, None),
        };
        Ok(Self {
            origin: LowerName::new(&origin),
            origin_key: config.origin.wire().into(),
            links,
            redirect,
        })
    }
}

/// The name of the redirect host, if a code fits in front of it.
fn redirect_name(
    config: &ZoneConfig,
    label: &str,
    origin: &Name,
) -> Result<(Name, Box<[u8]>), Defect> {
    // Codes follow the rule for labels of hosts.
    let code = Code::parse(label).map_err(|why| Defect::RedirectHost(label.into(), why))?;
    if code.as_str() != label {
        return Err(Defect::RedirectHostCase(label.into()));
    }
    let no_room = || Defect::NoRoomForCodes {
        redirect_host: label.into(),
        origin: config.origin.clone(),
    };
    let name = origin
        .prepend_label(label.as_bytes())
        .map_err(|_| no_room())?;
    let key = WireName::from_labels(name.iter()).ok_or_else(no_room)?;
    if key.as_bytes().len() + 1 + MAX_LABEL_LEN > MAX_NAME_LEN {
        return Err(no_room());
    }
    Ok((name, key.as_bytes().into()))
}

/// A diagnostic of the whole file.
fn in_file(config: &ZoneConfig, defect: Defect) -> Diagnostic {
    Diagnostic {
        file: Arc::from(&*config.file),
        line: None,
        column: None,
        defect,
    }
}

/// Sorts diagnostics by file and line, and cuts the list at [`MAX_DIAGNOSTICS`].
fn in_order(mut all: Vec<Diagnostic>) -> Vec<Diagnostic> {
    all.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    if all.len() > MAX_DIAGNOSTICS {
        let more = all.len() - MAX_DIAGNOSTICS;
        all.truncate(MAX_DIAGNOSTICS);
        if let Some(last) = all.last().cloned() {
            all.push(Diagnostic {
                line: None,
                column: None,
                defect: Defect::More(more),
                ..last
            });
        }
    }
    all
}

#[cfg(test)]
mod tests;
