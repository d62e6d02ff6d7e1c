//! `tinyns serve`: the process around the server, which is its runtime, its signals and its end.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::Running;
use crate::clock::Clock;
use crate::config::Config;
use crate::links::{WarmPhase, WarmStatus};
use crate::logging::StatusLine;
use crate::progress::{Extent, Progress};

/// How often the bar of the warm load is drawn.
const DRAW_TIME: Duration = Duration::from_millis(200);

/// Runs the server until a signal or a failed listener ends it. On a terminal the load of links into
/// Redis has a bar in its last line.
pub(super) fn run(config: Config, status: Option<StatusLine>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(serve(config, status));
    // What had to be finished is finished by now, or the operator does not want to wait for it:
    // dropping the runtime would wait for every call that still blocks.
    runtime.shutdown_background();
    outcome
}

async fn serve(config: Config, status: Option<StatusLine>) -> anyhow::Result<()> {
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
    let mut bar = status.map(WarmBar::new);
    let outcome = watch(&mut running, &mut signals, &mut bar).await;
    drop(bar);
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
async fn watch(
    running: &mut Running,
    signals: &mut Signals,
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
        let bar = progress.bar("loading links", crate::progress::width(), now);
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
