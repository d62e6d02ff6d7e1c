//! The countries of clients, from a file in the format of MaxMind (`.mmdb`).
//!
//! The file is read into memory, and the country of each of its records is decoded once before the file is used: a damaged
//! file is an error when it is loaded, not when a client comes. A reload reads the file beside the old state and swaps it in
//! whole, so that no request waits.
//!
//! A country is where an address is used (`country`), not where its owner is registered (`registered_country`). Records
//! without it, such as those of satellites, have an unknown country. Besides MaxMind's form, in which DB-IP's files are too,
//! this module reads the two forms of IPinfo: `country_code`, and `country` as a text.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use maxminddb::{LookupResult, MaxMindDbError, Reader, WithinOptions, path};

use crate::base::clock::UnixTime;
use crate::base::files::read_whole;

/// The largest file, in bytes. The largest ones that have countries take 100 to 200 MB.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// How many networks a tree has for each of its nodes at most. A tree with more has a circle.
const MAX_NETWORKS_PER_NODE: u64 = 3;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("country_database: {}: {reason}", .file.display())]
pub struct CountriesError {
    file: PathBuf,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("{0}; name a readable file in the format of MaxMind (.mmdb), or remove the key")]
    Unreadable(#[from] io::Error),
    #[error("this file is damaged or not in the format of MaxMind (.mmdb): {0}; download it again")]
    Damaged(#[from] MaxMindDbError),
    #[error("this file has no countries; it is a {0:?}; use a database of countries or cities")]
    NoCountries(String),
}

/// The countries of addresses.
pub struct Countries {
    file: PathBuf,
    database: ArcSwap<Database>,
}

struct Database {
    reader: Reader<Vec<u8>>,
    countries: ByPlace,
}

/// The countries of records, by the places of the records in the file.
type ByPlace = HashMap<usize, [u8; 2], RandomState>;

impl Countries {
    /// Reads the file, which takes some seconds if it is large.
    ///
    /// # Errors
    /// [`CountriesError`] if it cannot be read, is damaged, or has no countries.
    pub fn open(file: &Path) -> Result<Self, CountriesError> {
        Ok(Self {
            file: file.to_owned(),
            database: ArcSwap::from_pointee(load(file)?),
        })
    }

    /// Reads the file again. Meanwhile, and after an error, the old state is in use.
    ///
    /// # Errors
    /// As [`Countries::open`].
    pub fn reload(&self) -> Result<(), CountriesError> {
        self.database.store(load(&self.file)?.into());
        Ok(())
    }

    /// The country of an address in two letters in upper case (ISO 3166-1 alpha-2); none if it is unknown.
    pub fn of(&self, address: IpAddr) -> Option<[u8; 2]> {
        let database = self.database.load();
        let found = database.reader.lookup(address.to_canonical());
        database.countries.get(&found.ok()?.offset()?).copied()
    }

    /// When the maker of the file made it.
    pub fn built(&self) -> UnixTime {
        UnixTime(self.database.load().reader.metadata().build_epoch)
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

impl fmt::Debug for Countries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Countries")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

fn load(file: &Path) -> Result<Database, CountriesError> {
    let read = || Database::new(read_whole(file, MAX_FILE_BYTES)?);
    read().map_err(|reason| CountriesError {
        file: file.to_owned(),
        reason,
    })
}

impl Database {
    fn new(bytes: Vec<u8>) -> Result<Self, Reason> {
        let reader = Reader::from_source(bytes)?;
        let countries = countries_of(&reader)?;
        if countries.is_empty() {
            return Err(Reason::NoCountries(reader.metadata().database_type.clone()));
        }
        Ok(Self { reader, countries })
    }
}

/// The countries of all records that have one.
fn countries_of(reader: &Reader<Vec<u8>>) -> Result<ByPlace, MaxMindDbError> {
    let most = u64::from(reader.metadata().node_count).saturating_mul(MAX_NETWORKS_PER_NODE);
    let mut found = HashMap::with_hasher(RandomState::default());
    for (number, network) in (1..).zip(reader.networks(WithinOptions::default())?) {
        if number > most {
            return Err(MaxMindDbError::invalid_database("its tree has a circle"));
        }
        let network = network?;
        let Some(offset) = network.offset() else {
            continue;
        };
        // `None` marks a record without a country, so that it is not decoded again.
        if let Entry::Vacant(place) = found.entry(offset) {
            place.insert(country_of(&network)?);
        }
    }
    let with_country = |(offset, country): (usize, Option<_>)| Some((offset, country?));
    Ok(found.into_iter().filter_map(with_country).collect())
}

/// The country of a record, if it is two letters.
fn country_of(record: &LookupResult<'_, Vec<u8>>) -> Result<Option<[u8; 2]>, MaxMindDbError> {
    let mut text: Option<&str> = record.decode_path(&path!["country_code"])?;
    if text.is_none() {
        text = match record.decode_path(&path!["country", "iso_code"]) {
            // The country is not a map.
            Err(MaxMindDbError::Decoding { .. }) => record.decode_path(&path!["country"])?,
            found => found?,
        };
    }
    let letters = text.and_then(|text| <[u8; 2]>::try_from(text.as_bytes()).ok());
    let letters = letters.filter(|letters| letters.iter().all(u8::is_ascii_alphabetic));
    Ok(letters.map(|letters| letters.map(|letter| letter.to_ascii_uppercase())))
}
