//! How commands end: 0 done, 1 refused or failed, 2 the command line is wrong, 3 done, but some options were
//! ignored, 4 done, but not all servers have it yet.

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All was done.
    Done,
    /// The link existed already and differs from the options that were given.
    Ignored,
    /// With `--wait`: not all servers have the change yet.
    NotEverywhere,
}

/// The arguments contradict each other.
#[derive(Debug, thiserror::Error)]
#[error("{0}; see --help")]
pub(super) struct UsageError(pub(super) String);

/// The exit code of a command; `--help` and docs/cli.md list them.
pub fn exit_code(ended: &anyhow::Result<Exit>) -> u8 {
    match ended {
        Ok(Exit::Done) => 0,
        Ok(Exit::Ignored) => 3,
        Ok(Exit::NotEverywhere) => 4,
        // The code of clap for what it refuses itself.
        Err(error) if error.is::<UsageError>() => 2,
        Err(_) => 1,
    }
}
