//! `[page]`: under which names browsers reach the web page, besides addresses and names of their own machine.

use super::https::{HttpsCertificates, HttpsConfig};
use super::problem::ConfigProblem;
use super::section::Section;
use crate::link::Origin;
use crate::zone::ZoneConfig;

const HOST: &str = "host";
const HOSTS: &str = "hosts";

/// The web page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageConfig {
    /// The host under which the HTTPS listener serves it; none if only the admin listener serves it.
    pub host: Option<Box<str>>,
    /// The hosts under which the admin listener serves it, for a proxy in front of that.
    pub hosts: Vec<Box<str>>,
}

pub(super) fn page(
    section: &Section<'_>,
    https: Option<&HttpsConfig>,
    zones: &[ZoneConfig],
) -> PageConfig {
    let host = section.parsed(HOST, name);
    match (&host, https) {
        (Some(_), None) => section.note(HOST, ConfigProblem::PageWithoutHttps),
        (Some(host), Some(https)) if !may_cover(&https.certificates, host, zones) => {
            section.note(HOST, ConfigProblem::PageCertificate(host.to_string()));
        }
        _ => {}
    }
    let mut hosts = Vec::new();
    for text in section
        .texts(HOSTS, "a list of host names")
        .unwrap_or_default()
    {
        match name(text.get_ref()) {
            Ok(name) => hosts.push(name),
            Err(problem) => section.note_at(text.span(), HOSTS, problem),
        }
    }
    PageConfig { host, hosts }
}

/// A host name, in lower case. The rule of origins is that of host names in URLs.
fn name(text: &str) -> Result<Box<str>, ConfigProblem> {
    let name = Origin::parse(text).map_err(|_| ConfigProblem::PageHost(text.into()))?;
    Ok(name.as_str().into())
}

/// Whether there can be a certificate for the host. Those that the server gets are for the origins of zones with links
/// and for the names one label below. What a file of the operator is for is known only when it is read.
fn may_cover(certificates: &HttpsCertificates, host: &str, zones: &[ZoneConfig]) -> bool {
    let below = host.split_once('.').map(|(_, rest)| rest);
    let mut zones = zones.iter().filter(|zone| zone.redirect_host.is_some());
    match certificates {
        HttpsCertificates::Files(_) => true,
        HttpsCertificates::Acme(_) => zones.any(|zone| {
            let origin = zone.origin.to_string();
            let origin = origin.trim_end_matches('.');
            origin == host || Some(origin) == below
        }),
    }
}
