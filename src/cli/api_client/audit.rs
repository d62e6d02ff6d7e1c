//! The call about the audit log.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::api::Api;
use super::error::ApiError;

/// How many entries a page has at most.
pub(crate) const PAGE_ENTRIES: u64 = 500;
/// The largest page of entries, in bytes: both states of a link with the longest URL and texts are some 25 KB, or up to
/// 60 KB with escapes.
const MAX_PAGE_LEN: u64 = 32 * 1024 * 1024;

/// An entry as the API shows it.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) at: String,
    pub(crate) actor: String,
    pub(crate) address: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) action: String,
    pub(crate) zone: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) before: Option<Map<String, Value>>,
    pub(crate) after: Option<Map<String, Value>>,
}

/// A page of the log.
#[derive(Debug, Deserialize)]
pub(crate) struct Entries {
    pub(crate) entries: Vec<Entry>,
    /// The cursor of the next page, if there is one.
    pub(crate) next_cursor: Option<String>,
}

impl Api {
    /// A page of the audit log. `filters` are parameters of the call.
    pub(crate) fn audit(
        &self,
        token: &str,
        filters: &[(&str, String)],
        cursor: Option<&str>,
        limit: u64,
    ) -> Result<Entries, ApiError> {
        let mut url = self.url("v1/audit", None)?;
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(filters);
            query.append_pair("limit", &limit.to_string());
            if let Some(cursor) = cursor {
                query.append_pair("cursor", cursor);
            }
        }
        let (page, _) = self.get_json(token, &url, MAX_PAGE_LEN)?;
        Ok(page)
    }
}
