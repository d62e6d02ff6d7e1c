//! Whether a server speaks the other scheme than the one that its URL names.

use std::time::Duration;

use ureq::Agent;
use ureq::http::StatusCode;
use ureq::tls::TlsConfig;
use url::Url;

/// The longest time for a request by the other scheme.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// The server's URL with the other scheme, if the server speaks HTTP by that scheme. If one end speaks TLS and
/// the other does not, the error depends on both ends, so this function sends a request. The request has no
/// token, and only the fact of an answer counts, so the certificate need not be valid.
pub(super) fn other_scheme(server: &Url) -> Option<Box<Url>> {
    let port = server.port_or_known_default();
    let mut other = server.clone();
    let scheme = if other.scheme() == "https" {
        "http"
    } else {
        "https"
    };
    other.set_scheme(scheme).ok()?;
    other.set_port(port).ok()?;
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_global(Some(PROBE_TIMEOUT))
        .tls_config(TlsConfig::builder().disable_verification(true).build())
        .build();
    let asked = config
        .new_agent()
        .get(other.join("healthz").ok()?.as_str())
        .call();
    match asked {
        // Many servers of HTTPS answer so to plain HTTP.
        Ok(answer) if scheme == "http" && answer.status() == StatusCode::BAD_REQUEST => None,
        asked => asked.is_ok().then(|| other.into()),
    }
}
