//! The table's name and place, for requests and messages.

use std::fmt;

/// The table, and what to call it in a message.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) name: String,
    /// The region, or the endpoint's URL.
    pub(super) place: String,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the DynamoDB table {:?} ({})", self.name, self.place)
    }
}
