//! The HTTP client for the directory: certificates of its servers, bounds in time and size, and what instant-acme does
//! not hand out: `Retry-After`, and the directory's own document.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::http::header::{HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::http::{Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::base::clock::Clock;
use crate::base::files::read_whole;
use crate::base::text::with_causes;
use crate::certificates::library::provider;

/// How long a request may take, with the connection and the whole response.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// The longest response, in bytes: many times the size of a long chain.
const MAX_RESPONSE: usize = 1 << 20;
/// The largest file with certificates of authorities, in bytes.
const MAX_CA_FILE: u64 = 4 << 20;

const USER_AGENT_TEXT: &str = concat!("tinyns/", env!("CARGO_PKG_VERSION"), " instant-acme");

type HttpsClient = Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>;

/// A client for one directory. Clones share connections and what was seen.
#[derive(Clone)]
pub(super) struct DirectoryClient {
    client: HttpsClient,
    directory: Arc<str>,
    clock: Clock,
    seen: Arc<Mutex<Seen>>,
}

/// What responses said.
#[derive(Default)]
struct Seen {
    /// The seconds to wait according to the last response.
    retry_after: Option<u64>,
    directory: Option<Directory>,
}

/// The fields of a directory that instant-acme does not show, or does not check (RFC 8555 §7.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Directory {
    #[serde(rename = "newNonce")]
    new_nonce: String,
    #[serde(rename = "newAccount")]
    new_account: String,
    #[serde(rename = "newOrder")]
    new_order: String,
    /// RFC 9773 §3.
    #[serde(rename = "renewalInfo")]
    pub(super) renewal_info: Option<String>,
    #[serde(default)]
    pub(super) meta: Meta,
}

impl Directory {
    /// Reads a directory. Its URLs have to be some, because instant-acme panics over others.
    fn read(body: &[u8]) -> Result<Self, String> {
        let directory: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let urls = [
            ("newNonce", &directory.new_nonce),
            ("newAccount", &directory.new_account),
            ("newOrder", &directory.new_order),
        ];
        for (name, url) in urls {
            let is_https = |url: &Uri| url.scheme_str() == Some("https");
            if !url.parse().is_ok_and(|url| is_https(&url)) {
                return Err(format!("{name} is {url:?} and not a URL with https"));
            }
        }
        Ok(directory)
    }
}

/// The metadata of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    /// The names of the authority in CAA records.
    #[serde(default)]
    pub(super) caa_identities: Vec<String>,
    pub(super) terms_of_service: Option<String>,
    #[serde(default)]
    pub(super) external_account_required: bool,
}

impl DirectoryClient {
    /// A client that trusts the certificates of this file, or else those that the system trusts. It reads files.
    ///
    /// # Errors
    /// The file cannot be read, or has no certificate.
    pub(super) fn new(
        directory: &str,
        ca_file: Option<&Path>,
        clock: Clock,
    ) -> Result<Self, io::Error> {
        let builder = HttpsConnectorBuilder::new();
        let builder = match ca_file {
            None => builder.with_provider_and_platform_verifier(provider())?,
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(&read_whole(file, MAX_CA_FILE)?) {
                    let certificate = certificate.map_err(io::Error::other)?;
                    roots.add(certificate).map_err(io::Error::other)?;
                }
                if roots.is_empty() {
                    return Err(io::Error::other(
                        "there is no certificate in it (BEGIN CERTIFICATE)",
                    ));
                }
                let config = ClientConfig::builder_with_provider(provider())
                    .with_safe_default_protocol_versions()
                    .map_err(io::Error::other)?
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                builder.with_tls_config(config)
            }
        };
        let connector = builder.https_only().enable_http1().build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            directory: directory.into(),
            clock,
            seen: Arc::default(),
        })
    }

    /// The same client with a memory of its own of what was seen.
    pub(super) fn apart(&self) -> Self {
        Self {
            seen: Arc::default(),
            ..self.clone()
        }
    }

    /// The seconds to wait according to the last response (RFC 9110 §10.2.3).
    pub(super) fn retry_after(&self) -> Option<u64> {
        self.seen().retry_after
    }

    /// The directory, if it was read.
    pub(super) fn directory(&self) -> Option<Directory> {
        self.seen().directory.clone()
    }

    /// Gets a resource that needs no account (RFC 9773 §4.1).
    pub(super) async fn get(&self, url: &str) -> Result<Bytes, Error> {
        let request = Request::get(url).body(BodyWrapper::default())?;
        let mut response = HttpClient::request(self, request).await?;
        let body = response.body.into_bytes().await.map_err(Error::Other)?;
        match response.parts.status.is_success() {
            true => Ok(body),
            false => Err(serde_json::from_slice::<Problem>(&body)?.into()),
        }
    }

    async fn exchange(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Result<BytesResponse, Error> {
        let url = request.uri().to_string();
        // RFC 8555 §6.1: the names of the client and of its library.
        let agent = HeaderValue::from_static(USER_AGENT_TEXT);
        request.headers_mut().insert(USER_AGENT, agent);
        let failed = |reason: String| Error::Other(format!("{url}: {reason}").into());
        self.seen().retry_after = None;
        let exchange = async {
            let response = self.client.request(request).await;
            let response = response.map_err(|error| failed(with_causes(&error)))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MAX_RESPONSE).collect().await;
            let body = body.map_err(|error| failed(error.to_string()))?;
            Ok((parts, body.to_bytes()))
        };
        let (parts, body) = timeout(REQUEST_TIME, exchange).await.unwrap_or_else(|_| {
            let waited = REQUEST_TIME.as_secs();
            Err(failed(format!("no response within {waited} s")))
        })?;
        let mut seen = self.seen();
        seen.retry_after = retry_after(&parts.headers, &self.clock);
        let status = parts.status;
        let is_directory = self
            .directory
            .parse::<Uri>()
            .is_ok_and(|of| of.to_string() == url);
        match (
            status.is_success(),
            serde_json::from_slice::<Problem>(&body),
        ) {
            (true, _) if is_directory => {
                let directory = Directory::read(&body);
                let directory = directory
                    .map_err(|reason| failed(format!("this is no ACME directory: {reason}")))?;
                seen.directory = Some(directory);
            }
            // The library takes this document for the directory.
            (false, Ok(problem)) if is_directory => return Err(problem.into()),
            // An error of something between here and the directory has no problem document.
            (false, Err(_)) => return Err(failed(format!("HTTP status {status}"))),
            (true, _) | (false, Ok(_)) => {}
        }
        let body = Box::new(body);
        Ok(BytesResponse { parts, body })
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpClient for DirectoryClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move { client.exchange(request).await })
    }
}

/// The seconds to wait: a number, or an HTTP date.
fn retry_after(headers: &HeaderMap, clock: &Clock) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    let date = u64::try_from(date.unix_timestamp()).ok()?;
    Some(date.saturating_sub(clock.now().0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::UnixTime;

    #[test]
    fn rfc9110_10_2_3_retry_after() {
        let clock = Clock::manual(UnixTime::parse("1999-12-31T23:59:00Z").unwrap());
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, &clock)
        };
        assert_eq!(read("120"), Some(120));
        assert_eq!(read(" 0 "), Some(0));
        assert_eq!(read("Fri, 31 Dec 1999 23:59:59 GMT"), Some(59));
        assert_eq!(read("Fri, 31 Dec 1999 23:58:00 GMT"), Some(0));
        for bad in ["", "soon", "-1", "1.5"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), &clock), None);
    }

    #[test]
    fn the_file_of_authorities_needs_a_certificate() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let client = |file: &Path| {
            let made = DirectoryClient::new("https://ca.test/dir", Some(file), Clock::default());
            made.map(drop).unwrap_err().to_string()
        };
        assert!(client(file.path()).contains("BEGIN CERTIFICATE"));
        assert!(client(Path::new("/nonexistent")).contains("No such file"));
    }
}
