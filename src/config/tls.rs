//! `[dns.tls]`: where DNS over TLS is served, and with which certificate. Without the section there is none.

use std::net::SocketAddr;

use super::listen::{Claimed, required_listen};
use super::section::Section;
use crate::certificates::CertificateFiles;

/// DNS over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Where it listens; at least one address.
    pub listen: Vec<SocketAddr>,
    /// Its certificate.
    pub files: CertificateFiles,
}

pub(super) fn tls(section: &Section<'_>, claimed: &mut Claimed) -> TlsConfig {
    TlsConfig {
        listen: required_listen(section, claimed),
        files: CertificateFiles {
            certificate: section.required_file("certificate"),
            key: section.required_file("key"),
        },
    }
}
