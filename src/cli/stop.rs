//! The signals that stop a command: SIGINT and SIGTERM.

use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that come within this time after another count as the same signal.
const TOGETHER: Duration = Duration::from_millis(500);

/// SIGINT and SIGTERM, which both mean: stop.
///
/// A stop often has two senders, such as a service manager and a shell, or a terminal and a program that runs
/// in it. So signals that come close together count as one.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    /// When the last signal came.
    last: Option<Instant>,
}

impl Stop {
    /// From now on the signals do not end the process by themselves.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            last: None,
        })
    }

    /// Waits for a signal, and returns its name.
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
