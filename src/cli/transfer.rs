//! What import and export share: retries while the server is away, a progress line, and signals that end them.
//!
//! Each of them is one task that sends requests, waits and writes; the calls of the admin API block, so they
//! run on threads of their own. All requests can be repeated: reading changes nothing, and neither does
//! creating a link that exists. So a signal simply drops the task wherever it waits.

use std::io::{self, Stderr, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::api_client::ApiError;
use super::client::Client;
use super::counter::SILENCE;
use super::stop::Stop;
use crate::base::progress::{Meter, Progress};

/// How long failed calls are repeated: enough for a server to restart.
const PATIENCE: Duration = Duration::from_secs(40);
/// The pause before the second try; each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// The time between two updates of the progress line.
const TICK: Duration = Duration::from_millis(100);

/// Runs a task on a runtime of its own.
///
/// # Errors
/// The errors of the task.
pub(super) fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(work);
    // Do not wait for calls that still block: their results are not needed.
    runtime.shutdown_background();
    outcome
}

/// Runs some work, unless a signal comes first.
pub(super) async fn unless_stopped<T>(
    stop: &mut Stop,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        outcome = work => outcome,
        name = stop.recv() => Err(Stopped(name).into()),
    }
}

/// A signal ended the work.
#[derive(Debug, thiserror::Error)]
#[error("stopped by {0}")]
pub(super) struct Stopped(&'static str);

/// How long to repeat a call that fails.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// When the first try failed, and the next pause.
    since: Option<(Instant, Duration)>,
}

impl Patience {
    /// Notes a failed try at `now`; returns the pause before the next try, or none if it is time to give up.
    pub(super) fn pause(&mut self, now: Instant) -> Option<Duration> {
        let (since, pause) = self.since.unwrap_or((now, FIRST_PAUSE));
        self.since = Some((since, (pause * 2).min(MAX_PAUSE)));
        (now.duration_since(since) < PATIENCE).then_some(pause)
    }

    /// Whether no try has failed so far.
    pub(super) fn is_fresh(&self) -> bool {
        self.since.is_none()
    }
}

/// Standard output, and standard error with the progress line.
#[derive(Clone)]
pub(super) struct Screen {
    meter: Arc<Mutex<Meter<Stderr>>>,
    /// Whether a write to standard output is in progress, perhaps to the same terminal.
    busy: Arc<AtomicBool>,
}

impl Screen {
    /// Shows the progress once the work takes longer than [`SILENCE`], in a task of the runtime.
    pub(super) fn begin(label: &'static str, progress: Progress) -> Self {
        let meter = Meter::on_stderr(label, progress, Instant::now());
        let screen = Self {
            meter: Arc::new(Mutex::new(meter)),
            busy: Arc::default(),
        };
        let shown = screen.clone();
        tokio::spawn(async move {
            tokio::time::sleep(SILENCE).await;
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

    /// Writes a line to standard error.
    pub(super) fn say(&self, text: &str) {
        let mut meter = self.meter();
        meter.clear();
        // A closed standard error is no failure.
        let _ = writeln!(io::stderr().lock(), "tinyns: {text}");
    }

    /// Writes on a thread that may block, so that a signal is obeyed even while the reader is slow.
    ///
    /// # Errors
    /// The errors of the writer.
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
        written.context("the writing thread has panicked")
    }

    /// Waits before another try, and reports the failure before the first pause.
    ///
    /// # Errors
    /// The failure itself, if it has lasted too long.
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

    /// Removes the progress line.
    pub(super) fn end(&self) {
        self.meter().end();
    }
}

/// A server, and the screen for its failures.
#[derive(Clone)]
pub(super) struct Server {
    client: Arc<Client>,
    screen: Screen,
}

impl Server {
    pub(super) fn new(client: Arc<Client>, screen: Screen) -> Self {
        Self { client, screen }
    }

    /// Makes one call, on a thread that may block.
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

/// Makes one call of the admin API, on a thread that may block.
pub(super) async fn ask<T: Send + 'static>(
    client: &Arc<Client>,
    call: impl FnOnce(&Client) -> T + Send + 'static,
) -> anyhow::Result<T> {
    let client = Arc::clone(client);
    tokio::task::spawn_blocking(move || call(&client))
        .await
        .context("the thread of an API call has panicked")
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
