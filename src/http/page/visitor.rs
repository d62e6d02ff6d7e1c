//! Who uses the page: the session of a request.

use crate::access::{Permission, Session};
use crate::http::api::OnBehalf;

/// A request's visitor, who is logged in.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub(super) session: Session,
    /// For calls of the API.
    pub(super) on_behalf: OnBehalf,
    /// Whether the server has pools of addresses, which the menu leads to.
    pub(super) has_pools: bool,
}

impl Visitor {
    /// Whether the visitor's role allows this. It decides what pages offer; the API itself decides what happens.
    pub(super) fn may(&self, permission: Permission) -> bool {
        self.session.caller.role().may(permission)
    }
}
