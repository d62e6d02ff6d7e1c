//! Zones: what the master files say, and how it is searched.
//!
//! ```text
//!   master/  bytes -> records, each with its file and line      diagnostic  what was wrong where
//!   build    records -> names, or everything wrong with them    tree, wire  the names
//!   lookup   name -> what the zone says about it                set         all zones, and reload
//! ```
//!
//! A [`Zone`] is never changed once it is loaded: a reload makes new ones and swaps them in whole,
//! so an answer comes from one state of a file. Links are not in it. The zone only knows where
//! their names are, and which of those the file has taken: static names always win.
//!
//! Hickory's own `InMemoryZoneHandler` was turned down: its search has open bugs at wildcards and
//! zone cuts, and walks all keys on a negative answer.

mod build;
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

pub use self::diagnostic::{Diagnostic, GenerateProblem, LoadError, NameProblem, Problem};
pub use self::lookup::{LinkPlace, Lookup};
pub use self::set::{Signings, ZoneSet, Zones};
pub use self::tree::{Node, RrSet};

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
    /// Its apex: any name, but for a zone with links one that makes an [`Origin`].
    pub origin: ZoneName,
    /// Its master file.
    pub file: PathBuf,
    /// The label below which links have their data, one host label in lower case; a zone without it
    /// serves only its file.
    pub redirect_host: Option<Box<str>>,
    /// Which names a link has.
    pub layout: Layout,
    /// The TTL of a link's records, in seconds, where the link has none of its own.
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

/// A zone as its file describes it.
#[derive(Debug)]
pub struct Zone {
    origin: LowerName,
    apex_key: Box<[u8]>,
    apex_labels: usize,
    layout: Layout,
    link_ttl: u32,
    link_origin: Option<Origin>,
    redirect_name: Option<Name>,
    redirect_host: Option<usize>,
    /// What the labels of its stand-ins are made of.
    stand_in_fill: u8,
    negative_soa: Record,
    serial: ZoneSerial,
    /// The SOA record's own TTL, in seconds.
    soa_ttl: u32,
    /// The types of records that it has beyond those that are in common use, in order.
    rare_types: Box<[u16]>,
    tree: Tree,
    /// How it is signed, if it is.
    signing: Option<Arc<Signing>>,
}

/// The serial of a zone, and where it stands.
#[derive(Debug)]
struct ZoneSerial {
    number: u32,
    file: Arc<Path>,
    line: u32,
}

/// The first type of records beyond those in common use: those below have been given out one after the other (RFC
/// 6895 §3.1), and those above are few or for private use.
const RARE_TYPES: u16 = 300;

/// What a load gives: what was made, and warnings in the order of the files and their lines.
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
        let names = Names::of(config).map_err(|problem| LoadError {
            errors: vec![in_file(config, problem)],
        })?;
        let master = read(&names.origin_key);
        if master.incomplete {
            // With records missing, whatever else seems to be wrong may be right.
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
            // Hickory's own count leaves a `*` out.
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
            tree: built.tree,
            signing: None,
        };
        let warnings = built.hosts.iter();
        let warnings = warnings.filter_map(|host| zone.check_host(host)).collect();
        (zone, warnings)
    }

    /// What is wrong with the host in this zone that a record points to.
    fn check_host(&self, host: &Host) -> Option<Diagnostic> {
        let Host {
            owner,
            target,
            record,
        } = host;
        let name = || Box::new(Shown::from(target));
        let of = || Box::new(Shown::from(owner));
        let rtype = record.rdata.record_type();
        let problem = match self.lookup(target) {
            Lookup::Dname { owner: dname, .. } => Some(Problem::TargetBelowDname {
                owner: of(),
                rtype,
                target: name(),
                dname: Box::new(Shown::from(dname)),
            }),
            found if rtype == RecordType::NS => (!self.can_find_address(found, target, owner))
                .then(|| Problem::NsWithoutAddress(name())),
            found => is_alias(&found).then(|| Problem::TargetIsAlias {
                owner: of(),
                rtype,
                target: name(),
            }),
        };
        problem.map(|problem| record.diagnose(problem))
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

    /// A name that stands for all names of this zone that are as long as this one.
    /// Apart from the origin it has no label in common with the negative SOA, so that in an answer that was
    /// encoded behind it no name leads into its own labels, which are another's in each reply.
    pub(crate) fn stand_in(&self, name: &WireName) -> WireName {
        name.stand_in(self.apex_labels, self.stand_in_fill)
    }

    /// Whether a type is one of those beyond the common ones, of which there are too many to keep an answer for
    /// each, and nothing in the zone has it: what a name has to say is then the same as for all other such types.
    pub(crate) fn is_strange(&self, qtype: u16) -> bool {
        qtype >= RARE_TYPES && self.rare_types.binary_search(&qtype).is_err()
    }

    /// Whether there is a TTL, of the file or of links that have none of their own, that signed answers have to
    /// cut; for people.
    pub fn ttl_beyond(&self, dnssec: &DnssecConfig) -> Option<String> {
        let (largest, most) = (self.tree.max_ttl().max(self.link_ttl), dnssec.max_ttl());
        (largest > most).then(|| {
            format!(
                "{}: TTLs up to {largest} are cut to {most} in signed answers, a quarter of \
                 signature_validity; before it is signed, lower them for as long as the largest",
                Shown::from(&self.origin)
            )
        })
    }

    /// The TTL of the SOA record where it is asked for, in seconds.
    pub(crate) fn soa_ttl(&self) -> u32 {
        self.soa_ttl
    }

    /// The SOA record for negative answers: its TTL is how long they may be kept (RFC 2308 §5).
    pub fn negative_soa(&self) -> &Record {
        &self.negative_soa
    }
}

/// A byte of which no label in the data of a SOA record is made alone.
/// There are 161 of those that no name of a host has; only two names made for it could take them all.
fn stand_in_fill(soa: &Record) -> u8 {
    let RData::SOA(soa) = &soa.data else { return 0 };
    let is_taken = |byte: u8| {
        let mut labels = soa.mname.iter().chain(soa.rname.iter());
        labels.any(|label| label.iter().all(|&other| other == byte))
    };
    let mut bytes = (0..=u8::MAX).filter(|byte| !byte.is_ascii() || byte.is_ascii_control());
    bytes.find(|byte| !is_taken(*byte)).unwrap_or(0)
}

/// The names that a zone's configuration tells.
struct Names {
    origin: LowerName,
    origin_key: Box<[u8]>,
    /// The origin of the links, if it holds any.
    links: Option<Origin>,
    /// The redirect host's, with its wire form.
    redirect: Option<(Name, Box<[u8]>)>,
}

impl Names {
    fn of(config: &ZoneConfig) -> Result<Self, Problem> {
        // A name of the configuration is no longer than one may be, and so are its labels.
        let origin = Name::from_labels(config.origin.labels()).unwrap_or_default();
        let (links, redirect) = match &config.redirect_host {
            Some(label) => {
                let links = Origin::parse(config.origin.as_str()).map_err(Problem::LinkOrigin)?;
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
) -> Result<(Name, Box<[u8]>), Problem> {
    // The rule for codes is that for the labels of hosts.
    let code = Code::parse(label).map_err(|why| Problem::RedirectHost(label.into(), why))?;
    if code.as_str() != label {
        return Err(Problem::RedirectHostCase(label.into()));
    }
    let no_room = || Problem::NoRoomForCodes {
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
fn in_file(config: &ZoneConfig, problem: Problem) -> Diagnostic {
    Diagnostic {
        file: Arc::from(&*config.file),
        line: None,
        column: None,
        problem,
    }
}

/// Sorts diagnostics by file and line, and cuts a list that nobody would read to its end.
fn in_order(mut all: Vec<Diagnostic>) -> Vec<Diagnostic> {
    all.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    if all.len() > MAX_DIAGNOSTICS {
        let more = all.len() - MAX_DIAGNOSTICS;
        all.truncate(MAX_DIAGNOSTICS);
        if let Some(last) = all.last().cloned() {
            all.push(Diagnostic {
                line: None,
                column: None,
                problem: Problem::More(more),
                ..last
            });
        }
    }
    all
}

#[cfg(test)]
mod tests;
