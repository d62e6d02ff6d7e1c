//! `tinyns serve`: the process around the server, with its runtime and its signals.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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

/// The status for the service manager while all is well.
const SERVING: &str = "serving";
/// The status after a reload that has not taken all files.
const NOT_RELOADED: &str =
    "serving the old state: a file that was read again has faults; see the log";
/// The time between two updates of the progress bar of the warm load.
const DRAW_TIME: Duration = Duration::from_millis(200);

/// What the server needs privileges for, ready before it starts.
pub(super) struct Ready {
    sockets: Sockets,
    identity: Identity,
}

/// Does what needs privileges, and then gives them up. To be called while the process has one thread: each
/// thread has privileges of its own, and a new thread takes over those of its creator.
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
    // Either the requests in progress are finished, or the operator does not want to wait for them. Dropping the
    // runtime would wait for every blocking call.
    runtime.shutdown_background();
    outcome
}

async fn serve(config: Config, sockets: Sockets, status: Option<StatusLine>) -> anyhow::Result<()> {
    // Before the server serves anything, so that no signal finds it unprepared.
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
            outcome.and(Err(anyhow!("stopped by a second signal before all requests were finished")))
        }
    }
}

/// Logs the user that the process runs as, if the configuration changes it or if it is root.
fn log_identity(identity: &Identity) {
    match identity {
        Identity::Starter | Identity::RootAsConfigured => {}
        Identity::Became { uid, gid } => info!(%uid, %gid, "root's privileges given up"),
        Identity::Root => {
            warn!("running as root; set \"user\" in [process] to run as another user");
        }
    }
}

/// Logs a line for each listener: with port 0 the log is the only place that has the port.
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
    if let Some(address) = running.admin().first() {
        info!("the web page is at http://{}/", reachable(*address));
    }
    for address in running.redirect() {
        info!(%address, "redirect host");
    }
    for address in running.https() {
        info!(%address, "redirect host by HTTPS");
    }
}

/// An address that browsers of this machine can open.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

/// Obeys signals. Returns when the server is to stop, with an error if no signal asked for it.
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
                    // Reading may take long: files may be large, or on a file system that does not respond.
                    name = signals.stop.recv() => return stopping(name),
                }
            }
            name = signals.stop.recv() => return stopping(name),
            reason = running.failed() => return Err(anyhow!("a listener has failed: {reason}")),
        }
    }
}

/// The progress bar of the warm load, below the log.
struct WarmBar {
    line: StatusLine,
    /// None unless the load is running.
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
    info!("{name}: finishing the requests in progress");
    Ok(())
}

/// The signals that the server obeys. The standard library ignores SIGPIPE, so that a broken pipe is an error
/// of the write.
struct Signals {
    hangup: Signal,
    stop: Stop,
    /// Handled so that it does not end the process: a file at its size limit (`ulimit -f`) is then an error of the
    /// write, as on a full disk.
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
