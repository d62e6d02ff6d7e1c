//! Standard output and standard error.

use std::io::{self, Write};

use anyhow::Context;

use crate::base::text::with_causes;

/// An error with its causes, as `effect: cause: …`. The faults of zone files keep their lines.
pub fn complaint(error: &anyhow::Error) -> String {
    with_causes(error.as_ref())
}

/// Writes a line to standard error.
pub(super) fn say(text: &str) {
    // A closed standard error is no failure; eprintln! would panic.
    let _ = writeln!(io::stderr().lock(), "tinyns: {text}");
}

/// Writes to standard output. A reader that has closed it early is no failure.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}
