//! The keys in Redis. All of them begin with the configured prefix.

use crate::link::LinkName;

/// Makes keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: Box<str>,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// The key of a link's value.
    pub(super) fn link(&self, name: &LinkName) -> String {
        format!("{}:link:{name}", self.prefix)
    }

    /// The key of anything else.
    pub(super) fn other(&self, what: &str) -> String {
        format!("{}:{what}", self.prefix)
    }
}
