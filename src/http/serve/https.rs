//! HTTPS: the TLS handshake of a connection, before HTTP begins on it.
//!
//! The client names the host that it expects (RFC 6066 §3). A host in none of the served zones, or one that the
//! certificate is not for, gets the alert `unrecognized_name`, and a client that names no host gets
//! `missing_extension` (RFC 8446 §9.2): no client sees a certificate that it did not ask for. While the certificate of a
//! zone is still to be issued, clients get `internal_error`, because the host is a right one. All of these alerts come
//! before any of the expensive work of a handshake.

use std::fmt;
use std::io;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::{Acceptor, ClientHello};
use tokio_rustls::rustls::{AlertDescription, HandshakeKind};
use tokio_rustls::server::TlsStream;

use crate::base::metrics::{HandshakeResult, TlsHandshake};
use crate::certificates::{Current, HANDSHAKE_TIME, Handshakes, HostCertificates, NoCertificate};

/// Whether a host, as clients write it, is in one of the served zones.
pub(crate) type IsServed = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What the connections of an HTTPS listener need. Clones share it.
#[derive(Clone)]
pub struct Https {
    /// The certificates in use.
    pub certificates: HostCertificates,
    /// The turns of handshakes.
    pub handshakes: Handshakes,
    /// The hosts for which there may be a certificate.
    pub is_served: IsServed,
    /// How handshakes end.
    pub results: Family<TlsHandshake, Counter>,
}

/// What a TLS session is for.
pub(super) struct Session {
    /// The host that the client named in the handshake.
    host: Box<str>,
    /// The certificate that the server has shown, in this session or in the one that this one resumes.
    certificate: Arc<Current>,
}

impl Session {
    /// Whether the client may ask for this host: the one that it named, or another one of the certificate.
    pub(super) fn is_for(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.host.eq_ignore_ascii_case(host) || self.certificate.covers(host)
    }
}

/// The end of a handshake that leads to no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoSession {
    /// Whether the client was sent an alert that it should get to read.
    pub(super) alerted: bool,
}

/// Why a client gets an alert instead of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unnamed {
    /// It names no host.
    Missing,
    /// The host that it names is not served.
    Unknown,
    /// The certificate for the host is still to be issued.
    NotYet,
}

impl Https {
    /// Performs the handshake of a connection, within [`HANDSHAKE_TIME`].
    pub(super) async fn accept<S>(&self, stream: S) -> Result<(TlsStream<S>, Session), NoSession>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // Dropped by the caller for a reason of its own, unless it comes to an end.
        let mut counted = Counted(self, HandshakeResult::Dropped);
        let (result, session) = match timeout(HANDSHAKE_TIME, self.handshake(stream)).await {
            Ok(Ok(Ok((stream, session)))) => (result_of(&stream), Ok((stream, session))),
            Ok(Ok(Err(unnamed))) => {
                tracing::debug!(?unnamed, "TLS handshake");
                (unnamed.result(), Err(NoSession { alerted: true }))
            }
            // The library has sent an alert.
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake");
                (HandshakeResult::Failed, Err(NoSession { alerted: true }))
            }
            Err(_) => (HandshakeResult::TimedOut, Err(NoSession { alerted: false })),
        };
        counted.1 = result;
        session
    }

    async fn handshake<S>(&self, stream: S) -> io::Result<Result<(TlsStream<S>, Session), Unnamed>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        match self.session(&hello.client_hello()) {
            Ok(session) => {
                let stream = hello.into_stream(session.certificate.config());
                let stream = self.handshakes.run(stream).await?;
                Ok(Ok((stream, session)))
            }
            Err(unnamed) => {
                hello.io.write_all(&unnamed.alert()).await?;
                hello.io.shutdown().await?;
                Ok(Err(unnamed))
            }
        }
    }

    fn session(&self, hello: &ClientHello<'_>) -> Result<Session, Unnamed> {
        let host = hello.server_name().ok_or(Unnamed::Missing)?;
        if !(self.is_served)(host) {
            return Err(Unnamed::Unknown);
        }
        let certificate = self.certificates.current_for(host);
        let certificate = certificate.map_err(|reason| match reason {
            NoCertificate::OtherHost => Unnamed::Unknown,
            NoCertificate::NotYet => Unnamed::NotYet,
        })?;
        let host = host.into();
        Ok(Session { host, certificate })
    }
}

impl Unnamed {
    fn result(self) -> HandshakeResult {
        match self {
            Self::Missing | Self::Unknown => HandshakeResult::UnknownName,
            Self::NotYet => HandshakeResult::NoCertificate,
        }
    }

    /// The record of a fatal alert (RFC 8446 §5.1, §6). It is the first record that the client gets, so it is not
    /// encrypted, in TLS 1.2 as in TLS 1.3.
    fn alert(self) -> [u8; 7] {
        const ALERT: u8 = 21;
        const FATAL: u8 = 2;
        let description = match self {
            Self::Missing => AlertDescription::MissingExtension,
            Self::Unknown => AlertDescription::UnrecognisedName,
            Self::NotYet => AlertDescription::InternalError,
        };
        [ALERT, 3, 3, 0, 2, FATAL, description.into()]
    }
}

/// Counts a handshake when it is dropped.
struct Counted<'a>(&'a Https, HandshakeResult);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let result = self.1;
        self.0.results.get_or_create(&TlsHandshake { result }).inc();
    }
}

fn result_of<S>(stream: &TlsStream<S>) -> HandshakeResult {
    match stream.get_ref().1.handshake_kind() {
        Some(HandshakeKind::Resumed) => HandshakeResult::Resumed,
        _ => HandshakeResult::Full,
    }
}

/// Whether client and server have agreed on HTTP/2 (RFC 9113 §3.2).
pub(super) fn is_http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

impl fmt::Debug for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Https")
            .field("certificates", &self.certificates)
            .finish_non_exhaustive()
    }
}
