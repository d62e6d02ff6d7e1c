//! The running server: what it starts and in which order, what it reads again, and how it stops.
//!
//! [`Sockets`] binds the sockets. [`start`](start()) opens everything and serves; its result is [`Running`], which
//! reloads and stops. [`check`](check::check) finds what the start would refuse.

mod acme;
mod blocking;
pub mod check;
mod https_records;
mod key_turns;
mod notices;
mod page;
mod reload;
mod routing;
mod running;
pub mod sockets;
pub mod start;
mod statistics;
pub mod system;
mod tasks;
mod watchdog;

pub use acme::EngineError;
pub use page::PageHostError;
pub use routing::{PoolsError, RouteFault};
pub use running::Running;
pub use sockets::{SocketError, Sockets};
pub use start::{StartError, TOKEN_VARIABLE, start};
pub use statistics::CountingError;
