//! Changes of links that exist. With a version, the API makes the change only if the link has that version.

use serde::Deserialize;
use ureq::http::{Response, StatusCode};
use ureq::{Body, RequestBuilder};

use super::api::{Api, MAX_ANSWER_LEN};
use super::error::ApiError;
use super::messages::{Answer, LinkChange};
use super::receipt::{Visible, Wait};
use crate::link::{Code, Origin};

/// The header of an answer to a change that other servers do not show yet.
const VISIBLE_ELSEWHERE: &str = "tinyns-visible-elsewhere";

/// What has become of a deletion.
pub(crate) struct Deletion {
    /// False if other servers may show the link for some more seconds.
    pub(crate) is_visible: bool,
    /// Which servers have the deletion, if the call has waited for them.
    pub(crate) visible: Option<Visible>,
}

#[derive(Deserialize)]
struct DeletionReceipt {
    visible: Visible,
}

impl Api {
    /// Changes a link, and returns the link as it is then.
    pub(crate) fn change(
        &self,
        token: &str,
        zone: Option<&Origin>,
        code: &Code,
        (change, wait): (&LinkChange<'_>, Wait),
        version: Option<u64>,
    ) -> Result<Answer, ApiError> {
        let mut url = self.url(&format!("v1/links/{code}"), zone)?;
        wait.add_to(&mut url);
        let request = self.agent.patch(url.as_str());
        let response = authorized(request, token, version)
            .content_type("application/merge-patch+json")
            .send(serde_json::to_string(change)?);
        self.link(response)
    }

    /// Deletes a link.
    pub(crate) fn delete(
        &self,
        token: &str,
        zone: Option<&Origin>,
        code: &Code,
        (version, wait): (Option<u64>, Wait),
    ) -> Result<Deletion, ApiError> {
        let mut url = self.url(&format!("v1/links/{code}"), zone)?;
        wait.add_to(&mut url);
        let request = self.agent.delete(url.as_str());
        let response = authorized(request, token, version).call();
        let is_visible = response.as_ref().is_ok_and(is_visible_elsewhere);
        let (status, body) = self.read(response, MAX_ANSWER_LEN)?;
        match status {
            StatusCode::NO_CONTENT => Ok(Deletion {
                is_visible,
                visible: None,
            }),
            StatusCode::OK | StatusCode::ACCEPTED => {
                let receipt: DeletionReceipt =
                    serde_json::from_str(&body).map_err(|_| self.foreign(status))?;
                Ok(Deletion {
                    is_visible,
                    visible: Some(receipt.visible),
                })
            }
            status => Err(self.refusal(status, &body)),
        }
    }
}

/// Adds the token and, for a version, the condition.
fn authorized<T>(
    request: RequestBuilder<T>,
    token: &str,
    version: Option<u64>,
) -> RequestBuilder<T> {
    let request = request.header("authorization", format!("Bearer {token}"));
    match version {
        Some(version) => request.header("if-match", format!("\"{version}\"")),
        None => request,
    }
}

fn is_visible_elsewhere(response: &Response<Body>) -> bool {
    response
        .headers()
        .get(VISIBLE_ELSEWHERE)
        .is_none_or(|value| value.as_bytes() != b"no")
}
