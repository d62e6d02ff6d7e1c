//! Calls about servers.

use ureq::http::StatusCode;

use super::api::{Api, MAX_ANSWER_LEN};
use super::error::ApiError;
use super::receipt::{Servers, Visible, Wait};
use crate::link::{Code, Origin};

/// The largest list of servers, in bytes: a thousand of them.
const MAX_LIST_LEN: u64 = 4 * 1024 * 1024;

impl Api {
    /// The live servers, with the body of the answer.
    pub(crate) fn servers(&self, token: &str) -> Result<(Servers, String), ApiError> {
        let url = self.url("v1/servers", None)?;
        self.get_json(token, &url, MAX_LIST_LEN)
    }

    /// Waits until all servers have the last change of a link, and all that were made before it.
    pub(crate) fn wait_for_servers(
        &self,
        token: &str,
        zone: Option<&Origin>,
        code: &Code,
    ) -> Result<Visible, ApiError> {
        let mut url = self.url(&format!("v1/links/{code}/visible"), zone)?;
        Wait::Servers.add_to(&mut url);
        let authorization = format!("Bearer {token}");
        let request = self.agent.get(url.as_str());
        let response = request.header("authorization", authorization).call();
        let (status, json) = self.read(response, MAX_ANSWER_LEN)?;
        match (status, serde_json::from_str(&json)) {
            (StatusCode::OK | StatusCode::ACCEPTED, Ok(visible)) => Ok(visible),
            (StatusCode::OK | StatusCode::ACCEPTED, Err(_)) => Err(self.foreign(status)),
            _ => Err(self.refusal(status, &json)),
        }
    }
}
