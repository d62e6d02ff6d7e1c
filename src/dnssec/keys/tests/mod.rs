//! Keys on disk, and their states over time.

mod caches;
mod files;
mod rolls;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use super::list::KeyList;
use super::pem;
use crate::base::clock::UnixTime;
use crate::base::name::ZoneName;
use crate::dnssec::DnssecConfig;
use crate::dnssec::key::{Algorithm, Role, SigningKey};

fn origin() -> ZoneName {
    ZoneName::parse("s.example.com").unwrap()
}

/// A DNSKEY TTL of 10 minutes, records with up to 6 hours, and an hour until all servers know of a change.
fn config(directory: &Path) -> DnssecConfig {
    DnssecConfig {
        keys: directory.into(),
        signature_validity: 86_400,
        signature_jitter: 3_600,
        inception_offset: 3_600,
        dnskey_ttl: 600,
        propagation_delay: 3_600,
    }
}

fn new_list(config: &DnssecConfig) -> KeyList {
    KeyList::new(origin(), config)
}

fn at(seconds: u64) -> UnixTime {
    UnixTime(seconds)
}

/// Keys of each role, all with different tags. They are shared, because making a key takes a while.
static KEYS: LazyLock<Vec<Arc<SigningKey>>> = LazyLock::new(|| {
    let mut keys: Vec<Arc<SigningKey>> = Vec::new();
    while keys.len() < 36 {
        let role = [Role::Csk, Role::Ksk, Role::Zsk][keys.len() % 3];
        let (_, key) = pem::generate(Algorithm::Ed25519, role).unwrap();
        if keys.iter().all(|other| other.tag() != key.tag()) {
            keys.push(key.into());
        }
    }
    keys
});

/// One of them that is not in the list.
fn new_key(list: &KeyList, role: Role) -> Option<Arc<SigningKey>> {
    let mut keys = KEYS.iter().filter(|key| key.role() == role);
    keys.find(|key| list.key(key.tag()).is_none()).cloned()
}

/// The keys of a list, in its order.
fn keys_of(list: &KeyList) -> Vec<Option<Arc<SigningKey>>> {
    let keys = list.keys.iter().map(|entry| {
        let key = KEYS.iter().find(|key| key.tag() == entry.tag);
        Some(key.unwrap().clone())
    });
    keys.collect()
}
