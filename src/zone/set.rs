//! All zones of a server: finding the one for a name, and reloading them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use hickory_proto::rr::{LowerName, RecordType};

use super::additions::{CHALLENGE_LABEL, ZoneAdditions};
use super::diagnostic::{Defect, Diagnostic, LoadError};
use super::lookup::Lookup;
use super::{Loaded, Zone, ZoneConfig, in_file, serial};
use crate::base::name::ZoneName;
use crate::base::name::wire::WireName;
use crate::dnssec::Signing;
use crate::link::{LinkName, Origin};
use crate::links::{Host, Namespace};

/// How zones are signed, by their origins; those that are not signed are missing.
pub type Signings = HashMap<ZoneName, Arc<Signing>>;

/// What zones with links answer beyond their files, by their origins; those without additions are missing.
type Additions = HashMap<Origin, ZoneAdditions>;

/// The zones of a server at one time.
#[derive(Clone, Debug)]
pub struct Zones {
    /// In the order of the configuration.
    zones: Vec<Arc<Zone>>,
    by_origin: HashMap<Box<[u8]>, usize>,
    /// The numbers of labels of the shortest and the longest origin. Only ancestors of a name with so many labels
    /// can be origins.
    labels: (usize, usize),
    /// The origins as hosts have them, in lower case and without the last dot; none if there are many.
    tails: Option<Box<[Box<[u8]>]>>,
}

/// With up to so many zones, comparing a host with each origin is faster than looking for its zone.
const MAX_TAILS: usize = 8;

impl Zones {
    /// Loads all zones.
    ///
    /// # Errors
    /// [`LoadError`] with everything that is wrong in all of them.
    pub fn load(configs: &[ZoneConfig], signings: &Signings) -> Loaded<Self> {
        Self::load_with(configs, signings, &Additions::new())
    }

    fn load_with(
        configs: &[ZoneConfig],
        signings: &Signings,
        additions: &Additions,
    ) -> Loaded<Self> {
        let mut zones: Vec<Arc<Zone>> = Vec::with_capacity(configs.len());
        let mut by_origin = HashMap::new();
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        for (place, config) in configs.iter().enumerate() {
            if configs[..place].iter().any(|c| c.origin == config.origin) {
                let defect = Defect::SameOrigin(config.origin.clone());
                errors.push(in_file(config, defect));
                continue;
            }
            if let Some(defect) = at_redirect_host(config, configs) {
                errors.push(in_file(config, defect));
            }
            match Zone::load(config) {
                Ok((mut zone, more)) => {
                    zone.signing = signings.get(&config.origin).cloned();
                    let additions = zone.link_origin().and_then(|origin| additions.get(origin));
                    if let Some(additions) = additions {
                        errors.extend(refusals(&zone, additions, configs));
                        zone = zone.with_additions(additions);
                    }
                    warnings.extend(more);
                    by_origin.insert(zone.apex_key.clone(), zones.len());
                    zones.push(Arc::new(zone));
                }
                Err(error) => errors.extend(error.errors),
            }
        }
        if !errors.is_empty() {
            return Err(LoadError { errors });
        }
        let labels = || zones.iter().map(|zone| zone.apex_labels);
        let labels = (labels().min().unwrap_or(0), labels().max().unwrap_or(0));
        let tail = |zone: &Arc<Zone>| {
            let labels: Vec<_> = zone.origin().iter().collect();
            labels.join(&b'.').into_boxed_slice()
        };
        let tails = (zones.len() <= MAX_TAILS).then(|| zones.iter().map(tail).collect());
        let zones = Self {
            zones,
            by_origin,
            labels,
            tails,
        };
        Ok((zones, warnings))
    }

    /// All of them, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.zones.iter().map(|zone| &**zone)
    }

    /// The zone that answers a query: the deepest zone at or above the name. A query for DS at the origin of a
    /// zone is answered from the zone above it, if that zone delegates the name: DS records are on the parent's
    /// side of a zone cut, and a server of both zones answers from there (RFC 4035 §3.1.4.1).
    pub fn find(&self, name: &LowerName, qtype: RecordType) -> Option<&Arc<Zone>> {
        self.find_for(&WireName::from_labels(name.iter())?, qtype)
    }

    /// The same as [`Zones::find`], for a name in wire form.
    pub(crate) fn find_for(&self, name: &WireName, qtype: RecordType) -> Option<&Arc<Zone>> {
        let zone = self.find_wire(name)?;
        if qtype != RecordType::DS || name.labels() != zone.apex_labels {
            return Some(zone);
        }
        let above = self.find_within(name, name.labels().saturating_sub(1));
        above
            .filter(|above| matches!(above.search(name), Lookup::Delegation { .. }))
            .or(Some(zone))
    }

    /// Whether a name is the origin of a zone.
    pub(crate) fn has_apex(&self, name: &WireName) -> bool {
        self.by_origin.contains_key(name.as_bytes())
    }

    /// Whether a host may be in a zone. This is a quick look at how it ends.
    fn may_hold(&self, host: &str) -> bool {
        let host = host.as_bytes();
        let ends = |tail: &[u8]| {
            let at = host.len().checked_sub(tail.len());
            at.is_some_and(|at| host[at..].eq_ignore_ascii_case(tail))
        };
        let tails = self.tails.as_deref();
        tails.is_none_or(|tails| tails.iter().any(|tail| ends(tail)))
    }

    fn find_wire(&self, name: &WireName) -> Option<&Arc<Zone>> {
        self.find_within(name, name.labels())
    }

    /// The deepest zone at or above a name whose origin has no more than `labels` labels.
    fn find_within(&self, name: &WireName, labels: usize) -> Option<&Arc<Zone>> {
        let (shortest, longest) = self.labels;
        (shortest..=longest.min(labels))
            .rev()
            .find_map(|labels| self.by_origin.get(name.suffix(labels)))
            .map(|&place| &self.zones[place])
    }

    /// The zone with this origin, if it holds links.
    fn link_zone(&self, origin: &str) -> Option<&Zone> {
        Some(&self.zones[self.link_place(origin)?])
    }

    /// The place of the zone with this origin, if it holds links.
    fn link_place(&self, origin: &str) -> Option<usize> {
        let name = WireName::from_labels(origin.split('.').map(str::as_bytes))?;
        let place = *self.by_origin.get(name.as_bytes())?;
        self.zones[place].link_origin().map(|_| place)
    }

    /// Whether a name is in another zone, or is a static name of this zone.
    fn is_taken(&self, zone: &Zone, labels: &[&[u8]]) -> bool {
        let suffix = zone.origin().iter();
        let name = WireName::from_labels(labels.iter().copied().chain(suffix));
        // A link cannot have a name that is too long.
        name.is_none_or(|name| {
            let found = self.find_wire(&name);
            !found.is_some_and(|found| std::ptr::eq(&**found, zone)) || zone.has_static(&name)
        })
    }

    pub(super) fn is_reserved(&self, name: &LinkName) -> bool {
        let Some(zone) = self.link_zone(name.origin()) else {
            return false;
        };
        let code = name.code().as_bytes();
        let redirect_host = zone
            .redirect_name
            .iter()
            .flat_map(|name| name.iter().next());
        self.is_taken(zone, &[code])
            || redirect_host
                .into_iter()
                .any(|label| self.is_taken(zone, &[code, label]))
    }

    fn classify_host(&self, host: &str) -> Host {
        let host = host.strip_suffix('.').unwrap_or(host);
        if !self.may_hold(host) {
            return Host::Foreign;
        }
        // RFC 5891 §5.5: hosts with letters of other scripts are in punycode.
        let name = host
            .is_ascii()
            .then(|| WireName::from_labels(host.split('.').map(str::as_bytes)))
            .flatten();
        let Some(name) = name else {
            return Host::Foreign;
        };
        let Some(zone) = self.find_wire(&name) else {
            return Host::Foreign;
        };
        let Some(origin) = zone.link_origin() else {
            // Delegated names are not served here; with the root zone, those are nearly all names.
            return match zone.search(&name) {
                Lookup::Delegation { .. } => Host::Foreign,
                _ => Host::Inside,
            };
        };
        if name.labels() == zone.apex_labels {
            return Host::Origin(origin.clone());
        }
        match zone.search(&name) {
            Lookup::Link { code, .. } => Host::Link(LinkName::new(&code, origin)),
            _ => Host::Inside,
        }
    }
}

/// The defect of a zone at the redirect host of another zone, whose links are all below that name. A zone below
/// the redirect host is allowed: it takes the name of one code, as a name of the file does.
fn at_redirect_host(config: &ZoneConfig, all: &[ZoneConfig]) -> Option<Defect> {
    let at_redirect_host = |links: &&ZoneConfig| {
        let redirect_host = links.redirect_host.as_ref();
        redirect_host
            .is_some_and(|label| config.origin.as_str() == format!("{label}.{}", links.origin))
    };
    let links = all.iter().find(at_redirect_host)?;
    Some(Defect::AtRedirectHost {
        origin: config.origin.clone(),
        links: links.origin.clone(),
    })
}

/// What forbids these additions to a zone: in its file, or in the configuration.
fn refusals(zone: &Zone, additions: &ZoneAdditions, all: &[ZoneConfig]) -> Vec<Diagnostic> {
    let mut found = zone.refusals(additions);
    let labels = zone.origin().iter();
    let name = WireName::from_labels([CHALLENGE_LABEL].into_iter().chain(labels));
    let at_challenge = |config: &&ZoneConfig| {
        let origin = config.origin.wire();
        name.as_ref().is_some_and(|name| name.as_bytes() == origin)
    };
    let of = |wire: &[u8]| all.iter().find(|config| config.origin.wire() == wire);
    if additions.challenge
        && let Some(config) = all.iter().find(at_challenge)
        && let Some(links) = of(zone.apex_key())
    {
        let defect = Defect::ChallengeZone {
            origin: config.origin.clone(),
            links: links.origin.clone(),
        };
        found.push(in_file(config, defect));
    }
    found
}

/// The zones that the parts of a server share. A reload replaces all of them at once.
#[derive(Debug)]
pub struct ZoneSet {
    configs: Vec<ZoneConfig>,
    /// How zones are signed, by their origins.
    signings: Signings,
    current: ArcSwap<Zones>,
    /// Held during a reload, so that of two reloads the one that reads the files later also stores its zones
    /// later. A reload keeps the additions.
    reloading: Mutex<Additions>,
}

impl ZoneSet {
    /// Loads all zones.
    ///
    /// # Errors
    /// [`LoadError`] with everything that is wrong in all of them.
    pub fn load(configs: Vec<ZoneConfig>) -> Loaded<Self> {
        Self::load_signed(configs, Signings::default())
    }

    /// Loads all zones. Those in `signings` are signed.
    ///
    /// # Errors
    /// [`LoadError`] with everything that is wrong in all of them.
    pub fn load_signed(configs: Vec<ZoneConfig>, signings: Signings) -> Loaded<Self> {
        let (zones, warnings) = Zones::load(&configs, &signings)?;
        let set = Self {
            configs,
            signings,
            current: ArcSwap::from_pointee(zones),
            reloading: Mutex::default(),
        };
        Ok((set, warnings))
    }

    /// Warnings for zones with `[zone.dnssec]` whose TTLs signed answers have to cut, a line each.
    pub fn ttls_beyond(&self) -> Vec<String> {
        let zones = self.current();
        let pairs = self.configs.iter().zip(zones.iter());
        let found = pairs.filter_map(|(config, zone)| zone.ttl_beyond(config.dnssec.as_ref()?));
        found.collect()
    }

    /// How zones are signed, by their origins.
    pub fn signings(&self) -> &Signings {
        &self.signings
    }

    /// The current zones. Hold the guard for one answer, not longer.
    pub fn current(&self) -> Guard<Arc<Zones>> {
        self.current.load()
    }

    /// The current zones, for holding them longer than one answer.
    pub fn snapshot(&self) -> Arc<Zones> {
        self.current.load_full()
    }

    /// Reads all files again and replaces all zones at once. Returns warnings. This reads files, so do not call it
    /// on a thread that answers queries.
    ///
    /// # Errors
    /// [`LoadError`] if any file has an error. All zones then stay as they were.
    pub fn reload(&self) -> Result<Vec<Diagnostic>, LoadError> {
        let additions = self.lock();
        let (zones, mut warnings) = Zones::load_with(&self.configs, &self.signings, &additions)?;
        // Both have all zones, in the order of the configuration.
        let before = self.current.load_full();
        let pairs = before.iter().zip(zones.iter());
        warnings.extend(pairs.filter_map(|(old, new)| serial::check(old, new)));
        self.current.store(Arc::new(zones));
        Ok(warnings)
    }

    /// What the zone of these links answers beyond its file.
    pub fn additions(&self, origin: &Origin) -> ZoneAdditions {
        self.lock().get(origin).cloned().unwrap_or_default()
    }

    /// Sets what the zone of these links answers beyond its file, and returns whether that is a change. Reloads
    /// keep it. After a change the caller must discard what was derived from the zone before (`zones_replaced` of
    /// the DNS handler). Reads no files, and takes no longer than a copy of two names of the zone.
    ///
    /// # Errors
    /// [`LoadError`] if the zone file or the configuration forbids it: the former additions stay.
    pub fn set_additions(
        &self,
        origin: &Origin,
        additions: ZoneAdditions,
    ) -> Result<bool, LoadError> {
        let mut all = self.lock();
        let zones = self.current.load_full();
        let Some(place) = zones.link_place(origin.as_str()) else {
            return Ok(false);
        };
        let zone = &zones.zones[place];
        if *zone.additions() == additions {
            return Ok(false);
        }
        let errors = refusals(zone, &additions, &self.configs);
        if !errors.is_empty() {
            return Err(LoadError { errors });
        }
        let mut changed = Zones::clone(&zones);
        changed.zones[place] = Arc::new(zone.with_additions(&additions));
        self.current.store(Arc::new(changed));
        all.insert(origin.clone(), additions);
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Additions> {
        self.reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Namespace for ZoneSet {
    fn origins(&self) -> Vec<Origin> {
        // The configuration says which zones hold links, and no reload changes it.
        let zones = self.current();
        let holding = zones.iter().filter_map(Zone::link_origin);
        holding.cloned().collect()
    }

    fn is_reserved(&self, name: &LinkName) -> bool {
        self.current().is_reserved(name)
    }

    fn classify_host(&self, host: &str) -> Host {
        self.current().classify_host(host)
    }

    fn link_ttl(&self, name: &LinkName) -> u32 {
        let zones = self.current();
        let zone = zones.iter().find(|zone| holds(zone, name.origin()));
        zone.map_or(0, Zone::link_ttl)
    }

    fn negative_ttl(&self, origin: &str) -> u32 {
        let zones = self.current();
        let zone = zones.iter().find(|zone| holds(zone, origin));
        zone.map_or(0, |zone| zone.negative_soa().ttl)
    }
}

/// Whether a zone has the links below this origin.
fn holds(zone: &Zone, origin: &str) -> bool {
    let links = zone.link_origin();
    links.is_some_and(|links| links.as_str() == origin)
}
