//! The host of the web page among the names of the zones.

use crate::links::{Host, Namespace as _};
use crate::zone::ZoneSet;

/// A host of the page that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageHostError {
    /// The name is one that a link can have.
    #[error(
        "[page] host: {0} could become the name of a link, because no zone file has it; add its address records to the \
        zone file, or choose a name outside of the zones"
    )]
    Link(Box<str>),
}

/// Whether a host can be that of the page: no link may have its name.
///
/// # Errors
/// [`PageHostError::Link`].
pub(super) fn check_host(host: Option<&str>, zones: &ZoneSet) -> Result<(), PageHostError> {
    match host.map(|host| (host, zones.classify_host(host))) {
        Some((host, Host::Link(_))) => Err(PageHostError::Link(host.into())),
        Some((_, Host::Origin(_) | Host::Inside | Host::Foreign)) | None => Ok(()),
    }
}
