//! The bounds and times of the memory.

use std::time::Duration;

/// The bounds and times of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// How much links may take, in bytes.
    pub links: usize,
    /// How much absent names may take, in bytes.
    pub absent: usize,
    /// How many names may be looked up behind the memory at once.
    pub flights: usize,
    /// How long a link is used before it is looked up again.
    pub fresh_for: Duration,
    /// How long a name is taken to be absent before it is looked up again.
    pub absent_for: Duration,
    /// How long a link is used beyond `fresh_for` while the tiers behind fail.
    pub stale_for: Duration,
    /// How long a link or an absence is used without asking again while nobody tells of changes.
    /// Where this is as long as the two times above, which hold besides, it changes nothing.
    pub unnotified: Duration,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            links: 0,
            absent: 0,
            // A second's worth of misses at the rate that an embedded store serves.
            flights: 8_192,
            fresh_for: Duration::from_secs(60),
            absent_for: Duration::from_secs(5),
            stale_for: Duration::from_secs(24 * 60 * 60),
            // The only server of a store makes all changes itself.
            unnotified: Duration::from_secs(60),
        }
        .with_memory(64 << 20)
    }
}

impl MemoryLimits {
    /// For a store that other servers change as well: while nobody tells us of their changes, nothing
    /// is used for longer than a second without asking.
    pub fn for_shared_store() -> Self {
        Self {
            fresh_for: Duration::from_secs(1),
            absent_for: Duration::from_secs(1),
            unnotified: Duration::from_secs(1),
            ..Self::default()
        }
    }

    /// For a shared store whose servers tell each other of their changes: what is held is as good as
    /// with a store of our own for as long as we hear them, and no better than with any shared store
    /// when we do not.
    pub fn for_shared_store_with_changes() -> Self {
        Self {
            unnotified: Self::for_shared_store().unnotified,
            ..Self::default()
        }
    }

    /// Divides this many bytes between links and absent names.
    pub fn with_memory(self, bytes: u64) -> Self {
        let links = usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            links,
            absent: links / 8,
            ..self
        }
    }
}
