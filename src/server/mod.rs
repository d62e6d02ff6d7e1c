//! The running server: what it starts, in which order, what it reads again, and how it stops.

pub mod sockets;
pub mod start;
pub mod system;

pub use sockets::{SocketError, Sockets};
pub use start::{Running, StartError, TOKEN_VARIABLE, start};
