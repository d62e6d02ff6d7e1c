//! Whether a server speaks the other scheme than the one that its URL names.

use std::time::Duration;

use ureq::Agent;
use ureq::http::StatusCode;
use ureq::tls::TlsConfig;
use url::Url;

/// The longest time for a request by the other scheme.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// The server's URL with the other scheme, if it speaks HTTP by that. What fails when a client speaks TLS and the
/// server does not, or the other way round, depends on both of them; so this asks. It sends no token, and
/// believes nothing but that there was an answer, so that the server's certificate does not matter.
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
        // That, again, is how a server of TLS may answer.
        Ok(answer) if scheme == "http" && answer.status() == StatusCode::BAD_REQUEST => None,
        asked => asked.is_ok().then(|| other.into()),
    }
}
