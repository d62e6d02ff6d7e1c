//! Sockets and connections: what brings queries and takes replies.

pub mod server;
pub mod tcp;
pub(crate) mod udp;
