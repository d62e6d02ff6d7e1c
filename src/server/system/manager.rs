//! What the service manager is told: the protocol of `sd_notify(3)`.
//!
//! It has set `NOTIFY_SOCKET` if it wants to be told, and `WATCHDOG_USEC` if it wants to hear again and
//! again that all is well. Without them nothing is sent. A manager that does not read is waited for
//! only for a moment: answers matter more than what is told about them. (The crate sd-notify waits
//! for ever, in the thread that calls it, and knows no abstract addresses.)

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::timeout;

use crate::base::environment;

/// How long a service manager may take to accept a message.
const PATIENCE: Duration = Duration::from_secs(1);

/// The service manager, if there is one that wants to be told.
#[derive(Clone, Debug, Default)]
pub struct ServiceManager {
    /// A path, or an abstract name behind `@`.
    socket: Option<OsString>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one of the environment.
    pub fn from_env() -> Self {
        let number = |name| environment::text(name).ok()??.parse::<u64>().ok();
        let is_for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|time| is_for_us && *time > 0);
        Self {
            socket: environment::value("NOTIFY_SOCKET"),
            watchdog: watchdog.map(Duration::from_micros),
        }
    }

    /// How often it is to hear that all is well: twice in the time after which it would take the
    /// server for dead.
    pub fn beat(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        let time = self.watchdog? / 2;
        Some(time.max(Duration::from_millis(1)))
    }

    /// The server serves, after a start or a reload; `status` is a line for people.
    pub async fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}\n")).await;
    }

    /// Files are read again; [`ServiceManager::ready`] tells the end of it.
    pub async fn reloading(&self) {
        match clock_gettime(ClockId::CLOCK_MONOTONIC) {
            Ok(now) => {
                let microseconds = Duration::from(now).as_micros();
                let message = format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\n");
                self.tell(&message).await;
            }
            Err(error) => tracing::debug!(%error, "no time to tell the service manager"),
        }
    }

    /// The server finishes what was begun.
    pub async fn stopping(&self) {
        self.tell("STOPPING=1\n").await;
    }

    /// All is well.
    pub async fn alive(&self) {
        self.tell("WATCHDOG=1\n").await;
    }

    async fn tell(&self, message: &str) {
        let Some(socket) = &self.socket else {
            return;
        };
        match timeout(PATIENCE, send(socket, message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the service manager cannot be told"),
            Err(_) => tracing::warn!("the service manager does not listen"),
        }
    }
}

/// One message. The socket is made for each: the manager may have made itself a new one.
async fn send(to: &OsString, message: &str) -> io::Result<()> {
    let address = match to.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(to)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixDatagram::from_std(socket)?;
    socket.send(message.as_bytes()).await.map(drop)
}
