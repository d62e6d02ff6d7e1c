//! `tinyns serve`: the process around the server, which is its runtime, its signals and its end.

use std::io;

use anyhow::{Context, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::Running;
use crate::clock::Clock;
use crate::config::Config;

/// Runs the server until a signal or a failed listener ends it.
pub(super) fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(serve(config));
    // What had to be finished is finished by now, or the operator does not want to wait for it:
    // dropping the runtime would wait for every call that still blocks.
    runtime.shutdown_background();
    outcome
}

async fn serve(config: Config) -> anyhow::Result<()> {
    // Before the first listener is open, so that no signal finds the process unprepared.
    let mut signals = Signals::new().context("cannot handle signals")?;
    let mut running = tokio::select! {
        running = crate::start(config, Clock::default()) => running?,
        name = signals.stop.recv() => {
            info!("{name} while starting");
            return Ok(());
        }
    };
    announce(&running);
    let outcome = watch(&mut running, &mut signals).await;
    tokio::select! {
        () = running.shutdown() => {
            info!("stopped");
            outcome
        }
        name = signals.stop.recv() => {
            warn!("second signal, {name}: stopping at once");
            outcome.and(Err(anyhow!("stopped by a second signal with work unfinished")))
        }
    }
}

/// One line a listener: with port 0, and with several addresses, this is where to look them up.
fn announce(running: &Running) {
    for address in running.dns() {
        info!(%address, "DNS over UDP and TCP");
    }
    for address in running.admin() {
        info!(%address, "admin API");
    }
    for address in running.redirect() {
        info!(%address, "redirect host");
    }
}

/// Obeys signals; returns when it is time to stop, with an error if that was not asked for.
async fn watch(running: &mut Running, signals: &mut Signals) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => {
                info!("SIGHUP: reading the zone files again");
                tokio::select! {
                    () = running.reload() => {}
                    // The files may be large, or on a file system that does not answer.
                    name = signals.stop.recv() => return stopping(name),
                }
            }
            name = signals.stop.recv() => return stopping(name),
            reason = running.failed() => return Err(anyhow!("a listener has failed: {reason}")),
        }
    }
}

fn stopping(name: &str) -> anyhow::Result<()> {
    info!("{name}: finishing what was begun");
    Ok(())
}

/// The signals that the server obeys. SIGPIPE is not among them: the standard library ignores it,
/// and a broken pipe is an error of the write that meets it.
struct Signals {
    hangup: Signal,
    stop: Stop,
}

/// The signals that mean the same: stop.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            stop: Stop::new()?,
        })
    }
}

impl Stop {
    /// From now on these signals do not end the process by themselves.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for one of them and gives its name.
    pub(super) async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
