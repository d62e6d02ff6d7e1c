//! Hidden links: a zone file has taken their names since they were made.
//!
//! Static names win, so such a link is no longer served, and no other message says so. When the zones are loaded,
//! a task compares the names that the files have taken with the store.

use super::Links;
use super::deadline::{ADMIN_DEADLINE, within};
use crate::link::LinkName;
use crate::store::StoreError;

/// Names that links could have if the zone files did not use them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenNames {
    /// The names, without duplicates, in the order of the files.
    pub names: Vec<LinkName>,
    /// Whether there are more names.
    pub is_cut: bool,
}

/// How many names are read from the store in one call.
const CHUNK: usize = 100;
/// How many links are logged by name, a line each.
const MAX_NAMED: usize = 20;

impl Links {
    /// Logs a warning for each link that these names hide. Must be called after the zones that took them are
    /// loaded.
    pub async fn warn_of_hidden(&self, taken: TakenNames) {
        let (mut hidden, mut compared) = (0, 0);
        for names in taken.names.chunks(CHUNK) {
            let found = match self.live_among(names).await {
                Ok(found) => found,
                Err(error) => {
                    let left = taken.names.len() - compared;
                    tracing::warn!(
                        %error,
                        "{left} static names of the zone files were not compared with the links; a link with the name \
                         of one of them is not served"
                    );
                    return;
                }
            };
            compared += names.len();
            let named = found.iter().take(MAX_NAMED.saturating_sub(hidden));
            for name in named {
                tracing::warn!(
                    "the link {name} is not served: a zone file has its name, and static names win; rename the \
                     static name, or delete the link"
                );
            }
            hidden += found.len();
        }
        if hidden > MAX_NAMED {
            let more = hidden - MAX_NAMED;
            tracing::warn!("{more} more links are not served because a zone file has their names");
        }
        if taken.is_cut {
            tracing::warn!(
                "only the first {compared} static names of the zone files were compared with the links; a link with \
                 the name of another one is not served"
            );
        }
    }

    /// The names that have a live link.
    async fn live_among(&self, names: &[LinkName]) -> Result<Vec<LinkName>, StoreError> {
        let possible = names.iter().filter(|name| {
            // A name that the filter denies has no link.
            let filter = self.filter.as_ref();
            filter.is_none_or(|filter| !filter.excludes(name.code().as_bytes(), name.origin()))
        });
        let possible: Vec<LinkName> = possible.cloned().collect();
        let read = async { Ok(self.store.get_many(&possible).await) };
        let mut live = Vec::new();
        for (name, found) in possible.iter().zip(within(ADMIN_DEADLINE, read).await?) {
            match found {
                Ok(Some(link)) if !link.is_expired(self.now()) => live.push(name.clone()),
                Ok(_) => {}
                // A damaged link is not served anyway.
                Err(StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(live)
    }
}
