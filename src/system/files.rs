//! How many files and connections the process may have open.
//!
//! The limit that a process starts with is 1,024 nearly everywhere, for the sake of programs that
//! call `select(2)`, which knows no more; the one that it may raise it to is far higher. Nothing here
//! calls `select`. A connection costs a descriptor, so how many there can be depends on this.

use std::io;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};

/// The least that a server with its default bounds on connections may need, in descriptors: with less
/// it serves on, but new connections wait.
pub const ENOUGH: u64 = 4_096;

/// Raises the limit as far as it may be, and returns it: a number of descriptors.
///
/// # Errors
/// What the system says; the limit is then what it was.
pub fn raise_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(number(soft.max(hard)))
}

fn number(limit: rlim_t) -> u64 {
    match limit {
        RLIM_INFINITY => u64::MAX,
        limit => limit,
    }
}
