//! Standard output and standard error.

use std::io::{self, Write};

use anyhow::Context;

/// Writes a line to standard error.
pub(super) fn say(text: &str) {
    // A closed standard error is no failure; eprintln! would panic.
    let _ = writeln!(io::stderr().lock(), "tinyns: {text}");
}

/// Rows with their columns one below the other.
pub(super) fn aligned<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = rows.collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}  "))
            .collect();
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
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
