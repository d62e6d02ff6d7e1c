//! `[https]`: where the redirect host speaks HTTPS, and with which certificate. Without the section it speaks HTTP
//! alone.

use std::net::SocketAddr;

use super::listen::{Claimed, required_listen};
use super::section::Section;
use crate::certificates::CertificateFiles;

/// The longest time for which browsers remember to use HTTPS alone, in seconds: two years, as much as lists of such
/// hosts ask for.
const MAX_HSTS: u32 = 2 * 365 * 24 * 60 * 60;

/// HTTPS for the redirect host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsConfig {
    /// Where it listens; at least one address.
    pub listen: Vec<SocketAddr>,
    /// Its certificate.
    pub files: CertificateFiles,
    /// For how many seconds browsers are to use nothing but HTTPS for a link (RFC 6797); none if they are not asked
    /// to.
    pub hsts: Option<u32>,
}

pub(super) fn https(section: &Section<'_>, claimed: &mut Claimed) -> HttpsConfig {
    HttpsConfig {
        listen: required_listen(section, claimed),
        files: CertificateFiles {
            certificate: section.required_file("certificate"),
            key: section.required_file("key"),
        },
        hsts: section.optional_number("hsts", 1..=MAX_HSTS, "seconds"),
    }
}
