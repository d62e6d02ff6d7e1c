//! Standard output and standard error.

use std::io::{self, Write};

use anyhow::Context;

/// Writes a line to standard error.
pub(super) fn say(text: &str) {
    // A closed standard error is no failure; eprintln! would panic.
    let _ = writeln!(io::stderr().lock(), "tinyns: {text}");
}

/// Writes to standard output. A reader that has closed it early is no failure.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    write(text.as_bytes()).map(drop)
}

/// Writes to standard output. Returns false if the reader has closed it early, which is no failure.
pub(super) fn write(bytes: &[u8]) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(e).context("cannot write to standard output"),
    }
}
