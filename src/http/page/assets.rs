//! The files of the page: the style sheet, the script and the icon. They are part of the program.
//!
//! Pages name them with a digest of their content, so browsers keep them for ever, and have the new ones at once after an
//! update.

use std::sync::LazyLock;

use ring::digest::{SHA256, digest};

use crate::access::token::hex;
use crate::http::look::ground;

/// How much of a digest is in a URL, in bytes; it is written in hex.
const DIGEST_BYTES: usize = 6;

/// A file.
pub(super) struct Asset {
    pub(super) name: &'static str,
    pub(super) media_type: &'static str,
    pub(super) content: &'static str,
    /// The digest in its URL.
    version: String,
}

impl Asset {
    fn new(name: &'static str, media_type: &'static str, content: &'static str) -> Self {
        let digest = digest(&SHA256, content.as_bytes());
        let digest = digest.as_ref().get(..DIGEST_BYTES).unwrap_or_default();
        Self {
            name,
            media_type,
            content,
            version: hex(digest),
        }
    }

    /// Where pages find it.
    pub(super) fn url(&self) -> String {
        format!("/assets/{}?{}", self.name, self.query())
    }

    /// The query of its URL.
    pub(super) fn query(&self) -> String {
        format!("v={}", self.version)
    }
}

pub(super) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let content = concat!(ground!(), include_str!("style.css"));
    Asset::new("style.css", "text/css; charset=utf-8", content)
});
pub(super) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let content = include_str!("script.js");
    Asset::new("script.js", "text/javascript; charset=utf-8", content)
});
pub(super) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon.svg", "image/svg+xml", include_str!("icon.svg")));
