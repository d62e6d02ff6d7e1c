//! The calls about statistics.

use serde::Deserialize;

use super::api::Api;
use super::error::ApiError;
use crate::link::{Code, Origin};

/// The largest answer, in bytes: 1,200 units of some 300 bytes, 100 hosts of 253 bytes, and countries.
const MAX_STATS_LEN: u64 = 1024 * 1024;

/// Counts of look-ups by DNS.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Lookups {
    pub(crate) all: u64,
    pub(crate) address: u64,
    pub(crate) txt: u64,
    pub(crate) uri: u64,
    pub(crate) other: u64,
}

/// Counts of clicks by HTTP.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Clicks {
    pub(crate) person: u64,
    pub(crate) bot: u64,
    pub(crate) preview: u64,
    pub(crate) head: u64,
    pub(crate) prefetch: u64,
}

/// Counts of a unit of time.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StatsUnit {
    pub(crate) start: String,
    pub(crate) lookups: Lookups,
    pub(crate) clicks: Clicks,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct AllTime {
    pub(crate) lookups: u64,
    pub(crate) clicks: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Referrer {
    pub(crate) host: String,
    pub(crate) clicks: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Country {
    pub(crate) country: Option<String>,
    pub(crate) clicks: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RankedLink {
    pub(crate) code: String,
    pub(crate) zone: String,
    pub(crate) count: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct MostUsed {
    pub(crate) unit: String,
    pub(crate) by_clicks: Vec<RankedLink>,
    pub(crate) by_lookups: Vec<RankedLink>,
}

/// The statistics of a link, which has a code and a zone, or of zones.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Stats {
    #[serde(default)]
    pub(crate) code: Option<String>,
    #[serde(default)]
    pub(crate) zone: Option<String>,
    #[serde(default)]
    pub(crate) zones: Vec<String>,
    pub(crate) by: String,
    pub(crate) from: String,
    pub(crate) lookups: Lookups,
    pub(crate) clicks: Clicks,
    #[serde(default)]
    pub(crate) all_time: Option<AllTime>,
    #[serde(default)]
    pub(crate) most_used: Option<MostUsed>,
    pub(crate) referrers: Vec<Referrer>,
    pub(crate) other_referrers: u64,
    pub(crate) countries: Vec<Country>,
    pub(crate) series: Vec<StatsUnit>,
}

/// What statistics are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatsCall<'a> {
    /// The link; none for whole zones.
    pub(crate) code: Option<&'a Code>,
    pub(crate) zone: Option<&'a Origin>,
    /// Parameters of the call.
    pub(crate) parameters: &'a [(&'static str, String)],
}

impl Api {
    /// Statistics, and the JSON that they were read from.
    pub(crate) fn stats(
        &self,
        token: &str,
        call: StatsCall<'_>,
    ) -> Result<(Stats, String), ApiError> {
        self.get_json(token, &self.stats_url(call)?, MAX_STATS_LEN)
    }

    /// The same as comma-separated values.
    pub(crate) fn stats_csv(&self, token: &str, call: StatsCall<'_>) -> Result<String, ApiError> {
        let url = self.stats_url(call)?;
        self.get_text(token, &url, "text/csv", MAX_STATS_LEN)
    }

    fn stats_url(&self, call: StatsCall<'_>) -> Result<url::Url, ApiError> {
        let path = match call.code {
            Some(code) => format!("v1/links/{code}/stats"),
            None => "v1/stats".to_owned(),
        };
        let mut url = self.url(&path, call.zone)?;
        if !call.parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(call.parameters);
        }
        Ok(url)
    }
}
