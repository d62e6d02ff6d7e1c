//! The bounds and times of the memory.

use std::time::Duration;

/// The bounds and times of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// The size of all links, in bytes.
    pub links: usize,
    /// The size of all absent names, in bytes.
    pub absent: usize,
    /// How many flights may be under way.
    pub flights: usize,
    /// How long a link is used before it is looked up again.
    pub fresh_for: Duration,
    /// How long an absence is used before the name is looked up again.
    pub absent_for: Duration,
    /// How long a link is used beyond `fresh_for` while look-ups fail.
    pub stale_for: Duration,
    /// How long a link or an absence is used before it is looked up again, while the server is not notified of
    /// changes. The shorter of this and the times above holds.
    pub unnotified: Duration,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            links: 0,
            absent: 0,
            // A second's worth of misses at the rate of an embedded store.
            flights: 8_192,
            fresh_for: Duration::from_secs(60),
            absent_for: Duration::from_secs(5),
            stale_for: Duration::from_secs(24 * 60 * 60),
            // If a store has one server, that server makes all changes.
            unnotified: Duration::from_secs(60),
        }
        .with_memory(64 << 20)
    }
}

impl MemoryLimits {
    /// For a store that other servers change as well: nothing is used for longer than a second, because no one
    /// notifies this server of their changes.
    pub fn for_shared_store() -> Self {
        Self {
            fresh_for: Duration::from_secs(1),
            absent_for: Duration::from_secs(1),
            unnotified: Duration::from_secs(1),
            ..Self::default()
        }
    }

    /// For a shared store whose servers notify each other of changes. As long as they do, links are used as with a
    /// store of a single server, and otherwise as with any shared store.
    pub fn for_shared_store_with_changes() -> Self {
        Self {
            unnotified: Self::for_shared_store().unnotified,
            ..Self::default()
        }
    }

    /// Divides so many bytes between links and absent names.
    pub fn with_memory(self, bytes: u64) -> Self {
        let links = usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            links,
            absent: links / 8,
            ..self
        }
    }
}
