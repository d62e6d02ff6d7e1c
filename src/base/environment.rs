//! Environment variables. An empty variable always counts as unset: container and unit files that pass on a variable
//! that is not set make it empty.

use std::env;
use std::ffi::{OsStr, OsString};

/// The variable is not UTF-8 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotText;

/// The value of a variable; none if it is unset or empty.
pub(crate) fn value(name: impl AsRef<OsStr>) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The text of a variable; none if it is unset or empty.
///
/// # Errors
/// [`NotText`].
pub(crate) fn text(name: &str) -> Result<Option<String>, NotText> {
    let text = value(name).map(OsString::into_string).transpose();
    text.map_err(|_| NotText)
}
