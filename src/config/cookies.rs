//! `[cookies]`: whether there are DNS cookies, and where their secrets are.

use std::path::PathBuf;

use toml::Spanned;

use super::raw::RawCookies;
use super::reader::ConfigReader;

impl ConfigReader<'_> {
    /// Whether there are cookies, and the file with their secrets; none if one is to be drawn.
    pub(super) fn cookies(&self, raw: RawCookies) -> (bool, Option<PathBuf>) {
        let file = self.optional_file(raw.secret_file, "cookies.secret_file");
        let enabled = raw.enabled.is_none_or(Spanned::into_inner);
        (enabled, file.filter(|_| enabled))
    }
}
