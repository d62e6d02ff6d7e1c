//! `[process]`: as whom the server runs once its sockets are bound.
//!
//! Whether this system knows the user and the group is not asked here but by the start and by `tinyns check`:
//! it is no fault of the file.

use toml::Spanned;

use super::problem::Problem;
use super::raw::RawProcess;
use super::reader::ConfigReader;

/// The longest name of a user or group, in bytes; what `LOGIN_NAME_MAX` allows on Linux.
pub(super) const MAX_ACCOUNT_LEN: usize = 255;

/// As whom the server runs; by default as whoever starts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessConfig {
    /// The user to become, by name or number.
    pub user: Option<String>,
    /// The group to become, by name or number; without it the user's own. Only where there is a user.
    pub group: Option<String>,
}

impl ConfigReader<'_> {
    pub(super) fn process(&self, raw: RawProcess) -> ProcessConfig {
        if let (None, Some(group)) = (&raw.user, &raw.group) {
            let (part, key) = ("a group", "user");
            if !self.is_struck("process.user") {
                let problem = Problem::Missing { part, key };
                self.note(group.span(), "process.group", problem);
            }
        }
        let account =
            |raw: Option<Spanned<String>>, key| self.text(raw, key, is_account, Problem::Account);
        ProcessConfig {
            user: account(raw.user, "process.user"),
            group: account(raw.group, "process.group"),
        }
    }
}

/// Whether a text may be the name of a user or group, or its number: a field of `passwd(5)`.
fn is_account(text: &str) -> bool {
    (1..=MAX_ACCOUNT_LEN).contains(&text.len())
        && !text
            .chars()
            .any(|c| c == ':' || c.is_whitespace() || c.is_control())
}
