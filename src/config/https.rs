//! `[https]`: where the redirect host speaks HTTPS, and with which certificate. Without the section it speaks HTTP
//! alone.

use std::net::SocketAddr;

use super::acme::acme;
use super::listen::{Claimed, required_listen};
use super::problem::ConfigProblem;
use super::section::Section;
use super::store::StoreConfig;
use crate::certificates::CertificateFiles;
use crate::certificates::acme::AcmeSettings;

const CERTIFICATE: &str = "certificate";
const KEY: &str = "key";
const ACME: &str = "acme";

/// The longest time for which browsers remember to use HTTPS alone, in seconds: two years, as much as lists of such
/// hosts ask for.
const MAX_HSTS: u32 = 2 * 365 * 24 * 60 * 60;

/// HTTPS for the redirect host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsConfig {
    /// Where it listens; at least one address.
    pub listen: Vec<SocketAddr>,
    /// Its certificates.
    pub certificates: HttpsCertificates,
    /// For how many seconds browsers are to use nothing but HTTPS for a link (RFC 6797); none if they are not asked
    /// to.
    pub hsts: Option<u32>,
}

/// Where the certificates of HTTPS come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpsCertificates {
    /// From files of the operator: one for all zones.
    Files(CertificateFiles),
    /// The server gets them by itself: one for each zone.
    Acme(Box<AcmeSettings>),
}

impl HttpsCertificates {
    /// The files, if the certificate comes from files.
    pub fn files(&self) -> Option<&CertificateFiles> {
        match self {
            Self::Files(files) => Some(files),
            Self::Acme(_) => None,
        }
    }
}

/// None if something was noted without which there is no certificate.
pub(super) fn https(
    section: &Section<'_>,
    store: &StoreConfig,
    claimed: &mut Claimed,
) -> Option<HttpsConfig> {
    let listen = required_listen(section, claimed);
    let hsts = section.optional_number("hsts", 1..=MAX_HSTS, "seconds");
    let settings = section.optional(ACME, |section| acme(section, store));
    let certificates = match settings {
        Some(settings) => {
            let line = section.line_of(ACME);
            let other = section.refusing(Some(ConfigProblem::TwoCertificates(line)));
            let _noted = (other.optional_file(CERTIFICATE), other.optional_file(KEY));
            HttpsCertificates::Acme(Box::new(settings?))
        }
        None => HttpsCertificates::Files(files(section)),
    };
    Some(HttpsConfig {
        listen,
        certificates,
        hsts,
    })
}

fn files(section: &Section<'_>) -> CertificateFiles {
    if [CERTIFICATE, KEY, ACME]
        .iter()
        .all(|key| !section.mentions(key))
    {
        section.note_whole(ConfigProblem::NoCertificate);
    }
    let has_one = [CERTIFICATE, KEY].iter().any(|key| section.mentions(key));
    let file = |key| match has_one {
        true => section.required_file(key),
        // Noted already.
        false => section.optional_file(key).unwrap_or_default(),
    };
    CertificateFiles {
        certificate: file(CERTIFICATE),
        key: file(KEY),
    }
}
