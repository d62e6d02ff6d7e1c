//! HTTPS records for links with a certificate of the operator.

use crate::certificates::Tls;
use crate::links::Namespace as _;
use crate::zone::{ZoneAdditions, ZoneSet};

/// Has links answer an HTTPS record in the zones for whose links the certificate is, and in no others. Returns
/// whether that is a change.
pub(super) fn set_https_records(zones: &ZoneSet, tls: &Tls) -> bool {
    let mut is_changed = false;
    for origin in zones.origins() {
        let additions = ZoneAdditions {
            https: tls.covers_links(origin.as_str()),
            ..zones.additions(&origin)
        };
        match zones.set_additions(&origin, additions) {
            Ok(is_new) => is_changed |= is_new,
            Err(error) => tracing::error!("HTTPS records: {error}"),
        }
    }
    is_changed
}
