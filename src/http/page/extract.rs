//! Who sends a request, for the handlers.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;

use super::hosts::Transport;
use super::state::Shared;
use super::visitor::Visitor;
use super::{cookie, render};
use crate::http::api::OnBehalf;
use crate::http::serve::request_log::RequestId;
use crate::store::StoreError;

/// Without a session, the browser is sent to the login, and from there back.
impl FromRequestParts<Shared> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Response> {
        match visitor_of(parts, state).await {
            Ok(Some(visitor)) => Ok(visitor),
            Ok(None) => {
                let target = parts.uri.path_and_query().map(|target| target.as_str());
                Err(match parts.method {
                    Method::GET | Method::HEAD => render::to_login(target, false),
                    // What was to be changed is not known after the login.
                    _ => render::to_login(None, true),
                })
            }
            Err(error) => Err(render::problem(None, &error.into())),
        }
    }
}

/// The visitor of a request, if there is one. If that is not known, there is none.
pub(super) struct MaybeVisitor(pub(super) Option<Visitor>);

impl FromRequestParts<Shared> for MaybeVisitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Shared,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self(visitor_of(parts, state).await.unwrap_or_default()))
    }
}

/// The visitor whose session the request names; none if it is not valid.
async fn visitor_of(parts: &Parts, state: &Shared) -> Result<Option<Visitor>, StoreError> {
    let extensions = &parts.extensions;
    let is_secure = extensions.get() == Some(&Transport::Secure);
    let Some(value) = cookie::value(&parts.headers, is_secure) else {
        return Ok(None);
    };
    let session = state.gate.session(value).await?;
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|peer| peer.0);
    let id = extensions.get::<RequestId>().cloned();
    let id = id.unwrap_or_else(|| RequestId::of(&parts.headers));
    Ok(session.map(|session| {
        let caller = session.caller.clone();
        let caller = caller.with_request(peer.map(|peer| peer.ip()), id.as_str());
        Visitor {
            session,
            on_behalf: OnBehalf { caller, peer, id },
            has_pools: state.has_pools,
        }
    }))
}
