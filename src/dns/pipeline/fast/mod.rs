//! The fast path: from an ordinary query to its reply. Nearly every packet is an ordinary query.
//!
//! ```text
//!   read ── hot answer? ──────────── complete ── out
//!             └─ respond ── keep ──────┘
//! ```
//!
//! Where the answer probably depends on the client, [`super::respond::by_client`] locates the client when the query is
//! read. So the answer of the client's pool is found at once, and its memory is fetched with that of the others.
//!
//! [`Query::read`] reads the query, and a hot answer needs nothing more. Without a hot answer, [`super::respond`]
//! makes the reply, as it does on the general path.

use std::net::IpAddr;

use super::handler::Handler;
use super::hot::{Form, HotAnswers, Now};
use super::pending::{Answerable, Pending, Signatures};
use super::respond::by_client::Routed;
use super::respond::{Reading, Response, Scratch};
use super::tally::Tally;
use super::via::Via;
use crate::dns::wire::query::Query;
use crate::dns::wire::reply::Sent;

/// An ordinary query, and the hash of the key of its hot answer.
pub(crate) struct Prepared<'p> {
    pub(crate) query: Query<'p>,
    /// Which form of the answer the client wants.
    form: Form,
    /// The hash of the key for all clients. Look-ups are counted under it.
    pub(crate) hash: u64,
    /// The answer that is looked up first; none if the answer is probably the same for all clients.
    routed: Option<Routed>,
    /// The accounts that the rate limit charges if the reply is an answer; none if the client has no limit.
    pub(crate) accounts: Option<[u64; 2]>,
}

impl Handler {
    /// Reads a packet from this client; none if it is no ordinary query.
    pub(crate) fn prepare<'p>(
        &self,
        packet: &'p [u8],
        (client, via): (IpAddr, Via),
    ) -> Option<Prepared<'p>> {
        let query = Query::read(packet)?;
        if self.0.has_bad_subnet(query.echo.edns) {
            // The general path refuses it.
            return None;
        }
        let form = self.0.form_of(query.echo.edns);
        let hash = self.0.hot.key(&query.name, form, query.qtype).hash();
        let limiter = self.0.limiter_for(via);
        let accounts = limiter.and_then(|limiter| limiter.accounts_of_answers(client, &query.name));
        Some(Prepared {
            routed: self.0.routed(&query, form, client),
            query,
            form,
            hash,
            accounts,
        })
    }

    /// Brings the memory that the replies to these queries need into the processor's cache.
    pub(crate) fn fetch<'a>(
        &self,
        prepared: impl Iterator<Item = &'a Prepared<'a>> + Clone,
        tally: &Tally,
    ) {
        tally.fetch_lookups(prepared.clone().map(|prepared| prepared.hash));
        let hashes = prepared.clone().map(|prepared| {
            let routed = prepared.routed.as_ref();
            routed.map_or(prepared.hash, |routed| routed.hash)
        });
        self.0.hot.fetch(hashes);
        if let Some(limiter) = self.0.limiter_for(Via::Udp) {
            limiter.fetch(prepared.filter_map(|prepared| prepared.accounts).flatten());
        }
    }

    /// Makes the reply to an ordinary query, or returns what the reply waits for.
    pub(crate) fn reply_now(
        &self,
        prepared: &Prepared<'_>,
        (client, via): (IpAddr, Via),
        now: &Now,
        scratch: Scratch<'_>,
        signatures: Signatures,
    ) -> Result<Sent, Pending> {
        let &Prepared {
            ref query,
            form,
            hash,
            ref routed,
            ..
        } = prepared;
        let read = (query, Reading::Ordinary);
        let mut response = Response::new(&self.0, read, (client, via), now, scratch);
        if let Some(routed) = routed
            && let Some(sent) = response.routed_reply(routed)
        {
            return Ok(sent);
        }
        let key = HotAnswers::key_with_hash(&query.name, form, query.qtype, hash);
        match response.hot_reply(&key) {
            Some(sent) => Ok(sent),
            None => response.now(signatures),
        }
    }

    /// Makes the reply to an ordinary query whose link has been looked up; none if no zone has the name any more.
    pub(crate) fn reply_with(
        &self,
        query: &Query<'_>,
        from: (IpAddr, Via),
        answerable: Answerable,
        scratch: Scratch<'_>,
    ) -> Option<Sent> {
        let now = self.time();
        let read = (query, Reading::Ordinary);
        Response::new(&self.0, read, from, &now, scratch).after(answerable)
    }
}

#[cfg(test)]
mod tests;
