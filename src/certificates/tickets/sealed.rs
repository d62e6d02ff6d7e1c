//! The document of ticket keys, and how the keys in it are sealed.
//!
//! Servers with different certificates share a store: each zone may have its own certificate, and while certificates are
//! replaced, some servers have the old one. So the document has an entry for each private key and service. An entry has a
//! name, the time of its end, and the sealed keys. Entries whose keys are used up are removed.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::Error;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::schedule::{KeySet, NoRandom};
use crate::base::clock::UnixTime;

/// The version of the encoding.
const VERSION: u32 = 1;
/// How many entries a document may have: some 200 KiB. Certificates beyond that have tickets of their server alone.
const MAX_ENTRIES: usize = 400;
/// The length of an entry's name, in bytes.
const NAME_LEN: usize = 16;
/// The salt of all keys that are derived here (RFC 5869 §3.1).
const SALT: &[u8] = b"tinyns session tickets";

/// The key that seals the ticket keys of one private key and service.
pub(in crate::certificates) struct TicketSeal {
    /// Names the entry. It says nothing about the private key.
    name: String,
    key: LessSafeKey,
}

impl TicketSeal {
    /// Derives the seal from the private key of a certificate. `service` keeps the tickets of services apart.
    pub(in crate::certificates) fn of(
        key: &PrivateKeyDer<'_>,
        service: &str,
    ) -> Result<Self, Error> {
        let failed = |_| Error::General("HKDF".into());
        let secret = Salt::new(HKDF_SHA256, SALT).extract(key.secret_der());
        let info = [service.as_bytes(), b" seal"];
        let seal = secret.expand(&info, &AES_256_GCM).map_err(failed)?;
        let key = LessSafeKey::new(seal.into());
        let info = [service.as_bytes(), b" name"];
        let mut name = [0; NAME_LEN];
        let expanded = secret.expand(&info, NameLen).map_err(failed)?;
        expanded.fill(&mut name).map_err(failed)?;
        Ok(Self {
            name: hex(&name),
            key,
        })
    }

    /// Whether another seal opens what this one has sealed.
    pub(in crate::certificates) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
    }

    fn seal(&self, keys: &KeySet) -> Result<Entry, NoRandom> {
        let until = keys.end().0;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| NoRandom)?;
        let mut sealed = keys.encoded();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(unique, Aad::from(until.to_be_bytes()), &mut sealed)
            .map_err(|_| NoRandom)?;
        Ok(Entry {
            name: self.name.clone(),
            until,
            sealed: hex(&[&nonce[..], &sealed].concat()),
        })
    }

    fn open(&self, entry: &Entry) -> Option<KeySet> {
        let mut bytes = unhex(&entry.sealed)?;
        let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(entry.until.to_be_bytes());
        let keys = self.key.open_in_place(nonce, aad, sealed).ok()?;
        KeySet::decoded(keys)
    }
}

struct NameLen;

impl KeyType for NameLen {
    fn len(&self) -> usize {
        NAME_LEN
    }
}

/// The document.
#[derive(Debug, Deserialize, Serialize)]
pub(in crate::certificates) struct Entries {
    version: u32,
    entries: Vec<Entry>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Entry {
    name: String,
    /// When its last key is no longer used, in seconds since the epoch.
    until: u64,
    sealed: String,
}

impl Default for Entries {
    fn default() -> Self {
        Self {
            version: VERSION,
            entries: Vec::new(),
        }
    }
}

impl Entries {
    /// Reads the content of the document; none if it is not of this version.
    pub(in crate::certificates) fn decoded(content: &[u8]) -> Option<Self> {
        let entries: Self = serde_json::from_slice(content).ok()?;
        (entries.version == VERSION).then_some(entries)
    }

    pub(in crate::certificates) fn encoded(&self) -> Vec<u8> {
        // Strings and numbers always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The keys of this seal now, and whether they are other ones than before. None if the document is full.
    pub(in crate::certificates) fn keys(
        &mut self,
        seal: &TicketSeal,
        now: UnixTime,
    ) -> Result<Option<(KeySet, bool)>, NoRandom> {
        let place = self.entries.iter().position(|one| one.name == seal.name);
        let found = place.and_then(|place| seal.open(self.entries.get(place)?));
        let renewed = match &found {
            Some(keys) => keys.renewed(now)?,
            None => Some(KeySet::made(now)?),
        };
        let Some(keys) = renewed else {
            return Ok(found.map(|keys| (keys, false)));
        };
        let is_over = |one: &Entry| one.name == seal.name || one.until <= now.0;
        self.entries.retain(|one| !is_over(one));
        if self.entries.len() >= MAX_ENTRIES {
            return Ok(None);
        }
        self.entries.push(seal.seal(&keys)?);
        Ok(Some((keys, true)))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let byte = |pair: &[u8; 2]| {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
    };
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

    const NOW: UnixTime = UnixTime(1_700_000_000);

    fn seal(key: &[u8], service: &str) -> TicketSeal {
        let key = PrivatePkcs8KeyDer::from(key.to_vec());
        TicketSeal::of(&key.into(), service).unwrap()
    }

    #[test]
    fn each_private_key_and_service_has_its_own_entry() {
        let mut entries = Entries::default();
        let seals = [seal(b"one", "x"), seal(b"two", "x"), seal(b"one", "y")];
        let made = seals.each_ref().map(|seal| {
            let (keys, is_new) = entries.keys(seal, NOW).unwrap().unwrap();
            assert!(is_new);
            keys
        });
        let content = entries.encoded();
        for (seal, keys) in seals.iter().zip(made) {
            let mut read = Entries::decoded(&content).unwrap();
            let (found, is_new) = read.keys(seal, NOW).unwrap().unwrap();
            assert!(found == keys && !is_new);
            assert!(read.entries.len() == 3);
        }
        // A seal does not open the entry of another one.
        let stolen = Entry {
            name: seals[1].name.clone(),
            ..Entries::decoded(&content).unwrap().entries.swap_remove(0)
        };
        assert!(seals[1].open(&stolen).is_none());
        let text = String::from_utf8(content).unwrap();
        assert!(
            Entries::decoded(text.replace("\"version\":1", "\"version\":2").as_bytes()).is_none()
        );
        assert!(Entries::decoded(b"").is_none());
    }

    #[test]
    fn damaged_entries_are_replaced_and_old_ones_removed() {
        let mut entries = Entries::default();
        let (one, two) = (seal(b"one", "x"), seal(b"two", "x"));
        let (keys, _) = entries.keys(&one, NOW).unwrap().unwrap();
        entries.entries[0].until += 1;
        let (other, is_new) = entries.keys(&one, NOW).unwrap().unwrap();
        assert!(is_new && other != keys);
        let late = keys.end().after(10);
        entries.keys(&two, late).unwrap();
        assert_eq!(entries.entries.len(), 1);
        for n in 0..MAX_ENTRIES + 5 {
            entries.keys(&seal(&n.to_be_bytes(), "x"), late).unwrap();
        }
        assert_eq!(entries.entries.len(), MAX_ENTRIES);
        let longest = entries.encoded().len();
        assert!(
            longest < crate::store::document::MAX_CONTENT_LEN,
            "{longest}"
        );
    }

    #[test]
    fn hexadecimal() {
        assert_eq!(unhex("00ff10"), Some(vec![0, 255, 16]));
        assert_eq!(unhex(&hex(&[1, 2, 254])), Some(vec![1, 2, 254]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("0g"), None);
    }
}
