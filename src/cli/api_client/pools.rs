//! Calls about pools.

use serde::Deserialize;
use ureq::http::StatusCode;

use super::api::Api;
use super::error::ApiError;

/// The largest answer, in bytes: a thousand pools with their networks.
const MAX_LIST_LEN: u64 = 64 * 1024 * 1024;

/// The pools, and the names that have them.
#[derive(Debug, Deserialize)]
pub(crate) struct Pools {
    pub(crate) pools: Vec<Pool>,
    pub(crate) routes: Vec<Route>,
    pub(crate) database: Option<Database>,
}

/// A pool.
#[derive(Debug, Deserialize)]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) networks: Vec<String>,
    pub(crate) countries: Vec<String>,
    pub(crate) continents: Vec<String>,
    pub(crate) latitude: Option<f64>,
    pub(crate) longitude: Option<f64>,
    pub(crate) weight: u16,
    pub(crate) default: bool,
    pub(crate) state: String,
    pub(crate) health: Vec<AddressHealth>,
}

/// The state of an address.
#[derive(Debug, Deserialize)]
pub(crate) struct AddressHealth {
    pub(crate) address: String,
    pub(crate) up: bool,
    pub(crate) failure: Option<String>,
}

/// A name with pools, or the links of a zone.
#[derive(Debug, Deserialize)]
pub(crate) struct Route {
    pub(crate) name: String,
    pub(crate) links: bool,
    pub(crate) pools: Vec<String>,
}

/// The database of places.
#[derive(Debug, Deserialize)]
pub(crate) struct Database {
    pub(crate) built_at: String,
    pub(crate) networks: u64,
}

/// Which pools a client gets.
#[derive(Debug, Deserialize)]
pub(crate) struct Explained {
    pub(crate) address: String,
    pub(crate) routes: Vec<ExplainedRoute>,
}

/// Which pool a client gets at a name, or at the links of a zone.
#[derive(Debug, Deserialize)]
pub(crate) struct ExplainedRoute {
    pub(crate) name: String,
    pub(crate) links: bool,
    pub(crate) pool: Option<String>,
    pub(crate) addresses: Vec<String>,
    pub(crate) why: String,
    pub(crate) value: Option<String>,
    pub(crate) candidates: Vec<String>,
    pub(crate) passed_over: Vec<String>,
    pub(crate) closed: bool,
    pub(crate) network: String,
}

impl Api {
    /// The pools, with the body of the answer.
    pub(crate) fn pools(&self, token: &str) -> Result<(Pools, String), ApiError> {
        let url = self.url("v1/pools", None)?;
        self.get_json(token, &url, MAX_LIST_LEN)
    }

    /// Drains or restores a pool, as `action` says.
    pub(crate) fn set_pool(&self, token: &str, name: &str, action: &str) -> Result<(), ApiError> {
        let mut url = self.url("v1/pools", None)?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(name).push(action);
        }
        self.post_empty(token, &url, StatusCode::NO_CONTENT)
    }

    /// Which pools a client gets, with the body of the answer.
    pub(crate) fn explain_pools(
        &self,
        token: &str,
        address: &str,
    ) -> Result<(Explained, String), ApiError> {
        let mut url = self.url("v1/pools/explain", None)?;
        url.query_pairs_mut().append_pair("address", address);
        self.get_json(token, &url, MAX_LIST_LEN)
    }
}
