//! Sockets and connections: what brings queries and takes replies.

pub(crate) mod certificate;
pub mod server;
pub mod tcp;
pub mod tls;
pub(crate) mod udp;
