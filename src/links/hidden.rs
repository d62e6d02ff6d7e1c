//! Links that a zone file hides: it has taken their names since they were registered.
//!
//! Static names win, so such a link is not answered any more, and nothing else says so. The names that the files have
//! taken are compared with the store when the zones are loaded, by a task beside the queries.

use super::Links;
use super::deadline::{ADMIN_DEADLINE, within};
use crate::link::LinkName;
use crate::store::StoreError;

/// Names that links could have if a zone file had not taken them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenNames {
    /// Each once, in the order of the files.
    pub names: Vec<LinkName>,
    /// Whether there are more.
    pub is_cut: bool,
}

/// How many names are looked up in the store at once.
const CHUNK: usize = 100;
/// The most links that are named; each is a line of the log.
const MAX_NAMED: usize = 20;

impl Links {
    /// Warns of the links that these names hide. To be called when a load of the zones has taken them.
    pub async fn warn_of_hidden(&self, taken: TakenNames) {
        let (mut hidden, mut compared) = (0, 0);
        for names in taken.names.chunks(CHUNK) {
            let found = match self.live_among(names).await {
                Ok(found) => found,
                Err(error) => {
                    let left = taken.names.len() - compared;
                    tracing::warn!(
                        %error,
                        "{left} static names of the zone files were not compared with the links; one that a link \
                         has as well hides it"
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
                "only the first {compared} static names of the zone files were compared with the links; one that a \
                 link has as well hides it"
            );
        }
    }

    /// Those of these names that have a live link.
    async fn live_among(&self, names: &[LinkName]) -> Result<Vec<LinkName>, StoreError> {
        let possible = names.iter().filter(|name| {
            // What the filter denies has no link.
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
                // It cannot be served, hidden or not.
                Err(StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(live)
    }
}
