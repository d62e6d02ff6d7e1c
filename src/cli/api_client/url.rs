//! The URLs of servers, as operators write them.

use url::{Host, Url};

use crate::link::lacks_scheme;

/// Reads the URL of an admin API. It may have a path, for a server behind a proxy.
pub(crate) fn parse_server(text: &str) -> Result<Url, ServerUrlError> {
    let mut url = http_url(text)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ServerUrlError::UserInfo);
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// Reads an http or https URL.
pub(crate) fn http_url(text: &str) -> Result<Url, ServerUrlError> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        // `dns:8053` and `localhost:8053` parse as URLs of the schemes `dns` and `localhost`.
        Ok(_) if !text.contains("://") => Err(ServerUrlError::NoScheme(text.into())),
        Ok(_) => Err(ServerUrlError::Scheme),
        Err(_) if lacks_scheme(text) => Err(ServerUrlError::NoScheme(text.into())),
        Err(error) => Err(error.into()),
    }
}

/// Why a text is not the URL of a server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerUrlError {
    #[error("the URL has no scheme; write http://{0} or https://{0}")]
    NoScheme(String),
    #[error("{0}")]
    Url(#[from] url::ParseError),
    #[error("the scheme must be http or https")]
    Scheme,
    #[error(
        "the URL has a user name or password; the token goes into TINYNS_ADMIN_TOKEN or --token-file"
    )]
    UserInfo,
}

/// Whether a URL leads to this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
