//! What the server asks of the system and of its service manager, beside files and sockets.
//!
//! * [`privileges`]: from root to an ordinary user, for good, once all sockets are bound.
//! * [`handed`]: sockets that the service manager has bound (`sd_listen_fds(3)`).
//! * [`manager`]: what the service manager is told (`sd_notify(3)`).
//!
//! Rights belong to a thread, as far as the kernel knows, and new threads take over those of the one
//! that makes them. So what is given up here is given up while the process has one thread only: before
//! the log has its thread, and before the runtime has its own.

pub mod handed;
pub mod manager;
pub mod privileges;
