//! The countries of clients, from a file in the format of MaxMind (`.mmdb`).
//!
//! The file is read into memory, and the country of each of its records is decoded once before the file is used: a damaged
//! file is an error when it is loaded, not when a client comes. A reload reads the file beside the old state and swaps it in
//! whole, so that no request waits.
//!
//! [`crate::base::mmdb`] says which field of a record is its country.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use maxminddb::MaxMindDbError;

use crate::base::clock::UnixTime;
use crate::base::mmdb::{self, DatabaseError};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("country_database: {}: {reason}", .file.display())]
pub struct CountriesError {
    file: PathBuf,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("this file has no countries; it is a {0:?}; use a database of countries or cities")]
    NoCountries(String),
}

/// The countries of addresses.
pub struct Countries {
    file: PathBuf,
    database: ArcSwap<Database>,
}

struct Database {
    reader: mmdb::Database,
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
    let read = || Database::new(mmdb::open(file)?);
    read().map_err(|reason| CountriesError {
        file: file.to_owned(),
        reason,
    })
}

impl Database {
    fn new(reader: mmdb::Database) -> Result<Self, Reason> {
        let countries = countries_of(&reader).map_err(DatabaseError::from)?;
        if countries.is_empty() {
            return Err(Reason::NoCountries(reader.metadata().database_type.clone()));
        }
        Ok(Self { reader, countries })
    }
}

/// The countries of all records that have one.
fn countries_of(reader: &mmdb::Database) -> Result<ByPlace, MaxMindDbError> {
    let mut found = HashMap::with_hasher(RandomState::default());
    for network in mmdb::networks(reader)? {
        let network = network?;
        let Some(offset) = network.offset() else {
            continue;
        };
        // `None` marks a record without a country, so that it is not decoded again.
        if let Entry::Vacant(place) = found.entry(offset) {
            place.insert(mmdb::country_of(&network)?);
        }
    }
    let with_country = |(offset, country): (usize, Option<_>)| Some((offset, country?));
    Ok(found.into_iter().filter_map(with_country).collect())
}
