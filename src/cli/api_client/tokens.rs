//! Calls about tokens.

use serde::{Deserialize, Serialize};
use ureq::http::StatusCode;
use url::Url;

use super::api::{Api, MAX_ANSWER_LEN};
use super::error::ApiError;

/// The largest list of tokens, in bytes: there are at most 500.
const MAX_LIST_LEN: u64 = 1024 * 1024;

/// The body of a request that makes a token.
#[derive(Debug, Serialize)]
pub(crate) struct NewToken<'a> {
    pub(crate) name: &'a str,
    pub(crate) role: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) zones: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) burst: Option<u32>,
}

/// A token as the API shows it.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) zones: Option<Vec<String>>,
    pub(crate) created_by: String,
    pub(crate) expires_at: Option<String>,
    /// Requests a second; none for the rate of the server's configuration, and on servers of before.
    #[serde(default)]
    pub(crate) rate: Option<u32>,
    #[serde(default)]
    pub(crate) last_used_at: Option<String>,
    /// The secret, of a token that was made just now.
    #[serde(default)]
    pub(crate) token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Tokens {
    tokens: Vec<Token>,
}

impl Api {
    /// Makes a token. Returns it with the body of the answer.
    pub(crate) fn make_token(
        &self,
        token: &str,
        new: &NewToken<'_>,
    ) -> Result<(Token, String), ApiError> {
        let url = self.url("v1/tokens", None)?;
        let response = self
            .agent
            .post(url.as_str())
            .header("authorization", format!("Bearer {token}"))
            .content_type("application/json")
            .send(serde_json::to_string(new)?);
        let (status, json) = self.read(response, MAX_ANSWER_LEN)?;
        if status != StatusCode::CREATED {
            return Err(self.refusal(status, &json));
        }
        match serde_json::from_str::<Token>(&json) {
            Ok(made) if made.token.is_some() => Ok((made, json)),
            _ => Err(self.foreign(status)),
        }
    }

    /// All tokens, with the body of the answer.
    pub(crate) fn tokens(&self, token: &str) -> Result<(Vec<Token>, String), ApiError> {
        let url = self.url("v1/tokens", None)?;
        let (list, json) = self.get_json::<Tokens>(token, &url, MAX_LIST_LEN)?;
        Ok((list.tokens, json))
    }

    /// Revokes a token.
    pub(crate) fn revoke_token(&self, token: &str, name: &str) -> Result<(), ApiError> {
        let mut url = self.url("v1/tokens", None)?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(name);
        }
        self.remove(token, &url)
    }

    /// Ends all sessions of the page.
    pub(crate) fn end_sessions(&self, token: &str) -> Result<(), ApiError> {
        let url = self.url("v1/sessions", None)?;
        self.remove(token, &url)
    }

    fn remove(&self, token: &str, url: &Url) -> Result<(), ApiError> {
        let response = self
            .agent
            .delete(url.as_str())
            .header("authorization", format!("Bearer {token}"))
            .call();
        match self.read(response, MAX_ANSWER_LEN)? {
            (StatusCode::NO_CONTENT, _) => Ok(()),
            (status, body) => Err(self.refusal(status, &body)),
        }
    }
}
