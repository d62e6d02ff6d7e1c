//! `[cookies]`: whether there are DNS cookies, and where their secrets are.

use std::path::PathBuf;

use toml::Spanned;

use super::problem::ConfigError;
use super::raw::RawCookies;
use super::reader::Reader;

impl Reader<'_> {
    /// Whether there are cookies, and the file with their secrets; none if one is to be drawn.
    pub(super) fn cookies(&self, raw: RawCookies) -> Result<(bool, Option<PathBuf>), ConfigError> {
        let file = |raw| self.file(Some(raw), "cookies.secret_file", "");
        let file = raw.secret_file.map(file).transpose()?;
        let enabled = raw.enabled.is_none_or(Spanned::into_inner);
        Ok((enabled, file.filter(|_| enabled)))
    }
}
