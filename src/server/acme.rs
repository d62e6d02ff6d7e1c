//! The ACME engine between the parts: what it has to know about the zones, and what they have to know about it.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use hickory_proto::rr::{LowerName, Name, RData, RecordType};
use tokio_util::sync::CancellationToken;

use super::blocking::blocking;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::certificates::Challenges;
use crate::certificates::acme::{
    AccountFacts, Acme, AcmeError, AcmeSettings, CertificateZones, NameServer,
};
use crate::dns::pipeline::handler::Handler;
use crate::link::Origin;
use crate::links::Namespace as _;
use crate::store::Store;
use crate::zone::{CaaAddition, LoadError, Lookup, ZoneAdditions, ZoneSet, Zones};

/// What the engine works with.
pub(super) struct Parts {
    pub(super) store: Arc<dyn Store>,
    pub(super) challenges: Arc<Challenges>,
    pub(super) zones: Arc<ZoneSet>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// One of its files cannot be used.
    #[error("HTTPS: {0}")]
    Acme(#[from] AcmeError),
    /// A zone file does not let the zone answer challenges.
    #[error(transparent)]
    Zones(#[from] LoadError),
}

/// The engine, and the zones that answer for it. Clones share them.
#[derive(Clone)]
pub(super) struct Engine {
    pub(super) acme: Arc<Acme>,
    zones: Arc<LinkZones>,
}

/// The zones with links.
#[derive(Debug)]
struct LinkZones {
    zones: Arc<ZoneSet>,
    /// What answers from them, once it does.
    handler: OnceLock<Handler>,
}

impl Engine {
    /// Opens the engine with the certificates that are in the store, and has the zones answer challenges.
    pub(super) async fn open(settings: AcmeSettings, parts: Parts) -> Result<Self, EngineError> {
        let Parts {
            store,
            challenges,
            zones,
            clock,
            metrics,
        } = parts;
        let zones = Arc::new(LinkZones {
            zones,
            handler: OnceLock::new(),
        });
        let view = zones.clone();
        let new = move || Acme::new(settings, store, challenges, view, clock, metrics);
        let acme = blocking(new).await?;
        acme.load().await?;
        let engine = Self {
            acme: Arc::new(acme),
            zones,
        };
        for origin in engine.zones.origins() {
            engine.zones.set(&origin, engine.additions(&origin))?;
        }
        Ok(engine)
    }

    /// From now on this handler answers from the zones.
    pub(super) fn attach(&self, handler: Handler) {
        let _only_once = self.zones.handler.set(handler);
    }

    /// Runs the engine until the server stops, and has the zones answer what follows from its certificates.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut changes = self.acme.changes();
        let follow = async {
            while changes.changed().await.is_ok() {
                for origin in self.zones.origins() {
                    if let Err(error) = self.zones.set(&origin, self.additions(&origin)) {
                        tracing::error!("{}", one_line(&error));
                    }
                }
            }
        };
        tokio::join!(self.acme.run(&stop), stop.run_until_cancelled(follow));
    }

    /// What a zone answers beyond its file.
    fn additions(&self, origin: &Origin) -> ZoneAdditions {
        ZoneAdditions {
            challenge: true,
            caa: self.acme.account().and_then(|account| caa(&account)),
            https: self.acme.has_certificate(origin),
        }
    }
}

impl LinkZones {
    /// Sets what a zone answers beyond its file.
    fn set(&self, origin: &Origin, additions: ZoneAdditions) -> Result<(), LoadError> {
        let is_changed = self.zones.set_additions(origin, additions)?;
        if let Some(handler) = self.handler.get().filter(|_| is_changed) {
            handler.zones_replaced();
        }
        Ok(())
    }
}

impl CertificateZones for LinkZones {
    fn origins(&self) -> Vec<Origin> {
        self.zones.origins()
    }

    fn name_servers(&self, origin: &Origin) -> Vec<NameServer> {
        let zones = self.zones.current();
        let name = name_of(origin.as_str());
        let set = name.and_then(|name| records(&zones, &name, RecordType::NS));
        let servers = set.into_iter().flatten().filter_map(|data| match data {
            RData::NS(server) => Some(server.0),
            _ => None,
        });
        let servers = servers.map(|server| {
            let text = server.to_ascii();
            NameServer {
                name: text.strip_suffix('.').unwrap_or(&text).into(),
                addresses: addresses(&zones, &LowerName::new(&server)),
            }
        });
        servers.collect()
    }

    /// The zone answers CAA records for the account from now on, unless it has others, which may forbid it.
    fn forbids(&self, origin: &Origin, account: &AccountFacts) -> Option<String> {
        let additions = ZoneAdditions {
            caa: caa(account),
            ..self.zones.additions(origin)
        };
        let set = self.set(origin, additions);
        set.err().map(|error| one_line(&error))
    }
}

fn caa(account: &AccountFacts) -> Option<CaaAddition> {
    let issuers = account.issuers.iter().map(String::as_str);
    CaaAddition::new(issuers, &account.uri)
}

fn one_line(error: &LoadError) -> String {
    let lines: Vec<_> = error.errors.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

fn name_of(origin: &str) -> Option<LowerName> {
    let name = Name::from_ascii(format!("{origin}.")).ok()?;
    Some(LowerName::new(&name))
}

/// The addresses of a host in the zones of this server; none if it is elsewhere.
fn addresses(zones: &Zones, host: &LowerName) -> Vec<IpAddr> {
    let types = [RecordType::A, RecordType::AAAA];
    let found = types
        .into_iter()
        .filter_map(|rtype| records(zones, host, rtype));
    let found = found.flatten().filter_map(|data| match data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    });
    found.collect()
}

/// The records of a type at a name of the zone files.
fn records(zones: &Zones, name: &LowerName, rtype: RecordType) -> Option<Vec<RData>> {
    let Lookup::Exact(node) = zones.find(name, rtype)?.lookup(name) else {
        return None;
    };
    node.rrset(rtype).map(|set| set.rdata.clone())
}
