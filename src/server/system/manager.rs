//! Messages to the service manager, by the protocol of `sd_notify(3)`.
//!
//! The manager sets `NOTIFY_SOCKET` if it wants messages, and `WATCHDOG_USEC` if it wants regular signs of life.
//! Without them nothing is sent. If the manager does not read, the server waits only for a moment, because answering
//! queries is more important. (The crate sd-notify waits for ever in the calling thread, and does not support
//! abstract addresses.)

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

/// The service manager, if there is one that wants messages.
#[derive(Clone, Debug, Default)]
pub struct ServiceManager {
    /// A path, or `@` and an abstract name.
    socket: Option<OsString>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The service manager that the environment variables describe.
    pub fn from_env() -> Self {
        let number = |name| environment::text(name).ok()??.parse::<u64>().ok();
        let is_for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|time| is_for_us && *time > 0);
        Self {
            socket: environment::value("NOTIFY_SOCKET"),
            watchdog: watchdog.map(Duration::from_micros),
        }
    }

    /// How often to send a sign of life: half of the time after which the manager considers the server dead.
    pub fn beat(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        let time = self.watchdog? / 2;
        Some(time.max(Duration::from_millis(1)))
    }

    /// Reports that the start goes on, for at most so much longer, however long the manager wanted to wait. `status` is a
    /// line for people.
    pub async fn starting(&self, within: Duration, status: &str) {
        let microseconds = within.as_micros();
        self.tell(&format!(
            "EXTEND_TIMEOUT_USEC={microseconds}\nSTATUS={status}\n"
        ))
        .await;
    }

    /// Reports that the server serves, after a start or a reload. `status` is a line for people.
    pub async fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}\n")).await;
    }

    /// Reports that a reload begins; [`ServiceManager::ready`] reports its end.
    pub async fn reloading(&self) {
        match clock_gettime(ClockId::CLOCK_MONOTONIC) {
            Ok(now) => {
                let microseconds = Duration::from(now).as_micros();
                let message = format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\n");
                self.tell(&message).await;
            }
            Err(error) => tracing::debug!(%error, "cannot read the clock for the service manager"),
        }
    }

    /// Reports that the server stops.
    pub async fn stopping(&self) {
        self.tell("STOPPING=1\n").await;
    }

    /// Sends a sign of life.
    pub async fn alive(&self) {
        self.tell("WATCHDOG=1\n").await;
    }

    async fn tell(&self, message: &str) {
        let Some(socket) = &self.socket else {
            return;
        };
        match timeout(PATIENCE, send(socket, message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot send a message to the service manager")
            }
            Err(_) => tracing::warn!("the service manager does not read its messages"),
        }
    }
}

/// Sends one message. Each has a new socket, because the manager may have replaced its own.
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
