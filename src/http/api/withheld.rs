//! The member `withheld` of a body, which only admins may send.

use serde_json::{Map, Value};

use super::members::{invalid, text};
use crate::access::{Caller, Permission};
use crate::http::problem::{Kind, Problem};
use crate::link::{AboutError, Withheld, WithheldError};

/// The name of the member.
pub(super) const MEMBER: &str = "withheld";
/// An example for messages.
const EXAMPLE: &str = "{\"kind\": \"abuse\", \"reason\": \"Phishing\"}";

/// The member with the right type. `None` is absent, `Some(None)` is `null`.
#[derive(Default, PartialEq, Eq)]
pub(super) struct WithheldMember(Option<Option<Given>>);

/// What was sent.
#[derive(PartialEq, Eq)]
struct Given {
    kind: String,
    reason: String,
    authority: Option<String>,
}

impl WithheldMember {
    /// Reads the member.
    pub(super) fn read(member: Option<Value>) -> Result<Self, Problem> {
        Ok(Self(match member {
            None => None,
            Some(Value::Null) => Some(None),
            Some(Value::Object(members)) => Some(Some(Given::read(members)?)),
            Some(_) => {
                let detail =
                    format!("\"withheld\" is neither null nor an object such as {EXAMPLE}");
                return Err(invalid(detail).of(MEMBER));
            }
        }))
    }

    /// Why to withhold a new link. `null` is the same as absent.
    pub(super) fn creation(self, caller: &Caller) -> Result<Option<Box<Withheld>>, Problem> {
        match self.0.flatten() {
            None => Ok(None),
            given => Self(Some(given)).change(caller).map(Option::flatten),
        }
    }

    /// Why to withhold a link, or `Some(None)` to give it back.
    pub(super) fn change(self, caller: &Caller) -> Result<Option<Option<Box<Withheld>>>, Problem> {
        let Some(given) = self.0 else {
            return Ok(None);
        };
        if !caller.role().may(Permission::Administer) {
            let (name, role) = (caller.name(), caller.role());
            let detail = format!(
                "the token {name:?} has the role {role}; only the role admin may withhold links and give them back; leave \
                 out \"withheld\", or ask an admin"
            );
            return Err(Problem::new(Kind::Forbidden, detail).of(MEMBER));
        }
        let withheld = given.map(|given| {
            let Given {
                kind,
                reason,
                authority,
            } = &given;
            Withheld::parse(kind, reason, authority.as_deref()).map(Box::new)
        });
        withheld.transpose().map(Some).map_err(refused)
    }
}

impl Given {
    fn read(mut members: Map<String, Value>) -> Result<Self, Problem> {
        let mut member = |name| text(members.remove(name), name).map(Option::flatten);
        let needed = |value: Option<String>, name| {
            let detail = format!("\"withheld\" has no {name:?}; it needs one, as in {EXAMPLE}");
            value.ok_or_else(|| invalid(detail).of(MEMBER))
        };
        let at_fault = |problem: Problem| problem.of(MEMBER);
        let given = Self {
            kind: needed(member("kind").map_err(at_fault)?, "kind")?,
            reason: needed(member("reason").map_err(at_fault)?, "reason")?,
            authority: member("authority").map_err(at_fault)?,
        };
        match members.keys().next() {
            None => Ok(given),
            Some(name) => {
                let detail = format!(
                    "\"withheld\" has the unknown member {name:?}; it has \"kind\", \"reason\" and \"authority\""
                );
                Err(invalid(detail).of(MEMBER))
            }
        }
    }
}

fn refused(error: WithheldError) -> Problem {
    let mut detail = error.to_string();
    if let WithheldError::Reason(AboutError::Empty(_)) = error {
        detail += "; the page for people who open the link shows it";
    }
    Problem::new(Kind::WithheldRefused, detail).of(MEMBER)
}
