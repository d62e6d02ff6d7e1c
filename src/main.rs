//! The tinyns program: the command line in, an exit code out. Everything else is in the library.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tinyns::cli::{self, Cli};

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut out = std::io::stderr().lock();
            for line in cli::complaint(&error).lines() {
                // Nobody is left to be told where standard error is closed; eprintln! would panic.
                let _ = writeln!(out, "tinyns: {line}");
            }
            ExitCode::FAILURE
        }
    }
}
