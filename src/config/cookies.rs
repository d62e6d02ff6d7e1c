//! `[cookies]`: whether there are DNS cookies, and where their secrets are.

use std::path::PathBuf;

use super::section::Section;

/// Whether there are cookies, and the file with their secrets; none if the server makes a secret at its start.
pub(super) fn cookies(section: &Section<'_>) -> (bool, Option<PathBuf>) {
    let enabled = section.flag("enabled", true);
    let file = section.optional_file("secret_file");
    (enabled, file.filter(|_| enabled))
}
