//! The running server: what it starts, in which order, what it reads again, and how it stops.

pub mod check;
pub mod sockets;
pub mod start;
pub mod system;
mod watchdog;

pub use sockets::{SocketError, Sockets};
pub use start::{Running, StartError, TOKEN_VARIABLE, start};
