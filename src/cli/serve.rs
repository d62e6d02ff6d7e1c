//! `tinyns serve`: the process around the server, which is its runtime, its signals and its end.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use nix::libc::SIGXFSZ;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::stop::Stop;
use crate::base::clock::Clock;
use crate::base::logging::StatusLine;
use crate::base::progress::{Extent, Progress};
use crate::config::Config;
use crate::links::{WarmPhase, WarmStatus};
use crate::server::system::handed::Handed;
use crate::server::system::manager::ServiceManager;
use crate::server::system::privileges::{self, Identity};
use crate::server::{Running, SocketError, Sockets};

/// What the service manager shows of a server in order.
const SERVING: &str = "serving";
/// What it shows of one that a reload has left with something old.
const NOT_RELOADED: &str =
    "serving what there was: a file that was read again has faults, which the log tells";
/// How often the bar of the warm load is drawn.
const DRAW_TIME: Duration = Duration::from_millis(200);

/// What a server has before it starts.
pub(super) struct Ready {
    sockets: Sockets,
    identity: Identity,
}

/// Does what needs privileges, and gives them up. To be called while the process has one thread: each
/// has rights of its own, and new ones have those of the one that makes them.
pub(super) fn prepare(config: &Config) -> anyhow::Result<Ready> {
    privileges::forbid_new().context("cannot forbid new privileges")?;
    let handed = Handed::from_env().map_err(SocketError::from)?;
    let sockets = Sockets::open(config, handed)?;
    let identity = privileges::give_up(&config.process)?;
    Ok(Ready { sockets, identity })
}

/// Runs the server until a signal or a failed listener ends it. On a terminal the load of links into
/// Redis has a bar in its last line.
pub(super) fn run(config: Config, ready: Ready, status: Option<StatusLine>) -> anyhow::Result<()> {
    log_identity(&ready.identity);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(serve(config, ready.sockets, status));
    // What had to be finished is finished by now, or the operator does not want to wait for it:
    // dropping the runtime would wait for every call that still blocks.
    runtime.shutdown_background();
    outcome
}

async fn serve(config: Config, sockets: Sockets, status: Option<StatusLine>) -> anyhow::Result<()> {
    // Before anything is served, so that no signal finds the server unprepared.
    let mut signals = Signals::new().context("cannot handle signals")?;
    let manager = ServiceManager::from_env();
    let mut running = tokio::select! {
        running = crate::server::start(config, sockets, Clock::default()) => running?,
        name = signals.stop.recv() => {
            info!("{name} while starting");
            return Ok(());
        }
    };
    announce(&running);
    manager.ready(SERVING).await;
    let pings = tokio::spawn(running.watchdog(manager.clone()));
    let mut bar = status.map(WarmBar::new);
    let outcome = watch(&mut running, &mut signals, &manager, &mut bar).await;
    drop(bar);
    let outcome = stop(running, signals, &manager, outcome).await;
    pings.abort();
    outcome
}

async fn stop(
    running: Running,
    mut signals: Signals,
    manager: &ServiceManager,
    outcome: anyhow::Result<()>,
) -> anyhow::Result<()> {
    let shutdown = async {
        manager.stopping().await;
        running.shutdown().await;
    };
    tokio::select! {
        () = shutdown => {
            info!("stopped");
            outcome
        }
        name = signals.stop.recv() => {
            warn!("second signal, {name}: stopping at once");
            outcome.and(Err(anyhow!("stopped by a second signal with work unfinished")))
        }
    }
}

/// Tells as whom the process runs, where that is not plain.
fn log_identity(identity: &Identity) {
    match identity {
        Identity::Starter | Identity::RootAsTold => {}
        Identity::Became { uid, gid } => info!(%uid, %gid, "root's privileges given up"),
        Identity::Root => {
            warn!("running as root; \"user\" in [process] names whom to become instead");
        }
    }
}

/// One line a listener: with port 0, and with several addresses, this is where to look them up.
fn announce(running: &Running) {
    for address in running.dns() {
        info!(%address, "DNS over UDP and TCP");
    }
    for address in running.dns_tls() {
        info!(%address, "DNS over TLS");
    }
    for address in running.admin() {
        info!(%address, "admin API");
    }
    for address in running.redirect() {
        info!(%address, "redirect host");
    }
}

/// Obeys signals; returns when it is time to stop, with an error if that was not asked for.
async fn watch(
    running: &mut Running,
    signals: &mut Signals,
    manager: &ServiceManager,
    bar: &mut Option<WarmBar>,
) -> anyhow::Result<()> {
    let mut draw = tokio::time::interval(DRAW_TIME);
    draw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = draw.tick(), if bar.is_some() => {
                if let Some(bar) = bar {
                    bar.draw(running.warm_load(), Instant::now());
                }
            }
            _ = signals.hangup.recv() => {
                info!("SIGHUP: reading the files again");
                manager.reloading().await;
                tokio::select! {
                    reloaded = running.reload() => {
                        manager.ready(if reloaded { SERVING } else { NOT_RELOADED }).await;
                    }
                    // The files may be large, or on a file system that does not answer.
                    name = signals.stop.recv() => return stopping(name),
                }
            }
            name = signals.stop.recv() => return stopping(name),
            reason = running.failed() => return Err(anyhow!("a listener has failed: {reason}")),
        }
    }
}

/// The bar of the warm load, below the log.
struct WarmBar {
    line: StatusLine,
    /// While it is under way.
    progress: Option<Progress>,
}

impl WarmBar {
    fn new(line: StatusLine) -> Self {
        Self {
            line,
            progress: None,
        }
    }

    fn draw(&mut self, load: Option<WarmStatus>, now: Instant) {
        let Some(load) = load.filter(|load| load.state == WarmPhase::Loading) else {
            if self.progress.take().is_some() {
                self.line.show(None);
            }
            return;
        };
        let progress = self.progress.get_or_insert_with(|| {
            let extent = load.of.map_or(Extent::Unknown, Extent::Count);
            Progress::new(extent, load.links, 0, now)
        });
        progress.update(load.links, 0, now);
        let bar = progress.bar("loading links", crate::base::progress::width(), now);
        self.line.show(Some(bar));
    }
}

impl Drop for WarmBar {
    fn drop(&mut self) {
        self.line.show(None);
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
    /// Heard so that it does not end the process: a file that may not grow any more (`ulimit -f`) is then an
    /// error of the write, as a full disk is.
    _file_size: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            stop: Stop::new()?,
            _file_size: signal(SignalKind::from_raw(SIGXFSZ))?,
        })
    }
}
