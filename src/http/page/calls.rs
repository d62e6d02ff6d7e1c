//! The calls of the API that several pages make.

use axum::http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::state::State;
use super::values::{LinkData, LinkPage, Visible};
use super::visitor::Visitor;
use crate::http::api::Sent;
use crate::http::problem::{Kind, Problem};
use crate::link::Code;

#[derive(Deserialize)]
struct ZoneList {
    zones: Vec<Zone>,
}

#[derive(Deserialize)]
struct Zone {
    origin: String,
}

/// A query of these parameters, without those that are empty.
pub(super) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = Serializer::new(String::new());
    query.extend_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty()));
    query.finish()
}

/// The path of a link in the API.
fn target(code: &str, below: &str, zone: &str) -> Result<String, Problem> {
    let none = || {
        let detail = "there is no link with this code: it is not a valid code";
        Problem::new(Kind::NoSuchLink, detail)
    };
    let code = Code::parse(code).map_err(|_| none())?;
    let query = query([("zone", zone)]);
    Ok(format!("/v1/links/{}{below}?{query}", code.as_str()))
}

impl State {
    /// The zones that the visitor may use, the default first.
    pub(super) async fn zones(&self, visitor: &Visitor) -> Result<Vec<String>, Problem> {
        let reply = self.api.get(&visitor.on_behalf, "/v1/zones").await?;
        let list: ZoneList = reply.json()?;
        Ok(list.zones.into_iter().map(|zone| zone.origin).collect())
    }

    pub(super) async fn link(
        &self,
        visitor: &Visitor,
        zone: &str,
        code: &str,
    ) -> Result<LinkData, Problem> {
        let target = target(code, "", zone)?;
        self.api.get(&visitor.on_behalf, &target).await?.json()
    }

    /// Makes a link. Also returns whether it is new.
    pub(super) async fn create(
        &self,
        visitor: &Visitor,
        zone: &str,
        body: &Value,
    ) -> Result<(LinkData, bool), Problem> {
        let target = format!("/v1/links?{}", query([("zone", zone)]));
        let sent = Sent::json(body);
        let reply = self
            .api
            .call(&visitor.on_behalf, Method::POST, &target, sent)
            .await?;
        Ok((reply.json()?, reply.status == StatusCode::CREATED))
    }

    /// Waits for a moment until all servers answer with a link; which of them do.
    pub(super) async fn visible(
        &self,
        visitor: &Visitor,
        zone: &str,
        code: &str,
    ) -> Result<Visible, Problem> {
        let target = target(code, "/visible", zone)? + "&wait=servers";
        self.api.get(&visitor.on_behalf, &target).await?.json()
    }

    /// Changes a link of this version.
    pub(super) async fn change(
        &self,
        visitor: &Visitor,
        link: &LinkData,
        version: &str,
        body: &Value,
    ) -> Result<LinkData, Problem> {
        let target = target(&link.code, "", link.zone())?;
        let sent = Sent {
            if_match: Some(tag(version)),
            ..Sent::json(body)
        };
        let reply = self
            .api
            .call(&visitor.on_behalf, Method::PATCH, &target, sent)
            .await?;
        reply.json()
    }

    /// Deletes a link of this version.
    pub(super) async fn delete(
        &self,
        visitor: &Visitor,
        link: &LinkData,
        version: &str,
    ) -> Result<(), Problem> {
        let target = target(&link.code, "", link.zone())?;
        let sent = Sent {
            if_match: Some(tag(version)),
            ..Sent::default()
        };
        let reply = self
            .api
            .call(&visitor.on_behalf, Method::DELETE, &target, sent)
            .await;
        reply.map(drop)
    }

    /// A page of the list of links.
    pub(super) async fn links(&self, visitor: &Visitor, query: &str) -> Result<LinkPage, Problem> {
        let target = format!("/v1/links?{query}");
        self.api.get(&visitor.on_behalf, &target).await?.json()
    }

    /// The latest links of a zone; none if its store does not know which these are.
    pub(super) async fn latest(
        &self,
        visitor: &Visitor,
        zone: &str,
        number: usize,
    ) -> Option<Vec<LinkData>> {
        let limit = number.to_string();
        let query = query([("zone", zone), ("limit", &limit), ("sort", "newest")]);
        let page = self.links(visitor, &query).await;
        page.ok().map(|page| page.links)
    }
}

/// A version as an entity tag. Digits only, so that a form cannot send another header.
fn tag(version: &str) -> String {
    let digits: String = version.chars().filter(char::is_ascii_digit).collect();
    format!("\"{digits}\"")
}
