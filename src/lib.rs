//! tinyns: an authoritative DNS name server for short links.

pub mod cli;
pub mod clock;
pub mod config;
pub mod link;
pub mod links;
pub mod logging;
pub mod metrics;
mod server;
pub mod store;
pub mod zone;
