//! The client of the admin API.
//!
//! It blocks, since most commands make one request and end; commands that make many use threads. It follows no
//! redirects and uses no proxy of the environment: either would send the token to a server that the operator
//! did not name.

mod api;
mod audit;
mod batch;
mod certificates;
mod changes;
mod error;
mod messages;
mod pools;
mod receipt;
mod scheme;
mod servers;
mod stats;
mod tokens;
mod trust;
mod url;

pub(crate) use self::api::{Api, PAGE_LINKS};
pub(crate) use self::audit::{Entry, PAGE_ENTRIES};
pub(crate) use self::batch::Batch;
pub(crate) use self::certificates::{Certificate, Certificates};
pub(crate) use self::changes::Deletion;
pub(crate) use self::error::{ApiError, is_passing};
pub(crate) use self::messages::{
    Answer, LineResult, Link, LinkChange, NewLink, Page, ProblemDocument,
};
pub(crate) use self::pools::{Explained, ExplainedRoute, Pool, Pools};
pub(crate) use self::receipt::{Server, Visible, Wait};
pub(crate) use self::stats::{RankedLink, Stats, StatsCall, StatsUnit};
pub(crate) use self::tokens::{NewToken, Token};
pub(crate) use self::url::{http_url, is_loopback, parse_server};

#[cfg(test)]
pub(in crate::cli) mod testing;
#[cfg(test)]
mod tests;
