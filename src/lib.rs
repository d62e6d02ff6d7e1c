//! tinyns: an authoritative DNS name server for short links.

pub mod clock;
pub mod http;
pub mod link;
pub mod links;
pub mod metrics;
pub mod store;
