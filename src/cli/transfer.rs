//! What import and export share: a server that may be away for a while, a line that shows how far
//! they are, and a signal that ends them.
//!
//! Both are one task that asks, waits and writes; the calls of the admin API block, and have
//! threads of their own. What is asked may be asked again: reading changes nothing, and making a
//! link that is there changes nothing either. So a signal simply drops the task wherever it waits.

use std::io::{self, Stderr, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::api_client::ApiError;
use super::client::Client;
use super::stop::Stop;
use crate::base::progress::{Meter, Progress};

/// For how long calls that fail are made again: a server that is started anew is back by then.
const PATIENCE: Duration = Duration::from_secs(40);
/// The wait before the second try; it doubles for each one that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest wait between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How often there is a look at whether the line about the progress has to be drawn.
const TICK: Duration = Duration::from_millis(100);

/// Runs a task to its end, or until a signal: SIGINT or SIGTERM.
///
/// # Errors
/// The task's own, or one that names the signal.
pub(super) fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(work);
    // A call that still blocks is not waited for: nobody would hear its answer.
    runtime.shutdown_background();
    outcome
}

/// Does a piece of work unless a signal comes first.
pub(super) async fn unless_stopped<T>(
    stop: &mut Stop,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        outcome = work => outcome,
        name = stop.recv() => Err(Stopped(name).into()),
    }
}

/// A signal has ended the work.
#[derive(Debug, thiserror::Error)]
#[error("stopped by {0}")]
pub(super) struct Stopped(&'static str);

/// How long to go on trying.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// When the first try failed, and what the next pause is.
    since: Option<(Instant, Duration)>,
}

impl Patience {
    /// A try has failed at `now`: how long to wait before the next one, if there is to be one.
    pub(super) fn pause(&mut self, now: Instant) -> Option<Duration> {
        let (since, pause) = self.since.unwrap_or((now, FIRST_PAUSE));
        self.since = Some((since, (pause * 2).min(MAX_PAUSE)));
        (now.duration_since(since) < PATIENCE).then_some(pause)
    }

    /// Whether no try has failed yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.since.is_none()
    }
}

/// The two streams for people: what was asked for, and the rest with the line about the progress.
#[derive(Clone)]
pub(super) struct Screen {
    meter: Arc<Mutex<Meter<Stderr>>>,
    /// Whether somebody else writes just now, perhaps to the same terminal.
    busy: Arc<AtomicBool>,
}

impl Screen {
    /// Shows a progress from now on, by a task of the runtime.
    pub(super) fn begin(label: &'static str, progress: Progress) -> Self {
        let meter = Meter::on_stderr(label, progress, Instant::now());
        let screen = Self {
            meter: Arc::new(Mutex::new(meter)),
            busy: Arc::default(),
        };
        let shown = screen.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let mut meter = shown.meter();
                if !shown.busy.load(Ordering::SeqCst) {
                    meter.tick(Instant::now());
                }
            }
        });
        screen
    }

    fn meter(&self) -> MutexGuard<'_, Meter<Stderr>> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`Progress::update`].
    pub(super) fn update(&self, done: u64, at: u64) {
        self.meter().update(done, at, Instant::now());
    }

    /// Says something on standard error, in a line of its own.
    pub(super) fn say(&self, text: &str) {
        let mut meter = self.meter();
        meter.clear();
        // Nobody is left to be told where standard error is closed.
        let _ = writeln!(io::stderr().lock(), "tinyns: {text}");
    }

    /// Writes on a thread where that may block: a reader may take its time, and a signal is still
    /// obeyed meanwhile.
    ///
    /// # Errors
    /// The writer's own.
    pub(super) async fn write<W: Write + Send + 'static>(
        &self,
        mut out: W,
        text: String,
    ) -> anyhow::Result<io::Result<W>> {
        {
            let mut meter = self.meter();
            self.busy.store(true, Ordering::SeqCst);
            meter.clear();
        }
        let write = move || {
            out.write_all(text.as_bytes())?;
            out.flush()?;
            Ok(out)
        };
        let written = tokio::task::spawn_blocking(write).await;
        self.busy.store(false, Ordering::SeqCst);
        written.context("a write broke down")
    }

    /// Waits before another try, and says so before the first one.
    ///
    /// # Errors
    /// The failure, where it has lasted too long.
    pub(super) async fn wait<E>(&self, patience: &mut Patience, failure: E) -> anyhow::Result<()>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        if patience.is_fresh() {
            let seconds = PATIENCE.as_secs();
            let failure = &failure;
            self.say(&format!("{failure}; trying again for {seconds} s"));
        }
        match patience.pause(Instant::now()) {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            None => Err(failure.into()),
        }
    }

    /// Shows nothing any more.
    pub(super) fn end(&self) {
        self.meter().end();
    }
}

/// A server, and where to say that it is away.
#[derive(Clone)]
pub(super) struct Server {
    client: Arc<Client>,
    screen: Screen,
}

impl Server {
    pub(super) fn new(client: Arc<Client>, screen: Screen) -> Self {
        Self { client, screen }
    }

    /// Makes one call, on a thread where it may block.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Client) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        ask(&self.client, call).await
    }

    /// Makes a call until it succeeds or fails for good.
    pub(super) async fn insist<T: Send + 'static>(
        &self,
        call: impl Fn(&Client) -> Result<T, ApiError> + Clone + Send + 'static,
    ) -> anyhow::Result<Result<T, ApiError>> {
        let mut patience = Patience::default();
        loop {
            match self.call(call.clone()).await? {
                Err(error) if error.may_pass() => self.screen.wait(&mut patience, error).await?,
                other => return Ok(other),
            }
        }
    }
}

/// Makes one call of the admin API, on a thread where it may block.
pub(super) async fn ask<T: Send + 'static>(
    client: &Arc<Client>,
    call: impl FnOnce(&Client) -> T + Send + 'static,
) -> anyhow::Result<T> {
    let client = Arc::clone(client);
    tokio::task::spawn_blocking(move || call(&client))
        .await
        .context("a call of the admin API broke down")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_has_an_end() {
        let mut now = Instant::now();
        let begin = now;
        let mut patience = Patience::default();
        assert!(patience.is_fresh());
        let mut pauses = Vec::new();
        while let Some(pause) = patience.pause(now) {
            pauses.push(pause.as_millis());
            now += pause;
        }
        assert!(!patience.is_fresh());
        assert_eq!(
            pauses[..8],
            [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]
        );
        let waited = now - begin;
        assert!(
            waited >= PATIENCE && waited < PATIENCE + MAX_PAUSE,
            "{waited:?}"
        );
        assert_eq!(patience.pause(now), None);
    }
}
