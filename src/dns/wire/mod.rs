//! Bytes to values and back.

pub mod edns;
pub(crate) mod message;
pub(crate) mod query;
pub(crate) mod reply;
