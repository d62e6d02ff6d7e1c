//! Receipts of changes, and the servers that they count.

use serde::{Deserialize, Serialize};
use url::Url;

/// Whether a call waits until all servers have the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// No.
    No,
    /// Yes; the server gives up after two seconds.
    Servers,
}

impl Wait {
    /// `--wait`, if it is given.
    pub(crate) fn of(flag: bool) -> Self {
        match flag {
            true => Self::Servers,
            false => Self::No,
        }
    }

    /// Asks for it in a query.
    pub(super) fn add_to(self, url: &mut Url) {
        if self == Self::Servers {
            url.query_pairs_mut().append_pair("wait", "servers");
        }
    }
}

/// Which servers have a change.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub(crate) struct Visible {
    pub(crate) servers: usize,
    pub(crate) applied: usize,
    pub(crate) complete: bool,
    pub(crate) missing: Vec<String>,
    pub(crate) at: String,
    pub(crate) resolvers_until: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// The live servers.
#[derive(Debug, Deserialize)]
pub(crate) struct Servers {
    pub(crate) servers: Vec<Server>,
    #[serde(default)]
    pub(crate) problem: Option<String>,
}

/// A live server.
#[derive(Debug, Deserialize)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) version: String,
    pub(crate) started_at: String,
    pub(crate) this: bool,
    pub(crate) lag_seconds: f64,
}
