//! Who calls the API, and what the caller may do.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use super::rate::Rate;
use super::secret::SecretDigest;
use crate::link::Origin;
use crate::store::audit::Actor;

/// The name of the caller that has the token of the file or the environment.
pub const ROOT_NAME: &str = "admin";

/// What a token allows. Each role may do all that the roles before it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads links.
    Reader,
    /// Makes, changes and deletes links.
    Editor,
    /// Withholds links, manages tokens and everything else that concerns all zones.
    Admin,
}

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// To read links.
    Read,
    /// To make, change or delete links.
    Write,
    /// To manage the server.
    Administer,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Reader, Self::Editor, Self::Admin];

    /// The role's name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }

    /// Whether callers with this role may do what needs this permission.
    pub fn may(self, permission: Permission) -> bool {
        let needed = match permission {
            Permission::Read => Self::Reader,
            Permission::Write => Self::Editor,
            Permission::Administer => Self::Admin,
        };
        self >= needed
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is \"reader\", \"editor\" or \"admin\"")]
pub struct NoRole;

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Self, NoRole> {
        let named = Self::ALL.into_iter().find(|role| role.name() == text);
        named.ok_or(NoRole)
    }
}

/// A caller of the API whose token is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    name: Arc<str>,
    role: Role,
    /// None for all zones.
    zones: Option<Arc<[Origin]>>,
    /// None for the root token.
    secret: Option<SecretDigest>,
    /// The rate of the token's own.
    rate: Option<Rate>,
    address: Option<IpAddr>,
    request_id: Option<Arc<str>>,
}

impl Caller {
    /// The caller with the token of the file or the environment.
    pub fn root() -> Self {
        Self::new(ROOT_NAME, Role::Admin, None)
    }

    /// A caller; `zones` is none for all zones.
    pub fn new(name: &str, role: Role, zones: Option<&[Origin]>) -> Self {
        Self {
            name: name.into(),
            role,
            zones: zones.map(Into::into),
            secret: None,
            rate: None,
            address: None,
            request_id: None,
        }
    }

    /// The same caller, whose token has this secret.
    pub(super) fn with_secret(self, digest: SecretDigest) -> Self {
        Self {
            secret: Some(digest),
            ..self
        }
    }

    /// The digest of the secret of the caller's token, which tells it from a later token of the same name. None for the
    /// root token: its secret may be a text that can be guessed, so no digest of it is to be kept anywhere.
    pub fn secret_digest(&self) -> Option<&[u8]> {
        self.secret.as_ref().map(SecretDigest::as_bytes)
    }

    /// The same caller with a rate of its own; none for the rate that the configuration gives to all tokens.
    pub fn with_rate(self, rate: Option<Rate>) -> Self {
        Self { rate, ..self }
    }

    /// The same caller with the client's address and the id of the request, for the audit log.
    pub fn with_request(self, address: Option<IpAddr>, request_id: &str) -> Self {
        Self {
            address: address.map(|address| address.to_canonical()),
            request_id: Some(request_id.into()),
            ..self
        }
    }

    /// The caller as the audit log names it.
    pub fn actor(&self) -> Actor {
        Actor {
            name: self.name.clone(),
            address: self.address,
            request_id: self.request_id.clone(),
            may_change_withheld: self.role.may(Permission::Administer),
        }
    }

    /// The name of the caller's token.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The caller's role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The rate of the caller's own; none for the rate that the configuration gives to all tokens.
    pub fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// Whether the caller may read and, with its role, change links of this zone.
    pub fn may_use(&self, zone: &Origin) -> bool {
        self.zones.as_ref().is_none_or(|zones| zones.contains(zone))
    }

    /// Whether the caller may use all zones, also those of the future.
    pub fn is_of_all_zones(&self) -> bool {
        self.zones.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_the_roles_before_it_may() {
        use Permission::{Administer, Read, Write};
        let allowed = |role: Role| [Read, Write, Administer].map(|needed| role.may(needed));
        assert_eq!(allowed(Role::Reader), [true, false, false]);
        assert_eq!(allowed(Role::Editor), [true, true, false]);
        assert_eq!(allowed(Role::Admin), [true, true, true]);
    }

    #[test]
    fn roles_have_names() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
        }
        assert_eq!("Admin".parse::<Role>(), Err(NoRole));
    }

    #[test]
    fn a_caller_is_limited_to_its_zones() {
        let zone = |text| Origin::parse(text).unwrap();
        let limited = Caller::new("a", Role::Editor, Some(&[zone("s.example.com")]));
        assert!(limited.may_use(&zone("s.example.com")));
        assert!(!limited.may_use(&zone("t.example.com")));
        assert!(Caller::root().may_use(&zone("t.example.com")));
    }
}
