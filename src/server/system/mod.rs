//! The interface to the system and the service manager, except for files and sockets.
//!
//! * [`privileges`]: the change from root to an ordinary user, for good, after all sockets are bound.
//! * [`handed`]: sockets that the service manager has bound (`sd_listen_fds(3)`).
//! * [`manager`]: messages to the service manager (`sd_notify(3)`).
//!
//! The kernel keeps privileges for each thread, and a new thread inherits those of its creator. So the process gives
//! up its privileges while it has only one thread: before the threads of the log and of the runtime start.

pub mod handed;
pub mod manager;
pub mod privileges;
