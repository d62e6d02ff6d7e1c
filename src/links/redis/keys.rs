//! The keys of what Redis holds; all begin with the prefix that the configuration says.

use crate::link::LinkName;

/// How keys are called.
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

    /// The key of what is held of a name.
    pub(super) fn link(&self, name: &LinkName) -> String {
        format!("{}:link:{name}", self.prefix)
    }

    /// The key of something else.
    pub(super) fn other(&self, what: &str) -> String {
        format!("{}:{what}", self.prefix)
    }
}
