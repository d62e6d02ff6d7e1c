//! How many connections the process's descriptors allow.
//!
//! The limit on open files is that of the whole process: HTTP, the store, Redis and the UDP sockets need
//! theirs, too. Many systems set a low one that a process may raise by itself, up to a hard one (systemd:
//! 1,024 and 524,288). So it is raised by as much as is needed; where that does not go far enough, there
//! are fewer connections than configured.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::TcpLimits;
use super::admission::MAX_LEAVING;

/// What part of all descriptors is for connections where there are not enough for all purposes.
const LEAST_SHARE: u64 = 4;

/// Limits that this process can keep to, where `others` descriptors are needed for everything but
/// connections; and the limit on open files, if it is the reason why these are fewer than wanted.
pub(super) fn fit(limits: TcpLimits, others: u64) -> (TcpLimits, Option<u64>) {
    let leaving = u64::try_from(MAX_LEAVING).unwrap_or(0);
    let needed = u64::from(limits.connections) + leaving + others;
    let files = raise(needed);
    let room = room(files, leaving + others);
    match u32::try_from(room) {
        Ok(room) if room < limits.connections => {
            let fitting = TcpLimits {
                connections: room,
                ..limits
            };
            (fitting, Some(files))
        }
        _ => (limits, None),
    }
}

/// How many connections there may be if so many files may be open, and `others` are needed elsewhere.
fn room(files: u64, others: u64) -> u64 {
    files.saturating_sub(others).max(files / LEAST_SHARE).max(1)
}

/// Raises the limit on open files to what is needed, as far as the process may; gives what it is then.
fn raise(needed: u64) -> u64 {
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files is not known");
            return u64::MAX;
        }
    };
    let wanted = needed.min(hard);
    if wanted <= soft {
        return soft;
    }
    match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files stays at {soft}");
            soft
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_the_others_leave_or_a_quarter() {
        assert_eq!(room(4_096, 2_400), 1_696);
        assert_eq!(room(1_024, 2_400), 256);
        assert_eq!(room(64, 2_400), 16);
        assert_eq!(room(0, 2_400), 1);
    }
}
