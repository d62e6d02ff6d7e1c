//! Errors of store calls, and the troubles that a store knows of.

use std::borrow::Cow;

/// Why a call of the store failed. The error says nothing about the link: the caller must not claim that the link
/// is absent.
///
/// [`StoreError::is_certain`] says whether a failed write may have been made all the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached: the call was not sent.
    #[error("the link store cannot be reached: {0}")]
    Unreachable(String),
    /// The store has received the call and refused it: a right is missing, the disk is full. Nothing was changed.
    #[error("the link store refused the call: {0}")]
    Refused(String),
    /// The store limits its calls, and has changed nothing. The text says which limit that is, and what to do.
    #[error("the link store throttles: {0}")]
    Throttled(String),
    /// The store failed in another way; a write may have been made.
    #[error("the link store is unavailable: {0}")]
    Unavailable(String),
    /// Too many calls of this server wait for the store: the call was not sent.
    #[error("too many calls of this server wait for the link store")]
    Overloaded,
    /// The store did not reply before the caller's deadline; a write may have been made.
    #[error("the link store did not answer in time")]
    DeadlineExceeded,
    /// The stored item is not a link that tinyns could have written.
    #[error("the stored item {name:?} is not a valid link: {reason}")]
    Corrupt {
        /// The item's key.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl StoreError {
    /// Whether a write that failed with this error has certainly changed nothing, and will not. Otherwise it may
    /// have been made, or may still be made.
    pub fn is_certain(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Refused(_) | Self::Throttled(_) | Self::Overloaded => true,
            // The write may have changed another part of a damaged item.
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

    /// The reason in fixed words, without names and addresses.
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

/// Something that is wrong, for `/readyz` and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Its effect on the server.
    pub effect: Effect,
    /// What is wrong and what to do, in one line. Anybody may read it, so it contains no names of links, addresses
    /// or files.
    pub reason: Cow<'static, str>,
}

impl Trouble {
    /// A trouble with this effect.
    pub fn new(effect: Effect, reason: impl Into<Cow<'static, str>>) -> Self {
        let reason = reason.into();
        Self { effect, reason }
    }
}

/// The effect of a [`Trouble`] on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Queries are answered and changes taken, but an operator should know.
    Degraded,
    /// Queries are answered; changes of links are refused.
    NoChanges,
    /// Queries cannot be answered correctly.
    NotServing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_that_were_not_sent_or_were_refused_are_certain() {
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
