//! What a store says when it could not do what it was asked, and what it knows to be wrong with itself.

use std::borrow::Cow;

/// Why a store could not answer. It says nothing about the link: whoever gets one of these must not
/// tell a client that the link is absent.
///
/// Of a failed write it says whether the write may have been done all the same; see
/// [`StoreError::is_certain`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached: the call was not sent.
    #[error("the link store cannot be reached: {0}")]
    Unreachable(String),
    /// The store has received the call, refused it and done nothing: a right is missing, the disk is full.
    #[error("the link store refused the call: {0}")]
    Refused(String),
    /// The store allows only so many calls at a time, and has done nothing. The text says which limit
    /// that is, and what to do.
    #[error("the link store throttles: {0}")]
    Throttled(String),
    /// The store failed in another way; a write may have been done.
    #[error("the link store is unavailable: {0}")]
    Unavailable(String),
    /// Too many calls of this server wait for the store: the call was not sent.
    #[error("too many calls of this server wait for the link store")]
    Overloaded,
    /// The store took longer than the caller may wait; a write may have been done.
    #[error("the link store did not answer in time")]
    DeadlineExceeded,
    /// The stored item is not a link that this program could have written.
    #[error("the stored item {name:?} is not a valid link: {reason}")]
    Corrupt {
        /// The item's key.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl StoreError {
    /// Whether a write that failed with this has certainly changed nothing, and will not. Otherwise it
    /// may have been done, or may still be.
    pub fn is_certain(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Refused(_) | Self::Throttled(_) | Self::Overloaded => true,
            // A change of something else in a damaged item may have been made.
            Self::Unavailable(_) | Self::DeadlineExceeded | Self::Corrupt { .. } => false,
        }
    }

    /// The cause in one word, for metrics.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::Throttled(_) => "throttled",
            Self::Unavailable(_) => "unavailable",
            Self::Overloaded => "overloaded",
            Self::DeadlineExceeded => "timeout",
            Self::Corrupt { .. } => "corrupt",
        }
    }

    /// The reason in a few words, for those who may not hear more.
    pub fn brief(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "the link store cannot be reached",
            Self::Refused(_) => "the link store refuses calls",
            Self::Throttled(_) => "the link store throttles",
            Self::Unavailable(_) => "the link store is unavailable",
            Self::Overloaded => "too many calls wait for the link store",
            Self::DeadlineExceeded => "the link store does not answer in time",
            Self::Corrupt { .. } => "a stored link is damaged",
        }
    }
}

/// Something that a part of the server knows to be wrong, for `/readyz` and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What it does to the server.
    pub effect: Effect,
    /// What is wrong and what to do, in one line. Anybody may read it: no names of links, no addresses,
    /// no file names.
    pub reason: Cow<'static, str>,
}

impl Trouble {
    /// A trouble with this effect.
    pub fn new(effect: Effect, reason: impl Into<Cow<'static, str>>) -> Self {
        let reason = reason.into();
        Self { effect, reason }
    }
}

/// What a [`Trouble`] does to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Queries are answered and changes taken, but an operator should know.
    Degraded,
    /// Queries are answered; changes of links are refused.
    NoChanges,
    /// Queries cannot be answered as they should be.
    NotServing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_sent_or_was_refused_is_certain() {
        let check = |error: StoreError, certain: bool| {
            assert_eq!(error.is_certain(), certain, "{error}");
        };
        check(StoreError::Unreachable(String::new()), true);
        check(StoreError::Refused(String::new()), true);
        check(StoreError::Throttled(String::new()), true);
        check(StoreError::Overloaded, true);
        check(StoreError::Unavailable(String::new()), false);
        check(StoreError::DeadlineExceeded, false);
    }
}
