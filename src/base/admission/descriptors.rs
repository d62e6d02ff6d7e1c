//! How many connections the process's descriptors allow, and how the parts share them.
//!
//! The limit on open files is one for the whole process: DNS over TCP, the admin API and the redirect host need
//! descriptors for their connections, and so do the store, Redis, files and UDP sockets. Many systems set a low
//! limit, which a process may raise up to a hard limit (systemd: 1,024 and 524,288). So the server raises it as far
//! as it needs. If the hard limit is too low, every part gets fewer connections than configured, in proportion, so
//! that a crowd at one part takes nothing from the others.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How many connections of a part may be closing, besides those with a seat; fewer if the part has fewer seats.
const MAX_LEAVING: u32 = 64;
/// Connections get at least one in this many descriptors, if there are too few for all purposes.
const LEAST_SHARE: u64 = 2;

/// How many connections a part wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The part, for the log.
    pub service: &'static str,
    /// How many connections it is to have.
    pub connections: u32,
}

/// How many connections may be closing while `connections` have a seat.
pub(super) fn leaving(connections: u32) -> u32 {
    connections.min(MAX_LEAVING)
}

/// How many connections each part may have if everything else needs `others` descriptors. Raises the process's limit
/// on open files as far as necessary and allowed, and logs a warning if it is still too low.
pub fn divide(wanted: &[Share], others: u64) -> Vec<u32> {
    let needed = wanted.iter().map(|share| descriptors(share.connections));
    let needed = needed.sum::<u64>().saturating_add(others);
    let files = raise(needed);
    let given = fit(wanted, files, others);
    for (share, &connections) in wanted.iter().zip(&given) {
        if connections < share.connections {
            tracing::warn!(
                service = share.service,
                connections,
                wanted = share.connections,
                files,
                "fewer connections than configured: the limit on open files (LimitNOFILE= of systemd, ulimit -n) \
                 is too low; the configured connections need {needed}"
            );
        }
    }
    given
}

/// How many descriptors this many connections may take at once.
fn descriptors(connections: u32) -> u64 {
    u64::from(connections) + u64::from(leaving(connections))
}

/// How many connections this many descriptors are enough for; at least one.
fn connections(descriptors: u64) -> u64 {
    let most_leaving = u64::from(MAX_LEAVING);
    match descriptors >= 2 * most_leaving {
        true => descriptors - most_leaving,
        false => (descriptors / 2).max(1),
    }
}

/// How many connections each part may have if `files` may be open, of which `others` are needed elsewhere.
fn fit(wanted: &[Share], files: u64, others: u64) -> Vec<u32> {
    let needed: u64 = wanted.iter().map(|one| descriptors(one.connections)).sum();
    let room = files.saturating_sub(others).max(files / LEAST_SHARE);
    let fit_one = |one: &Share| {
        if needed <= room {
            return one.connections;
        }
        let part = u128::from(descriptors(one.connections)) * u128::from(room) / u128::from(needed);
        let fitting = connections(u64::try_from(part).unwrap_or(u64::MAX));
        u32::try_from(fitting).map_or(one.connections, |fitting| fitting.min(one.connections))
    };
    wanted.iter().map(fit_one).collect()
}

/// Raises the limit on open files to `needed`, as far as the process may; returns the new limit.
fn raise(needed: u64) -> u64 {
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => {
            tracing::warn!(%error, "cannot read the limit on open files");
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
            tracing::warn!(%error, "cannot raise the limit on open files; it stays at {soft}");
            soft
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_what_the_others_leave_or_half() {
        let check = |files: u64, expected: [u32; 3]| {
            let wanted = [1_024, 1_024, 256].map(|connections| Share {
                service: "test",
                connections,
            });
            assert_eq!(fit(&wanted, files, 256), expected, "{files}");
            // Together they take no more than their share, and leave as much as the others need.
            let taken: u64 = expected.iter().map(|&one| descriptors(one)).sum();
            let left = files.saturating_sub(taken);
            assert!(files < 16 || left >= 256.min(files / 2), "{files}: {taken}");
        };
        check(1 << 20, [1_024, 1_024, 256]);
        check(2_752, [1_024, 1_024, 256]);
        check(2_751, [1_023, 1_023, 255]);
        check(1_024, [270, 270, 49]);
        check(256, [27, 27, 8]);
        check(64, [6, 6, 2]);
        check(0, [1, 1, 1]);
    }
}
