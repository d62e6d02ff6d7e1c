//! The signals that stop a command: SIGINT and SIGTERM.

use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals to stop that come within this time after one of them are the same one.
const TOGETHER: Duration = Duration::from_millis(500);

/// The signals that mean the same: stop.
///
/// A stop has often two senders, such as a service manager and a shell, or a terminal and what runs in it. So
/// signals that come together are one.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    /// When the last one came.
    last: Option<Instant>,
}

impl Stop {
    /// From now on these signals do not end the process by themselves.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            last: None,
        })
    }

    /// Waits for one of them and gives its name.
    pub(super) async fn recv(&mut self) -> &'static str {
        loop {
            let name = tokio::select! {
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.terminate.recv() => "SIGTERM",
            };
            match self.last {
                Some(last) if last.elapsed() < TOGETHER => {}
                _ => {
                    self.last = Some(Instant::now());
                    return name;
                }
            }
        }
    }
}
