//! The log of a test server.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PATIENCE;

/// Longer than lines stay in the server before it writes them.
const GATHERED: Duration = Duration::from_millis(400);

/// The lines of a server's log, as they come.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(super) fn follow(stderr: impl Read + Send + 'static) -> Self {
        let log = Self(Arc::default());
        let lines = log.0.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        log
    }

    /// All that the server has logged so far. The server gathers lines for a tenth of a second, so this waits longer.
    pub fn text(&self) -> String {
        std::thread::sleep(GATHERED);
        // Also after a test has failed that held it.
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.join("\n")
    }

    /// Reads no more of it for as long as the guard lives: the server's standard error fills up.
    pub fn stall(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap()
    }

    /// Waits for a line with this text and returns it.
    pub fn wait_for(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = {
                let lines = self.0.lock().unwrap();
                lines.iter().find(|line| line.contains(text)).cloned()
            };
            match found {
                Some(line) => return line,
                None if Instant::now() > end => {
                    panic!("no line with {text:?} in the log:\n{}", self.text())
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// The field `address` of the first line with this text.
    pub(super) fn address(&self, text: &str) -> SocketAddr {
        address_in(&self.wait_for(text))
    }
}

/// The field `address` of a line of the log.
pub(super) fn address_in(line: &str) -> SocketAddr {
    let line: Value = serde_json::from_str(line).unwrap();
    line["address"].as_str().unwrap().parse().unwrap()
}
