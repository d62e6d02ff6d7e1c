//! `[process]`: the user that the server becomes once its sockets are bound.
//!
//! Whether this system knows the user and the group is no question of the file: the start of the server and
//! `tinyns check` look them up.

use super::problem::ConfigProblem;
use super::section::Section;

/// The longest name of a user or group, in bytes; what `LOGIN_NAME_MAX` allows on Linux.
const MAX_ACCOUNT_LEN: usize = 255;

/// The user that the server becomes; by default it stays the user that starts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessConfig {
    /// The user to become, by name or number.
    pub user: Option<String>,
    /// The group to become, by name or number; without it the user's own. Only with a user.
    pub group: Option<String>,
}

pub(super) fn process(section: &Section<'_>) -> ProcessConfig {
    let (user, group) = ("user", "group");
    if section.has(group) && !section.mentions(user) {
        let part = "a group".into();
        section.note(group, ConfigProblem::Missing { part, key: user });
    }
    ProcessConfig {
        user: section.parsed(user, account),
        group: section.parsed(group, account),
    }
}

/// The name or the number of a user or group: a field of `passwd(5)`.
fn account(text: &str) -> Result<String, ConfigProblem> {
    let is_long = !(1..=MAX_ACCOUNT_LEN).contains(&text.len());
    let is_bad = |c: char| c == ':' || c.is_whitespace() || c.is_control();
    if is_long || text.chars().any(is_bad) {
        let (text, max) = (text.into(), MAX_ACCOUNT_LEN);
        return Err(ConfigProblem::Account { text, max });
    }
    Ok(text.into())
}
