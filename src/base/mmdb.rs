//! Databases of places in the format of MaxMind (`.mmdb`): reading a file, its networks, and the fields of its records.
//!
//! A country is where an address is used (`country`), not where its owner is registered (`registered_country`). Records
//! without it, such as those of satellites, have an unknown country. Besides MaxMind's form, in which DB-IP's files are too,
//! this module reads the two forms of IPinfo: `country_code`, and `country` as a text.

use std::io;
use std::path::Path;

use maxminddb::{LookupResult, MaxMindDbError, Reader, WithinOptions, path};

use super::files::read_whole;

/// The largest file, in bytes. The largest ones that have countries take 100 to 200 MB.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// How many networks a tree has for each of its nodes at most. A tree with more has a circle.
const MAX_NETWORKS_PER_NODE: u64 = 3;

/// A database in memory.
pub(crate) type Database = Reader<Vec<u8>>;
/// A network of a database, and its record.
pub(crate) type Record<'d> = LookupResult<'d, Vec<u8>>;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("{0}; name a readable file in the format of MaxMind (.mmdb), or remove the key")]
    Unreadable(#[from] io::Error),
    #[error("this file is damaged or not in the format of MaxMind (.mmdb): {0}; download it again")]
    Damaged(#[from] MaxMindDbError),
}

/// Reads a file into memory. Its records are not checked yet.
///
/// # Errors
/// [`DatabaseError`] if it cannot be read, or is no database.
pub(crate) fn open(file: &Path) -> Result<Database, DatabaseError> {
    Ok(Reader::from_source(read_whole(file, MAX_FILE_BYTES)?)?)
}

/// All networks that have a record, in the order of their addresses: IPv4 first, and only as such.
///
/// # Errors
/// The database has no search tree that can be read. The iterator has an error where the tree is damaged.
pub(crate) fn networks(
    database: &Database,
) -> Result<impl Iterator<Item = Result<Record<'_>, MaxMindDbError>>, MaxMindDbError> {
    let nodes = u64::from(database.metadata().node_count);
    let most = nodes.saturating_mul(MAX_NETWORKS_PER_NODE);
    let numbered = (1..).zip(database.networks(WithinOptions::default())?);
    Ok(numbered.map(move |(number, network)| match number > most {
        true => Err(MaxMindDbError::invalid_database("its tree has a circle")),
        false => network,
    }))
}

/// The country of a record in two letters in upper case (ISO 3166-1 alpha-2); none if it has none, or another text.
///
/// # Errors
/// The record is damaged.
pub(crate) fn country_of(record: &Record<'_>) -> Result<Option<[u8; 2]>, MaxMindDbError> {
    let mut text: Option<&str> = record.decode_path(&path!["country_code"])?;
    if text.is_none() {
        text = match record.decode_path(&path!["country", "iso_code"]) {
            // The country is not a map.
            Err(MaxMindDbError::Decoding { .. }) => record.decode_path(&path!["country"])?,
            found => found?,
        };
    }
    Ok(text.and_then(two_letters))
}

/// The continent of a record in two letters in upper case, such as `EU`; none if it has none, or another text.
///
/// # Errors
/// The record is damaged.
pub(crate) fn continent_of(record: &Record<'_>) -> Result<Option<[u8; 2]>, MaxMindDbError> {
    let mut text: Option<&str> = record.decode_path(&path!["continent_code"])?;
    if text.is_none() {
        text = match record.decode_path(&path!["continent", "code"]) {
            // IPinfo's files have a text there.
            Err(MaxMindDbError::Decoding { .. }) => None,
            found => found?,
        };
    }
    Ok(text.and_then(two_letters))
}

/// The latitude and longitude of a record in degrees; none if it has none, or they are none of the earth's.
///
/// # Errors
/// The record is damaged.
pub(crate) fn location_of(record: &Record<'_>) -> Result<Option<(f64, f64)>, MaxMindDbError> {
    let latitude: Option<f64> = record.decode_path(&path!["location", "latitude"])?;
    let longitude: Option<f64> = record.decode_path(&path!["location", "longitude"])?;
    let found = latitude.zip(longitude);
    Ok(found.filter(|(latitude, longitude)| latitude.abs() <= 90.0 && longitude.abs() <= 180.0))
}

/// Two letters, in upper case.
pub(crate) fn two_letters(text: &str) -> Option<[u8; 2]> {
    let letters = <[u8; 2]>::try_from(text.as_bytes()).ok()?;
    let are_letters = letters.iter().all(u8::is_ascii_alphabetic);
    are_letters.then(|| letters.map(|letter| letter.to_ascii_uppercase()))
}
