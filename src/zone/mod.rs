//! What the configuration says about one zone.

use std::fmt;
use std::path::PathBuf;

use crate::link::Origin;

/// One zone of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneConfig {
    /// The zone's apex.
    pub origin: Origin,
    /// Its master file.
    pub file: PathBuf,
    /// The label below the apex whose wildcard holds the addresses of the redirect host; a zone
    /// without it holds no links.
    pub redirect_host: Option<Box<str>>,
    /// Where the records of a link sit.
    pub layout: Layout,
    /// The TTL of a link's records, in seconds.
    pub link_ttl: u32,
}

/// Where the records of a link sit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Below the redirect host, with a CNAME from the code.
    Cname,
    /// At the code itself.
    Direct,
}

/// Something wrong at a place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic(pub String);

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why zones were not loaded.
#[derive(Clone, Debug)]
pub struct LoadError {
    /// In the order of the files and their lines.
    pub errors: Vec<Diagnostic>,
}

/// All zones.
#[derive(Debug)]
pub struct ZoneSet;

impl ZoneSet {
    /// Reads the files of all zones; the diagnostics are warnings.
    pub fn load(zones: Vec<ZoneConfig>) -> Result<(Self, Vec<Diagnostic>), LoadError> {
        let missing = |zone: &ZoneConfig| {
            let why = std::fs::metadata(&zone.file).err()?;
            Some(Diagnostic(format!("{}: {why}", zone.file.display())))
        };
        let errors: Vec<_> = zones.iter().filter_map(missing).collect();
        match errors.is_empty() {
            true => Ok((Self, Vec::new())),
            false => Err(LoadError { errors }),
        }
    }
}
