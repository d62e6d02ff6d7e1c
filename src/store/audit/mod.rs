//! The audit log: who has changed what, when, and from where.
//!
//! Each change of a link, of a token, of a certificate or of a pool makes one [`Entry`], also one that no caller asks for. A store that keeps the log
//! writes the entry together with the change, so that neither is there without the other. Entries are never changed.
//! They are removed from the oldest on, by the bounds in [`Retention`]. No list, export or scan of links shows them.
//!
//! That a link ends, and that the store later removes it, makes no entry: the entry that set the end announces both.

mod facts;
mod page;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

pub use self::facts::Facts;
pub use self::page::{AuditPage, AuditQuery, EntryId};
use crate::base::clock::UnixMillis;
use crate::link::{Code, Link, LinkName, Origin};

/// Who makes a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The name of the token; or [`Actor::ACME`], which no token can have.
    pub name: Arc<str>,
    /// The address of the client, as this server sees it; none for changes that no request asks for.
    pub address: Option<IpAddr>,
    /// The id of the request.
    pub request_id: Option<Arc<str>>,
    /// Whether the actor may change and delete links that are [withheld](crate::link::Withheld). The log does not keep it.
    pub may_change_withheld: bool,
}

impl Actor {
    /// Who gets certificates without being asked. Names of tokens have no colon.
    pub const ACME: &str = "system:acme";
}

impl From<&str> for Actor {
    /// An actor without a request, and without special rights.
    fn from(name: &str) -> Self {
        Self {
            name: name.into(),
            address: None,
            request_id: None,
            may_change_withheld: false,
        }
    }
}

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// A link was made.
    LinkCreated,
    /// A link was changed.
    LinkChanged,
    /// A link was deleted.
    LinkDeleted,
    /// A token was made.
    TokenAdded,
    /// A token was revoked.
    TokenRevoked,
    /// A certificate was ordered by a caller.
    CertificateOrdered,
    /// A certificate was issued and is in use, whether its order was due or a caller wanted it.
    CertificateIssued,
    /// All sessions of the page were ended.
    SessionsEnded,
    /// A pool was taken out of service.
    PoolDrained,
    /// A pool was taken into service again.
    PoolRestored,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 10] = [
        Self::LinkCreated,
        Self::LinkChanged,
        Self::LinkDeleted,
        Self::TokenAdded,
        Self::TokenRevoked,
        Self::CertificateOrdered,
        Self::CertificateIssued,
        Self::SessionsEnded,
        Self::PoolDrained,
        Self::PoolRestored,
    ];

    /// Its name in the API and in the stores.
    pub fn name(self) -> &'static str {
        match self {
            Self::LinkCreated => "link.created",
            Self::LinkChanged => "link.changed",
            Self::LinkDeleted => "link.deleted",
            Self::TokenAdded => "token.added",
            Self::TokenRevoked => "token.revoked",
            Self::CertificateOrdered => "certificate.ordered",
            Self::CertificateIssued => "certificate.issued",
            Self::SessionsEnded => "sessions.ended",
            Self::PoolDrained => "pool.drained",
            Self::PoolRestored => "pool.restored",
        }
    }

    fn is_about_pool(self) -> bool {
        matches!(self, Self::PoolDrained | Self::PoolRestored)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no action of the audit log; there are link.created, link.changed, link.deleted, token.added, \
    token.revoked, certificate.ordered, certificate.issued, sessions.ended, pool.drained and pool.restored"
)]
pub struct NoAction(String);

impl FromStr for Action {
    type Err = NoAction;

    fn from_str(text: &str) -> Result<Self, NoAction> {
        let named = Self::ALL.into_iter().find(|action| action.name() == text);
        named.ok_or_else(|| NoAction(text.into()))
    }
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A link.
    Link(LinkName),
    /// The token of this name.
    Token(Box<str>),
    /// The certificate of this zone.
    Certificate(Box<str>),
    /// The sessions of the page.
    Sessions,
    /// The pool of this name.
    Pool(Box<str>),
}

impl Object {
    /// The object of an action that was kept with these names.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn read(
        action: Action,
        zone: Option<&str>,
        code: Option<&str>,
        token: Option<&str>,
    ) -> Result<Self, String> {
        match (zone, code, token) {
            (Some(zone), Some(code), _) => {
                let code = Code::parse(code).map_err(|e| e.to_string())?;
                let origin = Origin::parse(zone).map_err(|e| e.to_string())?;
                Ok(Self::Link(LinkName::new(&code, &origin)))
            }
            (_, _, Some(pool)) if action.is_about_pool() => Ok(Self::Pool(pool.into())),
            (_, _, Some(token)) => Ok(Self::Token(token.into())),
            (Some(zone), None, None) => Ok(Self::Certificate(zone.into())),
            (None, None, None) if action == Action::SessionsEnded => Ok(Self::Sessions),
            (None, _, None) => Err("zone is missing".into()),
        }
    }

    /// The zone of a link or a certificate.
    pub fn zone(&self) -> Option<&str> {
        match self {
            Self::Link(name) => Some(name.origin()),
            Self::Certificate(zone) => Some(zone),
            Self::Token(_) | Self::Sessions | Self::Pool(_) => None,
        }
    }

    /// The code of a link.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Link(name) => Some(name.code()),
            Self::Token(_) | Self::Certificate(_) | Self::Sessions | Self::Pool(_) => None,
        }
    }

    /// The name of a token.
    pub fn token(&self) -> Option<&str> {
        match self {
            Self::Token(name) => Some(name),
            Self::Link(_) | Self::Certificate(_) | Self::Sessions | Self::Pool(_) => None,
        }
    }

    /// The name of a pool.
    pub fn pool(&self) -> Option<&str> {
        match self {
            Self::Pool(name) => Some(name),
            Self::Link(_) | Self::Certificate(_) | Self::Sessions | Self::Token(_) => None,
        }
    }

    /// The name of a token or a pool, which stores keep in the same place. The action says which of them it is.
    pub(super) fn name(&self) -> Option<&str> {
        self.token().or_else(|| self.pool())
    }
}

/// A change, before the store has written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, by the clock of the server.
    pub at: UnixMillis,
    /// Who.
    pub actor: Actor,
    /// What was done.
    pub action: Action,
    /// To what.
    pub object: Object,
    /// The object before the change; none if it was made.
    pub before: Option<Facts>,
    /// The object after the change; none if it is gone.
    pub after: Option<Facts>,
}

impl Event {
    /// The change of a link from one state to another, of which at least one exists.
    pub fn of_link(
        name: &LinkName,
        before: Option<&Link>,
        after: Option<&Link>,
        actor: &Actor,
        now_micros: u64,
    ) -> Self {
        let action = match (before, after) {
            (None, _) => Action::LinkCreated,
            (Some(_), Some(_)) => Action::LinkChanged,
            (Some(_), None) => Action::LinkDeleted,
        };
        Self {
            at: UnixMillis::of_micros(now_micros),
            actor: actor.clone(),
            action,
            object: Object::Link(name.clone()),
            before: before.map(Facts::of_link),
            after: after.map(Facts::of_link),
        }
    }
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Distinguishes it from all others, and is its place in the order of the log.
    pub id: EntryId,
    /// What happened.
    pub event: Event,
}

/// How long entries are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The age at which entries are removed, in seconds.
    pub keep: u64,
    /// The number of entries above which the oldest are removed. Only for stores that can count them.
    pub max_entries: u64,
}

impl Retention {
    /// 400 days: an auditor who comes once a year sees the whole year.
    pub const DEFAULT_DAYS: u32 = 400;
    /// A million entries: some 500 MB with SQLite.
    pub const DEFAULT_ENTRIES: u32 = 1_000_000;
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keep: u64::from(Self::DEFAULT_DAYS) * 24 * 60 * 60,
            max_entries: Self::DEFAULT_ENTRIES.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_have_names() {
        for action in Action::ALL {
            assert_eq!(action.name().parse(), Ok(action));
        }
        let error = "link".parse::<Action>().unwrap_err().to_string();
        for action in Action::ALL {
            assert!(error.contains(action.name()), "{error}");
        }
    }
}
